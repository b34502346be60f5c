"""The summary that is always there: what, since when, impact, cause, what was ruled out, what changed, what to do.

Templates only: every number, name and time is taken from the incident and its diagnosis, so nothing can be invented,
and equal records give equal text. What a language model writes stands beside it and never in its place unmarked.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from math import isnan

from aiops.detect.base import AlertKey
from aiops.diagnose.record import Cause, Diagnosis, Evidence
from aiops.explain.phrases import PHRASES
from aiops.explain.quantities import worded
from aiops.explain.words import LONGEST_NAME, Language, Words, plain
from aiops.incidents.alert import Alert, Incident
from aiops.incidents.places import root_of
from aiops.signals.types import Entity, EntityKind

_IMPACT = ("ttft", "itl", "tpot", "e2e", "errors", "rejected", "finished_abort", "corrupted", "queue_time", "queue_len",
           "probe_up", "probe_ttft", "probe_e2e", "probe_itl")  # fmt: skip
"""What users notice, the clearest first."""
_MOST_FACTS, _MOST_ALERTS, _MOST_CHANGES, _MOST_RULED_OUT = 4, 4, 3, 4
_SAME_SHARE = 0.02


class Part(StrEnum):
    """What a sentence tells; also the order in which it is told."""

    WHAT = "what"
    SINCE = "since"
    IMPACT = "impact"
    CAUSE = "cause"
    RULED_OUT = "ruled_out"
    CHANGES = "changes"
    ACTIONS = "actions"
    CONFIDENCE = "confidence"


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence and the ids of the evidence that it cites."""

    part: Part
    text: str
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Summary:
    """Everything told of one incident in one language, in the order of :class:`Part`; no part is ever missing."""

    incident: str
    language: Language
    sentences: tuple[Sentence, ...]

    @property
    def text(self) -> str:
        """One line per part."""
        lines: dict[Part, list[str]] = {}
        for sentence in self.sentences:
            lines.setdefault(sentence.part, []).append(sentence.text)
        return "\n".join(" ".join(texts) for texts in lines.values())


def moment(at: float) -> str:
    """UTC seconds as ``2026-01-31 23:59:59 UTC``."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"


_NAMING: Mapping[EntityKind, tuple[str, ...]] = {
    EntityKind.GPU: ("gpu", "gpu_uuid", "node", "instance"),
    EntityKind.NODE: ("node", "instance"),
    EntityKind.REPLICA: ("instance", "replica", "model_name"),
    EntityKind.POOL: ("pool", "job", "model_name"),
    EntityKind.TARGET: ("instance", "job"),
}
"""Labels by which people know a thing."""


def called(entity: Entity) -> str:
    """Name of an entity, such as ``replica 10.0.0.7:8000 demo-7b``: its kind and the labels that people know it by."""
    known = [value for name in _NAMING[entity.kind] if (value := entity.label(name))]
    values = known or [value for _, value in entity.labels]
    return plain(" ".join((str(entity.kind), *values)), LONGEST_NAME)


class Narrator:
    """Words incidents in one language."""

    def __init__(self, words: Words, language: Language = Language.EN) -> None:
        self._words = words
        self._language = language
        self._phrases = PHRASES[language]

    def tell(self, incident: Incident, alerts: Mapping[AlertKey, Alert], diagnosis: Diagnosis | None) -> Summary:
        """Word one incident; ``diagnosis`` is None when none was made."""
        told = (
            (Part.WHAT, self._what(incident)),
            (Part.SINCE, self._since(incident)),
            (Part.IMPACT, self._impact(diagnosis)),
            (Part.CAUSE, self._cause(diagnosis)),
            (Part.RULED_OUT, self._ruled_out(diagnosis)),
            (Part.CHANGES, self._changes(diagnosis)),
            (Part.ACTIONS, self._actions(incident, alerts, diagnosis)),
            (Part.CONFIDENCE, self._confidence(diagnosis)),
        )
        sentences = (Sentence(part, text, cited) for part, pairs in told for text, cited in pairs)
        return Summary(incident.id, self._language, tuple(sentences))

    def _say(self, key: str, *cited: str, **values: object) -> tuple[str, tuple[str, ...]]:
        return self._phrases[key].format(**values), cited

    def _what(self, incident: Incident) -> Iterator[tuple[str, tuple[str, ...]]]:
        rules = list(dict.fromkeys(key.rule for key in incident.members))
        shown = ", ".join(rules[:_MOST_ALERTS]) + (" …" if len(rules) > _MOST_ALERTS else "")
        severity = self._phrases[str(incident.severity)]
        yield self._say(
            "what",
            severity=severity[:1].upper() + severity[1:],
            root=plain(root_of(incident.members[0].series.entity), LONGEST_NAME) if incident.members else incident.id,
            title=plain(incident.title),
            alerts=shown,
        )

    def _since(self, incident: Incident) -> Iterator[tuple[str, tuple[str, ...]]]:
        start, end = moment(incident.started_at), moment(incident.ended_at)
        yield (
            self._say("since_open", start=start) if incident.open else self._say("since_ended", start=start, end=end)
        )

    def _impact(self, diagnosis: Diagnosis | None) -> Iterator[tuple[str, tuple[str, ...]]]:
        felt = felt_by_users(diagnosis.evidence if diagnosis else ())
        if not felt:
            yield self._say("impact_none")
        for fact in felt[:2]:
            yield self._say("impact", fact.id, fact=self.fact(fact))

    def _cause(self, diagnosis: Diagnosis | None) -> Iterator[tuple[str, tuple[str, ...]]]:
        if diagnosis is None:
            yield self._say("undiagnosed")
            return
        facts = {fact.id: fact for fact in diagnosis.evidence}
        cause = diagnosis.cause
        if cause is None:
            yield self._say("cause_none", reason=self._ended(plain(diagnosis.reason)))
            seen = [facts[one.evidence] for one in diagnosis.candidates if one.evidence in facts]
            for fact in seen[:_MOST_FACTS]:
                yield self._say("deviating", fact.id, fact=self.fact(fact))
            return
        yield self._say("cause", *cause.evidence, cause=self._title(cause), entity=called(cause.entity))
        for name in [name for name in cause.evidence if name in facts][:_MOST_FACTS]:
            yield self._say("because", name, fact=self.fact(facts[name]))
        for other in diagnosis.causes[1:3]:
            share = worded(other.confidence, "ratio", self._language)
            yield self._say(
                "second", *other.evidence, cause=self._title(other), entity=called(other.entity), confidence=share
            )

    def _ruled_out(self, diagnosis: Diagnosis | None) -> Iterator[tuple[str, tuple[str, ...]]]:
        others = (diagnosis.ruled_out if diagnosis else ())[:_MOST_RULED_OUT]
        if not others:
            yield self._say("ruled_out_none")
        for one in others:
            cause, reason = self._words.cause(one.cause, self._language), plain(one.reason).rstrip(".。")
            if one.evidence:
                yield self._say("ruled_out", *one.evidence, cause=cause, reason=reason, ids=", ".join(one.evidence))
            else:
                yield self._say("ruled_out_plain", cause=cause, reason=reason)

    def _changes(self, diagnosis: Diagnosis | None) -> Iterator[tuple[str, tuple[str, ...]]]:
        changes = diagnosis.changes if diagnosis else ()
        if not changes:
            yield self._say("change_none")
        for mark in changes[:_MOST_CHANGES]:
            yield self._say(
                "change",
                at=moment(mark.at),
                entity=called(mark.entity),
                kind=str(mark.kind).replace("_", " "),
                detail=plain(mark.detail),
            )

    def _actions(
        self, incident: Incident, alerts: Mapping[AlertKey, Alert], diagnosis: Diagnosis | None
    ) -> Iterator[tuple[str, tuple[str, ...]]]:
        cause = diagnosis.cause if diagnosis else None
        if cause is not None and cause.fix:
            yield self._say("fix", fix=self._ended(self._words.fix(cause.id, self._language, plain(cause.fix))))
        fix = self._words.fix(cause.id, self._language, cause.fix).rstrip(".。") if cause is not None else ""
        actions = [self._words.action(one, self._language).rstrip(".。") for one in cause.actions] if cause else []
        for action in actions:
            if action != fix:  # told a sentence before
                yield self._say("action", action=action)
        if not actions:
            yield self._say("action_none")
        slugs = [cause.runbook] if cause is not None and cause.runbook else []
        slugs += [alerts[key].verdict.runbook for key in incident.members if key in alerts]
        for slug in list(dict.fromkeys(slug for slug in slugs if slug))[:3]:
            yield self._say("runbook", runbook=slug)

    def _confidence(self, diagnosis: Diagnosis | None) -> Iterator[tuple[str, tuple[str, ...]]]:
        cause = diagnosis.cause if diagnosis else None
        ranker = diagnosis.ranker if diagnosis else "-"
        if cause is None:
            yield self._say("confidence_none", ranker=ranker)
        else:
            share = worded(cause.confidence, "ratio", self._language)
            yield self._say("confidence", *cause.evidence, confidence=share, ranker=ranker)

    def _title(self, cause: Cause) -> str:
        return self._words.cause(cause.id, self._language, plain(cause.title))

    def _ended(self, text: str) -> str:
        return text if text.endswith((".", "。", "!", "?")) else text + self._phrases["stop"]

    def fact(self, fact: Evidence) -> str:
        """One fact of a diagnosis in words, without the full stop."""
        if fact.series is None:
            return self._phrases["fact_text"].format(text=plain(fact.text).rstrip(".。"), id=fact.id)
        key = "fact_unknown" if isnan(fact.value) else "fact_alone" if isnan(fact.expected) else "fact_same"
        if _moved(fact):
            key = "fact_up" if fact.value > fact.expected else "fact_down"
        return self._phrases[key].format(
            signal=self._words.signal(fact.series.signal, fact.series.stat, self._language),
            entity=called(fact.series.entity),
            value=worded(fact.value, fact.unit, self._language),
            expected=worded(fact.expected, fact.unit, self._language),
            id=fact.id,
        )


def felt_by_users(evidence: Iterable[Evidence]) -> list[Evidence]:
    """Facts that users notice and that differ from what was expected, the clearest first."""
    found = [
        fact
        for fact in evidence
        if fact.series is not None and fact.series.signal in _IMPACT and fact.series.stat != "rate" and _moved(fact)
    ]
    return sorted(found, key=lambda fact: _IMPACT.index(fact.series.signal) if fact.series else 0)


def _moved(fact: Evidence) -> bool:
    """Whether value and expectation differ by more than rounding; unknown is not moved."""
    return abs(fact.value - fact.expected) > _SAME_SHARE * max(abs(fact.value), abs(fact.expected))
