"""What the API answers: the shape of every record, for those who build them and for the OpenAPI document.

A ``float`` that is not known is NaN here and null in JSON. Times are RFC 3339 in UTC, None for what has not happened.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

Stamp = Annotated[str | None, Field(json_schema_extra={"format": "date-time"})]


class EntityRecord(TypedDict):
    """A thing that is watched: its kind (pool, replica, gpu, node, target, …), the labels that identify it, and the
    shortest name that tells it from others of its kind."""

    kind: str
    name: str
    labels: Mapping[str, str]


class SeriesRecord(TypedDict):
    """Identity of a series."""

    signal: str
    stat: str
    entity: EntityRecord


class ConfigRecord(TypedDict):
    """The configuration in effect, without secrets."""

    yaml: str


class ReceiverRecord(TypedDict):
    """Health of one receiver of notices."""

    name: str
    kind: str
    health: Literal["up", "down"]
    lastError: str
    warning: str
    queueLength: int
    sent: int
    dropped: int


class TaskRecord(TypedDict):
    """One loop of the daemon."""

    name: str
    state: str
    crashes: int
    error: str


class StatusRecord(TypedDict):
    """Version, load, limits and health of the daemon's own parts."""

    version: str
    startedAt: Stamp
    lastTick: Stamp
    tickSeconds: float
    ticks: int
    ticksSkipped: int
    detectorsLeftOut: Sequence[str]
    series: int
    seriesLimit: int
    ringBytes: int
    bandBytes: int
    residentBytes: float | None
    listeners: int
    listenersRefused: int
    listenersDropped: int
    alertBudgetAsked: float
    alertBudgetFired: float | None
    configFile: str
    lastReloadSuccessful: bool
    storage: str
    storageProblem: str
    snapshotAt: Stamp
    receivers: Sequence[ReceiverRecord]
    discoveryProblems: Sequence[str]
    jobsWithoutTargets: Sequence[str]
    tasks: Sequence[TaskRecord]
