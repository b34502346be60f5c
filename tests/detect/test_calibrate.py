"""Surprise: the pooled curve at first, the series' own rank later."""

import numpy as np
import pytest

from aiops.detect.calibrate import Curve, TailSketch

# Of the absolute value of a standard normal, roughly.
CURVE = Curve(0.5, (0.51, 0.9, 1.22, 1.49, 1.74, 1.96, 2.17, 2.36, 2.54, 2.71))


def test_curve_gives_its_levels_and_goes_on_beyond() -> None:
    np.testing.assert_allclose(CURVE.surprise(np.array(CURVE.statistic)), 0.5 * np.arange(1, 11))
    grid = CURVE.surprise(np.geomspace(1e-4, 500, 400))
    assert (np.diff(grid) >= 0).all()
    assert grid[0] == 0
    assert grid[-1] > 10


@pytest.mark.parametrize("statistic", [(1.0, 2.0), (1.0, 2.0, 2.0, 3.0, 4.0), (0.0, 1.0, 2.0, 3.0, 4.0)])
def test_curve_refuses_what_does_not_increase(statistic: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="increasing"):
        Curve(0.5, statistic)


def test_without_history_the_sketch_is_the_curve() -> None:
    sketch = TailSketch((CURVE,), prior_points=1000.0, memory_points=1e4)
    statistic = np.array([0.7, 1.5, 2.5])
    np.testing.assert_allclose(sketch.surprise(statistic[:, None])[:, 0], CURVE.surprise(statistic), atol=0.05)


def test_a_long_history_is_its_own_rank() -> None:
    rng = np.random.default_rng(1)
    sketch = TailSketch((CURVE, CURVE), prior_points=100.0, memory_points=1e9)
    past = np.abs(rng.standard_normal((50_000, 2))) * [1.0, 5.0]
    for part in np.array_split(past, 50):
        sketch.learn(part, np.ones_like(part))
        sketch.commit(len(part))
    at = np.array([[1.0, 5.0], [2.0, 10.0], [3.0, 15.0]])
    exact = -np.log((past[None] >= at[:, None]).mean(axis=1))
    np.testing.assert_allclose(sketch.surprise(at), exact, rtol=0.08)


def test_nothing_counts_before_the_commit_and_weight_counts() -> None:
    sketch = TailSketch((CURVE,), prior_points=10.0, memory_points=1e9)
    large = np.full((100, 1), 50.0)
    before = sketch.surprise(large[:1])
    sketch.learn(large, np.full_like(large, 0.1))
    assert sketch.surprise(large[:1]) == before
    sketch.commit(0)
    assert sketch.surprise(np.full((1, 1), 40.0))[0, 0] == pytest.approx(-np.log(10 / 20), abs=1e-3)
