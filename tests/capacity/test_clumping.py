"""Clumps below the interval: found through the gauge in flight, not imagined, and left alone in the dark."""

import numpy as np
import pytest

from aiops.capacity.clumping import calibrated
from aiops.capacity.placement import Placement
from aiops.capacity.replay import Requests, draw, fifo_waits
from aiops.capacity.work import Floats, Intervals, in_flight
from tests.capacity.loads import poisson

STEP = 15.0


def groups(*, size: float, within: float, rate: float, seconds: float, seed: int) -> Requests:
    """Requests that come in groups, geometric in number, spread over ``within`` seconds."""
    rng = np.random.default_rng(seed)
    begins = np.sort(rng.random(rng.poisson(rate / size * seconds))) * seconds
    counts = rng.geometric(1.0 / size, len(begins))
    times = np.sort(np.repeat(begins, counts) + rng.random(int(counts.sum())) * within)
    return Requests(times - times[0], rng.exponential(1.0, len(times)))


def gauge(load: Requests) -> tuple[Intervals, Floats, Floats]:
    seen = Intervals.of(load.arrival_seconds, load.service_seconds, STEP)
    at = np.arange(2.0, len(seen.counts)) * STEP
    return seen, at, in_flight(load.arrival_seconds, load.service_seconds, at)


def late(seen: Intervals, placement: Placement, servers: int) -> float:
    return float(np.mean([fifo_waits(one, servers).tail(1.0) for one in draw(seen, placement, draws=6, seed=2)]))


def test_groups_are_found_and_explain_the_waits() -> None:
    load = groups(size=12.0, within=1.0, rate=8.0, seconds=3600.0, seed=1)
    seen, at, held = gauge(load)
    found = calibrated(seen, Placement(), at, held, seed=3)
    truth = fifo_waits(load, 14).tail(1.0)
    assert found.fine > 0.05
    assert truth > 0.03
    assert late(seen, Placement(), 14) < truth / 4.0
    assert late(seen, found, 14) == pytest.approx(truth, rel=0.5)


def test_clumps_that_are_not_there_are_taken_back() -> None:
    seen, at, held = gauge(poisson(8.0, 3600.0, mean=1.0, seed=2))
    found = calibrated(seen, Placement(steady=0.3, edge=0.3), at, held, seed=3)
    assert found.steady < 0.03
    assert found.steady == found.edge
    assert calibrated(seen, Placement(), at, held, seed=3).fine < 0.03


def test_in_the_dark_nothing_changes() -> None:
    kept = Placement(0.1, 0.2, 0.3)
    short, at, held = gauge(groups(size=12.0, within=1.0, rate=8.0, seconds=200.0, seed=4))
    assert calibrated(short, kept, at, held, seed=1) is kept
    empty = Intervals(STEP, 600.0, np.zeros(40, np.int64), np.zeros(40))
    assert calibrated(empty, kept, np.arange(2.0, 40.0) * STEP, np.zeros(38), seed=1) is kept
