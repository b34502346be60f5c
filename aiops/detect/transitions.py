"""How seldom a series was where it is now, after where it was in the two rows before.

Places are values in standard deviations from the mean, on a grid that is fine near the mean and coarse far from it. For
each column it is counted how often every place was seen, followed which other, and which two; the probability of a row
is its share among what followed the same two places, leaning on what followed the last one, leaning on how often the
place was seen at all, where there was little to count::

    p₀ = (n(x) + a / PLACES) / (rows + a)
    p₁ = (n(y, x) + a·p₀) / (n(y) + a)
    p₂ = (n(z, y, x) + a·p₁) / (n(z, y) + a)          z, y, x: the last three places

It knows no distance, so it sees what those statistics cannot that compare with a scale: a usual value in an unusual
order, one in a gap between two usual levels. Place: a statistic of :mod:`aiops.detect.ensemble`.
"""

import numpy as np
from numpy.typing import NDArray

from aiops.detect.averages import Array, Mask

PLACES = 21
STEP = 0.4
"""Distance of two places, in arsinh of the standard deviations; the outermost ones begin at 22."""
LEANING = 0.5
"""a: so many rows the less certain count stands for."""
COUNT_ROWS = 100
"""Rows are counted when so many have come, so that it does not matter in which blocks they do."""

_Places = NDArray[np.intp]


class Transitions:
    """Counts of places; see the module. 38 KiB per column.

    Parameters
    ----------
    columns
        Independent series.
    """

    def __init__(self, columns: int) -> None:
        self._column = np.arange(columns)
        self._seen = [np.zeros((columns, PLACES**length), np.float32) for length in (1, 2, 3)]
        self._rows = np.zeros(columns)
        self._last: _Places = np.full((2, columns), PLACES // 2)
        self._pending: list[tuple[_Places, Mask]] = []
        self._row = 0

    def push(self, deviations: Array, known: Mask) -> Array:
        """Give −ln p of ``deviations`` [rows, columns], 0 where not ``known``; then count.

        Unknown ones are not counted, and stand for a place where they are before others. Rows of one call must not span
        a multiple of 100.
        """
        near = np.rint(np.arcsinh(deviations) / STEP)
        place = (np.clip(near, -(PLACES // 2), PLACES // 2) + PLACES // 2).astype(np.intp)
        recent = np.concatenate([self._last, place])
        self._last = recent[-2:]
        pair = recent[1:-1] * PLACES + place
        triple = recent[:-2] * PLACES**2 + pair
        before = self._rows, self._of(0, recent[1:-1]), self._of(1, triple // PLACES)
        probability = np.full(place.shape, 1 / PLACES)
        for length, (where, total) in enumerate(zip((place, pair, triple), before, strict=True)):
            probability = (self._of(length, where) + LEANING * probability) / (total + LEANING)
        self._pending.append((triple, known))
        self._row += len(place)
        if self._row % COUNT_ROWS == 0:
            self._count()
        return np.where(known, -np.log(np.minimum(probability, 1.0)), 0.0)

    def _of(self, length: int, where: _Places) -> Array:
        return self._seen[length][self._column, where].astype(np.float64)

    def _count(self) -> None:
        triple, known = (np.concatenate(parts) for parts in zip(*self._pending, strict=True))
        self._pending = []
        self._rows += known.sum(axis=0)
        for seen, kind in zip(self._seen, (PLACES, PLACES**2, PLACES**3), strict=True):
            where = triple % kind + self._column * kind
            np.add.at(seen.reshape(-1), where[known], np.float32(1))
