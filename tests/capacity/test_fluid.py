"""The tank: its backlog against a step-by-step one, its tail against its mean."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiops.capacity.fluid import fluid_tail, fluid_windows
from aiops.capacity.queueing import mmc
from aiops.capacity.work import Intervals
from tests.capacity.loads import bursts


def test_an_even_load_is_mmc() -> None:
    seen = Intervals(15.0, 600.0, np.full(40, 45), np.full(40, 90.0))
    waits, plain = fluid_windows(seen, 10), mmc(10, 3.0, 2.0)
    assert waits.mean == pytest.approx(plain.mean_seconds)
    assert waits.quantile(0.95) == pytest.approx(plain.quantile(0.95), abs=1e-6)
    assert fluid_tail(waits, 1.0) == pytest.approx(plain.tail(1.0))


def test_overload_fills_the_tank_and_idle_minutes_empty_it() -> None:
    counts = np.repeat([120, 0], 4)
    seen = Intervals(15.0, 120.0, counts, counts * 2.0)  # a minute of 960 s of work for 4 servers, then none
    waits = fluid_windows(seen, 4)
    # the backlog climbs evenly to (960 - 240) / 4 = 180 s while requests arrive, so that is 90 s on average
    backlog = float((waits.weights * waits.backlog_seconds).sum())
    assert backlog == pytest.approx(90.0)
    jitter = mmc(4, 0.98 * 4 / 2.0, 2.0)  # an overloaded window counts as 98 % busy
    assert waits.mean == pytest.approx(backlog + jitter.mean_seconds)
    assert waits.quantile(0.95) > 0.95 * 170.0
    assert waits.between(60.0, 120.0).weights.sum() != 1.0  # nobody arrives in the second minute: no weights to share
    assert math.isnan(waits.between(60.0, 120.0).quantile(0.5))


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 30), st.integers(0, 1000))
def test_the_tail_integrates_to_the_mean_and_the_quantile_inverts_it(servers: int, seed: int) -> None:
    load = bursts(quiet=1.0, busy=6.0, seconds=600.0, mean=1.5, seed=seed)
    waits = fluid_windows(Intervals.of(load.arrival_seconds, load.service_seconds, 15.0), servers)
    top = waits.quantile(0.999999) + 1.0
    times = np.linspace(0.0, top, 1001)
    area = np.trapezoid([fluid_tail(waits, t) for t in times], times)
    assert area == pytest.approx(waits.mean, rel=0.03, abs=4e-3 * top)
    high = waits.quantile(0.95)
    assert fluid_tail(waits, high + 1e-6 * (1 + high)) <= 0.05 + 1e-6
    assert high == 0.0 or fluid_tail(waits, high * (1 - 1e-6)) >= 0.05 - 1e-6
