"""The records that travel between rooms: who was measured, what, when, and how much we know about the source."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

Labels = tuple[tuple[str, str], ...]
"""Label pairs sorted by name: hashable, and equal when the sets are equal."""


class EntityKind(StrEnum):
    """What a number describes, from the smallest part to the whole."""

    GPU = "gpu"
    NODE = "node"
    REPLICA = "replica"
    POOL = "pool"
    TARGET = "target"


@dataclass(frozen=True, slots=True)
class Entity:
    """One thing that is measured: a GPU, a serving replica (one model of one target), a pool, a target.

    The labels are its identity and become alert labels, so nothing that changes may stand in them.
    """

    kind: EntityKind
    labels: Labels

    @classmethod
    def of(cls, kind: EntityKind, **labels: str) -> Self:
        """Build from keywords; empty values are dropped, as Prometheus does."""
        return cls(kind, tuple(sorted((k, v) for k, v in labels.items() if v)))

    def label(self, name: str) -> str:
        """Value of one label, ``""`` when absent."""
        return next((value for key, value in self.labels if key == name), "")

    def __str__(self) -> str:
        inside = ",".join(f'{key}="{value}"' for key, value in self.labels)
        return f"{self.kind}{{{inside}}}"


class SeriesKey(NamedTuple):
    """Identity of one canonical series.

    ``signal`` is a name of :mod:`aiops.signals.catalog`; ``stat`` is empty for plain numbers and one of
    ``mean p50 p95 p99 rate`` for distributions.
    """

    entity: Entity
    signal: str
    stat: str = ""

    def __str__(self) -> str:
        name = f"{self.signal}:{self.stat}" if self.stat else self.signal
        return f"{name} of {self.entity}"


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Columns:
    """An interned tuple of series: the same *object* while a source's layout stays, so that receivers
    map it to their own columns once and gather by index afterwards."""

    keys: tuple[SeriesKey, ...]


class MarkKind(StrEnum):
    """Events that a source shows and that are not numbers."""

    RESTARTED = "restarted"
    VERSION_CHANGED = "version_changed"
    GPU_LOST = "gpu_lost"
    GPU_DRIVER_UNRESPONSIVE = "gpu_driver_unresponsive"
    XID = "xid"
    FILE_DAMAGED = "file_damaged"
    DEPLOY = "deploy"
    RECOMMENDATION = "recommendation"


@dataclass(frozen=True, slots=True)
class Mark:
    """Something happened to an entity at a time.

    Attributes
    ----------
    at
        UTC seconds.
    detail
        One line for a person: what changed from what to what.
    """

    kind: MarkKind
    entity: Entity
    at: float
    detail: str


@dataclass(frozen=True, slots=True)
class Buckets:
    """What a cumulative histogram gained between two readings.

    Attributes
    ----------
    bounds
        float64 [k], ascending upper bounds in the signal's canonical unit; the last is +Inf.
    counts
        float64 [k], observations that fell into each bucket (not cumulative), ≥ 0.
    total
        Sum of the observed values in the canonical unit; NaN when the source has none.
    """

    key: SeriesKey
    bounds: NDArray[np.float64]
    counts: NDArray[np.float64]
    total: float


@dataclass(frozen=True, slots=True)
class Reading:
    """One answer of one collector, already in canonical names and units.

    Attributes
    ----------
    source
        Stable name of the source, as in :class:`SourceStatus`.
    at
        UTC seconds when the answer arrived.
    columns, values
        Series and float64 [n] values; NaN = unknown. Unknown is never 0.
    buckets
        Histogram gains behind the quantiles, kept apart so that replicas can be merged correctly.
    marks
        Events that the answer showed.
    """

    source: str
    at: float
    columns: Columns
    values: NDArray[np.float64]
    buckets: tuple[Buckets, ...] = ()
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """Health of one source (a scrape target, the NVML thread, a probe), as its collector saw it last.

    Attributes
    ----------
    entity
        What is gone when the source is gone.
    interval_seconds
        How often it is asked.
    last_attempt, last_success, last_change
        UTC seconds of the last try, the last good answer, and the last answer that differed from the one
        before; 0.0 = never.
    failures
        Failed attempts in a row.
    error
        Why the last attempt failed; empty when it did not.
    facts
        What a person wants to see (engine, version, samples, bytes, duration_seconds, url …).
    """

    source: str
    kind: str
    entity: Entity
    interval_seconds: float
    last_attempt: float = 0.0
    last_success: float = 0.0
    last_change: float = 0.0
    failures: int = 0
    error: str = ""
    facts: dict[str, str | float] = field(default_factory=dict)

    @property
    def heard(self) -> bool:
        """It answered or failed at some time; before that it is neither up nor down."""
        return self.last_success > 0 or self.failures > 0

    @property
    def up(self) -> bool:
        """The last attempt succeeded."""
        return self.last_success > 0 and self.failures == 0
