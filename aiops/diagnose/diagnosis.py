"""From a window and an incident to a diagnosis: ranking, signatures, evidence. Pure, and bounded in work."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np
from numpy.typing import NDArray

from aiops.detect.base import Window
from aiops.detect.policy import Floor
from aiops.diagnose.causes import NO_PRIORS, Fit, match, ruled_out
from aiops.diagnose.correlate import Alert, rank
from aiops.diagnose.evidence import Ledger
from aiops.diagnose.record import Candidate, Cause, Diagnosis, RuledOut
from aiops.diagnose.scene import Periods, Scene, columns_of, host_of, involved, panel_of, scene, together
from aiops.diagnose.signature import CauseBook
from aiops.signals.tenancy import NO_TENANCY, Tenancy
from aiops.signals.topology import pool_of
from aiops.signals.types import Entity, EntityKind, Mark, MarkKind, SeriesKey

SIGNATURES = "signatures"
"""Name of the ranker where known faults fit; else that of the ranking stands alone."""
GUARD_SECONDS, _REFERENCE_SECONDS = 60.0, 1800.0
_MOST_SERIES, _MOST_CANDIDATES, _MOST_CAUSES, _MOST_CHANGES = 2000, 12, 5, 8
_LEAST_CONFIDENCE = 0.5
_CHANGE_SECONDS = 1800.0
_CHANGES = frozenset({MarkKind.DEPLOY, MarkKind.VERSION_CHANGED, MarkKind.RESTARTED})
_SILENT_SHARE = 0.5
_MOST_SOURCES, _MOST_OF_SOURCE = 64, 64
"""Sources, and series of each, that are looked at to see whether most of them went silent."""
_FELT = (("ttft", "mean"), ("itl", "mean"), ("e2e", "mean"), ("queue_len", ""), ("errors", ""))
"""What users notice; told about the pools whatever the cause."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be explained.

    Attributes
    ----------
    since
        UTC seconds at which the first alert saw it.
    series
        What alerted; the first one leads.
    """

    incident: str
    since: float
    series: tuple[SeriesKey, ...]


def diagnose(
    question: Question,
    window: Window,
    book: CauseBook,
    *,
    marks: Sequence[Mark],
    floors: Mapping[str, Floor],
    priors: Mapping[str, float] = NO_PRIORS,
    tenancy: Tenancy = NO_TENANCY,
) -> Diagnosis:
    """Explain an incident from what the ring holds.

    Parameters
    ----------
    marks
        Events that are known, of whatever age.
    floors
        Unit → what matters to anybody.
    priors
        By how much feedback moves a cause in the order.
    tenancy
        Who was given which GPU, where that is known.
    """
    periods = Periods.around(window, question.since, guard_seconds=GUARD_SECONDS, reference_seconds=_REFERENCE_SECONDS)
    start = window.now - window.step_seconds * (len(window.values) - 1 - periods.start)
    recent = [m for m in marks if start - GUARD_SECONDS <= m.at <= window.now]
    ledger = Ledger(start, window.now)
    columns = columns_of(window.keys)
    fault = telemetry_fault(window, periods, columns)
    if fault:
        return _told(question, window, "none", ledger, reason=fault, abstained=True)
    entities = _entities(question, columns, recent, tenancy)
    chosen = [column for entity in entities for column in columns.get(entity, ())]
    found = scene(window, periods, chosen, marks=recent, floors=floors, tenancy=tenancy)
    matches = match(book, found, priors)
    fits = [fit for fit in matches.fits if fit.confidence >= _LEAST_CONFIDENCE][:_MOST_CAUSES]
    causes = tuple(_cause(fit, ledger) for fit in fits)
    changes = _changes(marks, entities, start)
    for mark in changes:
        ledger.mark(mark)
    ranker, candidates = _candidates(question, window, periods, found, chosen, floors=floors, ledger=ledger)
    _impact(found, ledger)
    excluded = tuple(
        RuledOut(one.signature.id, one.reason, (*map(ledger.series, one.facts), *map(ledger.mark, one.marks)))
        for one in ruled_out(matches)
    )
    reason = _reason(causes, candidates)
    return _told(
        question, window, SIGNATURES if causes else ranker, ledger, reason=reason, abstained=not causes,
        causes=causes, candidates=candidates, excluded=excluded, changes=changes,
    )  # fmt: skip


def _entities(
    question: Question, columns: Mapping[Entity, Sequence[int]], marks: Sequence[Mark], tenancy: Tenancy
) -> list[Entity]:
    """Who is looked at: all that is involved, and where that is too much those that are closest to the alerts."""
    sizes = {mark.entity: 0 for mark in marks} | {entity: len(own) for entity, own in columns.items()}
    members = [key.entity for key in question.series]
    hosts, found = {host_of(one) for one in members} - {""}, involved(sizes, members, tenancy)
    order = sorted(
        found,
        key=lambda one: (one not in members, one.kind is not EntityKind.POOL, host_of(one) not in hosts, str(one)),
    )
    kept: list[Entity] = []
    room = _MOST_SERIES
    for entity in order:
        room -= sizes.get(entity, 0)
        if room < 0 and kept:
            break
        kept.append(entity)
    return kept


def _told(
    question: Question,
    window: Window,
    ranker: str,
    ledger: Ledger,
    *,
    reason: str,
    abstained: bool,
    causes: tuple[Cause, ...] = (),
    candidates: tuple[Candidate, ...] = (),
    excluded: tuple[RuledOut, ...] = (),
    changes: tuple[Mark, ...] = (),
) -> Diagnosis:
    return Diagnosis(
        incident=question.incident,
        at=window.now,
        ranker=ranker,
        candidates=candidates,
        causes=causes,
        ruled_out=excluded,
        changes=changes,
        evidence=tuple(ledger.entries),
        abstained=abstained,
        reason=reason,
    )


def _reason(causes: Sequence[Cause], candidates: Sequence[Candidate]) -> str:
    if causes:
        return f"{causes[0].title}, at {causes[0].entity}"
    if candidates:
        one = candidates[0]
        return f"no known fault fits; what moved most is {one.signal} of {one.entity}"
    return "no known fault fits, and nothing left its reference"


def _cause(fit: Fit, ledger: Ledger) -> Cause:
    signature = fit.signature
    return Cause(
        id=signature.id,
        title=signature.title,
        entity=fit.entity,
        confidence=round(fit.confidence, 3),
        evidence=(*map(ledger.mark, fit.marks), *map(ledger.series, fit.facts)),
        fix=signature.fix,
        actions=signature.actions,
        runbook=signature.runbook,
    )


def _changes(marks: Sequence[Mark], entities: Collection[Entity], start: float) -> tuple[Mark, ...]:
    """What was changed before it began, newest first."""
    found = [
        mark
        for mark in marks
        if mark.kind in _CHANGES and mark.entity in entities and start - _CHANGE_SECONDS <= mark.at <= start + 1.0
    ]
    return tuple(sorted(found, key=lambda mark: -mark.at)[:_MOST_CHANGES])


def _candidates(
    question: Question,
    window: Window,
    periods: Periods,
    found: Scene,
    columns: Sequence[int],
    *,
    floors: Mapping[str, Floor],
    ledger: Ledger,
) -> tuple[str, tuple[Candidate, ...]]:
    """What deviated, by the general ranking along GPU → node → replica → pool."""
    keys = [key for key in (window.keys[k] for k in columns) if key is not None]
    panel = panel_of(window, periods, keys, window.values[:, columns].astype(np.float64), floors)
    first = question.series[0]
    metric = f"{first.signal}:{first.stat}" if first.stat else first.signal
    ranking = rank(panel, calls_among(found.facts, found.tenancy), Alert(str(first.entity), metric))
    candidates = []
    for one in ranking.candidates[:_MOST_CANDIDATES]:
        key = keys[one.column]
        fact = found.fact(key.entity, key.signal, key.stat)
        if fact is not None and max(fact.up, fact.down) > 1.0:
            candidates.append(
                Candidate(key.entity, key.signal, key.stat, one.direction, one.score, one.onset, ledger.series(fact))
            )
    return ranking.ranker, tuple(candidates)


def calls_among(entities: Collection[Entity], tenancy: Tenancy = NO_TENANCY) -> list[tuple[str, str]]:
    """(who suffers, through whom): pool → its replicas → their node and GPUs."""
    below: dict[str, list[Entity]] = {}
    for entity in entities:
        if entity.kind in (EntityKind.NODE, EntityKind.GPU):
            below.setdefault(host_of(entity), []).append(entity)
    pairs = []
    for replica in sorted((one for one in entities if one.kind is EntityKind.REPLICA), key=str):
        pairs.append((str(pool_of(replica)), str(replica)))
        host = tenancy.node_of(replica) or host_of(replica)
        here = [other for other in below.get(host, ()) if host and together(replica, other, tenancy)]
        pairs += [(str(replica), str(other)) for other in here]
    return pairs


def _impact(found: Scene, ledger: Ledger) -> None:
    for pool in found.of_kind(EntityKind.POOL):
        for signal, stat in _FELT:
            fact = found.fact(pool, signal, stat)
            if fact is not None and not isnan(fact.value) and max(fact.up, fact.down) > 1.0:
                ledger.series(fact)


def telemetry_fault(window: Window, periods: Periods, columns_of_entity: Mapping[Entity, Sequence[int]]) -> str:
    """Why the numbers themselves cannot be trusted; empty when they can.

    Most of what is watched going silent, or standing still to the last digit, in one moment is a fault of watching.
    """
    first, last = periods.reference
    reference = window.values[first:last]
    groups: dict[str, list[int]] = {}
    for entity, own in columns_of_entity.items():
        if entity.kind is not EntityKind.POOL:
            groups.setdefault(host_of(entity) + entity.label("instance"), []).extend(own)
    names = list(groups)[:: 1 + len(groups) // _MOST_SOURCES]
    groups = {name: groups[name][:_MOST_OF_SOURCE] for name in names}
    silent, frozen = 0, 0
    for columns in groups.values():
        before, now = reference[:, columns], window.values[periods.start :, columns]
        told = np.isfinite(before).sum(axis=0) > 0.5 * max(len(before), 1)
        moved = told & (_changes_by_row(before) > 0.5)
        still = np.isfinite(now).all(axis=0) & (_changes_by_row(now) == 0.0)
        silent += bool(told.any() and not np.isfinite(now[-2:, told]).any())
        frozen += bool(moved.sum() >= 2 and still[moved].all())
    if len(groups) > 1 and silent > _SILENT_SHARE * len(groups):
        return f"telemetry fault: {silent} of {len(groups)} sources went silent together, so nothing is blamed"
    if len(groups) > 1 and frozen > _SILENT_SHARE * len(groups):
        return f"telemetry fault: {frozen} of {len(groups)} sources repeat their last numbers, so nothing is blamed"
    return ""


def _changes_by_row(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Share of neighbouring known rows that differ, by column."""
    if len(values) < 2:
        return np.zeros(values.shape[1])
    steps = np.diff(values, axis=0)
    known = np.isfinite(steps)
    share: NDArray[np.float64] = (known & (steps != 0)).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return share
