"""From the ring to the rows that capacity works on: which columns belong to which pool, and what an interval said.

Belongs to the event loop, because the ring does; copies a few hundred numbers and computes nothing that takes time.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from aiops.capacity.constraint import RECENT_SECONDS
from aiops.capacity.lead import Lead, lead_of
from aiops.capacity.observed import NAN, History, believable
from aiops.detect.base import Window
from aiops.incidents.alert import Alert
from aiops.signals.topology import fronts, is_gateway, pool_of
from aiops.signals.types import Entity, EntityKind, SeriesKey
from aiops.store.ring import Latest, Ring

Floats = NDArray[np.float64]

_PLAIN = (
    "arrivals", "finished", "rejected", "running", "queue_len", "max_running", "tokens_in", "tokens_out", "kv_use",
    "kv_capacity", "preemptions", "replicas", "ready",
)  # fmt: skip
_STATS = {
    "queue_wait": ("queue_time", "mean"), "queue_rate": ("queue_time", "rate"), "itl": ("itl", "mean"),
    "ttft": ("ttft", "mean"), "prefill": ("prefill_time", "mean"), "service": ("service_time", "mean"),
    "prompt_len": ("prompt_len", "mean"), "gen_len": ("gen_len", "mean"),
}  # fmt: skip
_ROLES = ("arrivals", "running", "queue_len", "ready")
_LONGEST_START_SECONDS = 3600.0
_STARTS = 10
_FORGOTTEN_SECONDS = 3600.0
STUCK_RULES = ("EngineStuck", "EngineIdleWithQueue")


@dataclass(frozen=True, slots=True)
class _Layout:
    """Columns of one pool: by history column, and by signal of each replica."""

    columns: Mapping[str, int]
    replicas: Mapping[Entity, Mapping[str, int]]


@dataclass(slots=True)
class PoolRows:
    """Rows of one pool as they grow, and what is known of it besides.

    Attributes
    ----------
    since
        Replica → when it was first seen; of those that were there at the start it says nothing.
    starts
        Seconds from start to serving of the newest replicas.
    coming
        UTC seconds at which each replica that exists and does not serve is expected to.
    """

    history: History
    doubts: tuple[str, ...] = ()
    unresolved: tuple[str, ...] = ()
    level: Mapping[str, float] = field(default_factory=dict)
    since: dict[Entity, float] = field(default_factory=dict)
    starts: list[float] = field(default_factory=list)
    coming: list[float] = field(default_factory=list)

    def lead(self, told: float | None) -> Lead:
        """How long a new replica takes; ``told`` is what people set."""
        return lead_of(told, self.starts, self.history.step_seconds)


class Gatherer:
    """Keeps the rows of every pool up to date.

    Parameters
    ----------
    step_seconds
        Length of an interval; at least a tick.
    most
        Rows kept of each pool.
    """

    def __init__(self, step_seconds: float, most: int) -> None:
        self._step = step_seconds
        self._most = most
        self._keys: Sequence[SeriesKey | None] = ()
        self._layouts: dict[Entity, _Layout] = {}
        self.pools: dict[Entity, PoolRows] = {}

    def gather(self, ring: Ring, told: Callable[[Entity], float | None]) -> None:
        """Add the intervals that are complete since the last call; the first call takes all that the window holds.

        ``told`` gives the lead time that people set for a pool.
        """
        window, latest = ring.window(), ring.latest()
        if window.keys is not self._keys:
            self._keys, self._layouts = window.keys, _layouts(window.keys)
        oldest = window.now - _FORGOTTEN_SECONDS
        self.pools = {p: rows for p, rows in self.pools.items() if p in self._layouts or rows.history.end > oldest}
        for pool, layout in self._layouts.items():
            rows = self.pools.setdefault(pool, PoolRows(History(self._step)))
            rows.unresolved = tuple(name for name in _ROLES if name not in layout.columns)
            self._extend(rows, layout, window)
            self._follow(rows, layout, latest, window.now, told(pool))

    def _extend(self, rows: PoolRows, layout: _Layout, window: Window) -> None:
        each = max(1, round(self._step / window.step_seconds))
        ago = window.now - rows.history.end if len(rows.history) else float("inf")
        count = int(min(ago / self._step + 1e-6, len(window.values) // each))
        if not count:
            return
        self._doubt(rows, layout, window, min(ago, self._most * self._step))
        bounds = [len(window.values) - each * place for place in range(count, -1, -1)]
        for place, (first, last) in enumerate(pairwise(bounds)):
            block = np.asarray(window.values[first:last], dtype=np.float64)
            row = _row(block, layout)
            if not len(rows.history) and np.isnan(row["replicas"]) and np.isnan(row.get("running", NAN)):
                continue  # the pool was not there yet
            end = window.now - self._step * (count - 1 - place)
            rows.history = rows.history.extended(self._believed(rows, row), end, most=self._most)

    def _doubt(self, rows: PoolRows, layout: _Layout, window: Window, elapsed_seconds: float) -> None:
        """Look at each replica's queue; what the first look finds is believed, there is nothing to hold it against."""
        queues = {
            replica.label("instance") or str(replica): float(window.values[-1, columns["queue_len"]])
            for replica, columns in layout.replicas.items()
            if "queue_len" in columns
        }
        if not rows.level:
            rows.level = {name: queue for name, queue in queues.items() if queue < 1e6}
        fastest = rows.history.column("arrivals")
        known = fastest[~np.isnan(fastest)]
        pace = float(np.quantile(known, 0.999)) if len(known) else NAN
        belief = believable(queues, rows.level, fastest=pace, elapsed_seconds=elapsed_seconds)
        rows.level, rows.doubts = belief.level, belief.doubts

    def _believed(self, rows: PoolRows, row: dict[str, float]) -> dict[str, float]:
        """The row without what nobody can believe: a forged queue also makes forged arrivals, by conservation."""
        if rows.doubts:
            row["queue_len"] = min(row["queue_len"], sum(rows.level.values()))
        seen = rows.history.column("arrivals")
        known = seen[~np.isnan(seen)]
        if len(known) >= 20 and row.get("arrivals", NAN) > 100.0 / self._step + 20.0 * float(np.quantile(known, 0.999)):
            row["arrivals"] = NAN
        return row

    def _follow(self, rows: PoolRows, layout: _Layout, latest: Latest, now: float, told: float | None) -> None:
        """Learn how long starts take, and when replicas that do not serve yet will."""
        fresh = [replica for replica in layout.replicas if replica not in rows.since]
        began_here = not rows.since
        for replica in fresh:
            rows.since[replica] = now
            column = layout.replicas[replica].get("start_time")
            took = NAN if column is None else now - float(latest.values[column])
            if not began_here and self._step < took < _LONGEST_START_SECONDS:
                rows.starts = [*rows.starts, took][-_STARTS:]
        rows.since = {replica: at for replica, at in rows.since.items() if replica in layout.replicas}
        missing = rows.history.standing("replicas") - rows.history.standing("ready")
        count = int(missing) if missing > 0.0 else 0
        rows.coming = rows.coming[-count:] if count else []
        rows.coming += [now + rows.lead(told).seconds] * (count - len(rows.coming))


def own_pools(pools: Collection[Entity]) -> list[Entity]:
    """All but the views that gateways have of pools which are there themselves."""
    behind = [pool for pool in pools if not is_gateway(pool)]
    return [pool for pool in pools if not (is_gateway(pool) and any(fronts(pool, other) for other in behind))]


def gateway_queue(pools: Mapping[Entity, PoolRows], pool: Entity) -> float:
    """Requests that waited in the last two minutes in pools of the same model that run nothing themselves: gateways."""
    model = pool.label("model_name")
    found = [
        rows.history.recent("queue_len", RECENT_SECONDS)
        for other, rows in pools.items()
        if other != pool and other.label("model_name") == model and np.isnan(rows.history.now("running"))
    ]
    known = [value for value in found if not np.isnan(value)]
    return sum(known) if known else NAN


def stuck_replicas(alerts: Iterable[Alert], pool: Entity) -> tuple[str, ...]:
    """Replicas of a pool that hold requests and make no progress, by the rules that say so."""
    found = {one.key.series.entity for one in alerts if one.active and one.key.rule in STUCK_RULES}
    return tuple(sorted(one.label("instance") or str(one) for one in found if pool_of(one) == pool))


def throttled_share(window: Window) -> float:
    """Share of the GPUs whose clocks were held for most of the last minute; NaN without GPUs."""
    columns = [
        column for column, key in enumerate(window.keys)
        if key is not None and key.entity.kind is EntityKind.GPU and key.signal == "gpu_throttle"
    ]  # fmt: skip
    if not columns:
        return NAN
    rows = max(1, round(60.0 / window.step_seconds))
    means = _means(np.asarray(window.values[-rows:][:, columns], dtype=np.float64))
    known = means[~np.isnan(means)]
    return float((known >= 0.5).mean()) if len(known) else NAN


def _layouts(keys: Sequence[SeriesKey | None]) -> dict[Entity, _Layout]:
    wanted = {(name, ""): name for name in _PLAIN} | {stat: name for name, stat in _STATS.items()}
    columns: dict[Entity, dict[str, int]] = {}
    replicas: dict[Entity, dict[Entity, dict[str, int]]] = {}
    for column, key in enumerate(keys):
        if key is None:
            continue
        if key.entity.kind is EntityKind.POOL:
            pool = columns.setdefault(key.entity, {})
            if (key.signal, key.stat) in wanted:
                pool[wanted[key.signal, key.stat]] = column
        elif key.entity.kind is EntityKind.REPLICA and not key.stat:
            replicas.setdefault(pool_of(key.entity), {}).setdefault(key.entity, {})[key.signal] = column
    return {
        pool: _Layout(found, {r: c for r, c in replicas.get(pool, {}).items() if "running" in c or "queue_len" in c})
        for pool, found in columns.items()
    }


def _row(block: Floats, layout: _Layout) -> dict[str, float]:
    names, places = list(layout.columns), list(layout.columns.values())
    row = dict(zip(names, _means(block[:, places]).tolist(), strict=True))
    held = [
        block[:, [columns[name] for name in ("running", "queue_len") if name in columns]].sum(axis=1)
        for columns in layout.replicas.values()
    ]
    if held:
        means = _means(np.stack(held, axis=1))
        known = means[~np.isnan(means)]
        if len(known):
            row |= {"idle": float((known == 0.0).sum()), "busiest": float(known.max())}
    # A replica count in between is a change; the newest one is what stands.
    for name in ("replicas", "ready"):
        counts = block[:, layout.columns[name]] if name in layout.columns else np.empty(0)
        counts = counts[~np.isnan(counts)]
        row[name] = float(counts[-1]) if len(counts) else NAN
    return row


def _means(values: Floats) -> Floats:
    """Mean of what is known of each column; NaN where nothing is."""
    known = ~np.isnan(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    answer: Floats = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return answer
