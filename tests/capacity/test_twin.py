"""The twin against a simulation of every single step, and laws that any pool of engines obeys."""

import numpy as np
import pytest

from aiops.capacity.curve import StepCurve
from aiops.capacity.replay import Requests, fifo_waits
from aiops.capacity.twin import EngineProfile, Engines, _Replica, engine_waits

PROFILE = EngineProfile(StepCurve.linear(0.008, 0.0002), 7e-5, 32)


def step_by_step(arrivals: np.ndarray, prompts: np.ndarray, outputs: np.ndarray, profile: EngineProfile) -> np.ndarray:
    """One engine, one step at a time: chunked prefill in order, one token for everybody else."""
    table = profile.curve.table(profile.slots)
    now, coming = 0.0, 0
    waiting: list[int] = []
    prefill: list[list[float]] = []
    decode: list[float] = []
    waits = np.full(len(arrivals), np.nan)
    while coming < len(arrivals) or waiting or prefill or decode:
        if not (waiting or prefill or decode):
            now = max(now, float(arrivals[coming]))
        while coming < len(arrivals) and arrivals[coming] <= now:
            waiting.append(coming)
            coming += 1
        while waiting and len(prefill) + len(decode) < profile.slots:
            number = waiting.pop(0)
            prefill.append([number, prompts[number]])
        room, read, finished = float(profile.chunk_tokens), 0.0, []
        for entry in prefill:
            if room <= 0:
                break
            number = int(entry[0])
            if np.isnan(waits[number]):
                waits[number] = now - arrivals[number]
            part = min(room, entry[1])
            entry[1], room, read = entry[1] - part, room - part, read + part
            if entry[1] <= 0:
                finished.append(entry)
        now += table[len(decode)] + read * profile.prefill_seconds_per_token
        decode = [left - 1 for left in decode if left > 1]
        for entry in finished:
            prefill.remove(entry)
            decode.append(outputs[int(entry[0])])
    return waits


@pytest.mark.parametrize("rate", [2.0, 4.0, 5.0])
def test_one_engine_equals_the_simulation_of_each_step(rate: float) -> None:
    rng = np.random.default_rng(1)
    n = 1200
    arrivals = np.cumsum(rng.exponential(1 / rate, n))
    prompts, outputs = rng.integers(50, 3000, n).astype(float), rng.integers(20, 400, n).astype(float)
    truth = step_by_step(arrivals, prompts, outputs, PROFILE)
    found = engine_waits(arrivals, prompts, outputs, replicas=1, profile=PROFILE)
    # below a step's length (some tens of milliseconds) the twin does not try
    assert found.mean() == pytest.approx(truth.mean(), rel=0.2, abs=0.01)
    assert np.quantile(found, 0.95) == pytest.approx(np.quantile(truth, 0.95), rel=0.2, abs=0.1)


def test_one_slot_and_no_prefill_is_a_plain_queue() -> None:
    rng = np.random.default_rng(2)
    arrivals = np.cumsum(rng.exponential(2.5, 500))
    outputs = rng.integers(1, 200, 500).astype(float)
    profile = EngineProfile(StepCurve.linear(0.01, 0.01), 0.0, 1)
    found = engine_waits(arrivals, np.zeros(500), outputs, replicas=1, profile=profile)
    truth = fifo_waits(Requests(arrivals, outputs * 0.02), 1).seconds
    assert found == pytest.approx(truth, abs=1e-3)


def test_more_replicas_wait_less_and_nobody_waits_alone() -> None:
    rng = np.random.default_rng(3)
    arrivals = np.cumsum(rng.exponential(0.1, 2000))
    prompts, outputs = np.full(2000, 800.0), np.full(2000, 150.0)
    means = [engine_waits(arrivals, prompts, outputs, replicas=n, profile=PROFILE).mean() for n in (1, 2, 4, 8)]
    assert means == sorted(means, reverse=True)
    assert means[0] > 1.0
    assert means[3] < 0.05
    alone = engine_waits(np.array([5.0]), np.array([800.0]), np.array([150.0]), replicas=1, profile=PROFILE)
    assert alone.tolist() == [0.0]


@pytest.mark.parametrize("limited", [False, True])
def test_each_request_goes_to_the_first_of_those_with_the_fewest(*, limited: bool) -> None:
    rng = np.random.default_rng(4)
    n, replicas = 1500, 12
    arrivals = np.cumsum(rng.exponential(1 / 20.0, n))
    prompts, outputs = rng.integers(50, 3000, n).astype(float), rng.integers(20, 400, n).astype(float)
    serving = rng.integers(1, replicas + 1, n) if limited else np.full(n, replicas)
    waits = (-arrivals).tolist()
    pool = [_Replica(PROFILE.curve.table(PROFILE.slots).tolist(), PROFILE, waits) for _ in range(replicas)]
    for number, now in enumerate(arrivals.tolist()):
        for replica in pool:
            replica.advance(now)
        chosen = min(pool[: serving[number]], key=lambda replica: replica.present)
        chosen.take(prompts[number], outputs[number], number)
    for replica in pool:
        replica.advance(float("inf"))
    found = engine_waits(
        arrivals, prompts, outputs, replicas=replicas, profile=PROFILE, serving=serving if limited else None
    )
    assert found.max() > 0.1
    assert found == pytest.approx(np.maximum(waits, 0.0), abs=1e-6)


def test_a_full_cache_holds_requests_back_and_a_giant_runs_alone() -> None:
    arrivals = np.zeros(6)
    prompts, outputs = np.full(6, 1000.0), np.full(6, 100.0)
    tight = EngineProfile(PROFILE.curve, 7e-5, 32, kv_tokens=2300.0)
    loose = engine_waits(arrivals, prompts, outputs, replicas=1, profile=PROFILE)
    held = engine_waits(arrivals, prompts, outputs, replicas=1, profile=tight)
    assert held.max() > 2.0 * loose.max()
    giant = EngineProfile(PROFILE.curve, 7e-5, 32, kv_tokens=10.0)
    assert np.isfinite(engine_waits(arrivals, prompts, outputs, replicas=1, profile=giant)).all()


def test_tokens_become_work_and_come_back() -> None:
    rng = np.random.default_rng(4)
    arrivals = np.cumsum(rng.exponential(0.3, 400))
    prompts, outputs = rng.integers(0, 3000, 400).astype(float), rng.integers(1, 400, 400).astype(float)
    pool = Engines(PROFILE)
    through = pool.waits(pool.requests(arrivals, prompts, outputs), 2)
    assert through.seconds == pytest.approx(
        engine_waits(arrivals, prompts, outputs, replicas=2, profile=PROFILE), abs=1e-3
    )
    assert pool.slots == 32
    with pytest.raises(ValueError, match="at least 1"):
        engine_waits(arrivals, prompts, outputs, replicas=0, profile=PROFILE)
