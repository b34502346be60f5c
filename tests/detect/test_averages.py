"""The block recursions against the same recursions written row by row."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.detect.averages import Average, Extremes, Peak


def naive_average(rows: np.ndarray, known: np.ndarray, memory: int) -> np.ndarray:
    before = np.zeros_like(rows)
    for column in range(rows.shape[1]):
        value, count = 0.0, 0
        for row in range(len(rows)):
            seen = known[row, column]
            before[row, column] = (rows[row, column] if seen else 0.0) if count == 0 else value
            if seen:
                count += 1
                value += (rows[row, column] - value) / min(count, memory)
    return before


@given(seed=st.integers(0, 10**6), memory=st.sampled_from([5, 20, 5000]), cut=st.integers(1, 99))
def test_average_equals_the_recursion_row_by_row(seed: int, memory: int, cut: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((100, 3)) * 10.0 ** rng.integers(-3, 6)
    known = rng.random(rows.shape) < 0.8
    average = Average(memory, 3)
    got = np.concatenate([average.push(rows[:cut], known[:cut]), average.push(rows[cut:], known[cut:])])
    np.testing.assert_allclose(got, naive_average(rows, known, memory), rtol=1e-9, atol=1e-9 * np.abs(rows).max())


def test_average_forgets_an_outlier() -> None:
    average = Average(20, 1)
    rows = np.ones((100, 1))
    rows[0] = 1e12
    average.push(rows, rows > 0)
    for _ in range(8):
        average.push(np.ones((100, 1)), rows > 0)
    assert average.value[0] == pytest.approx(1.0)


def test_peak_fades_and_is_raised() -> None:
    peak = Peak(0.5)
    np.testing.assert_allclose(peak.push(np.array([8.0, 0.0, 0.0, 3.0])), [8, 4, 2, 3])
    np.testing.assert_allclose(peak.push(np.array([0.0, 0.0])), [1.5, 0.75])


def test_extremes_measure_the_distance_beyond_what_was_seen() -> None:
    extremes = Extremes(4, 1)
    column = lambda *values: np.array(values, float)[:, None]  # noqa: E731 - shorter to read
    yes = np.ones((4, 1), bool)
    assert extremes.push(column(5, 7, 6, 2), yes)[:, 0].tolist() == [0, 2, 0, 3]
    assert extremes.push(column(7, 8, 1, 3), yes)[:, 0].tolist() == [0, 1, 1, 0]
    # The first four are forgotten: 8 and 1 are from the second half.
    assert extremes.push(column(9, 9, 9, 9), yes)[:, 0].tolist() == [1, 0, 0, 0]
    unknown = extremes.push(column(99, 99, 99, 99), ~yes)
    assert not unknown.any()
