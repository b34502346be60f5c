"""The alert that tests of receivers tell."""

from aiops.detect.base import AlertKey, Severity, Verdict
from aiops.incidents.alert import Alert, AlertState
from aiops.signals.types import Entity, EntityKind, SeriesKey

START = 1_700_000_000.0


def alert_of(
    instance: str = "a:8000",
    state: AlertState = AlertState.FIRING,
    started_at: float = START,
    ended_at: float = 0.0,
    value: float = 42.0,
) -> Alert:
    """One about one replica, firing unless told otherwise."""
    entity = Entity.of(EntityKind.REPLICA, job="vllm", instance=instance, model_name="tiny")
    verdict = Verdict(
        "QueueGrows",
        Severity.WARNING,
        2.5,
        value,
        summary="Queue grows",
        reason=f"{value} waiting",
        runbook="queue-grows",
    )
    key = AlertKey("QueueGrows", SeriesKey(entity, "queue_len"))
    return Alert(key, state, started_at, started_at, verdict, ended_at=ended_at, incident="abc")
