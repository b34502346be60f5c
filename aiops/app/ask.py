"""Questions to the running daemon: gathers what is known, and answers. Reads only."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isnan
from pathlib import Path

import numpy as np

from aiops.app import presets
from aiops.app.changes_view import changes
from aiops.app.explain import Explain
from aiops.app.pipeline import Pipeline
from aiops.capacity.exhaustion import Exhaustion
from aiops.explain.answers import Answer, Measured, Moved, Story, answer
from aiops.explain.knowledge import Found, Knowledge, Page
from aiops.explain.questions import Intent, Query, compile_question
from aiops.explain.words import plain
from aiops.incidents.alert import Alert, Incident
from aiops.kit.clock import Clock
from aiops.kit.log import OnChange
from aiops.signals.catalog import SIGNALS, Bad, Kind
from aiops.signals.normalise import unit_of
from aiops.signals.types import Entity, EntityKind, Mark, MarkKind, SeriesKey
from aiops.store.view import ArchiveView
from aiops.web.asked import Span
from aiops.web.source import Refused

_LOG = logging.getLogger("aiops.app.ask")
_BEFORE_SECONDS = 3600.0
_MOST_SERIES = 500
_MOST_INCIDENTS = 200
_MOST_MARKS = 1000
TAIL, MEAN = "p95", "mean"
"""Which part of a distribution is told when the question does not say: the tail, the mean where there is no tail."""
STATE_SIGNALS = ("running", "queue_len", "kv_use", "tokens_out", "ttft", "itl", "errors", "gpu_util", "gpu_temp",
                 "gpu_sm_clock", "gpu_throttle", "cpu_busy")  # fmt: skip
"""What is told of named things when the question names no signal."""
Record = Mapping[str, object]


class Ask:
    """Answers questions about one pipeline.

    Parameters
    ----------
    folders
        Folders of runbooks with what they are: ``shipped runbook`` or ``runbook``.
    advice, opinions
        Give the recommendations, and what people said of alerts, as the API shows them.
    run_outs
        When what can be used up is.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        explain: Explain,
        view: ArchiveView,
        clock: Clock,
        *,
        folders: Sequence[tuple[str, Path]],
        advice: Callable[[], Sequence[Record]],
        opinions: Callable[[], Record],
        run_outs: Callable[[], Mapping[SeriesKey, Exhaustion]],
    ) -> None:
        self._pipeline = pipeline
        self._explain = explain
        self._view = view
        self._clock = clock
        self._folders = folders
        self._advice = advice
        self._opinions = opinions
        self._run_outs = run_outs
        self._words = presets.words()
        self._knowledge = Knowledge()
        self._faults = OnChange(_LOG, clock.monotonic)
        self._past: dict[str, Page] = {}
        self._names: tuple[tuple[SeriesKey | None, ...], frozenset[str]] = ((), frozenset())

    @property
    def pages(self) -> int:
        """Runbooks and past incidents that are known."""
        return self._knowledge.size

    async def refresh(self) -> None:
        """Look at the runbooks and at past incidents again; only what changed is read."""
        problems = await asyncio.to_thread(self._knowledge.refresh, self._folders)
        self._faults.report("runbooks", "; ".join(problems[:5]))
        past = await asyncio.to_thread(self._view.load_incidents, since=0.0)
        said = self._said()
        for incident in past[-_MOST_INCIDENTS:]:
            if incident.open:
                continue
            page = _page_of(incident, said.get(incident.id, ()), self._explain.causes(incident.id))
            if self._past.get(page.place) != page:
                self._past[page.place] = page
                self._knowledge.put(page)

    def _said(self) -> Mapping[str, Sequence[Record]]:
        """Opinions that stand, by incident."""
        found: dict[str, list[Record]] = {}
        listed = self._opinions().get("feedback")
        for one in listed if isinstance(listed, Sequence) else ():
            if not one["undoneAt"]:
                found.setdefault(str(one["incident"]), []).append(one)
        return found

    async def ask(self, question: str) -> Answer:
        """Answer one question."""
        query = compile_question(
            question, now=self._clock.now(), signals=self._words.signals, names=self._known_names()
        )
        past = await asyncio.to_thread(self._view.load_incidents, since=query.start)
        records = _Records(self._pipeline, self._explain, self._knowledge, self._advice, past)
        if query.intent is Intent.CHANGED:
            marks = await asyncio.to_thread(self._view.recent_marks, _MOST_MARKS, query.start)
            await records.load_changes(query, marks)
        if query.intent is Intent.RUNS_OUT:
            records.ends = self._run_outs()
        return answer(query, records, self._words)

    def _known_names(self) -> frozenset[str]:
        """Values of labels of everything that is measured; collected anew when the series change."""
        keys = self._pipeline.ring.window().keys
        if keys is not self._names[0]:
            entities = {key.entity for key in keys if key is not None}
            self._names = (keys, frozenset(value for entity in entities for _, value in entity.labels))
        return self._names[1]

    def close(self) -> None:
        """Forget the pages."""
        self._knowledge.close()


class _Records:
    """What the pipeline and the archive know, as answers want it; for one question."""

    def __init__(
        self,
        pipeline: Pipeline,
        explain: Explain,
        knowledge: Knowledge,
        advice: Callable[[], Sequence[Record]],
        past: Iterable[Incident],
    ) -> None:
        self._pipeline = pipeline
        self._explain = explain
        self._knowledge = knowledge
        self._advice = advice
        self._past = {incident.id: incident for incident in past}
        self._marks: Sequence[Mark] = ()
        self._moved: Sequence[Moved] | None = None
        self.ends: Mapping[SeriesKey, Exhaustion] = {}
        self._measured: Sequence[Measured] | None = None

    async def load_changes(self, query: Query, marks: Sequence[Mark]) -> None:
        """What only an answer about changes needs."""
        self._marks = [mark for mark in marks if mark.kind is not MarkKind.RECOMMENDATION]
        span = Span.model_validate({"from": query.start, "to": query.end, "limit": _MOST_SERIES})
        with contextlib.suppress(Refused):  # nothing before it to compare with
            self._moved = await changes(self._pipeline.ring, span)

    def marks(self, query: Query) -> Sequence[Mark]:
        there = [one for one in self._marks if query.start <= one.at <= query.end]
        return [one for one in there if _is_named(one.entity, query)]

    def moved(self, query: Query) -> Sequence[Moved] | None:
        if self._moved is None:
            return None
        return [one for one in self._moved if _is_named(one.key.entity, query)]

    def run_outs(self, query: Query) -> Sequence[tuple[SeriesKey, Exhaustion]]:
        named = {key: end for key, end in self.ends.items() if _is_named(key.entity, query)}
        about = {key: end for key, end in named.items() if key.signal in query.signals} or named
        return sorted(about.items(), key=lambda item: (isnan(item[1].seconds), item[1].seconds, str(item[0])))

    def measured(self, query: Query) -> Sequence[Measured]:
        if self._measured is None:  # "why" asks twice: what moved, and which incidents are there
            self._measured = self._measure(query)
        return self._measured

    def _measure(self, query: Query) -> Sequence[Measured]:
        chosen = _widest([key for key in self._pipeline.ring.window().keys if key and _is_asked(key, query)], query)
        found = [one for key in chosen[:_MOST_SERIES] if (one := self._one(key, query)) is not None]
        if not query.stat:  # tails where they are known, means elsewhere
            tails = {(one.key.entity, one.key.signal) for one in found if one.key.stat == TAIL}
            found = [one for one in found if one.key.stat != MEAN or (one.key.entity, one.key.signal) not in tails]
        if query.intent is Intent.STATE:
            return sorted(found, key=lambda one: (STATE_SIGNALS.index(one.key.signal), str(one.key.entity)))
        if query.intent is Intent.RANK:
            return _ranked(found, query)
        return sorted(found, key=lambda one: (-_moved(one), -one.worst))

    def _one(self, key: SeriesKey, query: Query) -> Measured | None:
        history = self._pipeline.ring.history(key, query.start - _BEFORE_SECONDS)
        inside = (history.at >= query.start) & (history.at <= query.end) & ~np.isnan(history.values)
        if not inside.any():
            return None
        values, at = history.values[inside].astype(np.float64), history.at[inside]
        mean = float(values.mean())
        place = int(values.argmin() if _is_low(key.signal, query) else values.argmax())
        earlier = history.values[history.at < query.start]
        earlier = earlier[~np.isnan(earlier)]
        before = float(np.median(earlier)) if earlier.size else float("nan")
        sided = query.intent is Intent.RANK or SIGNALS[key.signal].bad in (Bad.HIGH, Bad.LOW)
        worst = float(values[place]) if sided else mean
        return Measured(key, unit_of(key), worst, float(at[place]), mean, before, float(values[-1]))

    def incidents(self, query: Query) -> Sequence[Story]:
        known = {**self._past, **self._pipeline.grouping.incidents}
        there = [
            one for one in known.values() if one.started_at <= query.end and (one.open or one.ended_at >= query.start)
        ]
        named = [one for one in there if not query.names or _touches(one, query.names)]
        about = [one for one in named if {key.series.signal for key in one.members} & set(query.signals)]
        chosen = sorted(about or self._beside(named, query), key=lambda one: -one.started_at)
        return [Story(one, self._explain.summary(one, query.language), self._explain.causes(one.id)) for one in chosen]

    def _beside(self, incidents: Sequence[Incident], query: Query) -> Sequence[Incident]:
        """Of some incidents those at the place where the signals of the query moved most; all when none is there."""
        moved = self.measured(query) if query.signals else ()
        if not moved:
            return incidents
        places = self._pipeline.grouping.places
        where = set(places(moved[0].key.entity))
        there = [one for one in incidents if any(where.intersection(places(key.series.entity)) for key in one.members)]
        return there or incidents

    def alerts(self, query: Query) -> Sequence[Alert]:
        active = [alert for alert in self._pipeline.alerts.values() if alert.active]
        named = [one for one in active if _is_named(one.key.series.entity, query)]
        return sorted(named, key=lambda alert: -alert.started_at)

    def recommendations(self) -> Sequence[Record]:
        return self._advice()

    def pages(self, text: str, keys: Sequence[str]) -> Sequence[Found]:
        return self._knowledge.search(text, keys)


def _is_asked(key: SeriesKey, query: Query) -> bool:
    if key.signal not in (query.signals or (STATE_SIGNALS if query.intent is Intent.STATE else ())):
        return False
    stats = (query.stat,) if query.stat else (TAIL, MEAN) if SIGNALS[key.signal].kind is Kind.DISTRIBUTION else ("",)
    return key.stat in stats and _is_named(key.entity, query)


def _widest(keys: Sequence[SeriesKey], query: Query) -> Sequence[SeriesKey]:
    """Series of the kind that is asked for, else of pools, else all; a ranking is of parts rather than of pools."""
    asked = [key for key in keys if key.entity.kind is query.kind]
    pools = [key for key in keys if key.entity.kind is EntityKind.POOL]
    parts = [key for key in keys if key.entity.kind is not EntityKind.POOL]
    if query.intent is Intent.STATE and not (pools or query.kind):
        return keys
    return asked or ((parts or pools) if query.intent is Intent.RANK else (pools or parts))


def _ranked(found: Sequence[Measured], query: Query) -> Sequence[Measured]:
    """By the first signal that is measured: the newest values where no time is named, else the farthest of each."""
    if not found:
        return found
    signal = min((one.key.signal for one in found), key=query.signals.index)
    side = 1 if _is_low(signal, query) else -1
    same = [one for one in found if one.key.signal == signal]
    return sorted(same, key=lambda one: side * (one.worst if query.timed else one.last))


def _is_low(signal: str, query: Query) -> bool:
    """Whether the low side is asked for; where the question does not say, the one that hurts."""
    return SIGNALS[signal].bad is Bad.LOW if query.lowest is None else query.lowest


def _is_named(entity: Entity, query: Query) -> bool:
    return not query.names or _carries(entity, query.names)


def _carries(entity: Entity, names: Sequence[str]) -> bool:
    return any(value in names for _, value in entity.labels)


def _touches(incident: Incident, names: Sequence[str]) -> bool:
    return any(_carries(key.series.entity, names) for key in incident.members)


def _moved(one: Measured) -> float:
    """How far the window is from the hour before, as a share; 0 where that is not known."""
    if isnan(one.before):
        return 0.0
    return abs(one.worst - one.before) / max(abs(one.before), 1e-9)


def _page_of(incident: Incident, said: Sequence[Record], causes: Sequence[str]) -> Page:
    """A past incident as a page: what it was, and what people said of it."""
    rules = list(dict.fromkeys(key.rule for key in incident.members))
    lines = [f"{plain(incident.title)}: {', '.join(rules)}"]
    for one in said:
        cause = f", cause: {plain(str(one['cause']))}" if one["cause"] else ""
        note = f"; {plain(str(one['note']))}" if one["note"] else ""
        lines.append(f"People said of {one['alertname']}: {one['judgement']}{cause}{note}")
    told = [str(one["cause"]) for one in said if one["cause"]]
    return Page(f"incident {incident.id}", "past incident", plain(incident.title, 120), "\n".join(lines),
                (*causes, *told, *rules))  # fmt: skip
