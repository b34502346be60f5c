"""Counter gains: resets, gaps, new series."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.signals.rates import increases, reset_share, step_seconds

NAN = float("nan")


def alone(count: int) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(count, dtype=np.intp), np.ones(count, dtype=np.intp)


@pytest.mark.parametrize(
    ("at", "before", "step"),
    [
        (10.0, 5.0, 5.0),
        (10.0, NAN, NAN),  # the first page
        (10.0, 10.0, NAN),  # the same page twice
        (10.0, 11.0, NAN),  # out of order
        (400.0, 99.0, NAN),  # a gap longer than allowed
        (399.0, 99.0, 300.0),
    ],
)
def test_step(at: float, before: float, step: float) -> None:
    np.testing.assert_equal(step_seconds(at, before, 300.0), step)


def test_a_reset_is_unknown_and_no_spike() -> None:
    gain = increases(np.array([7.0, 3.0, 5.0]), np.array([4.0, 1000.0, NAN]), *alone(3))
    np.testing.assert_equal(gain, [3.0, NAN, NAN])


def test_one_fallen_bucket_makes_its_histogram_unknown() -> None:
    now, before = np.array([5.0, 9.0, 2.0, 8.0]), np.array([9.0, 8.0, 1.0, 1.0])
    gain = increases(now, before, np.array([0, 3]), np.array([3, 1]))
    np.testing.assert_equal(gain, [NAN, NAN, NAN, 7.0])


def test_reset_share_counts_only_what_had_counted() -> None:
    assert reset_share(np.array([0.0, 1.0, 0.0]), np.array([5.0, 9.0, 0.0])) == 1.0
    assert reset_share(np.array([6.0, 1.0]), np.array([5.0, 9.0])) == 0.5
    assert np.isnan(reset_share(np.zeros(3), np.zeros(3)))


counts = st.lists(st.floats(0, 1e12) | st.just(NAN), min_size=1, max_size=20)


@given(st.data(), counts)
def test_gains_are_never_negative_and_match_the_slow_way(data: st.DataObject, now: list[float]) -> None:
    before = data.draw(st.lists(st.floats(0, 1e12) | st.just(NAN), min_size=len(now), max_size=len(now)))
    gain = increases(np.array(now), np.array(before), *alone(len(now)))
    slow = [new - old if new >= old else NAN for new, old in zip(now, before, strict=True)]
    np.testing.assert_equal(gain, slow)
