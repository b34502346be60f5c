"""The architecture in code: one straight line from the readings of a tick to what changed.

No I/O and no clock: the same readings in the same order give the same decisions, byte for byte.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from aiops.detect.bank import LEAVE, Bank
from aiops.detect.base import AlertKey, Guidance
from aiops.incidents.alert import Alert, Incident, ReasonKind, Transition
from aiops.incidents.external import Externals
from aiops.incidents.feedback import Effects
from aiops.incidents.grouping import Grouping
from aiops.incidents.machine import Machine
from aiops.incidents.policy import Calendar
from aiops.incidents.slo import Ledger
from aiops.signals.tenancy import NO_TENANCY, Tenancy
from aiops.signals.topology import Pools
from aiops.signals.types import Entity, Mark, Reading, SourceStatus
from aiops.store.bands import Bands
from aiops.store.ring import Ring

_FRESH_INTERVALS = 1.5


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one tick changed."""

    transitions: Sequence[Transition]
    incidents: Sequence[Incident]
    marks: Sequence[Mark]


@dataclass(slots=True)
class Pipeline:
    """The rooms between a reading and a decision, in order of the flow."""

    ring: Ring
    pools: Pools
    bank: Bank
    slo: Ledger
    calendar: Calendar
    machine: Machine
    grouping: Grouping
    externals: Externals
    bands: Bands
    effects: Effects = field(default_factory=Effects)
    leads: Mapping[Entity, tuple[float, str]] = field(default_factory=dict)
    tenancy: Tenancy = NO_TENANCY
    _newest: dict[str, Reading] = field(default_factory=dict)

    @property
    def alerts(self) -> Mapping[AlertKey, Alert]:
        """Our alerts and those of others."""
        return {**self.externals.alerts, **self.machine.alerts}

    def tick(
        self,
        now: float,
        readings: Sequence[Reading],
        sources: Sequence[SourceStatus],
        *,
        elapsed_seconds: float,
        marks: Sequence[Mark] = (),
        left_out: Set[str] = frozenset(),
    ) -> Outcome:
        """Take in what arrived since the last tick and decide.

        Parameters
        ----------
        now
            UTC seconds; becomes the stamp of the row.
        readings
            Everything that the collectors brought since the last tick, oldest first.
        sources
            Health of every source, also of the silent ones.
        elapsed_seconds
            Monotonic time since the last tick, so that a gap becomes unknown rows and a clock jump does not.
        marks
            What people and programs told us since then, beside what the readings show.
        left_out
            Detectors to do without in this turn.
        """
        # Who neither answered nor failed yet is not known to be silent.
        up = {source.source: source.up for source in sources if source.heard}
        pools = self.pools.reading(self._fresh(now, readings, sources), now, up)
        self.ring.append(now, [*readings, pools], elapsed_seconds=elapsed_seconds)
        marks = (*marks, *(mark for reading in readings for mark in reading.marks))
        watched = self.machine.watched()
        window = self.ring.window()
        self.calendar.turn(now, window.keys, marks, self.tenancy)
        guidance = Guidance(
            frozen=self.calendar.frozen,
            wider=self.effects.thresholds(now),
            left_out=left_out,
            leads=self.leads,
            awaited=self._awaited(left_out),
        )
        verdicts = self.bank.step(window, now, sources, marks, watched, guidance=guidance)
        verdicts = self.slo.step(now, readings, elapsed_seconds=elapsed_seconds, verdicts=verdicts, watched=watched)
        if (scores := self.bank.scores()) is not None:
            self.bands.append(now, scores.ensemble, window.generation)
        transitions = [*self.machine.step(now, verdicts, self.calendar), *self.externals.step(now)]
        self.bank.accept(
            (move.alert.key.series for move in transitions if move.reason.kind is ReasonKind.OUTLASTED), window
        )
        incidents = self.grouping.step(now, self.alerts, window.keys, self.tenancy)
        self.machine.assign(incidents)
        self.externals.assign(incidents)
        return Outcome(transitions, incidents, marks)

    def _awaited(self, left_out: Set[str]) -> frozenset[AlertKey]:
        """Alerts that a detector that is left out has raised or held: no other can say that they are over."""
        if not left_out:
            return frozenset()
        return frozenset(
            key
            for key, alert in self.machine.alerts.items()
            if any(alert.verdict.votes.get(name, 0.0) >= LEAVE for name in left_out)
        )

    def _fresh(self, now: float, readings: Sequence[Reading], sources: Sequence[SourceStatus]) -> Sequence[Reading]:
        """Newest reading of each source that is not overdue.

        A scrape that lands just after the tick instead of just before must not look like a replica that left.
        """
        self._newest |= {reading.source: reading for reading in readings}
        longest = {s.source: _FRESH_INTERVALS * max(s.interval_seconds, self.ring.step_seconds) for s in sources}
        self._newest = {name: kept for name, kept in self._newest.items() if name in longest}
        return [kept for name, kept in self._newest.items() if abs(now - kept.at) <= longest[name]]
