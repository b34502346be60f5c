"""The records of a diagnosis: what was measured, what deviated most, which fault explains it, what was ruled out.

A diagnosis is made once, from arrays, before anybody words it. Whoever words it cites evidence by id and adds nothing.
"""

from dataclasses import dataclass
from enum import StrEnum

from aiops.signals.types import Entity, Mark, SeriesKey


class Direction(StrEnum):
    """Which way a series left its reference."""

    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Evidence:
    """One numbered fact that can be looked up again.

    Attributes
    ----------
    id
        ``E1``, ``E2``, … in order of importance within one diagnosis.
    series
        What was measured; None for a fact that is no series (a mark, a missing source).
    text
        The fact in one plain sentence, with its numbers and units.
    value, expected
        Value in the window and in the reference, in the base unit of ``unit``; NaN when unknown.
    unit
        Unit of both, as in the catalogue of signals; empty for a fact without a number.
    start, end
        UTC seconds of the window in which it was seen.
    query
        What to ask, PromQL over our own ``/metrics``, to see it again; empty where nothing can be asked.
    """

    id: str
    series: SeriesKey | None
    text: str
    value: float
    expected: float
    unit: str
    start: float
    end: float
    query: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A series that deviated, and how strongly.

    Attributes
    ----------
    score
        Robust distance from the reference, ≥ 0, capped; no unit, so that series compare.
    onset
        UTC seconds at which it left its reference; NaN when that cannot be told.
    evidence
        Id of the :class:`Evidence` behind it.
    """

    entity: Entity
    signal: str
    stat: str
    direction: Direction
    score: float
    onset: float
    evidence: str


@dataclass(frozen=True, slots=True)
class Cause:
    """A known fault whose signature fits.

    Attributes
    ----------
    id
        Name of the document in ``models/causes``.
    title, fix
        One line each, for people.
    entity
        Where the fault is.
    confidence
        Share of the signature's weight that was seen, 0 to 1; not a probability.
    evidence
        Ids of what speaks for it.
    actions
        Ids from the closed list of actions in ``models/causes``.
    runbook
        Slug of a page in ``alert_rules/runbooks``; empty without one.
    """

    id: str
    title: str
    entity: Entity
    confidence: float
    evidence: tuple[str, ...]
    fix: str
    actions: tuple[str, ...] = ()
    runbook: str = ""


@dataclass(frozen=True, slots=True)
class RuledOut:
    """A look-alike that does not fit, and the fact that speaks against it."""

    cause: str
    reason: str
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is known about the why of one incident at one time.

    Attributes
    ----------
    ranker
        Which method ordered ``candidates``; never empty, so that no fallback is silent.
    causes
        Best first; empty when nothing fits.
    abstained
        No cause is named; ``reason`` says why in one sentence.
    changes
        Deploys, restarts and other marks before the onset, newest first.
    """

    incident: str
    at: float
    ranker: str
    candidates: tuple[Candidate, ...]
    causes: tuple[Cause, ...]
    ruled_out: tuple[RuledOut, ...]
    changes: tuple[Mark, ...]
    evidence: tuple[Evidence, ...]
    abstained: bool
    reason: str

    @property
    def cause(self) -> Cause | None:
        """The most likely cause; None when abstained."""
        return None if self.abstained or not self.causes else self.causes[0]
