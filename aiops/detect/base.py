"""What a detector is, and what the bank says to the incident machine.

Score scale, on every detector: 0 = as expected, 1.0 = the alert threshold, above 1 grows with distance,
NaN = not ready or not known. Order in the bank: score, decide, then learn.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from aiops.signals.types import Entity, SeriesKey


class Severity(StrEnum):
    """Alertmanager habits: critical pages now, warning is office hours, info is context."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


class AlertKey(NamedTuple):
    """Identity of one alert: the rule (CamelCase, becomes ``alertname``) and the series it watches."""

    rule: str
    series: SeriesKey


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


@dataclass(frozen=True, slots=True)
class RuleText:
    """What a person is told about a rule, and when it fires.

    ``condition`` is the text of a deterministic rule, empty for the others. ``runbook`` is a slug.
    ``look_alikes`` are harmless states that look the same.
    """

    name: str
    severity: Severity
    timing: Timing
    summary: str
    description: str
    runbook: str
    condition: str = ""
    look_alikes: tuple[str, ...] = ()


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
        """Arrays that :meth:`restore` takes back; plain numpy, never pickle."""
        ...

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Continue from arrays of :meth:`state` whose columns were already moved to today's places."""
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


@dataclass(frozen=True, slots=True)
class Guidance:
    """What people and calendars say about learning in one tick; the bank follows it to the letter.

    Attributes
    ----------
    frozen
        Nothing is learnt of these entities (a maintenance window); they are judged all the same.
    changed
        What these entities show from now on is normal (a deploy): they are not judged by statistics until
        ``minimum_samples`` points are known, then those points are their level. Name an entity once, not in every
        tick.
    """

    frozen: Set[Entity] = frozenset()
    changed: Set[Entity] = frozenset()


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
        Watched alerts whose series is no longer out of bounds and not yet well within them: those that are active
        stay so.
    """

    breaches: Mapping[AlertKey, Verdict]
    unknown: Set[AlertKey] = frozenset()
    held: Set[AlertKey] = frozenset()
