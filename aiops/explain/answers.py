"""Answers to compiled questions, from what is known: measurements, incidents, alerts, advice, pages. Read-only.

Every sentence cites where it is from, and the answer carries the query that was understood, so that a wrong reading of
the question shows. No language model takes part.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan
from typing import Protocol

from aiops.capacity.exhaustion import Exhaustion
from aiops.explain.knowledge import SHIPPED, Found
from aiops.explain.narrator import Part, Summary, called, moment
from aiops.explain.phrases import ANSWERS, PHRASES
from aiops.explain.quantities import worded
from aiops.explain.questions import Intent, Query, look_up
from aiops.explain.words import Language, Words, plain
from aiops.incidents.alert import Alert, Incident
from aiops.signals.types import Mark, SeriesKey

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
        The value on the side that is asked for, else that hurts (the mean, where neither does), and its UTC second.
    before
        Median of the hour before the window; NaN when not known.
    last
        Newest known value in the window.
    """

    key: SeriesKey
    unit: str
    worst: float
    at: float
    mean: float
    before: float
    last: float


@dataclass(frozen=True, slots=True)
class Moved:
    """One series that is elsewhere in a window than before it.

    Attributes
    ----------
    before, then
        Level before, and median in the window.
    onset
        UTC seconds; NaN when it did not stay.
    distance, harm
        How far, and how far in the direction that hurts, in robust deviations.
    """

    key: SeriesKey
    unit: str
    before: float
    then: float
    onset: float
    distance: float
    harm: float


@dataclass(frozen=True, slots=True)
class Story:
    """An incident with its summary and the causes that its diagnosis names."""

    incident: Incident
    summary: Summary
    causes: tuple[str, ...] = ()


class Records(Protocol):
    """What can be looked up."""

    def measured(self, query: Query) -> Sequence[Measured]:
        """Series of the query: for a ranking in its order, else the furthest from what they were before first."""
        ...

    def marks(self, query: Query) -> Sequence[Mark]:
        """Deploys, restarts and other events in the window, of the names of the query, newest first."""
        ...

    def moved(self, query: Query) -> Sequence[Moved] | None:
        """Series that are elsewhere in the window than before, of the names of the query, the farthest first; None when
        nothing is known of before."""
        ...

    def run_outs(self, query: Query) -> Sequence[tuple[SeriesKey, Exhaustion]]:
        """When what can be used up is, for the signals and names of the query, the soonest first."""
        ...

    def incidents(self, query: Query) -> Sequence[Story]:
        """Incidents that were there in the window and touch the names of the query and what its signals show, newest
        first."""
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
    _Writer(given, records, words).write()
    return given


class _Writer:
    def __init__(self, given: Answer, records: Records, words: Words) -> None:
        self._given = given
        self._records = records
        self._words = words
        self._query = given.query
        self._language: Language = given.query.language
        self._phrases = ANSWERS[self._language]

    def write(self) -> None:
        parts: Mapping[Intent, Sequence[Callable[[], None]]] = {
            Intent.WHY: (self.told,),
            Intent.HOW: (self.told,),
            Intent.VALUE: (self.measured,),
            Intent.RANK: (self.ranked,),
            Intent.STATE: (self.happened, self.side_by_side),
            Intent.HAPPENED: (self.happened,),
            Intent.CHANGED: (self.events, self.moved),
            Intent.ALERTS: (self.alerts,),
            Intent.REPLICAS: (self.replicas,),
            Intent.RUNS_OUT: (self.run_outs,),
            Intent.ORDER: (lambda: self.say("order"),),
            Intent.UNCLEAR: (lambda: self.say("unclear"),),
        }
        for part in parts[self._query.intent]:
            part()

    def say(self, key: str, *cited: str, **values: object) -> None:
        self._given.say(self._phrases[key].format(**values), *cited)

    def told(self) -> None:
        """The stories behind it, with causes or actions, and what is written."""
        stories = self._records.incidents(self._query)
        if self._query.signals and self._query.intent is Intent.WHY:
            self.measured()
        self.incidents(stories[:2])
        self.pages([key for story in stories[:2] for key in (*story.causes, *_rules(story))])

    def measured(self) -> None:
        found = self._found()
        for one in found[:_MOST]:
            self._measurement("measured", one)
        self._rest(len(found))

    def ranked(self) -> None:
        found, most = self._found(), self._query.most or _MOST
        side = self._phrases["lowest" if self._query.lowest else "highest"]
        when = self._phrases["at_the_end" if self._query.timed else "now"]
        for place, one in enumerate(found[:most], 1):
            self._measurement("ranked", one, place=place, side=side, when=when)
        if not self._query.most:
            self._rest(len(found))

    def _found(self) -> Sequence[Measured]:
        found = self._records.measured(self._query)
        if not found:
            named = [self._words.signal(name, self._query.stat, self._language) for name in self._query.signals]
            self.say("not_measured", signals=", ".join(named) or "-")
        return found

    def _measurement(self, phrase: str, one: Measured, **more: object) -> None:
        source = self._cite(one.key)
        numbers = {"value": one.worst, "last": one.last, "mean": one.mean, "before": one.before}
        told = {name: worded(number, one.unit, self._language) for name, number in numbers.items()}
        self.say(phrase, source, id=source, signal=self._signal(one.key), entity=called(one.key.entity),
                 at=moment(one.at), **told, **more)  # fmt: skip

    def _cite(self, key: SeriesKey) -> str:
        return self._given.cite(str(key), look_up(key.signal, key.stat))

    def _signal(self, key: SeriesKey) -> str:
        return self._words.signal(key.signal, key.stat, self._language)

    def side_by_side(self) -> None:
        """One sentence a signal: what it is now for each of the named things."""
        rows: dict[tuple[str, str], list[Measured]] = {}
        for one in self._records.measured(self._query):
            rows.setdefault((one.key.signal, one.key.stat), []).append(one)
        for same in rows.values():
            source = self._cite(same[0].key)
            told = [f"{called(one.key.entity)} {worded(one.last, one.unit, self._language)}" for one in same[:_MOST]]
            self.say("side_by_side", source, id=source, signal=self._signal(same[0].key),
                     values=self._phrases["comma"].join(told))  # fmt: skip
            self._rest(len(same))

    def happened(self) -> None:
        self.incidents(self._records.incidents(self._query))

    def events(self) -> None:
        marks = self._records.marks(self._query)
        if not marks:
            self.say("no_mark")
        for mark in marks[:_MOST]:
            source = self._given.cite(f"{mark.kind} of {mark.entity}", "archive.sqlite")
            self.say("mark", source, id=source, at=moment(mark.at), entity=called(mark.entity), kind=str(mark.kind),
                     detail=plain(mark.detail, 200))  # fmt: skip
        self._rest(len(marks))

    def moved(self) -> None:
        moved = self._records.moved(self._query)
        if not moved:
            self.say("no_before" if moved is None else "nothing_moved")
        for one in (moved or ())[:_MOST]:
            source = self._cite(one.key)
            since = "" if isnan(one.onset) else self._phrases["since"].format(at=moment(one.onset))
            self.say("moved", source, id=source, signal=self._signal(one.key), entity=called(one.key.entity),
                     before=worded(one.before, one.unit, self._language),
                     then=worded(one.then, one.unit, self._language), since=since)  # fmt: skip
        self._rest(len(moved or ()))

    def run_outs(self) -> None:
        found = self._records.run_outs(self._query)
        if not found:
            self.say("no_run_out")
        for key, end in found[:_MOST]:
            source = self._cite(key)
            times = {"expected": end.seconds, "soonest": end.soonest_seconds, "latest": end.latest_seconds}
            told = {name: worded(seconds, "seconds", self._language) for name, seconds in times.items()}
            self.say("lasts" if isnan(end.seconds) else "runs_out", source, id=source, signal=self._signal(key),
                     entity=called(key.entity), reason=plain(end.reason).rstrip(".。"), **told)  # fmt: skip
        self._rest(len(found))

    def incidents(self, stories: Sequence[Story]) -> None:
        if not stories:
            self.say("no_incident")
        for story in stories[:_MOST]:
            incident = story.incident
            source = self._given.cite(f"incident {incident.id}", f"/api/v1/incidents/{incident.id}")
            ended = self._phrases["ended"].format(end=moment(incident.ended_at)) if not incident.open else ""
            self.say(
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
            self.say("no_alert")
        for alert in found[:_MOST]:
            source = self._given.cite(f"{alert.key.rule} on {alert.key.series}", "/api/v1/alerts")
            self.say(
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
            self.say("no_pool")
        for one in found[:_MOST]:
            pool, desired = str(one.get("pool", "")), one.get("desired_replicas")
            source = self._given.cite(f"advice on pool {pool}", f"/api/v1/recommendations/{pool}")
            usable = desired is not None and not one.get("abstained")
            self.say(
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
            self.say("no_page")
        for one in found[:3]:
            name = plain(one.place.rpartition("/")[2].removeprefix("incident "), 120)
            look_up = f"/runbooks/{name.removesuffix('.md')}" if one.kind == SHIPPED else one.place
            source = self._given.cite(f"{one.kind} {name}", look_up)
            self.say(
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
            self.say("more", count=count - _MOST)


def _rules(story: Story) -> list[str]:
    return list(dict.fromkeys(key.rule for key in story.incident.members))
