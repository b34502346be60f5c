"""What is known around an incident: every series of the entities involved, before and now, and who belongs to whom.

Entities are related by labels: replicas to their pool, GPUs and nodes to the replicas of the same host. Who was given
which GPU goes before the host, where it is known.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from aiops.detect.base import Window
from aiops.detect.groups import group_of
from aiops.detect.policy import Floor
from aiops.diagnose.deviation import MOVED, Floats, Panel, deviation, onset, quantiles
from aiops.diagnose.traits import canonical
from aiops.signals.normalise import unit_of
from aiops.signals.tenancy import NO_TENANCY, Tenancy
from aiops.signals.topology import pool_of
from aiops.signals.types import Entity, EntityKind, Mark, SeriesKey

FAR = 3.0
"""Distance from which a series is said to have risen or fallen; floors make sure that it then matters to somebody."""
_LOST_ROWS, _KNOWN_ROWS, _SAMPLE = 2, 3, 512
LEAST_ROWS = 2
"""Rows that a window has at least: an incident is asked about as soon as it opens."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One series before and now.

    Attributes
    ----------
    expected, value, highest, last
        Median of the reference, median of the window, its largest and its newest known value; NaN when not known.
    up, down
        Distances from the reference, ≥ 0.
    occurred
        Some row since the guard gap began exceeds everything that the reference knows.
    lost
        Known in the reference, and unknown in the newest rows.
    onset
        UTC seconds at which it left its reference; NaN when that cannot be told.
    """

    key: SeriesKey
    unit: str
    expected: float
    value: float
    highest: float
    last: float
    up: float
    down: float
    occurred: bool
    lost: bool
    onset: float

    @property
    def known(self) -> bool:
        """Both periods have a number, so that it can be said whether it moved."""
        return self.expected == self.expected and self.value == self.value


@dataclass(frozen=True, slots=True)
class Periods:
    """Which rows of a window are which: the reference ends before a guard gap, the rest is what is looked at.

    Attributes
    ----------
    reference
        First row and row after the last one.
    guard
        Row where the gap begins; events count from here.
    start
        First row that is looked at; the newest is the last.
    """

    reference: tuple[int, int]
    guard: int
    start: int

    @classmethod
    def around(cls, window: Window, since: float, *, guard_seconds: float, reference_seconds: float) -> "Periods":
        """Periods for trouble that was noticed at ``since`` (UTC seconds)."""
        rows, step = len(window.values), window.step_seconds
        noticed = rows - 1 - round((window.now - since) / step)
        start = max(0, min(noticed, rows - LEAST_ROWS))
        sample = window.values[:start, :: max(1, window.values.shape[1] // _SAMPLE)]
        awake = np.isfinite(sample).any(axis=1)
        first = int(np.argmax(awake)) if awake.any() else start
        # Where little is known, a gap must not swallow it all.
        guard = start - min(round(guard_seconds / step), (start - first) // 4)
        return cls((max(first, guard - round(reference_seconds / step)), guard), guard, start)


class Scene:
    """Facts by entity and by (signal, statistic), and marks, from the rows of one window."""

    def __init__(
        self,
        facts: Mapping[Entity, Mapping[tuple[str, str], Fact]],
        marks: Sequence[Mark],
        tenancy: Tenancy = NO_TENANCY,
    ) -> None:
        self.facts = facts
        self.tenancy = tenancy
        self.marks = marks
        self._hosts: dict[str, list[Entity]] = {}
        for entity in facts:
            self._hosts.setdefault(self._host(entity), []).append(entity)

    def fact(self, entity: Entity, signal: str, stat: str) -> Fact | None:
        """One series; None when there is none."""
        return self.facts.get(entity, {}).get((signal, stat))

    def of_kind(self, kind: EntityKind) -> list[Entity]:
        """All entities of a kind."""
        return [entity for entity in self.facts if entity.kind is kind]

    def peers(self, entity: Entity) -> list[Entity]:
        """Those that do the same work, without itself."""
        group = group_of(entity)
        if group is None:
            return []
        return [one for one in self.of_kind(entity.kind) if one != entity and group_of(one) == group]

    def near(self, entity: Entity, kind: EntityKind) -> list[Entity]:
        """Entities of a kind that belong together with ``entity``: along pool and host, at most replica in between."""
        if entity.kind is kind:
            return [entity]
        if entity.kind is EntityKind.POOL:
            replicas = [one for one in self.of_kind(EntityKind.REPLICA) if pool_of(one) == entity]
            if kind is EntityKind.REPLICA:
                return replicas
            return list(dict.fromkeys(other for one in replicas for other in self.near(one, kind)))
        host = self._host(entity)
        same_host = [one for one in self._hosts.get(host, ()) if host and together(one, entity, self.tenancy)]
        if kind is EntityKind.POOL:
            replicas = [entity] if entity.kind is EntityKind.REPLICA else same_host
            pools = dict.fromkeys(pool_of(one) for one in replicas if one.kind is EntityKind.REPLICA)
            return [pool for pool in pools if pool in self.facts]
        return [one for one in same_host if one.kind is kind]

    def _host(self, entity: Entity) -> str:
        return self.tenancy.node_of(entity) or host_of(entity)

    def marks_of(self, entities: Iterable[Entity]) -> list[Mark]:
        """Marks of any of these entities."""
        wanted = set(entities)
        return [mark for mark in self.marks if mark.entity in wanted]


@lru_cache(maxsize=65_536)
def host_of(entity: Entity) -> str:
    """Machine that an entity is on: its node, else the host part of its instance; empty for pools."""
    node = entity.label("node")
    if node or entity.kind is EntityKind.POOL:
        return node
    return entity.label("instance").rpartition("//")[2].rpartition(":")[0].strip("[]")


def together(one: Entity, other: Entity, tenancy: Tenancy) -> bool:
    """Whether two entities of a host may have to do with each other: not a GPU and a replica with another GPU."""
    if {one.kind, other.kind} != {EntityKind.GPU, EntityKind.REPLICA}:
        return True
    gpu, replica = (one, other) if one.kind is EntityKind.GPU else (other, one)
    return tenancy.holds(replica, gpu) is not False


def involved(entities: Iterable[Entity], members: Iterable[Entity], tenancy: Tenancy = NO_TENANCY) -> set[Entity]:
    """Of ``entities`` those that have to do with ``members``: the same pool, or a host that serves it."""

    def on(entity: Entity) -> str:
        return tenancy.node_of(entity) or host_of(entity)

    known = list(entities)
    members = set(members)
    hosts = {on(entity) for entity in members} - {""}
    pools = {_pool(entity) for entity in members}
    pools |= {_pool(entity) for entity in known if on(entity) in hosts}
    hosts |= {on(entity) for entity in known if _pool(entity) in pools - {None}} - {""}
    return members | {entity for entity in known if on(entity) in hosts or _pool(entity) in pools - {None}}


def _pool(entity: Entity) -> Entity | None:
    return entity if entity.kind is EntityKind.POOL else pool_of(entity) if entity.kind is EntityKind.REPLICA else None


def columns_of(keys: Sequence[SeriesKey | None]) -> dict[Entity, list[int]]:
    """Columns of every entity. One pass over all series, which costs more than all that follows."""
    found: dict[Entity, list[int]] = {}
    for column, key in enumerate(keys):
        if key is not None:
            found.setdefault(key.entity, []).append(column)
    return found


def scene(
    window: Window,
    periods: Periods,
    columns: Sequence[int],
    *,
    marks: Sequence[Mark],
    floors: Mapping[str, Floor],
    tenancy: Tenancy = NO_TENANCY,
) -> Scene:
    """Look at some columns of a window, all of which have an owner.

    Parameters
    ----------
    floors
        Unit → what matters to anybody, as in ``models/detectors/anomaly.yaml``.
    """
    keys = [key for key in (window.keys[k] for k in columns) if key is not None]
    values = window.values[:, columns].astype(np.float64)
    panel = panel_of(window, periods, keys, values, floors)
    found = deviation(panel)
    guard = values[periods.guard :]
    expected, value = quantiles(panel.reference, (0.5,))[0], quantiles(panel.window, (0.5,))[0]
    highest, most, before = (_highest(rows) for rows in (panel.window, guard, panel.reference))
    occurred: NDArray[np.bool_] = (most > 0) & (most > np.maximum(before, 0.0))
    told = np.isfinite(panel.reference).sum(axis=0) >= _KNOWN_ROWS
    lost: NDArray[np.bool_] = told & ~np.isfinite(values[-_LOST_ROWS:]).any(axis=0)
    distance = _distance(guard, found.level, found.scale)
    outside: NDArray[np.bool_] = np.abs(np.nan_to_num(distance)) >= MOVED
    moved = np.asarray(outside.any(axis=0))
    times = _times(window, len(guard))
    facts: dict[Entity, dict[tuple[str, str], Fact]] = {}
    for k, key in enumerate(keys):
        known = panel.window[np.isfinite(panel.window[:, k]), k]
        facts.setdefault(key.entity, {})[key.signal, key.stat] = Fact(
            key=key,
            unit=unit_of(key),
            expected=float(expected[k]),
            value=float(value[k]),
            highest=float(highest[k]) if len(known) else np.nan,
            last=float(known[-1]) if len(known) else np.nan,
            up=float(found.up[k]),
            down=float(found.down[k]),
            occurred=bool(occurred[k]),
            lost=bool(lost[k]),
            onset=onset(distance[:, k], times) if moved[k] else np.nan,
        )
    return Scene(facts, marks, tenancy)


def _highest(rows: Floats) -> Floats:
    """Largest known value of every column; −∞ where nothing is known."""
    highest: Floats = np.where(np.isfinite(rows), rows, -np.inf).max(axis=0, initial=-np.inf)
    return highest


def panel_of(
    window: Window, periods: Periods, keys: Sequence[SeriesKey], values: Floats, floors: Mapping[str, Floor]
) -> Panel:
    """The same as a panel for ranking; entities and metrics are their text."""
    first, last = periods.reference
    reference, looked_at = values[first:last], values[periods.start :]
    awake = np.isfinite(reference).any(axis=1)
    reference = reference[np.argmax(awake) :] if awake.any() else np.full((1, values.shape[1]), np.nan)
    return Panel(
        entities=tuple(str(key.entity) for key in keys),
        metrics=tuple(f"{key.signal}:{key.stat}" if key.stat else key.signal for key in keys),
        traits=tuple(canonical(key.signal, key.stat, floors.get(unit_of(key)), far=FAR) for key in keys),
        reference=reference,
        window=looked_at,
        times=_times(window, len(looked_at)),
    )


def _times(window: Window, rows: int) -> Floats:
    return window.now - window.step_seconds * np.arange(rows - 1, -1, -1, dtype=np.float64)


def _distance(rows: Floats, level: Floats, scale: Floats) -> Floats:
    away = rows - level
    distance: Floats = np.where(scale > 0, away / np.where(scale > 0, scale, 1.0), np.sign(away) * FAR)
    return distance
