"""What the web room needs to know; the daemon provides it. All answers are plain records."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from aiops.incidents.external import Told
from aiops.signals.telemetry import Family
from aiops.web.asked import Change, Plan, SeriesFilter, Span
from aiops.web.records import StatusRecord
from aiops.web.records_advice import AdviceRecord
from aiops.web.records_fleet import (
    ChangeRecords,
    DetectorRecords,
    FleetRecord,
    HistoryRecord,
    JobRecords,
    NameRecords,
    PageRecord,
    RelabelRecord,
    SignalRecord,
    TargetRecord,
)
from aiops.web.records_told import (
    AlertRecord,
    AnswerRecord,
    AskedRecord,
    BudgetRecord,
    DiagnosedIncidentRecord,
    ExplanationRecord,
    IncidentRecord,
    MarkRecord,
    OpinionRecord,
    OpinionRecords,
    TakenRecord,
    WindowRecord,
)


class ReloadFailed(Exception):
    """The new configuration was refused; the old one stays."""


class Refused(Exception):
    """A request cannot be met.

    Parameters
    ----------
    status
        HTTP status, 4xx or 503.
    message
        What was wrong, and what was expected.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Saying(NamedTuple):
    """What somebody says about an alert: ``true``, ``false`` or ``expected``, perhaps why, and by which door."""

    judgement: str
    cause: str = ""
    note: str = ""
    by: str = ""


class Source(Protocol):
    """The daemon as the web room sees it."""

    def families(self) -> Iterable[Family]:
        """Own telemetry and the current signals."""
        ...

    def not_ready(self) -> str:
        """Why the daemon cannot serve yet; empty when it can."""
        ...

    def targets(self) -> Sequence[TargetRecord]:
        """Every source with its health."""
        ...

    def signals(self, *, signal: str, entity: str) -> Sequence[SignalRecord]:
        """Latest value of each series, filtered by exact signal name and by a substring of the entity."""
        ...

    def fleet(self) -> FleetRecord:
        """Pools, replicas and GPUs with their health."""
        ...

    def history(self, wanted: SeriesFilter) -> HistoryRecord:
        """The window of the series that fit: values, band and score over time."""
        ...

    async def changes(self, span: Span) -> ChangeRecords:
        """What changed in a span against before, over all series; raises :class:`Refused`."""
        ...

    def names(self) -> NameRecords:
        """Every signal that there is a series of, with its statistics."""
        ...

    def detectors(self) -> DetectorRecords:
        """Every rule and detector: what it watches, and why it says nothing where it says nothing."""
        ...

    def config_text(self) -> str:
        """The configuration in effect as YAML, without secrets."""
        ...

    def last_page(self, source: str) -> PageRecord | None:
        """The last answer of one target, untrusted text; None when there is no such target."""
        ...

    def relabelled(self, job: str, labels: Mapping[str, str]) -> JobRecords | RelabelRecord:
        """What each rule of a job makes of a target with these labels; raises :class:`Refused`."""
        ...

    def rules_tried(self, rules: str, labels: Mapping[str, str]) -> RelabelRecord:
        """The same with rules as they stand in a configuration; raises :class:`Refused`."""
        ...

    def alerts(self) -> Sequence[AlertRecord]:
        """Alerts that are not inactive."""
        ...

    async def describe(self, name: str, entity: str) -> Sequence[ExplanationRecord]:
        """Why an alert (by its fingerprint) fired, or why a rule did not fire; raises :class:`Refused`."""
        ...

    def incidents(self) -> Sequence[IncidentRecord]:
        """Incidents, newest first."""
        ...

    def incident(self, name: str) -> DiagnosedIncidentRecord | None:
        """One incident by its id; None when there is none."""
        ...

    async def ask(self, question: str) -> AnswerRecord:
        """Answer a question in English or Chinese: sentences, their sources, and the query that was understood."""
        ...

    async def case(self, name: str) -> Mapping[str, str] | None:
        """The numbers and diagnoses of an incident as files of a case folder, by name; None when none is kept."""
        ...

    def slo(self) -> Sequence[BudgetRecord]:
        """Every error budget."""
        ...

    def runbook(self, slug: str) -> str | None:
        """Markdown text of a runbook by its slug; None when there is none."""
        ...

    def recommendations(self) -> Sequence[AdviceRecord]:
        """Replica advice on every pool, also where there is none and why."""
        ...

    def recommendation(self, pool: str) -> tuple[AdviceRecord | None, str]:
        """Advice on one pool (None: no such pool), and why its number must not be used; empty when it may."""
        ...

    async def told(self, told: Sequence[Told]) -> TakenRecord:
        """Take in and keep alerts of others, all or none; raise :class:`Refused` (503) when there is no room."""
        ...

    def opinions(self) -> OpinionRecords:
        """What people said, newest first, what followed from it, and how precise each detector is."""
        ...

    async def say(self, alert: str, incident: str, saying: Saying) -> Sequence[OpinionRecord]:
        """Keep an opinion on an alert (by fingerprint) or on every alert of an incident; raise :class:`Refused`."""
        ...

    def undo(self, name: str) -> OpinionRecord:
        """Take one opinion back; raise :class:`Refused`."""
        ...

    def asked(self, token: str) -> AskedRecord:
        """Which alert a signed link is about; raise :class:`Refused` when it is forged, used or too old."""
        ...

    async def say_by_link(self, token: str, saying: Saying) -> OpinionRecord:
        """Use a signed link up; raise :class:`Refused`."""
        ...

    def maintenance(self) -> Sequence[WindowRecord]:
        """Maintenance windows that are on or will come."""
        ...

    def begin_maintenance(self, plan: Plan, by: str) -> WindowRecord:
        """Plan a window of one time; raises :class:`Refused`."""
        ...

    def end_maintenance(self, name: str) -> WindowRecord:
        """End a window of one time; raises :class:`Refused`."""
        ...

    def mark(self, change: Change) -> Sequence[MarkRecord]:
        """Note a deploy of what matches; raises :class:`Refused`."""
        ...

    def status(self) -> StatusRecord:
        """Version, configuration, load and limits of the daemon."""
        ...

    async def reload(self) -> None:
        """Read the configuration again; raise :class:`ReloadFailed` and keep the old one if it is bad."""
        ...
