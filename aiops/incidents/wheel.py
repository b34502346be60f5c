"""Counts of the recent past in bins of one width, for many rows at once.

Invariant: memory is fixed by the number of rows; time comes in as seconds that passed, never as a clock.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Wheel:
    """Bins that turn: the newest is being filled, the oldest is forgotten.

    Parameters
    ----------
    width_seconds
        Time that one bin covers.
    bins
        Full bins that are remembered beside the one that is being filled.
    """

    def __init__(self, width_seconds: float, bins: int) -> None:
        self.width_seconds = width_seconds
        self.counts: Floats = np.zeros((2, 0, bins + 1))
        self._age_seconds = 0.0
        self._newest = 0
        self._full: dict[int, Floats] = {}
        """Number of full bins → their sums; they change only when a bin is finished."""

    def grow(self, rows: int) -> None:
        """Have so many rows; new ones are empty."""
        more = rows - self.counts.shape[1]
        if more > 0:
            self._full.clear()
            empty = np.zeros((2, more, self.counts.shape[2]))
            self.counts = np.concatenate((self.counts, empty), axis=1)

    def keep(self, rows: NDArray[np.intp]) -> None:
        """Forget all rows but these."""
        self.counts = self.counts[:, rows]
        self._full.clear()

    def turn(self, seconds: float) -> bool:
        """Let time pass; true when a bin was finished."""
        self._age_seconds += seconds
        steps = int(self._age_seconds // self.width_seconds)
        self._age_seconds -= steps * self.width_seconds
        bins = self.counts.shape[2]
        places = (self._newest + 1 + np.arange(min(steps, bins))) % bins
        self.counts[:, :, places] = 0.0
        self._newest = (self._newest + steps) % bins
        if steps:
            self._full.clear()
        return steps > 0

    def add(self, gains: Floats) -> None:
        """Count float64 [2, rows] in the newest bin."""
        self.counts[:, :, self._newest] += gains

    def sums(self, seconds: float) -> Floats:
        """Counts float64 [2, rows] of the last ``seconds``, rounded up to what the newest bin has of its width."""
        bins = self.counts.shape[2]
        full = min(round(seconds / self.width_seconds), bins - 1)
        if full not in self._full:
            places = (self._newest - np.arange(1, full + 1)) % bins
            self._full[full] = self.counts[:, :, places].sum(axis=2)
        answer: Floats = self._full[full] + self.counts[:, :, self._newest]
        return answer

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Bins from the oldest to the newest, and the age of the newest."""
        return {"counts": np.roll(self.counts, -(self._newest + 1), axis=2), "age": np.array([self._age_seconds])}

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Continue from :meth:`state`; raises ValueError when it is that of another wheel."""
        counts = np.asarray(state["counts"], np.float64)
        if counts.ndim != 3 or counts.shape[0] != 2 or counts.shape[2] != self.counts.shape[2]:
            raise ValueError(f"counts have the shape {counts.shape}; expected (2, rows, {self.counts.shape[2]})")
        if not (np.isfinite(counts).all() and (counts >= 0.0).all()):
            raise ValueError("counts are not numbers of events")
        self.counts, self._newest = counts.copy(), counts.shape[2] - 1
        self._age_seconds = float(state["age"][0]) % self.width_seconds
        self._full.clear()
