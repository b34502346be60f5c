"""Rival models: the twin explains queues that stick to their replica, formulas do not, the better one decides."""

from dataclasses import replace

import numpy as np
import pytest

from aiops.capacity.observed import History
from aiops.capacity.replay import Requests
from aiops.capacity.rivals import BIRTH_DEATH, TRANSIENT, TWIN, Ahead, Judgement, rival_factors, twin_waits
from aiops.capacity.scaling import Memory, Situation, recommend
from aiops.capacity.settings import CapacitySettings
from aiops.capacity.sizing import Engine, Present, outlook
from tests.capacity.pool_histories import STEP, steady

ENGINE = Engine(0.015, 0.0008, 4.0, 180.0, "slots")
"""Four slots: 1.3 requests a second at most."""


def seen_by_people(rate: float, *, ready: np.ndarray, seed: int) -> History:
    """A pool whose waits are those of people in the queues of their own replicas."""
    rng = np.random.default_rng(seed)
    rows = len(ready)
    arrivals = rng.poisson(rate * STEP, rows)
    number = np.repeat(np.arange(rows), arrivals)
    times = np.sort((number + rng.random(len(number))) * STEP)
    waits = twin_waits(ENGINE, Requests(times, rng.exponential(180.0, len(times))), ready[number].astype(np.int64))
    mean = np.bincount(number, waits, minlength=rows) / np.maximum(arrivals, 1)
    made = steady(rate, rows=rows, slots=4.0, queue_wait=np.where(arrivals > 0, mean, np.nan))
    return with_columns(
        made, arrivals=arrivals / STEP, finished=arrivals / STEP, queue_rate=arrivals / STEP, ready=ready
    )


def with_columns(history: History, **columns: object) -> History:
    from aiops.capacity.observed import COLUMNS

    values = history.values.copy()
    for name, value in columns.items():
        values[:, COLUMNS.index(name)] = value
    return replace(history, values=values)


def test_the_twin_explains_queues_of_their_own_and_formulas_do_not() -> None:
    seen = seen_by_people(9.5, ready=np.full(240, 8.0), seed=1)
    factors = rival_factors(ENGINE, seen, seen.column("arrivals"), slo_seconds=1.0)
    assert set(factors) == {TWIN, BIRTH_DEATH, "mmc", "hayward", "allen_cunneen", "fluid"}
    assert factors[TWIN] < 1.5
    assert factors[TWIN] < min(factors["mmc"], factors["hayward"], factors["allen_cunneen"]) / 3.0


def test_replicas_that_come_and_go_are_followed() -> None:
    ready = np.concatenate([np.full(120, 12.0), np.full(60, 8.0), np.full(60, 12.0)])
    seen = seen_by_people(9.5, ready=ready, seed=2)
    assert rival_factors(ENGINE, seen, seen.column("arrivals"), slo_seconds=1.0)[TWIN] < 1.6
    unknown = with_columns(seen, ready=np.where(np.arange(240) % 7 == 3, np.nan, ready))
    assert rival_factors(ENGINE, unknown, seen.column("arrivals"), slo_seconds=1.0)[TWIN] < 1.6


@pytest.mark.parametrize("change", [{"queue_wait": np.nan, "queue_len": np.nan}, {"arrivals": 0.0}])
def test_without_waits_or_requests_nothing_is_judged(change: dict[str, float]) -> None:
    seen = with_columns(seen_by_people(5.0, ready=np.full(60, 8.0), seed=3), **change)
    assert rival_factors(ENGINE, seen, seen.column("arrivals"), slo_seconds=1.0) == {}


def test_the_better_model_decides_and_is_judged_every_ten_minutes() -> None:
    seen = seen_by_people(9.5, ready=np.full(240, 8.0), seed=1)
    judgement, load = Judgement(), seen.column("arrivals")
    judgement.renew(ENGINE, seen, load, slo_seconds=1.0, transient=5.0)
    first = judgement.factors
    assert judgement.chosen(2000.0) == TWIN
    assert judgement.chosen(50_000.0) == TRANSIENT  # too many to follow one by one
    judgement.renew(ENGINE, replace(seen, end=seen.end + 300.0), load, slo_seconds=1.0, transient=1.0)
    assert judgement.factors is first
    judgement.renew(ENGINE, replace(seen, end=seen.end + 600.0), load, slo_seconds=1.0, transient=1.0)
    assert judgement.factors == first
    assert judgement.chosen(2000.0) == TRANSIENT


def people(present: Present, rate: float, target: float = 0.975) -> Ahead:
    return Ahead(ENGINE, np.full((16, 16), rate), present, STEP, 60.0, 1.0, target)


def test_an_outlook_person_by_person_crosses_the_target_and_never_falls() -> None:
    present = Present(30.0, 8)
    ahead = people(present, 8.0)
    counts = list(range(1, 17))
    from_seconds = [0.0 if count < 8 else 60.0 for count in counts]
    rough = outlook(
        ENGINE, ahead.futures, present, counts, step_seconds=STEP, lead_seconds=60.0, slo_seconds=1.0,
        rng=np.random.default_rng(1), from_seconds=from_seconds,
    )  # fmt: skip
    found = ahead.outlook(rough, from_seconds)
    assert found.replicas == rough.replicas
    assert (np.diff(found.probability) >= 0.0).all()
    assert found.probability[2] < 0.1
    assert found.probability[-1] > 0.975
    needed = [int(np.argmax(one.probability >= 0.975)) for one in (rough, found)]
    assert needed[1] >= needed[0] > 0  # queues that stick to their replica never need fewer


def test_people_who_wait_now_and_replicas_on_their_way_count() -> None:
    shares = {}
    for name, present in {
        "calm": Present(0.0, 8),
        "queue": Present(200.0, 8),
        "help": Present(0.0, 2, ((30.0, 6),)),
    }.items():
        ahead = people(present, 6.0)
        shares[name] = float(ahead._look(ahead._drawn(), 8, 0.0, 4)[0].mean())
    assert shares["calm"] > 0.9
    assert shares["queue"] < shares["calm"] - 0.1
    assert shares["help"] < shares["calm"] - 0.1


def test_a_recommendation_names_its_model_and_abstains_when_even_the_best_is_off() -> None:
    seen = seen_by_people(9.5, ready=np.full(240, 8.0), seed=1)
    settings = CapacitySettings(draws=16, max_replicas=16)
    memory = Memory()
    found = recommend(seen, Situation(seen.end, 8, 60.0), memory, settings, settings)
    assert found.model in (TRANSIENT, TWIN)
    assert found.error_ratio == found.errors[found.model]
    assert set(found.errors) == {TRANSIENT, *memory.judgement.factors}
    wrong = with_columns(seen, queue_wait=np.where(np.arange(240) % 120 < 60, 90.0, 0.0))
    silent = recommend(wrong, Situation(wrong.end, 8, 60.0), Memory(), settings, settings)
    assert silent.desired is None
    assert f"the best model, {silent.model}, misses the waits" in silent.reason
    assert silent.error_ratio > 2.0
