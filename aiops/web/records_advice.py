"""Records of replica advice. See :mod:`aiops.web.records`."""

from collections.abc import Mapping, Sequence
from typing import NotRequired

from typing_extensions import TypedDict

from aiops.web.records import Stamp


class PointRecord(TypedDict):
    """Share of requests in time with so many replicas, and its band over the drawn futures."""

    replicas: int
    probability: float
    low: float
    high: float
    price_per_hour: NotRequired[float]


class PromiseRecord(TypedDict):
    """What is promised: this share of requests waits no longer than that."""

    wait_seconds: float
    target: float


class BindingRecord(TypedDict):
    """What limits the pool."""

    constraint: str
    evidence: Sequence[str]
    relieved_by_replicas: bool
    advice: str


class AheadRecord(TypedDict):
    """How many replicas are needed some time from now."""

    seconds: float
    replicas: int


class ForecastRecord(TypedDict):
    """The load of now and of when a new replica would serve."""

    method: str
    now_per_second: float
    high_per_second: float


class ExhaustionRecord(TypedDict):
    """Time until the KV cache is full, with its 95 % interval, or why that is not known."""

    seconds: float
    soonest_seconds: float
    latest_seconds: float
    growth_per_second: float
    reason: str


class WasteRecord(TypedDict):
    """What was paid for and not needed."""

    seen_hours: float
    replica_hours: float
    idle_replica_hours: float
    over_replica_hours: float
    judged_hours: float
    idle_gpu_hours: float
    over_gpu_hours: float
    over_cost: float
    evidence: Sequence[str]


class TrackRecord(TypedDict):
    """What became of earlier advice."""

    followed: int
    kept: int
    not_followed: int
    judged: int
    mean_error: float


class AdviceRecord(TypedDict):
    """Advice on one pool; ``desired_replicas`` is null while ``abstained`` is true."""

    pool: str
    labels: Mapping[str, str]
    desired_replicas: int | None
    current_replicas: int
    ready_replicas: int
    abstained: bool
    reason: str
    held: Sequence[str]
    at: Stamp
    slo: PromiseRecord
    probability: float
    probability_now: float
    binding: BindingRecord
    curve: Sequence[PointRecord]
    ahead: Sequence[AheadRecord]
    mmc_floor_replicas: float
    burst_premium_replicas: float
    model: str
    model_error_ratio: float
    model_errors: Mapping[str, float]
    forecast: ForecastRecord
    lead_seconds: float
    lead_known_by: str
    assumed: str
    kv_exhaustion: ExhaustionRecord
    waste: WasteRecord | None
    track: TrackRecord


class AdviceRecords(TypedDict):
    """Advice on every pool."""

    recommendations: Sequence[AdviceRecord]
