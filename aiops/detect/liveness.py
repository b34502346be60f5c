"""Is the source itself alive: gone, frozen, its driver hung, its GPU lost.

Time is counted in ticks since a source's stamps last moved, not by comparing clocks: a wall clock that jumps
or a daemon that slept makes nobody dead. An event (a GPU fell off the bus) holds until the thing shows life
again, because the source tells it once.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aiops.detect.base import AlertKey, Look, Part, Verdict, Window
from aiops.detect.rules import Judgement, Rule
from aiops.signals.types import Entity, Labels, Mark, MarkKind, SeriesKey, SourceStatus

WHOLE = "up"
"""In place of a signal in the series of an alert that is about the whole entity."""
DOWN_FAILURES = 2
"""Failed attempts in a row that make a source gone: one may be a hiccup, two are two scrapes."""
DOWN_INTERVALS = 2.5
"""Silence that makes a source gone even when nobody reports a failure (a hung read), in its own intervals."""
STALE_INTERVALS = 5.0
STALE_SECONDS = 60.0
"""An answer that is the same for both of these, while requests run, is frozen."""
NVML = "nvml"
"""Kind of the source whose silence is the driver's."""
OWN_VERDICT = frozenset({"probe", "files"})
"""Kinds of sources that say by a signal of their own what is wrong (``probe_up``, ``files_intact``): a rule watches
it, and a second alert about the same failure would only be noise."""

_OF_MARK = {
    MarkKind.GPU_LOST: Judgement.GPU_LOST,
    MarkKind.GPU_DRIVER_UNRESPONSIVE: Judgement.DRIVER_UNRESPONSIVE,
}
_LOAD = ("running", "queue_len")


@dataclass(slots=True)
class _Seen:
    """What was seen of a source, and for how many ticks it has not moved."""

    success_at: float = math.nan
    change_at: float = math.nan
    silent_ticks: int = 0
    same_ticks: int = 0

    def tick(self, status: SourceStatus) -> None:
        self.silent_ticks = 0 if status.last_success != self.success_at else self.silent_ticks + 1
        self.same_ticks = 0 if status.last_change != self.change_at else self.same_ticks + 1
        self.success_at, self.change_at = status.last_success, status.last_change


class _Held(NamedTuple):
    """An event that still holds, and when its source had last answered when it was told (0 = no such source)."""

    mark: Mark
    answered_at: float


class Liveness:
    """Judges sources and holds events.

    Parameters
    ----------
    rules
        Rules; those with a condition are left out.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = {rule.judgement: rule for rule in rules if rule.judgement is not None}
        self._seen: dict[str, _Seen] = {}
        self._held: dict[tuple[Judgement, Entity], _Held] = {}
        self._tick: _Tick | None = None

    def evaluate(
        self,
        window: Window,
        sources: Sequence[SourceStatus],
        marks: Sequence[Mark],
        columns: Mapping[Entity, NDArray[np.intp]],
    ) -> list[tuple[AlertKey, Verdict]]:
        """Judge this tick; call once per tick. ``columns`` are those of each entity in the window."""
        tick = self._tick = _Tick(window, sources, columns)
        before = self._seen
        self._seen = {}
        for status in sources:
            seen = before.get(status.source) or _Seen()
            seen.tick(status)
            self._seen[status.source] = seen
        found = list(self._events(tick, marks))
        for status in sources:
            found += self._down(tick, status)
            found += self._stale(tick, status)
        return found

    def looks(self, rule: str) -> Iterator[Look]:
        """What a rule about sources saw of each in the last :meth:`evaluate`."""
        tick = self._tick
        for status in () if tick is None else tick.sources:
            seen = self._seen[status.source]
            key = AlertKey(rule, SeriesKey(status.entity, WHOLE))
            parts: tuple[Part, ...]
            if rule == self._name(Judgement.SOURCE_STALE):
                same = seen.same_ticks * tick.window.step_seconds if tick is not None else math.nan
                limit = max(STALE_SECONDS, STALE_INTERVALS * status.interval_seconds)
                parts = (
                    Part(f"the same answer for {limit:.0f} s", same >= limit),
                    Part("under load", tick is not None and tick.loaded(status.entity)),
                )
                yield Look(key, self._said(key, parts), parts, {"same_answer_seconds": same})
            elif rule == self._name(_silence(status)) and status.kind not in OWN_VERDICT:
                silent = seen.silent_ticks * tick.window.step_seconds if tick is not None else math.nan
                limit = DOWN_INTERVALS * status.interval_seconds
                failing, quiet = status.failures >= DOWN_FAILURES, silent > limit
                parts = (
                    Part(f"{DOWN_FAILURES} failed attempts in a row, or silence for {limit:.3g} s", failing or quiet),
                )
                values = {"failed_attempts": float(status.failures), "silent_seconds": silent}
                yield Look(key, self._said(key, parts), parts, values, status.error)

    def _said(self, key: AlertKey, parts: Sequence[Part]) -> bool | None:
        broken = all(part.holds for part in parts)
        return broken or (False if self.known(key) else None)

    def known(self, key: AlertKey) -> bool:
        """Whether anything could be said about this alert in the last :meth:`evaluate`.

        After a restart an event is forgotten: until the entity shows life its alert is unknown, not fine.
        """
        tick, entity = self._tick, key.series.entity
        if tick is None:
            return False
        if key.rule == self._name(Judgement.GPU_LOST) and tick.alive(entity):
            return True
        of_it = [status for status in tick.sources if status.entity == entity]
        if key.rule == self._name(Judgement.SOURCE_STALE):
            return any(_may_be_stale(status) for status in of_it)
        # Not asked yet, or failed once: neither down nor back. After a restart that must not resolve anything.
        return any(
            key.rule == self._name(_silence(status)) and _may_be_down(status) and _settled(status) for status in of_it
        )

    def _name(self, judgement: Judgement) -> str:
        rule = self._rules.get(judgement)
        return "" if rule is None else rule.name

    def _down(self, tick: "_Tick", status: SourceStatus) -> Iterator[tuple[AlertKey, Verdict]]:
        rule = self._rules.get(_silence(status))
        if rule is None or not _may_be_down(status):
            return
        failed = status.failures >= DOWN_FAILURES
        silent = self._seen[status.source].silent_ticks * tick.window.step_seconds
        if failed or silent > DOWN_INTERVALS * status.interval_seconds:
            why = f"{status.failures} failed attempts in a row" if failed else f"silent for {silent:.0f} s"
            reason = f"{status.kind} source {status.source}: {why}{_said(status.error)}"
            yield AlertKey(rule.name, SeriesKey(status.entity, WHOLE)), _verdict(rule, reason)

    def _stale(self, tick: "_Tick", status: SourceStatus) -> Iterator[tuple[AlertKey, Verdict]]:
        rule = self._rules.get(Judgement.SOURCE_STALE)
        same = self._seen[status.source].same_ticks * tick.window.step_seconds
        if rule is None or same < max(STALE_SECONDS, STALE_INTERVALS * status.interval_seconds):
            return
        # The page of an idle engine may rightly stand still: it must say itself that it works.
        if _may_be_stale(status) and tick.loaded(status.entity):
            reason = f"source {status.source} gave the same answer for {same:.0f} s under load"
            yield AlertKey(rule.name, SeriesKey(status.entity, WHOLE)), _verdict(rule, reason)

    def _events(self, tick: "_Tick", marks: Sequence[Mark]) -> Iterator[tuple[AlertKey, Verdict]]:
        fresh = {(_OF_MARK[mark.kind], mark.entity): mark for mark in marks if mark.kind in _OF_MARK}
        self._held = {place: held for place, held in self._held.items() if not tick.over(place[1], held.answered_at)}
        for place, mark in fresh.items():
            self._held[place] = _Held(mark, tick.answered_at(mark.entity))
        for (judgement, entity), held in self._held.items():
            rule = self._rules.get(judgement)
            if rule is not None:
                yield AlertKey(rule.name, SeriesKey(entity, WHOLE)), _verdict(rule, held.mark.detail)


@dataclass(frozen=True, slots=True)
class _Tick:
    """Questions about this tick's window and sources."""

    window: Window
    sources: Sequence[SourceStatus]
    columns: Mapping[Entity, NDArray[np.intp]]
    loads: dict[tuple[str, ...], set[Labels]] = field(default_factory=dict)
    """Label names → those labels of every entity under load; filled when somebody asks."""

    def alive(self, entity: Entity) -> bool:
        """The entity has a value now."""
        columns = self.columns.get(entity)
        return columns is not None and bool(np.isfinite(self.window.values[-1, columns]).any())

    def answered_at(self, entity: Entity) -> float:
        """When the driver of this GPU or node answered last; 0 where no source speaks for it."""
        of_it = (s for s in self.sources if s.kind == NVML and set(s.entity.labels) <= set(entity.labels))
        return max((status.last_success for status in of_it), default=0.0)

    def over(self, entity: Entity, answered_at: float) -> bool:
        """The driver answered anew (and had nothing to say), or without one: the entity has a value."""
        now = self.answered_at(entity)
        return now != answered_at if now else self.alive(entity)

    def loaded(self, entity: Entity) -> bool:
        """Something that belongs to this target (it has the target's labels and more) runs or queues requests."""
        names = tuple(name for name, _ in entity.labels)
        if names not in self.loads:
            self.loads[names] = {
                tuple((name, key.entity.label(name)) for name in names)
                for column, key in enumerate(self.window.keys)
                if key is not None and key.signal in _LOAD and self.window.values[-1, column] > 0
            }
        return entity.labels in self.loads[names]


def _silence(status: SourceStatus) -> Judgement:
    """What it means when this source says nothing."""
    return Judgement.DRIVER_UNRESPONSIVE if status.kind == NVML else Judgement.SOURCE_DOWN


def _may_be_down(status: SourceStatus) -> bool:
    """A machine that never had a GPU has no driver to lose."""
    if status.kind in OWN_VERDICT:
        return False
    return status.kind != NVML or status.last_success > 0 or status.failures >= DOWN_FAILURES


def _settled(status: SourceStatus) -> bool:
    """It answers, or it is down for sure."""
    return status.up or status.failures >= DOWN_FAILURES


def _may_be_stale(status: SourceStatus) -> bool:
    return status.up and status.last_change > 0


def _verdict(rule: Rule, reason: str) -> Verdict:
    return Verdict(
        rule.name, rule.severity, score=1.0, value=0.0, summary=rule.summary, reason=reason, runbook=rule.runbook
    )


def _said(error: str) -> str:
    return f": {error}" if error else ""
