"""The transient birth–death model: what it learns, and what it says against theory and against persons in a queue."""

from dataclasses import replace

import numpy as np
import pytest

from aiops.capacity.queueing import mmc
from aiops.capacity.sizing import Engine, Present, judge, learn_engine, load_of, outlook, waits_over
from tests.capacity.pool_histories import STEP, history, steady


def test_pace_and_slots_are_recovered() -> None:
    seen = steady(rate=10.0)
    load, units = load_of(seen)
    engine = learn_engine(seen, units)
    assert isinstance(engine, Engine)
    assert units == pytest.approx(180.0)
    assert load == pytest.approx(seen.column("arrivals"))
    assert engine.base_seconds == pytest.approx(0.015, rel=0.15)
    assert engine.slope_seconds == pytest.approx(0.0008, rel=0.25)
    assert (engine.slots, engine.bound) == (32.0, "slots")


def test_kv_limits_the_batch_before_the_slots_do() -> None:
    seen = steady(rate=10.0)
    kv = seen.column("running") / 4.0 / 20.0  # 20 requests fill the cache
    engine = learn_engine(steady(rate=10.0, kv_use=kv), 180.0)
    assert isinstance(engine, Engine)
    assert engine.bound == "kv"
    assert engine.slots == pytest.approx(19.0, rel=0.01)


def test_without_a_limit_the_fullest_batch_stands_in_and_is_said() -> None:
    engine = learn_engine(steady(kv_use=np.nan, max_running=np.nan), 180.0)
    assert isinstance(engine, Engine)
    assert engine.bound == "seen"
    assert "not known" in engine.assumed


def test_slots_are_learnt_where_batches_stop_growing_although_requests_wait() -> None:
    seen = steady(rate=14.0, slots=12.0, max_running=np.nan, kv_use=0.02)
    full = seen.column("running") >= 4 * 11.9
    assert 10 < np.count_nonzero(full) < 240
    waiting = replace(seen, values=seen.values.copy())
    waiting.column("queue_len")[:] = np.where(full, 9.0, 0.0)
    engine = learn_engine(waiting, 180.0)
    assert isinstance(engine, Engine)
    assert (engine.slots, engine.bound) == (12.0, "slots")
    calm = learn_engine(seen, 180.0)
    assert isinstance(calm, Engine)
    assert calm.bound == "kv"  # nobody waited: nothing says that twelve is a limit


def test_a_pool_that_never_worked_teaches_nothing() -> None:
    assert "too few" in str(learn_engine(steady(running=0.0, tokens_out=0.0), 180.0))


def test_load_is_work_not_requests() -> None:
    seen = history(100, arrivals=np.repeat([2.0, 8.0], 50), finished=np.repeat([2.0, 8.0], 50),
                   gen_len=np.repeat([400.0, 100.0], 50))  # fmt: skip
    load, units = load_of(seen)
    assert units == pytest.approx((2 * 400 + 8 * 100) / 10, rel=0.06)
    np.testing.assert_allclose(load[[20, 90]], [5.0, 5.0], rtol=0.06)


@pytest.mark.parametrize(("slots", "rate"), [(16.0, 13.0), (40.0, 36.0)])
def test_constant_service_is_mmc(slots: float, rate: float) -> None:
    """With no slope a replica is c servers: after a long time the transient model is Erlang's."""
    engine = Engine(base_seconds=1.0, slope_seconds=0.0, slots=slots, units=1.0, bound="slots")
    theory = mmc(slots, rate, 1.0)
    futures = np.full((64, 400), rate)
    noisy = np.random.default_rng(1).poisson(futures * STEP) / STEP
    seen = outlook(
        engine, noisy, Present(rate, 1), [1], step_seconds=STEP, lead_seconds=0.0, slo_seconds=0.5,
        rng=np.random.default_rng(2), from_seconds=[600.0],
    )  # fmt: skip
    assert 1.0 - seen.probability[0] == pytest.approx(theory.tail(0.5), rel=0.35)


def test_a_queue_that_stands_now_is_seen_and_worked_off() -> None:
    engine = Engine(0.015, 0.0008, 32.0, 180.0, "slots")
    futures = np.full((16, 40), 4.0)
    arguments = {"step_seconds": STEP, "lead_seconds": 90.0, "slo_seconds": 1.0}
    many = [1, 2, 3, 4, 6, 8]
    calm = outlook(engine, futures, Present(8.0, 2), many, rng=np.random.default_rng(1),
                   from_seconds=[90.0] * 6, **arguments)  # fmt: skip
    queued = outlook(engine, futures, Present(3000.0, 2), many, rng=np.random.default_rng(1),
                     from_seconds=[90.0] * 6, **arguments)  # fmt: skip
    assert calm.probability[1] > 0.99
    assert queued.probability[1] < 0.5
    assert queued.probability[-1] > queued.probability[1]
    assert (np.diff(queued.probability) >= 0.0).all()


def test_new_replicas_help_only_after_the_lead_time_and_coming_ones_when_they_come() -> None:
    times = np.arange(0.0, 300.0, 50.0)
    present = Present(0.0, 2, ((100.0, 1),))
    np.testing.assert_array_equal(present.schedule(2, 200.0, times), [2, 2, 2, 2, 2, 2])
    np.testing.assert_array_equal(present.schedule(3, 200.0, times), [2, 2, 3, 3, 3, 3])
    np.testing.assert_array_equal(present.schedule(5, 200.0, times), [2, 2, 3, 3, 5, 5])
    np.testing.assert_array_equal(present.schedule(1, 200.0, times), [1, 1, 1, 1, 1, 1])


def _waits(slots: float) -> tuple[Engine, np.ndarray, np.ndarray]:
    engine = Engine(0.015, 0.0008, 32.0, 180.0, "slots")
    load = np.random.default_rng(3).poisson(np.full(240, 8.0) * STEP) / STEP
    wait = waits_over(engine, load, np.full(240, 2.0), np.array([slots]), step_seconds=STEP)[0]
    return engine, load, wait


def test_the_judge_believes_a_model_that_fits() -> None:
    engine, load, wait = _waits(32.0)
    assert np.nanmean(wait) > 0.15
    found, factor = judge(engine, steady(8.0, 2.0, queue_wait=wait, queue_rate=load), load, slo_seconds=1.0)
    assert factor < 1.3
    assert found == engine


def test_the_judge_learns_a_batch_that_is_smaller_than_said() -> None:
    engine, load, wait = _waits(22.4)
    found, factor = judge(engine, steady(8.0, 2.0, queue_wait=wait, queue_rate=load), load, slo_seconds=1.0)
    assert found.slots == pytest.approx(22.4)
    assert factor < 1.5


def test_the_judge_says_when_nothing_fits_or_nothing_is_seen() -> None:
    engine, load, _ = _waits(32.0)
    mirrored = np.where(np.arange(240) % 120 < 60, 60.0, 0.0)
    assert judge(engine, steady(8.0, 2.0, queue_wait=mirrored), load, slo_seconds=1.0)[1] > 2.0
    assert np.isnan(judge(engine, steady(queue_wait=np.nan, queue_len=np.nan), load, slo_seconds=1.0)[1])
