"""When a level that left its band is accepted as the new normal, and when an incident of it opens.

Points out of bounds count up, points within bounds count down. At the number that fires an alert the incident opens. A
level that stays out for ``relearn_after`` and has come to rest there is a confirmed change point: it is accepted. One
that still moves must stay out ``MOST_PATIENCE`` times as long.

Place: inside :mod:`aiops.detect.bank`.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from aiops.detect.base import Scores, Window
from aiops.detect.columns import ColumnState

MOST_PATIENCE = 4.0
"""A level that does not come to rest is accepted after this many times ``relearn_after``."""

_Mask = NDArray[np.bool_]


class Acceptance:
    """Counts how long each series is out of bounds; see the module.

    Parameters
    ----------
    breach_points
        Points out of bounds that open an incident.
    relearn_after
        Seconds out of bounds after which a level at rest is accepted.
    """

    def __init__(self, breach_points: int, relearn_after: float) -> None:
        self._breach_points = breach_points
        self._relearn_after = relearn_after
        self._columns = ColumnState(outside=0.0)

    def step(self, window: Window, scores: Scores, outside: _Mask, inside: _Mask) -> tuple[_Mask, _Mask]:
        """Count the newest row.

        Parameters
        ----------
        scores
            What was said of it, for the width of the bands.
        outside, inside
            bool [capacity]: what counts up and down.

        Returns
        -------
        opened, shifted
            bool [capacity]: what just opened an incident, and what is to be accepted as it is now.
        """
        self._columns.follow(window)
        points = self._columns["outside"]
        moving = np.flatnonzero(outside | (points > 0))  # few
        points[moving] = np.maximum(points[moving] + outside[moving] - inside[moving], 0)
        patience = self._relearn_after / window.step_seconds
        shifted = outside & (points >= patience)
        waiting = np.flatnonzero(shifted & (points < MOST_PATIENCE * patience))
        shifted[waiting] = at_rest(window.values[-round(patience) :, waiting], _half(scores)[waiting])
        return outside & (points == self._breach_points), shifted

    def begin_anew(self, columns: _Mask) -> None:
        """What these columns (bool [capacity]) show is their normal now."""
        self._columns["outside"][columns] = 0

    def state(self) -> dict[str, NDArray[np.generic]]:
        """``outside``: points out of bounds."""
        return self._columns.state()

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Continue from :meth:`state`; see :meth:`aiops.detect.columns.ColumnState.restore`."""
        self._columns.restore(state)


def at_rest(rows: NDArray[np.float32], half: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether each column of ``rows`` is a level: its later half lies within ``half`` of the earlier one."""
    middles = []
    for part in np.array_split(rows, 2):
        known = np.isfinite(part)
        ordered = np.sort(np.where(known, part, np.inf), axis=0)
        place = np.maximum(known.sum(axis=0) - 1, 0) // 2
        middles.append(np.take_along_axis(ordered, place[np.newaxis], axis=0)[0])
    with np.errstate(invalid="ignore"):  # of a half without a value nothing is known
        moves: NDArray[np.bool_] = np.abs(middles[1] - middles[0]) > half
        return ~moves


def _half(scores: Scores) -> NDArray[np.float32]:
    """Half width of the bands, on a side that has one; NaN where there is none."""
    up, down = scores.upper - scores.expected, scores.expected - scores.lower
    return np.where(np.isfinite(up), up, down)
