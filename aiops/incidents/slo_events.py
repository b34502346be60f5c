"""What happened to requests since the last tick, as counts: all of them, and the bad ones, per objective and pool.

Counts come from histogram gains and from counters, never from quantiles or averages. Invariant: an event that cannot
be judged (no bucket bound below the threshold, a counter without a value) is not counted at all: unknown is not good.
A request is counted once: where a gateway before a pool counts it, and is heard of, the replicas behind do not.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isnan
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from aiops.incidents.slo_settings import LATENCIES, Indicator, Objective
from aiops.signals.topology import is_gateway, pool_of
from aiops.signals.types import Buckets, Columns, Entity, EntityKind, Reading, SeriesKey

Key = tuple[str, Entity]
"""Title of an objective, and a pool."""
_COUNTED = ("finished", "errors", "rejected")
_PROBE = "probe_up"
_ROUNDING = 1.0 + 1e-9
_HEARD_SECONDS = 300.0
"""So long after its last word a gateway speaks for the replicas behind it."""


class Gain(NamedTuple):
    """Events of one objective in one pool; ``bad`` ≤ ``total``."""

    total: float
    bad: float


class _Counters(NamedTuple):
    """Where the numbers of a replica or gateway stand in a reading."""

    pool: Entity
    from_gateway: bool
    place: Mapping[str, int]


class _Limits(NamedTuple):
    """For one histogram: its bounds, and for each objective how many buckets are good."""

    bounds: NDArray[np.float64]
    judged: tuple[tuple[Key, int], ...]


class Intake:
    """Turns readings into gains.

    Attributes
    ----------
    effective_seconds
        Bucket bound that decides in place of the threshold, where a histogram was judged.
    """

    def __init__(self, objectives: Sequence[Objective]) -> None:
        self._objectives = objectives
        self._slow: dict[str, list[Objective]] = {}
        for one in objectives:
            if one.of in LATENCIES:
                self._slow.setdefault(str(one.of), []).append(one)
        self._failed = [one for one in objectives if one.of not in LATENCIES]
        self._plans: WeakKeyDictionary[Columns, tuple[_Counters, ...]] = WeakKeyDictionary()
        self._limits: dict[SeriesKey, _Limits] = {}
        self._read_at: dict[str, float] = {}
        self._gateways: dict[Key, float] = {}
        self.effective_seconds: dict[Key, float] = {}

    def gains(self, readings: Iterable[Reading]) -> Iterator[tuple[Key, Gain]]:
        """Events of these readings; each reading is given once."""
        for reading in readings:
            for part in reading.buckets if self._slow else ():
                if part.key.signal in self._slow:
                    yield from self._late(part, reading.at)
            if self._failed:
                yield from self._lost(reading)

    def forget(self, before: float) -> None:
        """Forget sources of which nothing was read since ``before`` (UTC seconds)."""
        self._read_at = {source: at for source, at in self._read_at.items() if at >= before}
        self._gateways = {key: at for key, at in self._gateways.items() if at >= before}
        self._limits.clear()  # found again with the next reading

    def _counts(self, what: str, pool: Entity, at: float, *, from_gateway: bool) -> bool:
        """Whether events are to be taken from where they were seen; a gateway that has them is remembered."""
        if from_gateway:
            self._gateways[what, pool] = at
            return True
        return at - self._gateways.get((what, pool), -np.inf) > _HEARD_SECONDS

    def _late(self, part: Buckets, at: float) -> Iterator[tuple[Key, Gain]]:
        entity = part.key.entity
        from_gateway = is_gateway(entity)
        if not (from_gateway or entity.kind is EntityKind.REPLICA) or not part.counts.any():
            return
        if not self._counts(part.key.signal, pool_of(entity), at, from_gateway=from_gateway):
            return
        plan = self._limits.get(part.key)
        if plan is None or plan.bounds is not part.bounds:
            plan = self._limits[part.key] = self._limits_of(part)
        if plan.judged:
            sums = np.cumsum(part.counts)
            total = float(sums[-1])
            for key, within in plan.judged:
                yield key, Gain(total, max(total - float(sums[within - 1]), 0.0))

    def _limits_of(self, part: Buckets) -> _Limits:
        pool, judged = pool_of(part.key.entity), []
        for one in self._slow[part.key.signal]:
            threshold = one.threshold or 0.0
            within = int(np.searchsorted(part.bounds, threshold * _ROUNDING, side="right"))
            if within and covers(one, pool):
                self.effective_seconds[one.title, pool] = min(float(part.bounds[within - 1]), threshold)
                judged.append(((one.title, pool), within))
        return _Limits(part.bounds, tuple(judged))

    def _lost(self, reading: Reading) -> Iterator[tuple[Key, Gain]]:
        seconds = reading.at - self._read_at.get(reading.source, float("nan"))
        self._read_at[reading.source] = reading.at
        for pool, from_gateway, place in self._plan(reading.columns):
            values = {name: float(reading.values[column]) for name, column in place.items()}
            probe = values.pop(_PROBE, float("nan"))
            counts = {name: rate * seconds for name, rate in values.items()}
            for one in self._failed:
                gain = _judged(one.of, counts)
                if gain is not None and not self._counts(str(one.of), pool, reading.at, from_gateway=from_gateway):
                    gain = None
                if one.of is Indicator.ERRORS and not isnan(probe):
                    gain = Gain(1.0, float(probe == 0.0))  # one question is one request
                if gain is not None and covers(one, pool):
                    yield (one.title, pool), gain

    def _plan(self, columns: Columns) -> tuple[_Counters, ...]:
        plan = self._plans.get(columns)
        if plan is None:
            places: dict[Entity, dict[str, int]] = {}
            for column, key in enumerate(columns.keys):
                serves = key.entity.kind is EntityKind.REPLICA or is_gateway(key.entity)
                asked = key.entity.kind in (EntityKind.REPLICA, EntityKind.POOL) and key.signal == _PROBE
                if (serves and key.signal in _COUNTED) or asked:
                    places.setdefault(key.entity, {})[key.signal] = column
            plan = tuple(_Counters(pool_of(entity), is_gateway(entity), place) for entity, place in places.items())
            self._plans[columns] = plan
        return plan


def covers(objective: Objective, pool: Entity) -> bool:
    """Whether an objective holds for a pool."""
    name, model = pool.label("pool"), pool.label("model_name")
    return not objective.pools or name in objective.pools or f"{name}/{model}" in objective.pools


def _judged(of: Indicator, counts: Mapping[str, float]) -> Gain | None:
    """Gain of one replica; None where a counter that it needs is not there or has no value."""
    bad_names = ("errors", "rejected") if of is Indicator.ERRORS else ("rejected",)
    bad = [counts[name] for name in bad_names if name in counts]
    if "finished" not in counts or not bad:
        return None
    # Refused requests never entered, so no engine counts them as finished.
    total = counts["finished"] + counts.get("rejected", 0.0)
    lost = sum(bad)
    if not (total > 0.0 or lost > 0.0) or isnan(total) or isnan(lost):
        return None
    return Gain(max(total, lost), lost)
