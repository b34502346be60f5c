"""A hub that reads what a real Prometheus scraped decides as a daemon that scrapes the same targets itself."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aiops.app import presets
from aiops.app.assembly import build_pipeline
from aiops.app.config import Config
from aiops.app.pipeline import Outcome
from aiops.collect.exposition import PageParser
from aiops.collect.hub import Hub, HubServerSettings
from aiops.collect.hub_pages import Pages
from aiops.collect.promapi import History
from aiops.collect.targets import source_of
from aiops.kit.clock import Clock
from aiops.lab.engine import Engine, Shape
from aiops.lab.faults import FAULTS
from aiops.lab.page import vllm_page
from aiops.signals.normalise import Normaliser
from aiops.signals.page import Page
from aiops.signals.types import Entity, EntityKind, Labels, Reading, SeriesKey, SourceStatus
from tests.real.prometheus import prometheus_with

STEP = 5.0
TURNS = 110
STUCK, DEAD = 35, 60
PROFILES = presets.engine_profiles()
REPLICAS: list[Labels] = [
    (("instance", f"10.0.0.{place}:8000"), ("job", "vllm"), ("pool", "chat")) for place in range(3)
]
Scrapes = dict[Labels, list[tuple[float, Page | None]]]


def scrapes_until(end: float) -> Scrapes:
    """Three replicas, of which one gets stuck and another dies; a dead one has no page."""
    start = end - STEP * (TURNS - 1)
    found: Scrapes = {}
    for place, labels in enumerate(REPLICAS):
        engine, parser = Engine(place + 1, Shape(arrivals_per_second=1.0)), PageParser()
        rows: list[tuple[float, Page | None]] = []
        for turn in range(TURNS):
            if place == 1 and turn == STUCK:
                FAULTS["stuck"].strike(engine)
            engine.advance(STEP * (turn + 1))
            page = parser.parse(vllm_page(engine, model="m", started=start - 60).encode(), "text/plain")
            rows.append((start + STEP * turn, None if place == 2 and turn >= DEAD else page))
        found[labels] = rows
    return found


def as_stored(scrapes: Scrapes) -> dict[str, list[tuple[float, float]]]:
    """Series as Prometheus stores them: the labels of the target on each, and ``up``."""
    past: dict[str, list[tuple[float, float]]] = {}
    for labels, rows in scrapes.items():
        for at, page in rows:
            samples = [("up", (), 0.0 if page is None else 1.0)]
            if page is not None:
                values = page.values.tolist()
                samples += [
                    (one.name, one.labels, value) for one, value in zip(page.layout.samples, values, strict=True)
                ]
            for name, own, value in samples:
                inside = ",".join(f'{key}="{text}"' for key, text in (*labels, *own))
                past.setdefault(f"{name}{{{inside}}}", []).append((at, value))
    return past


def straight(scrapes: Scrapes) -> list[tuple[float, list[Reading], list[SourceStatus]]]:
    """What our own scraper would have brought, turn by turn."""
    normalisers = {labels: Normaliser(PROFILES, labels, source_of(labels)) for labels in scrapes}
    statuses = {
        labels: SourceStatus(source_of(labels), "scrape", Entity(EntityKind.TARGET, labels), STEP) for labels in scrapes
    }
    turns = []
    for turn in range(TURNS):
        readings = []
        for labels, rows in scrapes.items():
            at, page = rows[turn]
            before = statuses[labels]
            if page is None:
                statuses[labels] = replace(before, last_attempt=at, failures=before.failures + 1, error="refused")
            else:
                statuses[labels] = replace(before, last_attempt=at, last_success=at, last_change=at)
                readings.append(normalisers[labels].normalise(page, at))
        turns.append((at, readings, list(statuses.values())))
    return turns


def decided(at: float, outcome: Outcome) -> list[tuple[float, str, str, str]]:
    return sorted(
        (at, one.alert.key.rule, str(one.alert.key.series), str(one.alert.state)) for one in outcome.transitions
    )


@pytest.mark.real
async def test_a_hub_decides_as_a_daemon_that_scrapes(
    tmp_path: Path, real_program: Callable[[str], str], free_port: Callable[[], int]
) -> None:
    scrapes = scrapes_until(round(Clock().now()) - 60.0)
    programs = {"prometheus": real_program("prometheus"), "promtool": real_program("promtool")}
    scraping, reading = build_pipeline(Config()), build_pipeline(Config())
    ours, theirs = [], []
    async with prometheus_with(as_stored(scrapes), tmp_path, port=free_port(), **programs) as url:
        now = 0.0
        clock = Clock(now=lambda: now, monotonic=lambda: now)
        settings = HubServerSettings(url=url, interval=STEP, max_series=150)
        hub = Hub(settings, PROFILES, Config().signals, clock=clock)
        for at, direct, statuses in straight(scrapes):
            now = at
            told = await hub.read()
            assert not hub.status().error
            known = [*hub.statuses()]
            if direct:
                assert len(told) == len(direct)
            for one, other in zip(told, direct, strict=True):
                values = dict(zip(one.columns.keys, one.values.tolist(), strict=True))
                assert values.keys() == set(other.columns.keys)
                np.testing.assert_array_equal([values[key] for key in other.columns.keys], other.values)
            theirs += decided(at, scraping.tick(at, direct, statuses, elapsed_seconds=STEP))
            ours += decided(at, reading.tick(at, told, known, elapsed_seconds=STEP))
        await hub.close()
    fired = {(rule, series) for _, rule, series, state in theirs if state == "firing"}
    assert {rule for rule, _ in fired} >= {"EngineStuck", "TargetDown", "QueueSaturated"}
    assert ours == theirs
    assert hub.counts.scrapes == TURNS * len(REPLICAS)
    assert hub.counts.series > settings.max_series, "the answers were asked for in parts"


@pytest.mark.real
async def test_shards_read_every_series_once_and_share_the_answers(
    tmp_path: Path, real_program: Callable[[str], str], free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    end = round(Clock().now()) - 60.0
    scrapes: Scrapes = {}
    for place in range(24):
        labels = (("instance", f"10.0.0.{place}:8000"), ("job", "vllm"), ("pool", f"p{place // 2}"))
        engine, parser = Engine(place, Shape(arrivals_per_second=1.0)), PageParser()
        engine.advance(60.0)
        page = parser.parse(vllm_page(engine, model="m", started=end - 60).encode(), "text/plain")
        scrapes[labels] = [(end - STEP, page), (end, page)]
    asked_bytes = 0

    def counted(history: History, response: object) -> bytes:
        nonlocal asked_bytes
        answer = body(history, response)
        asked_bytes += len(answer)
        return answer

    body = History._body
    monkeypatch.setattr(History, "_body", counted)
    programs = {"prometheus": real_program("prometheus"), "promtool": real_program("promtool")}
    told: dict[tuple[int, int], dict[SeriesKey, float]] = {}
    cost: dict[tuple[int, int], int] = {}
    async with prometheus_with(as_stored(scrapes), tmp_path, port=free_port(), **programs) as url:
        clock = Clock(now=lambda: end, monotonic=lambda: end)
        for shard in ((0, 1), *((place, 4) for place in range(4))):
            hub = Hub(HubServerSettings(url=url), PROFILES, Config().signals, shard=shard, clock=clock)
            await hub.read()  # plans
            asked_bytes, hub._pages = 0, Pages()
            told[shard] = {
                key: value
                for one in await hub.read()
                for key, value in zip(one.columns.keys, one.values.tolist(), strict=True)
            }
            assert not hub.status().error
            cost[shard] = asked_bytes
            await hub.close()
    whole, whole_bytes = told.pop((0, 1)), cost.pop((0, 1))
    assert sum(map(len, told.values())) == len(whole) > 24 * 20
    together = {key: value for part in told.values() for key, value in part.items()}
    assert together.keys() == whole.keys()
    np.testing.assert_array_equal([together[key] for key in whole], list(whole.values()))
    assert all(told.values())
    pools = {shard: len({key.entity.label("pool") for key in part}) for shard, part in told.items()}
    for shard, answered in cost.items():
        assert answered < whole_bytes * (pools[shard] / 12 + 0.05), "its pools, and the list of all targets"
