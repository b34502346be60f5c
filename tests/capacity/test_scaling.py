"""The recommendation: right size, honest silence, calm moves, hard limits."""

from dataclasses import replace

import numpy as np
import pytest

from aiops.capacity.constraint import Binding, Limit
from aiops.capacity.observed import COLUMNS, History
from aiops.capacity.scaling import Memory, Recommendation, Situation, recommend
from aiops.capacity.settings import CapacitySettings, PoolLimits
from tests.capacity.pool_histories import history, steady

NOW = 10_010.0
SETTINGS = CapacitySettings(draws=32, max_replicas=16)


def advise(
    seen: History, replicas: int = 4, *, settings: CapacitySettings = SETTINGS, memory: Memory | None = None,
    **situation: object,
) -> Recommendation:  # fmt: skip
    found = Situation(**{"now": NOW, "replicas": replicas, "lead_seconds": 90.0} | situation)  # type: ignore[arg-type]
    return recommend(seen, found, memory or Memory(), settings, settings)


def with_rows(seen: History, count: int, **columns: float) -> History:
    """The newest rows changed."""
    values = seen.values.copy()
    for name, value in columns.items():
        values[-count:, COLUMNS.index(name)] = value
    return replace(seen, values=values)


def test_a_pool_of_the_right_size_stays() -> None:
    found = advise(steady(10.0, 4.0), memory=Memory())
    assert found.desired is not None
    assert 3 <= found.desired <= 4
    assert found.probability >= 0.95
    assert [point.replicas for point in found.curve] == list(range(1, len(found.curve) + 1))
    assert all(point.low <= point.high for point in found.curve)
    assert found.floor <= found.desired
    assert found.burst_premium == found.desired - found.floor
    assert found.ahead[0][0] >= 0.0


def test_equal_arguments_give_equal_advice() -> None:
    assert advise(steady()) == advise(steady())


def test_load_that_outgrows_the_pool_asks_for_more_before_it_hurts() -> None:
    grown = np.concatenate([np.full(180, 3.0), np.linspace(3.0, 8.6, 60)])
    batch = grown / 2.0 * 180 * 0.015 / np.maximum(0.05, 1.0 - grown / 2.0 * 180 * 0.0008)
    rising = steady(
        6.0, 2.0, arrivals=grown, finished=grown, tokens_in=grown * 600, running=batch * 2, queue_rate=grown,
        tokens_out=batch / (0.015 + 0.0008 * batch) * 2,
    )  # fmt: skip
    found = advise(rising, 2, settings=replace_abstain(SETTINGS))
    assert found.desired is not None
    assert found.desired >= 3
    assert found.load_high > 9.0


def test_a_cut_is_one_step_at_a_time_and_waits_for_the_window() -> None:
    memory = Memory()
    quiet = steady(2.0, 12.0)
    first = advise(quiet, 12, memory=memory)
    assert first.desired == 9  # a quarter of 12 at once
    assert "step" in first.held[0]
    memory.wishes.append((NOW, 12))
    assert advise(quiet, 12, memory=memory, now=NOW + 30.0).desired == 12
    assert advise(replace(quiet, end=NOW + 400.0), 12, memory=memory, now=NOW + 410.0).desired == 9


@pytest.mark.parametrize(
    ("limits", "most"),
    [
        ({"max_replicas": 5}, 5),
        ({"price_per_hour": 2.0, "max_price_per_hour": 13.0}, 6),
        ({"watts_per_replica": 700.0, "max_watts": 3000.0}, 4),
    ],
)
def test_limits_budget_and_power_are_never_exceeded(limits: dict[str, float], most: int) -> None:
    settings = CapacitySettings(draws=32, **limits)
    flooded = with_rows(steady(11.0, 4.0), 40, queue_len=9000.0, running=128.0, queue_wait=30.0)
    found = advise(flooded, 4, settings=replace_abstain(settings))
    assert found.desired == most
    assert len(found.curve) <= most


def replace_abstain(settings: CapacitySettings) -> CapacitySettings:
    """Limits are tested, not the back-test of a made-up flood."""
    return settings.model_copy(update={"abstain_error": 1e9})


def test_a_flood_asks_for_more_and_says_that_nothing_keeps_the_promise_in_time() -> None:
    flooded = with_rows(steady(10.0, 4.0), 40, queue_len=60_000.0, running=128.0, queue_wait=30.0)
    found = advise(flooded, 4, settings=replace_abstain(SETTINGS))
    assert found.desired == 8
    assert "no number of replicas" in found.reason


def test_22_to_24_is_not_swallowed() -> None:
    memory = Memory()
    settings = replace_abstain(CapacitySettings(draws=16, max_replicas=64))
    for rate in (90.0, 92.0, 94.0, 96.0, 98.0):
        found = advise(steady(rate, 22.0, swing=0.15), 22, settings=settings, memory=memory)
        if found.desired in (23, 24):
            return
    pytest.fail("no load between 90 and 98 a second led to a small step up from 22")


@pytest.mark.parametrize(
    ("seen", "situation", "reason"),
    [
        (steady(rows=20), {}, "s of load seen"),
        (steady(), {"now": NOW + 1000.0}, "s old"),
        (steady(), {"unresolved": ("arrivals",)}, "no metric gives arrivals"),
        (with_rows(steady(), 4, running=float("nan")), {}, "not known now: running"),
        (with_rows(steady(), 4, ready=0.0), {}, "no replica serves"),
        (history(240, arrivals=5.0, running=0.0, queue_len=0.0, ready=2.0), {}, "too few intervals"),
        (steady(queue_wait=np.where(np.arange(240) % 120 < 60, 90.0, 0.0)), {}, "misses the waits"),
        (with_rows(steady(), 200, arrivals=float("nan")), {}, "not known now: arrivals"),
    ],
)
def test_no_number_from_missing_or_unfit_data(seen: History, situation: dict[str, object], reason: str) -> None:
    found = advise(seen, **situation)
    assert found.desired is None
    assert np.isnan(found.probability)
    assert not found.curve
    assert reason in found.reason


def test_a_count_stands_while_an_interval_goes_unread() -> None:
    seen = steady(10.0, 4.0)
    blank = dict.fromkeys(COLUMNS, float("nan"))
    one, two, three = (advise(with_rows(seen, rows, **blank)) for rows in (1, 2, 3))
    assert one.desired is not None
    assert (one.ready, two.ready, three.ready) == (4, 4, 0)
    assert two.desired is not None
    assert "not known now" in three.reason


def test_doubts_hold_growth() -> None:
    flooded = with_rows(steady(10.0, 4.0), 40, queue_len=60_000.0, running=128.0, queue_wait=30.0)
    found = advise(flooded, 4, settings=replace_abstain(SETTINGS), doubts=("a claims 1e9",))
    assert found.desired == 4
    assert "a claims 1e9" in found.held[0]


def test_arrivals_alone_do_not_buy_replicas() -> None:
    """Forged arrivals: nothing finishes more, no prompt tokens come, no batch fills."""
    forged = with_rows(steady(8.0, 4.0), 12, arrivals=1e6)
    found = advise(forged, 4, settings=replace_abstain(SETTINGS))
    assert found.desired == 4
    assert "only the arrival rate" in found.held[0]


UNEVEN = {"queue_len": 30.0, "busiest": 60.0, "queue_wait": 5.0}


def test_an_imbalance_is_not_answered_with_replicas() -> None:
    even, wide = steady(10.0, 4.0), advise(with_rows(steady(10.0, 4.0), 240, **UNEVEN | {"busiest": 20.0}))
    assert wide.desired is not None
    assert wide.desired > 4  # the same waits, evenly spread
    found = advise(with_rows(even, 240, **UNEVEN))
    assert found.binding.limit is Limit.IMBALANCE
    assert (found.desired, found.replicas) == (4, 4)
    assert "4 are enough for the load; more do not relieve what limits the pool (replica imbalance)" in found.reason
    assert found.binding.advice in found.reason
    assert found.held == (f"{wide.desired} would be needed if that stays",)
    assert found.probability == found.probability_now < 0.95  # what people feel meanwhile is not glossed over


def test_what_waits_on_a_stuck_replica_is_no_load_for_others() -> None:
    stuck = with_rows(steady(10.0, 4.0), 8, queue_len=4000.0, busiest=4020.0)
    found, even = advise(stuck, stuck=("r1",)), advise(stuck)
    assert found.binding.limit is Limit.STUCK
    assert found.desired == 4
    assert "4 are enough for the load; more do not relieve what limits the pool (stuck replica)" in found.reason
    assert even.binding.limit is Limit.IMBALANCE
    assert even.desired == 4
    spread = advise(with_rows(stuck, 8, busiest=1020.0))
    assert spread.binding.relieved_by_replicas
    assert spread.desired is not None
    assert spread.desired > 4
    assert "would be needed if that stays" in found.held[0]
    assert max(need for _, need in found.ahead) < max(need for _, need in spread.ahead)


@pytest.mark.parametrize("calm", [True, False])
def test_what_an_imbalance_taught_buys_nothing_while_it_is_remembered(calm: bool) -> None:
    memory, seen = Memory(), with_rows(steady(10.0, 4.0), 240, **UNEVEN)
    advise(seen, memory=memory)
    after = {"queue_len": 0.0, "queue_wait": 0.0} if calm else {"queue_len": 200.0, "running": 128.0, "queue_wait": 5.0}
    later = replace(with_rows(seen, 12, **after | {"busiest": 20.0}), end=seen.end + 180.0)
    found = advise(later, memory=memory, now=NOW + 180.0)
    assert found.desired is not None
    assert found.binding.relieved_by_replicas
    if calm:
        assert found.desired == 4
        assert "had another reason (replica imbalance)" in found.reason
    else:  # full batches are another matter
        assert found.desired > 4
    fresh = advise(later, now=NOW + 180.0)
    assert fresh.desired is not None
    assert fresh.desired > 4


def test_only_what_waited_in_engines_is_remembered() -> None:
    memory, calm = Memory(), Binding(Limit.NONE)
    gateway, uneven = (Binding(limit, relieved_by_replicas=False) for limit in (Limit.GATEWAY, Limit.IMBALANCE))
    assert memory.behind(0.0, gateway) is gateway
    assert memory.behind(1.0, calm) is calm
    assert memory.behind(2.0, uneven) is uneven
    assert memory.behind(3601.0, calm) is uneven
    assert memory.behind(3602.0, calm) is calm


@pytest.mark.parametrize("side", [{"stuck": ("r1",)}, {"gateway_queue": 50.0}])
def test_load_that_needs_more_on_even_replicas_gets_them_whatever_limits(side: dict[str, object]) -> None:
    grown = np.concatenate([np.full(180, 3.0), np.linspace(3.0, 8.0, 60)])
    batch = grown / 2.0 * 180 * 0.015 / np.maximum(0.05, 1.0 - grown / 2.0 * 180 * 0.0008)
    rising = steady(
        6.0, 2.0, arrivals=grown, finished=grown, tokens_in=grown * 600, running=batch * 2, queue_rate=grown,
        tokens_out=batch / (0.015 + 0.0008 * batch) * 2, queue_len=3.0 if "stuck" in side else 0.0,
    )  # fmt: skip
    found = advise(rising, 2, settings=replace_abstain(SETTINGS), **side)
    assert not found.binding.relieved_by_replicas
    assert found.desired is not None
    assert found.desired >= 3


def test_replicas_on_their_way_are_not_asked_for_twice() -> None:
    busy = steady(6.5, 2.0)
    alone = advise(busy, 2, settings=replace_abstain(SETTINGS))
    assert alone.desired is not None
    assert alone.desired > 2
    count = alone.desired - 2
    waiting = advise(busy, alone.desired, settings=replace_abstain(SETTINGS), coming=((60.0, count),))
    assert waiting.desired is not None
    assert waiting.desired <= alone.desired + 1


def test_settings_of_a_pool_fall_back_to_the_common_ones() -> None:
    settings = CapacitySettings(wait_slo=2.0, max_replicas=9, pools={"chat": PoolLimits(max_replicas=30)})
    assert (settings.of("chat").max_replicas, settings.of("chat").wait_slo) == (30, 2.0)
    assert settings.of("other").max_replicas == 9
    with pytest.raises(ValueError, match="price_per_hour"):
        PoolLimits(max_price_per_hour=3.0)
    with pytest.raises(ValueError, match="min_replicas"):
        PoolLimits(min_replicas=9, max_replicas=3)
