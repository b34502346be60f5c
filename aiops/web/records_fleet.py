"""Records of the fleet, its signals, and what watches them. See :mod:`aiops.web.records`."""

from collections.abc import Mapping, Sequence
from typing import Literal

from typing_extensions import TypedDict

from aiops.web.records import EntityRecord, SeriesRecord, Stamp

Health = Literal["ok", "info", "silent", "warning", "critical"]


# The fleet --------------------------------------------------------------------------------------------------------


class ThingRecord(EntityRecord):
    """A pool, replica, GPU, node or target with its health and a few numbers."""

    health: Health
    alerts: int
    score: float
    numbers: Mapping[str, float]


class ReplicaRecord(ThingRecord):
    """A replica and the GPUs that are its own."""

    gpus: Sequence[ThingRecord]


class PoolRecord(ThingRecord):
    """A pool and its replicas."""

    replicas: Sequence[ReplicaRecord]


class NodeRecord(TypedDict):
    """GPUs of a node that no replica has for itself."""

    node: str
    health: Health
    gpus: Sequence[ThingRecord]


class FleetRecord(TypedDict):
    """The fleet, the sickest pool first."""

    at: Stamp
    pools: Sequence[PoolRecord]
    nodes: Sequence[NodeRecord]
    elsewhere: Sequence[ThingRecord]


class TargetRecord(TypedDict):
    """One source and its health."""

    source: str
    kind: str
    entity: EntityRecord
    health: Literal["up", "down", "unknown"]
    lastError: str
    lastScrape: Stamp
    lastSuccess: Stamp
    lastScrapeDuration: str | float | None
    scrapeInterval: float
    failures: int
    facts: Mapping[str, str | float]


class TargetRecords(TypedDict):
    """Every source."""

    activeTargets: Sequence[TargetRecord]


class PageRecord(TypedDict):
    """What a target said last, and what was found in it."""

    source: str
    url: str
    text: str
    cut: bool
    report: Mapping[str, object] | None


class JobRecord(TypedDict):
    """A job and how many relabelling rules it has."""

    name: str
    rules: int


class JobRecords(TypedDict):
    """Every job."""

    jobs: Sequence[JobRecord]


class RelabelStep(TypedDict):
    """One relabelling rule, and what it made of the labels."""

    rule: Mapping[str, object]
    keep: bool
    reason: str
    output: Mapping[str, str]


class RelabelRecord(TypedDict):
    """What the rules of a job make of a target, or what is wrong with the rules that were given."""

    job: str
    error: str
    keep: bool
    labels: Mapping[str, str]
    steps: Sequence[RelabelStep]


# Signals ----------------------------------------------------------------------------------------------------------


class SignalRecord(SeriesRecord):
    """Latest value of one series, with what was expected."""

    unit: str
    meaning: str
    value: float
    at: Stamp
    score: float
    expected: float
    lower: float
    upper: float
    confidence: float
    learning: bool
    votes: Mapping[str, float]


class SignalRecords(TypedDict):
    """Latest values."""

    signals: Sequence[SignalRecord]


class NameRecord(TypedDict):
    """A signal that there is a series of."""

    signal: str
    stats: Sequence[str]
    unit: str
    meaning: str
    series: int


class NameRecords(TypedDict):
    """Signals, in the order of the catalogue."""

    names: Sequence[NameRecord]


class PastRecord(SeriesRecord):
    """A series over time: one number per row of ``at``."""

    unit: str
    meaning: str
    values: Sequence[float]
    lower: Sequence[float]
    upper: Sequence[float]
    score: Sequence[float]
    votes: Mapping[str, float]
    learning: bool


class HistoryRecord(TypedDict):
    """Some series on one axis of time."""

    step: float
    at: Sequence[float]
    series: Sequence[PastRecord]
    more: int


class ChangeRecord(SeriesRecord):
    """A series that is elsewhere than before."""

    unit: str
    distance: float
    harm: float
    before: float
    then: float
    onset: Stamp


class ChangeRecords(TypedDict):
    """What changed, the farthest first, and of how many series."""

    changes: Sequence[ChangeRecord]
    series: int


class DetectorRecord(TypedDict):
    """A detector and how much it judges."""

    name: str
    adviser: bool
    judged: int
    outside: int


class RuleRecord(TypedDict):
    """A rule, what it saw, and why it may say nothing."""

    name: str
    severity: str
    summary: str
    description: str
    condition: str
    lookAlikes: Sequence[str]
    runbook: str
    fires: str
    resolves: str
    active: int
    watched: int | None
    outside: int | None
    fine: int | None
    missing: Sequence[str]


class DetectorRecords(TypedDict):
    """Every detector and rule."""

    series: int
    learning: int
    detectors: Sequence[DetectorRecord]
    rules: Sequence[RuleRecord]
