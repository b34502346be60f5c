"""From a detector's statistic to how rarely this series shows one as large: the surprise, −ln P(at least as large).

Each series keeps a histogram of its own past statistics on a logarithmic grid, forgotten slowly, and starts from a
pooled *curve* that stands for a number of points it has not seen yet. So the surprise of a young series is that of
series in general, that of an old one is its own conformal rank, and beyond everything it ever showed the curve's tail,
shared out by its weight, still tells large from huge. A statistic is always judged before it is learnt.

Place: under :mod:`aiops.detect.ensemble`. All operations run over all columns; state is float64 [columns, BINS + 1].
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from aiops.detect.averages import Array

BINS = 120
SMALLEST = 1e-3
_LOWEST = np.log(SMALLEST)
_WIDTH = 0.1
"""Grid of ln(statistic): 0.001 to 150, in steps of 10 %."""
STEP = 0.5
"""Surprise from one point of a curve to the next."""
_SLOPE_STEPS = 4
"""Last steps of a curve whose slope goes on beyond it."""
LARGEST = 1e3
"""Statistics are clipped here: beyond, a division by almost nothing speaks."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Surprise of a statistic over series in general: interpolated in its logarithm, the last slope goes on for ever.

    Attributes
    ----------
    first
        Surprise at the first statistic; falls to 0 at 0.001 and below.
    statistic
        Increasing, > 0.001: where the surprise is ``first``, ``first`` + 0.5, ``first`` + 1, ….
    """

    first: float
    statistic: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.statistic) <= _SLOPE_STEPS or np.any(np.diff([SMALLEST, *self.statistic]) <= 0):
            raise ValueError(f"expected over {_SLOPE_STEPS} increasing statistics above 0.001, got {self.statistic}")

    def surprise(self, statistic: Array) -> Array:
        """−ln of the share of points that are at least as large; any shape."""
        at, levels = _knots(self)
        where = np.log(np.clip(statistic, SMALLEST, LARGEST))
        slope = STEP * _SLOPE_STEPS / (at[-1] - at[-1 - _SLOPE_STEPS])
        beyond: Array = levels[-1] + slope * (where - at[-1])
        return np.where(where > at[-1], beyond, np.interp(where, at, levels))


@cache
def _knots(curve: Curve) -> tuple[Array, Array]:
    """Logarithms of the statistics and their surprises, 0.001 included."""
    at = np.log([SMALLEST, *curve.statistic])
    return at, np.concatenate([[0.0], curve.first + STEP * np.arange(len(curve.statistic))])


class TailSketch:
    """Running tail probabilities of one statistic per column.

    Parameters
    ----------
    curves
        The pooled curve of each column.
    prior_points
        Points that the curve stands for.
    memory_points
        Points after which a learnt one counts 1/e.
    """

    def __init__(self, curves: tuple[Curve, ...], *, prior_points: float, memory_points: float) -> None:
        edges = np.exp(_LOWEST + _WIDTH * np.arange(-1, BINS))
        tails = np.stack([np.exp(-curve.surprise(edges)) for curve in curves])
        tails[:, 0] = 1.0
        self._prior: Array = prior_points * tails
        self._prior_points = prior_points
        self._memory = memory_points
        self._counts: Array = np.zeros((len(curves), BINS + 1))
        self._fresh: Array = np.zeros((len(curves), BINS + 1))
        self._log_tail: Array = np.log(tails)

    def surprise(self, statistic: Array) -> Array:
        """Judge ``statistic`` [rows, columns], ≥ 0, against what was committed."""
        where = (np.log(np.clip(statistic, SMALLEST, LARGEST)) - _LOWEST) / _WIDTH + 1
        bins = np.minimum(where.astype(np.intp), BINS - 1)
        columns = np.arange(statistic.shape[1])
        low, high = self._log_tail[columns, bins], self._log_tail[columns, bins + 1]
        surprise: Array = -(low + (where - bins) * (high - low))
        return np.where(statistic <= SMALLEST, 0.0, surprise)

    def learn(self, statistic: Array, weight: Array) -> None:
        """Note ``statistic`` [rows, columns] with ``weight`` (same shape); counts from the next commit on."""
        where = (np.log(np.clip(statistic, SMALLEST, LARGEST)) - _LOWEST) / _WIDTH + 1
        bins: NDArray[np.intp] = np.where(statistic <= SMALLEST, 0, np.minimum(where.astype(np.intp), BINS))
        columns = np.broadcast_to(np.arange(statistic.shape[1]), bins.shape)
        np.add.at(self._fresh, (columns, bins), weight)

    def commit(self, rows: int) -> None:
        """Let what was noted count, ``rows`` rows after the commit before."""
        self._counts += self._fresh
        self._counts *= np.exp(-rows / self._memory)
        self._fresh[:] = 0.0
        tail = np.cumsum(self._counts[:, ::-1], axis=1)[:, ::-1]
        total = tail[:, :1] + self._prior_points
        self._log_tail = np.log((tail + self._prior) / total)
