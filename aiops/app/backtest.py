"""What the daemon would have said: a recorded past goes through the real pipeline, tick by tick, and is judged.

Ring, bank, incident machine and grouping are those of the daemon, built by the same function; only the readings come
from a file or from Prometheus. Invariants: a decision depends on answers up to its tick and on nothing later, and the
same input gives the same decisions, byte for byte, because no clock is read and nothing runs beside the ticks. Models
that the daemon fits in a process of its own are fitted here between two ticks, so they arrive at once, not seconds
later, and no busy machine leaves a round out.

Rules count points. Where the past has fewer of them than the daemon takes, everything that counts points takes
proportionally longer: at a step of 30 s, 3 of 4 points are a minute and a half.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from math import nan

import numpy as np

from aiops.app.assembly import build_pipeline
from aiops.app.config import Config
from aiops.app.fit_parts import fit
from aiops.app.parts import Engine, Here
from aiops.app.pipeline import Outcome, Pipeline
from aiops.detect.base import AlertKey, Severity
from aiops.incidents.alert import Transition
from aiops.signals.types import Entity, Labels, Reading, SourceStatus

WEEK_SECONDS = 7 * 86_400.0
_INTERVALS = 25
"""Attempts from which the interval of a source is told."""
_SILENT_INTERVALS = 2.5
"""After so long without an attempt a source is no longer asked, as when discovery drops it; it is not down."""
_RANK = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}


@dataclass(frozen=True, slots=True)
class Answer:
    """One attempt to read a source: when (UTC seconds), what came (None = it failed), and whether it was new."""

    source: str
    at: float
    reading: Reading | None
    changed: bool = True


@dataclass(frozen=True, slots=True)
class Recorded:
    """A past.

    Attributes
    ----------
    answers
        Oldest first, at least one.
    entities
        Source → what is gone when it is gone.
    step_seconds
        Time between two points.
    """

    answers: tuple[Answer, ...]
    entities: Mapping[str, Entity]
    step_seconds: float

    def __post_init__(self) -> None:
        if not self.answers:
            raise ValueError("there is nothing to replay: no answer of any source")

    def step_of(self, at: float) -> int:
        """In which step a time lies, counted from 1."""
        return round((at - self.answers[0].at) / self.step_seconds + 0.5)

    @property
    def steps(self) -> int:
        """How many steps it has; there may be none in some."""
        return round((self.answers[-1].at - self.answers[0].at) / self.step_seconds) + 1

    @property
    def weeks(self) -> float:
        """How long it is; at least one step."""
        seconds = self.answers[-1].at - self.answers[0].at + self.step_seconds
        return seconds / WEEK_SECONDS


@dataclass(frozen=True, slots=True)
class Fired:
    """An alert that began to fire.

    Attributes
    ----------
    ended_at
        UTC seconds; 0.0 when it still fired at the end of the past.
    story
        Which opening of an incident told it: index into :attr:`Decisions.stories`.
    """

    at: float
    ended_at: float
    rule: str
    severity: Severity
    series: str
    labels: Labels
    reason: str
    statistical: bool
    story: int


@dataclass(frozen=True, slots=True)
class Story:
    """An incident that opened, or opened again; ``ended_at`` is 0.0 when it was open at the end."""

    id: str
    title: str
    at: float
    ended_at: float


@dataclass(slots=True)
class Decisions:
    """Everything that a replay decided, in order."""

    ticks: int = 0
    series: int = 0
    fitted_models: int = 0
    problems: list[str] = field(default_factory=list)
    fired: list[Fired] = field(default_factory=list)
    stories: list[Story] = field(default_factory=list)
    _firing: dict[AlertKey, int] = field(default_factory=dict)
    _open: dict[str, int] = field(default_factory=dict)

    def take(self, at: float, outcome: Outcome, pipeline: Pipeline) -> None:
        """Note what one tick changed."""
        self.ticks += 1
        self.series = max(self.series, pipeline.ring.series)
        for incident in outcome.incidents:
            if incident.open and incident.id not in self._open:
                self._open[incident.id] = len(self.stories)
                self.stories.append(Story(incident.id, incident.title, at, 0.0))
            elif incident.open:
                place = self._open[incident.id]
                self.stories[place] = replace(self.stories[place], title=incident.title)
            elif (known := self._open.pop(incident.id, None)) is not None:
                self.stories[known] = replace(self.stories[known], ended_at=at)
        for transition in outcome.transitions:
            self._note(at, transition, pipeline)

    def _note(self, at: float, transition: Transition, pipeline: Pipeline) -> None:
        alert = transition.alert
        if transition.began:
            self._firing[alert.key] = len(self.fired)
            verdict, series = alert.verdict, alert.key.series
            story = self._open.get(pipeline.machine.alerts[alert.key].incident, -1)
            statistical = verdict.statistical
            where = (alert.key.rule, alert.severity, str(series), series.entity.labels)
            self.fired.append(Fired(at, 0.0, *where, verdict.reason, statistical, story))
        elif transition.ended and (place := self._firing.pop(alert.key, None)) is not None:
            self.fired[place] = replace(self.fired[place], ended_at=at)


def run(
    recorded: Recorded,
    config: Config,
    *,
    fits: bool,
    engine: Engine | None = None,
    told: Callable[[int, int], None] | None = None,
) -> Decisions:
    """Replay a past under a configuration.

    Parameters
    ----------
    config
        Its interval becomes the step of the past, and its window as many rows as it would have had.
    fits
        Also fit models, as often as the daemon would; needs the extra ``analytics`` and takes most of the time.
    engine
        Who fits; None is this process.
    told
        Hears which step of how many is over.
    """
    config = at_step(config, recorded.step_seconds)
    pipeline, decisions = build_pipeline(config), Decisions()
    settings, fitted_at = config.detect.fit, recorded.answers[0].at
    for at, outcome in lived(recorded, pipeline):
        decisions.take(at, outcome, pipeline)
        if fits and settings.enabled and at - fitted_at >= settings.interval:
            fitted_at = at
            found = fit(pipeline, engine or Here(), settings)
            decisions.fitted_models += found.models.total()
            decisions.problems += [one for one in found.problems if one not in decisions.problems]
        if told:
            told(recorded.step_of(at), recorded.steps)
    return decisions


def lived(recorded: Recorded, pipeline: Pipeline) -> Iterator[tuple[float, Outcome]]:
    """Let a pipeline live through a past; after each tick, when it was and what was decided."""
    sources, last = _Sources(recorded), nan
    for at, answers in ticks(recorded):
        readings = [answer.reading for answer in answers if answer.reading is not None]
        statuses = sources.heard(at, answers)
        elapsed = recorded.step_seconds if np.isnan(last) else at - last
        yield at, pipeline.tick(at, readings, statuses, elapsed_seconds=elapsed)
        last = at


def at_step(config: Config, step_seconds: float) -> Config:
    """The configuration for points that are ``step_seconds`` apart: as many rows as before, another interval."""
    rows = config.store.rows(config.interval)
    store = config.store.model_copy(
        update={"window": rows * step_seconds, "series_ttl": max(config.store.series_ttl, 4 * step_seconds)}
    )
    return config.model_copy(update={"interval": step_seconds, "store": store})


def ticks(recorded: Recorded) -> Iterator[tuple[float, list[Answer]]]:
    """When the pipeline ticks, and what came since the tick before.

    The grid begins half a step after the first answer, so that sources that are read at one time, more or less, fall
    into one tick. Where nothing was asked at all, nobody watched: there is no tick.
    """
    first, step = recorded.answers[0].at, recorded.step_seconds
    for index, answers in groupby(recorded.answers, lambda answer: round((answer.at - first) / step)):
        yield first + (index + 0.5) * step, list(answers)


class _Sources:
    """Health of the sources as the collectors would have told it, from attempts so far."""

    def __init__(self, recorded: Recorded) -> None:
        self._entities = recorded.entities
        self._step_seconds = recorded.step_seconds
        self._statuses: dict[str, SourceStatus] = {}
        self._gaps: dict[str, list[float]] = {}

    def heard(self, now: float, answers: Sequence[Answer]) -> tuple[SourceStatus, ...]:
        for answer in answers:
            before = self._statuses.get(answer.source)
            if before is None:
                entity = self._entities[answer.source]
                before = SourceStatus(answer.source, "history", entity, self._step_seconds)
            self._statuses[answer.source] = self._moved(before, answer)
        self._statuses = {
            name: status
            for name, status in self._statuses.items()
            if now - status.last_attempt <= _SILENT_INTERVALS * status.interval_seconds
        }
        return tuple(self._statuses.values())

    def _moved(self, before: SourceStatus, answer: Answer) -> SourceStatus:
        gaps = self._gaps.setdefault(answer.source, [])
        interval, at = before.interval_seconds, answer.at
        if before.last_attempt and len(gaps) < _INTERVALS:
            gaps.append(at - before.last_attempt)
            interval = max(self._step_seconds, float(np.median(gaps)))
        moved = replace(before, interval_seconds=interval, last_attempt=at)
        if answer.reading is None:
            return replace(moved, failures=before.failures + 1, error="it could not be read then")
        changed = at if answer.changed else before.last_change
        return replace(moved, last_success=at, last_change=changed, failures=0, error="")


@dataclass(frozen=True, slots=True)
class Truth:
    """An incident that somebody knows of: UTC seconds, and labels that it is limited to."""

    start: float
    end: float
    labels: Labels = ()

    def about(self, labels: Labels) -> bool:
        """Whether something with these labels may belong to it; a label that one of the two lacks does not matter."""
        have = dict(labels)
        return all(have.get(name, value) == value for name, value in self.labels)


@dataclass(frozen=True, slots=True)
class Quality:
    """Decisions held against the truth; only what is at least as severe as asked for counts.

    Attributes
    ----------
    alerts, stories
        Alerts that fired, incidents that opened.
    found, missed
        Known incidents with and without an alert; ``delays`` float seconds of the found ones, in order.
    false_alerts, false_stories
        Alerts outside every known incident, and incidents whose first alert was one. Empty without known incidents.
    """

    alerts: tuple[Fired, ...]
    stories: tuple[tuple[Story, Severity, float], ...]
    found: tuple[Truth, ...] = ()
    missed: tuple[Truth, ...] = ()
    delays: tuple[float, ...] = ()
    false_alerts: tuple[Fired, ...] = ()
    false_stories: tuple[tuple[Story, Severity, float], ...] = ()

    @property
    def recall(self) -> float:
        """Share of the known incidents that were found; NaN without any."""
        known = len(self.found) + len(self.missed)
        return len(self.found) / known if known else nan

    @property
    def precision(self) -> float:
        """Share of our incidents that were known ones; NaN without any of ours."""
        return 1 - len(self.false_stories) / len(self.stories) if self.stories else nan


def judged(decisions: Decisions, truths: Sequence[Truth] | None, least: Severity, grace_seconds: float) -> Quality:
    """Hold decisions against what is known.

    A known incident is found by an alert that begins to fire between ``grace_seconds`` before its start and as long
    after its end. An incident of ours is true when the first of its alerts that counts falls into such a time: one
    that opened by mistake and went on until something happened is a mistake.

    Parameters
    ----------
    truths
        None when nothing is known: then nothing is true or false either.
    """
    alerts = tuple(alert for alert in decisions.fired if _RANK[alert.severity] >= _RANK[least])
    first: dict[int, Fired] = {}
    worst: dict[int, Severity] = {}
    for alert in alerts:
        first.setdefault(alert.story, alert)
        worst[alert.story] = max(worst.get(alert.story, least), alert.severity, key=_RANK.__getitem__)
    stories = {
        place: (decisions.stories[place], worst[place], first[place].at) for place in sorted(first) if place >= 0
    }
    if truths is None:
        return Quality(alerts, tuple(stories.values()))

    def inside(alert: Fired, truth: Truth) -> bool:
        return truth.start - grace_seconds <= alert.at <= truth.end + grace_seconds and truth.about(alert.labels)

    hits = [next((alert for alert in alerts if inside(alert, truth)), None) for truth in truths]
    pairs = list(zip(truths, hits, strict=True))
    false = tuple(alert for alert in alerts if not any(inside(alert, truth) for truth in truths))
    wrong = set(map(id, false))
    return Quality(
        alerts,
        tuple(stories.values()),
        found=tuple(truth for truth, hit in pairs if hit is not None),
        missed=tuple(truth for truth, hit in pairs if hit is None),
        delays=tuple(max(0.0, hit.at - truth.start) for truth, hit in pairs if hit is not None),
        false_alerts=false,
        false_stories=tuple(story for place, story in stories.items() if id(first[place]) in wrong),
    )
