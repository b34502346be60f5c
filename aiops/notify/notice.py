"""What goes out: an alert or an incident as receivers see it.

The labels are the identity of an alert: Alertmanager takes another label set for another alert. So no number that
changes stands in a label, and the severity is the one with which the alert fired.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aiops.detect.base import AlertKey
from aiops.incidents.alert import Alert, Incident
from aiops.kit.text import printable
from aiops.kit.tokens import signed
from aiops.signals.types import Labels

_SAID_ALERTS = 5
LINK_LASTS_SECONDS = 14 * 86_400.0
"""How long a link for feedback holds: a holiday."""
_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_FNV_OFFSET, _FNV_PRIME, _SEPARATOR = 0xCBF29CE484222325, 0x100000001B3, b"\xff"


@dataclass(frozen=True, slots=True)
class Letterhead:
    """What stands on every notice: labels of this installation, and where its links lead (``""`` = no link).

    ``link_key`` signs links through which people say what an alert was; empty: there are none.
    """

    external_labels: Labels = ()
    external_url: str = ""
    runbook_url: str = ""
    link_key: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Notice:
    """One alert on its way out.

    Attributes
    ----------
    labels
        Identity; sorted, no empty values.
    annotations
        Texts and numbers for people; may change while the alert stays the same.
    starts_at, ends_at
        UTC seconds; ``ends_at`` is None while the alert fires.
    """

    labels: Labels
    annotations: Labels
    starts_at: float
    ends_at: float | None
    generator_url: str = ""

    @property
    def status(self) -> str:
        """``firing`` or ``resolved``."""
        return "firing" if self.ends_at is None else "resolved"


@dataclass(frozen=True, slots=True)
class IncidentNotice:
    """An incident that changed, with its alerts as they stand now, and what is known of it in words.

    ``cause`` is the id of the cause that is named, ``""`` while none is.
    """

    incident: Incident
    alerts: tuple[Notice, ...]
    url: str = ""
    summary: str = ""
    cause: str = ""


def notice_of(alert: Alert, head: Letterhead, cause: str = "", pods: str = "") -> Notice:
    """Word one alert; ``cause`` is what is known of the cause of its incident, ``pods`` who was given its GPU."""
    series, verdict = alert.key.series, alert.verdict
    labels = {
        **dict(head.external_labels),
        **dict(series.entity.labels),
        "alertname": alert.key.rule,
        "severity": str(alert.severity),
        "signal": series.signal,
        "stat": series.stat,
    }
    annotations = {
        "summary": verdict.summary,
        "description": verdict.reason,
        "value": _number(verdict.value),
        "expected": _number(verdict.expected),
        "score": _number(verdict.score),
        "incident": alert.incident,
        "cause": cause,
        "pods": pods,
        "after": alert.after,
        "ended": alert.outlasted,
        "runbook_url": f"{head.runbook_url.rstrip('/')}/{verdict.runbook}"
        if head.runbook_url and verdict.runbook
        else "",
    }
    identity = tuple(sorted((name, value) for name, value in labels.items() if value))
    annotations["feedback_url"] = feedback_url(alert, fingerprint(identity), head)
    return Notice(
        labels=identity,
        annotations=tuple((name, _sayable(value)) for name, value in annotations.items() if value),
        starts_at=alert.started_at,
        ends_at=None if alert.active else alert.ended_at,
        generator_url=_link(head, alert.incident),
    )


def feedback_url(alert: Alert, name: str, head: Letterhead) -> str:
    """Where a person can say once what this occurrence of an alert was; equal at every call, so it is no news.

    The payload is fingerprint, incident, start and end of validity, in UTC seconds.
    """
    if not (head.external_url and head.link_key and alert.incident):
        return ""
    payload = f"{name} {alert.incident} {alert.started_at:.3f} {alert.started_at + LINK_LASTS_SECONDS:.0f}"
    return f"{head.external_url.rstrip('/')}/feedback/{signed(head.link_key, payload)}"


def incident_notice_of(
    incident: Incident, alerts: Mapping[AlertKey, Alert], head: Letterhead, summary: str = "", cause: str = ""
) -> IncidentNotice:
    """Word one incident; members that were forgotten already are left out."""
    members = tuple(notice_of(alerts[key], head) for key in incident.members if key in alerts)
    return IncidentNotice(incident, members, _link(head, incident.id), summary, cause)


@dataclass(frozen=True, slots=True)
class Message:
    """An incident in words, for receivers that show text."""

    title: str
    text: str
    url: str


def message_of(item: IncidentNotice) -> Message:
    """Title, a few lines, and where to read on. What is known of the cause, else the reasons of the alerts."""
    incident = item.incident
    state = str(incident.severity).upper() if incident.open else "RESOLVED"
    lines = item.summary.splitlines()
    if not lines:
        firing = [dict(alert.annotations).get("description", "") for alert in item.alerts if alert.ends_at is None]
        lines = [line for line in firing if line][:_SAID_ALERTS]
    text = "\n".join(printable(line) for line in lines)
    return Message(printable(f"[{state}] {incident.title}"), text, item.url)


def problem_of(notice: Notice) -> str:
    """Why no Alertmanager would take this notice; ``""`` when it is fine.

    One bad alert makes the answer to its whole batch an error, so each is judged before.
    """
    if not notice.labels:
        return "it has no labels"
    for name, value in notice.labels:
        if not _LABEL_NAME.fullmatch(name):
            return f"{name!r} is not a label name"
        if _sayable(value) != value:
            return f"the value of label {name!r} is not valid Unicode: {value!r}"
    for what, at in (("start", notice.starts_at), ("end", notice.ends_at)):
        if at is not None and not 0.0 < at < 253_402_300_800.0:  # year 10000; NaN fails too
            return f"its {what} {at!r} is not a time"
    return ""


def fingerprint(labels: Labels) -> str:
    """Name that Alertmanager gives an alert with these (sorted) labels: FNV-1a, 64 bits, 16 hex digits."""
    total = _FNV_OFFSET
    for name, value in labels:
        for byte in name.encode("utf-8", "replace") + _SEPARATOR + value.encode("utf-8", "replace") + _SEPARATOR:
            total = (total ^ byte) * _FNV_PRIME & 0xFFFFFFFFFFFFFFFF
    return f"{total:016x}"


def rfc3339(at: float) -> str:
    """UTC seconds as text with milliseconds."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def record_of(notice: Notice) -> dict[str, object]:
    """JSON form that Alertmanager takes; ``endsAt`` is missing while the alert fires."""
    record: dict[str, object] = {
        "labels": dict(notice.labels),
        "annotations": dict(notice.annotations),
        "startsAt": rfc3339(notice.starts_at),
    }
    if notice.ends_at is not None:
        record["endsAt"] = rfc3339(notice.ends_at)
    if notice.generator_url:
        record["generatorURL"] = notice.generator_url
    return record


def _link(head: Letterhead, incident: str) -> str:
    base = head.external_url.rstrip("/")
    return f"{base}/incidents/{incident}" if base and incident else base


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"


def _sayable(text: str) -> str:
    """Text that UTF-8 can carry: a scraped page may leave lone surrogates, and no page is worth losing an alert."""
    return text.encode("utf-8", "replace").decode()
