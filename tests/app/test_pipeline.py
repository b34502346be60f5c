"""What really reaches the detectors: pages that come late, twice, out of order or never, and counters that restart.

A replica whose numbers are healthy lives through each, from the text of its page to the alerts; statistics raise none,
and what was learnt is what a calm life teaches.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from aiops.app.assembly import build_pipeline
from aiops.app.config import Config
from aiops.app.pipeline import Pipeline
from aiops.app.presets import engine_profiles
from aiops.collect.exposition import PageParser
from aiops.incidents.alert import AlertState
from aiops.signals.normalise import Normaliser
from aiops.signals.profile import Profile
from aiops.signals.types import Entity, EntityKind, Reading, SourceStatus

STEP = 5.0
TICKS, BEGIN = 120, 70
PAGE = """# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{{model_name="m"}} {running}
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{{model_name="m"}} {waiting}
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{{model_name="m"}} 0.5
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{{model_name="m"}} {tokens}
# TYPE vllm:request_success_total counter
vllm:request_success_total{{model_name="m",finished_reason="stop"}} {done}
# TYPE process_start_time_seconds gauge
process_start_time_seconds 1.7e9
"""
LABELS = (("instance", "10.0.0.1:8000"), ("job", "llm"))
Ticks = list[list[tuple[float, str]]]
"""Per tick the pages that are read in it, with the times of their scrapes."""


@pytest.fixture(scope="module")
def profiles() -> tuple[Profile, ...]:
    return engine_profiles()


def calm(seed: int = 1) -> Ticks:
    """A gauge that never moves, one that is almost always 0, and counters of Poisson arrivals."""
    rng, tokens, done = np.random.default_rng(seed), 0, 0
    found = []
    for tick in range(TICKS):
        finished = int(rng.poisson(100))
        done, tokens = done + finished, tokens + 200 * finished + int(rng.integers(0, 4000))
        waiting = int(rng.random() < 0.02)
        found.append([(1.7e9 + tick * STEP, PAGE.format(running=8, waiting=waiting, tokens=tokens, done=done))])
    return found


def twice(ticks: Ticks) -> Ticks:
    return ticks[:BEGIN] + [pages * 2 for pages in ticks[BEGIN:]]


def late(ticks: Ticks) -> Ticks:
    """Every other page comes a tick later, before the page of that tick."""
    pairs = [[[], [*ticks[tick], *ticks[tick + 1]]] for tick in range(BEGIN, TICKS - 1, 2)]
    return ticks[:BEGIN] + [pages for pair in pairs for pages in pair]


def out_of_order(ticks: Ticks) -> Ticks:
    pairs = [[[], [*ticks[tick + 1], *ticks[tick]]] for tick in range(BEGIN, TICKS - 1, 2)]
    return ticks[:BEGIN] + [pages for pair in pairs for pages in pair]


def gaps(ticks: Ticks) -> Ticks:
    return [[] if BEGIN < tick < BEGIN + 10 or tick % 17 == 0 else pages for tick, pages in enumerate(ticks)]


def resets(ticks: Ticks) -> Ticks:
    """Counters begin anew, as after a crash, without another start time."""
    return ticks[:BEGIN] + [
        [(at + BEGIN * STEP, page) for at, page in pages] for pages in ticks[: TICKS - BEGIN]
    ]  # fmt: skip


def life(ticks: Ticks, profiles: tuple[Profile, ...]) -> Iterator[Pipeline]:
    """Give the pipeline after each tick."""
    pipeline = build_pipeline(Config.model_validate({"detect": {"minimum_samples": 40, "fit": {"enabled": False}}}))
    parser, normaliser = PageParser(), Normaliser(profiles, LABELS, "llm")
    target = Entity.of(EntityKind.TARGET, **dict(LABELS))
    success = 0.0
    for tick, pages in enumerate(ticks):
        now = 1.7e9 + tick * STEP + 1
        readings: list[Reading] = []
        for at, page in pages:
            readings.append(normaliser.normalise(parser.parse(page.encode()), at))
            success = max(success, at)
        status = SourceStatus("llm", "scrape", target, STEP, success, success, success)
        pipeline.tick(now, readings, [status], elapsed_seconds=STEP)
        yield pipeline


def levels(pipeline: Pipeline) -> dict[str, float]:
    """What is expected of the replica, by signal."""
    found, keys = pipeline.bank.state()["zscore.level"], pipeline.ring.window().keys
    here = [(column, key) for column, key in enumerate(keys) if key and key.entity.kind is EntityKind.REPLICA]
    return {key.signal: float(found[column]) for column, key in here}


def firing(pipeline: Pipeline) -> set[str]:
    """Signals of which statistics say that they are not as usual."""
    alerts = pipeline.machine.alerts.items()
    return {key.series.signal for key, one in alerts if one.state is AlertState.FIRING and one.verdict.votes}


@pytest.fixture(scope="module")
def usual(profiles: tuple[Profile, ...]) -> dict[str, float]:
    *_, pipeline = life(calm(), profiles)
    return levels(pipeline)


@pytest.mark.parametrize("change", [twice, late, out_of_order, gaps, resets])
def test_odd_samples_are_no_anomaly_and_teach_nothing_odd(
    change: Callable[[Ticks], Ticks], profiles: tuple[Profile, ...], usual: dict[str, float]
) -> None:
    judged = 0
    for pipeline in life(change(calm()), profiles):
        assert firing(pipeline) == set()
        scores = pipeline.bank.scores()
        judged += 0 if scores is None else int(np.isfinite(scores.ensemble.score).sum())
    assert judged > 300
    found = levels(pipeline)
    assert found["running"] == 8
    assert found["kv_use"] == 0.5
    for name in ("tokens_out", "finished"):
        assert found[name] == pytest.approx(usual[name], rel=0.1), name


def test_a_counter_that_restarts_is_unknown_once(profiles: tuple[Profile, ...]) -> None:
    seen = []
    for pipeline in life(resets(calm()), profiles):
        window = pipeline.ring.window()
        column = next((n for n, key in enumerate(window.keys) if key and key.signal == "tokens_out"), None)
        seen.append(np.nan if column is None else window.values[-1, column])
    assert np.isnan(seen[BEGIN])
    assert np.isfinite(seen[BEGIN - 1])
    assert np.isfinite(seen[BEGIN + 1 :]).all()
    assert np.nanmax(seen) < 2 * np.nanmedian(seen)


def test_a_counter_that_stands_still_is_told(profiles: tuple[Profile, ...]) -> None:
    """A throughput that stops while the replica works: a constant 0 is no gap."""
    ticks = calm()
    frozen = ticks[BEGIN][0][1]
    stuck = [[(pages[0][0], frozen)] for pages in ticks[BEGIN : BEGIN + 10]]
    told = [firing(pipeline) for pipeline in life(ticks[:BEGIN] + stuck, profiles)]
    assert not any(told[:BEGIN])
    assert "tokens_out" in told[BEGIN + 5]


def test_who_was_not_asked_yet_is_not_counted_as_silent(profiles: tuple[Profile, ...]) -> None:
    """As after a restart or a reload: the first scrape is on its way."""
    *_, pipeline = life(calm()[:BEGIN], profiles)

    def ready(**known: float) -> float:
        at = pipeline.ring.window().now + STEP
        target = Entity.of(EntityKind.TARGET, **dict(LABELS))
        pipeline.tick(at, [], [SourceStatus("llm", "scrape", target, STEP, **known)], elapsed_seconds=STEP)  # type: ignore[arg-type]
        window = pipeline.ring.window()
        column = next(n for n, key in enumerate(window.keys) if key and key.signal == "ready")
        return float(window.values[-1, column])

    assert np.isnan(ready(last_attempt=1.7e9 + BEGIN * STEP))
    *_, pipeline = life(calm()[:BEGIN], profiles)
    assert ready(last_attempt=1.7e9 + BEGIN * STEP, last_success=1.7e9, failures=2) == 0.0
