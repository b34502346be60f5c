"""Records of alerts, incidents and budgets, and of what people and programs tell. See :mod:`aiops.web.records`."""

from collections.abc import Mapping, Sequence
from typing import Literal, NotRequired

from typing_extensions import TypedDict

from aiops.incidents.feedback import Judgement
from aiops.web.records import EntityRecord, SeriesRecord, Stamp

# Alerts and incidents ---------------------------------------------------------------------------------------------


class SilenceRecord(TypedDict):
    """A silence of an Alertmanager."""

    id: str
    comment: str
    createdBy: str
    endsAt: Stamp


class AlertRecord(TypedDict):
    """One alert with the labels and annotations that receivers see."""

    fingerprint: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    state: str
    activeAt: Stamp
    endsAt: Stamp
    value: float
    score: float
    expected: float
    lower: float
    upper: float
    votes: Mapping[str, float]
    incident: str
    mutedBy: str
    silencedBy: Sequence[SilenceRecord]
    after: str


class AlertRecords(TypedDict):
    """Alerts, the newest first."""

    alerts: Sequence[AlertRecord]


class PartRecord(TypedDict):
    """A condition that must hold; null: unknown."""

    condition: str
    holds: bool | None


class SeenRecord(TypedDict):
    """What a rule saw in the newest tick."""

    outOfBounds: bool | None
    parts: Sequence[PartRecord]
    values: Mapping[str, float]
    note: str


MoveRecord = TypedDict("MoveRecord", {"at": Stamp, "from": str, "to": str, "reason": str})
MoveRecord.__doc__ = "An alert changed its state."


class ExplanationRecord(TypedDict):
    """Why an alert fired, or why a rule does not fire."""

    rule: str
    series: str
    entity: EntityRecord
    state: str
    why: str
    seen: SeenRecord | None
    damping: str
    fires: str
    resolves: str
    condition: str
    lookAlikes: Sequence[str]
    runbook: str
    alert: AlertRecord | None
    transitions: Sequence[MoveRecord]


class ExplanationRecords(TypedDict):
    """The nearest to an alert first."""

    explanations: Sequence[ExplanationRecord]


class MemberRecord(TypedDict):
    """An alert of an incident; one that is forgotten by now has no state."""

    alertname: str
    series: str
    entity: EntityRecord
    state: NotRequired[str]
    summary: NotRequired[str]
    reason: NotRequired[str]


class IncidentRecord(TypedDict):
    """One incident with its members."""

    id: str
    title: str
    severity: str
    state: Literal["open", "resolved"]
    startsAt: Stamp
    updatedAt: Stamp
    endsAt: Stamp
    confidence: float
    confidenceReasons: Sequence[str]
    alerts: Sequence[MemberRecord]


class IncidentRecords(TypedDict):
    """Incidents, open ones first."""

    incidents: Sequence[IncidentRecord]


class ClaimRecord(TypedDict):
    """A sentence and the evidence that it cites."""

    text: str
    evidence: Sequence[str]


class SentenceRecord(ClaimRecord):
    """A sentence of a part of the summary."""

    part: str


class WordedRecord(TypedDict):
    """What a language model said and was found true, and how much was not."""

    name: str
    at: Stamp
    language: str
    sentences: Sequence[ClaimRecord]
    disputedOrder: Sequence[str]
    actions: Sequence[str]
    droppedSentences: int
    reasons: Sequence[str]
    warning: str
    prompt: str
    tokens: int
    costUsd: float


class SummaryRecord(TypedDict):
    """What is told of an incident; a model's words apart."""

    model: WordedRecord | None
    language: str
    sentences: Sequence[SentenceRecord]


class CauseRecord(TypedDict):
    """A known fault that explains the incident."""

    id: str
    title: str
    entity: EntityRecord
    confidence: float
    evidence: Sequence[str]
    fix: str
    actions: Sequence[str]
    runbook: str


class CandidateRecord(TypedDict):
    """A series that moved."""

    series: str
    direction: str
    score: float
    onset: Stamp
    evidence: str


class RuledOutRecord(TypedDict):
    """A cause that it was not."""

    cause: str
    reason: str
    evidence: Sequence[str]


class EventRecord(TypedDict):
    """Something that happened before."""

    at: Stamp
    kind: str
    entity: EntityRecord
    detail: str


class FactRecord(TypedDict):
    """A piece of evidence; ``query`` asks Prometheus to see it again."""

    id: str
    text: str
    series: SeriesRecord | None
    value: float
    expected: float
    unit: str
    startsAt: Stamp
    endsAt: Stamp
    query: str


class DiagnosisRecord(TypedDict):
    """What is known of the why."""

    at: Stamp
    ranker: str
    abstained: bool
    reason: str
    causes: Sequence[CauseRecord]
    candidates: Sequence[CandidateRecord]
    ruledOut: Sequence[RuledOutRecord]
    changes: Sequence[EventRecord]
    evidence: Sequence[FactRecord]


class DiagnosedIncidentRecord(IncidentRecord):
    """One incident with its summary and its diagnosis."""

    summary: SummaryRecord
    diagnosis: DiagnosisRecord | None


class OneIncident(TypedDict):
    """One incident."""

    incident: DiagnosedIncidentRecord


class CaseRecord(TypedDict):
    """Files of a case folder, by name."""

    files: Mapping[str, str]


class BudgetRecord(TypedDict):
    """One objective in one pool."""

    slo: str
    of: str
    entity: EntityRecord
    objective: float
    threshold: float | None
    effectiveThreshold: float
    pages: bool
    events: float
    bad: float
    budgetLeft: float
    burnRates: Mapping[str, float]
    burning: Sequence[str]
    told: Sequence[str]


class BudgetRecords(TypedDict):
    """Every error budget."""

    budgets: Sequence[BudgetRecord]


class CitingRecord(TypedDict):
    """A sentence and the sources that it cites."""

    text: str
    sources: Sequence[str]


class SourceRecord(TypedDict):
    """Where something that was said can be looked up."""

    id: str
    what: str
    lookUp: str


AnswerRecord = TypedDict(
    "AnswerRecord",
    {
        "question": str,
        "intent": str,
        "language": str,
        "query": str,
        "promql": Sequence[str],
        "from": Stamp,
        "to": Stamp,
        "sentences": Sequence[CitingRecord],
        "sources": Sequence[SourceRecord],
    },
)
AnswerRecord.__doc__ = "The answer to a question, and the query that was understood."


# What people and programs tell ------------------------------------------------------------------------------------


class OpinionRecord(TypedDict):
    """What somebody said about an alert, and what follows."""

    id: str
    at: Stamp
    judgement: Judgement
    alertname: str
    series: str
    alert: str
    incident: str
    startsAt: Stamp
    score: float
    cause: str
    note: str
    by: str
    undoneAt: Stamp
    effects: Sequence[str]


class SaidRecords(TypedDict):
    """Opinions that were kept."""

    feedback: Sequence[OpinionRecord]


class PrecisionRecord(TypedDict):
    detector: str
    true: int
    false: int
    precision: float


PrecisionRecord.__doc__ = "How often a detector was right, of what was judged."


class OpinionRecords(SaidRecords):
    """Opinions, the newest first, and how precise each detector is."""

    detectors: Sequence[PrecisionRecord]


class AskedRecord(TypedDict):
    """The alert that a signed link is about."""

    summary: str
    alert: str
    series: str
    startsAt: Stamp


class WindowRecord(TypedDict):
    """A maintenance window."""

    id: str
    name: str
    state: Literal["active", "planned", "over"]
    begins: Stamp
    ends: Stamp
    matches: Mapping[str, str]
    skip: Sequence[str]
    by: str


class WindowRecords(TypedDict):
    """Maintenance windows."""

    windows: Sequence[WindowRecord]


class MarkRecord(TypedDict):
    """A deploy that was noted."""

    kind: str
    entity: EntityRecord
    at: Stamp
    text: str


class MarkRecords(TypedDict):
    """Deploys that were noted."""

    marks: Sequence[MarkRecord]


class TakenRecord(TypedDict):
    """How many alerts of a payload were kept, of these new, and how many were ours."""

    accepted: int
    news: int
    own: int


class InboundRecord(TakenRecord):
    """What became of a payload; ``problems`` are the first ten."""

    refused: int
    problems: Sequence[str]
