"""Answers to compiled questions, from what is known: measurements, incidents, alerts, advice, pages. Read-only.

Every sentence cites where it is from, and the answer carries the query that was understood, so that a wrong reading of
the question shows. No language model takes part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from aiops.explain.knowledge import SHIPPED, Found
from aiops.explain.narrator import Part, Summary, called, moment
from aiops.explain.phrases import ANSWERS, PHRASES
from aiops.explain.quantities import worded
from aiops.explain.questions import Intent, Query
from aiops.explain.words import Language, Words, plain
from aiops.incidents.alert import Alert, Incident
from aiops.signals.types import SeriesKey

_MOST = 5
_TOLD = {
    Intent.WHY: (Part.IMPACT, Part.CAUSE, Part.RULED_OUT, Part.CHANGES, Part.CONFIDENCE),
    Intent.HOW: (Part.CAUSE, Part.ACTIONS),
}


@dataclass(frozen=True, slots=True)
class Measured:
    """One series in a window.

    Attributes
    ----------
    worst, at
        The value on the side that hurts (the mean, where neither does), and its UTC second.
    before
        Median of the hour before the window; NaN when not known.
    """

    key: SeriesKey
    unit: str
    worst: float
    at: float
    mean: float
    before: float


@dataclass(frozen=True, slots=True)
class Story:
    """An incident with its summary and the causes that its diagnosis names."""

    incident: Incident
    summary: Summary
    causes: tuple[str, ...] = ()


class Records(Protocol):
    """What can be looked up."""

    def measured(self, query: Query) -> Sequence[Measured]:
        """Series of the query, the furthest from what they were before first."""
        ...

    def incidents(self, query: Query) -> Sequence[Story]:
        """Incidents that were there in the window and touch the names and signals of the query, newest first."""
        ...

    def alerts(self, query: Query) -> Sequence[Alert]:
        """Alerts that fire now and touch the names of the query."""
        ...

    def recommendations(self) -> Sequence[Mapping[str, object]]:
        """Advice on every pool, as the API shows it."""
        ...

    def pages(self, text: str, keys: Sequence[str]) -> Sequence[Found]:
        """What is written about keys and words."""
        ...


@dataclass(frozen=True, slots=True)
class Source:
    """Where a sentence is from: its id, what it is, and how to look it up again."""

    id: str
    what: str
    look_up: str


@dataclass(slots=True)
class Answer:
    """Sentences with the sources that they cite, and the query that they answer."""

    query: Query
    sentences: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)

    def cite(self, what: str, look_up: str) -> str:
        """Add a source; return its id."""
        self.sources.append(Source(f"S{len(self.sources) + 1}", what, look_up))
        return self.sources[-1].id

    def say(self, text: str, *cited: str) -> None:
        """Add a sentence."""
        self.sentences.append((text, cited))

    @property
    def text(self) -> str:
        """One sentence a line."""
        return "\n".join(text for text, _ in self.sentences)


def answer(query: Query, records: Records, words: Words) -> Answer:
    """Answer one question."""
    given = Answer(query)
    writer = _Writer(given, records, words)
    if query.intent is Intent.REPLICAS:
        writer.replicas()
    elif query.intent is Intent.ALERTS:
        writer.alerts()
    elif query.intent is Intent.VALUE:
        writer.measured()
    elif query.intent is Intent.HAPPENED:
        writer.incidents(records.incidents(query))
    else:
        stories = records.incidents(query)
        if query.signals and query.intent is Intent.WHY:
            writer.measured()
        writer.incidents(stories[:2])
        keys = [key for story in stories[:2] for key in (*story.causes, *_rules(story))]
        writer.pages(keys)
    return given


class _Writer:
    def __init__(self, given: Answer, records: Records, words: Words) -> None:
        self._given = given
        self._records = records
        self._words = words
        self._query = given.query
        self._language: Language = given.query.language
        self._phrases = ANSWERS[self._language]

    def _say(self, key: str, *cited: str, **values: object) -> None:
        self._given.say(self._phrases[key].format(**values), *cited)

    def measured(self) -> None:
        found = self._records.measured(self._query)
        if not found:
            named = [self._words.signal(name, self._query.stat, self._language) for name in self._query.signals]
            self._say("not_measured", signals=", ".join(named) or "-")
        for one in found[:_MOST]:
            look_up = next((text for text in self._query.promql), "")
            source = self._given.cite(str(one.key), look_up)
            self._say(
                "measured",
                source,
                id=source,
                signal=self._words.signal(one.key.signal, one.key.stat, self._language),
                entity=called(one.key.entity),
                value=worded(one.worst, one.unit, self._language),
                at=moment(one.at),
                mean=worded(one.mean, one.unit, self._language),
                before=worded(one.before, one.unit, self._language),
            )
        self._rest(len(found))

    def incidents(self, stories: Sequence[Story]) -> None:
        if not stories:
            self._say("no_incident")
        for story in stories[:_MOST]:
            incident = story.incident
            source = self._given.cite(f"incident {incident.id}", f"/api/v1/incidents/{incident.id}")
            ended = self._phrases["ended"].format(end=moment(incident.ended_at)) if not incident.open else ""
            self._say(
                "incident",
                source,
                id=source,
                incident=incident.id,
                severity=PHRASES[self._language][str(incident.severity)],
                state=ended or self._phrases["open"],
                title=plain(incident.title),
                start=moment(incident.started_at),
            )
            for sentence in story.summary.sentences:
                if sentence.part in _TOLD.get(self._query.intent, ()):
                    self._given.say(sentence.text, source, *sentence.evidence)
        self._rest(len(stories))

    def alerts(self) -> None:
        found = self._records.alerts(self._query)
        if not found:
            self._say("no_alert")
        for alert in found[:_MOST]:
            source = self._given.cite(f"{alert.key.rule} on {alert.key.series}", "/api/v1/alerts")
            self._say(
                "alert",
                source,
                id=source,
                rule=alert.key.rule,
                severity=PHRASES[self._language][str(alert.severity)],
                start=moment(alert.started_at),
                reason=plain(alert.verdict.reason).rstrip(".。"),
            )
        self._rest(len(found))

    def replicas(self) -> None:
        found = [one for one in self._records.recommendations() if self._is_asked(str(one.get("pool", "")))]
        if not found:
            self._say("no_pool")
        for one in found[:_MOST]:
            pool, desired = str(one.get("pool", "")), one.get("desired_replicas")
            source = self._given.cite(f"advice on pool {pool}", f"/api/v1/recommendations/{pool}")
            usable = desired is not None and not one.get("abstained")
            self._say(
                "replicas" if usable else "no_advice",
                source,
                id=source,
                pool=plain(pool, 120),
                desired=desired,
                current=one.get("current_replicas"),
                reason=plain(str(one.get("reason", ""))).rstrip(".。"),
            )
        self._rest(len(found))

    def _is_asked(self, pool: str) -> bool:
        return not self._query.names or any(name in pool.split("/") or name in pool for name in self._query.names)

    def pages(self, keys: Sequence[str]) -> None:
        found = self._records.pages(self._query.text, keys)
        if not found and self._query.intent is Intent.HOW:
            self._say("no_page")
        for one in found[:3]:
            name = plain(one.place.rpartition("/")[2].removeprefix("incident "), 120)
            look_up = f"/runbooks/{name.removesuffix('.md')}" if one.kind == SHIPPED else one.place
            source = self._given.cite(f"{one.kind} {name}", look_up)
            self._say(
                "page",
                source,
                id=source,
                title=plain(one.title, 120),
                kind=one.kind,
                place=name,
                excerpt=one.excerpt.rstrip(".。"),
            )

    def _rest(self, count: int) -> None:
        if count > _MOST:
            self._say("more", count=count - _MOST)


def _rules(story: Story) -> list[str]:
    return list(dict.fromkeys(key.rule for key in story.incident.members))
