"""Pools: sums, weighted means, merged quantiles, replicas that are silent or asleep."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.signals.histograms import quantiles
from aiops.signals.topology import Pools, entity_name, pool_of, pool_reading
from aiops.signals.types import Buckets, Columns, Entity, EntityKind, Reading, SeriesKey

Value = Callable[..., float]
INF = float("inf")
NAN = float("nan")


def replica(name: str, pool: str = "chat") -> Entity:
    return Entity.of(EntityKind.REPLICA, job="llm", instance=name, pool=pool, model_name="m")


def reading(
    name: str,
    numbers: dict[str, float],
    counts: tuple[float, ...] = (),
    bounds: tuple[float, ...] = (1.0, 2.0, INF),
    pool: str = "chat",
) -> Reading:
    entity = replica(name, pool)
    keys, values, gains = [], [], ()
    for signal, number in numbers.items():
        base, _, stat = signal.partition(":")
        keys.append(SeriesKey(entity, base, stat))
        values.append(number)
    if counts:
        key = SeriesKey(entity, "ttft")
        gains = (Buckets(key, np.array(bounds), np.array(counts), float(sum(counts))),)
    return Reading(name, 5.0, Columns(tuple(keys)), np.array(values), gains)


def load(queue: float, kv: float = 0.5, rate: float = 1.0, mean: float = 1.0) -> dict[str, float]:
    return {"queue_len": queue, "running": 4.0, "kv_use": kv, "ttft:mean": mean, "ttft:rate": rate}


def test_pool_name_is_the_label_or_the_job() -> None:
    assert str(pool_of(replica("a"))) == 'pool{model_name="m",pool="chat"}'
    assert str(pool_of(Entity.of(EntityKind.REPLICA, job="llm"))) == 'pool{pool="llm"}'


@pytest.mark.parametrize(
    ("kind", "labels", "name"),
    [
        (EntityKind.POOL, {"pool": "chat", "model_name": "org/m"}, "chat/org/m"),
        (EntityKind.POOL, {"job": "llm"}, "llm"),
        (EntityKind.POOL, {"job": "router", "instance": "g:1", "pool": "chat"}, "chat via g:1"),
        (EntityKind.POOL, {}, "pool"),
        (EntityKind.REPLICA, {"job": "llm", "instance": "10.0.0.1:8000", "model_name": "m"}, "10.0.0.1:8000"),
        (EntityKind.REPLICA, {"pod": "llm-0", "rank": "1"}, "llm-0 #1"),
        (EntityKind.GPU, {"gpu": "GPU-1", "node": "n1", "instance": "n1:9400"}, "GPU-1"),
        (EntityKind.NODE, {"node": "n1"}, "n1"),
        (EntityKind.TARGET, {"a": "x", "b": "y"}, "x y"),
        (EntityKind.TARGET, {}, "target"),
    ],
)
def test_a_name_is_short_and_never_empty(kind: EntityKind, labels: dict[str, str], name: str) -> None:
    assert entity_name(Entity.of(kind, **labels)) == name


def test_sums_means_and_counts(value: Value) -> None:
    merged = pool_reading([reading("a", load(3, 0.2)), reading("b", load(5, 0.6))], 5.0)
    assert value(merged, "queue_len") == 8.0
    assert value(merged, "running") == 8.0
    assert value(merged, "kv_use") == pytest.approx(0.4)
    assert (value(merged, "replicas"), value(merged, "ready")) == (2.0, 2.0)
    assert all(key.entity.kind is EntityKind.POOL for key in merged.columns.keys)


def gateway(name: str, numbers: dict[str, float], model: str = "m") -> Reading:
    entity = Entity.of(EntityKind.POOL, job="router", instance=name, pool="chat", model_name=model)
    return Reading(name, 5.0, Columns(tuple(SeriesKey(entity, one) for one in numbers)), np.array([*numbers.values()]))


@pytest.mark.parametrize("model", ["m", ""])
def test_what_replicas_do_not_count_their_gateways_do(value: Value, model: str) -> None:
    before = [gateway(name, {"arrivals": 3.0, "errors": 1.0, "queue_len": 7.0}, model) for name in ("g", "h")]
    merged = pool_reading([reading("a", load(3) | {"errors": 0.5}), *before], 5.0)
    assert value(merged, "arrivals") == 6.0
    assert value(merged, "errors") == 0.5, "the replicas count it"
    assert value(merged, "queue_len") == 3.0, "a gateway's queue is not the replicas'"
    assert {key.entity for key in merged.columns.keys} == {pool_of(replica("a"))}


@pytest.mark.parametrize("parts", [
    [gateway("g", {"arrivals": 3.0}, "other")],
    [gateway("g", {"arrivals": 3.0}, ""), reading("b", load(1), pool="chat")],
])  # fmt: skip
def test_a_gateway_of_another_model_or_of_several_says_nothing_of_one(value: Value, parts: list[Reading]) -> None:
    second = Entity.of(EntityKind.REPLICA, job="llm", instance="z", pool="chat", model_name="n")
    other = Reading("z", 5.0, Columns((SeriesKey(second, "running"),)), np.array([1.0]))
    with pytest.raises(KeyError):
        value(pool_reading([reading("a", load(3)), other, *parts], 5.0), "arrivals")


def test_unknown_part_makes_the_sum_unknown(value: Value) -> None:
    merged = pool_reading([reading("a", load(3)), reading("b", load(NAN))], 5.0)
    assert math.isnan(value(merged, "queue_len"))
    assert value(merged, "running") == 8.0


def test_a_signal_that_one_replica_lacks_is_no_signal_of_the_pool(value: Value) -> None:
    merged = pool_reading([reading("a", load(3)), reading("b", {"queue_len": 1.0})], 5.0)
    assert value(merged, "queue_len") == 4.0
    with pytest.raises(KeyError):
        value(merged, "running")


def test_mean_is_weighted_by_observations_and_idle_replicas_take_no_part(value: Value) -> None:
    parts = [
        reading("a", load(0, rate=9.0, mean=1.0)),
        reading("b", load(0, rate=1.0, mean=11.0)),
        reading("c", load(0, rate=0.0, mean=NAN)),
    ]
    merged = pool_reading(parts, 5.0)
    assert value(merged, "ttft", "mean") == pytest.approx(2.0)
    assert value(merged, "ttft", "rate") == 10.0


def test_quantiles_come_from_merged_buckets(value: Value) -> None:
    merged = pool_reading([reading("a", load(0), (90, 0, 0)), reading("b", load(0), (0, 90, 0))], 5.0)
    expected = quantiles(np.array([[1.0, 2.0, INF]]), np.array([[90.0, 180.0, 180.0]]))[0]
    assert [value(merged, "ttft", stat) for stat in ("p50", "p95", "p99")] == pytest.approx(expected.tolist())
    assert merged.buckets[0].counts.tolist() == [90, 90, 0]
    assert merged.buckets[0].total == 180.0


def test_different_bounds_or_a_missing_part_give_no_quantiles(value: Value) -> None:
    other = reading("b", load(0), (90, 0, 0), bounds=(1.0, 3.0, INF))
    assert math.isnan(value(pool_reading([reading("a", load(0), (90, 0, 0)), other], 5.0), "ttft", "p50"))
    silent = reading("b", load(0))
    assert math.isnan(value(pool_reading([reading("a", load(0), (90, 0, 0)), silent], 5.0), "ttft", "p50"))


def test_a_silent_replica_still_exists_but_is_not_ready(value: Value) -> None:
    pools = Pools()
    a, b = reading("a", load(3)), reading("b", load(5))
    pools.reading([a, b], 5.0, {"a": True, "b": True})
    merged = pools.reading([a], 10.0, {"a": True, "b": False})
    assert (value(merged, "replicas"), value(merged, "ready"), value(merged, "queue_len")) == (2.0, 1.0, 3.0)
    none = pools.reading([], 15.0, {"a": False, "b": False})
    assert (value(none, "replicas"), value(none, "ready")) == (2.0, 0.0)
    gone = pools.reading([a], 20.0, {"a": True})
    assert value(gone, "replicas") == 1.0


def test_a_sleeping_replica_is_not_ready(value: Value) -> None:
    merged = pool_reading([reading("a", load(0) | {"sleeping": 1.0}), reading("b", load(0) | {"sleeping": 0.0})], 5.0)
    assert (value(merged, "replicas"), value(merged, "ready")) == (2.0, 1.0)


def test_columns_stay_the_same_object_while_sources_do() -> None:
    pools = Pools()
    parts = [reading("a", load(3)), reading("b", load(5))]
    first = pools.reading(parts, 5.0)
    assert pools.reading(parts, 10.0).columns is first.columns


def test_a_probe_is_no_replica_of_its_own(value: Value) -> None:
    probe = Entity.of(EntityKind.REPLICA, job="llm", pool="chat", model_name="m", instance="probe")
    extra = Reading("p", 5.0, Columns((SeriesKey(probe, "probe_up"),)), np.array([1.0]))
    merged = pool_reading([reading("a", load(3)), extra], 5.0)
    assert (value(merged, "replicas"), value(merged, "queue_len")) == (1.0, 3.0)


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.integers(0, 99)), min_size=1, max_size=9))
def test_pools_split_and_sum_like_the_slow_way(members: list[tuple[str, int]]) -> None:
    parts = [reading(f"r{i}", load(float(queue)), pool=pool) for i, (pool, queue) in enumerate(members)]
    merged = pool_reading(parts, 5.0)
    told = {
        key.entity.label("pool"): number
        for key, number in zip(merged.columns.keys, merged.values.tolist(), strict=True)
        if key.signal == "queue_len"
    }
    slow: dict[str, float] = {}
    for pool, queue in members:
        slow[pool] = slow.get(pool, 0.0) + queue
    assert told == slow
