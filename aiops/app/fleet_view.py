"""The fleet as people think of it: pools, their replicas, the GPUs below, each with its health and a few numbers.

Health is the worst alert that is active on a thing. A thing of which nothing is heard is ``silent``: neither well nor
ill.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import nan

from aiops.app.view import entity_record, stamp
from aiops.detect.base import Severity
from aiops.incidents.alert import Alert
from aiops.signals.tenancy import NO_TENANCY, Tenancy
from aiops.signals.topology import pool_of
from aiops.signals.types import Entity, EntityKind, SeriesKey
from aiops.web.records_fleet import FleetRecord, Health, NodeRecord, PoolRecord, ReplicaRecord, ThingRecord

_OK: Health = "ok"
_SILENT: Health = "silent"
_WORST_FIRST: tuple[Health, ...] = ("critical", "warning", _SILENT, "info", _OK)
_HEALTH: Mapping[Severity, Health] = {
    Severity.CRITICAL: "critical", Severity.WARNING: "warning", Severity.INFO: "info"
}  # fmt: skip
SHOWN: Mapping[EntityKind, tuple[str, ...]] = {
    EntityKind.POOL: ("replicas", "ready", "arrivals", "queue_len", "running", "max_running", "kv_use", "tokens_out",
                      "ttft:p95", "ttft:mean", "itl:p95", "itl:mean", "errors"),
    EntityKind.REPLICA: ("queue_len", "running", "max_running", "kv_use", "tokens_out", "ttft:p95", "ttft:mean"),
    EntityKind.GPU: ("gpu_util", "gpu_mem_used", "gpu_mem_total", "gpu_temp", "gpu_power", "gpu_throttle"),
    EntityKind.NODE: ("cpu_busy", "memory_available"),
}  # fmt: skip
"""Numbers that the overview has room for."""


@dataclass(slots=True)
class _Thing:
    numbers: dict[str, float] = field(default_factory=dict)
    heard: bool = False
    score: float = nan
    alerts: int = 0
    worst: Health = _OK

    def worsen(self, severity: Health) -> None:
        self.alerts += 1
        self.worst = worst((self.worst, severity))

    @property
    def health(self) -> Health:
        return _SILENT if self.worst == _OK and not self.heard else self.worst


def worst(healths: Iterable[Health]) -> Health:
    """The most severe of some healths; ``ok`` of none."""
    return min(healths, key=_WORST_FIRST.index, default=_OK)


def fleet_record(
    now: float,
    latest: Iterable[tuple[SeriesKey, float, bool]],
    alerts: Iterable[Alert],
    scores: Iterable[tuple[SeriesKey, float]] = (),
    tenancy: Tenancy = NO_TENANCY,
) -> FleetRecord:
    """Pools with replicas with GPUs, and the GPUs of nodes that no replica has for itself: whose they are is not known.

    Parameters
    ----------
    latest
        Every series with its newest value, and whether that is fresh; a value that is not fresh is not shown.
    alerts
        Active ones count.
    scores
        Scores of series that are watched, where one is known; the highest of a thing is shown.
    tenancy
        Who was given which GPU; where that is not known, a replica has the GPUs of a host that it has for itself.
    """
    things = _gathered(latest)
    for key, score in scores:
        if (thing := things.get(key.entity)) is not None and not thing.score >= score:
            thing.score = score
    for alert in alerts:
        if alert.active:
            for entity in _struck(alert.key.series.entity, things):
                things.setdefault(entity, _Thing()).worsen(_HEALTH[alert.severity])
    gpus: dict[str, list[Entity]] = {}
    replicas: dict[Entity, list[Entity]] = {}
    for entity in sorted(things, key=lambda one: one.labels):
        if entity.kind is EntityKind.GPU:
            gpus.setdefault(entity.label("node") or entity.label("instance"), []).append(entity)
        elif entity.kind is EntityKind.REPLICA:
            replicas.setdefault(pool_of(entity), []).append(entity)
        elif entity.kind is EntityKind.POOL:
            replicas.setdefault(entity, [])
    hosts = Counter(_host(replica) for members in replicas.values() for replica in members)
    below = {
        replica: _given(replica, gpus, tenancy) or (gpus.get(_host(replica), []) if hosts[_host(replica)] == 1 else [])
        for members in replicas.values()
        for replica in members
    }
    housed = {gpu for found in below.values() for gpu in found}
    nodes = {node: [gpu for gpu in found if gpu not in housed] for node, found in gpus.items()}
    pools = [_pool_record(pool, members, below, things) for pool, members in replicas.items()]
    return {
        "at": stamp(now),
        "pools": sorted(pools, key=lambda one: _WORST_FIRST.index(one["health"])),
        "nodes": [_group(node, [_thing_record(gpu, things[gpu]) for gpu in found])
                  for node, found in nodes.items() if found],
        "elsewhere": [_thing_record(entity, thing) for entity, thing in things.items()
                      if thing.alerts and entity.kind in (EntityKind.NODE, EntityKind.TARGET)],
    }  # fmt: skip


def _gathered(latest: Iterable[tuple[SeriesKey, float, bool]]) -> dict[Entity, _Thing]:
    things: dict[Entity, _Thing] = {}
    for key, value, fresh in latest:
        shown = SHOWN.get(key.entity.kind)
        if shown is None:
            continue
        thing = things.setdefault(key.entity, _Thing())
        thing.heard |= fresh
        name = f"{key.signal}:{key.stat}" if key.stat else key.signal
        if fresh and name in shown:
            thing.numbers[name] = value
    return things


def _struck(entity: Entity, things: Mapping[Entity, _Thing]) -> Sequence[Entity]:
    """Things that an alert is about: the replicas of a target that is gone, else the entity itself."""
    if entity.kind is not EntityKind.TARGET:
        return (entity,)
    place = (entity.label("job"), entity.label("instance"))
    found = [one for one in things
             if one.kind is EntityKind.REPLICA and (one.label("job"), one.label("instance")) == place]  # fmt: skip
    return found or (entity,)


def _given(replica: Entity, gpus: Mapping[str, Sequence[Entity]], tenancy: Tenancy) -> list[Entity]:
    return [gpu for gpu in gpus.get(tenancy.node_of(replica), ()) if tenancy.holds(replica, gpu)]


def _host(replica: Entity) -> str:
    """Node of a replica: by label, else the host of its address."""
    return replica.label("node") or replica.label("instance").rpartition(":")[0].strip("[]")


def _thing_record(entity: Entity, thing: _Thing) -> ThingRecord:
    return {
        **entity_record(entity),
        "health": thing.health,
        "alerts": thing.alerts,
        "score": thing.score,
        "numbers": thing.numbers,
    }


def _group(node: str, members: Sequence[ThingRecord]) -> NodeRecord:
    return {"node": node, "health": worst(member["health"] for member in members), "gpus": members}


def _pool_record(
    pool: Entity, members: Sequence[Entity], below: Mapping[Entity, Sequence[Entity]], things: Mapping[Entity, _Thing]
) -> PoolRecord:
    replicas: list[ReplicaRecord] = []
    healths: list[Health] = []
    for replica in members:
        gpus = [_thing_record(gpu, things[gpu]) for gpu in below[replica]]
        replicas.append({**_thing_record(replica, things[replica]), "gpus": gpus})
        healths += [things[replica].health, *(things[gpu].health for gpu in below[replica])]
    own = things.get(pool) or _Thing(heard=True)
    return {**_thing_record(pool, own), "health": worst((own.health, *healths)), "replicas": replicas}
