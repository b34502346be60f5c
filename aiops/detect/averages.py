"""Exponential memories over blocks of rows, equal to updating row by row.

The recursion y ← y + g·(x − y) is solved for a whole block at once with a cumulative product and sum, so that a long
series costs numpy calls per block, not per row. Row i of a result depends on rows ≤ i only.

Invariant: the state after a block is that after its rows one by one, up to rounding; with the same partition into
blocks, rows that are added later change no bit of earlier results. Blocks hold at most 128 rows, because the
cumulative product of a short memory underflows on long ones.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Average:
    """Mean that forgets: plain until it has seen ``memory`` points, exponential after that.

    Parameters
    ----------
    memory
        Points remembered, > 1; one number, or float64 [columns].
    columns
        Independent series.
    """

    def __init__(self, memory: float | Array, columns: int) -> None:
        self._memory = memory
        self.value: Array = np.zeros(columns)
        self._count: Array = np.zeros(columns)

    def push(self, rows: Array, known: Mask) -> Array:
        """Take in ``rows`` [rows, columns] where ``known``; give the mean *before* each row, same shape.

        Before the first known point the mean is that point itself, so that nothing looks far from it.
        """
        count = self._count + np.cumsum(known, axis=0)
        first = known & (count == 1)
        gain = np.where(known & ~first, 1 / np.maximum(np.minimum(count, self._memory), 1), 0.0)
        kept = np.cumprod(1 - gain, axis=0)
        rows = np.where(known, rows, 0.0)
        # The first point of a column replaces the (zero) mean: it enters the sum with weight 1.
        after = kept * (self.value + np.cumsum(np.where(first, rows, gain * rows) / kept, axis=0))
        before = np.concatenate([self.value[None], after[:-1]])
        before = np.where(count - known == 0, rows, before)
        self.value, self._count = after[-1], count[-1]
        return before


class Peak:
    """Largest value seen, fading by a constant factor per row: h ← max(factor·h, x).

    Parameters
    ----------
    factor
        Share that is left one row later, in (0, 1).
    """

    def __init__(self, factor: float) -> None:
        self._factor = factor
        self._value = 0.0

    def push(self, rows: Array) -> Array:
        """Take in ``rows`` [rows], ≥ 0; give the faded peak including each row."""
        fade = self._factor ** np.arange(1, len(rows) + 1)
        peak: Array = np.maximum.accumulate(np.maximum(rows / fade, self._value)) * fade
        self._value = float(peak[-1])
        return peak


class Extremes:
    """Highest and lowest value of the last one to two half-memories.

    Parameters
    ----------
    half_memory
        Rows after which the older half is dropped.
    columns
        Independent series.
    """

    def __init__(self, half_memory: int, columns: int) -> None:
        self._half = half_memory
        self._row = 0
        self._old = np.stack([np.full(columns, -np.inf), np.full(columns, np.inf)])
        self._new = self._old.copy()

    def push(self, rows: Array, known: Mask) -> Array:
        """Take in ``rows`` [rows, columns]; give how far each lies beyond what was seen before it, ≥ 0.

        Rows of one call must not span a multiple of ``half_memory``.
        """
        high = np.maximum.accumulate(np.concatenate([self._new[:1], np.where(known, rows, -np.inf)]), axis=0)
        low = np.minimum.accumulate(np.concatenate([self._new[1:], np.where(known, rows, np.inf)]), axis=0)
        top, bottom = np.maximum(high[:-1], self._old[0]), np.minimum(low[:-1], self._old[1])
        seen = np.isfinite(top) & known
        beyond = np.maximum(rows - top, bottom - rows, where=seen, out=np.zeros_like(rows))
        self._new = np.stack([high[-1], low[-1]])
        self._row += len(rows)
        if self._row % self._half == 0:
            self._old, self._new = self._new, np.stack([np.full_like(high[-1], -np.inf), np.full_like(low[-1], np.inf)])
        distance: Array = np.maximum(beyond, 0.0)
        return distance
