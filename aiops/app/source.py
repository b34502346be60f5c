"""The daemon as the web room sees it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from math import isnan
from typing import TYPE_CHECKING

import numpy as np

from aiops import __version__
from aiops.app import actuator, presets, telemetry, view
from aiops.app.changes_view import changes_record
from aiops.app.describe import Describer
from aiops.app.fleet_view import fleet_record
from aiops.app.series_view import detectors_record, history_record, names_record
from aiops.app.spending import band_of, score_families
from aiops.app.target_view import page_record, relabel_record, rules_record
from aiops.incidents.alert import Incident
from aiops.incidents.confidence import Confidence, confidence
from aiops.incidents.external import Told
from aiops.kit.memory import resident_bytes
from aiops.signals.telemetry import Family, FamilyKind
from aiops.signals.types import SeriesKey
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
from aiops.web.source import Saying

if TYPE_CHECKING:
    from aiops.app.daemon import Daemon

_SHOWN_INCIDENTS = 100
_FINGERPRINT = re.compile("[0-9a-f]{16}")


class DaemonSource:
    """Answers every question of the API and the page from the running daemon."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._fleet: tuple[int, FleetRecord] | None = None

    def not_ready(self) -> str:
        """Ready once the first tick is done: the alerts are restored and the sources are known."""
        return "" if self._daemon.last_tick_at else "the first tick is not done"

    def targets(self) -> Sequence[TargetRecord]:
        """Every source with its health."""
        return [view.target_record(status) for status in self._daemon.collectors.statuses()]

    def alerts(self) -> Sequence[AlertRecord]:
        """Alerts that are not inactive, the newest first."""
        head = self._daemon.letterhead()
        alerts = sorted(self._daemon.pipeline.machine.alerts.values(), key=lambda alert: -alert.started_at)
        return [view.alert_record(alert, head, self._daemon.telling.silences) for alert in alerts]

    async def describe(self, name: str, entity: str) -> Sequence[ExplanationRecord]:
        """Why an alert fired, or why a rule did not fire."""
        daemon = self._daemon
        describer = Describer(daemon.pipeline, daemon.state.view, daemon.letterhead(), daemon.telling.silences)
        if _FINGERPRINT.fullmatch(name):
            return await describer.of_fingerprint(name)
        return await describer.of_rule(name, entity)

    def incidents(self) -> Sequence[IncidentRecord]:
        """The newest incidents, open ones first."""
        pipeline = self._daemon.pipeline
        found = sorted(pipeline.grouping.incidents.values(), key=lambda one: (not one.open, -one.started_at))
        return [view.incident_record(one, pipeline.alerts, self._sure(one)) for one in found[:_SHOWN_INCIDENTS]]

    def _sure(self, incident: Incident) -> Confidence:
        pipeline = self._daemon.pipeline
        alerts = pipeline.alerts
        around = pipeline.bank.around({key.series.entity for key in incident.members}, pipeline.ring.window())
        members = [alerts[key] for key in incident.members if key in alerts]
        return confidence(members, pipeline.slo.rules.keys(), around)

    def incident(self, name: str) -> DiagnosedIncidentRecord | None:
        """One incident by its id, with its summary."""
        daemon = self._daemon
        found = daemon.pipeline.grouping.incidents.get(name)
        if found is None:
            return None
        summary = view.summary_record(daemon.explain.summary(found), daemon.explain.worded(name))
        made = daemon.why.of(name)
        diagnosis = view.diagnosis_record(made[-1]) if made else None
        record = view.incident_record(found, daemon.pipeline.alerts, self._sure(found))
        return {**record, "summary": summary, "diagnosis": diagnosis}

    async def case(self, name: str) -> Mapping[str, str] | None:
        """The numbers behind an incident as the files of a case folder; also of one that is over, while it is kept."""
        return await asyncio.to_thread(self._daemon.state.case, name)

    async def ask(self, question: str) -> AnswerRecord:
        """Answer a question from what is known."""
        return view.answer_record(await self._daemon.ask.ask(question))

    def slo(self) -> Sequence[BudgetRecord]:
        """Every error budget."""
        return [view.budget_record(budget) for budget in self._daemon.pipeline.slo.budgets()]

    def runbook(self, slug: str) -> str | None:
        """A shipped runbook."""
        return presets.runbook(slug)

    def signals(self, *, signal: str, entity: str) -> Sequence[SignalRecord]:
        """Latest value of each series with its band."""
        scores = self._daemon.pipeline.bank.scores()
        records = []
        for column, key, value, at in self._latest():
            if signal in ("", key.signal) and entity in str(key.entity):
                record = view.signal_record(key, value, at, band_of(scores, column, key))
                records.append((str(key.entity), key, record))
        return [record for *_, record in sorted(records, key=lambda row: (row[0], row[1].signal, row[1].stat))]

    def fleet(self) -> FleetRecord:
        """Pools, replicas and GPUs with their health; worked out once per tick, however many look."""
        daemon = self._daemon
        if self._fleet is None or self._fleet[0] != daemon.beat.ticks:
            slowest = max((status.interval_seconds for status in daemon.collectors.statuses()), default=0.0)
            oldest = daemon.last_tick_at - 3 * max(daemon.pipeline.ring.step_seconds, slowest)
            latest = ((key, value, not isnan(value) and at >= oldest) for _, key, value, at in self._latest())
            record = fleet_record(daemon.last_tick_at, latest, daemon.pipeline.alerts.values(), self._watched_scores(),
                                  daemon.pipeline.tenancy)  # fmt: skip
            self._fleet = (daemon.beat.ticks, record)
        return self._fleet[1]

    def _watched_scores(self) -> Iterator[tuple[SeriesKey, float]]:
        said = self._daemon.pipeline.bank.scores()
        if said is not None:
            for column in np.flatnonzero(said.watched & np.isfinite(said.ensemble.score)):
                if (key := said.keys[column]) is not None:
                    yield key, float(said.ensemble.score[column])

    def history(self, wanted: SeriesFilter) -> HistoryRecord:
        """The window of the series that fit, with their bands."""
        return history_record(self._daemon.pipeline, wanted)

    async def changes(self, span: Span) -> ChangeRecords:
        """What changed in a span, over all series."""
        return await changes_record(self._daemon.pipeline.ring, span)

    def names(self) -> NameRecords:
        """Every signal that there is a series of."""
        return names_record(self._daemon.pipeline)

    def detectors(self) -> DetectorRecords:
        """Every rule and detector, and what it watches."""
        return detectors_record(self._daemon.pipeline)

    def config_text(self) -> str:
        """The configuration in effect as YAML; secrets are masked."""
        return self._daemon.config_text

    def last_page(self, source: str) -> PageRecord | None:
        """The last answer of one target as it came, and which signals were found in it."""
        scraper = self._daemon.collectors.scraper(source)
        return None if scraper is None else page_record(scraper, self._daemon.collectors.profiles)

    def relabelled(self, job: str, labels: Mapping[str, str]) -> JobRecords | RelabelRecord:
        """What the rules of a job make of a target."""
        return relabel_record(self._daemon.config.scrape.all_jobs, job, labels)

    def rules_tried(self, rules: str, labels: Mapping[str, str]) -> RelabelRecord:
        """What rules that no job has yet make of a target."""
        return rules_record(rules, labels)

    def _latest(self) -> Iterator[tuple[int, SeriesKey, float, float]]:
        ring = self._daemon.pipeline.ring
        latest = ring.latest()
        for column, key in enumerate(ring.window().keys):
            if key is not None:
                yield column, key, float(latest.values[column]), float(latest.at[column])

    def _fresh(self) -> Iterator[tuple[SeriesKey, float]]:
        """What is known now: a value that nobody has confirmed for three ticks is not shown as current."""
        ring = self._daemon.pipeline.ring
        oldest = self._daemon.last_tick_at - 3 * ring.step_seconds
        for _, key, value, at in self._latest():
            if not isnan(value) and at >= oldest:
                yield key, value

    def recommendations(self) -> Sequence[AdviceRecord]:
        """Advice on every pool."""
        return self._daemon.capacity.records()

    def recommendation(self, pool: str) -> tuple[AdviceRecord | None, str]:
        """Advice on one pool, and why its number must not be used."""
        return self._daemon.capacity.record(pool)

    async def told(self, told: Sequence[Told]) -> TakenRecord:
        """Take in alerts of others."""
        return await self._daemon.inbound.told(told)

    def opinions(self) -> OpinionRecords:
        """What people said about alerts."""
        return self._daemon.opinions.records()

    async def say(self, alert: str, incident: str, saying: Saying) -> Sequence[OpinionRecord]:
        """Keep an opinion."""
        return await self._daemon.opinions.say(alert, incident, saying)

    def undo(self, name: str) -> OpinionRecord:
        """Take an opinion back."""
        return self._daemon.opinions.undo(name)

    def asked(self, token: str) -> AskedRecord:
        """What a link for feedback is about."""
        return self._daemon.opinions.asked(token)

    async def say_by_link(self, token: str, saying: Saying) -> OpinionRecord:
        """Use a link for feedback up."""
        return await self._daemon.opinions.say_by_link(token, saying)

    def maintenance(self) -> Sequence[WindowRecord]:
        """Windows that are on or will come."""
        return self._daemon.upkeep.records()

    def begin_maintenance(self, plan: Plan, by: str) -> WindowRecord:
        """Plan a window."""
        return self._daemon.upkeep.begin(plan, by)

    def end_maintenance(self, name: str) -> WindowRecord:
        """End a window."""
        return self._daemon.upkeep.end(name)

    def mark(self, change: Change) -> Sequence[MarkRecord]:
        """Note a deploy."""
        return self._daemon.upkeep.mark(change)

    def status(self) -> StatusRecord:
        """Version, load, limits and health of the parts."""
        daemon = self._daemon
        ring, journal = daemon.pipeline.ring, daemon.state.health()
        return {
            "version": __version__,
            "startedAt": view.stamp(daemon.started_at),
            "lastTick": view.stamp(daemon.last_tick_at),
            "tickSeconds": daemon.tick_seconds,
            "ticks": daemon.beat.ticks,
            "ticksSkipped": daemon.beat.skipped,
            "detectorsLeftOut": daemon.overload.names(),
            "series": ring.series,
            "seriesLimit": daemon.config.store.max_series,
            "ringBytes": ring.memory_bytes,
            "bandBytes": daemon.pipeline.bands.memory_bytes,
            "residentBytes": resident_bytes(),
            "listeners": daemon.server.events.listeners,
            "listenersRefused": daemon.server.events.refused,
            "listenersDropped": daemon.server.events.dropped,
            "alertBudgetAsked": daemon.config.detect.budget,
            "alertBudgetFired": daemon.spending.per_week(daemon.clock.now()),
            "configFile": daemon.config_file,
            "lastReloadSuccessful": daemon.reload_successful,
            "storage": str(daemon.config.store.directory),
            "storageProblem": journal.problem or journal.put_aside,
            "snapshotAt": view.stamp(daemon.state.snapshot_at),
            "receivers": [view.receiver_record(receiver) for receiver in self._daemon.telling.status()],
            "discoveryProblems": list(daemon.collectors.found.problems),
            "jobsWithoutTargets": list(daemon.collectors.found.idle_jobs),
            "tasks": [
                {"name": task.name, "state": str(task.state), "crashes": task.crashes, "error": task.error}
                for task in daemon.supervisor.reports()
            ],
        }

    def families(self) -> Iterable[Family]:
        """Own telemetry, then the signals."""
        daemon = self._daemon
        return chain(
            (telemetry.build_info(),),
            self._own(),
            telemetry.target_families(daemon.collectors.statuses()),
            telemetry.read_families(daemon.collectors.beats()),
            telemetry.dns_families(*daemon.collectors.dns_counts()),
            telemetry.hub_families({name: hub.counts for name, hub in daemon.collectors.hubs.items()}),
            telemetry.tenancy_families(daemon.pipeline.tenancy),
            telemetry.fit_families(daemon.fits.counts),
            telemetry.explain_families(daemon.explain.counts, daemon.explain.llm_counts, daemon.explain.queue_length),
            telemetry.alert_families(
                daemon.pipeline.machine.alerts.values(), daemon.pipeline.grouping.incidents.values()
            ),
            daemon.overload.families(),
            daemon.spending.families(daemon.clock.now(), daemon.config.detect.budget, daemon.pipeline.bank.sharers),
            telemetry.slo_families(daemon.pipeline.slo.budgets()),
            telemetry.receiver_families(self._daemon.telling.status()),
            self._inbound(),
            telemetry.feedback_families(daemon.opinions.tallies(), daemon.pipeline.effects.wider),
            daemon.capacity.families(),
            actuator.families(daemon.actuator),
            daemon.writing.families(),
            self.scores(),
            self.signal_values(),
        )

    def scores(self) -> Iterator[Family]:
        """Score and band of every watched series."""
        return score_families(self._daemon.pipeline.bank.scores())

    def signal_values(self) -> Iterator[Family]:
        """Every signal that is known now."""
        return telemetry.signal_families(self._fresh())

    def _inbound(self) -> Iterator[Family]:
        inbound, standing = self._daemon.inbound, len(self._daemon.pipeline.externals.alerts)
        return telemetry.inbound_families(inbound.taken_total, inbound.own_total, inbound.full_total, standing)

    def _own(self) -> Iterator[Family]:
        daemon = self._daemon
        ring, journal = daemon.pipeline.ring, daemon.state.health()
        gauge, counter = telemetry.gauge, telemetry.counter
        yield counter("aiops_ticks", "Turns of the pipeline.", daemon.beat.ticks)
        yield counter("aiops_ticks_skipped", "Turns left out because the one before still ran.", daemon.beat.skipped)
        yield counter("aiops_tick_seconds", "Time spent in turns.", daemon.tick_seconds_total)
        yield gauge("aiops_last_tick_timestamp_seconds", "When the last turn was done.", daemon.last_tick_at)
        yield gauge("aiops_series", "Series in the window.", ring.series)
        yield gauge("aiops_series_limit", "Most series that the window takes.", daemon.config.store.max_series)
        yield gauge("aiops_series_dropped", "Series left out of the newest row: the window is full.",
                    ring.dropped_series)  # fmt: skip
        yield gauge("aiops_slo_left_out", "Most budgets that were left out of one turn: most_budgets is reached.",
                    daemon.pipeline.slo.left_out)  # fmt: skip
        yield counter("aiops_values_dropped", "Values lost because the window was full.", ring.dropped_values_total)
        yield gauge("aiops_ring_bytes", "Memory of the window.", ring.memory_bytes)
        yield gauge("aiops_page_listeners", "Open pages that are told of news.", daemon.server.events.listeners)
        yield counter("aiops_page_listeners_refused", "Pages that were one too many to be told (web.max_listeners).",
                      daemon.server.events.refused)  # fmt: skip
        yield counter("aiops_page_listeners_dropped", "Pages that were let go because they did not read.",
                      daemon.server.events.dropped)  # fmt: skip
        yield counter("aiops_alert_transitions", "Changes of an alert's state.", daemon.transitions_total)
        yield gauge("aiops_config_last_reload_successful", "1 when the last reload was taken.",
                    float(daemon.reload_successful))  # fmt: skip
        yield gauge("aiops_config_last_reload_success_timestamp_seconds", "When a configuration was last taken.",
                    daemon.reloaded_at)  # fmt: skip
        yield counter("aiops_journal_written", "Records written to the archive.", journal.written_total)
        yield counter("aiops_journal_dropped", "Records lost before they were written.",
                      journal.dropped_total + journal.rejected_total)  # fmt: skip
        yield counter("aiops_journal_failures", "Writes that the disk refused.", journal.failures_total)
        yield gauge("aiops_journal_pending", "Records that wait for the disk.", journal.pending)
        yield counter("aiops_snapshots", "Snapshots written.", daemon.state.snapshots_written)
        yield counter("aiops_snapshot_failures", "Snapshots that could not be written.", daemon.state.snapshot_failures)
        crashes = [({"task": task.name}, float(task.crashes)) for task in daemon.supervisor.reports()]
        yield Family("aiops_task_crashes", FamilyKind.COUNTER, "Unexpected errors, by supervised task.", crashes)

    async def reload(self) -> None:
        """Read the configuration again."""
        await self._daemon.reload()
