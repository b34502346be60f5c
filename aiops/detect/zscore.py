"""Distance of each series from its own recent level, in units of its own long-remembered noise.

For every column, with x the newest value, m the level and v the variance of the one-step residual x − m::

    variance = max(v, noise² + counting·|m| + (relative_noise·m)²)        the floors come from the policy
    half     = max(threshold·√variance, minimum, minimum_relative·|m|)    half width of the band
    score    = |x − m| / half, on the side that hurts

A score of 1 is the edge of the band, and no deviation below a minimum can reach it. m forgets quickly and v
slowly (a plain average until it has seen as many points as it remembers, exponential weights after that).

What a point out of bounds may teach is bounded: nothing to the level, and only the first points of a run widen
the noise, each by a clipped residual. Without that, a heavy-tailed series never learns its tail and stays out of
bounds; with more, an incident becomes its own excuse. A level that shifted for good is taken over through
:meth:`ZScore.relearn`, when the bank says so.

Works for series with a level: not for ramps that take longer than the level's memory (a drift detector's
business), nor for a wave whose swing within the memory is as large as the fault.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aiops.detect.base import Scores, Window
from aiops.detect.columns import ColumnState
from aiops.detect.policy import Compiler
from aiops.detect.settings import DetectSettings, Estimator

ONSET_POINTS = 3
"""Points of a run out of bounds that may widen the noise."""
ONSET_CLIP = 10.0
"""Largest residual that is learnt, in half widths of the band."""
MAD_SIGMA = 0.6745
"""Median absolute deviation of a Gaussian with standard deviation 1."""
MEDIAN_STEP = 1.2533
"""√(π/2): makes the sign step approach the median as fast as the mean approaches the mean, for a Gaussian."""
VARIANCE_STEP = 4.666
"""2 / 0.4287, where 0.4287 is the slope of P(|r| < MAD_SIGMA·e^u) at u = 0: the same for the scale."""

_Array = NDArray[np.float32]


class _View(NamedTuple):
    """The newest row against the band; float32 [capacity] each, NaN where not ready or not known."""

    residual: _Array
    half: _Array
    score: _Array


class ZScore:
    """The detector; see the module.

    Parameters
    ----------
    settings
        Threshold, memories, estimator.
    policy
        Floors and directions of the columns; shared with the other detectors.
    """

    name = "zscore"

    def __init__(self, settings: DetectSettings, policy: Compiler) -> None:
        self._settings = settings
        self._policy = policy
        self._columns = ColumnState(level=0.0, variance=0.0, count=0.0, run=0.0)

    def score(self, window: Window) -> Scores:
        """Judge the newest row; the side that does not hurt has an infinite bound."""
        view = self._view(window)
        columns = self._policy.columns(window)
        expected = np.where(self._ready(), self._columns["level"], np.float32(np.nan))
        with np.errstate(invalid="ignore"):
            lower = np.where(columns.low, expected - view.half, np.float32(-np.inf))
            upper = np.where(columns.high, expected + view.half, np.float32(np.inf))
        unready = np.isnan(expected)
        lower[unready] = upper[unready] = np.nan
        return Scores(view.score, expected, lower, upper)

    def learn(self, window: Window, quiet: NDArray[np.bool_]) -> None:
        """Take in the newest row: level and noise where ``quiet``, noise alone at the onset of a run."""
        view = self._view(window)
        state, count, run = self._columns, self._columns["count"], self._columns["run"]
        known = np.isfinite(view.residual)
        outside = view.score >= 1
        taken = known & quiet
        onset = outside & (run < ONSET_POINTS)
        run[known] = np.where(outside, run + 1, 0)[known]
        residual = np.where(taken | onset, view.residual, np.float32(0))
        # The first point of a series has no residual: it is the level.
        residual_of_noise = np.where(count > 0, residual, np.float32(0))
        limit = np.where(self._ready(), ONSET_CLIP * view.half, np.float32(np.inf))
        np.clip(residual_of_noise, -limit, limit, out=residual_of_noise)
        self._learn_noise(residual_of_noise, (taken | onset) & (count > 0))
        self._learn_level(residual, taken)
        state["count"][:] = np.minimum(count + taken, np.float32(2 * self._settings.scale_memory_points))

    def relearn(self, window: Window, columns: NDArray[np.bool_]) -> None:
        """Accept what ``columns`` (bool [capacity]) show lately as their level; the noise never shrinks by it."""
        self._columns.follow(window)
        chosen = np.flatnonzero(columns)
        rows = window.values[-self._settings.level_memory_points :, chosen].astype(np.float64)
        known = np.isfinite(rows)
        points = known.sum(axis=0)
        chosen, rows, known, points = (chosen[points > 0], *(a[..., points > 0] for a in (rows, known, points)))
        level = np.where(known, rows, 0).sum(axis=0) / points
        variance = np.where(known, (rows - level) ** 2, 0).sum(axis=0) / points
        state = self._columns
        state["level"][chosen] = level
        state["variance"][chosen] = np.maximum(state["variance"][chosen], variance)
        state["run"][chosen] = 0

    def state(self) -> dict[str, NDArray[np.generic]]:
        """``level``, ``variance``, ``count`` (points learnt), ``run`` (points out of bounds in a row)."""
        return self._columns.state()

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Continue from :meth:`state`; see :meth:`aiops.detect.columns.ColumnState.restore`."""
        self._columns.restore(state)

    def _ready(self) -> NDArray[np.bool_]:
        return self._columns["count"] >= self._settings.minimum_samples

    def _view(self, window: Window) -> _View:
        self._columns.follow(window)
        policy = self._policy.columns(window)
        level = self._columns["level"]
        size = np.abs(level)
        variance = size * policy.relative_variance
        variance += policy.counting
        variance *= size
        variance += policy.noise_variance
        np.maximum(variance, self._columns["variance"], out=variance)
        half = np.sqrt(variance, out=variance)
        half *= np.float32(self._settings.threshold_sigma)
        np.maximum(half, policy.minimum, out=half)
        np.maximum(half, policy.minimum_relative * size, out=half)
        residual = window.values[-1] - level
        return _View(residual, half, self._scored(residual, half, policy.high, policy.low))

    def _scored(self, residual: _Array, half: _Array, high: NDArray[np.bool_], low: NDArray[np.bool_]) -> _Array:
        hurts = np.maximum(residual * high, residual * np.negative(low, dtype=np.float32))
        # A constant series without any floor has a band of no width: what equals it is fine, the rest is far off.
        score = np.divide(hurts, np.maximum(half, np.finfo(np.float32).tiny), dtype=np.float32)
        np.maximum(score, np.float32(0), out=score)
        score[~self._ready()] = np.nan
        return score

    def _learn_noise(self, residual: _Array, where: NDArray[np.bool_]) -> None:
        """``residual`` is 0 where nothing is learnt."""
        variance = self._columns["variance"]
        gain = 1 / np.minimum(np.maximum(self._columns["count"], 1), np.float32(self._settings.scale_memory_points))
        gain *= where
        square = residual * residual
        if self._settings.estimator is Estimator.MEAN:
            variance += gain * (square - variance)
            return
        first = variance == 0
        outer = (square > MAD_SIGMA**2 * variance) - np.float32(0.5)
        variance *= 1 + np.minimum(gain * VARIANCE_STEP, 1) * outer
        variance[first] = square[first]

    def _learn_level(self, residual: _Array, where: NDArray[np.bool_]) -> None:
        count = self._columns["count"]
        gain = where / np.minimum(count + 1, np.float32(self._settings.level_memory_points))
        if self._settings.estimator is Estimator.QUANTILE:
            step = np.sqrt(self._columns["variance"]) * np.float32(MEDIAN_STEP)
            residual = np.where(count > 0, np.clip(residual, -step, step), residual)
        self._columns["level"] += gain.astype(np.float32) * residual
