"""Small shifts that stay: what is within the band at every point, and on one side of the level for too long.

For every column two sums (CUSUM), with r the distance from the z-score's level in standard deviations of its noise::

    up    = max(0, up   + min(r, MOST) − ALLOWED)
    down  = max(0, down + min(−r, MOST) − ALLOWED)
    move  = σ · sum / memory of the level        by as much at least has the level moved since the sum was 0
    score = move / half width, on the side that hurts

The level follows a shift within its memory, which is why it is not seen there; the sum remembers. 1 is a sum of
``NOMINAL`` and a move of the policy's minimum, before :mod:`aiops.detect.tails` fits it to what the series shows. A
single spike adds ``MOST`` at most. While a column is out of bounds its sums may fall and not grow; a level that is
accepted begins at 0.
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
NOMINAL = 200.0
"""Sum of a series of which little is known. White noise reaches 20 as rarely as six standard deviations,
exp(−2 · ALLOWED · sum), but noise that remembers itself reaches far more, and that must be seen first."""
NARROWEST = 0.03
"""Least share of it that a series' own history may make of it."""
_OWN = "level_"

_Array = NDArray[np.float32]


class _View(NamedTuple):
    """The sums with the newest row, and what they say; float32 [capacity] each, NaN where not ready or not known."""

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
        self._columns = ColumnState(up=0.0, down=0.0)
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
        """``up`` and ``down``, in standard deviations; the level too, where it is an own one."""
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
        memory = np.float32(self._settings.level_memory_points)
        # Where one side hurts, that one speaks, however large the other is.
        move = sigma * np.where(up * policy.high >= -down * policy.low, up, -down) / memory
        level = np.abs(window.values[-1] - residual)
        least = np.maximum(policy.minimum, policy.minimum_relative * level)
        half = np.maximum(sigma * np.float32(NOMINAL) / memory, least)
        return _View(up, down, move, half, distance(move, half, policy).astype(np.float32))
