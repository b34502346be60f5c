"""Parts of replica advice as records."""

from aiops.capacity.exhaustion import Exhaustion
from aiops.capacity.follow import Followed, Track
from aiops.capacity.scaling import CurvePoint
from aiops.capacity.waste import Waste
from aiops.web.records_advice import ExhaustionRecord, PointRecord, TrackRecord, WasteRecord


def point_record(point: CurvePoint, price_per_hour: float | None) -> PointRecord:
    """One number of replicas, with its price where one is known."""
    record: PointRecord = {
        "replicas": point.replicas, "probability": point.probability, "low": point.low, "high": point.high
    }  # fmt: skip
    if price_per_hour is not None:
        record["price_per_hour"] = price_per_hour * point.replicas
    return record


def exhaustion_record(found: Exhaustion) -> ExhaustionRecord:
    """When something runs out."""
    return {
        "seconds": found.seconds,
        "soonest_seconds": found.soonest_seconds,
        "latest_seconds": found.latest_seconds,
        "growth_per_second": found.growth_per_second,
        "reason": found.reason,
    }


def waste_record(waste: Waste) -> WasteRecord:
    """What was paid for and not needed."""
    return {
        "seen_hours": waste.seen_hours,
        "replica_hours": waste.replica_hours,
        "idle_replica_hours": waste.idle_replica_hours,
        "over_replica_hours": waste.over_replica_hours,
        "judged_hours": waste.judged_hours,
        "idle_gpu_hours": waste.idle_gpu_hours,
        "over_gpu_hours": waste.over_gpu_hours,
        "over_cost": waste.over_cost,
        "evidence": waste.evidence,
    }


def track_record(track: Track) -> TrackRecord:
    """What became of earlier advice."""
    return {
        "followed": track.counts[Followed.FOLLOWED],
        "kept": track.counts[Followed.KEPT],
        "not_followed": track.counts[Followed.NOT_FOLLOWED],
        "judged": track.judged,
        "mean_error": track.mean_error,
    }
