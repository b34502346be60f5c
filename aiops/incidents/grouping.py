"""Which alerts are one story: those with the same root in the topology at the same time.

The root is the widest thing that an alert's labels name: its pool, else its job, node, instance, else itself.
A root has at most one open incident; it ends when its last member is resolved. All is derived from the alerts as
they stand, not from what moved, so an incident that was lost with a crash is found again at the next step.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from aiops.detect.base import AlertKey, Severity
from aiops.incidents.alert import Alert, Incident
from aiops.incidents.machine import order
from aiops.incidents.settings import IncidentSettings
from aiops.signals.types import Entity

_ROOT_LABELS = ("pool", "job", "node", "instance")
_RANK = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}


def root_of(entity: Entity) -> str:
    """Name of the widest thing that an entity belongs to, such as ``pool=chat``."""
    return next((f"{name}={value}" for name in _ROOT_LABELS if (value := entity.label(name))), str(entity))


class Grouping:
    """Keeps the incidents that are open or ended less than ``flap_window`` ago."""

    def __init__(self, settings: IncidentSettings) -> None:
        self._flap_window_seconds = settings.flap_window
        self._incidents: dict[str, Incident] = {}

    @property
    def incidents(self) -> Mapping[str, Incident]:
        """Kept incidents by id; a live view."""
        return MappingProxyType(self._incidents)

    def restore(self, incidents: Iterable[Incident]) -> None:
        """Go on from kept incidents."""
        self._incidents = {incident.id: incident for incident in incidents}

    def step(self, now: float, alerts: Mapping[AlertKey, Alert]) -> list[Incident]:
        """Bring the incidents up to date with the alerts of ``machine.alerts``.

        Returns
        -------
        list[Incident]
            Incidents that opened, gained a member, reopened or ended. Give them to ``machine.assign``.
        """
        changed: dict[str, Incident] = {}
        homeless = self._homeless(alerts)
        neighbours = self._by_root() if homeless else {}
        for alert in homeless:
            incident = self._home(now, alert, neighbours.setdefault(root_of(alert.key.series.entity), {}))
            self._incidents[incident.id] = changed[incident.id] = incident
        for incident in list(self._incidents.values()):
            if incident.open and not any(_active(alerts, key) for key in incident.members):
                ended = replace(incident, ended_at=now, updated_at=now)
                self._incidents[incident.id] = changed[incident.id] = ended
            elif not incident.open and now - incident.ended_at > self._flap_window_seconds:
                del self._incidents[incident.id]
        return list(changed.values())

    def _homeless(self, alerts: Mapping[AlertKey, Alert]) -> list[Alert]:
        """Active alerts that no open incident has, oldest first."""
        housed = {key for incident in self._incidents.values() if incident.open for key in incident.members}
        homeless = [alert for key, alert in alerts.items() if alert.active and key not in housed]
        return sorted(homeless, key=lambda alert: (alert.started_at, order(alert.key)))

    def _by_root(self) -> dict[str, dict[str, Incident]]:
        """Kept incidents by root and id."""
        found: dict[str, dict[str, Incident]] = {}
        for incident in self._incidents.values():
            found.setdefault(root_of(incident.members[0].series.entity), {})[incident.id] = incident
        return found

    def _home(self, now: float, alert: Alert, same_root: dict[str, Incident]) -> Incident:
        """Find or open the incident of one alert, and note it among those of its root."""
        incident = next((i for i in same_root.values() if i.open), None) or next(
            (i for i in reversed(same_root.values()) if alert.key in i.members), None
        )
        home = self._opened(now, alert) if incident is None else _joined(incident, alert, now)
        same_root[home.id] = home
        return home

    def _opened(self, now: float, alert: Alert) -> Incident:
        return Incident(
            id=self._id(alert),
            title=alert.verdict.summary,
            severity=alert.severity,
            started_at=alert.started_at,
            updated_at=now,
            ended_at=0.0,
            members=(alert.key,),
        )

    def _id(self, alert: Alert) -> str:
        """Short id that two daemons agree on, whose clocks and ticks differ by seconds.

        The start is rounded down to whole flap windows. The same alert cannot open two incidents within one:
        it would have reopened the first.
        """
        window = int(alert.started_at // self._flap_window_seconds)
        text = "\n".join((root_of(alert.key.series.entity), *order(alert.key), str(window)))
        return hashlib.blake2s(text.encode("utf-8", "replace"), digest_size=6).hexdigest()


def _joined(incident: Incident, alert: Alert, now: float) -> Incident:
    """Open, with this member, told by the most severe one: the first of the highest severity seen."""
    members = incident.members if alert.key in incident.members else (*incident.members, alert.key)
    worse = _RANK[alert.severity] > _RANK[incident.severity]
    return replace(
        incident,
        members=members,
        updated_at=now,
        ended_at=0.0,
        title=alert.verdict.summary if worse else incident.title,
        severity=alert.severity if worse else incident.severity,
    )


def _active(alerts: Mapping[AlertKey, Alert], key: AlertKey) -> bool:
    alert = alerts.get(key)
    return alert is not None and alert.active
