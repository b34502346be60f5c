"""What the weekly review tells of budgets, replicas and GPUs: out of a daemon's snapshot and archive, offline."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import nan

import numpy as np
from numpy.typing import NDArray

from aiops.app.capacity import Past, pasts
from aiops.app.config import Config
from aiops.app.state import CAPACITY, SLO
from aiops.incidents.alert import Transition
from aiops.incidents.slo import Budget, Ledger
from aiops.render.review_parts import DAY, Advised, Gpu, Span, Spent, lasted
from aiops.signals.topology import pool_name
from aiops.signals.types import Entity, EntityKind, Mark, MarkKind
from aiops.store import snapshot
from aiops.store.ring import RingState

_BIN_SECONDS = 6 * 3600.0
_CHECKS = {
    "Xid": ("gpu_xid",),
    "ECC": ("gpu_ecc",),
    "throttling": ("gpu_throttle",),
    "row remap": ("gpu_row_remap", "gpu_retired"),
}
"""Kind of trouble → beginnings of the signals that show it."""
_OTHER = "other"


@dataclass(frozen=True, slots=True)
class Kept:
    """What a snapshot says; ``at`` is NaN and ``problem`` says why when there is none."""

    at: float = nan
    budgets: Sequence[Spent] = ()
    pools: Sequence[Advised] = ()
    ring: RingState | None = None
    problem: str = ""


@dataclass(slots=True)
class _Found:
    """What the period brought to one GPU."""

    spans: list[tuple[str, str, Span]] = field(default_factory=list)
    xids: list[str] = field(default_factory=list)


def kept_of(config: Config, since: float, until: float) -> Kept:
    """Read the snapshot of a daemon, which may run."""
    loaded = snapshot.peek(config.store.snapshot_path)
    if loaded.snapshot is None:
        return Kept(problem=loaded.problem)
    moment, problems = loaded.snapshot, []
    budgets: Sequence[Spent] = ()
    pools: Sequence[Advised] = ()
    try:
        if (spent := moment.states.get(SLO)) is not None:
            ledger = Ledger(config.slo)
            ledger.restore(spent.arrays)
            bins = int(min(until - since, config.slo.period) // _BIN_SECONDS) + 1
            budgets = [_spent(ledger, budget, bins) for budget in ledger.budgets()]
    except (ValueError, KeyError, TypeError) as error:
        problems.append(f"error budgets are not usable: {error}")
    try:
        if (advised := moment.states.get(CAPACITY)) is not None:
            pools = [_advised(past, since) for past in pasts(advised.arrays)]
    except (ValueError, KeyError, TypeError) as error:
        problems.append(f"histories of pools are not usable: {error}")
    return Kept(moment.saved_at, budgets, pools, moment.ring, "; ".join(problems))


def _spent(ledger: Ledger, budget: Budget, bins: int) -> Spent:
    one = budget.objective
    goal = f"without {one.of}" if one.threshold is None else f"of {one.of} within {one.threshold:g} s"
    return Spent(
        f"{100.0 * one.objective:.4g} % {goal}", pool_name(budget.pool), budget.total, budget.bad, budget.left_ratio,
        budget.burn[DAY], ledger.course(budget)[-bins:].tolist(),
    )  # fmt: skip


def _advised(past: Past, since: float) -> Advised:
    history = past.history
    at = history.end - history.step_seconds * np.arange(len(history) - 1, -1, -1, dtype=np.float64)
    inside = at >= since
    needed = sorted((at, count) for at, count in past.needed.items() if at >= since)
    return Advised(
        pool_name(past.pool),
        _steps(at[inside], history.column("replicas")[inside]),
        _gapped(needed, [(begun, ended) for begun, ended, _ in past.silent]),
        past.constraint,
        [(begun, ended, why) for begun, ended, why in past.silent if ended >= since],
        {str(name): count for name, count in past.track.counts.items()},
    )


def _steps(at: NDArray[np.float64], values: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Only the points beside a change, and the ends."""
    if not len(at):
        return []
    changes = np.flatnonzero(~((values[1:] == values[:-1]) | (np.isnan(values[1:]) & np.isnan(values[:-1])))) + 1
    places = sorted({0, *changes.tolist(), *(changes - 1).tolist(), len(at) - 1})
    return [(float(at[place]), float(values[place])) for place in places]


def _gapped(points: Sequence[tuple[float, float]], silent: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Advice as steps, and NaN where there was none."""
    if not points:
        return []
    found = [points[0]]
    for before, now in pairwise(points):
        gap = next((begun for begun, _ in silent if before[0] < begun <= now[0]), None)
        if gap is not None:
            found += [(gap, before[1]), (gap, nan)]
        if gap is not None or before[1] != now[1]:
            found.append(now)
    last = next((begun for begun, _ in silent if begun > points[-1][0]), None)
    found.append(points[-1])
    return found if last is None else [*found, (last, points[-1][1]), (last, nan)]


def gpus_of(ring: RingState | None, spans: Iterable[tuple[Transition, float]], marks: Iterable[Mark]) -> list[Gpu]:
    """Health of every GPU that is known, from what it reports, its alerts (with their ends, UTC seconds) and marks."""
    found: dict[Entity, _Found] = {}
    reported: dict[Entity, set[str]] = {}
    for key in ring.keys if ring is not None else ():
        if key.entity.kind is EntityKind.GPU:
            found.setdefault(key.entity, _Found())
            reported.setdefault(key.entity, set()).add(key.signal)
    for move, ended in spans:
        entity, alert = move.alert.key.series.entity, move.alert
        if entity.kind is EntityKind.GPU:
            span = Span(move.at, ended, str(alert.severity), alert.key.rule)
            found.setdefault(entity, _Found()).spans.append((_check(alert.key.series.signal), alert.key.rule, span))
    for mark in marks:
        if mark.entity.kind is EntityKind.GPU:
            one = found.setdefault(mark.entity, _Found())
            if mark.kind is MarkKind.XID:
                one.xids.append(mark.detail)
            else:
                what = str(mark.kind).replace("_", " ")
                one.spans.append((_OTHER, what, Span(mark.at, mark.at, "critical", what)))
    return [
        Gpu(entity.label("gpu") or str(entity), entity.label("node"), _checks(one, reported.get(entity, set())),
            [span for _, _, span in one.spans])
        for entity, one in sorted(found.items(), key=lambda item: str(item[0]))
    ]  # fmt: skip


def _check(signal: str) -> str:
    return next((check for check, begins in _CHECKS.items() if signal.startswith(begins)), _OTHER)


def _checks(one: _Found, reported: set[str]) -> Mapping[str, str]:
    told = {}
    for check in (*_CHECKS, _OTHER):
        rules: dict[str, list[Span]] = {}
        for kind, rule, span in one.spans:
            if kind == check:
                rules.setdefault(rule, []).append(span)
        words = [
            f"{len(spans)} × {rule}, {lasted(sum(s.ended - s.begun for s in spans))}" for rule, spans in rules.items()
        ]
        if check == "Xid" and one.xids:
            words.append(f"{len(one.xids)}: {', '.join(dict.fromkeys(one.xids))}")
        seen = reported if check == _OTHER else [name for name in reported if name.startswith(_CHECKS[check])]
        told[check] = "; ".join(words) or ("none" if seen else "unknown")
    return told
