"""The birth–death engine against M/M/c, a long sum, and the twin under Poisson arrivals."""

import math

import numpy as np
import pytest

from aiops.capacity.batching import batching_engine, departures
from aiops.capacity.curve import StepCurve
from aiops.capacity.queueing import mmc
from aiops.capacity.twin import EngineProfile, engine_waits

FLAT = StepCurve(np.array([1.0, 2.0]), np.array([0.02, 0.02]))
STEEP = StepCurve.linear(0.004, 0.0004)


def test_a_step_that_never_slows_is_mmc() -> None:
    answer = batching_engine(3.0, FLAT, slots=8, prefill_seconds=0.0, output_tokens=100.0)
    plain = mmc(8, 3.0, 2.0)
    assert answer.waiting.mean_seconds == pytest.approx(plain.mean_seconds)
    assert answer.waiting.probability == pytest.approx(plain.probability)
    assert answer.running == pytest.approx(6.0)
    assert answer.step_seconds == pytest.approx(0.02)


def test_the_folded_tail_equals_a_long_sum() -> None:
    slots, arrivals = 16, 9.0
    rates = departures(STEEP, slots, 0.1, 150.0)
    assert arrivals < rates[-1]
    weights = [1.0]
    for n in range(1, 6000):
        weights.append(weights[-1] * arrivals / rates[min(n, slots) - 1])
    states = np.array(weights) / sum(weights)
    n = np.arange(len(states))
    answer = batching_engine(arrivals, STEEP, slots=slots, prefill_seconds=0.1, output_tokens=150.0)
    assert answer.waiting.mean_seconds == pytest.approx((np.maximum(0, n - slots) @ states) / arrivals)
    assert answer.waiting.probability == pytest.approx(states[slots:].sum())
    assert answer.running == pytest.approx(np.minimum(n, slots) @ states)


def test_it_agrees_with_the_twin_under_poisson() -> None:
    rng = np.random.default_rng(4)
    n, rate = 20_000, 4.9
    arrivals = np.cumsum(rng.exponential(1 / rate, n))
    output = np.maximum(1.0, rng.exponential(200.0, n))
    profile = EngineProfile(STEEP, 0.0, slots=16)
    seen = engine_waits(arrivals, np.zeros(n), output, replicas=1, profile=profile)
    told = batching_engine(rate, STEEP, slots=16, prefill_seconds=0.0, output_tokens=200.0)
    assert 0.5 < told.waiting.rho < 1.0
    assert seen.mean() == pytest.approx(told.waiting.mean_seconds, rel=0.25)


def test_overload_and_nonsense() -> None:
    answer = batching_engine(100.0, STEEP, slots=4, prefill_seconds=0.0, output_tokens=100.0)
    assert math.isnan(answer.waiting.mean_seconds)
    assert answer.waiting.backlog_growth_per_second > 0.0
    idle = batching_engine(0.0, STEEP, slots=4, prefill_seconds=0.0, output_tokens=100.0)
    assert (idle.running, idle.waiting.mean_seconds) == (0.0, 0.0)
    with pytest.raises(ValueError, match="expected slots"):
        batching_engine(1.0, STEEP, slots=0, prefill_seconds=0.0, output_tokens=1.0)
