"""Small shifts that stay: what is within the band at every point, and on one side of the level for too long.

For every column two sums (CUSUM), with r the distance from the z-score's level in standard deviations of its noise::

    up    = max(0, up   + min(r, MOST) − ALLOWED)
    down  = max(0, down + min(−r, MOST) − ALLOWED)
    move  = σ · (sum / memory of the level + r)  by so much has the level moved since the sum was 0, and by r it is off
    score = sum / limit, and move at the policy's minimum or beyond, on the side that hurts

The level follows a shift within its memory, which is why it is not seen there; the sum remembers. Noise that remembers
itself makes large sums, so the limit is ``LIMIT`` times what the variance of a short mean of r is beside that of white
noise; :mod:`aiops.detect.tails` then fits it to the sums that the series shows. A single spike adds ``MOST`` at most.
While a column is out of bounds its sums may fall and not grow; a level that is accepted begins at 0.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aiops.detect.band import banded, distance
from aiops.detect.base import Scores, Window
from aiops.detect.columns import ColumnState
from aiops.detect.policy import Compiler
from aiops.detect.settings import DetectSettings
from aiops.detect.zscore import ZScore

ALLOWED = 0.5
"""Distance from the level that no shift is made of: half of the smallest shift that matters, one standard deviation."""
MOST = 3.0
LIMIT, LARGEST_LIMIT = 30.0, 200.0
"""Sum at which a series without memory is told, and one whose memory is long or not known yet. White noise reaches
20 as rarely as six standard deviations, exp(−2 · ALLOWED · sum); the rest is for how little is known at first."""
SHORT = 8.0
"""Memory of the short mean, points: noise that remembers itself for longer has the largest limit."""
LEAST_POINTS = 128
"""Points after which the memory of a series is known well enough."""
_OWN = "level_"
_MEMORY = ("mean", "power", "points", "run", "run_points")

_Array = NDArray[np.float32]


class _View(NamedTuple):
    """The sums with the newest row, and what they say; float32 [capacity] each, NaN where not ready or not known."""

    size: _Array
    up: _Array
    down: _Array
    move: _Array
    half: _Array
    score: _Array


class Shift:
    """The detector; see the module.

    Parameters
    ----------
    settings
        Memory of the level.
    policy
        Floors and directions of the columns; shared with the other detectors.
    """

    name = "shift"

    def __init__(self, settings: DetectSettings, policy: Compiler) -> None:
        self._settings = settings
        self._policy = policy
        self._columns = ColumnState(up=0.0, down=0.0, **dict.fromkeys(_MEMORY, 0.0) | {"power": 1.0})
        self._level, self._alone = ZScore(settings, policy), True
        self._latest: tuple[Window, _View] | None = None

    def stand_on(self, level: ZScore) -> None:
        """Use the level that this detector keeps instead of an own one; it must be told of every row itself."""
        self._level, self._alone = level, False

    def score(self, window: Window) -> Scores:
        """Judge the newest row; the side that does not hurt has an infinite bound."""
        view, policy = self._view(window), self._policy.columns(window)
        return banded(view.score, window.values[-1] - view.move, view.half, policy)

    def learn(self, window: Window, quiet: NDArray[np.bool_]) -> None:
        """Take the newest row into the sums: both ways where ``quiet``, else only where they fall."""
        view, state = self._view(window), self._columns
        self._latest = None
        for name, newer in (("up", view.up), ("down", view.down)):
            taken = np.where(quiet, newer, np.minimum(newer, state[name]))
            np.copyto(state[name], taken, where=np.isfinite(newer))
        self._learn_memory(np.where(quiet, view.size, np.nan))
        if self._alone:
            self._level.learn(window, quiet)

    def relearn(self, window: Window, columns: NDArray[np.bool_]) -> None:
        """Begin anew for ``columns`` (bool [capacity]): their level was just accepted."""
        self._columns.follow(window)
        self._latest = None
        for name in ("up", "down"):
            self._columns[name][columns] = 0
        if self._alone:
            self._level.relearn(window, columns)

    def state(self) -> dict[str, NDArray[np.generic]]:
        """``up`` and ``down``, ``mean`` of r over ``SHORT`` points, in standard deviations; its ``power``, 1
        for white noise, over ``points``; what the ``run`` would add. The level too, where it is an own one."""
        level = self._level.state() if self._alone else {}
        return {**self._columns.state(), **{f"{_OWN}{name}": array for name, array in level.items()}}

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Continue from :meth:`state`; see :meth:`aiops.detect.columns.ColumnState.restore`."""
        self._columns.restore(state)
        self._latest = None
        if self._alone:
            own = {name.removeprefix(_OWN): array for name, array in state.items() if name.startswith(_OWN)}
            self._level.restore(own)

    def explain(self, column: int) -> str:
        """Say by how much a column shifted; between score and learn, empty where it is not known."""
        if self._latest is None or not np.isfinite(move := float(self._latest[1].move[column])):
            return ""
        return f"{abs(move):.3g} {'more' if move > 0 else 'less'} than before, for some time"

    def _view(self, window: Window) -> _View:
        # Score and learn see the same window, but between the two the level may have learnt it.
        if self._latest is None or self._latest[0] is not window:
            self._latest = (window, self._computed(window))
        return self._latest[1]

    def _computed(self, window: Window) -> _View:
        self._columns.follow(window)
        policy = self._policy.columns(window)
        residual, sigma = self._level.residual(window)
        size = np.clip(residual / sigma, -MOST, MOST)
        up = np.maximum(self._columns["up"] + size - np.float32(ALLOWED), 0)
        down = np.maximum(self._columns["down"] - size - np.float32(ALLOWED), 0)
        # Where one side hurts, that one speaks, however large the other is.
        rises = up * policy.high >= -down * policy.low
        total, side = np.where(rises, up, down), np.where(rises, np.float32(1), np.float32(-1))
        moved = total / np.float32(self._settings.level_memory_points) + np.maximum(side * size, 0)
        # So far from what was expected it would be told, if it had been there for as long as now.
        half = sigma * np.maximum(moved, ALLOWED) * self._limit() / np.maximum(total, ALLOWED)
        move = side * moved * sigma
        return _View(size, up, down, move, half, distance(move, half, policy).astype(np.float32))

    def _limit(self) -> _Array:
        """Sum at which each column is told, before calibration."""
        limit = np.clip(np.float32(LIMIT) * self._columns["power"], LIMIT, LARGEST_LIMIT)
        return np.where(self._columns["points"] < LEAST_POINTS, np.float32(LARGEST_LIMIT), limit)

    def _learn_memory(self, size: _Array) -> None:
        """``size`` is NaN where nothing is learnt. A run teaches when it is over, lest a shift excuse itself."""
        state, known = self._columns, np.isfinite(size)
        mean, power, points, run, run_points = (state[name] for name in _MEMORY)
        mean += np.where(known, size - mean, 0) / np.float32(SHORT)
        # Of white noise the mean has this share of the variance.
        run += np.where(known, mean * mean * np.float32(2 * SHORT - 1), 0)
        run_points += known
        over = np.flatnonzero(known & (np.maximum(state["up"], state["down"]) < MOST))
        taught = run_points[over]
        points[over] = np.minimum(points[over] + taught, self._settings.scale_memory_points)
        power[over] += (run[over] - taught * power[over]) / np.maximum(points[over], taught)
        run[over] = run_points[over] = 0
