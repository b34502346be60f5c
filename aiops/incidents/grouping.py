"""Which alerts are one story: those that share a place in the fleet and began at about the same time.

An alert joins the open incident that it shares the smallest place with (its GPU, its host, its replica, its pool, its
model), if that one gained a member lately. In a storm, whatever begins joins its first incident. An incident ends when
its last member is resolved. All is derived from the alerts as they stand, not from what moved, so an incident that was
lost with a crash is found again at the next step; waits grow by bounded steps, so a clock that jumps splits nothing.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from aiops.detect.base import AlertKey, Severity
from aiops.incidents.alert import Alert, Incident
from aiops.incidents.machine import order
from aiops.incidents.places import Fleet, Place
from aiops.incidents.settings import IncidentSettings
from aiops.signals.tenancy import NO_TENANCY, Tenancy
from aiops.signals.types import Entity, SeriesKey

_MOST_USED = 10_000
"""Ids that are remembered, so that none is given twice."""
_RANK = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}


@dataclass(slots=True)
class _Kept:
    """One incident while it is worked on.

    ``opened_seconds`` and ``quiet_seconds``: how long ago it opened, and since it last gained a member or ended.
    """

    incident: Incident
    members: dict[AlertKey, None]
    opened_seconds: float = 0.0
    quiet_seconds: float = 0.0


class Grouping:
    """Keeps the incidents that are open or ended less than ``flap_window`` ago.

    Parameters
    ----------
    this_host
        Name of the machine that loopback addresses mean.
    """

    def __init__(self, settings: IncidentSettings, this_host: str = "") -> None:
        self._settings = settings
        self._fleet = Fleet(this_host)
        self._kept: dict[str, _Kept] = {}
        self._used: dict[str, None] = {}
        self._last_step_at: float | None = None

    @property
    def incidents(self) -> Mapping[str, Incident]:
        """Kept incidents by id."""
        return MappingProxyType({name: kept.incident for name, kept in self._kept.items()})

    def restore(self, incidents: Iterable[Incident]) -> None:
        """Go on from kept incidents; how long they were quiet is not known, and taken as not at all."""
        storm = self._settings.storm_window
        incidents = sorted(incidents, key=lambda one: (one.started_at, one.id))  # the older one is joined first
        for one in incidents:
            self._use(one.id)
        self._kept = {one.id: _Kept(one, dict.fromkeys(one.members), opened_seconds=storm) for one in incidents}

    def step(
        self,
        now: float,
        alerts: Mapping[AlertKey, Alert],
        keys: Sequence[SeriesKey | None] = (),
        tenancy: Tenancy = NO_TENANCY,
    ) -> list[Incident]:
        """Bring the incidents up to date with the alerts of ``machine.alerts``.

        Parameters
        ----------
        now
            UTC seconds.
        keys
            Series of the window: they tell who serves where.
        tenancy
            Who has which GPU, where that is known.

        Returns
        -------
        list[Incident]
            Incidents that opened, gained a member, reopened or ended. Give them to ``machine.assign``.
        """
        self._fleet.follow(keys, tenancy)
        self._age(now)
        changed = self._house(now, self._homeless(alerts))
        for name, kept in list(self._kept.items()):
            if kept.incident.open and not any(_active(alerts, key) for key in kept.members):
                kept.incident = replace(kept.incident, ended_at=now, updated_at=now)
                kept.quiet_seconds = 0.0
                changed[name] = None
            elif not kept.incident.open and kept.quiet_seconds > self._settings.flap_window:
                del self._kept[name]
        return [self._kept[name].incident for name in changed]

    def places(self, entity: Entity) -> tuple[Place, ...]:
        """Where something is in the fleet, the smallest place first."""
        return self._fleet.places(entity)

    def _age(self, now: float) -> None:
        last, self._last_step_at = self._last_step_at, now
        seconds = 0.0 if last is None else min(max(now - last, 0.0), self._settings.longest_step)
        for kept in self._kept.values():
            kept.opened_seconds += seconds
            kept.quiet_seconds += seconds

    def _homeless(self, alerts: Mapping[AlertKey, Alert]) -> list[Alert]:
        """Alerts that people hear of and no open incident has, oldest first."""
        housed = {key for kept in self._kept.values() if kept.incident.open for key in kept.members}
        homeless = [alert for key, alert in alerts.items() if alert.told and key not in housed]
        return sorted(homeless, key=lambda alert: (alert.started_at, order(alert.key)))

    def _house(self, now: float, homeless: Sequence[Alert]) -> dict[str, None]:
        """Find or open an incident for each; names of those that changed."""
        changed: dict[str, None] = {}
        if not homeless:
            return changed
        at = self._by_place()
        before = {key: kept for kept in self._kept.values() if not kept.incident.open for key in kept.members}
        for alert in homeless:
            places = self._fleet.places(alert.key.series.entity)
            kept = next((at[place] for place in places if place in at), None) or before.get(alert.key) or self._storm()
            if kept is None:
                kept = self._opened(now, alert)
                self._kept[kept.incident.id] = kept
            kept.members[alert.key] = None
            kept.quiet_seconds = 0.0
            kept.incident = _told_by_the_worst(kept.incident, alert, now)
            for place in places:
                at.setdefault(place, kept)
            changed[kept.incident.id] = None
        for name in changed:
            kept = self._kept[name]
            kept.incident = replace(kept.incident, members=tuple(kept.members))
        return changed

    def _by_place(self) -> dict[Place, _Kept]:
        """Place → the open incident there that an alert may still join; the oldest where there are several."""
        found: dict[Place, _Kept] = {}
        for kept in self._kept.values():
            if kept.incident.open and kept.quiet_seconds <= self._settings.join_window:
                for key in kept.members:
                    for place in self._fleet.places(key.series.entity):
                        found.setdefault(place, kept)
        return found

    def _storm(self) -> _Kept | None:
        """First open incident of the storm that rages; None when there is none."""
        young = [one for one in self._kept.values() if one.opened_seconds < self._settings.storm_window]
        raging = len(young) >= self._settings.storm_incidents
        return next((one for one in young if one.incident.open), None) if raging else None

    def _opened(self, now: float, alert: Alert) -> _Kept:
        incident = Incident(
            id=self._id(alert),
            title=alert.verdict.summary,
            severity=alert.severity,
            started_at=alert.started_at,
            updated_at=now,
            ended_at=0.0,
            members=(alert.key,),
        )
        return _Kept(incident, {})

    def _id(self, alert: Alert) -> str:
        """Short id that two daemons agree on, whose clocks and ticks differ by seconds: of the place and the time.

        The start is rounded to the nearest whole flap window, because what timers start on the quarter hour lies in the
        middle of one then. Some edge remains: a name that is the same for all starts near each other is the same for
        all starts. A second incident of one place and window, or one that a clock that was set back brings there, is
        named by the alert that began it, too.
        """
        window = round(alert.started_at / self._settings.flap_window)
        parts = (*self._fleet.name(alert.key.series.entity), str(window))
        more = ((), order(alert.key), (*order(alert.key), repr(alert.started_at)))
        names = [_digest((*parts, *each)) for each in more]
        name = next((one for one in names if one not in self._used), names[-1])
        self._use(name)
        return name

    def _use(self, name: str) -> None:
        self._used[name] = None
        if len(self._used) > _MOST_USED:
            del self._used[next(iter(self._used))]


def _digest(parts: Iterable[str]) -> str:
    return hashlib.blake2s("\n".join(parts).encode("utf-8", "replace"), digest_size=6).hexdigest()


def _told_by_the_worst(incident: Incident, alert: Alert, now: float) -> Incident:
    """Open, with the words of the most severe member: the first of the highest severity seen."""
    worse = _RANK[alert.severity] > _RANK[incident.severity]
    return replace(
        incident,
        updated_at=now,
        ended_at=0.0,
        title=alert.verdict.summary if worse else incident.title,
        severity=alert.severity if worse else incident.severity,
    )


def _active(alerts: Mapping[AlertKey, Alert], key: AlertKey) -> bool:
    alert = alerts.get(key)
    return alert is not None and alert.active
