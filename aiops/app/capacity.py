"""Capacity beside the tick: gathers rows on the loop, thinks in a thread, keeps the newest advice for whoever asks.

A step takes some tenths of a second per pool and is never waited for: detection goes on, a step that has not ended when
the next is due is left out and counted, and advice that is too old is not given out. Nothing here scales anything.
"""

import asyncio
import json
import logging
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aiops.app.advice_view import exhaustion_record, point_record, track_record, waste_record
from aiops.app.load_fits import LoadFits
from aiops.app.pool_rows import Gatherer, PoolRows, gateway_queue, own_pools, stuck_replicas, throttled_share
from aiops.capacity.arima import Arima
from aiops.capacity.exhaustion import Exhaustion, time_to_exhaustion
from aiops.capacity.follow import Followed, Track
from aiops.capacity.lead import Lead, lead_of
from aiops.capacity.observed import COLUMNS, NAN, History
from aiops.capacity.scaling import Memory, Recommendation, Situation, recommend
from aiops.capacity.settings import CapacitySettings, PoolLimits
from aiops.capacity.waste import Waste, waste_of
from aiops.incidents.alert import Alert
from aiops.kit.clock import Clock
from aiops.kit.log import OnChange
from aiops.notify.notice import rfc3339
from aiops.signals.telemetry import Family, FamilyKind
from aiops.signals.topology import pool_name
from aiops.signals.types import Entity, EntityKind, Mark, MarkKind, SeriesKey
from aiops.store.codec import Codec
from aiops.store.ring import Ring
from aiops.web.records_advice import AdviceRecord

_LOG = logging.getLogger("aiops.app.capacity")
_VERSION = 1
_TRACKS = Codec(Track)
_RUNS_OUT = ("memory_available", "disk_available", "gpu_mem_free")
_MOST_SILENT = 64


class Silence(NamedTuple):
    """A time without advice, in UTC seconds, and why; the reason is the newest one."""

    begun: float
    ended: float
    reason: str


@dataclass(frozen=True, slots=True)
class Past:
    """What a snapshot knows of a pool.

    Attributes
    ----------
    needed
        UTC seconds → replicas that were advised then.
    constraint
        What limited the pool last; empty when nothing was advised yet.
    """

    pool: Entity
    history: History
    starts: Sequence[float]
    needed: Mapping[float, float] = field(default_factory=dict)
    silent: Sequence[Silence] = ()
    track: Track = field(default_factory=Track)
    wishes: Sequence[tuple[float, int]] = ()
    constraint: str = ""


@dataclass(slots=True)
class Pool:
    """Everything kept of one pool."""

    name: str
    memory: Memory = field(default_factory=Memory)
    track: Track = field(default_factory=Track)
    advice: Recommendation | None = None
    needed: dict[float, float] = field(default_factory=dict)
    silent: list[Silence] = field(default_factory=list)
    waste: Waste | None = None
    lead: Lead = field(default_factory=lambda: lead_of(None, (), 0.0))
    kv: Exhaustion = field(default_factory=Exhaustion)


class Capacity:
    """Advises on every pool. All methods belong to one event loop.

    Attributes
    ----------
    steps, skipped, failures
        Steps done; left out because the one before still ran; ended by an error.
    step_seconds
        Duration of the last one.
    """

    def __init__(self, settings: CapacitySettings, clock: Clock) -> None:
        self.settings = settings
        self._clock = clock
        self._gatherer = Gatherer(settings.step, round(settings.history / settings.step))
        self._pools: dict[Entity, Pool] = {}
        self._running: asyncio.Future[list[Mark]] | None = None
        self._faults = OnChange(_LOG, clock.monotonic)
        self.loads = LoadFits(self._histories, clock)
        self.stocks: dict[SeriesKey, Exhaustion] = {}
        self.steps = 0
        self.skipped = 0
        self.failures = 0
        self.step_seconds = NAN

    def configure(self, settings: CapacitySettings) -> None:
        """Take other settings; the form of the histories and the rhythm wait for a restart."""
        kept = {name: getattr(self.settings, name) for name in ("step", "history", "interval", "enabled")}
        self.settings = settings.model_copy(update=kept)

    async def step(self, ring: Ring, alerts: Collection[Alert] = ()) -> list[Mark]:
        """Look at every pool once; returns marks of what was advised and of how earlier advice did.

        ``alerts`` tell which replicas are stuck.

        Raises
        ------
        Exception
            Whatever the computation raised; the supervisor of the loop counts it.
        """
        if self._running is not None and not self._running.done():
            self.skipped += 1
            return []
        began, now = self._clock.monotonic(), self._clock.now()
        self._gatherer.gather(ring, lambda pool: self._limits(pool).lead_time)
        rows = dict(self._gatherer.pools)
        window = ring.window()
        throttled = throttled_share(window) if len(rows) == 1 else NAN
        stocks = {
            key: ring.history(key)
            for key in window.keys
            if key is not None and key.signal in _RUNS_OUT and not key.stat
        }
        pools = {pool: self._pools.setdefault(pool, Pool(pool_name(pool))) for pool in own_pools(rows)}
        stuck = {pool: stuck_replicas(alerts, pool) for pool in pools}
        models = dict(self.loads.models)

        def think() -> list[Mark]:
            marks = [
                mark
                for pool, kept in pools.items()
                for mark in self._advise(
                    pool,
                    kept,
                    rows[pool],
                    now,
                    throttled=throttled,
                    waiting=gateway_queue(rows, pool),
                    stuck=stuck[pool],
                    arima=models.get(kept.name, ()),
                )
            ]
            self.stocks = {
                key: time_to_exhaustion(past.at, -past.values.astype(np.float64), 0.0) for key, past in stocks.items()
            }
            return marks

        self._running = asyncio.get_running_loop().run_in_executor(None, think)
        try:
            marks = await asyncio.shield(self._running)
        except Exception:
            self.failures += 1
            raise
        self._pools = pools
        for kept in pools.values():
            reason = kept.advice.reason if kept.advice is not None and kept.advice.desired is None else ""
            self._faults.report(f"advice on {kept.name}", reason and "none is given", reason=reason)
        self.steps += 1
        self.step_seconds = self._clock.monotonic() - began
        return marks

    def _advise(
        self,
        pool: Entity,
        kept: Pool,
        rows: PoolRows,
        now: float,
        *,
        throttled: float,
        waiting: float,
        stuck: tuple[str, ...],
        arima: tuple[Arima, ...],
    ) -> Iterator[Mark]:
        """One pool; runs in the thread and touches nothing but its arguments."""
        limits = self._limits(pool)
        kept.lead = rows.lead(limits.lead_time)
        history = rows.history
        for scored in kept.track.score(history, now, slo_seconds=limits.wait_slo):
            yield Mark(MarkKind.RECOMMENDATION, pool, now, str(scored))
        replicas = history.standing("replicas")
        situation = Situation(
            now, 0 if isnan(replicas) else int(replicas), kept.lead.seconds,
            tuple((max(0.0, at - now), 1) for at in rows.coming), rows.doubts, rows.unresolved, throttled, waiting,
            stuck, arima,
        )  # fmt: skip
        silent = kept.advice is not None and kept.advice.desired is None
        advice = kept.advice = recommend(history, situation, kept.memory, self.settings, limits)
        kept.silent = silences(kept.silent, advice, goes_on=silent)
        kept.kv = time_to_exhaustion(
            np.arange(min(len(history), 240), dtype=np.float64) * history.step_seconds,
            history.column("kv_use")[-240:],
            1.0,
        )
        if len(history) and advice.desired is not None:
            kept.needed[history.end] = float(advice.desired)
        kept.needed = {at: need for at, need in kept.needed.items() if at > history.end - self.settings.history}
        kept.waste = waste_of(
            history, _needed(history, kept.needed, self.settings.interval), gpus_per_replica=limits.gpus_per_replica,
            price_per_hour=limits.price_per_hour, floor=limits.min_replicas,
        )  # fmt: skip
        if kept.track.remember(advice) is not None and advice.desired != advice.replicas:
            yield Mark(MarkKind.RECOMMENDATION, pool, now, f"{advice.replicas} → {advice.desired}: {advice.reason}")

    def _limits(self, pool: Entity) -> PoolLimits:
        return self.settings.of(pool_name(pool), pool.label("pool"))

    def leads(self) -> dict[Entity, Lead]:
        """How long a new replica of each pool takes until it serves, and how that is known."""
        return {pool: kept.lead for pool, kept in self._pools.items()}

    def run_outs(self) -> dict[SeriesKey, Exhaustion]:
        """When the KV cache of each pool, and memory and disk of each host, are used up."""
        kv = {SeriesKey(pool, "kv_use"): kept.kv for pool, kept in self._pools.items()}
        return {**kv, **self.stocks}

    def _histories(self) -> dict[str, History]:
        return {pool_name(pool): rows.history for pool, rows in self._gatherer.pools.items()}

    def records(self) -> list[AdviceRecord]:
        """Every pool, by name, also those without advice."""
        pools = sorted(self._pools.items(), key=lambda item: item[1].name)
        return [self._record(pool, kept, kept.advice) for pool, kept in pools if kept.advice is not None]

    def record(self, name: str) -> tuple[AdviceRecord | None, str]:
        """One pool by its name, or by its first part where that is enough; with why its number must not be used.

        Returns
        -------
        The record (None when there is no such pool), and the reason; empty when the number may be used.
        """
        found = self._find(name)
        if isinstance(found, str):
            return None, found
        pool, kept = found
        if kept.advice is None:
            return None, "nothing was computed yet"
        return self._record(pool, kept, kept.advice), self._unusable(kept.advice)

    def advised(self, name: str) -> tuple[Entity, Recommendation] | str:
        """Advice on a pool that may be followed now, or why there is none."""
        found = self._find(name)
        if isinstance(found, str):
            return found
        pool, kept = found
        if kept.advice is None:
            return "nothing was computed yet"
        return self._unusable(kept.advice) or (pool, kept.advice)

    def _find(self, name: str) -> tuple[Entity, Pool] | str:
        found = [(pool, kept) for pool, kept in self._pools.items() if kept.name == name]
        found = found or [(pool, kept) for pool, kept in self._pools.items() if pool.label("pool") == name]
        if not found:
            return f"no pool {name!r}; there are {', '.join(kept.name for kept in self._pools.values()) or 'none'}"
        if len(found) > 1:
            return f"{name!r} is {len(found)} pools: {', '.join(kept.name for _, kept in found)}"
        return found[0]

    def _unusable(self, advice: Recommendation) -> str:
        age = self._clock.now() - advice.at
        if age > self.settings.stale_after:
            return f"the recommendation is {age:.0f} s old"
        return advice.reason if advice.desired is None else ""

    def _record(self, pool: Entity, kept: Pool, advice: Recommendation) -> AdviceRecord:
        limits = self._limits(pool)
        usable = not self._unusable(advice)
        binding = advice.binding
        return {
            "pool": kept.name,
            "labels": dict(pool.labels),
            "desired_replicas": advice.desired if usable else None,
            "current_replicas": advice.replicas,
            "ready_replicas": advice.ready,
            "abstained": not usable,
            "reason": self._unusable(advice) or advice.reason,
            "held": list(advice.held),
            "at": rfc3339(advice.at),
            "slo": {"wait_seconds": limits.wait_slo, "target": limits.slo_target},
            "probability": advice.probability,
            "probability_now": advice.probability_now,
            "binding": {
                "constraint": str(binding.limit),
                "evidence": list(binding.evidence),
                "relieved_by_replicas": binding.relieved_by_replicas,
                "advice": binding.advice,
            },
            "curve": [point_record(point, limits.price_per_hour) for point in advice.curve],
            "ahead": [{"seconds": seconds, "replicas": count} for seconds, count in advice.ahead],
            "mmc_floor_replicas": advice.floor,
            "burst_premium_replicas": advice.burst_premium,
            "model": advice.model,
            "model_error_ratio": advice.error_ratio,
            "model_errors": dict(advice.errors),
            "forecast": {
                "method": advice.method, "now_per_second": advice.load_now, "high_per_second": advice.load_high
            },
            "lead_seconds": advice.lead_seconds,
            "lead_known_by": kept.lead.why,
            "assumed": advice.assumed,
            "kv_exhaustion": exhaustion_record(kept.kv),
            "waste": None if kept.waste is None else waste_record(kept.waste),
            "track": track_record(kept.track),
        }  # fmt: skip

    def families(self) -> Iterable[Family]:
        """Advice as gauges. What must not be used is left out: a missing series is an error, a 0 is a decision."""
        given = [(pool, kept, kept.advice) for pool, kept in self._pools.items() if kept.advice is not None]
        used = [(pool, kept, advice) for pool, kept, advice in given if not self._unusable(advice)]

        def gauge(name: str, help_: str, values: Iterable[tuple[Entity, float, Mapping[str, str]]]) -> Family:
            rows = [({**dict(pool.labels), **more}, value) for pool, value, more in values if not isnan(value)]
            return Family(name, FamilyKind.GAUGE, help_, rows)

        yield gauge("aiops_recommended_replicas", "Replicas to have; absent while there is no advice.",
                    ((pool, float(advice.desired or NAN), {}) for pool, _, advice in used))  # fmt: skip
        yield gauge("aiops_current_replicas", "Replicas that exist.",
                    ((pool, float(advice.replicas), {}) for pool, _, advice in given))  # fmt: skip
        yield gauge("aiops_replica_ratio", "Recommended over current replicas.",
                    ((pool, (advice.desired or NAN) / max(1, advice.replicas), {})
                     for pool, _, advice in used))  # fmt: skip
        yield gauge("aiops_slo_probability", "Share of requests expected in time with the replicas of now.",
                    ((pool, advice.probability_now, {}) for pool, _, advice in used))  # fmt: skip
        yield gauge("aiops_capacity_model_error_ratio",
                    "Factor by which the model that decides missed the waits of the last hour.",
                    ((pool, advice.error_ratio, {}) for pool, _, advice in given))  # fmt: skip
        yield gauge("aiops_capacity_backtest_error_ratio", "Factor by which each model missed the waits of an hour.",
                    ((pool, error, {"model": model}) for pool, _, advice in given
                     for model, error in advice.errors.items()))  # fmt: skip
        yield gauge("aiops_capacity_model_info", "The model that decides, as a label.",
                    ((pool, 1.0, {"model": advice.model}) for pool, _, advice in given if advice.model))  # fmt: skip
        yield gauge("aiops_binding_constraint_info", "What limits the pool, as a label.",
                    ((pool, 1.0, {"constraint": str(advice.binding.limit)}) for pool, _, advice in given))  # fmt: skip
        yield gauge("aiops_capacity_abstained", "1 while there is no advice for the pool.",
                    ((pool, float(bool(self._unusable(advice))), {}) for pool, _, advice in given))  # fmt: skip
        yield Family("aiops_recommendation_outcomes", FamilyKind.COUNTER, "Recommendations by what was done with them.",
                     [({**dict(pool.labels), "outcome": str(name)}, float(kept.track.counts[name]))
                      for pool, kept, _ in given for name in Followed])  # fmt: skip
        yield gauge("aiops_recommendation_error_ratio", "Mean distance between the stated chance and what came.",
                    ((pool, kept.track.mean_error, {}) for pool, kept, _ in given))  # fmt: skip
        yield gauge("aiops_kv_exhaustion_seconds", "Time until the KV cache is full; absent when not surely so.",
                    ((pool, kept.kv.seconds, {}) for pool, kept, _ in given))  # fmt: skip
        yield gauge("aiops_exhaustion_seconds", "Time until memory or disk is used up; absent when not surely so.",
                    ((key.entity, found.seconds, {"signal": key.signal})
                     for key, found in self.stocks.items()))  # fmt: skip
        yield gauge("aiops_kv_exhaustion_soonest_seconds", "Earliest that the KV cache may be full, 95 % interval.",
                    ((pool, kept.kv.soonest_seconds, {}) for pool, kept, _ in given))  # fmt: skip
        yield gauge("aiops_exhaustion_soonest_seconds", "Earliest that memory or disk may be used up, 95 % interval.",
                    ((key.entity, found.soonest_seconds, {"signal": key.signal})
                     for key, found in self.stocks.items()))  # fmt: skip
        yield Family("aiops_capacity_steps", FamilyKind.COUNTER, "Capacity steps, by how they ended.",
                     [({"outcome": name}, float(count)) for name, count in
                      (("done", self.steps), ("skipped", self.skipped), ("failed", self.failures))])  # fmt: skip

    def state(self) -> dict[str, NDArray[np.generic]]:
        """What outlives the process: histories, and what was advised, also what waits for its time. Names begin with
        ``fixed_``: nothing is per column."""
        arrays: dict[str, NDArray[np.generic]] = {}
        heads: list[dict[str, object]] = []
        for place, (pool, rows) in enumerate(self._gatherer.pools.items()):
            kept = self._pools.get(pool) or Pool(pool_name(pool))
            heads.append({
                "labels": list(pool.labels), "end": rows.history.end, "starts": rows.starts, "silent": kept.silent,
                "track": _TRACKS.dump(kept.track), "wishes": list(kept.memory.wishes),
                "constraint": str(kept.advice.binding.limit) if kept.advice else "",
            })  # fmt: skip
            arrays[f"fixed_history_{place}"] = rows.history.values.astype(np.float32)
            arrays[f"fixed_needed_{place}"] = np.array(list(kept.needed.items()), np.float64).reshape(-1, 2)
        head = {"version": _VERSION, "columns": COLUMNS, "step": self.settings.step, "pools": heads}
        arrays["fixed_head"] = np.frombuffer(json.dumps(head).encode(), np.uint8)
        return arrays

    def restore(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Continue from :meth:`state`; of another version or step nothing is taken.

        Raises
        ------
        ValueError
            When the arrays are not what they say.
        """
        for past in pasts(arrays):
            if past.history.step_seconds == self.settings.step:
                self._gatherer.pools[past.pool] = PoolRows(past.history, starts=list(past.starts))
                self._pools[past.pool] = Pool(
                    pool_name(past.pool),
                    Memory(deque(past.wishes)),
                    past.track,
                    needed=dict(past.needed),
                    silent=list(past.silent),
                )


def silences(known: Sequence[Silence], advice: Recommendation, *, goes_on: bool) -> list[Silence]:
    """Times without advice after one more look; ``goes_on``: the look before brought none."""
    *earlier, last = known or [Silence(advice.at, advice.at, "")]
    if goes_on and known:
        return [*earlier, Silence(last.begun, advice.at, advice.reason if advice.desired is None else last.reason)]
    if advice.desired is None:
        return [*known, Silence(advice.at, advice.at, advice.reason)][-_MOST_SILENT:]
    return list(known)


def pasts(arrays: Mapping[str, NDArray[np.generic]]) -> list[Past]:
    """Read :meth:`Capacity.state`; empty when it is of another version.

    Raises
    ------
    ValueError, KeyError, TypeError
        When the arrays are not what they say.
    """
    head = json.loads(arrays["fixed_head"].tobytes())
    if head["version"] != _VERSION or head["columns"] != list(COLUMNS):
        return []
    found = []
    for place, one in enumerate(head["pools"]):
        values = arrays[f"fixed_history_{place}"].astype(np.float64)
        if values.ndim != 2 or values.shape[1] != len(COLUMNS):
            raise ValueError(f"history {place} has shape {values.shape}; expected rows of {len(COLUMNS)}")
        needed = arrays.get(f"fixed_needed_{place}", np.empty((0, 2))).astype(np.float64)
        found.append(Past(
            Entity(EntityKind.POOL, tuple((str(name), str(value)) for name, value in one["labels"])),
            History(float(head["step"]), float(one["end"]), values),
            [float(took) for took in one["starts"]],
            dict(needed.tolist()),
            [Silence(float(begun), float(ended), str(why)) for begun, ended, why in one.get("silent", ())],
            _TRACKS.load(one["track"]) if "track" in one else Track(),
            [(float(at), int(count)) for at, count in one.get("wishes", ())],
            str(one.get("constraint", "")),
        ))  # fmt: skip
    return found


def _needed(history: History, advised: Mapping[float, float], reach_seconds: float) -> NDArray[np.float64]:
    """float64 [n]: what was advised at or shortly before each interval; NaN where nothing was."""
    at = history.end - history.step_seconds * np.arange(len(history) - 1, -1, -1)
    times = np.array(sorted(advised))
    if not len(times):
        return np.full(len(history), np.nan)
    values = np.array([advised[time] for time in times.tolist()])
    place = np.searchsorted(times, at + 1e-3, side="right") - 1
    fresh = (place >= 0) & (at - times[np.maximum(place, 0)] <= 2.0 * reach_seconds)
    return np.where(fresh, values[np.maximum(place, 0)], np.nan)
