"""Plans: right on what scrapes can show, silent on what they cannot, and honest about the difference."""

import csv
import json
import math
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from aiops.capacity.backtest import Choice, Observed, Wait, Yardstick, choose
from aiops.capacity.curve import StepCurve
from aiops.capacity.models import Model
from aiops.capacity.plan import Goal, plan
from aiops.capacity.replay import Requests, fifo_waits
from aiops.capacity.twin import EngineProfile, Engines
from tests.capacity.loads import at_rho, bursts, every, poisson

GOAL = Goal(slo_seconds=1.0, target=0.95)


def enough(load: Requests, counts: range) -> int:
    """Truth: least number of servers with at most 5 % of waits above a second."""
    return next(count for count in counts if fifo_waits(load, count).tail(1.0) <= 0.05)


def apart(one: float, other: float) -> float:
    return max(one / other, other / one)


@pytest.mark.parametrize("load", [poisson(4.0, 2400.0, mean=3.0, seed=21), poisson(8.0, 1800.0, mean=2.0, seed=22)])
def test_poisson_gets_the_right_number(load: Requests) -> None:
    truth = enough(load, range(13, 60))
    made = plan(load, range(13, 40), GOAL)
    assert not made.abstained
    assert made.recommended_servers in {truth, truth + 1}
    assert made.p_slo >= 0.95
    assert "back-test" in made.reason


def test_every_number_and_both_halves_are_steps_that_are_told() -> None:
    told: list[tuple[int, int]] = []
    plan(poisson(4.0, 600.0, mean=1.0, seed=21), [5, 6, 7], GOAL, told=lambda *step: told.append(step))
    assert told == [(done, 5) for done in range(5)]


@pytest.mark.parametrize("servers", [4, 16])
@pytest.mark.parametrize("rho", [0.6, 0.8])
def test_bursts_are_seen_through_intervals_and_missed_by_erlang(servers: int, rho: float) -> None:
    load = at_rho(bursts(quiet=0.5, busy=6.0, seconds=3600.0, mean=1.0, seed=23), servers, rho)
    truth = fifo_waits(load, servers)
    made = plan(load, [servers], GOAL)
    found = made.estimates[Model.REPLAY][servers]
    assert made.choice.model is Model.REPLAY
    assert apart(found.wait_mean_seconds, truth.mean) < 1.25
    assert apart(found.wait_p95_seconds, truth.quantile(0.95)) < 1.25
    assert found.mean_low_seconds <= found.wait_mean_seconds <= found.mean_high_seconds
    assert made.estimates[Model.MMC][servers].wait_mean_seconds < truth.mean / 3.0
    assert made.choice.factors[Model.MMC] > made.choice.factors[Model.REPLAY]


def test_what_hides_inside_an_interval_is_not_believed() -> None:
    load = every(5.0, 3600.0, size=30.0, mean=1.0, seed=24)
    made = plan(load, range(7, 40), GOAL)
    truth = enough(load, range(7, 200))
    assert made.abstained
    assert made.recommended_servers is None
    assert math.isnan(made.p_slo)
    assert "--scrape-interval" in made.reason
    seen = plan(load, range(7, truth + 10), GOAL, step_seconds=0.0)
    assert not seen.abstained
    assert seen.recommended_servers in {truth, truth + 1}


def test_seeing_everything_is_exact() -> None:
    load = at_rho(bursts(quiet=0.5, busy=6.0, seconds=1200.0, mean=1.0, seed=25), 4, 0.8)
    made = plan(load, [4], GOAL, step_seconds=0.0)
    truth = fifo_waits(load, 4)
    assert made.estimates[Model.REPLAY][4].wait_mean_seconds == pytest.approx(truth.mean)
    assert made.estimates[Model.REPLAY][4].p_wait_over_slo == truth.tail(1.0)
    assert made.choice.factors[Model.REPLAY] == pytest.approx(1.0)


def test_too_few_servers_grow_a_backlog_and_have_no_wait() -> None:
    made = plan(poisson(4.0, 1200.0, mean=3.0, seed=26), [2, 6], GOAL)
    for found in made.estimates.values():
        assert math.isnan(found[2].wait_mean_seconds)
        assert math.isnan(found[2].p_wait_over_slo)
        assert found[2].backlog_growth_per_second == pytest.approx(4.0 - 2 / 3.0, rel=0.1)
    assert (made.recommended_servers, made.abstained) == (None, False)
    assert "none of the given numbers" in made.reason
    assert "around 18" in made.reason or "around 19" in made.reason  # square-root staffing: 12 + 1.8 √12


@pytest.mark.parametrize("load", [poisson(4.0, 100.0, mean=3.0, seed=27), poisson(0.02, 2000.0, mean=3.0, seed=28)])
def test_too_little_to_judge_by_abstains(load: Requests) -> None:
    made = plan(load, [16, 32], GOAL)
    assert made.abstained
    assert made.recommended_servers is None
    assert "too little" in made.reason


def test_one_request_does_not_fall_over() -> None:
    made = plan(Requests(np.array([0.0]), np.array([2.0])), [1], GOAL)
    assert made.abstained


def test_the_same_seed_gives_the_same_plan() -> None:
    load = poisson(3.0, 900.0, mean=1.0, seed=29)
    assert repr(plan(load, [4, 5], GOAL, seed=3)) == repr(plan(load, [4, 5], GOAL, seed=3))


def test_engines_are_planned_through_the_twin() -> None:
    rng = np.random.default_rng(30)
    arrivals = bursts(quiet=3.0, busy=8.0, seconds=600.0, mean=1.0, seed=31).arrival_seconds
    pool = Engines(EngineProfile(StepCurve.linear(0.008, 0.0004), 7e-5, 48))
    load = pool.requests(arrivals, rng.lognormal(6.5, 0.7, len(arrivals)), rng.lognormal(5.0, 0.6, len(arrivals)))
    made = plan(load, range(1, 5), GOAL, pool=pool)
    truth = next(count for count in range(1, 20) if pool.waits(load, count).tail(1.0) <= 0.05)
    assert truth > 1
    assert not made.abstained
    assert made.recommended_servers in {truth, truth + 1}


def test_the_replay_is_only_left_for_something_clearly_better() -> None:
    def chosen(replay: float, fluid: float) -> Choice:
        errors = {model: [1.0] for model in Model} | {Model.REPLAY: [replay], Model.FLUID: [fluid]}
        return choose(errors, {model: [True] for model in Model})

    assert chosen(0.3, 0.2).model is Model.REPLAY
    assert chosen(0.6, 0.2).model is Model.FLUID
    assert chosen(0.6, 0.2).believed
    assert not chosen(0.9, 0.8).believed
    nothing = choose({model: [] for model in Model}, {})
    assert not nothing.believed


def test_errors_count_from_a_floor_and_no_answer_is_the_worst() -> None:
    yardstick = Yardstick(slo_seconds=1.0, target=0.95)
    seen = Observed(0, 10, 4, wait_mean_seconds=1e-6, wait_p95_seconds=0.0, p_wait_over_slo=0.0)
    assert yardstick.factor(Wait(1e-4, 0.0, 0.0), seen) < 0.02
    assert yardstick.factor(Wait(1.0, 0.0, 0.0), seen) == pytest.approx(math.log(101), rel=0.01)
    assert yardstick.factor(Wait(1e-6, 0.9, 0.0), seen) == pytest.approx(math.log(10), rel=0.01)
    assert yardstick.factor(Wait(1e-6, 0.0, 0.5), seen) == pytest.approx(math.log(51), rel=0.01)
    assert yardstick.factor(Wait(math.nan, math.nan, math.nan), seen) == math.inf


def recorded(traces: Path) -> dict[str, Requests]:
    def proxy(context: float, generated: float) -> float:
        return 0.03 + 6e-5 * context + 0.03 * generated

    with (traces / "AzureLLMInferenceTrace_conv.csv").open() as file:
        chat = sorted(
            (
                datetime.fromisoformat(row["TIMESTAMP"][:26]).timestamp(),
                proxy(float(row["ContextTokens"]), float(row["GeneratedTokens"])),
            )
            for row in csv.DictReader(file)
        )
    lines = map(json.loads, (traces / "mooncake_synthetic_trace.jsonl").read_text().splitlines())
    synthetic = sorted((line["timestamp"] / 1e3, proxy(line["input_length"], line["output_length"])) for line in lines)
    tables = {"chat": np.array(chat), "synthetic": np.array(synthetic)}
    return {name: Requests(table[:, 0] - table[0, 0], table[:, 1]) for name, table in tables.items()}


def test_recorded_traces_get_the_right_number_from_scrapes(traces: Path) -> None:
    for name, load in recorded(traces).items():
        rough = round(float(load.service_seconds.sum() / load.arrival_seconds[-1]))
        truth = enough(load, range(rough, rough + 40))
        made = plan(load, range(truth - 4, truth + 4), GOAL)
        assert made.recommended_servers in {truth, truth + 1}, name
        assert made.choice.model is Model.REPLAY


def test_recorded_traces_get_the_right_waits_from_scrapes(traces: Path) -> None:
    factors = []
    for load in recorded(traces).values():
        for servers, rho in ((4, 0.7), (4, 0.9), (16, 0.8), (64, 0.9)):
            scaled = at_rho(load, servers, rho)
            truth, made = fifo_waits(scaled, servers), plan(scaled, [servers], GOAL)
            found = made.estimates[made.choice.model][servers]
            factors.append(apart(found.wait_mean_seconds, truth.mean))
            factors.append(apart(found.wait_p95_seconds, truth.quantile(0.95)))
            assert made.abstained or max(factors[-2:]) < 3.0
    assert np.median(factors) < 1.25
