"""Series that just changed on purpose: not judged for a while, then what they show is their normal.

A restart changes nothing for good, but caches are cold: its series are left alone and go on from what they knew. A new
version, a deploy and what :class:`aiops.detect.base.Guidance` calls changed also move the level. Points count, not
seconds, so that a replica that is away does not settle.

Place: inside :mod:`aiops.detect.bank`. Invariant: nothing that a series shows while it settles is learnt, except all
at once as its new level.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from aiops.detect.base import Window
from aiops.detect.columns import ColumnState
from aiops.detect.groups import group_of
from aiops.signals.types import Entity, Mark, MarkKind

PAUSES = frozenset({MarkKind.RESTARTED, MarkKind.VERSION_CHANGED, MarkKind.DEPLOY})
"""Marks after which an entity is not judged for a while."""
RENEWS = PAUSES - {MarkKind.RESTARTED}
"""Of these, the ones after which its level is learnt anew."""

Places = Mapping[Entity, NDArray[np.intp]]
_Mask = NDArray[np.bool_]


class Settling:
    """Counts down the points until each series is judged again.

    Parameters
    ----------
    points
        Known points that a changed series must show first.
    """

    def __init__(self, points: int) -> None:
        self._points = points
        self._columns = ColumnState(left=0.0, renew=0.0)

    def step(self, window: Window, places: Places, marks: Sequence[Mark], changed: Collection[Entity]) -> _Mask:
        """Take in what happened since the tick before; bool [capacity]: columns that are not judged now.

        Parameters
        ----------
        places
            Columns of each entity.
        """
        self._columns.follow(window)
        for mark in marks:
            if mark.kind in PAUSES:
                self._begin(columns_of(mark.entity, places), renew=mark.kind in RENEWS)
        for entity in changed:
            self._begin(columns_of(entity, places), renew=True)
        settling: _Mask = self._columns["left"] > 0
        return settling

    def learn(self, window: Window) -> _Mask:
        """Count the newest row; bool [capacity]: columns that have settled on a new level with it."""
        left, renew = self._columns["left"], self._columns["renew"]
        counted = np.flatnonzero((left > 0) & np.isfinite(window.values[-1]))  # few
        left[counted] -= 1
        settled = np.zeros(len(left), np.bool_)
        over = counted[left[counted] == 0]
        settled[over] = renew[over] > 0
        renew[over] = 0
        return settled

    def state(self) -> dict[str, NDArray[np.generic]]:
        """``left`` (points until a column is judged), ``renew`` (1 = its level is learnt anew then)."""
        return self._columns.state()

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Continue from :meth:`state`; see :meth:`aiops.detect.columns.ColumnState.restore`."""
        self._columns.restore(state)

    def _begin(self, columns: NDArray[np.intp], *, renew: bool) -> None:
        self._columns["left"][columns] = self._points
        if renew:
            self._columns["renew"][columns] = 1


def columns_of(entity: Entity, places: Places) -> NDArray[np.intp]:
    """Columns of an entity and, where it is a group, of its members."""
    found = [columns for one, columns in places.items() if entity in (one, group_of(one))]
    return np.concatenate([np.empty(0, np.intp), *found])
