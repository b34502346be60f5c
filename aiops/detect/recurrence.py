"""What comes back at the same hour is expected then: the nightly backup, the cron job at six, the Monday batch.

Slow waves need no help, because detectors follow them; what alarms every day is what jumps by the clock. For each
series and hour of the week one bit is kept: it was out of bounds in that hour, for as many points as fire an alert. An
hour is *recurrent* when at least two of these had the bit set: the same hour one, two and three days ago and a week
ago. So it takes two mornings to learn a daily job, and Friday and last Monday speak for Monday. In a recurrent hour the
band is ``HEADROOM`` times as wide as the largest such deviation was, up to ``MOST``. In all others nothing changes: a
series without recurrent hours is judged as if this were not here.

Hours are of UTC, and the hours beside count as the same, so a clock that is put forward or back does not matter.

Place: inside :mod:`aiops.detect.bank`, after the detectors are combined. Invariant: days before judge an hour.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from aiops.detect.base import Window
from aiops.detect.columns import ColumnState

HOUR_SECONDS = 3600.0
DAY, WEEK = 24, 7
BEFORE = (1, 2, 3, 7)
"""Days before whose same hour is asked."""
LEAST_TIMES = 2
HEADROOM = 1.25
MOST = 50.0
"""Most that a band is widened by: what is larger is told, however often it came."""
FADE = 0.75
"""From one time to the next, how much of a larger deviation is remembered."""

_Bits = NDArray[np.int32]


class Recurrence:
    """Remembers hours out of bounds; see the module.

    Parameters
    ----------
    points
        Points out of bounds that make an hour one.
    """

    def __init__(self, points: int) -> None:
        self._points = points
        # Per day of the week its hours, as bits: whole numbers below 2²⁴, which float32 holds exactly.
        self._days = ColumnState(WEEK, hours=0.0)
        self._columns = ColumnState(size=0.0, peak=0.0, outside=0.0, divisor=1.0)
        self._number = -1

    def divisors(self, window: Window) -> NDArray[np.float32] | None:
        """By how much bands are wider in this hour, float32 [capacity], ≥ 1; None where none is."""
        self._days.follow(window)
        self._columns.follow(window)
        number = int(window.now // HOUR_SECONDS)
        if number != self._number:
            self._turn(number)
        divisor = self._columns["divisor"]
        return divisor if (divisor > 1).any() else None

    def learn(self, score: NDArray[np.float32], taught: NDArray[np.bool_]) -> None:
        """Take in the scores of the newest row, [capacity], before they are divided."""
        outside = np.flatnonzero((score >= 1) & taught)  # few
        self._columns["outside"][outside] += 1
        self._columns["peak"][outside] = np.maximum(self._columns["peak"][outside], score[outside])

    def state(self) -> dict[str, NDArray[np.generic]]:
        """``hours`` [7, capacity]: bits of a day's hours; ``size`` of what recurs; the hour so far."""
        return {**self._days.state(), **self._columns.state(), "fixed_number": np.asarray(self._number)}

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Continue from :meth:`state`; see :meth:`aiops.detect.columns.ColumnState.restore`."""
        self._days.restore(state)
        self._columns.restore(state)
        self._number = int(state.get("fixed_number", np.asarray(-1)))

    def _turn(self, number: int) -> None:
        """Close the hour, and say what recurs in the one that begins."""
        columns = self._columns
        if self._number >= 0:
            today, bit = self._days["hours"][self._number // DAY % WEEK], 1 << (self._number % DAY)
            out = columns["outside"] >= self._points
            kept: _Bits = today.astype(np.int32) & ~bit
            today[:] = kept | (out * bit)
            faded = np.maximum(columns["peak"], FADE * columns["size"])
            np.copyto(columns["size"], faded, where=out)
        columns["outside"][:] = 0
        columns["peak"][:] = 0
        times = sum((self._was_out(number, back).astype(np.int32) for back in BEFORE), np.int32(0))
        wide = np.clip(HEADROOM * columns["size"], 1, MOST)
        columns["divisor"][:] = np.where(times >= LEAST_TIMES, wide, 1)
        self._number = number

    def _was_out(self, number: int, days_back: int) -> NDArray[np.bool_]:
        """Whether the same hour that many days ago, or one beside it, was out of bounds, [capacity]."""
        found = np.zeros(self._days["hours"].shape[1], np.bool_)
        for beside in (-1, 0, 1):
            asked = number - days_back * DAY + beside
            # Of a week ago the hour before was overwritten by the one that just ended.
            if asked > number - WEEK * DAY - 1 and asked >= 0:
                bits: _Bits = self._days["hours"][asked // DAY % WEEK].astype(np.int32)
                found |= bits & (1 << (asked % DAY)) > 0
        return found
