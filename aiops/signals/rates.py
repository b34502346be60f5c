"""Counters to increases: what a counter gained between two pages, and when that cannot be known.

A restarted process starts its counters at zero. The gain over such a reset is unknown (some was lost with the
old process), so it is NaN: never negative, and never the spike that the new total would be. The invariant of
this module: an increase is a number ≥ 0 that really happened in the interval, or NaN.
"""

import numpy as np
from numpy.typing import NDArray


def step_seconds(at: float, before: float, longest_gap_seconds: float) -> float:
    """Time between two pages, or NaN when no rate may be taken over it.

    NaN when the page is the first (``before`` is NaN), came twice or out of order (``at`` ≤ ``before``), or when
    the gap is so long that its average says nothing about now.
    """
    step = at - before
    return step if 0.0 < step <= longest_gap_seconds else float("nan")


def increases(
    now: NDArray[np.float64], before: NDArray[np.float64], starts: NDArray[np.intp], lengths: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Gain of every counter series since the page before.

    Parameters
    ----------
    now, before
        float64 [n]; ``before`` is NaN for series that were not there.
    starts, lengths
        intp [g], contiguous groups of series that reset together (the buckets, sum and count of one
        histogram): one that fell makes the whole group unknown, so that no half histogram is counted.

    Returns
    -------
    float64 [n], ≥ 0 or NaN.
    """
    gain = now - before
    fell = gain < 0.0
    if fell.any():
        gain[np.repeat(np.logical_or.reduceat(fell, starts), lengths)] = np.nan
    return gain


def reset_share(now: NDArray[np.float64], before: NDArray[np.float64]) -> float:
    """Share of the counters above zero that fell: near 1 after a restart; NaN when none was above zero."""
    counted = (before > 0.0) & ~np.isnan(now)
    total = int(counted.sum())
    return float((now[counted] < before[counted]).sum() / total) if total else float("nan")
