"""Pools: the replicas of one model behind one queue of requests, seen as one thing.

A pool is named by the label ``pool`` of its replicas, else by their job, and split by model. Sums are sums of what
is known: where one answering replica does not know a value, the pool's sum is unknown, because a sum without it
would look like a drop. Quantiles come from merged buckets; they are never averaged. What the replicas do not count, and
a gateway before them does, is the gateway's.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from aiops.signals.catalog import SIGNALS, Kind
from aiops.signals.histograms import QUANTILE_STATS, QUANTILES, merged, observations_needed, quantiles
from aiops.signals.settings import NormaliseSettings
from aiops.signals.types import Buckets, Columns, Entity, EntityKind, Reading, SeriesKey

Floats = NDArray[np.float64]

SUMMED = (
    "queue_len", "running", "max_running", "arrivals", "finished", "finished_stop", "finished_length",
    "finished_abort", "errors", "rejected", "corrupted", "tokens_in", "tokens_out", "tokens_cached", "kv_capacity",
    "preemptions",
)  # fmt: skip
"""Signals of a pool that are the sum over its replicas."""
AVERAGED = ("kv_use",)
"""Signals of a pool that are the mean over its replicas: replicas of a pool are taken to be alike."""
_PASSED_ON = ("arrivals", "finished", "errors", "rejected", "tokens_in", "tokens_out", "tokens_cached")
"""Signals that a gateway may count in place of the replicas behind it; levels would mean something else there."""
_DISTRIBUTIONS = tuple(name for name, signal in SIGNALS.items() if signal.kind is Kind.DISTRIBUTION)


@lru_cache(maxsize=65_536)
def pool_of(replica: Entity) -> Entity:
    """Pool that a replica belongs to, or that a gateway stands before."""
    name = replica.label("pool") or replica.label("job")
    return Entity.of(EntityKind.POOL, pool=name, model_name=replica.label("model_name"))


def pool_name(pool: Entity) -> str:
    """Name under which a pool is asked for: ``pool/model``, without the model where there is none."""
    return "/".join(filter(None, (pool.label("pool") or pool.label("job"), pool.label("model_name"))))


def entity_name(entity: Entity) -> str:
    """The shortest name that tells an entity from others of its kind."""
    label = entity.label
    if entity.kind is EntityKind.POOL:
        via = label("instance")
        return (pool_name(entity) or "pool") + (f" via {via}" if via else "")
    own = next(filter(None, map(label, ("gpu", "instance", "pod", "node", "job"))), "")
    rank = label("engine") or label("rank")
    return (own or " ".join(value for _, value in entity.labels) or str(entity.kind)) + (f" #{rank}" if rank else "")


def is_gateway(entity: Entity) -> bool:
    """Whether it is the view that one gateway has of a pool, and not the pool itself."""
    return entity.kind is EntityKind.POOL and bool(entity.label("instance"))


def fronts(gateway: Entity, pool: Entity) -> bool:
    """Whether a gateway stands before a pool: both have the same label ``pool``, and the model where it names one."""
    named = gateway.label("pool")
    same_model = gateway.label("model_name") in ("", pool.label("model_name"))
    return is_gateway(gateway) and not is_gateway(pool) and named != "" and named == pool.label("pool") and same_model


@dataclass(frozen=True, slots=True)
class _PoolPlan:
    """Positions in the readings' values laid end to end; one row per pool signal, one entry per replica or gateway."""

    pool: Entity
    replicas: tuple[Entity, ...]
    keys: tuple[SeriesKey, ...]
    summed: tuple[NDArray[np.intp], ...]
    averaged: tuple[NDArray[np.intp], ...]
    spread: tuple[tuple[str, NDArray[np.intp], NDArray[np.intp]], ...]
    sleeping: NDArray[np.intp]


class Pools:
    """Merges readings of replicas into one reading of their pools; keeps the arithmetic while columns stay.

    Also remembers which replicas each source had, so that those of a silent source still count as replicas.
    """

    def __init__(self, settings: NormaliseSettings | None = None, source: str = "pools") -> None:
        settings = settings or NormaliseSettings()
        self._needed = np.array([observations_needed(q, settings.tail_observations) for q in QUANTILES])
        self._source = source
        self._seen: tuple[Columns, ...] = ()
        self._plans: tuple[_PoolPlan, ...] = ()
        self._replicas: dict[str, tuple[Entity, ...]] = {}
        self._columns = Columns(())

    def reading(self, readings: Sequence[Reading], at: float, up: Mapping[str, bool] | None = None) -> Reading:
        """Merge the newest reading of every source.

        Parameters
        ----------
        readings
            This tick's readings; those without replicas are ignored.
        up
            Source → whether its last attempt succeeded, for all configured sources. Readings of sources that
            are down are left out; sources that are not named any more are forgotten. None = whoever answered.
        """
        live = [r for r in readings if up is None or up.get(r.source, False)]
        columns = tuple(reading.columns for reading in live)
        if len(columns) != len(self._seen) or any(a is not b for a, b in zip(columns, self._seen, strict=True)):
            self._plans = _plans(live)
            self._seen = columns
            self._replicas |= {reading.source: _replicas_of(reading.columns.keys) for reading in live}
        if up is not None:
            self._replicas = {source: known for source, known in self._replicas.items() if source in up}
        else:
            answered = {reading.source for reading in live}
            self._replicas = {source: known for source, known in self._replicas.items() if source in answered}
        return self._merge(live, at)

    def _merge(self, live: Sequence[Reading], at: float) -> Reading:
        known = _count_pools(self._replicas.values())
        stacked = np.concatenate([reading.values for reading in live]) if live else np.empty(0)
        gains = _gains_by_pool(live)
        keys: list[SeriesKey] = []
        values: list[float] = []
        buckets: list[Buckets] = []
        for plan in self._plans:
            asleep = stacked[plan.sleeping] if len(plan.sleeping) else np.zeros(0)
            keys += plan.keys
            values += [float(known[plan.pool]), float(len(plan.replicas) - np.count_nonzero(asleep > 0.0))]
            values += [float(stacked[positions].sum()) for positions in plan.summed]
            values += [float(stacked[positions].mean()) for positions in plan.averaged]
            for signal, means, rates in plan.spread:
                gain = self._merged_gain(plan, signal, gains)
                values += _mean_and_rate(stacked[means], stacked[rates])
                values += self._quantiles(gain)
                if gain is not None:
                    buckets.append(gain)
        planned = {plan.pool for plan in self._plans}
        for pool in known:
            if pool not in planned:  # every replica is silent: that, at least, is known
                keys += [SeriesKey(pool, "replicas"), SeriesKey(pool, "ready")]
                values += [float(known[pool]), 0.0]
        if self._columns.keys != tuple(keys):
            self._columns = Columns(tuple(keys))
        return Reading(self._source, at, self._columns, np.array(values), tuple(buckets))

    @staticmethod
    def _merged_gain(plan: _PoolPlan, signal: str, gains: Mapping[tuple[Entity, str], list[Buckets]]) -> Buckets | None:
        parts = gains.get((plan.pool, signal), [])
        if len(parts) != len(plan.replicas):
            return None
        both = merged(parts)
        if both is None:
            return None
        return Buckets(SeriesKey(plan.pool, signal), both[0], both[1], sum(part.total for part in parts))

    def _quantiles(self, gain: Buckets | None) -> list[float]:
        if gain is None:
            return [float("nan")] * len(QUANTILES)
        cumulative = np.cumsum(gain.counts)[np.newaxis, :]
        found = quantiles(gain.bounds[np.newaxis, :], cumulative, total=np.array([gain.total]))[0]
        answer: list[float] = np.where(cumulative[0, -1] >= self._needed, found, np.nan).tolist()
        return answer


def pool_reading(readings: Sequence[Reading], at: float) -> Reading:
    """Merge readings once; see :class:`Pools` for the repeated form."""
    return Pools().reading(readings, at)


def _replicas_of(keys: Iterable[SeriesKey]) -> tuple[Entity, ...]:
    """Replicas that serve: those of which only a probe or a start time is known say nothing of the pool's load."""
    return tuple(
        dict.fromkeys(key.entity for key in keys if key.entity.kind is EntityKind.REPLICA and key.signal in SUMMED)
    )


def _count_pools(replicas: Iterable[Sequence[Entity]]) -> dict[Entity, int]:
    counts: dict[Entity, int] = {}
    for replica in dict.fromkeys(replica for group in replicas for replica in group):
        pool = pool_of(replica)
        counts[pool] = counts.get(pool, 0) + 1
    return counts


def _gains_by_pool(readings: Iterable[Reading]) -> dict[tuple[Entity, str], list[Buckets]]:
    gains: dict[tuple[Entity, str], list[Buckets]] = {}
    for reading in readings:
        for part in reading.buckets:
            if part.key.entity.kind is EntityKind.REPLICA:
                gains.setdefault((pool_of(part.key.entity), part.key.signal), []).append(part)
    return gains


def _mean_and_rate(means: Floats, rates: Floats) -> list[float]:
    """Mean over all observations, and their rate: replicas weigh by how much they did."""
    rate = float(rates.sum())
    busy = rates != 0.0  # an idle replica has no mean and takes no part in it
    mean = float((means[busy] * rates[busy]).sum() / rate) if rate > 0.0 else float("nan")
    return [mean, rate]


def _plans(readings: Sequence[Reading]) -> tuple[_PoolPlan, ...]:
    place: dict[SeriesKey, int] = {}
    start = 0
    for reading in readings:
        place |= {key: start + column for column, key in enumerate(reading.columns.keys)}
        start += len(reading.columns.keys)
    members: dict[Entity, list[Entity]] = {}
    for replica in _replicas_of(place):
        members.setdefault(pool_of(replica), []).append(replica)
    before: dict[Entity, list[Entity]] = {}
    for gateway in dict.fromkeys(key.entity for key in place if is_gateway(key.entity) and key.signal in _PASSED_ON):
        behind = [pool for pool in members if fronts(gateway, pool)]
        if len(behind) == 1:  # of several models behind one number nobody knows the shares
            before.setdefault(behind[0], []).append(gateway)
    return tuple(_pool_plan(pool, replicas, before.get(pool, ()), place) for pool, replicas in members.items())


def _pool_plan(
    pool: Entity, replicas: Sequence[Entity], gateways: Sequence[Entity], place: Mapping[SeriesKey, int]
) -> _PoolPlan:
    def row(signal: str, stat: str = "", of: Sequence[Entity] = replicas) -> NDArray[np.intp] | None:
        """Positions of a signal in all replicas; None when one has no such column."""
        found = [place.get(SeriesKey(entity, signal, stat), -1) for entity in of]
        return None if -1 in found or not found else np.array(found, dtype=np.intp)

    summed = {name: found for name in SUMMED if (found := row(name)) is not None}
    for name in _PASSED_ON:
        if name not in summed and (found := row(name, of=gateways)) is not None:
            summed[name] = found
    averaged = {name: found for name in AVERAGED if (found := row(name)) is not None}
    spread = [
        (name, means, rates)
        for name in _DISTRIBUTIONS
        if (means := row(name, "mean")) is not None and (rates := row(name, "rate")) is not None
    ]
    keys = [SeriesKey(pool, name) for name in ("replicas", "ready", *summed, *averaged)]
    keys += [SeriesKey(pool, name, stat) for name, _, _ in spread for stat in ("mean", "rate", *QUANTILE_STATS)]
    asleep = [place[key] for replica in replicas if (key := SeriesKey(replica, "sleeping")) in place]
    return _PoolPlan(
        pool, tuple(replicas), tuple(keys), tuple(summed.values()), tuple(averaged.values()), tuple(spread),
        np.array(asleep, dtype=np.intp),
    )  # fmt: skip
