"""What each detector of the bank is good for on a simulated fleet: prints one JSON document.

Fleets of four replicas on eight GPUs (``aiops.lab.rig``) run healthily for 22 minutes and are then struck for three
minutes by a fault of ``aiops.lab.incidents``. Banks with all detectors, without each of them, and with one of them
alone see the very same ticks; models are fitted from what came so far, as in the daemon. Only statistical rules count.

Per bank: the share of the faults for which a rule fired (K of N points) within the three minutes, how soon, and with a
series of what was struck (the replica, its GPUs, its host); alerts on healthy fleets per fleet-hour; faults missed. The
isolation forest raises no alert by design, so it has numbers of its own: how often the struck replica, or one of its
GPUs, has the highest vote of its kind after the onset, beside the share that chance gives; the same for the largest
vote of the detectors that judge series.

Usage: ``python benchmarks/ablation.py [seeds]``
"""

import json
import sys
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from unittest import mock

import numpy as np

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
from aiops.signals.types import Entity, EntityKind
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


class Fleet:
    """A rig whose ticks every bank sees."""

    def __init__(self, seed: int) -> None:
        self.rig = Rig(seed, REPLICAS)
        self.ring = Ring(720, STEP_SECONDS, max_series=5000, ttl_seconds=3600.0)
        self.pools = Pools()
        self.watchers: dict[str, Watcher] = {}
        for name, chosen in variants().items():
            with mock.patch.object(bank_module, "DETECTORS", {one: DETECTORS[one] for one in chosen}):
                bank = Bank(DetectSettings(), presets.anomaly_policy(), presets.rulebook())
            self.watchers[name] = Watcher(bank)

    def tick(self) -> dict[str, set[AlertKey]]:
        readings, statuses = self.rig.step()
        pools = self.pools.reading(readings, self.rig.now, {status.source: status.up for status in statuses})
        self.ring.append(self.rig.now, [*readings, pools], elapsed_seconds=STEP_SECONDS)
        window = self.ring.window()
        return {
            name: watcher.began(watcher.bank.step(window, self.rig.now, statuses, (), ()))
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


@dataclass
class Tally:
    """Of one bank, over all fleets."""

    found: Counter[str] = field(default_factory=Counter)
    named: int = 0
    false: int = 0
    ticks: list[int] = field(default_factory=list)


def struck(rig: Rig, victim: int) -> set[Entity]:
    return {rig.servers[victim].entity, rig.hosts[victim].entity, *(gpu.entity for gpu in rig.gpus[victim])}


def first(votes: Mapping[Entity, float], victims: set[Entity]) -> bool:
    """Whether the most suspicious replica, or the most suspicious GPU, is one of those."""
    for kind in (EntityKind.REPLICA, EntityKind.GPU):
        table = {entity: vote for entity, vote in votes.items() if entity.kind is kind}
        if table and max(table, key=table.__getitem__) in victims:
            return True
    return False


def rehearse(story: str, seed: int, tallies: Mapping[str, Tally]) -> tuple[bool, bool]:
    """Strike one fleet; whether the forest, and the others, suspected the victim most."""
    fleet, choice = Fleet(seed), np.random.default_rng((seed, 7))
    victim, force = int(choice.integers(REPLICAS)), float(choice.uniform())
    victims = struck(fleet.rig, victim)
    for tick in range(QUIET_TICKS):
        for name, alerts in fleet.tick().items():
            tallies[name].false += len(alerts) * (tick >= YOUNG_TICKS)
        if tick in FIT_TICKS:
            fleet.fit()
    told: dict[str, set[AlertKey]] = {name: set() for name in tallies}
    sums: tuple[Counter[Entity], Counter[Entity]] = (Counter(), Counter())
    for tick in range(FAULT_TICKS):
        STORIES[story](Strike(fleet.rig, victim, force, tick * STEP_SECONDS))
        for name, alerts in fleet.tick().items():
            if alerts and not told[name]:
                tallies[name].ticks.append(tick + 1)
            told[name] |= alerts
        for total, votes in zip(sums, fleet.votes(), strict=True):
            total.update(votes)
    for name, alerts in told.items():
        tallies[name].found[story] += bool(alerts)
        tallies[name].named += any(key.series.entity in victims for key in alerts)
    return first(sums[0], victims), first(sums[1], victims)


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
            {"fleets": fleets, "banks": dict(report(tallies, fleets)), "victim suspected most": suspected}, indent=2
        )
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 1)
