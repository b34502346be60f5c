"""Fluid backlog plus Erlang C: minutes of overload as water in a tank, the jitter inside a minute as M/M/c.

Per window of about a minute: work flows in, at most c service-seconds a second flow out, what stays is waited for by
those behind it; on top comes the wait of M/M/c at that window's load. Needs nothing but work per window, and is the
best answer that needs no draws.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np

from aiops.capacity.queueing import mmc
from aiops.capacity.work import NAN, Floats, Intervals

WINDOW_SECONDS = 60.0
_BUSIEST = 0.98  # above it M/M/c would add a steady state that a window is too short to reach
_POINTS = (np.arange(8) + 0.5) / 8.0  # where inside a window waits are looked at


@dataclass(frozen=True, slots=True)
class FluidWaits:
    """Waits at some points of every window, float64 [windows, points] or [windows, 1].

    Attributes
    ----------
    begin_seconds
        Start of each window, float64 [windows].
    weights
        Share of all requests at each point; sums to 1.
    backlog_seconds
        Wait for the work already there.
    probability, decay_per_second
        Tail of the extra wait of M/M/c.
    """

    begin_seconds: Floats
    weights: Floats
    backlog_seconds: Floats
    probability: Floats
    decay_per_second: Floats

    def between(self, first_seconds: float, last_seconds: float) -> Self:
        """Waits of the windows that begin in a stretch, by themselves; at least one must have requests."""
        inside = (self.begin_seconds >= first_seconds) & (self.begin_seconds < last_seconds)
        weights = self.weights[inside]
        return type(self)(
            self.begin_seconds[inside],
            weights / weights.sum() if weights.sum() else weights * NAN,
            self.backlog_seconds[inside],
            self.probability[inside],
            self.decay_per_second[inside],
        )

    @property
    def mean(self) -> float:
        """Mean wait over all requests; NaN without requests."""
        extra = self.probability / self.decay_per_second
        return float((self.weights * (self.backlog_seconds + extra)).sum())

    def quantile(self, share: float) -> float:
        """Wait that ``share`` of the requests do not exceed, by bisection to a relative 1e-9."""
        if not math.isfinite(self.mean):
            return NAN
        if fluid_tail(self, 0.0) <= 1.0 - share:
            return 0.0
        low, high = 0.0, 1.0
        while fluid_tail(self, high) > 1.0 - share:
            low, high = high, high * 2.0
        while high - low > 1e-9 * high:
            middle = (low + high) / 2.0
            low, high = (middle, high) if fluid_tail(self, middle) > 1.0 - share else (low, middle)
        return high


def fluid_tail(waits: FluidWaits, seconds: float) -> float:
    """P(wait > seconds)."""
    beyond = seconds - waits.backlog_seconds
    tail = np.where(beyond < 0.0, 1.0, waits.probability * np.exp(-waits.decay_per_second * np.maximum(beyond, 0.0)))
    return float((waits.weights * tail).sum())


def fluid_windows(intervals: Intervals, servers: int) -> FluidWaits:
    """Run the tank over a load; it starts empty."""
    each = max(1, round(WINDOW_SECONDS / intervals.step_seconds))
    starts = np.arange(0, len(intervals.counts), each)
    counts = np.add.reduceat(intervals.counts, starts).astype(np.float64)
    work = np.add.reduceat(intervals.work, starts)
    begins: Floats = np.asarray(starts * intervals.step_seconds, dtype=np.float64)
    lengths = np.minimum(begins + each * intervals.step_seconds, intervals.span_seconds) - begins
    level, before, after = 0.0, [], []
    for arrived, length in zip(work.tolist(), lengths.tolist(), strict=True):
        before.append(level)
        level = max(0.0, level + arrived - servers * length)
        after.append(level)
    low, high = np.array(before)[:, np.newaxis], np.array(after)[:, np.newaxis]
    backlog = (low + (high - low) * _POINTS) / servers
    total = counts.sum()
    weights = np.repeat(counts[:, np.newaxis], len(_POINTS), axis=1) / (max(total, 1.0) * len(_POINTS))
    extra = [
        _window_wait(servers, count, used, length) for count, used, length in zip(counts, work, lengths, strict=True)
    ]
    probability = np.array([[found[0]] for found in extra])
    decay = np.array([[found[1]] for found in extra])
    return FluidWaits(begins, weights if total else weights * NAN, backlog, probability, decay)


def _window_wait(servers: int, count: float, work: float, length_seconds: float) -> tuple[float, float]:
    """Probability and decay of the wait of M/M/c at one window's load."""
    if not count or not work:
        return 0.0, 1.0
    service = work / count
    arrivals = min(count / length_seconds, _BUSIEST * servers / service)
    waiting = mmc(servers, arrivals, service)
    return waiting.probability, waiting.decay_per_second
