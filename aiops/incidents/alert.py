"""Records of the incident room: an alert's life, why it moved, and the incident it belongs to."""

from dataclasses import dataclass, replace
from enum import StrEnum

from aiops.detect.base import AlertKey, Severity, Verdict


class AlertState(StrEnum):
    """inactive → pending → firing → resolving → resolved (→ forgotten)."""

    INACTIVE = "inactive"
    PENDING = "pending"
    FIRING = "firing"
    RESOLVING = "resolving"
    RESOLVED = "resolved"


class ReasonKind(StrEnum):
    """Why an alert changed state."""

    BREACH_SEEN = "breach_seen"
    ENOUGH_BREACHES = "enough_breaches"
    NOT_ENOUGH_BREACHES = "not_enough_breaches"
    CLEAR_SEEN = "clear_seen"
    BREACH_AGAIN = "breach_again"
    ENOUGH_CLEARS = "enough_clears"
    TOLD_NOW = "told_now"
    SERIES_GONE = "series_gone"
    OUTLASTED = "outlasted"
    RETENTION_OVER = "retention_over"
    TOLD = "told"


@dataclass(frozen=True, slots=True)
class Reason:
    """Kind plus one sentence with the counts, e.g. ``3 of the last 4 points were out of bounds (needs 3)``."""

    kind: ReasonKind
    text: str


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert as it stands now.

    Attributes
    ----------
    started_at
        UTC seconds at which the alert began to fire (first breach of the run that fired while pending);
        never changes while it is active, also over a restart.
    updated_at
        UTC seconds of the last judgement.
    ended_at
        UTC seconds at which it was resolved, 0.0 while active.
    verdict
        The latest breach seen, with its numbers; its severity stays what it was when the alert fired.
    history
        Outcome of the last judged points, newest in bit 0 (1 = breach); unknown points are not in it. It
        starts anew when the alert fires and when it is resolved.
    judged
        How many points are in ``history`` (≤ 64).
    incident
        Id of the incident that it belongs to, ``""`` until it fires.
    waited_seconds
        While pending or active: how long nothing was heard. While resolved: how long ago that was. Clock jumps
        are left out, here and below.
    firing_seconds
        How long it has been firing.
    calm_seconds
        While active: how long it has been within bounds. While pending again: how long ago it was resolved.
    refired
        How often it fired again after it was resolved, since it was last forgotten.
    muted
        Why it is not told yet although it fires; ``""`` when it is told.
    outlasted
        Why it ended although it was still out of bounds, until it is well within them again; else ``""``.
    after
        What had changed shortly before it fired, in words.
    peak_score
        Highest score of this occurrence, as it would be without widened thresholds.
    """

    key: AlertKey
    state: AlertState
    started_at: float
    updated_at: float
    verdict: Verdict
    ended_at: float = 0.0
    history: int = 0
    judged: int = 0
    incident: str = ""
    waited_seconds: float = 0.0
    peak_score: float = 1.0
    firing_seconds: float = 0.0
    calm_seconds: float = 0.0
    refired: int = 0
    muted: str = ""
    outlasted: str = ""
    after: str = ""

    @property
    def severity(self) -> Severity:
        """Severity with which it fired, or that of the latest breach while it is pending."""
        return self.verdict.severity

    @property
    def active(self) -> bool:
        """Firing, also while it is being resolved."""
        return self.state in (AlertState.FIRING, AlertState.RESOLVING)

    @property
    def told(self) -> bool:
        """People hear of it: it is active, and nothing holds it back."""
        return self.active and not self.muted

    def moved(self, **changes: object) -> "Alert":
        """Copy with some fields replaced."""
        return replace(self, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Transition:
    """An alert moved from one state to another, and why."""

    at: float
    before: AlertState
    alert: Alert
    reason: Reason

    @property
    def began(self) -> bool:
        """The alert started to fire, or is told at last: news for people."""
        fired = self.before not in (AlertState.FIRING, AlertState.RESOLVING)
        return self.alert.told and (fired or self.reason.kind is ReasonKind.TOLD_NOW)

    @property
    def ended(self) -> bool:
        """The alert stopped firing, and people had heard of it: news for people."""
        fired = self.before in (AlertState.FIRING, AlertState.RESOLVING)
        return fired and not self.alert.active and not self.alert.muted


@dataclass(frozen=True, slots=True)
class Incident:
    """Alerts that belong together, told once.

    ``ended_at`` is 0.0 while open. ``members`` are alert keys in order of their start.
    """

    id: str
    title: str
    severity: Severity
    started_at: float
    updated_at: float
    ended_at: float
    members: tuple[AlertKey, ...]

    @property
    def open(self) -> bool:
        """Some member is still firing."""
        return self.ended_at == 0.0


@dataclass(frozen=True, slots=True)
class Notified:
    """A receiver took a message about an incident at a time (UTC seconds); ``news`` is what it knew from then on."""

    receiver: str
    incident: str
    news: str
    at: float
