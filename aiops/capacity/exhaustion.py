"""When will it be full? Time until a stock (KV cache, memory, disk) is used up, with an interval, or no answer.

A straight line through noisy or flat data gives a date for everything, which is how such alarms lose their readers.
So: the slope is the median of the slopes of pairs (Theil 1950, Sen 1968), its interval is Kendall's, and there is an
answer only when the stock is surely growing and has grown by more than it wobbles.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
NAN = float("nan")

_FEWEST = 20
_MOST = 120  # pairs grow with the square
_NORMAL_95 = 1.96


@dataclass(frozen=True, slots=True)
class Exhaustion:
    """Time left, in seconds from the newest point.

    Attributes
    ----------
    seconds, soonest_seconds, latest_seconds
        Expected, and 95 % interval; NaN when there is no answer, ``latest_seconds`` may be infinite.
    growth_per_second
        Slope; NaN when too little is known.
    reason
        Why there is no answer; empty when there is one.
    """

    seconds: float = NAN
    soonest_seconds: float = NAN
    latest_seconds: float = NAN
    growth_per_second: float = NAN
    reason: str = ""


def time_to_exhaustion(at: Floats, used: Floats, limit: float, *, beyond_seconds: float = 7 * 86_400.0) -> Exhaustion:
    """Extrapolate use to its limit.

    Parameters
    ----------
    at, used
        float64 [n] seconds, ascending, and what is used, in the unit of ``limit``; NaN = unknown.
    limit
        Where it ends. For something that runs down (free disk), pass the negative of it and a limit of 0.
    beyond_seconds
        Further away than this is no answer: nothing goes straight on for that long.
    """
    known = ~np.isnan(used)
    at, used = at[known], used[known]
    if len(at) < _FEWEST or limit != limit:  # noqa: PLR0124 - NaN is not itself
        return Exhaustion(reason=f"{len(at)} known points; expected at least {_FEWEST} and a known limit")
    at, used = _thinned(at, used)
    if used[-1] >= limit:
        return Exhaustion(0.0, 0.0, 0.0, reason="")
    slope, low, high = _slope(at, used)
    if low <= 0.0:
        return Exhaustion(growth_per_second=slope, reason="not surely growing")
    rest = used - (np.median(used - slope * at) + slope * at)
    wobble = 1.4826 * float(np.median(np.abs(rest)))
    if slope * float(at[-1] - at[0]) < 3.0 * wobble:
        return Exhaustion(growth_per_second=slope, reason="grew by less than three times its own noise")
    now = float(np.median(rest[-5:])) + float(np.median(used - slope * at)) + slope * float(at[-1])
    left = max(0.0, limit - now)
    if left / slope > beyond_seconds:
        return Exhaustion(growth_per_second=slope, reason="further away than a straight line can be trusted")
    return Exhaustion(left / slope, max(0.0, left - wobble) / high, (left + wobble) / low, slope)


def _thinned(at: Floats, used: Floats) -> tuple[Floats, Floats]:
    """Medians of at most 120 stretches: neighbours say the same thing, and peaks of a sawtooth say nothing."""
    if len(at) <= _MOST:
        return at, used
    parts = np.array_split(np.arange(len(at)), _MOST)
    return np.array([at[part].mean() for part in parts]), np.array([np.median(used[part]) for part in parts])


def _slope(at: Floats, used: Floats) -> tuple[float, float, float]:
    """Median slope of all pairs and its 95 % interval by Kendall's variance, widened for points that follow another.

    Neighbours are not independent: with lag-one correlation r of the rest, n points are worth n·(1 − r)/(1 + r).
    """
    n = len(at)
    first, second = np.triu_indices(n, k=1)
    slopes = np.sort((used[second] - used[first]) / (at[second] - at[first]))
    slope = float(np.median(slopes))
    rest = used - slope * at
    rest = rest - rest.mean()
    spread = float(rest @ rest)
    r = min(0.95, max(0.0, float(rest[1:] @ rest[:-1]) / spread)) if spread else 0.0
    half = _NORMAL_95 * sqrt(n * (n - 1) * (2 * n + 5) / 18.0 * (1.0 + r) / (1.0 - r))
    low = slopes[max(0, int((len(slopes) - half) / 2.0))]
    high = slopes[min(len(slopes) - 1, int((len(slopes) + half) / 2.0) + 1)]
    return slope, float(low), float(high)
