"""What is planned, from the door to the pipeline and over a restart."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer
from yarl import URL

from aiops.app.assembly import build_pipeline
from aiops.app.cli import main
from aiops.app.config import Config
from aiops.app.daemon import Daemon
from aiops.app.pipeline import Pipeline
from aiops.app.upkeep import MOST_WINDOWS, Upkeep
from aiops.collect.nvml_watch import Enabled, NvmlSettings
from aiops.collect.settings import JobSettings, ScrapeSettings
from aiops.incidents.policy_settings import Skip
from aiops.kit.clock import Clock
from aiops.lab.fleet import Fleet
from aiops.signals.types import Columns, Entity, EntityKind, MarkKind, Reading, SeriesKey, SourceStatus
from aiops.store.journal import Journal
from aiops.store.settings import StoreSettings
from aiops.store.view import ArchiveView
from aiops.web.asked import Change, Plan
from aiops.web.settings import WebSettings
from aiops.web.source import Refused
from tests.kit.kubernetes_api import Api, pod

NOW = 1_700_000_000.0
CHAT = Entity.of(EntityKind.REPLICA, job="vllm", instance="a:1", pool="chat", model_name="m")
POOL = Entity.of(EntityKind.POOL, pool="chat", model_name="m")
TARGET = Entity.of(EntityKind.TARGET, job="vllm", instance="a:1")
NODE = Entity.of(EntityKind.NODE, node="n1")
COLUMNS = Columns(tuple(SeriesKey(entity, name) for entity, name in ((CHAT, "running"), (NODE, "load1"))))


class Desk:
    """An upkeep with its archive, and a clock that the test sets."""

    def __init__(self, folder: Path) -> None:
        self.now = NOW
        self.clock = Clock(now=lambda: self.now)
        self.pipeline: Pipeline = build_pipeline(Config())
        self.journal = Journal(folder / "a.sqlite", retention_seconds=1e9, max_bytes=10**9, clock=self.clock)
        self.upkeep = Upkeep(self.pipeline, self.journal, ArchiveView(folder / "a.sqlite"), self.clock)
        self.journal.start()
        self.upkeep.restore()
        self.tick()

    def tick(self) -> None:
        reading = Reading("s", self.now, COLUMNS, np.array([1.0, 1.0]))
        source = SourceStatus("s", "scrape", TARGET, 5.0, self.now, self.now, self.now)
        self.pipeline.tick(self.now, [reading], [source], elapsed_seconds=5.0, marks=self.upkeep.take())


@pytest.fixture
def desk(tmp_path: Path) -> Any:
    desk = Desk(tmp_path)
    yield desk
    desk.journal.close()


def test_a_window_is_planned_listed_kept_and_ended(desk: Desk, tmp_path: Path) -> None:
    record = desk.upkeep.begin(Plan(name="racks", lasts=7200.0, matches={"pool": "chat"}), "ann")
    assert record | {"id": ""} == {
        "id": "", "name": "racks", "state": "active", "begins": "2023-11-14T22:13:20.000Z",
        "ends": "2023-11-15T00:13:20.000Z", "matches": {"pool": "chat"}, "skip": ["alert", "learning"], "by": "ann",
    }  # fmt: skip
    later = desk.upkeep.begin(
        Plan(name="next", lasts=60, begins=datetime(2023, 11, 15, 22, tzinfo=UTC), skip=(Skip.LEARNING,)), ""
    )
    assert later["state"] == "planned"
    assert [one["name"] for one in desk.upkeep.records()] == ["racks", "next"]
    desk.tick()
    assert desk.pipeline.calendar.frozen == {CHAT, POOL}
    desk.journal.close()
    after = Desk(tmp_path)
    assert after.upkeep.records() == [record, later]
    assert after.upkeep.end(str(record["id"]))["state"] == "over"
    assert after.upkeep.end(str(later["id"]))["state"] == "over"
    assert after.upkeep.records() == []
    after.journal.close()
    assert Desk(tmp_path).upkeep.records() == []


def test_a_window_that_would_be_over_is_refused(desk: Desk) -> None:
    with pytest.raises(Refused, match="over already") as refused:
        desk.upkeep.begin(Plan(name="x", lasts=60, begins=datetime(2020, 1, 1, tzinfo=UTC)), "")
    assert refused.value.status == 400
    assert desk.upkeep.records() == []


def test_the_number_of_windows_is_bounded_and_an_unknown_one_is_not_found(desk: Desk) -> None:
    for _ in range(MOST_WINDOWS):
        desk.upkeep.begin(Plan(name="x", lasts=60), "")
    with pytest.raises(Refused, match="end some first") as refused:
        desk.upkeep.begin(Plan(name="x", lasts=60), "")
    assert refused.value.status == 503
    with pytest.raises(Refused, match="there is no window 'zz'"):
        desk.upkeep.end("zz")


def test_a_deploy_marks_the_widest_that_matches(desk: Desk) -> None:
    desk.tick()  # now there is a pool
    for matches, kinds in (
        ({"pool": "chat"}, {"pool"}),
        ({"instance": "a:*"}, {"replica"}),
        ({"node": "n1"}, {"node"}),
    ):
        records = desk.upkeep.mark(Change(text="1.4 became 1.5", matches=matches))
        assert {record["entity"]["kind"] for record in records} == kinds  # type: ignore[index]
    with pytest.raises(Refused, match="nothing that is watched matches pool=nope"):
        desk.upkeep.mark(Change(text="x", matches={"pool": "nope"}))
    marks = desk.upkeep.take()
    assert {mark.kind for mark in marks} == {MarkKind.DEPLOY}
    assert desk.upkeep.take() == ()


def test_a_rollout_marks_the_pool_of_that_very_name(desk: Desk) -> None:
    desk.tick()
    assert desk.upkeep.take([("cha[st]", "x"), ("*", "x")]) == (), "a name is no pattern"
    (mark,) = desk.upkeep.take([("chat", "rollout of b (" + "i" * 300 + "\n")])
    assert (mark.kind, mark.entity, mark.at) == (MarkKind.DEPLOY, POOL, desk.now)
    assert len(mark.detail) == 200


async def test_a_rollout_in_a_cluster_is_a_deploy_of_its_pool(tmp_path: Path) -> None:
    """From the pods of the API server to marks in the archive, with the right to see pods and no other."""
    api, fleet = Api(), Fleet(3)
    await fleet.start()

    def put(replica: int, revision: str) -> None:
        url = URL(fleet.replicas[replica].url)
        api.pods.put(
            pod(f"p{replica}", address=str(url.host), revision=revision, **{"prometheus.io/port": str(url.port)})
        )

    async with TestServer(api.application()) as server:
        sd = {"kubernetes_sd": [{"api": {"url": str(server.make_url(""))}}], "interval": 0.2, "name": "k8s"}
        config = configured(tmp_path, ScrapeSettings(jobs=(JobSettings.model_validate(sd),)))
        put(0, "old")
        put(1, "old")
        async with running(config) as daemon:

            def told() -> list[tuple[str, str]]:
                return [(mark.entity.label("pool"), mark.detail) for mark in daemon.state.view.recent_marks(10)
                        if mark.kind is MarkKind.DEPLOY]  # fmt: skip

            keys = daemon.pipeline.ring.window
            await until(lambda: any(key is not None and key.entity.kind is EntityKind.POOL for key in keys().keys))
            put(2, "new")
            await until(lambda: len(told()) == 1)
            for name in ("p0", "p1"):
                api.pods.delete(f"uid-llm-{name}")
            await until(lambda: len(told()) == 2)
            assert told() == [
                ("llm/vllm", "rollout of new (vllm) is complete"), ("llm/vllm", "rollout of new (vllm)")
            ]  # fmt: skip
            assert {path.split("?")[0] for _, path, _ in api.asked} == {"/api/v1/pods"}
        api.pods.drop = True
        api.pods.kick()
    await fleet.stop()


def configured(folder: Path, scrape: ScrapeSettings | None = None) -> Config:
    return Config(
        interval=0.2,
        nvml=NvmlSettings(enabled=Enabled.OFF),
        scrape=scrape or ScrapeSettings(),
        store=StoreSettings(directory=folder),
        web=WebSettings(listen_address="127.0.0.1:0"),
    )


async def until(ready: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60.0
    while not ready():
        assert time.monotonic() < deadline, "not in time"
        await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def running(config: Config) -> AsyncIterator[Daemon]:
    daemon = Daemon(config)
    task = asyncio.create_task(daemon.run())
    await until(lambda: daemon.last_tick_at or task.done())
    yield daemon
    daemon.stop()
    await task


@pytest_asyncio.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    async with running(configured(tmp_path)) as daemon:
        yield daemon


async def test_over_http_and_by_command(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    async def aiops(*arguments: str) -> tuple[int, str]:
        code = await asyncio.to_thread(main, [*arguments, f"--url={daemon.server.base_url}"])
        return code, capsys.readouterr().out

    code, out = await aiops("maintenance", "begin", "racks", "--for=2h", "--match=pool=chat", "--skip=alert", "-o=wide")
    assert code == 0
    assert [word for word in ("racks", "active", "pool=chat", "alert") if word not in out] == []
    async with ClientSession(daemon.server.base_url) as session:
        async with session.get("/api/v1/maintenance") as answer:
            (window,) = (await answer.json())["data"]["windows"]
        assert (window["by"], window["skip"]) == ("local", ["alert"])
        async with session.post("/api/v1/maintenance", json={"name": "x"}) as answer:
            assert (answer.status, (await answer.json())["error"]) == (400, "lasts is missing")
        async with session.post("/api/v1/marks", json={"text": "x"}) as answer:
            assert answer.status == 404
    assert f"{window['ends'][5:10]} {window['ends'][11:16]}Z" in (await aiops("maintenance", "list"))[1]
    assert (await aiops("maintenance", "end", window["id"]))[0] == 0
    code, out = await aiops("maintenance", "list", "--no-headers")
    assert (code, out.strip()) == (0, "")
    assert (await aiops("mark", "1.5", "--match=pool"))[0] == 1
    assert (await aiops("mark", "1.5", "--match=pool=nope"))[0] == 1
