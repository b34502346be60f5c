"""Distance of each series from its own recent level, in units of its own long-remembered noise.

For every column, with x the newest value, m the level and v the variance of the one-step residual x − m::

    variance = max(v, noise² + counting·|m| + (relative_noise·m)²)        the floors come from the policy
    half     = max(threshold·√variance, minimum, minimum_relative·|m|)    half width of the band
    score    = |x − m| / half, on the side that hurts

A score of 1 is the edge of the band, and no deviation below a minimum can reach it. m forgets quickly and v
slowly (a plain average until it has seen as many points as it remembers, exponential weights after that).

What a point out of bounds may teach is bounded: nothing to the level, and only the first points of a run widen
the noise, each by a bounded amount. Without that, a heavy-tailed series never learns its tail and stays out of
bounds; with more, an incident becomes its own excuse. A level that shifted for good is taken over through
:meth:`ZScore.relearn`, when the bank says so.

A fault that comes slowly is followed until it is seen. Level and noise of ``KEEP_SECONDS`` to twice that ago are kept,
and :meth:`ZScore.unlearn` goes back to them where the level has moved towards the fault since.

A new replica is expected to be as its pool is: where only the high side hurts (what is slow or hot), it begins with the
level and noise that its pool has in the middle. It is not judged for ``minimum_samples`` points, and then by that
level. What is different for good is told, and accepted as any other level is. How busy a new replica is says nothing,
so the rest begins from nothing.

Works for series with a level: not for ramps that take longer than the level's memory (a drift detector's
business), nor for a wave whose swing within the memory is as large as the fault.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aiops.detect.base import Scores, Window
from aiops.detect.columns import ColumnState, Kept
from aiops.detect.groups import siblings
from aiops.detect.policy import Compiler
from aiops.detect.settings import DetectSettings, Estimator
from aiops.signals.types import SeriesKey

ONSET_POINTS = 3
"""Points out of bounds in short order that may widen the noise."""
ONSET_PARDON = 1 / 16
"""A point within bounds earns back this share of one such point: a tail of spikes is learnt slowly, not never."""
WIDEN = 0.2
"""Most that one point adds to the variance of a series that is being judged, as a share of it: the onset of a fault
widens the band by a third at most, and cannot hide itself. Real tails are learnt by :mod:`aiops.detect.tails`."""
LEAST_SIBLINGS = 2
"""Members that must know their level for the pool to have one."""
MAD_TO_SIGMA = 1.4826
MAD_SIGMA = 0.6745
"""Median absolute deviation of a Gaussian with standard deviation 1."""
MEDIAN_STEP = 1.2533
"""√(π/2): makes the sign step approach the median as fast as the mean approaches the mean, for a Gaussian."""
VARIANCE_STEP = 4.666
"""2 / 0.4287, where 0.4287 is the slope of P(|r| < MAD_SIGMA·e^u) at u = 0: the same for the scale."""

_Array = NDArray[np.float32]
_ZERO, _ONE, _NAN, _INFINITY = (np.float32(number) for number in (0, 1, np.nan, np.inf))


class _View(NamedTuple):
    """The newest row against the band; [capacity] each. ``score`` is NaN where not ready or not known."""

    residual: _Array
    sigma: _Array
    half: _Array
    score: _Array
    ready: NDArray[np.bool_]


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
        self._columns = ColumnState(level=0.0, variance=0.0, count=0.0, run=0.0, prior=0.0)
        self._kept = Kept("level", "variance")
        self._keys: tuple[SeriesKey | None, ...] | None = None
        self._latest: tuple[Window, _View] | None = None

    def score(self, window: Window) -> Scores:
        """Judge the newest row; the side that does not hurt has an infinite bound."""
        view = self._view(window)
        columns = self._policy.columns(window)
        expected = np.where(view.ready | (self._columns["prior"] > 0), self._columns["level"], _NAN)
        lower = expected - view.half
        lower += columns.open_below
        upper = expected + view.half
        upper += columns.open_above
        return Scores(view.score, expected, lower, upper)

    def residual(self, window: Window) -> tuple[_Array, _Array]:
        """Distance of the newest row from the level, NaN where that is not ready or unknown, and noise; [capacity]."""
        view = self._view(window)
        return np.where(view.ready, view.residual, _NAN), view.sigma

    def learn(self, window: Window, quiet: NDArray[np.bool_]) -> None:
        """Take in the newest row: level and noise where ``quiet``, noise alone at the onset of a run."""
        view = self._view(window)
        self._latest = None
        count, run = self._columns["count"], self._columns["run"]
        known = np.isfinite(view.residual)
        outside = view.score >= 1
        taken = known & quiet
        taught = taken | (outside & (run < ONSET_POINTS))
        recovered = np.maximum(run - np.float32(ONSET_PARDON), _ZERO)
        np.copyto(run, np.where(outside, run + _ONE, recovered), where=known)
        prior = self._columns["prior"]
        own = prior <= 0
        residual = np.where(taught, view.residual, _ZERO)
        # The first point of a series has no residual: it is the level.
        self._learn_noise(residual, taught & (count > 0) & own, view)
        self._learn_level(residual, (taken & own).astype(np.float32))
        count += taken
        prior -= taken & ~own
        np.minimum(count, np.float32(2 * self._settings.scale_memory_points), out=count)
        if self._kept.due(window.step_seconds):
            self._kept.take(self._columns, self._columns["count"] >= self._settings.minimum_samples)

    def relearn(self, window: Window, columns: NDArray[np.bool_]) -> None:
        """Accept what ``columns`` (bool [capacity]) show lately as their level; the noise never shrinks by it."""
        self._follow(window)
        self._latest = None
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
        state["run"][chosen] = state["prior"][chosen] = 0
        self._kept.forget(chosen)

    def unlearn(self, window: Window, columns: NDArray[np.bool_]) -> None:
        """Take back what the beginning of an incident taught ``columns`` (bool [capacity])."""
        view, state = self._view(window), self._columns
        self._latest = None
        chosen = np.flatnonzero(columns)
        old, variance = self._kept.before(chosen).values()
        # Towards the fault, and by more than the level itself is unsure of.
        moved = (state["level"][chosen] - old) * np.sign(view.residual[chosen])
        back = moved > view.half[chosen] / np.float32(self._settings.threshold_sigma)
        state["level"][chosen[back]] = old[back]
        state["variance"][chosen[back]] = np.minimum(state["variance"][chosen[back]], variance[back])

    def state(self) -> dict[str, NDArray[np.generic]]:
        """``level``, ``variance``, ``count`` (points learnt), ``run`` (points out of bounds lately), ``prior`` (points
        for which the level is still the pool's)."""
        return self._columns.state()

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Continue from :meth:`state`; see :meth:`aiops.detect.columns.ColumnState.restore`."""
        self._columns.restore(state)
        self._kept = Kept("level", "variance")
        self._keys = self._latest = None

    def _view(self, window: Window) -> _View:
        # Score and learn see the same window: the second of them need not compute it again.
        if self._latest is None or self._latest[0] is not window:
            self._latest = (window, self._computed(window))
        return self._latest[1]

    def _follow(self, window: Window) -> None:
        self._columns.follow(window)
        self._kept.follow(window)
        # The tuple is held, so its identity cannot be given to another one.
        if window.keys is not self._keys:
            self._keys = window.keys
            self._inherit(window)

    def _inherit(self, window: Window) -> None:
        """Let new replicas begin with what their pool knows."""
        policy, state = self._policy.columns(window), self._columns
        ready = state["count"] >= self._settings.minimum_samples
        if not ready.any():
            return
        new = np.flatnonzero((state["count"] == 0) & (state["prior"] == 0) & (policy.high > 0) & (policy.low == 0))
        for column, group in siblings(new.tolist(), window.keys, policy.of_entity):
            members = group[ready[group]]
            if len(members) >= LEAST_SIBLINGS:
                levels = state["level"][members]
                state["level"][column] = level = np.median(levels)
                spread = MAD_TO_SIGMA * np.median(np.abs(levels - level))
                state["variance"][column] = np.median(state["variance"][members]) + spread**2
                state["prior"][column] = self._settings.minimum_samples

    def _computed(self, window: Window) -> _View:
        self._follow(window)
        policy = self._policy.columns(window)
        level = self._columns["level"]
        size = np.abs(level)
        variance = size * policy.relative_variance
        variance += policy.counting
        variance *= size
        variance += policy.noise_variance
        np.maximum(variance, self._columns["variance"], out=variance)
        sigma = np.sqrt(variance, out=variance)
        half = sigma * np.float32(self._settings.threshold_sigma)
        np.maximum(half, policy.minimum, out=half)
        size *= policy.minimum_relative
        np.maximum(half, size, out=half)
        residual = window.values[-1] - level
        score = residual * policy.high
        np.maximum(score, residual * policy.low, out=score)
        score /= half
        score += _ZERO  # turns −0 into 0, for people
        ready = self._columns["count"] >= self._settings.minimum_samples
        return _View(residual, sigma, half, np.where(ready, score, _NAN), ready)

    def _learn_noise(self, residual: _Array, where: NDArray[np.bool_], view: _View) -> None:
        """``residual`` is 0 where nothing is learnt."""
        variance = self._columns["variance"]
        points = np.clip(self._columns["count"], _ONE, np.float32(self._settings.scale_memory_points))
        gain = where / points
        square = residual * residual
        if self._settings.estimator is Estimator.MEAN:
            square -= variance
            square *= gain
            sigma = view.half / np.float32(self._settings.threshold_sigma)
            variance += np.minimum(square, np.where(view.ready, WIDEN * sigma * sigma, _INFINITY))
            return
        first = (variance == 0) & where
        outer = (square > MAD_SIGMA**2 * variance) - np.float32(0.5)
        variance *= 1 + np.minimum(gain * VARIANCE_STEP, 1) * outer
        variance[first] = square[first]

    def _learn_level(self, residual: _Array, weight: _Array) -> None:
        level, count = self._columns["level"], self._columns["count"]
        if self._settings.estimator is Estimator.QUANTILE:
            step = np.sqrt(self._columns["variance"]) * np.float32(MEDIAN_STEP)
            residual = np.where(count > 0, np.clip(residual, -step, step), residual)
        gain = weight / np.minimum(count + _ONE, np.float32(self._settings.level_memory_points))
        level += gain * residual
