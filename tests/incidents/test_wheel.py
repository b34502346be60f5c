"""Bins against a list of everything that ever happened."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.incidents.wheel import Wheel

WIDTH, BINS = 10.0, 6
STEPS = st.lists(st.tuples(st.sampled_from([0.0, 1.0, 5.0, 9.0, 25.0, 200.0]), st.integers(0, 9)), max_size=40)


def gain(total: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.array([[total], [total / 2]])


@given(STEPS, st.sampled_from([10.0, 30.0, 60.0]))
def test_sums_are_those_of_a_list_of_events(steps: list[tuple[float, int]], window: float) -> None:
    wheel, events, now = Wheel(WIDTH, BINS), [], 0.0
    wheel.grow(1)
    for seconds, count in steps:
        now += seconds
        wheel.turn(seconds)
        wheel.add(gain(count))
        events.append((now, count))
        first = now // WIDTH - window / WIDTH  # the oldest bin that still counts
        expected = sum(count for at, count in events if at // WIDTH >= first)
        assert wheel.sums(window)[:, 0].tolist() == [expected, expected / 2]


@given(STEPS, st.integers(0, 40))
def test_going_on_from_a_state_is_as_if_nothing_had_happened(steps: list[tuple[float, int]], cut: int) -> None:
    whole, parts = Wheel(WIDTH, BINS), Wheel(WIDTH, BINS)
    whole.grow(1)
    parts.grow(1)
    for place, (seconds, count) in enumerate(steps):
        if place == cut:
            state, parts = parts.state(), Wheel(WIDTH, BINS)
            parts.restore(state)
        for wheel in (whole, parts):
            wheel.turn(seconds)
            wheel.add(gain(count))
    assert (whole.sums(60.0) == parts.sums(60.0)).all()


def test_rows_come_and_go() -> None:
    wheel = Wheel(WIDTH, BINS)
    wheel.grow(3)
    wheel.add(np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 1.0]]))
    wheel.keep(np.array([2, 0]))
    assert wheel.sums(60.0).tolist() == [[3.0, 1.0], [1.0, 0.0]]


@pytest.mark.parametrize("counts", [np.zeros((2, 1, 3)), np.full((2, 1, BINS + 1), np.nan), -np.ones((2, 1, BINS + 1))])
def test_a_state_that_cannot_be_is_refused(counts: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> None:
    with pytest.raises(ValueError, match="counts"):
        Wheel(WIDTH, BINS).restore({"counts": counts, "age": np.zeros(1)})
