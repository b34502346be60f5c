"""Loads made for tests: Poisson, bursts of minutes, everybody at once."""

import numpy as np

from aiops.capacity.replay import Requests


def poisson(rate: float, seconds: float, *, mean: float, seed: int) -> Requests:
    """Memoryless arrivals and sizes."""
    rng = np.random.default_rng(seed)
    times = np.sort(rng.random(rng.poisson(rate * seconds))) * seconds
    return Requests(times - times[0], rng.exponential(mean, len(times)))


def bursts(*, quiet: float, busy: float, seconds: float, mean: float, seed: int) -> Requests:
    """Poisson at two rates that take turns of a minute and a half on average (an MMPP)."""
    rng = np.random.default_rng(seed)
    times, begin, rate = [], 0.0, quiet
    while begin < seconds:
        length = rng.exponential(90.0)
        times.append(begin + np.sort(rng.random(rng.poisson(rate * length))) * length)
        begin, rate = begin + length, quiet + busy - rate
    every = np.concatenate(times)
    return Requests(every - every[0], rng.lognormal(-0.32, 0.8, len(every)) * mean)


def every(period: float, seconds: float, *, size: float, mean: float, seed: int) -> Requests:
    """Clients that all send at the same moments."""
    rng = np.random.default_rng(seed)
    ticks = np.arange(0.0, seconds, period)
    times = np.repeat(ticks, 1 + rng.poisson(size - 1, len(ticks)))
    return Requests(times, rng.exponential(mean, len(times)))


def at_rho(load: Requests, servers: int, rho: float) -> Requests:
    """The same load with sizes scaled so that ``servers`` are busy ``rho`` of the time."""
    offered = load.service_seconds.sum() / load.arrival_seconds[-1]
    return Requests(load.arrival_seconds, load.service_seconds * (rho * servers / offered))
