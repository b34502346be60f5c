"""Alerts that others raised and an Alertmanager told us: where they belong in our fleet, and how long they stand.

They are evidence and members of incidents, never alerts of ours: nothing here is sent to an Alertmanager, which knows
them already. The same alert may be told any number of times and in any order; only what is news moves anything.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from aiops.detect.base import AlertKey, Severity, Verdict
from aiops.incidents.alert import Alert, AlertState, Incident, Reason, ReasonKind, Transition
from aiops.incidents.settings import IncidentSettings
from aiops.signals.types import Entity, EntityKind, Labels, SeriesKey

EXTERNAL = "external"
"""Signal of such an alert; its ``stat`` is the fingerprint that the sender gave."""
MOST_ALERTS = 5000
_SEVERITIES = {
    **dict.fromkeys(("critical", "page", "emergency", "fatal", "p1"), Severity.CRITICAL),
    **dict.fromkeys(("info", "none", "debug", "notice"), Severity.INFO),
}
_PLACES = ("pool", "job", "namespace", "node", "instance", "pod", "model_name", "gpu")
_ALIASES = {
    "Hostname": "node", "hostname": "node", "host": "node", "kubernetes_node": "node", "nodename": "node",
    "UUID": "gpu", "uuid": "gpu", "model": "model_name", "exported_instance": "instance", "exported_job": "job",
}  # fmt: skip
"""Other names under which exporters and rules say where something is."""


class Full(Exception):
    """As many alerts stand as may; nothing of the batch was taken."""


@dataclass(frozen=True, slots=True)
class Told:
    """One alert as an Alertmanager told it.

    Attributes
    ----------
    fingerprint
        Names the alert at the sender.
    started_at, ended_at
        UTC seconds by the sender's clock; ``ended_at`` is 0.0 while it fires.
    """

    fingerprint: str
    labels: Labels
    annotations: Mapping[str, str]
    firing: bool
    started_at: float
    ended_at: float
    generator_url: str = ""

    @property
    def name(self) -> str:
        """Its ``alertname``."""
        return dict(self.labels).get("alertname", "")


class Fleet:
    """What is known to be there, to be found by labels."""

    def __init__(self, entities: Iterable[Entity]) -> None:
        self._by_pair: dict[tuple[str, str], list[Entity]] = {}
        for entity in dict.fromkeys(entities):
            for pair in entity.labels:
                self._by_pair.setdefault(pair, []).append(entity)

    def place(self, labels: Labels) -> Entity:
        """The entity that shares most labels and contradicts none; a target made of the labels when there is none.

        Of two that share as many, the one with fewer labels of its own: an alert about a host is not one about a GPU.
        """
        said = {_ALIASES[name]: value for name, value in labels if name in _ALIASES} | dict(labels)
        rarest = min((found for pair in said.items() if (found := self._by_pair.get(pair))), key=len, default=[])
        fits = [entity for entity in rarest if all(said.get(name, value) == value for name, value in entity.labels)]
        if fits:
            return min(fits, key=lambda one: (-_shared(one, said), len(one.labels), str(one)))
        kept = {name: said[name] for name in _PLACES if said.get(name)}
        return Entity.of(EntityKind.TARGET, **(kept or {"alertname": said.get("alertname", "")}))


class Externals:
    """Keeps what was told until it is resolved and forgotten."""

    def __init__(self, settings: IncidentSettings) -> None:
        self._settings = settings
        self._alerts: dict[AlertKey, Alert] = {}
        self._by_name: dict[str, AlertKey] = {}
        self._last_step_at: float | None = None

    @property
    def alerts(self) -> Mapping[AlertKey, Alert]:
        """Active ones, and those resolved a while ago; a live view."""
        return MappingProxyType(self._alerts)

    def restore(self, alerts: Iterable[Alert]) -> None:
        """Go on from kept alerts."""
        self._alerts = {alert.key: alert for alert in alerts}
        self._by_name = {key.series.stat: key for key in self._alerts}

    def assign(self, incidents: Iterable[Incident]) -> None:
        """Write into the members of open incidents where they belong."""
        for incident in incidents:
            for key in incident.members if incident.open else ():
                if key in self._alerts:
                    self._alerts[key] = replace(self._alerts[key], incident=incident.id)

    def take(
        self, now: float, told: Sequence[Told], place: Callable[[Labels], Entity], seen: Callable[[Entity], str]
    ) -> list[Transition]:
        """Take in a batch, all or nothing.

        Parameters
        ----------
        now
            UTC seconds.
        place
            Where an alert belongs, see :meth:`Fleet.place`.
        seen
            What we see there ourselves, as a half sentence; ``""`` for nothing.

        Returns
        -------
        list[Transition]
            What was news; a repetition is none.

        Raises
        ------
        Full
            When more than :data:`MOST_ALERTS` would stand.
        """
        new = {one.fingerprint for one in told if one.firing} - set(self._by_name)
        if len(self._alerts) + len(new) > MOST_ALERTS:
            raise Full(f"{len(self._alerts)} alerts of others stand, at most {MOST_ALERTS} may")
        moves = []
        for one in told:
            key = self._by_name.get(one.fingerprint)
            known = self._alerts.get(key) if key is not None else None
            moved = self._moved(now, one, known, place, seen)
            if moved is not None:
                before = AlertState.INACTIVE if known is None else known.state
                self._alerts[moved.key] = moved
                self._by_name[one.fingerprint] = moved.key
                text = "an Alertmanager says that it " + ("fires" if moved.active else "is resolved")
                moves.append(Transition(now, before, moved, Reason(ReasonKind.TOLD, text)))
        return moves

    def step(self, now: float) -> list[Transition]:
        """Let time pass: what nobody repeats for ``external_ttl`` ends, what ended long ago is forgotten."""
        last, self._last_step_at = self._last_step_at, now
        waited = 0.0 if last is None else min(max(now - last, 0.0), self._settings.longest_step)
        moves = []
        for key, alert in list(self._alerts.items()):
            seconds = alert.waited_seconds + waited
            aged = self._alerts[key] = replace(alert, waited_seconds=seconds)
            if seconds < self._settings.external_ttl:
                continue
            if alert.active:
                text = f"no Alertmanager repeated it for {seconds:.0f} s"
                ended = replace(aged, state=AlertState.RESOLVED, ended_at=now, waited_seconds=0.0)
                moves.append(Transition(now, alert.state, ended, Reason(ReasonKind.SERIES_GONE, text)))
                self._alerts[key] = ended
            else:
                text = f"resolved {seconds:.0f} s ago"
                forgotten = replace(aged, state=AlertState.INACTIVE)
                moves.append(Transition(now, alert.state, forgotten, Reason(ReasonKind.RETENTION_OVER, text)))
                del self._alerts[key], self._by_name[key.series.stat]
        return moves

    def _moved(
        self,
        now: float,
        told: Told,
        known: Alert | None,
        place: Callable[[Labels], Entity],
        seen: Callable[[Entity], str],
    ) -> Alert | None:
        """The alert after this was told; None when it is no news."""
        if not told.firing:
            if known is None or not known.active or told.started_at < known.started_at - 1.0:
                return None  # resolved before we ever heard of it, or told late of an earlier life
            ended_at = min(told.ended_at or now, now)
            return replace(known, state=AlertState.RESOLVED, ended_at=ended_at, updated_at=now, waited_seconds=0.0)
        started_at = min(told.started_at, now)
        if known is not None and (known.active or started_at < known.ended_at):
            if known.active:
                self._alerts[known.key] = replace(known, waited_seconds=0.0, updated_at=now)
            return None  # a repetition, or an old message that was sent again
        key = known.key if known is not None else _key(told, place(told.labels))
        verdict = _verdict(told, seen(key.series.entity))
        return Alert(key, AlertState.FIRING, started_at, now, verdict, incident=known.incident if known else "")


def _key(told: Told, entity: Entity) -> AlertKey:
    return AlertKey(told.name, SeriesKey(entity, EXTERNAL, told.fingerprint))


def _verdict(told: Told, seen: str) -> Verdict:
    summary = told.annotations.get("summary") or told.annotations.get("title") or told.name
    said = told.annotations.get("description") or told.annotations.get("message") or summary
    severity = _SEVERITIES.get(dict(told.labels).get("severity", "").lower(), Severity.WARNING)
    reason = f"Alertmanager says: {said.rstrip('.')}." + (f" Unusual there: {seen}." if seen else "")
    return Verdict(told.name, severity, 1.0, float("nan"), summary=summary, reason=reason)


def _shared(entity: Entity, said: Mapping[str, str]) -> int:
    return sum(name in said for name, _ in entity.labels)
