"""What is written at once, as SQL: every record whole as JSON, and beside it the columns that one searches by.

The tables are those of :data:`aiops.store.archive.MIGRATIONS`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from aiops.detect.base import AlertKey
from aiops.incidents.alert import Alert, AlertState, Incident, Notified, Transition
from aiops.incidents.feedback import Opinion
from aiops.incidents.policy import Window
from aiops.signals.types import Mark
from aiops.store.codec import Codec

ALERTS = Codec(Alert)
ALERT_KEYS = Codec(AlertKey)
TRANSITIONS = Codec(Transition)
INCIDENTS = Codec(Incident)
MARKS = Codec(Mark)
OPINIONS = Codec(Opinion)
WINDOWS = Codec(Window)
NOTIFIED = Codec(Notified)

Statement = tuple[str, tuple[str | float, ...]]
"""SQL and its parameters."""


@dataclass(frozen=True, slots=True)
class Told:
    """What was told of an incident; replaces what the same ``author`` told before.

    ``record`` is the author's own JSON; the store does not look into it.
    """

    incident: str
    author: str
    at: float
    record: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Records that stand or fall together: one transaction.

    ``alerts``, when given, is the complete set of alerts that are not inactive and replaces what is there.
    """

    transitions: tuple[Transition, ...] = ()
    incidents: tuple[Incident, ...] = ()
    marks: tuple[Mark, ...] = ()
    alerts: tuple[Alert, ...] | None = None
    opinions: tuple[Opinion, ...] = ()
    notified: tuple[Notified, ...] = ()
    told: tuple[Told, ...] = ()
    windows: tuple[Window, ...] = ()

    def __len__(self) -> int:
        each = (
            self.transitions,
            self.incidents,
            self.marks,
            self.alerts or (),
            self.opinions,
            self.told,
            self.notified,
            self.windows,
        )
        return sum(map(len, each))

    def statements(self) -> list[Statement]:
        """SQL of the batch.

        Raises
        ------
        ValueError
            When a record cannot be written as JSON.
        """
        return [*self._statements()]

    def _statements(self) -> Iterator[Statement]:
        for transition in self.transitions:
            yield _insert_transition(transition)
            yield _put_alert(transition.alert)
        if self.alerts is not None:
            yield "DELETE FROM alerts", ()
            yield from map(_put_alert, self.alerts)
        yield from map(_put_incident, self.incidents)
        yield from map(_insert_mark, self.marks)
        yield from map(_put_opinion, self.opinions)
        yield from map(_put_notified, self.notified)
        for told in self.told:
            row = (told.incident, told.author, told.at, told.record)
            yield "INSERT OR REPLACE INTO told VALUES (?, ?, ?, ?)", row
        yield from map(_put_window, self.windows)


def _put_alert(alert: Alert) -> Statement:
    key = ALERT_KEYS.dump(alert.key)
    if alert.state == AlertState.INACTIVE:
        return "DELETE FROM alerts WHERE key = ?", (key,)
    return "INSERT OR REPLACE INTO alerts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (
        key,
        alert.key.rule,
        alert.key.series.signal,
        alert.state.value,
        alert.severity.value,
        alert.started_at,
        alert.updated_at,
        alert.ended_at,
        alert.incident,
        ALERTS.dump(alert),
    )


def _insert_transition(transition: Transition) -> Statement:
    alert = transition.alert
    return "INSERT INTO transitions VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)", (
        transition.at,
        alert.key.rule,
        alert.key.series.signal,
        transition.before.value,
        alert.state.value,
        transition.reason.kind.value,
        alert.incident,
        TRANSITIONS.dump(transition),
    )


def _put_incident(incident: Incident) -> Statement:
    return "INSERT OR REPLACE INTO incidents VALUES (?, ?, ?, ?, ?, ?, ?)", (
        incident.id,
        incident.title,
        incident.severity.value,
        incident.started_at,
        incident.updated_at,
        incident.ended_at,
        INCIDENTS.dump(incident),
    )


def _insert_mark(mark: Mark) -> Statement:
    return "INSERT INTO marks VALUES (NULL, ?, ?, ?, ?, ?)", (
        mark.at,
        mark.kind.value,
        mark.entity.kind.value,
        mark.detail,
        MARKS.dump(mark),
    )


def _put_opinion(opinion: Opinion) -> Statement:
    return "INSERT OR REPLACE INTO opinions VALUES (?, ?, ?, ?, ?, ?, ?)", (
        opinion.id,
        opinion.at,
        opinion.key.rule,
        opinion.judgement.value,
        opinion.incident,
        opinion.undone_at,
        OPINIONS.dump(opinion),
    )


def _put_window(window: Window) -> Statement:
    return "INSERT OR REPLACE INTO windows VALUES (?, ?, ?, ?)", (
        window.id,
        window.begins_at,
        window.ends_at,
        WINDOWS.dump(window),
    )


def _put_notified(notified: Notified) -> Statement:
    return "INSERT OR REPLACE INTO notified VALUES (?, ?, ?, ?)", (
        notified.receiver,
        notified.incident,
        notified.at,
        NOTIFIED.dump(notified),
    )
