"""Counts of good and bad: what is counted, and what is left out because it is not known."""

from collections.abc import Sequence

import pytest

from aiops.incidents.slo_events import Gain, Intake
from aiops.incidents.slo_settings import Indicator, Objective
from aiops.signals.types import Entity, EntityKind, Reading
from tests.incidents.slo_readings import POOL, REPLICA, rate_reading, slow_reading

NAN = float("nan")
TTFT = Objective(of=Indicator.TTFT, objective=0.95, threshold=2.5)
ERRORS = Objective(of=Indicator.ERRORS, objective=0.99)
REJECTIONS = Objective(of=Indicator.REJECTIONS, objective=0.99)


def gains(objective: Objective, *readings: Reading) -> list[Gain]:
    return [gain for key, gain in Intake([objective]).gains(readings) if key == (objective.title, POOL)]


def of_rates(objective: Objective, rates: dict[str, float]) -> list[Gain]:
    """Gains of ten seconds at these rates."""
    intake = Intake([objective])
    list(intake.gains([rate_reading(100.0, rates)]))
    return [gain for _, gain in intake.gains([rate_reading(110.0, rates)])]


def test_slow_is_what_lies_above_the_bound() -> None:
    assert gains(TTFT, slow_reading(0.0, [1, 2, 3, 4, 5])) == [Gain(15, 9)]
    assert gains(TTFT, slow_reading(0.0, [1, 2, 3, 4, 5], "e2e")) == []


def test_between_two_bounds_the_lower_one_decides_and_is_told() -> None:
    intake = Intake([TTFT.model_copy(update={"threshold": 2.0})])
    assert [gain for _, gain in intake.gains([slow_reading(0.0, [1, 2, 3, 4, 5])])] == [Gain(15, 12)]
    assert intake.effective_seconds == {("ttft", POOL): 1.0}


def test_a_threshold_below_every_bound_is_not_judged() -> None:
    assert gains(TTFT.model_copy(update={"threshold": 0.1}), slow_reading(0.0, [1, 2, 3, 4, 5])) == []


@pytest.mark.parametrize(
    ("rates", "errors", "rejections"),
    [
        ({"finished": 2.0, "errors": 0.1, "rejected": 0.3}, [Gain(23, 4)], [Gain(23, 3)]),
        ({"finished": 2.0, "errors": 0.1}, [Gain(20, 1)], []),
        ({"finished": 2.0, "rejected": 0.3}, [Gain(23, 3)], [Gain(23, 3)]),
        ({"finished": 0.0, "errors": 0.1}, [Gain(1, 1)], []),
        ({"finished": 2.0}, [], []),
        ({"errors": 2.0}, [], []),
        ({"finished": 0.0, "errors": 0.0, "rejected": 0.0}, [], []),
        ({"finished": NAN, "errors": 0.1, "rejected": 0.3}, [], []),
        ({"finished": 2.0, "errors": NAN, "rejected": 0.0}, [], [Gain(20, 0)]),
    ],
)
def test_refused_requests_are_errors_and_unknown_counters_say_nothing(
    rates: dict[str, float], errors: Sequence[Gain], rejections: Sequence[Gain]
) -> None:
    assert [Gain(round(g.total, 6), round(g.bad, 6)) for g in of_rates(ERRORS, rates)] == errors
    assert [Gain(round(g.total, 6), round(g.bad, 6)) for g in of_rates(REJECTIONS, rates)] == rejections


@pytest.mark.parametrize("entity", [REPLICA, POOL])
def test_a_failed_probe_is_a_failed_request_whatever_the_status_of_its_answer(entity: Entity) -> None:
    intake = Intake([ERRORS, REJECTIONS])
    readings = [rate_reading(float(at), {"probe_up": up}, entity, "probe") for at, up in enumerate([0.0, 1.0, NAN])]
    assert list(intake.gains(readings)) == [(("errors", POOL), Gain(1, 1)), (("errors", POOL), Gain(1, 0))]


def test_only_replicas_are_counted_so_that_nothing_is_counted_twice() -> None:
    assert gains(TTFT, slow_reading(0.0, [1, 2, 3, 4, 5], entity=POOL)) == []
    intake = Intake([ERRORS])
    pool_rates = [rate_reading(at, {"finished": 1.0, "errors": 1.0}, POOL) for at in (0.0, 10.0)]
    assert list(intake.gains(pool_rates)) == []


GATEWAY = Entity.of(EntityKind.POOL, pool="chat", model_name="m", job="router", instance="gw:1")


def test_a_gateway_speaks_for_the_replicas_behind_it_while_it_is_heard_of() -> None:
    intake = Intake([TTFT, ERRORS])

    def seen(at: float, counts: list[int], entity: Entity) -> list[Gain]:
        return [gain for _, gain in intake.gains([slow_reading(at, counts, entity=entity)])]

    replica, gateway = [1, 0, 0, 0, 0], [0, 0, 0, 0, 2]
    assert seen(0.0, replica, REPLICA) == [Gain(1, 0)]
    assert seen(0.0, gateway, GATEWAY) == [Gain(2, 2)]
    assert seen(5.0, replica, REPLICA) == []
    assert seen(200.0, [0, 0, 0, 0, 0], GATEWAY) == [], "nothing passed through it"
    assert seen(290.0, replica, REPLICA) == []
    assert seen(301.0, replica, REPLICA) == [Gain(1, 0)], "what goes past a gateway is counted too"


def test_requests_that_a_gateway_lost_are_errors_of_its_pool() -> None:
    intake = Intake([ERRORS])
    dead = {"finished": 1.0, "errors": 1.0}
    assert list(intake.gains([rate_reading(0.0, dead, GATEWAY, "router")])) == []
    assert list(intake.gains([rate_reading(10.0, dead, GATEWAY, "router")])) == [(("errors", POOL), Gain(10, 10))]
    well = [rate_reading(at, {"finished": 1.0, "errors": 0.0}) for at in (11.0, 21.0)]
    assert list(intake.gains(well)) == []


def test_an_objective_holds_for_the_pools_that_it_names() -> None:
    for name, found in (("chat", 1), ("chat/m", 1), ("embed", 0), ("chat/other", 0)):
        one = TTFT.model_copy(update={"pools": (name,)})
        assert len(gains(one, slow_reading(0.0, [1, 0, 0, 0, 0]))) == found


def test_a_replica_without_a_pool_counts_for_its_job() -> None:
    alone = Entity.of(EntityKind.REPLICA, job="llm", instance="b:1")
    ((key, _),) = Intake([TTFT]).gains([slow_reading(0.0, [1, 0, 0, 0, 0], entity=alone)])
    assert key[1] == Entity.of(EntityKind.POOL, pool="llm")


def test_a_source_that_is_gone_is_forgotten() -> None:
    intake = Intake([ERRORS])
    rates = {"finished": 1.0, "errors": 1.0}
    list(intake.gains([rate_reading(0.0, rates)]))
    intake.forget(0.0)
    assert len(list(intake.gains([rate_reading(10.0, rates)]))) == 1
    intake.forget(11.0)
    assert list(intake.gains([rate_reading(20.0, rates)])) == []
