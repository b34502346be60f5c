"""What the detectors said over the last hour, coarser than the numbers, so that people can look back.

Invariant: ``SLOTS`` rows whatever the window: 12 bytes × 120 per series, under half of the ring at default settings. A
slot covers ``rows / SLOTS`` ticks (30 s by default) and keeps the band of its last tick and the highest score of all of
them, because bands move slowly and a spike must not be lost. Only shown, never judged by; a restart begins anew.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aiops.detect.base import Scores

SLOTS = 120
_Rows = NDArray[np.float32]


class BandHistory(NamedTuple):
    """One series, a value per asked time: float32 [n] each, NaN = the detectors said nothing then."""

    lower: _Rows
    upper: _Rows
    score: _Rows


class Bands:
    """Appended to once per tick, beside the ring and with its columns.

    Parameters
    ----------
    rows, step_seconds
        Ticks to look back and the time between them, as in the ring.
    """

    def __init__(self, rows: int, step_seconds: float) -> None:
        self._half_step = 0.5 * step_seconds
        self._ticks_per_slot = -(-rows // SLOTS)
        self._began = np.full(SLOTS, np.nan)  # UTC seconds of each slot's first tick
        self._ended = np.full(SLOTS, np.nan)
        self._slot = -1
        self._ticks = self._ticks_per_slot
        self._generation = np.empty(0, np.int64)
        self._arrays = np.full((3, SLOTS, 0), np.nan, np.float32)  # lower, upper, score

    @property
    def memory_bytes(self) -> int:
        """Size of the arrays."""
        return self._arrays.nbytes

    def append(self, now: float, scores: Scores, generation: NDArray[np.int64]) -> None:
        """Take in one tick.

        Parameters
        ----------
        now
            UTC seconds.
        generation
            int64 [capacity], as in the window: a column with another number belongs to somebody else.
        """
        self._follow(generation)
        if self._ticks >= self._ticks_per_slot:
            self._slot, self._ticks = (self._slot + 1) % SLOTS, 0
            self._began[self._slot] = now
            self._arrays[:, self._slot] = np.nan
        self._ticks += 1
        self._ended[self._slot] = now
        lower, upper, score = self._arrays[:, self._slot]
        known = np.isfinite(scores.score)
        np.copyto(lower, scores.lower, where=known)
        np.copyto(upper, scores.upper, where=known)
        np.fmax(score, scores.score, out=score)

    def history(self, column: int, at: NDArray[np.float64]) -> BandHistory:
        """What was said of a column at times (UTC seconds, ascending)."""
        order = np.argsort(self._began)
        order = order[np.isfinite(self._began[order])]
        if not len(order) or column >= len(self._generation):
            nothing = np.full(len(at), np.nan, np.float32)
            return BandHistory(nothing, nothing, nothing)
        # Times of rows are counted back from the newest one, so they are exact up to the jitter of a tick.
        place = np.searchsorted(self._began[order] - self._half_step, at, side="right") - 1
        inside = place >= 0
        slots = order[np.maximum(place, 0)]
        inside &= at <= self._ended[slots] + self._half_step
        found = np.where(inside, self._arrays[:, slots, column], np.float32(np.nan))
        return BandHistory(*found)

    def _follow(self, generation: NDArray[np.int64]) -> None:
        """Blank columns that changed owner, and grow with the ring."""
        if generation is self._generation:
            return
        before = len(self._generation)
        if len(generation) > before:
            arrays = np.full((3, SLOTS, len(generation)), np.nan, np.float32)
            arrays[:, :, :before] = self._arrays
            self._arrays = arrays
        self._arrays[:, :, :before][:, :, generation[:before] != self._generation] = np.nan
        self._generation = generation
