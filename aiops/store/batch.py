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
from aiops.store.seal import UNSEALED, Seal

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

    def statements(self, seal: Seal = UNSEALED) -> list[Statement]:
        """SQL of the batch, its records sealed.

        Raises
        ------
        ValueError
            When a record cannot be written as JSON.
        """
        return [*self._statements(seal)]

    def _statements(self, seal: Seal) -> Iterator[Statement]:
        for transition in self.transitions:
            yield _insert_transition(transition, seal)
            yield _put_alert(transition.alert, seal)
        if self.alerts is not None:
            yield "DELETE FROM alerts", ()
            yield from (_put_alert(alert, seal) for alert in self.alerts)
        yield from (_put_incident(incident, seal) for incident in self.incidents)
        yield from (_insert_mark(mark, seal) for mark in self.marks)
        yield from (_put_opinion(opinion, seal) for opinion in self.opinions)
        yield from (_put_notified(notified, seal) for notified in self.notified)
        for told in self.told:
            row = (told.incident, told.author, told.at, seal.shut(told.record))
            yield "INSERT OR REPLACE INTO told VALUES (?, ?, ?, ?)", row
        yield from (_put_window(window, seal) for window in self.windows)


def _put_alert(alert: Alert, seal: Seal) -> Statement:
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
        seal.shut(ALERTS.dump(alert)),
    )


def _insert_transition(transition: Transition, seal: Seal) -> Statement:
    alert = transition.alert
    return "INSERT INTO transitions VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)", (
        transition.at,
        alert.key.rule,
        alert.key.series.signal,
        transition.before.value,
        alert.state.value,
        transition.reason.kind.value,
        alert.incident,
        seal.shut(TRANSITIONS.dump(transition)),
    )


def _put_incident(incident: Incident, seal: Seal) -> Statement:
    return "INSERT OR REPLACE INTO incidents VALUES (?, ?, ?, ?, ?, ?, ?)", (
        incident.id,
        seal.hidden(incident.title),
        incident.severity.value,
        incident.started_at,
        incident.updated_at,
        incident.ended_at,
        seal.shut(INCIDENTS.dump(incident)),
    )


def _insert_mark(mark: Mark, seal: Seal) -> Statement:
    return "INSERT INTO marks VALUES (NULL, ?, ?, ?, ?, ?)", (
        mark.at,
        mark.kind.value,
        mark.entity.kind.value,
        seal.hidden(mark.detail),
        seal.shut(MARKS.dump(mark)),
    )


def _put_opinion(opinion: Opinion, seal: Seal) -> Statement:
    return "INSERT OR REPLACE INTO opinions VALUES (?, ?, ?, ?, ?, ?, ?)", (
        opinion.id,
        opinion.at,
        opinion.key.rule,
        opinion.judgement.value,
        opinion.incident,
        opinion.undone_at,
        seal.shut(OPINIONS.dump(opinion)),
    )


def _put_window(window: Window, seal: Seal) -> Statement:
    return "INSERT OR REPLACE INTO windows VALUES (?, ?, ?, ?)", (
        window.id,
        window.begins_at,
        window.ends_at,
        seal.shut(WINDOWS.dump(window)),
    )


def _put_notified(notified: Notified, seal: Seal) -> Statement:
    return "INSERT OR REPLACE INTO notified VALUES (?, ?, ?, ?)", (
        notified.receiver,
        notified.incident,
        notified.at,
        seal.shut(NOTIFIED.dump(notified)),
    )
