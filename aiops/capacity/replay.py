"""The what-if: the load that was seen, sent through a given number of servers.

Interval totals become single requests again (arrivals after :mod:`aiops.capacity.placement`, sizes from the interval's
own buckets, scaled so that the interval's work is exactly what was seen), and a first-come-first-served queue with c
servers says how long each waits. Nothing is assumed about the process that made the load. Several draws give a band.
"""

from dataclasses import dataclass
from heapq import heapreplace
from typing import Protocol

import numpy as np

from aiops.capacity.placement import Placement, learn_placement, place
from aiops.capacity.work import Floats, Intervals, bucket_edges


@dataclass(frozen=True, slots=True)
class Requests:
    """Single requests, float64 [n] each: arrivals ascending, in seconds; sizes in service-seconds.

    ``prefill_share`` is the part of each size that goes into reading the prompt (0–1); None where nobody asks.
    """

    arrival_seconds: Floats
    service_seconds: Floats
    prefill_share: Floats | None = None


@dataclass(frozen=True, slots=True)
class Waits:
    """Waits of one run in seconds, float64 [n], in order of arrival."""

    seconds: Floats

    @property
    def mean(self) -> float:
        """Mean wait."""
        return float(self.seconds.mean())

    def quantile(self, share: float) -> float:
        """Wait that ``share`` of the requests do not exceed."""
        return float(np.quantile(self.seconds, share))

    def tail(self, seconds: float) -> float:
        """Share of requests that wait longer."""
        return float(np.count_nonzero(self.seconds > seconds)) / len(self.seconds)


def synthesise(intervals: Intervals, rng: np.random.Generator, placement: Placement | None = None) -> Requests:
    """Draw requests that show the same intervals; placement is learnt from them unless given."""
    arrivals = place(intervals, learn_placement(intervals) if placement is None else placement, rng)
    if intervals.prefill_work is None:
        return Requests(arrivals, _sizes(intervals, rng))
    share = intervals.prefill_work / np.maximum(intervals.work, 1e-300)
    return Requests(arrivals, _sizes(intervals, rng), np.repeat(np.clip(share, 0.0, 1.0), intervals.counts))


def fifo_waits(requests: Requests, servers: int) -> Waits:
    """First come, first served by ``servers`` ≥ 1 alike servers that start empty.

    A heap of the times at which servers fall free: O(n log c), about 0.3 µs a request. With as many servers as were
    ever needed at once nobody waits, and nothing is simulated.
    """
    if servers < 1:
        raise ValueError(f"expected at least 1 server, got {servers}")
    if servers >= most_at_once(requests):
        return Waits(np.zeros(len(requests.arrival_seconds)))
    free = [float("-inf")] * servers
    waits: list[float] = []
    keep = waits.append
    for arrival, size in zip(requests.arrival_seconds.tolist(), requests.service_seconds.tolist(), strict=True):
        start = free[0]
        if start <= arrival:
            keep(0.0)
            heapreplace(free, arrival + size)
        else:
            keep(start - arrival)
            heapreplace(free, start + size)
    return Waits(np.array(waits))


class Pool(Protocol):
    """What serves: how a number of servers (or replicas) makes requests wait."""

    @property
    def slots(self) -> int:
        """Requests that one server serves at once; sizes are in seconds of one slot."""
        ...

    def waits(self, requests: Requests, servers: int) -> Waits:
        """Wait of each request, from an empty pool on."""
        ...


@dataclass(frozen=True, slots=True)
class Servers:
    """Alike servers, one request at a time each, one queue."""

    slots: int = 1

    def waits(self, requests: Requests, servers: int) -> Waits:
        """First come, first served."""
        return fifo_waits(requests, servers)


def most_at_once(requests: Requests) -> int:
    """Largest number in service if there were servers for all; one that takes no time needs a server for a moment."""
    moment = np.nextafter(requests.arrival_seconds, np.inf)
    ended = np.sort(np.maximum(requests.arrival_seconds + requests.service_seconds, moment))
    begun = np.arange(1, len(requests.arrival_seconds) + 1)
    return int((begun - np.searchsorted(ended, requests.arrival_seconds, side="right")).max(initial=0))


def draw(
    intervals: Intervals, placement: Placement, *, draws: int, seed: int, block_seconds: float | None = None
) -> list[Requests]:
    """Draw the load ``draws`` times; the same seed gives the same requests.

    With ``block_seconds`` each draw is another stretch of the same kind (block bootstrap of the intervals): the band
    then holds what another hour like this one could bring, not only what scrapes hide of this one.
    """
    drawn = []
    for stream in np.random.SeedSequence(seed).spawn(draws):
        rng = np.random.default_rng(stream)
        load = intervals if block_seconds is None else intervals.resampled(block_seconds, rng)
        drawn.append(synthesise(load, rng, placement))
    return drawn


def _sizes(intervals: Intervals, rng: np.random.Generator) -> Floats:
    """Sizes in random order inside each interval; they sum to the interval's work exactly."""
    n = len(intervals.counts)
    number = np.repeat(np.arange(n), intervals.counts)
    if intervals.sizes is None:
        sizes = rng.exponential(size=len(number))
    else:
        low, high = bucket_edges()
        bucket = np.repeat(np.tile(np.arange(len(low)), n), intervals.sizes.ravel())
        sizes = low[bucket] * (high[bucket] / low[bucket]) ** rng.random(len(bucket))
        sizes = sizes[np.lexsort((rng.random(len(number)), number))]
    drawn = np.bincount(number, sizes, minlength=n)
    scaled: Floats = sizes * (intervals.work / np.maximum(drawn, 1e-300))[number]
    return scaled
