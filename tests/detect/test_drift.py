"""Slow leaks against a plain oracle, and what is no leak: waves, noise, steps, gaps."""

from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from aiops.detect.base import Scores, Window
from aiops.detect.drift import BUCKET_SECONDS, DAY, Drift
from aiops.detect.policy import AnomalyPolicy, Compiler
from aiops.detect.settings import DetectSettings
from aiops.signals.types import Entity, EntityKind, SeriesKey

STEP_SECONDS = 600.0
ROWS_OF_DAY = 144
GIB = 2.0**30
NAN = float("nan")


def keys(*signals: str) -> tuple[SeriesKey, ...]:
    return tuple(
        SeriesKey(Entity.of(EntityKind.GPU, gpu=f"g{n}", node="n"), signal) for n, signal in enumerate(signals)
    )


@pytest.fixture
def live(policy: AnomalyPolicy) -> Callable[..., tuple[Drift, list[Scores]]]:
    """Let a detector live through rows; nothing is quiet where it says 1 or more, as in the bank."""

    def run(
        rows: NDArray[Any], names: Sequence[SeriesKey], drift: Drift | None = None, first: int = 0
    ) -> tuple[Drift, list[Scores]]:
        drift, seen = drift or Drift(DetectSettings(), Compiler(policy)), []
        generation = np.arange(1, len(names) + 1)
        for tick, row in enumerate(rows.astype(np.float32)):
            window = Window((first + tick) * STEP_SECONDS, STEP_SECONDS, row[np.newaxis], tuple(names), generation)
            seen.append(drift.score(window))
            drift.learn(window, ~(seen[-1].score >= 1))
        return drift, seen

    return run


def days(count: float) -> NDArray[np.float64]:
    return np.arange(round(count * ROWS_OF_DAY))[:, np.newaxis] / ROWS_OF_DAY


def test_a_leak_is_told_within_two_days_and_for_days(live: Callable[..., Any]) -> None:
    rng, at = np.random.default_rng(1), days(5)
    wave = 2 * GIB * np.sin(2 * np.pi * at) + rng.normal(0, 0.2 * GIB, at.shape)
    rows = np.hstack([40 * GIB + wave + 4 * GIB * at, 40 * GIB + wave])
    drift, seen = live(rows, keys("gpu_mem_used", "gpu_mem_used"))
    scores = np.array([one.score for one in seen])
    assert not (scores[:, 1] >= 1).any(), "the daily wave is no leak"
    told = np.flatnonzero(scores[:, 0] >= 1)
    assert ROWS_OF_DAY < told[0] < 2 * ROWS_OF_DAY
    assert (scores[told[0] :, 0] >= 1).all()
    last = seen[-1]
    assert rows[-1, 0] - last.expected[0] == pytest.approx(4 * GIB, rel=0.1)
    assert drift.explain(0).endswith("bytes more than a day before, steadily")
    assert np.isneginf(last.lower[0]), "less memory in use does not hurt"


def test_the_move_is_what_an_oracle_says(live: Callable[..., Any]) -> None:
    rng, at = np.random.default_rng(2), days(2.5)
    rows = 60 + rng.normal(0, 1, at.shape) + 3 * at**2
    _, seen = live(rows, keys("gpu_temp"))
    per = round(BUCKET_SECONDS / STEP_SECONDS)
    means = [float(np.mean(rows[start : start + per])) for start in range(0, len(rows) - per, per)]
    move = median(new - old for new, old in zip(means[-DAY:], means[-2 * DAY : -DAY], strict=True))
    assert rows[-1, 0] - seen[-1].expected[0] == pytest.approx(move, rel=1e-3)


def test_the_side_that_does_not_hurt_and_signals_of_traffic_are_silent(live: Callable[..., Any]) -> None:
    at = days(3)
    falling = np.hstack([70 - 5 * at, 80 * GIB - 6 * GIB * at, 1000 + 400 * at])
    _, seen = live(falling, keys("gpu_temp", "gpu_mem_free", "tokens_out"))
    assert seen[-1].score[0] == 0
    assert seen[-1].score[1] >= 1
    assert np.isnan(seen[-1].score[2])


def test_a_step_that_is_accepted_is_no_drift(live: Callable[..., Any]) -> None:
    rng, names = np.random.default_rng(3), keys("gpu_temp")
    before = 60 + rng.normal(0, 0.5, (2 * ROWS_OF_DAY, 1))
    drift, _ = live(before, names)
    window = Window(2 * ROWS_OF_DAY * STEP_SECONDS, STEP_SECONDS, np.full((1, 1), 75, np.float32), names, np.ones(1))
    drift.relearn(window, np.ones(1, np.bool_))
    after = 75 + rng.normal(0, 0.5, (3 * ROWS_OF_DAY, 1))
    _, seen = live(after, names, drift, 2 * ROWS_OF_DAY)
    scores = np.array([one.score[0] for one in seen])
    assert np.nanmax(scores) < 1
    assert np.isfinite(scores[-1])


def test_differences_that_do_not_agree_are_no_drift(live: Callable[..., Any]) -> None:
    at = days(2)
    # Since a few hours hotter: the median of twelve differences does not see it, and a z-score would.
    rows = np.where(at > 1.75, 90.0, 60.0)
    _, seen = live(rows, keys("gpu_temp"))
    assert seen[-1].score[0] == 0


def test_gaps_and_silence_make_no_drift(live: Callable[..., Any]) -> None:
    at = days(4)
    rows = 60 + 8 * at
    rows[2 * ROWS_OF_DAY :] = NAN
    _, seen = live(rows, keys("gpu_temp"))
    assert np.isnan(seen[-1].score[0])
    sparse = 60 + 8 * days(3)
    sparse[np.arange(len(sparse)) % 3 > 0] = NAN
    assert np.isnan(np.array([one.score[0] for one in live(sparse, keys("gpu_temp"))[1]])).all(), "half must be known"


def test_it_goes_on_from_its_state(live: Callable[..., Any], policy: AnomalyPolicy) -> None:
    rows, names, half = 60 + 9 * days(3), keys("gpu_temp"), 210
    old, _ = live(rows[:half], names)
    new = Drift(DetectSettings(), Compiler(policy))
    new.restore(old.state())
    for one, other in zip(*(live(rows[half:], names, drift, half)[1] for drift in (old, new)), strict=True):
        np.testing.assert_array_equal(one.score, other.score)
    assert (one.score >= 1).all()
