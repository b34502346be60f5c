"""Per-series state that follows the window: numbers per column, reset when a column changes owner; and its recent past.

Every detector keeps such arrays. Invariant: after :meth:`ColumnState.follow` each array has exactly the
window's capacity, and nothing in it was learnt from another series.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from aiops.detect.base import Window

KEEP_SECONDS = 600.0
"""Time between two copies of what is learnt. A fault that takes longer to be seen than one to two of these is partly
learnt; after longer ones a wave would have gone on too far."""


class ColumnState:
    """Named float32 arrays [capacity], or [rows, capacity].

    Parameters
    ----------
    rows
        Numbers of each name per column; None for one, and arrays of one axis.
    fill
        Name of each array and the value of a series of which nothing is known yet.
    """

    def __init__(self, rows: int | None = None, /, **fill: float) -> None:
        self._fill = fill
        self._shape = () if rows is None else (rows,)
        self._arrays = {name: np.empty((*self._shape, 0), np.float32) for name in fill}
        self._generation: NDArray[np.int64] | None = None

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        return self._arrays[name]

    def follow(self, window: Window) -> None:
        """Grow to the window's capacity and blank the columns that have another owner now; idempotent."""
        known, wanted = self._generation, window.generation
        if known is wanted:
            return
        # What the ring gives out is never written again, so all may hold the same one.
        self._generation = wanted.copy() if wanted.flags.writeable else wanted
        if known is not None and np.array_equal(known, wanted):
            return
        capacity = len(wanted)
        for name, old in self._arrays.items():
            self._arrays[name] = _resized(old, capacity, self._fill[name])
        if known is not None:
            kept = min(len(known), capacity)
            changed = np.flatnonzero(known[:kept] != wanted[:kept])
            for name, fill in self._fill.items():
                self._arrays[name][..., changed] = fill

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Copies of the arrays by name."""
        return {name: array.copy() for name, array in self._arrays.items()}

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over arrays whose columns are already where they belong today; NaN = new series.

        The owners are those of the next window that is followed.

        Raises
        ------
        ValueError
            When an array is missing, or they are not of one length, or of another number of rows.
        """
        missing = sorted(set(self._fill) - set(state))
        if missing:
            raise ValueError(f"saved state lacks the arrays {', '.join(missing)}; it has {', '.join(sorted(state))}")
        arrays = {name: np.array(state[name], np.float32) for name in self._fill}
        shapes = {array.shape for array in arrays.values()}
        if len(shapes) != 1 or not (shape := next(iter(shapes))) or shape[:-1] != self._shape:
            rows = "".join(f"{rows} × " for rows in self._shape)
            raise ValueError(f"expected arrays of {rows}one length, got the shapes {sorted(shapes)}")
        for name, array in arrays.items():
            array[~np.isfinite(array)] = self._fill[name]
        self._arrays, self._generation = arrays, None


class Kept:
    """What columns had learnt ``KEEP_SECONDS`` to twice that ago, for faults that are followed until they are seen.

    Two copies of some arrays, float32 [2, capacity] each, the older first. They are in no snapshot: after a restart
    there is none to go back to.

    Parameters
    ----------
    names
        Names of the arrays.
    """

    def __init__(self, *names: str) -> None:
        self._names = names
        self._copies = ColumnState(2, **dict.fromkeys(names, np.nan))
        self._points = 0

    def follow(self, window: Window) -> None:
        """As :meth:`ColumnState.follow`."""
        self._copies.follow(window)

    def due(self, step_seconds: float) -> bool:
        """Count a point; whether it is time for :meth:`take`."""
        self._points += 1
        return self._points * step_seconds >= KEEP_SECONDS

    def take(self, learnt: ColumnState | Mapping[str, NDArray[np.floating]], ready: NDArray[np.bool_]) -> None:
        """Copy what is learnt now, where it is ``ready`` (bool [capacity])."""
        self._points = 0
        for name in self._names:
            older_and_newer = self._copies[name]
            older_and_newer[0] = older_and_newer[1]
            older_and_newer[1] = np.where(ready, learnt[name], np.nan)

    def forget(self, columns: NDArray[np.generic]) -> None:
        """Keep nothing of some columns (places or bool [capacity]): they were taught on purpose, or are others now."""
        for name in self._names:
            self._copies[name][:, columns] = np.nan

    def before(self, columns: NDArray[np.generic]) -> dict[str, NDArray[np.float32]]:
        """By name the older copies of some columns (places or bool [capacity]), the newer where there is no older; NaN
        where there is none."""
        older = np.isfinite(self._copies[self._names[0]][0, columns])
        copies = {name: self._copies[name][:, columns] for name in self._names}
        return {name: np.where(older, both[0], both[1]) for name, both in copies.items()}


def misfit(expected: Mapping[str, NDArray[np.generic]], given: Mapping[str, NDArray[np.generic]], capacity: int) -> str:
    """Say how saved arrays differ in form from those that a detector has now; empty where they can be taken.

    A form is names, types and axes. The last axis is as long as there are columns, of arrays called ``fixed_…`` as long
    as it was. Whoever has no arrays before it learnt something (``expected`` is empty) looks at its own.
    """
    if not expected:
        return ""
    if unlike := sorted(expected.keys() ^ given.keys()):
        return f"{', '.join(unlike)}: expected {'one more' if unlike[0] in expected else 'no such'} array"
    for name, array in given.items():
        like = expected[name]
        last = (array.shape[-1:] or (0,)) if name.startswith("fixed_") else (capacity,)
        shape = (*like.shape[:-1], *last) if like.ndim else ()
        if (array.dtype, array.shape) != (like.dtype, shape):
            return f"{name} is {array.dtype} {list(array.shape)}, expected {like.dtype} {list(shape)}"
    return ""


def _resized(old: NDArray[np.float32], capacity: int, fill: float) -> NDArray[np.float32]:
    new = np.full((*old.shape[:-1], capacity), fill, np.float32)
    kept = min(old.shape[-1], capacity)
    new[..., :kept] = old[..., :kept]
    return new
