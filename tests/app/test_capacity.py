"""Capacity beside the tick: rows from the ring, forged replicas, gaps, staleness, restart, never 0."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from aiops.app import presets
from aiops.app.capacity import Capacity
from aiops.app.pool_rows import STUCK_RULES, Gatherer, stuck_replicas, throttled_share
from aiops.capacity.settings import CapacitySettings
from aiops.detect.base import AlertKey, Severity, Verdict
from aiops.incidents.alert import Alert, AlertState
from aiops.signals.types import Columns, Entity, EntityKind, MarkKind, Reading, SeriesKey
from aiops.store.ring import Ring

TICK = 5.0
SETTINGS = CapacitySettings(draws=16, max_replicas=8, lead_time=60.0)
POOL = Entity.of(EntityKind.POOL, pool="chat", model_name="org/m")
REPLICAS = [Entity.of(EntityKind.REPLICA, job="chat", instance=f"r{n}", model_name="org/m") for n in range(2)]
SUMS = ("arrivals", "finished", "running", "queue_len", "tokens_in", "tokens_out", "max_running")


class Time:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.value = 1_000_000.0

    def now(self) -> float:
        return self.value

    def monotonic(self) -> float:
        return self.value


class Fleet:
    """Writes ticks of two replicas in balance into a ring."""

    def __init__(self) -> None:
        self.time = Time()
        self.ring = Ring(720, TICK, max_series=200, ttl_seconds=1800.0)
        self.rng = np.random.default_rng(0)
        keys = [SeriesKey(replica, name) for replica in REPLICAS for name in SUMS]
        self.replica_columns = Columns(tuple(keys))
        pool = [SeriesKey(POOL, name) for name in (*SUMS, "replicas", "ready", "kv_use")]
        pool += [SeriesKey(POOL, "queue_time", "mean"), SeriesKey(POOL, "queue_time", "rate")]
        pool += [SeriesKey(POOL, "gen_len", "mean"), SeriesKey(POOL, "prompt_len", "mean")]
        self.pool_columns = Columns(tuple(pool))

    def tick(self, count: int = 1, **lies: float) -> None:
        for _ in range(count):
            self.time.value += TICK
            rate = float(self.rng.poisson(1.5 * TICK)) / TICK * (1.2 + np.sin(self.time.value / 200.0)) / 1.2
            batch = min(32.0, rate * 2.7 / max(0.05, 1.0 - rate * 0.144))
            one = {
                "arrivals": rate, "finished": rate, "running": batch, "queue_len": 0.0, "tokens_in": rate * 600.0,
                "tokens_out": batch / (0.015 + 0.0008 * batch), "max_running": 32.0,
            }  # fmt: skip
            both = [one | lies, one]
            values = np.array([replica[name] for replica in both for name in SUMS])
            sums = [both[0][name] + both[1][name] for name in SUMS]
            pool = np.array([*sums, 2.0, 2.0, 0.3, 0.0, 2.0 * rate, 180.0, 600.0])
            at = self.time.value
            readings = [Reading("a", at, self.replica_columns, values), Reading("pools", at, self.pool_columns, pool)]
            self.ring.append(at, readings)


async def test_advice_marks_gauges_and_a_name() -> None:
    fleet = Fleet()
    fleet.tick(400)
    capacity = Capacity(SETTINGS, fleet.time)
    await capacity.step(fleet.ring)
    record, problem = capacity.record("chat/org/m")
    assert problem == ""
    assert record is not None
    assert record["desired_replicas"] in (2, 3, 4)
    assert record["current_replicas"] == 2
    assert capacity.record("chat")[0] == record
    assert capacity.record("nobody") == (None, "no pool 'nobody'; there are chat/org/m")
    gauges = {family.name: family.samples for family in capacity.families()}
    assert gauges["aiops_recommended_replicas"][0][1] == record["desired_replicas"]
    assert gauges["aiops_binding_constraint_info"][0][0]["constraint"] == "none"
    fleet.tick(40)
    marks = await capacity.step(fleet.ring)
    assert all(mark.kind is MarkKind.RECOMMENDATION for mark in marks)
    assert any("replicas" in mark.detail for mark in marks)
    outcomes = capacity.records()[0]["track"]
    assert sum(outcomes[name] for name in ("followed", "kept", "not_followed")) == 1  # type: ignore[index]


async def test_a_gateway_is_part_of_its_pools_advice_and_alone_has_its_own() -> None:
    fleet, others = Fleet(), ("chat", "speech")
    fleet.tick(40)
    gateways = [
        Entity.of(EntityKind.POOL, job="router", instance="g:1", pool=pool, model_name="org/m") for pool in others
    ]
    columns = Columns(tuple(SeriesKey(gateway, "queue_len") for gateway in gateways))
    fleet.ring.append(fleet.time.value + TICK, [Reading("g", fleet.time.value + TICK, columns, np.array([1.0, 2.0]))])
    capacity = Capacity(SETTINGS, fleet.time)
    await capacity.step(fleet.ring)
    assert [record["pool"] for record in capacity.records()] == ["chat/org/m", "speech/org/m"]
    assert capacity.record("speech")[1] == "no metric gives arrivals, running, ready"


async def test_old_advice_is_none_and_never_0() -> None:
    fleet = Fleet()
    fleet.tick(400)
    capacity = Capacity(SETTINGS, fleet.time)
    await capacity.step(fleet.ring)
    fleet.time.value += 1000.0
    record, problem = capacity.record("chat")
    assert "1000 s old" in problem
    assert record is not None
    assert record["desired_replicas"] is None
    gauges = {family.name: family.samples for family in capacity.families()}
    assert gauges["aiops_recommended_replicas"] == []
    assert gauges["aiops_capacity_abstained"][0][1] == 1.0


@pytest.mark.parametrize("lie", [{"queue_len": 1e9}, {"queue_len": 1e9, "arrivals": 2e8}, {"arrivals": 1e9}])
async def test_a_forged_metric_on_one_replica_buys_nothing(lie: dict[str, float]) -> None:
    fleet = Fleet()
    fleet.tick(400)
    capacity = Capacity(SETTINGS, fleet.time)
    await capacity.step(fleet.ring)
    honest = int(str(capacity.records()[0]["desired_replicas"]))
    for _ in range(8):
        fleet.tick(6, **lie)
        await capacity.step(fleet.ring)
        desired = capacity.records()[0]["desired_replicas"]
        assert desired is None or int(str(desired)) <= honest
    fleet.tick(12)
    await capacity.step(fleet.ring)
    assert capacity.records()[0]["desired_replicas"] is not None


async def test_nan_is_silence_with_a_reason() -> None:
    fleet = Fleet()
    fleet.tick(400)
    fleet.tick(12, running=float("nan"))
    capacity = Capacity(SETTINGS, fleet.time)
    await capacity.step(fleet.ring)
    record = capacity.records()[0]
    assert record["desired_replicas"] is None
    assert "running" in str(record["reason"])


async def test_a_missing_role_is_named() -> None:
    fleet = Fleet()
    fleet.pool_columns = Columns(tuple(key for key in fleet.pool_columns.keys if key.signal != "arrivals"))
    ring, time = fleet.ring, fleet.time
    for _ in range(200):
        time.value += TICK
        values = np.ones(len(fleet.pool_columns.keys))
        ring.append(time.value, [Reading("pools", time.value, fleet.pool_columns, values)])
    capacity = Capacity(SETTINGS, time)
    await capacity.step(ring)
    assert "no metric gives arrivals" in str(capacity.records()[0]["reason"])


async def test_histories_outlive_the_process() -> None:
    fleet = Fleet()
    fleet.tick(400)
    first = Capacity(SETTINGS, fleet.time)
    await first.step(fleet.ring)
    second = Capacity(SETTINGS, fleet.time)
    second.restore(first.state())
    empty = Ring(720, TICK, max_series=200, ttl_seconds=1800.0)
    empty.restore(fleet.ring.export())
    await second.step(empty)
    assert second.records()[0]["curve"] == first.records()[0]["curve"]
    assert second._pools[POOL].track == first._pools[POOL].track
    assert second._pools[POOL].track.open, "advice that waits for its time goes on to wait"
    assert [at for at, _ in second._pools[POOL].memory.wishes] == [fleet.time.value] * 2
    other = Capacity(CapacitySettings(step=30.0), fleet.time)
    other.restore(first.state())
    assert not other._gatherer.pools
    broken = dict(first.state())
    broken["fixed_history_0"] = np.zeros((3, 2), np.float32)
    with pytest.raises(ValueError, match="history 0"):
        second.restore(broken)


async def test_what_was_advised_outlives_the_process_too() -> None:
    fleet = Fleet()
    first = Capacity(SETTINGS, fleet.time)
    for ticks, lies in ((400, {}), (60, {}), (12, {"running": float("nan")}), (6, {"running": float("nan")})):
        fleet.tick(ticks, **lies)
        await first.step(fleet.ring)
    second = Capacity(SETTINGS, fleet.time)
    second.restore(first.state())
    ours, theirs = second._pools[POOL], first._pools[POOL]
    assert ours.needed == theirs.needed
    assert ours.track.counts == theirs.track.counts
    assert sum(ours.track.counts.values()) > 0
    (silence,) = ours.silent
    assert silence.ended - silence.begun == 6 * TICK, "one time without advice, as long as it lasted"
    assert "running" in silence.reason
    fleet.tick(60)
    await second.step(fleet.ring)
    (over,) = second._pools[POOL].silent
    assert over.ended - over.begun == 6 * TICK, "nobody knows how long it lasted while there was no process"


async def test_a_step_that_still_runs_is_not_started_again() -> None:
    fleet = Fleet()
    fleet.tick(400)
    capacity = Capacity(SETTINGS, fleet.time)
    both = await asyncio.gather(capacity.step(fleet.ring), capacity.step(fleet.ring))
    assert (capacity.steps, capacity.skipped) == (1, 1)
    assert both[1] == []


def test_intervals_are_taken_once_and_gaps_are_kept() -> None:
    fleet = Fleet()
    fleet.tick(30)
    gatherer = Gatherer(15.0, 5760)
    gatherer.gather(fleet.ring, lambda pool: 60.0)
    assert len(gatherer.pools[POOL].history) == 10
    fleet.tick(2)
    gatherer.gather(fleet.ring, lambda pool: 60.0)
    assert len(gatherer.pools[POOL].history) == 10
    fleet.tick(1)
    gatherer.gather(fleet.ring, lambda pool: 60.0)
    assert len(gatherer.pools[POOL].history) == 11
    row = gatherer.pools[POOL].history
    assert row.now("ready") == 2.0
    assert row.now("idle") == 0.0
    assert row.now("busiest") > 0.0


async def test_starts_that_were_seen_are_the_lead_time_unless_people_set_one() -> None:
    """New replicas answer 300, 200 and 240 s after their process began; those of the start tell nothing."""
    time, ring = Time(), Ring(720, TICK, max_series=200, ttl_seconds=1800.0)
    learnt, told = Capacity(CapacitySettings(draws=8), time), Capacity(SETTINGS, time)
    pool = Columns(tuple(SeriesKey(POOL, name) for name in ("running", "queue_len", "replicas", "ready")))
    began = dict.fromkeys(REPLICAS, time.value - 1000.0)

    async def minute() -> None:
        columns = Columns(tuple(SeriesKey(one, name) for one in began for name in ("running", "start_time")))
        for _ in range(12):
            time.value += TICK
            values = np.array([value for at in began.values() for value in (1.0, at)])
            count = float(len(began))
            sums = Reading("pools", time.value, pool, np.array([count, 0.0, count, count]))
            ring.append(time.value, [Reading("a", time.value, columns, values), sums])
            await learnt.step(ring)
            await told.step(ring)

    await minute()
    known = [learnt.leads()[POOL]]
    for took in (300.0, 200.0, 240.0):
        began[Entity.of(EntityKind.REPLICA, job="chat", instance=f"new-{took}", model_name="org/m")] = (
            time.value + TICK - took
        )
        await minute()
        known.append(learnt.leads()[POOL])
    assert known == [
        (120.0, "assumed: 0 starts observed, needs 2"),
        (120.0, "assumed: 1 starts observed, needs 2"),
        (215.0, "longest but one of 2 observed starts"),
        (255.0, "longest but one of 3 observed starts"),
    ]
    assert told.leads()[POOL] == (60.0, "set")
    again = Capacity(CapacitySettings(draws=8), time)
    again.restore(learnt.state())
    await again.step(ring)
    assert again.leads()[POOL] == known[-1], "over a restart, too"
    assert learnt.records()[0]["lead_known_by"] == known[-1][1]


def test_throttled_gpus_are_a_share() -> None:
    ring = Ring(20, TICK, max_series=10, ttl_seconds=1800.0)
    assert np.isnan(throttled_share(ring.window()))
    gpus = [Entity.of(EntityKind.GPU, gpu=str(n)) for n in range(4)]
    columns = Columns(tuple(SeriesKey(gpu, "gpu_throttle") for gpu in gpus))
    for n in range(12):
        ring.append(5.0 * n, [Reading("g", 5.0 * n, columns, np.array([1.0, 0.9, 0.0, np.nan]))])
    assert throttled_share(ring.window()) == pytest.approx(2 / 3)


async def test_what_runs_out_is_exported_with_its_earliest_time() -> None:
    fleet = Fleet()
    node = Entity.of(EntityKind.NODE, node="n1")
    columns = Columns((SeriesKey(node, "disk_available"), SeriesKey(node, "memory_available")))
    rng = np.random.default_rng(2)
    for row in range(400):
        fleet.time.value += TICK
        left = np.array([1e9 - 1e6 * row + 1e6 * rng.standard_normal(), 5e9 + 1e6 * rng.standard_normal()])
        fleet.ring.append(fleet.time.value, [Reading("n", fleet.time.value, columns, left)])
    capacity = Capacity(SETTINGS, fleet.time)
    await capacity.step(fleet.ring)
    gauges = {family.name: family.samples for family in capacity.families()}
    ((labels, expected),) = gauges["aiops_exhaustion_seconds"]
    ((_, soonest),) = gauges["aiops_exhaustion_soonest_seconds"]
    assert labels["signal"] == "disk_available"
    assert expected == pytest.approx(600 * TICK, rel=0.1)
    assert 0.8 * expected < soonest < expected


async def test_the_model_that_decides_is_exported_and_silence_is_told(caplog: pytest.LogCaptureFixture) -> None:
    fleet = Fleet()
    fleet.tick(400)
    capacity = Capacity(SETTINGS, fleet.time)
    await capacity.step(fleet.ring)
    record = capacity.records()[0]
    gauges = {family.name: family.samples for family in capacity.families()}
    ((labels, one),) = gauges["aiops_capacity_model_info"]
    assert (labels["model"], one) == (record["model"], 1.0)
    models = {labels["model"] for labels, _ in gauges["aiops_capacity_backtest_error_ratio"]}
    assert {"transient", "twin", "mmc", "birth_death"} <= models
    fleet.tick(12, running=float("nan"))
    await capacity.step(fleet.ring)
    told = [vars(one) for one in caplog.records]
    assert [one["reason"] for one in told if one.get("subject") == "advice on chat/org/m"] == ["not known now: running"]


async def test_a_stuck_replica_is_named_where_others_have_room() -> None:
    fleet = Fleet()
    fleet.tick(400)
    capacity = Capacity(SETTINGS, fleet.time)
    verdict = Verdict("EngineStuck", Severity.CRITICAL, 1.0, 1.0, "summary", "reason")
    alerts = [
        Alert(AlertKey(rule, SeriesKey(REPLICAS[0], "running")), state, 1.0, 1.0, verdict)
        for rule, state in (("EngineStuck", AlertState.FIRING), ("EngineIdleWithQueue", AlertState.RESOLVED))
    ]
    assert stuck_replicas(alerts, POOL) == ("r0",)
    assert stuck_replicas(alerts[1:], POOL) == stuck_replicas(alerts, replace(POOL, labels=())) == ()
    fleet.tick(24, queue_len=300.0)
    await capacity.step(fleet.ring)
    more = capacity.records()[0]["desired_replicas"]
    await capacity.step(fleet.ring, alerts)
    (record,) = capacity.records()
    assert record["desired_replicas"] is not None
    assert more is not None
    assert record["desired_replicas"] < more
    assert record["binding"]["constraint"] == "stuck_replica"
    assert record["binding"]["evidence"] == ["r0 holds requests and makes no progress"]
    assert record["binding"]["relieved_by_replicas"] is False
    gauges = {family.name: family.samples for family in capacity.families()}
    assert gauges["aiops_binding_constraint_info"][0][0]["constraint"] == "stuck_replica"


def test_the_rules_that_say_stuck_exist() -> None:
    assert {rule.name for rule in presets.rulebook().rules} >= set(STUCK_RULES)
