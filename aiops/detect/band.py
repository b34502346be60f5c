"""The band around an expected value, the same for every detector that has one: noise, floors, which side hurts."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aiops.detect.base import Scores
from aiops.detect.policy import PolicyColumns

Floats = NDArray[np.floating[Any]]


def half_width(expected: Floats, variance: Floats, policy: PolicyColumns, threshold_sigma: float) -> Floats:
    """Distance from ``expected`` at which the score is 1, [capacity]; see :class:`PolicyColumns` for the floors."""
    size = np.abs(expected)
    half = size * policy.relative_variance
    half += policy.counting
    half *= size
    half += policy.noise_variance
    np.maximum(half, variance, out=half)
    np.sqrt(half, out=half)
    half *= threshold_sigma
    np.maximum(half, policy.minimum, out=half)
    size *= policy.minimum_relative
    return np.maximum(half, size, out=half)


def distance(residual: Floats, half: Floats, policy: PolicyColumns) -> Floats:
    """Score: how far a residual lies on a side that hurts, in half widths, [capacity]; 0 on the other side."""
    score = residual * policy.high
    np.maximum(score, residual * policy.low, out=score)
    score /= half
    score += 0.0  # turns −0 into 0, for people
    return score


def banded(score: Floats, expected: Floats, half: Floats, policy: PolicyColumns) -> Scores:
    """What a detector says of a row, float32 [capacity]; the side that does not hurt has an infinite bound."""
    bounds = expected - half + policy.open_below, expected + half + policy.open_above
    return Scores(*(part.astype(np.float32, copy=False) for part in (score, expected, *bounds)))
