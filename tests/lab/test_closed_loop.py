"""The simulated pool conserves requests and agrees with theory; scalers act as documented; ours holds its own."""

import numpy as np
import pytest

from aiops.capacity.queueing import mmc
from aiops.capacity.settings import CapacitySettings
from aiops.lab.closed_loop import Loop, Machine, Traffic, Verdict
from aiops.lab.scalers import Advised, Hpa, KedaQueue, Knative, Sample, Saturation, Scaler


class Still:
    """Never moves."""

    def decide(self, sample: Sample) -> int:
        return sample.replicas


def traffic(rate: float, seconds: float, *, tokens: float = 150.0, seed: int = 0) -> Traffic:
    rng = np.random.default_rng(seed)
    at = np.sort(rng.uniform(0.0, seconds, rng.poisson(rate * seconds)))
    return Traffic(at, np.full(len(at), 10.0), rng.exponential(tokens, len(at)) + 1.0)


def run(load: Traffic, scaler: Scaler, replicas: int, machine: Machine | None = None, **more: object) -> Verdict:
    return Loop(load, machine or Machine(), scaler, replicas, **more).run()  # type: ignore[arg-type]


def test_without_a_slope_a_replica_is_a_queue_with_many_servers() -> None:
    machine = Machine(slots=16, base_seconds=0.02, slope_seconds=0.0, prefill_seconds=0.0, kv_tokens=1e12)
    verdict = run(traffic(4.3, 6000.0), Still(), 1, machine, step_seconds=0.05)
    assert verdict.wait_mean_seconds == pytest.approx(mmc(16, 4.3, 151 * 0.02).mean_seconds, rel=0.35)


def test_every_token_is_counted_once() -> None:
    load, seen = traffic(3.0, 600.0), []
    run(load, Still(), 3, on_sample=lambda sample, _: seen.append(sample))
    out = sum(sample.tokens_out for sample in seen) * 5.0
    late = load.arrival_seconds > 560.0
    assert load.output_tokens[~late].sum() <= out <= load.output_tokens.sum()
    assert sum(sample.arrivals for sample in seen) * 5.0 == pytest.approx(len(load.arrival_seconds), abs=30)


def test_kv_holds_requests_back_before_the_slots_do() -> None:
    load = traffic(3.0, 900.0)
    tight = run(load, Still(), 1, Machine(kv_tokens=1500.0))
    assert run(load, Still(), 1).wait_mean_seconds < tight.wait_mean_seconds


def test_hours_are_those_of_replicas_that_exist() -> None:
    assert run(traffic(1.0, 3600.0), Still(), 3).replica_hours == pytest.approx(3.0, rel=0.01)


def sample(**changes: object) -> Sample:
    fields: dict[str, object] = {
        "at": 1000.0, "replicas": 4, "ready": 4, "queues": (0.0,) * 4, "running": (16.0,) * 4, "kv_use": (0.4,) * 4,
        "slots": 32, "arrivals": 5.0, "finished": 5.0, "tokens_in": 0.0, "tokens_out": 0.0, "prompt_tokens": 1.0,
        "output_tokens": 1.0, "wait_seconds": 0.0, "waits": 5.0,
    }  # fmt: skip
    return Sample(**fields | changes)  # type: ignore[arg-type]


def test_hpa_ignores_ten_percent_and_waits_300_s_downwards() -> None:
    assert Hpa().decide(sample(running=(24.0,) * 4)) == 4  # 24 / 22.4 = 1.07
    assert Hpa().decide(sample(running=(27.0,) * 4)) == 5
    hpa = Hpa()
    assert hpa.decide(sample(running=(27.0,) * 4)) == 5
    assert hpa.decide(sample(at=1200.0, replicas=5, ready=5, running=(4.0,) * 5)) == 5
    assert hpa.decide(sample(at=1400.0, replicas=5, ready=5, running=(4.0,) * 5)) == 1


def test_knative_panics_at_twice_the_capacity_and_holds() -> None:
    knative = Knative()
    assert knative.decide(sample(queues=(60.0,) * 4)) >= 8
    assert knative.decide(sample(at=1030.0, replicas=14, ready=4, running=(1.0,) * 4)) >= 8
    assert knative.decide(sample(at=1200.0, replicas=14, ready=14, running=(1.0,) * 14)) == 7


def test_keda_and_saturation_follow_their_thresholds() -> None:
    assert KedaQueue().decide(sample(queues=(8.0,) * 4)) == 7
    assert KedaQueue().decide(sample()) == 1
    assert Saturation().decide(sample(queues=(4.0,) * 4)) == 5
    assert Saturation().decide(sample()) == 3
    assert Saturation().decide(sample(ready=3, queues=(9.0,) * 3, running=(32.0,) * 3, kv_use=(0.9,) * 3)) == 4


def test_ours_grows_before_it_hurts_and_is_not_dominated() -> None:
    rng = np.random.default_rng(2)
    level = np.clip(3.0 + (np.arange(2400.0) - 900.0) / 100.0, 3.0, 14.0)
    at = np.sort(np.repeat(np.arange(2400.0), rng.poisson(level)))
    at = np.sort(at + rng.random(len(at)))
    load = Traffic(at, np.full(len(at), 500.0), rng.exponential(180.0, len(at)) + 1.0)
    ours = run(load, Advised(CapacitySettings(draws=32, warm_up=300.0), 90.0), 2)
    others = [run(load, scaler, 2) for scaler in (Hpa(), Knative(), KedaQueue(), Saturation())]
    assert ours.violation_seconds < 200.0
    for other in others:
        assert ours.violation_seconds < other.violation_seconds or ours.replica_hours < other.replica_hours
