"""The daemon's state as plain records: what the API answers and the page shows."""

from collections.abc import Mapping
from math import isnan

from aiops.app.spending import Band
from aiops.detect.base import AlertKey
from aiops.diagnose.record import Diagnosis
from aiops.explain.answers import Answer
from aiops.explain.narrator import Summary
from aiops.explain.wording import Worded
from aiops.incidents.alert import Alert, Incident
from aiops.incidents.confidence import UNSURE, Confidence
from aiops.incidents.policy import Window
from aiops.incidents.slo import Budget
from aiops.kit.settings import format_duration
from aiops.notify.base import ReceiverStatus
from aiops.notify.notice import Letterhead, fingerprint, notice_of, rfc3339
from aiops.notify.silences import Silence, Silences
from aiops.signals.catalog import SIGNALS
from aiops.signals.normalise import unit_of
from aiops.signals.topology import entity_name
from aiops.signals.types import Entity, Mark, SeriesKey, SourceStatus
from aiops.web.records import EntityRecord, ReceiverRecord, SeriesRecord
from aiops.web.records_fleet import SignalRecord, TargetRecord
from aiops.web.records_told import (
    AlertRecord,
    AnswerRecord,
    BudgetRecord,
    DiagnosisRecord,
    IncidentRecord,
    MarkRecord,
    MemberRecord,
    SilenceRecord,
    SummaryRecord,
    WindowRecord,
    WordedRecord,
)


def stamp(at: float) -> str | None:
    """RFC 3339 in UTC; None for a time that never was."""
    return rfc3339(at) if at > 0 else None


def entity_record(entity: Entity) -> EntityRecord:
    """Kind and labels of an entity."""
    return {"kind": str(entity.kind), "name": entity_name(entity), "labels": dict(entity.labels)}


def series_record(key: SeriesKey) -> SeriesRecord:
    """Identity of a series."""
    return {"signal": key.signal, "stat": key.stat, "entity": entity_record(key.entity)}


def target_record(status: SourceStatus) -> TargetRecord:
    """One source as ``/api/v1/targets`` shows it."""
    # Asked and not there, but that is no failure (a node without a GPU): neither up nor down.
    never = status.last_attempt == 0.0 or not status.heard
    return {
        "source": status.source,
        "kind": status.kind,
        "entity": entity_record(status.entity),
        "health": "unknown" if never else "up" if status.up else "down",
        "lastError": status.error,
        "lastScrape": stamp(status.last_attempt),
        "lastSuccess": stamp(status.last_success),
        "lastScrapeDuration": status.facts.get("duration_seconds"),
        "scrapeInterval": status.interval_seconds,
        "failures": status.failures,
        "facts": dict(status.facts),
    }


def alert_record(alert: Alert, head: Letterhead, silences: Silences | None = None) -> AlertRecord:
    """One alert with the labels and annotations that receivers see."""
    notice = notice_of(alert, head)
    return {
        "fingerprint": fingerprint(notice.labels),
        "labels": dict(notice.labels),
        "annotations": dict(notice.annotations),
        "state": str(alert.state),
        "activeAt": stamp(alert.started_at),
        "endsAt": stamp(alert.ended_at),
        "value": alert.verdict.value,
        "score": alert.verdict.score,
        "expected": alert.verdict.expected,
        "lower": alert.verdict.lower,
        "upper": alert.verdict.upper,
        "votes": dict(alert.verdict.votes),
        "incident": alert.incident,
        "mutedBy": alert.muted,
        "silencedBy": [silence_record(silence) for silence in silences.of(notice.labels)] if silences else [],
        "after": alert.after,
    }


def silence_record(silence: Silence) -> SilenceRecord:
    """One silence of an Alertmanager."""
    return {
        "id": silence.id,
        "comment": silence.comment,
        "createdBy": silence.created_by,
        "endsAt": stamp(silence.ends_at),
    }


def window_record(window: Window, now: float) -> WindowRecord:
    """One maintenance window."""
    return {
        "id": window.id,
        "name": window.name,
        "state": "active" if window.holds(now) else "planned" if window.begins_at > now else "over",
        "begins": stamp(window.begins_at),
        "ends": stamp(window.ends_at),
        "matches": dict(window.matches),
        "skip": [str(one) for one in window.skip],
        "by": window.by,
    }


def mark_record(mark: Mark) -> MarkRecord:
    """Something that happened."""
    return {"kind": str(mark.kind), "entity": entity_record(mark.entity), "at": stamp(mark.at), "text": mark.detail}


def incident_record(incident: Incident, alerts: Mapping[AlertKey, Alert], sure: Confidence = UNSURE) -> IncidentRecord:
    """One incident with its members; those that are forgotten by now keep their name and series."""
    return {
        "id": incident.id,
        "title": incident.title,
        "severity": str(incident.severity),
        "state": "open" if incident.open else "resolved",
        "startsAt": stamp(incident.started_at),
        "updatedAt": stamp(incident.updated_at),
        "endsAt": stamp(incident.ended_at),
        "confidence": sure.ratio,
        "confidenceReasons": list(sure.reasons),
        "alerts": [_member(key, alerts.get(key)) for key in incident.members],
    }


def _member(key: AlertKey, alert: Alert | None) -> MemberRecord:
    member: MemberRecord = {
        "alertname": key.rule,
        "series": str(key.series),
        "entity": entity_record(key.series.entity),
    }
    if alert is not None:
        member["state"] = str(alert.state)
        member["summary"] = alert.verdict.summary
        member["reason"] = alert.verdict.reason
    return member


def summary_record(summary: Summary, worded: Worded | None) -> SummaryRecord:
    """What is told of an incident: sentences in order, with the evidence that each cites; a model's words apart."""
    return {
        "model": None if worded is None else worded_record(worded),
        "language": str(summary.language),
        "sentences": [
            {"part": str(one.part), "text": one.text, "evidence": list(one.evidence)} for one in summary.sentences
        ],
    }


def answer_record(answer: Answer) -> AnswerRecord:
    """Sentences, what they cite, and the query that was understood."""
    query = answer.query
    return {
        "question": query.text,
        "intent": str(query.intent),
        "language": str(query.language),
        "query": query.shown,
        "promql": list(query.promql),
        "from": stamp(query.start),
        "to": stamp(query.end),
        "sentences": [{"text": text, "sources": list(cited)} for text, cited in answer.sentences],
        "sources": [{"id": one.id, "what": one.what, "lookUp": one.look_up} for one in answer.sources],
    }


def worded_record(worded: Worded) -> WordedRecord:
    """What a language model said: marked by its name, only what was found true, and how much was not."""
    return {
        "name": worded.model,
        "at": stamp(worded.at),
        "language": str(worded.language),
        "sentences": [{"text": claim.text, "evidence": list(claim.evidence)} for claim in worded.sentences],
        "disputedOrder": list(worded.causes),
        "actions": list(worded.actions),
        "droppedSentences": len(worded.dropped),
        "reasons": [one.reason for one in worded.dropped],
        "warning": worded.warning,
        "prompt": worded.prompt,
        "tokens": worded.tokens_in + worded.tokens_out,
        "costUsd": worded.cost,
    }


def diagnosis_record(found: Diagnosis) -> DiagnosisRecord:
    """What is known of the why: causes and what was ruled out, with the numbered evidence behind them."""
    return {
        "at": stamp(found.at),
        "ranker": found.ranker,
        "abstained": found.abstained,
        "reason": found.reason,
        "causes": [
            {"id": one.id, "title": one.title, "entity": entity_record(one.entity), "confidence": one.confidence,
             "evidence": list(one.evidence), "fix": one.fix, "actions": list(one.actions), "runbook": one.runbook}
            for one in found.causes
        ],
        "candidates": [
            {"series": str(SeriesKey(one.entity, one.signal, one.stat)), "direction": str(one.direction),
             "score": one.score, "onset": stamp(one.onset), "evidence": one.evidence}
            for one in found.candidates
        ],
        "ruledOut": [
            {"cause": one.cause, "reason": one.reason, "evidence": list(one.evidence)} for one in found.ruled_out
        ],
        "changes": [
            {"at": stamp(mark.at), "kind": str(mark.kind), "entity": entity_record(mark.entity), "detail": mark.detail}
            for mark in found.changes
        ],
        "evidence": [
            {"id": fact.id, "text": fact.text, "series": None if fact.series is None else series_record(fact.series),
             "value": fact.value, "expected": fact.expected, "unit": fact.unit,
             "startsAt": stamp(fact.start), "endsAt": stamp(fact.end), "query": fact.query}
            for fact in found.evidence
        ],
    }  # fmt: skip


def receiver_record(status: ReceiverStatus) -> ReceiverRecord:
    """Health of one receiver of notices."""
    return {
        "name": status.name,
        "kind": status.kind,
        "health": "up" if status.healthy else "down",
        "lastError": status.error,
        "warning": status.warning,
        "queueLength": status.queue_length,
        "sent": status.sent,
        "dropped": status.dropped,
    }


def signal_record(key: SeriesKey, value: float, at: float, band: Band) -> SignalRecord:
    """Latest value of one series with its band; unknown numbers become null later."""
    return {
        "signal": key.signal,
        "stat": key.stat,
        "unit": unit_of(key),
        "meaning": SIGNALS[key.signal].meaning,
        "entity": entity_record(key.entity),
        "value": value,
        "at": None if isnan(at) else stamp(at),
        "score": band.score,
        "expected": band.expected,
        "lower": band.lower,
        "upper": band.upper,
        "confidence": band.confidence,
        "learning": band.learning,
        "votes": dict(band.votes),
    }


def budget_record(budget: Budget) -> BudgetRecord:
    """One objective in one pool."""
    objective = budget.objective
    return {
        "slo": objective.title,
        "of": str(objective.of),
        "entity": entity_record(budget.pool),
        "objective": objective.objective,
        "threshold": objective.threshold,
        "effectiveThreshold": budget.effective_seconds,
        "pages": objective.pages,
        "events": budget.total,
        "bad": budget.bad,
        "budgetLeft": budget.left_ratio,
        "burnRates": {format_duration(window): rate for window, rate in budget.burn.items()},
        "burning": [f"{burn.factor:g}x{format_duration(burn.long_seconds)}" for burn in budget.burning],
        "told": [f"{burn.factor:g}x{format_duration(burn.long_seconds)}" for burn in budget.told],
    }
