"""A past from Prometheus: pages come back as they were, and what they teach lands where it belongs."""

import logging
import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from aiops.app import presets
from aiops.app.assembly import build_bank, build_pipeline
from aiops.app.config import Config
from aiops.app.pipeline import Pipeline
from aiops.app.warmup import Learnt, adopt, learn, replay, selected, target_readings, warm_up
from aiops.collect.exposition import PageParser
from aiops.collect.hub import ReadTarget
from aiops.collect.promapi import History, PrometheusSettings, Range
from aiops.collect.settings import JobSettings
from aiops.collect.targets import Target, build
from aiops.kit.clock import Clock
from aiops.kit.retry import Permanent, Temporary
from aiops.lab.engine import Engine
from aiops.lab.page import vllm_page
from aiops.signals.normalise import Normaliser
from aiops.signals.page import Layout, Page, Sample
from aiops.signals.types import Columns, Entity, EntityKind, Labels, Reading, SeriesKey, SourceStatus
from tests.real.prometheus import prometheus_with

NOW = 1_700_000_000.0
INSTANCE = "10.0.0.1:8000"
PROFILES = presets.engine_profiles()
Scrapes = list[tuple[float, Page]]


def config(**prometheus: object) -> Config:
    url = prometheus.pop("url", "http://127.0.0.1:1")
    return Config(prometheus=PrometheusSettings.model_validate({"url": url, **prometheus}))


def target(instance: str = INSTANCE) -> Target:
    (found,) = build([JobSettings.model_validate({"name": "llm", "targets": [instance]})], {}).targets
    return found


def scraped(engine: Engine, *, until: float = NOW, seconds: float = 1800.0, every: float = 15.0) -> Scrapes:
    """Pages of an engine as a Prometheus would see them, with the jitter of its scrapes."""
    parser, rng, scrapes = PageParser(), np.random.default_rng(1), Scrapes()
    for age in np.arange(seconds - every / 2, 0.0, -every).tolist():
        at = round(until - age + rng.uniform(-0.01, 0.01), 3)
        engine.advance(seconds - age)
        body = vllm_page(engine, model="tiny", started=until - seconds - 60).encode()
        scrapes.append((at, parser.parse(body, "text/plain")))
    return scrapes


@cache
def half_hour() -> Scrapes:
    """The past of most tests."""
    return scraped(Engine(seed=3))


@dataclass
class Remembered:
    """Stands for :class:`History`: evaluates selectors as Prometheus does, with 5 minutes of look-back."""

    past: dict[Labels, list[tuple[float, float]]] = field(default_factory=dict)
    warnings: dict[str, None] = field(default_factory=dict)
    asked: list[tuple[str, float]] = field(default_factory=list)

    def keep(self, scrapes: Scrapes, *, job: str = "llm", instance: str = INSTANCE, up: bool = True) -> "Remembered":
        added = (("instance", instance), ("job", job))
        for at, page in scrapes:
            samples = dict(zip(page.layout.samples, page.values.tolist(), strict=True))
            if up:
                samples[Sample("up", (), page.layout.samples[0].type)] = 1.0
            for sample, value in samples.items():
                labels = tuple(sorted((*sample.labels, *added, ("__name__", sample.name))))
                self.past.setdefault(labels, []).append((at, value))
        return self

    def history(self) -> History:
        return cast("History", self)

    def read(self, query: str, start: float, end: float, step: float, *, most_points: int = 0) -> Range:
        self.asked.append((query, step))
        stamps = query.startswith("timestamp(up{")
        wanted = query.removeprefix("timestamp(up").removesuffix(")")
        at = start + step * np.arange(int((end - start) / step + 1e-9) + 1, dtype=np.float64)
        rows: dict[Labels, list[float]] = {}
        for labels, samples in self.past.items():
            have = dict(labels)
            if f'{{instance="{have["instance"]}"}}' == wanted and stamps <= (have["__name__"] == "up"):
                rows[labels] = [_newest(samples, moment, stamps=stamps) for moment in at.tolist()]
        return Range(at, tuple(rows), np.array(list(rows.values())).reshape(len(rows), len(at)))


def _newest(samples: Sequence[tuple[float, float]], moment: float, *, stamps: bool) -> float:
    place = bisect_right(samples, (moment, float("inf"))) - 1
    fresh = place >= 0 and samples[place][0] > moment - 300
    return samples[place][0 if stamps else 1] if fresh else float("nan")


def straight(scrapes: Scrapes) -> list[Reading]:
    """What the scraper itself would have read."""
    one = target()
    normaliser = Normaliser(PROFILES, one.labels, one.source)
    return [normaliser.normalise(page, at) for at, page in scrapes]


def assert_same_readings(ours: Sequence[Reading], theirs: Sequence[Reading]) -> None:
    assert [reading.at for reading in ours] == [reading.at for reading in theirs]
    for our, their in zip(ours, theirs, strict=True):
        assert set(our.columns.keys) == set(their.columns.keys)
        known = dict(zip(their.columns.keys, their.values.tolist(), strict=True))
        np.testing.assert_allclose(our.values, [known[key] for key in our.columns.keys], equal_nan=True)


def read_back(memory: Remembered, **prometheus: object) -> list[Reading]:
    return list(target_readings(memory.history(), target(), PROFILES, config(**prometheus), NOW))


def test_every_scrape_comes_back_as_it_was() -> None:
    scrapes = half_hour()
    memory = Remembered().keep(scrapes)
    ours = read_back(memory)
    # The grid of the query and the jitter of the scrapes may lose one that fell between two points.
    theirs = {reading.at: reading for reading in straight(scrapes)}
    assert len(ours) >= 0.95 * len(scrapes)
    assert len({reading.at for reading in ours}) == len(ours)
    lost = set(theirs) - {reading.at for reading in ours}
    assert_same_readings(ours, straight([(at, page) for at, page in scrapes if at not in lost]))
    query, step = memory.asked[1]
    assert query == f'{{instance="{INSTANCE}"}}'
    assert step == pytest.approx(15.0, abs=0.1), "as often as it scraped"


def test_a_faster_prometheus_is_read_at_our_own_step_and_a_step_may_be_given() -> None:
    memory = Remembered().keep(scraped(Engine(seed=1), seconds=600, every=2.0))
    read_back(memory, lookback=600)
    read_back(memory, lookback=600, step=30)
    assert [step for query, step in memory.asked if query.startswith("{")] == [5.0, 30.0]


def test_without_up_a_page_that_repeats_is_one_page() -> None:
    scrapes = scraped(Engine(seed=1), seconds=600, every=60.0)
    ours = read_back(Remembered().keep(scrapes, up=False), lookback=600)
    assert len(ours) == len(scrapes)


def test_a_series_appears_and_a_target_is_away() -> None:
    scrapes = half_hour()
    born = Sample("vllm:corrupted_requests_total", (("model_name", "tiny"),), scrapes[0][1].layout.samples[0].type)
    layout = Layout((*scrapes[0][1].layout.samples, born))
    late = [(at, Page(layout, np.append(page.values, 0.0)) if at > NOW - 300 else page) for at, page in scrapes]
    # Prometheus goes on writing up = 0 while the target is away, and nothing else.
    away = [(at, page) for at, page in late if not NOW - 1200 < at < NOW - 700]
    ups = [(at, Page(Layout(()), np.empty(0))) for at, _ in late if NOW - 1200 < at < NOW - 700]
    memory = Remembered().keep(away)
    up = next(labels for labels in memory.past if ("__name__", "up") in labels)
    memory.past[up] = sorted([*memory.past[up], *((at, 0.0) for at, _ in ups)])
    for labels in memory.past.keys() - {up}:  # staleness markers: the fake looks back for 5 minutes, Prometheus not
        memory.past[labels] = sorted([*memory.past[labels], *((at, float("nan")) for at, _ in ups)])
    ours = read_back(memory)
    assert not [reading for reading in ours if NOW - 1200 < reading.at < NOW - 700]
    names = [{key.signal for key in reading.columns.keys} for reading in ours]
    assert "corrupted" not in names[0]
    assert "corrupted" in names[-1]
    lost = {at for at, _ in away} - {reading.at for reading in ours}
    assert_same_readings(ours, straight([(at, page) for at, page in away if at not in lost]))


def test_the_same_instance_under_two_jobs_is_counted_once() -> None:
    scrapes = scraped(Engine(seed=1), seconds=300)
    ours = read_back(Remembered().keep(scrapes).keep(scrapes, job="again"), lookback=300)
    alone = read_back(Remembered().keep(scrapes), lookback=300)
    assert_same_readings(ours, alone)
    with pytest.raises(Permanent, match="2 targets"):
        read_back(Remembered().keep(scrapes, job="x").keep(scrapes, job="y"), lookback=300)


def learnt_from(memory: Remembered, **prometheus: object) -> Learnt:
    return learn(memory.history(), [target()], config(**prometheus), PROFILES, NOW)


def live_tick(pipeline: Pipeline, now: float, readings: Sequence[Reading], *, elapsed: float = 5.0) -> None:
    status = SourceStatus(target().source, "scrape", Entity(EntityKind.TARGET, target().labels), 5.0, now, now)
    pipeline.tick(now, readings, [status], elapsed_seconds=elapsed)


def ready(pipeline: Pipeline) -> set[SeriesKey]:
    scores = pipeline.bank.scores()
    assert scores is not None
    return {key for key, score in zip(scores.keys, scores.ensemble.score, strict=True) if key and np.isfinite(score)}


def engine_and_past() -> tuple[Scrapes, Scrapes]:
    """Half an hour that Prometheus saw, and a minute that we see."""
    engine = Engine(seed=3)
    past = scraped(engine, seconds=1800.0)
    engine.now -= 1800.0  # its own clock goes on from here
    engine._next_arrival -= 1800.0
    return past, scraped(engine, until=NOW + 60.0, seconds=60.0, every=5.0)


def test_the_first_tick_after_it_is_judged_like_one_that_lived_through_it() -> None:
    past, present = engine_and_past()
    learnt = learnt_from(Remembered().keep(past))
    cold, warm, lived = (build_pipeline(config()) for _ in range(3))
    replay(lived, {target().source: straight(past)}, 5.0, NOW)
    assert adopt(warm, learnt, frozenset()) == len(learnt.ring.keys)
    # Not a restart, although the engine's clock was put back.
    readings = [replace(reading, marks=()) for reading in straight([*past[-1:], *present[:1]])[1:]]
    for pipeline in (cold, warm, lived):
        live_tick(pipeline, NOW + 5.0, readings)
    assert not ready(cold)
    assert len(ready(warm)) >= 10
    assert ready(warm) == ready(lived)
    ours, theirs = warm.bank.scores(), lived.bank.scores()
    assert ours is not None
    assert theirs is not None
    place = {key: column for column, key in enumerate(theirs.keys)}
    for column, key in enumerate(ours.keys):
        if key in ready(warm):
            np.testing.assert_allclose(
                ours.ensemble.expected[column], theirs.ensemble.expected[place[key]], rtol=0.1, atol=0.5
            )
    assert warm.ring.history(SeriesKey(replica(), "running")).values.size == 720
    assert np.isfinite(warm.ring.history(SeriesKey(replica(), "running")).values).sum() > 100, "charts have a past"
    assert not warm.machine.alerts


def replica() -> Entity:
    return Entity.of(EntityKind.REPLICA, job="llm", instance=INSTANCE, model_name="tiny")


PROBE = Columns((SeriesKey(replica(), "probe_ttft"), SeriesKey(replica(), "running")))


def fed(pipeline: Pipeline, ticks: int, running: float) -> Pipeline:
    """Live for a while before history arrives; the last tick is at NOW."""
    for age in range(ticks - 1, -1, -1):
        at = NOW - 5.0 * age
        live_tick(pipeline, at, [Reading("probe", at, PROBE, np.array([0.2, running]))])
    return pipeline


def state_of(pipeline: Pipeline, signal: str) -> dict[str, float]:
    column = pipeline.ring.column_of(SeriesKey(replica(), signal))
    assert column is not None
    kept = pipeline.bank.state().items()
    # Some arrays are not of columns: facts of the fleet, events.
    known = {name: float(array[column]) for name, array in kept if array.shape == (pipeline.ring.capacity,)}
    return {name: value for name, value in known.items() if not math.isnan(value)}  # unknown equals nothing


def test_what_runs_already_keeps_what_history_does_not_know() -> None:
    learnt = learnt_from(Remembered().keep(half_hour()))
    live = fed(build_pipeline(config()), 3, running=5.0)
    before = state_of(live, "probe_ttft")
    adopt(live, learnt, frozenset())
    assert state_of(live, "probe_ttft") == pytest.approx(before, rel=0, abs=0, nan_ok=True)
    taught = state_of(live, "running")
    assert taught["zscore.count"] > 100
    values = live.ring.history(SeriesKey(replica(), "running")).values
    assert values[-1] == values[-2] == 5.0, "what was seen stays"
    assert np.isfinite(values[:-3]).sum() > 100
    live_tick(live, NOW + 5.0, [Reading("probe", NOW + 5.0, PROBE, np.array([0.2, 5.0]))])
    assert SeriesKey(replica(), "running") in ready(live)


def test_a_restored_past_is_not_overwritten() -> None:
    learnt = learnt_from(Remembered().keep(half_hour()))
    live = fed(build_pipeline(config()), 80, running=5.0)
    known = frozenset(PROBE.keys)
    before, rows = state_of(live, "running"), live.ring.history(SeriesKey(replica(), "running")).values
    adopt(live, learnt, known)
    assert state_of(live, "running") == pytest.approx(before, rel=0, abs=0, nan_ok=True)
    after = live.ring.history(SeriesKey(replica(), "running")).values
    assert np.array_equal(rows, after, equal_nan=True)
    assert state_of(live, "queue_len")["zscore.count"] > 100, "its neighbours learn"
    assert selected([target()], known) == []
    assert selected([target(), target("other:1")], known) == [target("other:1")]


def test_a_fault_in_the_past_is_neither_alerted_nor_learnt() -> None:
    healthy = half_hour()
    faulty = [(at, Page(page.layout, page.values.copy())) for at, page in healthy]
    names = [sample.name for sample in healthy[0][1].layout.samples]
    for at, page in faulty:
        if at > NOW - 300:
            page.values[names.index("vllm:num_requests_waiting")] = 500.0
    learnt = learnt_from(Remembered().keep(faulty))
    live = build_pipeline(config())
    adopt(live, learnt, frozenset())
    assert not live.machine.alerts
    assert state_of(live, "queue_len")["zscore.level"] < 5.0


def test_what_cannot_be_read_is_told_and_the_rest_is_learnt() -> None:
    memory = Remembered().keep(half_hour())
    memory.warnings["a store is away"] = None
    learnt = learn(memory.history(), [target("other:1"), target()], config(), PROFILES, NOW)
    assert learnt.problems == ("Prometheus knows nothing of llm/other:1", "a store is away")
    assert list(learnt.sources) == [target().source]
    with pytest.raises(Permanent, match="knows nothing of llm/other:1"):
        learn(memory.history(), [target("other:1")], config(), PROFILES, NOW)


async def test_a_prometheus_that_is_down_costs_one_line(caplog: pytest.LogCaptureFixture) -> None:
    pipeline = build_pipeline(config())
    with caplog.at_level(logging.INFO, "aiops.app"):
        await warm_up(pipeline, lambda: [target()], config(), restored=False, clock=Clock())
    (line,) = caplog.records
    assert line.getMessage() == "no history to learn from"
    assert pipeline.ring.series == 0


async def test_long_work_says_in_the_log_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seconds = iter(range(100_000))
    clock = Clock(now=lambda: NOW, monotonic=lambda: float(next(seconds)))
    memory = Remembered().keep(half_hour())

    async def at_once(_: object, work: Callable[[History], Learnt], __: Clock) -> Learnt:
        return work(memory.history())

    monkeypatch.setattr("aiops.app.warmup.with_history", at_once)
    with caplog.at_level(logging.INFO, "aiops.app.warmup"):
        await warm_up(
            build_pipeline(config()), lambda: [target(), target("other:1")], config(), restored=False, clock=clock
        )
    lines = [vars(line) for line in caplog.records if line.getMessage() == "learning from history"]
    assert {line["phase"] for line in lines} == {"living through steps"}
    done = [line["done"] for line in lines]
    assert set(np.diff(done)) == {10}, "every ten seconds, and every step takes one"
    assert {line["of"] for line in lines} == {len(half_hour())}


def test_what_is_told_begins_at_nothing_and_names_the_phase() -> None:
    told: list[tuple[str, int, int]] = []
    memory = Remembered().keep(half_hour())
    both = [target("other:1"), target()]
    learn(memory.history(), both, config(), PROFILES, NOW, told=lambda *one: told.append(one))
    assert told[:3] == [("reading targets", 0, 2), ("reading targets", 1, 2), ("living through steps", 0, told[2][2])]
    assert [done for _, done, _ in told[2:]] == list(range(told[2][2]))


async def test_no_question_is_asked_about_restored_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object) -> None:
        raise Temporary("asked")

    monkeypatch.setattr("aiops.app.warmup.with_history", never)
    live = fed(build_pipeline(config()), 2, running=5.0)
    await warm_up(live, lambda: [target()], config(), restored=True, clock=Clock())


async def test_history_for_another_configuration_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = build_pipeline(config())
    learnt = learnt_from(Remembered().keep(scraped(Engine(seed=3), seconds=300)))

    async def reloaded_meanwhile(*_: object) -> Learnt:
        pipeline.bank = build_bank(config())
        return learnt

    monkeypatch.setattr("aiops.app.warmup.with_history", reloaded_meanwhile)
    await warm_up(pipeline, lambda: [target()], config(), restored=False, clock=Clock())
    assert "configuration of detection changed" in caplog.text
    assert pipeline.ring.series == 0


@pytest.mark.real
async def test_half_an_hour_of_a_real_prometheus_makes_the_first_tick_ready(
    tmp_path: Path, real_program: Callable[[str], str], free_port: Callable[[], int], caplog: pytest.LogCaptureFixture
) -> None:
    now = Clock().now()
    scrapes = scraped(Engine(seed=4), until=now, seconds=1800.0, every=15.0)
    memory = Remembered().keep(scrapes)
    past = {}
    for labels, samples in memory.past.items():
        inside = ",".join(f'{name}="{value}"' for name, value in labels if name != "__name__")
        past[f"{dict(labels)['__name__']}{{{inside}}}"] = samples
    programs = {"prometheus": real_program("prometheus"), "promtool": real_program("promtool")}
    async with prometheus_with(past, tmp_path, port=free_port(), **programs) as url:
        live = build_pipeline(config(url=url))
        read = ReadTarget("prometheus/llm", target().labels)  # it may be scraped by us or by others for us
        with caplog.at_level(logging.INFO, "aiops.app"):
            await warm_up(live, lambda: [read], config(url=url), restored=False, clock=Clock(now=lambda: now))
    assert [record.getMessage() for record in caplog.records] == ["learnt from history"]
    running = live.ring.history(SeriesKey(replica(), "running")).values
    assert np.isfinite(running).sum() >= 115, "120 scrapes in half an hour"
    live_tick(live, now + 5.0, straight(scrapes[-2:])[1:])
    assert len(ready(live)) >= 10
