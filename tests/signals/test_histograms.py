"""Quantiles from buckets against a slow oracle, and what is known of their error."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.signals.histograms import merged, monotone, observations_needed, quantile_bounds, quantiles
from aiops.signals.types import Buckets, Entity, EntityKind, SeriesKey

INF = float("inf")
BOUNDS = [0.1, 0.5, 1.0, 5.0, INF]


def slow_quantile(bounds: list[float], counts: list[float], q: float) -> float:
    """One histogram, step by step, as the Prometheus documentation describes it."""
    total = sum(counts)
    if not total > 0:
        return math.nan
    rank, seen = max(q * total, 1e-12), 0.0
    for index, count in enumerate(counts):  # noqa: B007 - used after the loop
        if seen + count >= rank:
            break
        seen += count
    if bounds[index] == INF:
        return bounds[index - 1] if index else math.nan
    low = bounds[index - 1] if index else 0.0
    if index == 0 and bounds[0] <= 0:
        return bounds[0]
    return low + (bounds[index] - low) * (rank - seen) / counts[index]


def fast(counts: list[float], q: float, total: float | None = None, bounds: list[float] = BOUNDS) -> float:
    cumulative = np.cumsum(counts)[np.newaxis, :]
    return float(quantiles(np.array([bounds]), cumulative, (q,), None if total is None else np.array([total]))[0, 0])


@given(st.lists(st.integers(0, 50), min_size=5, max_size=5), st.floats(0.0, 1.0))
def test_like_the_slow_way(counts: list[int], q: float) -> None:
    assert fast([float(c) for c in counts], q) == pytest.approx(
        slow_quantile(BOUNDS, [float(c) for c in counts], q), nan_ok=True
    )


@given(st.lists(st.floats(0.0, 20.0), min_size=1, max_size=60), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_truth_lies_in_the_bounds_and_so_does_the_answer(values: list[float], q: float) -> None:
    edges = np.array(BOUNDS)
    counts = np.array(
        [sum(low < v <= high for v in values) for low, high in zip([-1.0, *BOUNDS], BOUNDS, strict=False)]
    )
    low, high = quantile_bounds(edges, counts.astype(float), q)
    truth = sorted(values)[max(math.ceil(q * len(values)) - 1, 0)]
    assert low <= truth <= high
    answer = fast(counts.tolist(), q, total=sum(values))
    assert low <= answer <= high


@given(st.lists(st.floats(0.0, 20.0), min_size=1, max_size=60))
def test_quantiles_rise_with_q(values: list[float]) -> None:
    counts = [float(sum(low < v <= high for v in values)) for low, high in zip([-1.0, *BOUNDS], BOUNDS, strict=False)]
    found = [fast(counts, q, total=sum(values)) for q in (0.5, 0.95, 0.99)]
    assert found == sorted(found)


def test_a_wide_first_bucket_is_limited_by_the_mean() -> None:
    """Twenty waits of 1 ms, first bucket 0 to 0.3 s: interpolation alone would say 0.285 s."""
    bounds = [0.3, 1.0, INF]
    assert fast([20.0, 0.0, 0.0], 0.95, bounds=bounds) == pytest.approx(0.285)
    assert fast([20.0, 0.0, 0.0], 0.95, total=0.020, bounds=bounds) == pytest.approx(0.020)
    assert fast([20.0, 0.0, 0.0], 0.5, total=0.020, bounds=bounds) == pytest.approx(0.002)


def test_the_open_bucket_answers_its_lower_edge() -> None:
    assert fast([0.0, 0.0, 0.0, 0.0, 9.0], 0.95) == 5.0
    assert quantile_bounds(np.array(BOUNDS), np.array([0.0, 0, 0, 0, 9]), 0.95) == (5.0, INF)


def test_nothing_observed_is_unknown() -> None:
    assert math.isnan(fast([0.0] * 5, 0.5))
    assert math.isnan(fast([math.nan] * 5, 0.5))
    assert all(math.isnan(edge) for edge in quantile_bounds(np.array(BOUNDS), np.zeros(5), 0.5))


def test_a_dent_is_mended() -> None:
    np.testing.assert_equal(monotone(np.array([[1.0, 5.0, 4.0, 6.0]])), [[1.0, 5.0, 5.0, 6.0]])


def test_padding_changes_nothing() -> None:
    narrow = quantiles(np.array([[1.0, INF]]), np.array([[3.0, 4.0]]))
    padded = quantiles(np.array([[1.0, INF, INF, INF]]), np.array([[3.0, 4.0, 4.0, 4.0]]))
    np.testing.assert_equal(narrow, padded)


def test_observations_needed() -> None:
    assert [observations_needed(q) for q in (0.5, 0.95, 0.99)] == [5, 20, 100]
    assert observations_needed(0.95, 5.0) == 100


def gain(bounds: list[float], counts: list[float]) -> Buckets:
    key = SeriesKey(Entity.of(EntityKind.REPLICA, job="a"), "ttft")
    return Buckets(key, np.array(bounds), np.array(counts), 1.0)


def test_only_equal_bounds_merge() -> None:
    both = merged([gain([1.0, INF], [2.0, 1.0]), gain([1.0, INF], [3.0, 0.0])])
    assert both is not None
    np.testing.assert_equal(both[1], [5.0, 1.0])
    assert merged([gain([1.0, INF], [2.0, 1.0]), gain([2.0, INF], [3.0, 0.0])]) is None
