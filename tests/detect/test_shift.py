"""Shifts within the band against a plain oracle; what is no shift: spikes, noise, trifles, an accepted level."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from aiops.detect.base import Scores, Window
from aiops.detect.policy import AnomalyPolicy, Compiler
from aiops.detect.settings import DetectSettings
from aiops.detect.shift import ALLOWED, LARGEST_LIMIT, LEAST_POINTS, LIMIT, MOST, SHORT, Shift
from aiops.detect.zscore import ZScore
from aiops.signals.types import SeriesKey

NAN = float("nan")
SETTINGS = DetectSettings(minimum_samples=20)


class Life:
    """A level and the shifts on it, told of rows as in the bank: nothing is quiet where one is out of bounds."""

    def __init__(self, policy: AnomalyPolicy, make_window: Callable[..., Window], keys: tuple[SeriesKey, ...]) -> None:
        compiler = Compiler(policy)
        self.level, self.shift = ZScore(SETTINGS, compiler), Shift(SETTINGS, compiler)
        self.shift.stand_on(self.level)
        self._make, self._keys, self._tick = make_window, keys, 0
        self.sizes: list[NDArray[Any]] = []
        """Distances from the level, in standard deviations."""

    def window(self, *row: float) -> Window:
        return self._make([row], self._keys, now=5.0 * self._tick)

    def live(self, rows: NDArray[Any]) -> list[Scores]:
        seen = []
        for row in rows:
            window = self.window(*row)
            alone = self.level.score(window).score
            seen.append(self.shift.score(window))
            residual, sigma = self.level.residual(window)
            self.sizes.append(residual / sigma)
            quiet = ~((seen[-1].score >= 1) | (alone >= 1))
            self.level.learn(window, quiet)
            self.shift.learn(window, quiet)
            self._tick += 1
        return seen


@pytest.fixture
def life(
    policy: AnomalyPolicy, make_window: Callable[..., Window], make_keys: Callable[..., Any]
) -> Callable[..., Life]:
    def make(columns: int, signal: str = "arrivals", stat: str = "") -> Life:
        return Life(policy, make_window, make_keys(columns, signal, stat))

    return make


def noise(rows: int, columns: int, seed: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(20, 2, (rows, columns))


def test_the_scores_are_those_of_an_oracle(life: Callable[..., Life]) -> None:
    rows = noise(300, 1, 1)
    rows[220:] += 3
    rows[250] = NAN
    one = life(1)
    seen = one.live(rows)
    up = down = mean = run = run_points = points = 0.0
    power = 1.0
    expected = []
    for (size,) in one.sizes:
        if np.isfinite(size):
            clipped = min(max(float(size), -MOST), MOST)
            up, down = max(0.0, up + clipped - ALLOWED), max(0.0, down - clipped - ALLOWED)
            limit = min(max(LIMIT * power, LIMIT), LARGEST_LIMIT) if points >= LEAST_POINTS else LARGEST_LIMIT
            total = up if up >= down else down
            moved = total / SETTINGS.level_memory_points + max(clipped if up >= down else -clipped, 0)
            expected.append(moved / max(moved, ALLOWED) * max(total, ALLOWED) / limit)
            mean += (clipped - mean) / SHORT
            run, run_points = run + mean**2 * (2 * SHORT - 1), run_points + 1
            if max(up, down) < MOST:
                power = (power * points + run) / (points + run_points)
                points, run, run_points = points + run_points, 0.0, 0.0
    known = [tick for tick, (size,) in enumerate(one.sizes) if np.isfinite(size)]
    assert known == [tick for tick in range(20, 300) if tick != 250]
    assert known == [tick for tick, scores in enumerate(seen) if np.isfinite(scores.score[0])]
    np.testing.assert_allclose([float(seen[tick].score[0]) for tick in known], expected, rtol=2e-3, atol=1e-4)
    assert max(expected) > 0.5


def test_a_spike_is_no_shift(life: Callable[..., Life]) -> None:
    rows = noise(400, 2, 2)
    rows[300, 0] = 2000
    rows[300:, 1] += 4
    scores = np.array([one.score for one in life(2).live(rows)])[250:]
    assert scores[:, 0].max() < 0.5
    assert scores[:, 1].max() > 1


def test_noise_that_remembers_itself_is_no_shift(life: Callable[..., Life]) -> None:
    """The same shift: seen soon on white noise, and not held against a series of which much is wandering."""
    rows = noise(1000, 2, 6) - 20
    for index in range(1, len(rows)):
        rows[index, 1] = 0.95 * rows[index - 1, 1] + np.sqrt(1 - 0.95**2) * rows[index, 1]
    rows[800:] += 5
    scores = np.array([one.score for one in life(2).live(rows + 20)])
    assert (np.nanmax(scores[:800], axis=0) < 1).all()
    assert (scores[800:830].max(axis=0) >= 1).tolist() == [True, False]


def test_only_the_side_that_hurts(life: Callable[..., Life]) -> None:
    rows = np.full((300, 1), 0.5) + np.random.default_rng(3).normal(0, 0.02, (300, 1))
    rows[200:] -= 0.1
    last = life(1, "ttft", "p95").live(rows)[240]
    assert last.score[0] == 0, "a shorter time to the first token"
    assert np.isneginf(last.lower[0])


def test_a_shift_is_as_large_as_what_it_is_off_by_now(life: Callable[..., Life]) -> None:
    """Also in its first minute, when the level has hardly moved: that is what minimums are held against."""
    rows = np.full((230, 1), 0.5) + np.random.default_rng(3).normal(0, 0.05, (230, 1))
    rows[200:] += 0.12
    seen = life(1, "ttft", "p95").live(rows)
    sizes = [float(rows[tick, 0] - seen[tick].expected[0]) for tick in range(212, 230)]
    assert np.median(sizes) == pytest.approx(0.12, abs=0.03)


def test_while_out_of_bounds_a_sum_may_fall_and_not_grow(life: Callable[..., Life]) -> None:
    one = life(2)
    rows = noise(170, 2, 4)
    rows[150:] += 3
    one.live(rows)
    before = one.shift.state()["up"]
    window = one.window(30, 20)
    one.level.score(window)
    one.shift.score(window)
    one.shift.learn(window, np.zeros(2, np.bool_))
    after = one.shift.state()["up"]
    assert after[0] == before[0] > 0
    assert after[1] < before[1]
    one.shift.relearn(window, np.array([True, False]))
    assert one.shift.state()["up"].tolist() == [0, after[1]]


def test_it_says_how_far(life: Callable[..., Life]) -> None:
    one = life(1)
    rows = noise(240, 1, 5)
    rows[200:] += 3
    one.live(rows)
    assert one.shift.explain(0) == ""
    one.shift.score(one.window(24))
    assert one.shift.explain(0).endswith(" more than before, for some time")
