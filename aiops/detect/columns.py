"""Per-series state that follows the window: numbers per column, reset when a column changes owner.

Every detector keeps such arrays. Invariant: after :meth:`ColumnState.follow` each array has exactly the
window's capacity, and nothing in it was learnt from another series.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from aiops.detect.base import Window


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
