"""What each detector of the bank is good for on simulated fleets: prints one JSON document.

Banks with all detectors, without each of them, and with one of them alone see the very same ticks; models are fitted
from what came so far, as in the daemon. Only statistical rules count, and an alert is K of N points.

* ``faults``: fleets of four replicas on eight GPUs (``aiops.lab.rig``) run healthily for 22 minutes and are then struck
  for three minutes by a fault of ``aiops.lab.incidents``. Per bank the share of faults found, how soon, and with a
  series of what was struck (the replica, its GPUs, its host); alerts on healthy fleets per fleet-hour; faults missed.
  The isolation forest raises no alert by design, so it has numbers of its own: how often the struck replica, or one
  of its GPUs, has the highest vote of its kind after the onset, beside the share that chance gives; the same for the
  largest vote of the detectors that judge series.
* ``situations``: series of one sort (:data:`SITUATIONS`), healthy for as long, of which every other one is then struck
  by something that is not out of the range it usually has. Share found within three minutes, how soon, false alerts.
* ``swings``: a fleet whose load doubles and comes back within ten minutes, with nothing wrong, and with one slow
  replica in the middle of it; and one that is struck in its third minute. False are alerts of other rules than that of
  the arrivals.

Usage: ``python benchmarks/ablation.py [seeds]``
"""

import json
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from aiops.app import presets
from aiops.detect import bank as bank_module
from aiops.detect.bank import ADVISORS, DETECTORS, SLOW, Bank
from aiops.detect.base import AlertKey, Verdicts
from aiops.detect.fit import solve
from aiops.detect.fitting import part, prefixed
from aiops.detect.settings import DetectSettings
from aiops.lab.incidents import STORIES, Strike
from aiops.lab.rig import STEP_SECONDS, Rig
from aiops.signals.topology import Pools
from aiops.signals.types import Columns, Entity, EntityKind, Reading, SeriesKey, SourceStatus
from aiops.store.ring import Ring

SEEN = (
    "gpu-thermal-throttle", "gpu-power-cap", "gpu-clock-low", "gpu-corrected-ecc", "noisy-neighbour", "traffic-surge",
    "traffic-drop", "long-prompts", "prefix-cache-drop", "kv-capacity-cut", "load-imbalance", "engine-errors",
    "engine-slow", "cpu-starvation", "prefill-slow", "network-fault",
)  # fmt: skip
"""Faults that show in numbers, not only in events."""
QUIET_TICKS, FAULT_TICKS, FIT_TICKS = 264, 36, (200,)
YOUNG_TICKS = 72
"""Ticks of a fleet's life in which nothing counts as false: everybody is learning."""
REPLICAS = 4
SERIES = 24
"""Series of a situation, each alone in its pool or node: peers have nothing to say of them."""
SWING_TICKS, YOUNG_FAULT = 120, 24
LOAD_RULE = "LLMArrivalRateAnomalous"
"""That the load moved is no false alert."""

Rows = NDArray[np.float64]


def _echo(rng: np.random.Generator, shape: tuple[int, int], memory: float) -> Rows:
    """First-order autoregression of unit variance."""
    rows = rng.standard_normal(shape)
    for index in range(1, len(rows)):
        rows[index] = memory * rows[index - 1] + np.sqrt(1 - memory**2) * rows[index]
    return rows


def _wave(rng: np.random.Generator, shape: tuple[int, int]) -> Rows:
    """50 to 70 degrees and back in ten minutes, at the bottom in the middle of the fault."""
    ticks = np.arange(shape[0])[:, None] - (QUIET_TICKS + FAULT_TICKS / 2)
    return 60 - 10 * np.cos(2 * np.pi * ticks / 120) + 0.4 * rng.standard_normal(shape)


def _sawtooth(rng: np.random.Generator, shape: tuple[int, int]) -> Rows:
    """A cache that fills for four minutes and is emptied, each at another time."""
    ticks = np.arange(shape[0])[:, None] + rng.integers(0, 48, shape[1])
    return 0.2 + 0.5 * (ticks % 48) / 48 + 0.01 * rng.standard_normal(shape)


def _batches(rng: np.random.Generator, shape: tuple[int, int]) -> Rows:
    """Requests per second, for one of every six minutes three times as many."""
    ticks = np.arange(shape[0])[:, None] + rng.integers(0, 72, shape[1])
    return rng.poisson(24 * np.where(ticks % 72 < 12, 3, 1)) / STEP_SECONDS


def _heat(rng: np.random.Generator, watts: Rows) -> Rows:
    """Temperatures that follow the power of the last minute, and then that power."""
    padded = np.concatenate([np.repeat(watts[:1], 11, axis=0), watts])
    minute = sum(padded[back : back + len(watts)] for back in range(12)) / 12
    return np.concatenate([25 + 0.07 * minute + 0.5 * rng.standard_normal(watts.shape), watts], axis=1)


def _warm(rng: np.random.Generator, shape: tuple[int, int]) -> Rows:
    """Power that wanders between 150 and 550 W, and the heat of it."""
    return _heat(rng, 350 + 80 * _echo(rng, shape, 0.98))


def _burst(rng: np.random.Generator, shape: tuple[int, int]) -> Rows:
    """From 200 W to 500 W at the moment at which others are struck, on every other one."""
    watts = 200 + 30 * _echo(rng, shape, 0.98)
    watts[-FAULT_TICKS:, ::2] += 300
    return _heat(rng, watts)


@dataclass(frozen=True, slots=True)
class Situation:
    """Series of one sort, and what befalls every other one: ``value · factor + more``, growing over some ticks.

    With a ``load`` its values follow as further columns; alerts about it do not count.
    """

    kind: EntityKind
    signal: str
    stat: str
    life: Callable[[np.random.Generator, tuple[int, int]], Rows]
    factor: float = 1.0
    more: float = 0.0
    growing: int = 1
    quiet: int = QUIET_TICKS
    load: str = ""

    def key(self, number: int, signal: str, stat: str = "") -> SeriesKey:
        labels = {"gpu": f"G{number}", "node": f"n{number}", "pool": f"p{number}", "instance": f"i{number}"}
        wanted = {EntityKind.GPU: ("gpu", "node"), EntityKind.POOL: ("pool",)}.get(self.kind, ("instance", "pool"))
        return SeriesKey(Entity.of(self.kind, **{name: labels[name] for name in wanted}), signal, stat)

    def columns(self) -> Columns:
        own = [self.key(number, self.signal, self.stat) for number in range(SERIES)]
        return Columns((*own, *(self.key(number, self.load) for number in range(SERIES if self.load else 0))))


SITUATIONS = {
    "wave of 10 minutes, too warm at its bottom": Situation(EntityKind.GPU, "gpu_temp", "", _wave, more=12),
    "wandering, a jump within its range": Situation(
        EntityKind.REPLICA, "kv_use", "", lambda rng, shape: 0.4 + 0.1 * _echo(rng, shape, 0.99), more=0.25
    ),
    "sawtooth, too full for its time": Situation(EntityKind.REPLICA, "kv_use", "", _sawtooth, more=0.3),
    "batches, a drop to a fifth": Situation(EntityKind.POOL, "arrivals", "", _batches, factor=0.2),
    "white noise, 2.5 deviations for good": Situation(
        EntityKind.REPLICA, "itl", "mean", lambda rng, shape: 0.05 + 0.006 * rng.standard_normal(shape), more=0.015
    ),
    "hot for its power, rises for 2 minutes": Situation(
        EntityKind.GPU, "gpu_temp", "", _warm, more=14, growing=24, load="gpu_power"
    ),
    "nothing wrong: a burst of work, and its heat": Situation(EntityKind.GPU, "gpu_temp", "", _burst, load="gpu_power"),
    "autocorrelated, rises for 2 minutes": Situation(
        EntityKind.GPU, "gpu_temp", "", lambda rng, shape: 60 + 2 * _echo(rng, shape, 0.97), more=20, growing=24
    ),
    "white noise, a step in the tenth minute": Situation(
        EntityKind.GPU, "gpu_temp", "", lambda rng, shape: 60 + 1.5 * rng.standard_normal(shape), more=14, quiet=114
    ),
}


def variants() -> dict[str, tuple[str, ...]]:
    """Banks by name; what takes days (``SLOW``) is in none, for it cannot show here."""
    names = tuple(name for name in DETECTORS if name not in SLOW)
    found = {"all": names}
    found |= {f"without {gone}": tuple(name for name in names if name != gone) for gone in names}
    return found | {f"{name} alone": (name,) for name in names if name not in ADVISORS}


@dataclass
class Watcher:
    """One bank, and which statistical alerts it raised."""

    bank: Bank
    recent: deque[set[AlertKey]] = field(default_factory=lambda: deque(maxlen=64))
    firing: set[AlertKey] = field(default_factory=set)

    def began(self, verdicts: Verdicts) -> set[AlertKey]:
        """Take in a tick; alerts that begin to fire."""
        self.recent.append({key for key, verdict in verdicts.breaches.items() if np.isfinite(verdict.expected)})
        now = set()
        for key in set().union(*self.recent):
            timing = self.bank.timing(key.rule)
            last = list(self.recent)[-timing.window_points :]
            if sum(key in tick for tick in last) >= timing.breach_points:
                now.add(key)
        new, self.firing = now - self.firing, now
        return new


class Banks:
    """Every bank, and the window that all of them see."""

    def __init__(self) -> None:
        self.ring = Ring(720, STEP_SECONDS, max_series=5000, ttl_seconds=3600.0)
        self.watchers: dict[str, Watcher] = {}
        for name, chosen in variants().items():
            with mock.patch.object(bank_module, "DETECTORS", {one: DETECTORS[one] for one in chosen}):
                bank = Bank(DetectSettings(), presets.anomaly_policy(), presets.rulebook())
            self.watchers[name] = Watcher(bank)

    def see(
        self, now: float, readings: Sequence[Reading], statuses: Sequence[SourceStatus]
    ) -> dict[str, set[AlertKey]]:
        """Alerts that begin with this tick, by bank."""
        self.ring.append(now, readings, elapsed_seconds=STEP_SECONDS)
        window = self.ring.window()
        return {
            name: watcher.began(watcher.bank.step(window, now, statuses, (), ()))
            for name, watcher in self.watchers.items()
        }

    def fit(self) -> None:
        """One round of the worker, for all banks: they saw the same."""
        window = self.ring.window()
        for detector in self.watchers["all"].bank.fitted():
            asked = detector.ask(window, 1000)
            if asked is None:
                continue
            found = part(solve(prefixed(asked, detector.name)), detector.name)
            for watcher in self.watchers.values():
                for same in watcher.bank.fitted():
                    if same.name == detector.name:
                        same.accept(window, found)

    def votes(self) -> tuple[dict[Entity, float], dict[Entity, float]]:
        """Largest vote about each entity now: of the isolation forest, and of the detectors that judge series."""
        scores = self.watchers["all"].bank.scores()
        assert scores is not None
        judges = np.fmax.reduce([vote for name, vote in scores.votes.items() if name not in ADVISORS])
        tables: tuple[dict[Entity, float], dict[Entity, float]] = ({}, {})
        for table, votes in zip(tables, (scores.votes["iforest"], judges), strict=True):
            for key, vote in zip(scores.keys, votes.tolist(), strict=True):
                if key is not None and np.isfinite(vote):
                    table[key.entity] = max(table.get(key.entity, 0.0), vote)
        return tables


class Fleet(Banks):
    """A rig whose ticks every bank sees."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.rig = Rig(seed, REPLICAS)
        self.pools = Pools()
        choice = np.random.default_rng((seed, 7))
        self.victim, self.force = int(choice.integers(REPLICAS)), float(choice.uniform())

    def tick(self) -> dict[str, set[AlertKey]]:
        readings, statuses = self.rig.step()
        pools = self.pools.reading(readings, self.rig.now, {status.source: status.up for status in statuses})
        return self.see(self.rig.now, [*readings, pools], statuses)

    def strike(self, story: str, tick: int) -> None:
        STORIES[story](Strike(self.rig, self.victim, self.force, tick * STEP_SECONDS))

    @property
    def victims(self) -> set[Entity]:
        """What is struck: the replica, its host, its GPUs."""
        rig, victim = self.rig, self.victim
        return {rig.servers[victim].entity, rig.hosts[victim].entity, *(gpu.entity for gpu in rig.gpus[victim])}


@dataclass
class Tally:
    """Of one bank, over all fleets."""

    found: Counter[str] = field(default_factory=Counter)
    named: int = 0
    false: int = 0
    ticks: list[int] = field(default_factory=list)


def first(votes: Mapping[Entity, float], victims: set[Entity]) -> bool:
    """Whether the most suspicious replica, or the most suspicious GPU, is one of those."""
    for kind in (EntityKind.REPLICA, EntityKind.GPU):
        table = {entity: vote for entity, vote in votes.items() if entity.kind is kind}
        if table and max(table, key=table.__getitem__) in victims:
            return True
    return False


def grow_up(fleet: Fleet, tallies: Mapping[str, Tally], demand: float = 1.0) -> None:
    """Let a fleet live healthily, and models be fitted."""
    fleet.rig.demand = demand
    for tick in range(QUIET_TICKS):
        for name, alerts in fleet.tick().items():
            tallies[name].false += len(alerts) * (tick >= YOUNG_TICKS)
        if tick in FIT_TICKS:
            fleet.fit()


def suffer(fleet: Fleet, story: str, ticks: Iterable[int], tallies: Mapping[str, Tally]) -> Iterator[int]:
    """Let a fault work and note who tells; a number for each tick, after it."""
    told: dict[str, set[AlertKey]] = {name: set() for name in tallies}
    for count, tick in enumerate(ticks):
        fleet.strike(story, tick)
        for name, alerts in fleet.tick().items():
            if alerts and not told[name]:
                tallies[name].ticks.append(count + 1)
            told[name] |= alerts
        yield count
    for name, alerts in told.items():
        tallies[name].found[story] += bool(alerts)
        tallies[name].named += any(key.series.entity in fleet.victims for key in alerts)


def rehearse(story: str, seed: int, tallies: Mapping[str, Tally]) -> tuple[bool, bool]:
    """Strike one fleet; whether the forest, and the others, suspected the victim most."""
    fleet = Fleet(seed)
    grow_up(fleet, tallies)
    sums: tuple[Counter[Entity], Counter[Entity]] = (Counter(), Counter())
    for _ in suffer(fleet, story, range(FAULT_TICKS), tallies):
        for total, votes in zip(sums, fleet.votes(), strict=True):
            total.update(votes)
    return first(sums[0], fleet.victims), first(sums[1], fleet.victims)


def befall(situation: Situation, seed: int) -> dict[str, dict[str, object]]:
    """Strike every other series of a situation."""
    rng, banks, now = np.random.default_rng(seed), Banks(), 1.7e9
    columns = situation.columns()
    harmless = situation.factor == 1 and not situation.more
    struck = set() if harmless else set(columns.keys[:SERIES:2])
    quiet = situation.quiet
    rows = situation.life(rng, (quiet + FAULT_TICKS, SERIES))
    grown = np.minimum(np.arange(1, FAULT_TICKS + 1) / situation.growing, 1)[:, None]
    hit = rows[quiet:, :SERIES:2]
    hit += grown * ((situation.factor - 1) * hit + situation.more)
    found: dict[str, dict[SeriesKey, int]] = {name: {} for name in banks.watchers}
    false: Counter[str] = Counter()
    for tick, row in enumerate(rows):
        for name, alerts in banks.see(now + tick * STEP_SECONDS, [Reading("all", now, columns, row)], ()).items():
            for key in alerts:
                if tick >= quiet and key.series in struck:
                    found[name].setdefault(key.series, tick - quiet + 1)
                elif tick >= YOUNG_TICKS and key.series.signal == situation.signal:
                    false[name] += 1
        if tick in FIT_TICKS:
            banks.fit()
    return {
        name: {
            "found": None if harmless else round(len(ticks) / (SERIES / 2), 2),
            "median seconds": float(np.median(list(ticks.values()))) * STEP_SECONDS if ticks else None,
            "false alerts": false[name],
        }
        for name, ticks in found.items()
    }


def swing(seeds: int) -> dict[str, dict[str, object]]:
    """Harmless swings, slowness in the middle of one, and slowness in a fleet's second minute."""
    names = variants()
    false: dict[str, Counter[str]] = {name: Counter() for name in names}
    slow, young = ({name: Tally() for name in names} for _ in range(2))
    for seed in range(1000, 1000 + seeds):
        fleet, half = Fleet(seed), SWING_TICKS // 2
        grow_up(fleet, slow, demand=0.5)
        for tick in range(SWING_TICKS):
            fleet.rig.demand = 0.75 - 0.25 * np.cos(2 * np.pi * tick / SWING_TICKS)
            for name, alerts in fleet.tick().items():
                false[name].update(key.rule for key in alerts if key.rule != LOAD_RULE)
        fleet = Fleet(seed + 500)
        grow_up(fleet, slow, demand=0.5)
        for tick in range(half):
            fleet.rig.demand = 0.75 - 0.25 * np.cos(2 * np.pi * tick / SWING_TICKS)
            fleet.tick()
        for _ in suffer(fleet, "engine-slow", range(FAULT_TICKS), slow):
            pass
        fleet = Fleet(seed + 700)
        for _ in range(YOUNG_FAULT):
            fleet.tick()
        for _ in suffer(fleet, "engine-slow", range(FAULT_TICKS), young):
            pass
    return {
        name: {
            "false alerts in swings": dict(false[name]),
            "slow in a swing, victim named": round(slow[name].named / seeds, 2),
            "slow when young, victim named": round(young[name].named / seeds, 2),
        }
        for name in names
    }


def report(tallies: Mapping[str, Tally], fleets: int) -> Iterator[tuple[str, dict[str, object]]]:
    hours = fleets * (QUIET_TICKS - YOUNG_TICKS) * STEP_SECONDS / 3600
    for name, tally in tallies.items():
        yield (
            name,
            {
                "found": round(sum(tally.found.values()) / fleets, 3),
                "victim named": round(tally.named / fleets, 3),
                "median seconds": float(np.median(tally.ticks)) * STEP_SECONDS if tally.ticks else None,
                "false alerts per fleet-hour": round(tally.false / hours, 2),
                "missed": {
                    story: fleets // len(SEEN) - tally.found[story]
                    for story in SEEN
                    if tally.found[story] < fleets // len(SEEN)
                },
            },
        )


def main(seeds: int) -> None:
    tallies = {name: Tally() for name in variants()}
    ranks = [
        rehearse(story, 100 * seed + number, tallies) for seed in range(seeds) for number, story in enumerate(SEEN)
    ]
    fleets = len(ranks)
    suspected = {
        "isolation forest": round(sum(forest for forest, _ in ranks) / fleets, 3),
        "the others": round(sum(others for _, others in ranks) / fleets, 3),
        "one or the other": round(sum(forest or others for forest, others in ranks) / fleets, 3),
        "chance": round(1 - (1 - 1 / REPLICAS) ** 2, 3),
    }
    print(
        json.dumps(
            {
                "fleets": fleets,
                "faults": dict(report(tallies, fleets)),
                "victim suspected most": suspected,
                "situations": {name: befall(situation, seeds) for name, situation in SITUATIONS.items()},
                "swings": swing(3 * seeds),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 1)
