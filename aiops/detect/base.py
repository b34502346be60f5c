"""What a detector is, and what the bank says to the incident machine.

Score scale, on every detector: 0 = as expected, 1.0 = the alert threshold, above 1 grows with distance,
NaN = not ready or not known. Order in the bank: score, decide, then learn.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from enum import StrEnum
from math import isfinite
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from aiops.signals.types import Entity, EntityKind, Labels, SeriesKey

_PASSING = frozenset({"instance", "pod", "pod_name", "container", "replica", "engine"})
"""Labels that name one process: the next rollout brings others, and what was said shall outlast it."""


class Severity(StrEnum):
    """Alertmanager habits: critical pages now, warning is office hours, info is context."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


class AlertKey(NamedTuple):
    """Identity of one alert: the rule (CamelCase, becomes ``alertname``) and the series it watches."""

    rule: str
    series: SeriesKey


class Scope(NamedTuple):
    """What a judgement of people is about: a rule on one statistic of alike entities."""

    rule: str
    signal: str
    stat: str
    kind: EntityKind
    labels: Labels

    def __str__(self) -> str:
        signal = f"{self.signal}:{self.stat}" if self.stat else self.signal
        inside = ",".join(f'{name}="{value}"' for name, value in self.labels)
        return f"{self.rule} ({signal}) of {self.kind}{{{inside}}}"


def scope_of(key: AlertKey) -> Scope:
    """Scope of an alert: its entity without the labels of one process, unless it has no others."""
    entity, signal, stat = key.series
    lasting = tuple(pair for pair in entity.labels if pair[0] not in _PASSING)
    return Scope(key.rule, signal, stat, entity.kind, lasting or entity.labels)


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a rule must be sure: K of N points out of bounds to fire, M of N points fine to resolve.

    Points, not seconds: a jump of the clock or a gap moves nothing. Windows hold at most 64 points.
    """

    breach_points: int
    window_points: int
    clear_points: int
    clear_window: int

    def __post_init__(self) -> None:
        for needed, window in ((self.breach_points, self.window_points), (self.clear_points, self.clear_window)):
            if not 1 <= needed <= window <= 64:
                raise ValueError(f"expected 1 ≤ points ≤ window ≤ 64, got {needed} of {window} in {self}")


class Part(NamedTuple):
    """One of the conditions that must all hold for a rule to be broken; ``holds`` is None where it is unknown."""

    text: str
    holds: bool | None


@dataclass(frozen=True, slots=True)
class Look:
    """What a rule saw of one series or entity in the newest row.

    Attributes
    ----------
    broken
        Out of bounds; None where nothing can be said.
    parts
        Why, or why not.
    values
        What was seen, and what it is held against; NaN = unknown.
    note
        What else keeps the rule from judging, or what it rests on; ``""`` when there is nothing to say.
    """

    key: AlertKey
    broken: bool | None
    parts: tuple[Part, ...]
    values: Mapping[str, float]
    note: str = ""


class Standing(NamedTuple):
    """How many series or entities a rule looks at now, how many are out of bounds, how many are fine.

    The rest is unknown: not seen for long enough, or a value is missing.
    """

    watched: int
    outside: int
    fine: int

    def __add__(self, other: object) -> "Standing":
        if not isinstance(other, Standing):
            return NotImplemented
        return Standing(self.watched + other.watched, self.outside + other.outside, self.fine + other.fine)


@dataclass(frozen=True, slots=True)
class RuleText:
    """What a person is told about a rule, and when it fires.

    ``condition`` is the text of a deterministic rule, empty for the others. ``runbook`` is a slug.
    ``look_alikes`` are harmless states that look the same. ``signals`` are what it reads, as ``ttft.p95``.
    """

    name: str
    severity: Severity
    timing: Timing
    summary: str
    description: str
    runbook: str
    condition: str = ""
    look_alikes: tuple[str, ...] = ()
    signals: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Window:
    """The columnar window that every detector sees. Views, never copies; read only.

    Attributes
    ----------
    now
        UTC seconds of the newest row.
    step_seconds
        Time between rows.
    values
        float32 [rows, capacity], oldest row first, NaN = unknown.
    keys
        Series of each column, None where the column is free; length = capacity.
    generation
        int64 [capacity]; a new number whenever a column changes owner: state kept under another number
        belongs to somebody else and must be reset.
    """

    now: float
    step_seconds: float
    values: NDArray[np.float32]
    keys: tuple[SeriesKey | None, ...]
    generation: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Scores:
    """One detector's view of the newest row: float32 [capacity] each, NaN = unknown."""

    score: NDArray[np.float32]
    expected: NDArray[np.float32]
    lower: NDArray[np.float32]
    upper: NDArray[np.float32]


class Detector(Protocol):
    """Scores all series of a tick in one call."""

    name: str

    def score(self, window: Window) -> Scores:
        """Judge the newest row. Pure: calling twice gives the same answer."""
        ...

    def learn(self, window: Window, quiet: NDArray[np.bool_]) -> None:
        """Take in the newest row where ``quiet`` (bool [capacity]) says it was judged normal."""
        ...

    def relearn(self, window: Window, columns: NDArray[np.bool_]) -> None:
        """Accept as normal what ``columns`` (bool [capacity]) show lately: their level shifted for good."""
        ...

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Arrays that :meth:`restore` takes back; plain numpy, never pickle.

        Their names, types and axes but the last are those of a fresh detector, unless that has none: by them a saved
        state of another version is recognised (:func:`aiops.detect.columns.misfit`).
        """
        ...

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Continue from arrays of :meth:`state` whose columns were already moved to today's places."""
        ...


@runtime_checkable
class Unlearns(Protocol):
    """A detector with so short a memory that it learns the beginning of an incident before that is seen."""

    def unlearn(self, window: Window, columns: NDArray[np.bool_]) -> None:
        """Go back to what was known of ``columns`` (bool [capacity]) before; asked when their incident opens."""
        ...


@runtime_checkable
class Explains(Protocol):
    """A detector that can say more than its band does."""

    def explain(self, column: int) -> str:
        """Say why the newest row of a column is unusual; asked between score and learn. Empty: nothing to add."""
        ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a series is judged out of bounds right now.

    ``score`` ≥ 1. ``expected``, ``lower`` and ``upper`` are NaN for deterministic rules.
    ``summary`` has no changing number (it is the alert's one-line title); ``reason`` carries the numbers.
    ``wider`` is by how much people's feedback widened the threshold.
    """

    rule: str
    severity: Severity
    score: float
    value: float
    summary: str
    reason: str
    expected: float = float("nan")
    lower: float = float("nan")
    upper: float = float("nan")
    votes: Mapping[str, float] = field(default_factory=dict)
    runbook: str = ""
    wider: float = 1.0

    @property
    def statistical(self) -> bool:
        """Whether history says so; else it is a rule that must hold, or an error budget."""
        return isfinite(self.expected)

    @property
    def raw_score(self) -> float:
        """The score that it would be without widened thresholds."""
        return self.score * self.wider


@dataclass(frozen=True, slots=True)
class Guidance:
    """What people and calendars say about one tick; the bank follows it to the letter.

    Attributes
    ----------
    frozen
        Nothing is learnt of these entities (a maintenance window); they are judged all the same.
    changed
        What these entities show from now on is normal (a deploy): they are not judged by statistics until
        ``minimum_samples`` points are known, then those points are their level. Name an entity once, not in every
        tick.
    wider
        By how much the thresholds of statistical rules are wider (:class:`aiops.detect.leniency.Leniency`); the same
        object while nothing changes.
    left_out
        Detectors that this tick does without (:mod:`aiops.detect.shedding`): they say nothing and learn nothing.
    leads
        Pool → seconds that a new replica needs until it serves, and how that is known.
    awaited
        Alerts of which only those could say that they are over.
    """

    frozen: Set[Entity] = frozenset()
    changed: Set[Entity] = frozenset()
    wider: Mapping[Scope, float] = field(default_factory=dict)
    left_out: Set[str] = frozenset()
    leads: Mapping[Entity, tuple[float, str]] = field(default_factory=dict)
    awaited: Set[AlertKey] = frozenset()


@dataclass(frozen=True, slots=True)
class Verdicts:
    """One tick's judgements, sparse: what is not named is known and fine.

    Attributes
    ----------
    breaches
        Series out of bounds.
    unknown
        Watched alerts of which nothing can be said this tick (no data): neither worse nor better.
    held
        Watched alerts whose series is no longer out of bounds and not yet well within them, or awaits a detector that
        is left out: those that are active stay so, also where they are in ``unknown``.
    """

    breaches: Mapping[AlertKey, Verdict]
    unknown: Set[AlertKey] = frozenset()
    held: Set[AlertKey] = frozenset()
