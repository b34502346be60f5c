"""Reading from a server that scrapes: whose targets are ours, and what its own failures say about them."""

import json
import math
import re
import threading
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import pytest
from pydantic import ValidationError

from aiops.app import presets
from aiops.collect.hub import Hub, HubServerSettings, HubSettings
from aiops.collect.promapi import Samples
from aiops.collect.targets import shard_of
from aiops.kit.clock import Clock
from aiops.kit.retry import Permanent, Temporary
from aiops.signals.settings import NormaliseSettings
from aiops.signals.types import Labels, Reading

PROFILES = presets.engine_profiles()
VLLM = {"vllm:num_requests_running": 3.0, "vllm:num_requests_waiting": 0.0}


@dataclass
class Server:
    """A store of samples that evaluates what the hub asks, as Prometheus does."""

    now: float = 1000.0
    series: dict[Labels, list[tuple[float, float]]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    failure: Exception | None = None
    hanging: threading.Event | None = None
    warnings: dict[str, None] = field(default_factory=dict)

    def scrape(self, values: dict[str, float] | None, **target: str) -> None:
        """Store one scrape of a target now; None = it was down."""
        rows = {"up": 0.0} if values is None else {"up": 1.0, **values}
        for name, value in rows.items():
            model = {"model_name": "m"} if name.startswith("vllm:") else {}
            labels = tuple(sorted({"__name__": name, **target, **model}.items()))
            self.series.setdefault(labels, []).append((self.now, value))

    def samples(self, query: str, at: float, *, most_series: int) -> list[Samples]:
        self.asked.append(query)
        if self.hanging is not None:
            self.hanging.wait(5)
        if self.failure is not None:
            raise self.failure
        names = re.search(r'__name__=~"([^"]*)"', query)
        jobs = re.search(r'job=~"([^"]*)"', query)
        places = re.search(r'instance=~("[^"]*")', query)
        reach = re.search(r"\[(\d+)(m?s)\]$", query)
        assert names is not None
        seconds = 300.0 if reach is None else float(reach[1]) / (1000.0 if reach[2] == "ms" else 1.0)
        found = []
        for labels, samples in self.series.items():
            have = dict(labels)
            # Left open, as Prometheus 3 and VictoriaMetrics have it, and with the time as it is sent.
            inside = [pair for pair in samples if round(at, 3) - seconds < pair[0] <= round(at, 3)]
            fits = re.fullmatch(names[1], have["__name__"]) and (jobs is None or re.fullmatch(jobs[1], have["job"]))
            here = places is None or re.fullmatch(json.loads(places[1]), have["instance"])
            if fits and here and inside:
                shown = inside if reach else [(at, inside[-1][1])]
                found.append(Samples(have, *zip(*shown, strict=True)))
        if query.startswith("count by"):
            sizes: dict[tuple[str, str], int] = {}
            for one in found:
                key = one.labels["__name__"], one.labels["job"]
                sizes[key] = sizes.get(key, 0) + 1
            found = [Samples({"__name__": n, "job": j}, (at,), (float(size),)) for (n, j), size in sizes.items()]
        if len(found) > most_series:
            raise Permanent("too many series")
        return found

    def names(self, selector: str, start: float, end: float) -> list[str]:
        return [dict(labels)["__name__"] for labels in self.series]

    def begin(self) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    one = Server()
    monkeypatch.setattr("aiops.collect.hub.History", lambda *_: one)
    return one


def hub_of(server: Server, *, shard: tuple[int, int] = (0, 1), **settings: Any) -> Hub:
    clock = Clock(now=lambda: server.now, monotonic=lambda: server.now)
    given = HubServerSettings.model_validate({"url": "http://prometheus:9090", "interval": 5.0, **settings})
    return Hub(given, PROFILES, NormaliseSettings(), shard=shard, clock=clock)


def value(reading: Reading, signal: str) -> float:
    return next(float(v) for key, v in zip(reading.columns.keys, reading.values, strict=True) if key.signal == signal)


async def test_targets_of_known_programs_are_ours_and_no_others(server: Server) -> None:
    hub = hub_of(server)
    for instance in ("a:1", "b:1"):
        server.scrape(VLLM, job="llm", instance=instance)
    server.scrape(None, job="llm", instance="dead:1")
    server.scrape({"go_goroutines": 7.0}, job="mixed", instance="c:1")
    server.scrape(VLLM, job="mixed", instance="d:1")
    server.scrape(None, job="mixed", instance="unknown:1")
    server.scrape({"go_goroutines": 7.0}, job="node", instance="e:1")
    readings = await hub.read()
    assert {one.source for one in readings} == {"prometheus/llm/a:1", "prometheus/llm/b:1", "prometheus/mixed/d:1"}
    assert all(value(one, "running") == 3.0 for one in readings)
    statuses = {one.source.removeprefix("prometheus/"): one for one in hub.statuses()}
    assert {name: one.up for name, one in statuses.items()} == {
        "llm/a:1": True, "llm/b:1": True, "mixed/d:1": True, "llm/dead:1": False,
    }  # fmt: skip
    assert statuses["llm/dead:1"].error == "prometheus says: down"
    assert statuses["llm/a:1"].facts["engine"] == "vllm"
    assert statuses["llm/a:1"].entity.labels == (("instance", "a:1"), ("job", "llm"))
    assert not any("node" in query for query in server.asked if query.endswith("s]"))


async def test_a_page_that_becomes_that_of_a_known_program_is_ours_from_then_on(server: Server) -> None:
    hub = hub_of(server, refresh_interval=5.0)
    server.scrape(VLLM, job="mixed", instance="a:1")
    server.scrape({"go_goroutines": 7.0, "process_start_time_seconds": 1.0}, job="mixed", instance="b:1")
    assert [one.source for one in await hub.read()] == ["prometheus/mixed/a:1"]
    server.now += 5
    server.scrape({**VLLM, "process_start_time_seconds": 1.0}, job="mixed", instance="b:1")
    assert [one.source for one in await hub.read()] == ["prometheus/mixed/b:1"]
    server.now += 5
    server.scrape(None, job="mixed", instance="b:1")
    await hub.read()
    assert [one.failures for one in hub.statuses()] == [0, 1]


async def test_engines_that_start_after_the_hub_are_found_at_the_next_turn(server: Server) -> None:
    hub = hub_of(server)
    server.scrape({"go_goroutines": 7.0}, job="node", instance="e:1")
    assert await hub.read() == []
    server.now += 5
    server.scrape(VLLM, job="llm", instance="a:1")
    assert len(await hub.read()) == 1


async def test_an_old_value_is_no_fresh_sample_and_costs_two_questions(server: Server) -> None:
    hub = hub_of(server)
    server.scrape(VLLM, job="llm", instance="a:1")
    assert len(await hub.read()) == 1
    before = hub.counts.queries
    server.now += 5
    assert await hub.read() == []
    assert hub.counts.queries == before + 2
    assert hub.statuses()[0].last_success == 1000.0
    server.now += 5
    server.scrape(VLLM, job="llm", instance="a:1")
    server.now += 10
    server.scrape({**VLLM, "vllm:num_requests_running": 4.0}, job="llm", instance="a:1")
    server.now += 0.0006  # is sent as 0.001
    readings = await hub.read()
    assert [value(one, "running") for one in readings] == [3.0, 4.0]
    assert {one.at for one in readings} == {server.now}
    assert hub.statuses()[0].interval_seconds == 5.0 + 10.0, "as long as two scrapes and two turns may be apart"


async def test_counters_stay_counters(server: Server) -> None:
    hub = hub_of(server)
    for total in (100.0, 150.0, 20.0):
        others = {f"vllm:{name}_total": server.now for name in ("prompt_tokens", "num_preemptions")}
        server.scrape({**VLLM, **others, "vllm:generation_tokens_total": total}, job="llm", instance="a:1")
        server.now += 10
    rates = []
    for moment in (1000.0, 1010.0, 1020.0):
        server.now = moment
        rates.append(value((await hub.read())[0], "tokens_out"))
    assert rates[1] == 5.0
    assert math.isnan(rates[0])
    assert math.isnan(rates[2]), "what was counted across a reset is unknown"


async def test_while_the_server_fails_nothing_is_said_about_targets(server: Server) -> None:
    hub = hub_of(server)
    server.scrape(VLLM, job="llm", instance="a:1")
    await hub.read()
    server.failure = Temporary("http://prometheus:9090 answered 429, expected 200", 40.0)
    for failures in (1, 2):
        server.now += 5 if failures == 1 else 40
        asked = len(server.asked)
        assert await hub.read() == ()
        assert len(server.asked) == asked + 1, "one question is enough to know"
        assert hub.status().failures == failures
        assert len(hub.statuses()) == 2 - failures, "one failure may be a hiccup"
    server.now += 39
    assert await hub.read() == ()
    assert (len(server.asked), hub.counts.put_off) == (asked + 1, 1), "it asked for 40 s"
    server.failure = None
    server.now += 300
    server.scrape(VLLM, job="llm", instance="a:1")
    assert len(await hub.read()) == 1
    assert [one.up for one in hub.statuses()] == [True]
    assert hub.status().up


async def test_a_turn_that_hangs_is_given_up_and_no_second_one_begins(server: Server) -> None:
    hub = hub_of(server, deadline=0.05)
    server.scrape(VLLM, job="llm", instance="a:1")
    server.hanging = threading.Event()
    assert await hub.read() == ()
    assert "no answer within" in hub.status().error
    server.now += 300
    assert await hub.read() == ()
    assert "has not ended" in hub.status().error
    assert len(server.asked) == 1
    server.hanging.set()


async def test_what_was_planned_too_small_is_planned_anew(server: Server) -> None:
    def scrape(count: int) -> None:
        for place in range(count):
            server.scrape(VLLM, job="llm", instance=f"{place}:1")

    hub = hub_of(server, max_series=10)
    scrape(4)
    assert len(await hub.read()) == 4
    assert server.asked[-1].count("vllm:") == 2, "8 series fit into one query"
    server.now += 5
    scrape(10)
    assert await hub.read() == ()
    assert "too many series" in hub.status().error
    server.now += 5
    assert len(await hub.read()) == 10, "the scrape of the turn that failed"
    assert server.asked[-1].count("vllm:") == server.asked[-2].count("vllm:") == 1


async def test_targets_are_relabelled_dropped_limited_and_split(server: Server) -> None:
    rules = [
        {"source_labels": ["namespace", "service"], "separator": "/", "target_label": "pool"},
        {"source_labels": ["instance"], "regex": "b:.*", "action": "drop"},
    ]
    for name in "abcdefgh":
        server.scrape(VLLM, job="llm", instance=f"{name}:1", namespace="n", service=name)
    whole = hub_of(server, relabel=rules, labels={"cluster": "x"}, target_limit=5)
    readings = await whole.read()
    pools = {key.entity.label("pool") for one in readings for key in one.columns.keys}
    assert pools == {"n/a", "n/c", "n/d", "n/e", "n/f"}
    assert whole.statuses()[0].entity.label("cluster") == "x"
    assert str(whole.status().facts["problems"]).count("target_limit is reached") == 2
    parts = [hub_of(server, shard=(place, 3)) for place in range(3)]
    for part in parts:
        await part.read()
    of_part = [{one.source for one in part.statuses()} for part in parts]
    assert sorted(map(len, of_part)) == [0, 0, 8], "a job without pools is one"
    mine = shard_of((("instance", "a:1"), ("job", "llm"), ("namespace", "n"), ("service", "a")), 3)
    assert len(of_part[mine]) == 8


async def test_shards_read_everything_once_and_ask_for_no_more(server: Server) -> None:
    """Also where a rule makes the pool, and names have an expression's signs. Sizes are those of the part."""
    rule = {"source_labels": ["instance"], "regex": "(p.*)-.*", "target_label": "pool"}
    sizes = {
        "relabel": [rule, {"source_labels": ["instance"], "regex": ".*-2:.*", "action": "drop"}],
        "max_series": 125,
    }
    for pool in range(40):
        for replica in range(3):
            server.scrape(VLLM, job="llm", instance=f"p.{pool}|-{replica}:8")
    whole = hub_of(server, **sizes)
    everything = {one.source for one in await whole.read()}
    assert server.asked[-1].count("vllm:") == 1, "120 series of each"
    readings, series = [], 0
    for place in range(4):
        hub, server.asked = hub_of(server, shard=(place, 4), **sizes), []
        readings += await hub.read()
        series += hub.counts.series
        assert server.asked[-1].count("vllm:") == 2
        assert hub.counts.queries == len(server.asked) + 1, "and one for names"
        assert all(len(quote(query, safe="")) < 7000 for query in server.asked)
    assert sorted(one.source for one in readings) == sorted(everything)
    assert len(everything) == 80
    assert series == len(readings) * len(VLLM), "nothing of others, and nothing of what a rule drops"


async def test_a_shard_without_targets_asks_for_no_samples(server: Server) -> None:
    server.scrape(VLLM, job="llm", instance="a:1", pool="p")
    mine = shard_of((("pool", "p"),), 2)
    hub = hub_of(server, shard=(1 - mine, 2))
    assert not await hub.read()
    assert hub.counts.series == 0
    assert [query for query in server.asked if query.endswith("]")] == []
    server.now += 5
    server.scrape(VLLM, job="llm", instance="a:1", pool="p")
    names = ("q", "r", "s", "t")
    for pool in names:
        server.scrape(VLLM, job="llm", instance=f"{pool}:1", pool=pool)
    ours = {pool for pool in names if shard_of((("pool", pool),), 2) != mine}
    readings = await hub.read()
    assert {key.entity.label("pool") for one in readings for key in one.columns.keys} == ours != set()


async def test_what_is_left_out_is_told_once(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    hub = hub_of(server, target_limit=1)
    server.warnings = {"a store\x1b is slow": None}
    for _ in range(2):
        for instance in ("a:1", "b:1"):
            server.scrape(VLLM, job="llm", instance=instance)
        assert len(await hub.read()) == 1
        server.now += 5
    said = "a store\x1b is slow; prometheus/llm/b:1 left out: target_limit is reached"
    assert hub.status().facts["problems"] == said
    assert hub.status().up
    assert [one.__dict__["fault"] for one in caplog.records] == [said]


async def test_a_target_that_is_gone_is_no_target_any_more(server: Server) -> None:
    hub = hub_of(server)
    server.scrape(VLLM, job="llm", instance="a:1")
    server.scrape(VLLM, job="llm", instance="b:1")
    await hub.read()
    server.series = {labels: rows for labels, rows in server.series.items() if ("instance", "b:1") not in labels}
    server.now += 5
    server.scrape(VLLM, job="llm", instance="a:1")
    assert [one.source for one in await hub.read()] == ["prometheus/llm/a:1"]
    assert [one.source for one in hub.statuses()] == ["prometheus/llm/a:1"]
    await hub.close()


def test_settings_that_cannot_work_are_refused() -> None:
    for wrong in ({}, {"url": ""}, {"url": "http://me:secret@host"}, {"url": "http://h", "selector": "up"}):
        with pytest.raises(ValidationError):
            HubServerSettings.model_validate(wrong)
    with pytest.raises(ValidationError, match="used twice: prometheus"):
        HubSettings.model_validate({"servers": [{"url": "http://a"}, {"url": "http://b"}]})
