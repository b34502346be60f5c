"""Questions to a daemon that lives through a fault: over HTTP and on the command line."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import ClientSession

from aiops.app.ask import Ask
from aiops.app.assembly import build_pipeline
from aiops.app.config import Config
from aiops.app.explain import Explain
from aiops.capacity.exhaustion import Exhaustion
from aiops.detect.base import AlertKey, Severity
from aiops.explain.settings import ExplainSettings
from aiops.incidents.alert import Incident
from aiops.kit.clock import Clock
from aiops.lab.fleet import Fleet
from aiops.signals.types import Columns, Entity, EntityKind, Reading, SeriesKey
from aiops.store.view import ArchiveView
from tests.app.test_daemon import configured, firing, fleet, running, until  # noqa: F401 - a fixture
from tests.explain.cases import case

NOW = 1_790_000_000.0
ENDS = Exhaustion(1800.0, 600.0, 7200.0, 0.0002)


class House:
    """A pipeline with an hour of queue lengths, the last five minutes long."""

    def __init__(self, folder: Path, opinions: Mapping[str, object] | None = None) -> None:
        self.pipeline = build_pipeline(Config(interval=30.0))
        clock = Clock(now=lambda: NOW, monotonic=lambda: NOW)
        self.explain = Explain(self.pipeline, ExplainSettings(), clock)
        (folder / "books").mkdir(exist_ok=True)
        self.ask = Ask(
            self.pipeline, self.explain, ArchiveView(folder / "archive.sqlite"), clock,
            folders=[("runbook", folder / "books")],
            advice=lambda: [{"pool": "chat/m", "desired_replicas": 3, "current_replicas": 2, "reason": "97 % wait"}],
            opinions=lambda: opinions or {"feedback": []},
            run_outs=lambda: {SeriesKey(Entity.of(EntityKind.POOL, pool="chat", model_name="m"), "kv_use"): ENDS},
        )  # fmt: skip
        pool = Entity.of(EntityKind.POOL, pool="chat", model_name="m")
        replica = Entity.of(EntityKind.REPLICA, instance="a:1", pool="chat", model_name="m")
        columns = Columns((SeriesKey(pool, "queue_len"), SeriesKey(replica, "queue_len")))
        for step in range(120):
            at = NOW - 30.0 * (119 - step)
            values = np.array([40.0, 20.0]) if step >= 110 else np.array([2.0, 1.0])
            self.pipeline.ring.append(at, [Reading("s", at, columns, values)])

    async def asked(self, question: str) -> str:
        return (await self.ask.ask(question)).text


async def test_a_value_is_told_with_what_it_was_before(tmp_path: Path) -> None:
    house = House(tmp_path)
    text = await house.asked("how long is the queue?")
    assert "queue length of pool chat m: 40 requests at its worst" in text
    assert "; 2 requests in the hour before [S1]." in text
    assert "replica" not in text
    assert "replica a:1 m: 20 requests" in await house.asked("queue of a:1")
    assert "No value of queue length is known" in await house.asked("queue at 2020-01-01 10:00")


async def test_why_tells_the_diagnosis_and_the_own_runbook(tmp_path: Path) -> None:
    house = House(tmp_path)
    one = case(3)
    incident = Incident(
        "5aecb8811292", one.incident.title, one.incident.severity, NOW - 60.0, NOW, 0.0, one.incident.members
    )
    house.pipeline.grouping.restore([incident])
    house.explain.take([one.diagnosis])
    cause = one.diagnosis.causes[0]
    (tmp_path / "books" / "ours.md").write_text(f"# Ours\n\nCauses: {cause.id}\n\nCall the night shift.\n")
    await house.ask.refresh()
    answer = await house.ask.ask("why is the queue long?")
    assert cause.title in answer.text
    assert "Ours (runbook ours.md): Call the night shift" in answer.text
    assert "为什么" not in answer.text
    assert f"最可能的原因：{cause.title}" in await house.asked("为什么排队？")


async def test_past_incidents_are_known_with_what_people_said(tmp_path: Path) -> None:
    said = {"incident": "old1", "alertname": "QueueSaturated", "judgement": "true", "cause": "fan-broken",
            "note": "the fan of rack 7", "undoneAt": None}  # fmt: skip
    house = House(tmp_path, {"feedback": [said]})
    one = case(3).incident
    past = Incident("old1", one.title, one.severity, NOW - 90_000.0, NOW - 89_000.0, NOW - 89_000.0, one.members)
    house.ask._view.load_incidents = lambda **_: [past]  # type: ignore[method-assign]
    await house.ask.refresh()
    assert "(past incident old1)" in await house.asked("what should we do about the fan of the rack?")
    assert house.ask.pages == 1


async def test_parts_are_ranked_and_pools_where_they_are_asked_for(tmp_path: Path) -> None:
    house = House(tmp_path)
    ranked = await house.asked("which has the longest queue?")
    assert ranked.startswith("1. queue length of replica a:1 m: 20 requests now, 20 requests at its highest")
    assert "pool" not in ranked
    assert "1. queue length of pool chat m: 40" in await house.asked("which pool has the longest queue?")
    lowest = await house.asked("lowest queue of a:1 in the last 50 minutes")
    assert "20 requests at the end, 1 requests at its lowest" in lowest


async def test_what_moved_is_told_and_that_nothing_is_known_of_before(tmp_path: Path) -> None:
    house = House(tmp_path)
    text = await house.asked("what changed in the last 5 minutes?")
    assert "queue length of pool chat m went from 2 requests to 40 requests, since" in text
    assert "queue length of replica a:1 m went from 1 requests to 20 requests" in text
    assert "pool" not in (await house.asked("what changed at a:1 in the last 5 minutes?"))
    assert "nothing to compare with" in await house.asked("what changed in the last 2 hours?")


async def test_named_things_stand_side_by_side_and_ends_are_told(tmp_path: Path) -> None:
    house = House(tmp_path)
    assert "queue length now: replica a:1 m 20 requests [S1]." in await house.asked("how is a:1?")
    assert "queue length now: pool chat m 40 requests [S1]." in await house.asked("how is chat?")
    ends = "KV cache use of pool chat m: used up in 30 min, at the soonest in 10 min, at the latest in 2 h [S1]."
    assert await house.asked("when will the KV cache be full?") == ends
    assert await house.asked("when will the KV cache of chat be full?") == ends


async def test_why_looks_where_the_signal_moved(tmp_path: Path) -> None:
    """Two incidents are open; the newer one is of a pool whose queue did not move."""
    house = House(tmp_path)
    here, there = (
        AlertKey("TargetStale", SeriesKey(Entity.of(EntityKind.REPLICA, instance=name, pool=pool), "up"))
        for name, pool in (("a:1", "chat"), ("b:1", "billing"))
    )
    house.pipeline.grouping.restore([
        Incident("here", "ours", Severity.WARNING, NOW - 200.0, NOW, 0.0, (here,)),
        Incident("there", "theirs", Severity.CRITICAL, NOW - 60.0, NOW, 0.0, (there,)),
    ])  # fmt: skip
    text = await house.asked("why is the queue long?")
    assert "Incident here" in text
    assert "there" not in text


async def test_advice_is_repeated(tmp_path: Path) -> None:
    text = await House(tmp_path).asked("how many replicas does chat need?")
    assert text == "Pool chat/m should have 3 replicas and has 2: 97 % wait [S1]."


async def test_a_question_over_http_and_on_the_command_line(fleet: Fleet, tmp_path: Path) -> None:  # noqa: F811
    async with running(configured(fleet, tmp_path)) as daemon:
        await until(lambda: all(status.up for status in daemon.collectors.statuses()))
        await fleet.strike(1, "dead")
        await until(lambda: "TargetDown" in firing(daemon))
        url = f"http://127.0.0.1:{daemon.server.port}"
        async with (
            ClientSession() as session,
            session.get(f"{url}/api/v1/ask", params={"q": "哪些告警在触发？"}) as reply,
        ):
            data: dict[str, Any] = (await reply.json())["data"]
        assert data["intent"] == "alerts"
        assert data["sentences"][0]["text"].startswith("TargetDown（严重）自 ")
        command = [sys.executable, "-m", "aiops", "ask", "--url", url]
        for form, words in (("table", "query: alerts; from"), ("json", '"intent": "alerts"')):
            process = await _run([*command, "-o", form, "which", "alerts", "fire?"])
            assert "TargetDown (critical) fires since" in process
            assert words in process
        assert json.loads(await _run([*command, "-o", "json", "how many replicas?"]))["intent"] == "replicas"


async def _run(command: list[str]) -> str:
    import asyncio

    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


@pytest.mark.parametrize("question", ["", "x" * 5000, "\x00'; DROP TABLE pages; --", "why " + '"' * 50])
async def test_no_question_breaks_anything(tmp_path: Path, question: str) -> None:
    house = House(tmp_path)
    before = repr(house.pipeline.grouping.incidents)
    await house.ask.ask(question)
    assert repr(house.pipeline.grouping.incidents) == before
