"""Deterministic rules: what must never happen, whatever the history says.

A rule is data (``models/detectors/liveness.yaml``): a condition over the signals of one entity, or one of the
few judgements about a source that no condition can express (:mod:`aiops.detect.liveness`). Here the document is
checked, and the conditions are evaluated for all entities of a kind at once.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType
from typing import Annotated, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema, model_validator

from aiops.detect.base import AlertKey, Look, Part, Severity, Standing, Timing, Verdict, Window
from aiops.detect.condition import Condition, Operand, Truth
from aiops.detect.groups import group_of
from aiops.detect.policy import RULE_NAME, parse_document
from aiops.kit.settings import Duration, Section
from aiops.signals.catalog import SIGNALS
from aiops.signals.topology import pool_of
from aiops.signals.types import Entity, EntityKind, SeriesKey


class Judgement(StrEnum):
    """Rules that look at sources and events instead of series."""

    SOURCE_DOWN = "source_down"
    SOURCE_STALE = "source_stale"
    DRIVER_UNRESPONSIVE = "driver_unresponsive"
    GPU_LOST = "gpu_lost"


def _parsed(value: object) -> object:
    return Condition.parse(value) if isinstance(value, str) else value


ConditionText = Annotated[
    Condition,
    BeforeValidator(_parsed),
    AfterValidator(lambda value: value),
    PlainSerializer(lambda value: value.text, return_type=str),
    WithJsonSchema({"type": "string", "description": "running > 0 and tokens_out == 0"}),
]


class Rule(Section, arbitrary_types_allowed=True):
    """One rule of the document."""

    name: str = Field(pattern=f"^{RULE_NAME}$")
    """Becomes ``alertname``."""
    severity: Severity
    """critical pages now, warning is office hours, info is context."""
    kinds: tuple[EntityKind, ...] = ()
    """Entities that a condition is evaluated for."""
    when: ConditionText | None = None
    """Condition; see :mod:`aiops.detect.condition`."""
    until: ConditionText | None = None
    """Condition that ends it. Where neither this nor ``when`` holds the alert stays as it is, so that a value on the
    edge does not come and go; without it, all that is not ``when`` is fine."""
    judgement: Judgement | None = None
    """Instead of a condition."""
    for_points: int = Field(1, ge=1, le=64)
    """Points out of bounds until it fires …"""
    of_points: int | None = Field(None, ge=1, le=64)
    """… among so many; without it all in a row."""
    resolve_points: int = Field(3, ge=1, le=64)
    """Points within bounds until it resolves …"""
    resolve_of_points: int | None = Field(None, ge=1, le=64)
    """… among so many; without it all in a row."""
    summary: str = Field(min_length=1)
    """One line for a person, without changing numbers."""
    description: str = Field(min_length=1)
    """What it means for users and where to look first."""
    runbook: str = Field(pattern="^[a-z0-9-]+$")
    """Slug of the runbook."""
    look_alikes: tuple[str, ...] = ()
    """Harmless states that look the same, and how to tell them apart."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.when is None) == (self.judgement is None):
            raise ValueError(f"rule {self.name} needs either a condition (when) or a judgement")
        if (self.when is None) == bool(self.kinds):
            raise ValueError(f"rule {self.name}: kinds go with a condition, and only with one")
        if self.until is not None and self.when is None:
            raise ValueError(f"rule {self.name}: until goes with a condition, and only with one")
        self.timing()
        return self

    def timing(self) -> Timing:
        """K of N, M of N."""
        return Timing(
            self.for_points,
            self.of_points or self.for_points,
            self.resolve_points,
            self.resolve_of_points or self.resolve_points,
        )


class RuleBook(Section):
    """The whole document."""

    rules: tuple[Rule, ...]
    """In order of display."""
    lead_time: Duration = 120.0
    """What ``lead_time`` means in conditions about a pool of which nothing better is known."""

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        names = [rule.name for rule in self.rules]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"these rules are there twice: {', '.join(twice)}")
        return self

    @classmethod
    def parse(cls, document: object, where: str) -> Self:
        """Check a loaded YAML document; raises ValueError that names ``where`` and each wrong place."""
        return parse_document(cls, document, where)


@dataclass(frozen=True)
class _Layout:
    """Entities of one kind and the columns of their operands (intp [entities], −1 = has none, then also in gaps)."""

    entities: tuple[Entity, ...]
    row: dict[Entity, int]
    columns: dict[Operand, NDArray[np.intp]]
    gaps: set[Operand]

    @cached_property
    def groups(self) -> tuple[NDArray[np.intp], ...]:
        """Rows of the entities that may be compared; those that stand alone are left out."""
        members: dict[Entity, list[int]] = {}
        for entity, row in self.row.items():
            group = group_of(entity)
            if group is not None:
                members.setdefault(group, []).append(row)
        return tuple(np.array(rows, np.intp) for rows in members.values() if len(rows) > 1)


class _Frame:
    """One kind of entity in one window; a gather per operand, once."""

    def __init__(self, layout: _Layout, window: Window, lead_of: Callable[[Entity], tuple[float, str]]) -> None:
        self._layout = layout
        self._values = window.values
        self._now: dict[Operand, NDArray[np.float64]] = {}
        self._lead_of = lead_of
        self.step_seconds = window.step_seconds

    def now(self, operand: Operand) -> NDArray[np.float64]:
        if operand not in self._now:
            self._now[operand] = self.last(operand, 1)[0].astype(np.float64)
        return self._now[operand]

    def last(self, operand: Operand, points: int) -> NDArray[np.float32]:
        columns = self._layout.columns[operand]
        rows = self._values[-points:].take(columns, axis=1)
        if operand in self._layout.gaps:
            rows[:, columns < 0] = np.nan
        return rows

    @cached_property
    def lead_seconds(self) -> NDArray[np.float64]:
        return np.array([self._lead_of(entity)[0] for entity in self._layout.entities])

    def lead(self, row: int) -> tuple[float, str]:
        """Lead time of one entity's pool, and how it is known."""
        return self._lead_of(self._layout.entities[row])

    def peers(self, operand: Operand) -> NDArray[np.float64]:
        values = self.now(operand)
        found = np.full(len(values), np.nan)
        for rows in self._layout.groups:
            found[rows] = median_of_others(values[rows])
        return found


def median_of_others(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each of float64 [n] the median of the other known ones; NaN where there is none."""
    order = np.argsort(values)  # NaN last
    known = int(np.isfinite(values).sum())
    ordered, rank = values[order][:known], np.empty(len(values), np.intp)
    rank[order] = np.arange(len(values))
    others = known - (rank < known)  # an unknown value is itself none of them
    low, high = (others - 1) // 2, others // 2
    found = np.full(len(values), np.nan)
    some = others > 0
    # Without itself, what stands behind it moves up by one place.
    low, high = (place[some] + (rank[some] <= place[some]) for place in (low, high))
    found[some] = 0.5 * (ordered[low] + ordered[high])
    return found


class Judged(NamedTuple):
    """What one rule says this tick, per entity of one kind."""

    rule: Rule
    layout: _Layout
    frame: _Frame
    truth: Truth


class Conditions:
    """Evaluates all rules that have a condition.

    Parameters
    ----------
    rules
        Rules; those without a condition are left out.
    lead_seconds
        What ``lead_time`` means in conditions where nothing better is known.
    """

    def __init__(self, rules: Sequence[Rule], lead_seconds: float = 120.0) -> None:
        self._lead_seconds = lead_seconds
        self._rules = [(rule, rule.when, kind) for rule in rules if rule.when is not None for kind in rule.kinds]
        self._layouts: dict[EntityKind, _Layout] = {}
        self._keys: tuple[SeriesKey | None, ...] | None = None
        self._wanted: dict[EntityKind, dict[Operand, None]] = {}
        for rule, when, kind in self._rules:
            operands = (*when.operands, *(rule.until.operands if rule.until is not None else ()))
            self._wanted.setdefault(kind, {}).update(dict.fromkeys(operands))
        self._judged: dict[tuple[str, EntityKind], Judged] = {}

    def evaluate(
        self, window: Window, leads: Mapping[Entity, tuple[float, str]] = MappingProxyType({})
    ) -> Iterator[tuple[AlertKey, Verdict]]:
        """Judge the newest row; afterwards :meth:`known` speaks about it. ``leads``: as in
        :class:`aiops.detect.base.Guidance`."""

        def lead_of(entity: Entity) -> tuple[float, str]:
            pool = entity if entity.kind is EntityKind.POOL else pool_of(entity)
            return leads.get(pool, (self._lead_seconds, ""))

        if window.keys is not self._keys:
            self._layouts, self._keys = self._lay_out(window.keys), window.keys
        frames = {kind: _Frame(layout, window, lead_of) for kind, layout in self._layouts.items()}
        self._judged = {}
        for rule, when, kind in self._rules:
            if kind in frames:
                judged = Judged(rule, self._layouts[kind], frames[kind], when.evaluate(frames[kind]))
                self._judged[rule.name, kind] = judged
                for row in np.flatnonzero(judged.truth.true):
                    yield _breach(judged, when, int(row))

    def known(self, key: AlertKey) -> bool:
        """Whether the rule had a definite answer for this series in the last :meth:`evaluate`.

        What is not broken is known only when it is also known whether it is over.
        """
        judged, row = self._row(key)
        if judged is None:
            return False
        if judged.truth.true[row]:
            return True
        over = self._over(judged, row)
        return bool(judged.truth.false[row]) and over is not None

    def between(self, key: AlertKey) -> bool:
        """Whether, in the last :meth:`evaluate`, the rule's ``until`` did not hold; asked of what is not broken."""
        judged, row = self._row(key)
        return judged is not None and self._over(judged, row) is False

    def _row(self, key: AlertKey) -> tuple[Judged | None, int]:
        judged = self._judged.get((key.rule, key.series.entity.kind))
        row = None if judged is None else judged.layout.row.get(key.series.entity)
        return (None, -1) if row is None else (judged, row)

    @staticmethod
    def _over(judged: Judged, row: int) -> bool | None:
        """Whether ``until`` holds; a rule without it is over where it is not broken."""
        if judged.rule.until is None:
            return True
        truth = judged.rule.until.evaluate(judged.frame)
        return _known(truth.true[row], truth.false[row])

    def looks(self, rule: str) -> Iterator[Look]:
        """What a rule saw of each entity in the last :meth:`evaluate`."""
        for judged in (one for (name, _), one in self._judged.items() if name == rule):
            when = judged.rule.when
            if when is None:
                continue
            count = len(judged.layout.entities)
            # A truth that is the same for all comes as one.
            parts = [
                (text, Truth(*(np.broadcast_to(mask, (count,)) for mask in truth)))
                for text, truth in when.each(judged.frame)
            ]
            now = {str(operand): judged.frame.now(operand) for operand in when.operands}
            for row, entity in enumerate(judged.layout.entities):
                yield Look(
                    AlertKey(rule, SeriesKey(entity, when.operands[0].signal, when.operands[0].stat)),
                    _known(judged.truth.true[row], judged.truth.false[row]),
                    tuple(Part(text, _known(truth.true[row], truth.false[row])) for text, truth in parts),
                    {name: float(values[row]) for name, values in now.items()} | _lead_in(when, judged, row),
                    _lead_text(when, judged, row),
                )

    def standing(self) -> Mapping[str, Standing]:
        """What each rule saw in the last :meth:`evaluate`; a rule that nobody has the signals for is left out."""
        found: dict[str, Standing] = {}
        for (name, _), judged in self._judged.items():
            outside, fine = int(judged.truth.true.sum()), int(judged.truth.false.sum())
            now = Standing(len(judged.layout.entities), outside, fine)
            found[name] = now + found[name] if name in found else now
        return found

    def _lay_out(self, keys: tuple[SeriesKey | None, ...]) -> dict[EntityKind, _Layout]:
        rows: dict[EntityKind, dict[Entity, int]] = {}
        found: list[tuple[EntityKind, Operand, int, int]] = []
        for column, key in enumerate(keys):
            if key is None:
                continue
            operand, kind = Operand(key.signal, key.stat), key.entity.kind
            if operand in self._wanted.get(kind, ()):
                of_kind = rows.setdefault(kind, {})
                found.append((kind, operand, of_kind.setdefault(key.entity, len(of_kind)), column))
        layouts = {
            kind: _Layout(
                tuple(of_kind),
                of_kind,
                {operand: np.full(len(of_kind), -1, np.intp) for operand in self._wanted[kind]},
                set(),
            )
            for kind, of_kind in rows.items()
        }
        for kind, operand, row, column in found:
            layouts[kind].columns[operand][row] = column
        for layout in layouts.values():
            layout.gaps.update(operand for operand, columns in layout.columns.items() if (columns < 0).any())
        return layouts


def _known(true: np.bool_, false: np.bool_) -> bool | None:
    return True if true else False if false else None


def _breach(judged: Judged, when: Condition, row: int) -> tuple[AlertKey, Verdict]:
    first = when.operands[0]
    key = AlertKey(judged.rule.name, SeriesKey(judged.layout.entities[row], first.signal, first.stat))
    now = {operand: float(judged.frame.now(operand)[row]) for operand in when.operands}
    numbers = [f"{operand} = {_shown(value, operand)}" for operand, value in now.items() if not np.isnan(value)]
    numbers += filter(None, [_lead_text(when, judged, row)])
    return key, Verdict(
        rule=judged.rule.name,
        severity=judged.rule.severity,
        score=1.0,
        value=now[first],
        summary=judged.rule.summary,
        reason=f"{', '.join(numbers)}. {judged.rule.description}",
        runbook=judged.rule.runbook,
    )


def _lead_in(when: Condition, judged: Judged, row: int) -> dict[str, float]:
    return {"lead_time": judged.frame.lead(row)[0]} if "lead_time" in when.text else {}


def _lead_text(when: Condition, judged: Judged, row: int) -> str:
    if "lead_time" not in when.text:
        return ""
    seconds, why = judged.frame.lead(row)
    return f"lead_time = {seconds:.4g} s" + (f" ({why})" if why else "")


def _shown(value: float, operand: Operand) -> str:
    unit = "" if operand.stat == "rate" else SIGNALS[operand.signal].unit
    return f"{value:.4g}" if unit in ("", "state", "ratio") else f"{value:.4g} {unit}"
