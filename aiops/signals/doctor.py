"""What can be known from a page, what cannot, and what a gap costs.

``aiops doctor`` and the tests print this: per signal its status, the metric behind it and its value now. Two pages
are needed for rates and quantiles. Invariant: every signal that the program's family should have is listed, with
``missing`` where the page has nothing for it; an unknown program is said to be unknown, never guessed.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiops.signals.catalog import DISTRIBUTION_STATS, ENGINE_SIGNALS, GPU_SIGNALS, HOST_SIGNALS, SIGNALS, Kind
from aiops.signals.derive import HOW_DERIVED
from aiops.signals.normalise import Normaliser
from aiops.signals.page import Page
from aiops.signals.profile import Family, Profile, Source
from aiops.signals.resolve import Binding, Resolution, Status
from aiops.signals.settings import NormaliseSettings
from aiops.signals.types import Entity, Labels, Reading

# Signals of the engine part that only orchestrators and gateways have: expected where a profile names them.
_ORCHESTRATOR = ("replicas", "replicas_desired", "ready", "restarts", "cold_start")
_GATEWAY = ("queue_len", "arrivals", "finished", "errors", "rejected", "ttft", "e2e", "tokens_in", "tokens_out")

EXPECTED: Mapping[Family, tuple[str, ...]] = {
    Family.ENGINE: tuple(name for name in ENGINE_SIGNALS if name not in {*_ORCHESTRATOR, "budget_burn"}),
    Family.GATEWAY: _GATEWAY,
    Family.GPU: GPU_SIGNALS,
    Family.HOST: HOST_SIGNALS,
    Family.CLUSTER: _ORCHESTRATOR,
}
"""Signals that the doctor lists for each family, besides those that the profile names."""


@dataclass(frozen=True, slots=True)
class RoleReport:
    """How one signal is known.

    Attributes
    ----------
    metric
        Exposed name, or how it is derived; empty when missing.
    on_page
        False where the program shows the metric only after some event (``note`` says which).
    stats
        Every statistic known now; NaN = not known (yet).
    values
        Per entity, the number shown as value; more than one entry on pages with several entities.
    candidates
        Other metrics on the page that could be meant.
    disables
        Detectors, alerts and panels that have nothing to work with for want of this signal.
    """

    signal: str
    status: Status
    metric: str = ""
    on_page: bool = True
    stats: Mapping[str, float] = field(default_factory=dict)
    values: Mapping[str, float] = field(default_factory=dict)
    candidates: tuple[str, ...] = ()
    deprecated: str = ""
    note: str = ""
    disables: tuple[str, ...] = ()

    @property
    def stat(self) -> str:
        """Statistic shown as the value: p95 of a distribution, or its mean where that is all there is."""
        if SIGNALS[self.signal].kind is not Kind.DISTRIBUTION:
            return ""
        return "mean" if math.isnan(self.stats.get("p95", math.nan)) else "p95"

    @property
    def value(self) -> float:
        """Number to show; NaN = unknown."""
        return self.stats.get(self.stat, math.nan)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Result of :func:`examine`."""

    engine: str
    title: str
    version: str
    programs: tuple[str, ...]
    entities: tuple[Entity, ...]
    roles: tuple[RoleReport, ...]
    message: str
    bad_lines: int = 0
    first_error: str = ""

    def role(self, signal: str) -> RoleReport | None:
        """Report of one signal, None when it is not expected here."""
        return next((role for role in self.roles if role.signal == signal), None)


def examine(
    profiles: Sequence[Profile],
    page: Page,
    again: Page | None = None,
    interval_seconds: float = 5.0,
    *,
    target: Labels = (),
    dependents: Mapping[str, Sequence[str]] | None = None,
    settings: NormaliseSettings | None = None,
) -> Diagnosis:
    """Say what a page is and what can be read from it.

    Parameters
    ----------
    page, again
        One page, or two of the same program, read ``interval_seconds`` apart.
    dependents
        Signal → names of the detectors, alerts and panels that need it.
    """
    normaliser = Normaliser(profiles, target, "doctor", settings)
    reading = normaliser.normalise(page, 0.0)
    if again is not None:
        reading = normaliser.normalise(again, interval_seconds)
    resolution = normaliser.resolution
    last = again or page
    if resolution is None or not resolution.profiles:
        return _unknown_program(profiles, last)
    needs = dependents or {}
    roles = tuple(_report(name, resolution, reading, tuple(needs.get(name, ()))) for name in _expected(resolution))
    first = resolution.profiles[0]
    return Diagnosis(
        engine=first.name,
        title=first.title,
        version=resolution.version,
        programs=tuple(profile.name for profile in resolution.profiles),
        entities=tuple(dict.fromkeys(key.entity for key in reading.columns.keys)),
        roles=roles,
        message=_message(first, resolution.version, roles, two_pages=again is not None),
        bad_lines=last.bad_lines,
        first_error=last.first_error,
    )


def to_dict(diagnosis: Diagnosis) -> dict[str, Any]:
    """JSON form: engine, version, roles by signal; null = unknown."""
    return {
        "engine": diagnosis.engine or None,
        "title": diagnosis.title or None,
        "version": diagnosis.version or None,
        "programs": list(diagnosis.programs),
        "entities": [str(entity) for entity in diagnosis.entities],
        "message": diagnosis.message,
        "bad_lines": diagnosis.bad_lines,
        "first_error": diagnosis.first_error or None,
        "roles": {role.signal: _role_dict(role) for role in diagnosis.roles},
    }


def _role_dict(role: RoleReport) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "status": role.status.value,
        "metric": role.metric or None,
        "value": _number(role.value),
        "unit": SIGNALS[role.signal].unit,
    }
    if SIGNALS[role.signal].kind is Kind.DISTRIBUTION:
        answer["stat"] = role.stat
        answer |= {stat: _number(role.stats.get(stat, math.nan)) for stat in ("mean", "p50", "p95", "p99")}
        answer["count"] = _number(role.stats.get("count", math.nan))
    if len(role.values) > 1:
        answer["values"] = {entity: _number(value) for entity, value in role.values.items()}
    if not role.on_page:
        answer["on_page"] = False
    extras = {"candidates": list(role.candidates), "deprecated": role.deprecated, "note": role.note}
    if role.status is Status.MISSING:
        extras["disables"] = list(role.disables)
    return answer | {name: extra for name, extra in extras.items() if extra}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _expected(resolution: Resolution) -> list[str]:
    """Signals to list, in the order of the catalogue."""
    wanted: set[str] = set()
    for profile in resolution.profiles:
        wanted |= {*EXPECTED[profile.family], *profile.roles, *profile.absent}
    return [name for name in SIGNALS if name in wanted]


def _report(signal: str, resolution: Resolution, reading: Reading, disables: tuple[str, ...]) -> RoleReport:
    numbers = _numbers(signal, reading)
    stats = next(iter(numbers.values()), {})
    values = {str(entity): _shown(signal, found) for entity, found in numbers.items()}
    bindings = [binding for binding in resolution.bindings if binding.signal == signal]
    if bindings:
        return _bound(bindings, stats, values)
    if numbers:
        return RoleReport(signal, Status.DERIVED, HOW_DERIVED[signal], stats=stats, values=values)
    if waiting := resolution.pending.get(signal):
        return _pending(signal, waiting, resolution)
    why = next((profile.absent[signal] for profile in resolution.profiles if signal in profile.absent), "")
    return RoleReport(signal, Status.MISSING, note=why, disables=disables)


def _bound(bindings: Sequence[Binding], stats: Mapping[str, float], values: Mapping[str, float]) -> RoleReport:
    first = bindings[0]
    ambiguous = any(binding.status is Status.AMBIGUOUS for binding in bindings)
    return RoleReport(
        first.signal,
        Status.AMBIGUOUS if ambiguous else first.status,
        first.metric,
        stats=stats,
        values=values,
        candidates=tuple(dict.fromkeys(name for binding in bindings for name in binding.candidates)),
        deprecated=first.source.deprecated,
        note=first.source.note,
    )


def _pending(signal: str, source: Source, resolution: Resolution) -> RoleReport:
    """The program's metric is known but has not been born: known where to look, no value yet."""
    name = source.metric
    note = f"not on the page yet: {resolution.profiles[0].title} shows {name} {source.appears}"
    return RoleReport(signal, Status.RESOLVED, name, on_page=False, note=note)


def _numbers(signal: str, reading: Reading) -> dict[Entity, dict[str, float]]:
    """Statistics of a signal per entity; for distributions also the observations since the page before."""
    found: dict[Entity, dict[str, float]] = {}
    for key, value in zip(reading.columns.keys, reading.values.tolist(), strict=True):
        if key.signal == signal and (key.stat in DISTRIBUTION_STATS or not key.stat):
            found.setdefault(key.entity, {})[key.stat] = value
    for gain in reading.buckets:
        if gain.key.signal == signal:
            found.setdefault(gain.key.entity, {})["count"] = float(gain.counts.sum())
    return found


def _shown(signal: str, stats: Mapping[str, float]) -> float:
    return RoleReport(signal, Status.RESOLVED, stats=stats).value


def _unknown_program(profiles: Sequence[Profile], page: Page) -> Diagnosis:
    names = list(dict.fromkeys(sample.name for sample in page.layout.samples))
    some = ", ".join(names[:5]) or "none"
    message = (
        f"none of {len(profiles)} engine profiles knows this page; its first metrics are {some}. "
        f"Known: {', '.join(sorted(profile.name for profile in profiles))}. A profile is a YAML file in models/engines."
    )
    return Diagnosis("", "", "", (), (), (), message, page.bad_lines, page.first_error)


def _message(profile: Profile, version: str, roles: Sequence[RoleReport], *, two_pages: bool) -> str:
    def count(status: Status) -> int:
        return sum(role.status is status and role.on_page for role in roles)

    parts = [f"{count(status)} {status.value}" for status in Status if count(status)]
    if waiting := sum(not role.on_page for role in roles):
        parts.append(f"{waiting} not on the page yet")
    text = f"{' '.join(filter(None, (profile.title, version)))}: {', '.join(parts)}."
    if not two_pages:
        text += " Rates and quantiles need a second page."
    if profile.docs and count(Status.MISSING):
        text += f" Metrics: {profile.docs}."
    return text
