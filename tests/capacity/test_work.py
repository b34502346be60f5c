"""What intervals keep of a trace, and the statistics of it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.capacity.work import SIZE_BOUNDS, Intervals, in_flight, peakedness, statistics
from tests.capacity.loads import bursts, poisson


def test_intervals_are_sums() -> None:
    seen = Intervals.of(np.array([3.0, 4.0, 19.0, 48.1]), np.array([1.0, 2.0, 5.0, 0.5]), 15.0)
    assert seen.counts.tolist() == [2, 1, 0, 1]
    assert seen.work.tolist() == [3.0, 5.0, 0.0, 0.5]
    assert seen.span_seconds == pytest.approx(45.1)
    assert seen.load == pytest.approx(8.5 / 45.1)
    assert seen.service_seconds == pytest.approx(8.5 / 4)
    assert seen.sizes is not None
    assert seen.sizes.sum(axis=1).tolist() == [2, 1, 0, 1]
    assert SIZE_BOUNDS[int(seen.sizes[1].argmax())] == 5.0


@given(st.lists(st.tuples(st.floats(0.0, 50.0), st.floats(0.0, 100.0)), min_size=1, max_size=60), st.floats(0.5, 40.0))
def test_nothing_gets_lost(rows: list[tuple[float, float]], step: float) -> None:
    gaps, sizes = np.array(rows).T
    seen = Intervals.of(np.cumsum(gaps), sizes, step)
    assert seen.requests == len(rows)
    assert seen.work.sum() == pytest.approx(sizes.sum())
    n = len(seen.counts)
    assert (n - 1) * step < seen.span_seconds <= n * step * (1 + 1e-9)
    both = [seen.part(0, n // 2), seen.part(n // 2, n)]
    assert sum(part.requests for part in both) == len(rows)
    assert sum(part.span_seconds for part in both) == pytest.approx(seen.span_seconds)


def test_dispersion_of_poisson_is_one_and_of_bursts_large() -> None:
    calm = statistics(_seen(poisson(5.0, 20_000.0, mean=2.0, seed=1)))
    assert calm.count_dispersion[60.0] == pytest.approx(1.0, abs=0.25)
    assert calm.work_dispersion[60.0] == pytest.approx(1.0, abs=0.3)
    assert calm.service_cv2 == pytest.approx(1.0, abs=0.25)
    assert abs(calm.rate_work_correlation[60.0]) < 0.2
    wild = statistics(_seen(bursts(quiet=1.0, busy=9.0, seconds=20_000.0, mean=2.0, seed=2)))
    assert wild.work_dispersion[15.0] > 5.0
    assert wild.work_dispersion[300.0] > wild.work_dispersion[60.0] > wild.work_dispersion[15.0]


def test_busy_minutes_of_short_requests_are_no_bursts_of_work() -> None:
    rng = np.random.default_rng(5)
    times, sizes = [], []
    for minute in range(200):
        n = int(rng.integers(20, 400))
        times.append(minute * 60 + np.sort(rng.random(n)) * 60)
        sizes.append(rng.exponential(100.0 / n, n))
    seen = statistics(Intervals.of(np.concatenate(times), np.concatenate(sizes), 15.0))
    assert seen.rate_work_correlation[60.0] < -0.7
    assert seen.work_dispersion[60.0] < 2.0
    assert seen.count_dispersion[60.0] > 20.0


def test_too_little_is_unknown_not_zero() -> None:
    seen = statistics(Intervals.of(np.array([0.0, 1.0]), np.array([1.0, 1.0]), 15.0))
    assert math.isnan(seen.count_dispersion[300.0])
    assert math.isnan(seen.rate_work_correlation[60.0])
    assert math.isnan(peakedness(np.array([1.0])))
    assert math.isnan(peakedness(np.zeros(50)))


def test_in_flight_equals_counting() -> None:
    load = poisson(2.0, 100.0, mean=3.0, seed=3)
    at = np.linspace(0.0, 110.0, 37)
    ends = load.arrival_seconds + load.service_seconds
    oracle = [int(((load.arrival_seconds < t) & (ends >= t)).sum()) for t in at]
    assert in_flight(load.arrival_seconds, load.service_seconds, at).tolist() == oracle


def test_peakedness_of_poisson_is_one() -> None:
    load = poisson(5.0, 20_000.0, mean=4.0, seed=4)
    at = np.arange(60.0, 19_900.0, 5.0)
    assert peakedness(in_flight(load.arrival_seconds, load.service_seconds, at)) == pytest.approx(1.0, abs=0.2)


def test_resampled_keeps_blocks_together() -> None:
    seen = Intervals(10.0, 400.0, np.arange(40), np.arange(40) * 2.0)
    drawn = seen.resampled(50.0, np.random.default_rng(1))
    assert len(drawn.counts) == 40
    steps = np.diff(drawn.counts).reshape(-1)
    assert (steps == 1).sum() >= 40 * 4 // 5 - 1
    assert drawn.work.tolist() == (drawn.counts * 2.0).tolist()


def test_squared_work_from_buckets_is_near_the_truth() -> None:
    load = bursts(quiet=3.0, busy=6.0, seconds=3000.0, mean=2.0, seed=6)
    seen = _seen(load)
    assert seen.squared_work.sum() == pytest.approx((load.service_seconds**2).sum(), rel=0.1)
    blind = Intervals(seen.step_seconds, seen.span_seconds, seen.counts, seen.work)
    assert blind.service_cv2 >= 1.0  # exponential, and what the intervals' means add


def _seen(load: object) -> Intervals:
    return Intervals.of(load.arrival_seconds, load.service_seconds, 15.0)  # type: ignore[attr-defined]
