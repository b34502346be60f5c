"""Learning from history at start, so that a new daemon judges from its first minutes on.

Prometheus has seen the targets before us. Its samples become pages again, one per scrape, and go through a second
pipeline of their own in a thread: normalised, pooled, judged, learnt from. What that pipeline decides is dropped;
what it knows is moved into the running one between two ticks, for series of which the running one has no past.
Neither the start nor a tick waits for it. Invariants: nothing that was restored from a snapshot is overwritten,
nothing is alerted about the past, and a fault in the past is not learnt as normal, since the second pipeline
learns as carefully as the first.

What is learnt from sparse scrapes is a little too calm, because rates and means over 15 s vary less than those over
5 s. On five simulated engines without faults, in their first half hour, 7 points of 10 000 were out of bounds after an
hour of scrapes every 15 s (2 after scrapes every 5 s, 2 without history) and no alert fired. Fifty targets cost ten
seconds of a thread and a quarter of a second between two ticks.
"""

import asyncio
import logging
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from aiops.app import presets
from aiops.app.assembly import build_pipeline
from aiops.app.config import Config
from aiops.app.pipeline import Pipeline
from aiops.collect.promapi import History, Range, matchers, same_target, with_history
from aiops.collect.targets import Known
from aiops.kit.clock import Clock
from aiops.kit.retry import Failure, Permanent
from aiops.signals.normalise import Normaliser
from aiops.signals.page import Layout, MetricType, Page, Sample
from aiops.signals.profile import Profile
from aiops.signals.types import Entity, EntityKind, Labels, Reading, SeriesKey, SourceStatus
from aiops.store.ring import RingState
from aiops.store.snapshot import FIXED, Arrays, moved

_LOG = logging.getLogger("aiops.app.warmup")
_UNKNOWN_STEP = 15.0
_LOOK_SECONDS = 2.0
_TOLD_SECONDS = 10.0
_SHOWN_PROBLEMS = 3
_POINTS_AT_ONCE = 240
"""Points of a whole page in one answer: while an answer is parsed, nothing else runs."""
_NOT_OF_THE_PAGE = frozenset({"__name__", "job", "instance"})


async def warm_up(
    pipeline: Pipeline, targets: Callable[[], Sequence[Known]], config: Config, *, restored: bool, clock: Clock
) -> None:
    """Teach a running pipeline what Prometheus knows of its targets; once, as a background task.

    Targets that are discovered after the first ones are left to learn for themselves. Without an answer nothing
    happens but a line in the log.

    Parameters
    ----------
    targets
        Gives the targets that are scraped now; asked until there are any.
    restored
        The pipeline has learnt state from a snapshot: series that it has a column for keep theirs.
    """
    keys = (key for key in pipeline.ring.window().keys if key is not None)
    known = frozenset(keys if restored else ())
    while not (found := targets()):  # noqa: ASYNC110 - discovery has no event for it
        await asyncio.sleep(_LOOK_SECONDS)
    wanted, bank = selected(found, known), pipeline.bank
    if not wanted:
        return

    def work(history: History) -> Learnt:
        return learn(history, wanted, config, presets.engine_profiles(), clock.now(), told=_Telling(clock).how_far)

    try:
        learnt = await with_history(config.prometheus, work, clock)
    except Failure as failure:
        _LOG.warning("no history to learn from", extra={"error": str(failure)})
        return
    if pipeline.bank is not bank:
        _LOG.warning("history not used: the configuration of detection changed meanwhile")
        return
    series = adopt(pipeline, learnt, known)
    readings = sum(learnt.sources.values())
    _LOG.info("learnt from history", extra={"targets": len(learnt.sources), "series": series, "readings": readings})
    if learnt.problems:
        shown = "; ".join(learnt.problems[:_SHOWN_PROBLEMS])
        _LOG.warning("history is incomplete", extra={"problems": len(learnt.problems), "first": shown})


class _Telling:
    """A line in the log every ten seconds, from the first ten on; for one thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._next = clock.monotonic() + _TOLD_SECONDS

    def how_far(self, phase: str, done: int, of: int) -> None:
        """So much of a phase is done."""
        now = self._clock.monotonic()
        if now >= self._next:
            self._next = now + _TOLD_SECONDS
            _LOG.info("learning from history", extra={"phase": phase, "done": done, "of": of})


@dataclass(frozen=True, slots=True)
class Learnt:
    """What history taught.

    Attributes
    ----------
    ring, bank
        Window and learnt state of the second pipeline, as a snapshot would keep them.
    sources
        Source → readings that history gave of it.
    problems
        Why there are fewer than there could be.
    """

    ring: RingState
    bank: Arrays
    sources: Mapping[str, int]
    problems: tuple[str, ...]


def selected(targets: Iterable[Known], known: Iterable[SeriesKey]) -> list[Known]:
    """Targets of which no series is known."""
    have = {(key.entity.label("job"), key.entity.label("instance")) for key in known}
    return [t for t in targets if (dict(t.labels).get("job", ""), dict(t.labels).get("instance", "")) not in have]


def learn(
    history: History,
    targets: Sequence[Known],
    config: Config,
    profiles: Sequence[Profile],
    now: float,
    *,
    told: Callable[[str, int, int], None] = lambda *_: None,
) -> Learnt:
    """Read what Prometheus has of the targets and learn from it. Blocking, for a thread.

    At the deadline what was read so far is learnt from. ``told`` hears how far it is: phase, done, of how many.

    Raises
    ------
    Temporary, Permanent
        When not a single target could be read.
    """
    readings: dict[str, list[Reading]] = {}
    failures: list[Failure] = []
    for place, target in enumerate(targets):
        told("reading targets", place, len(targets))
        try:
            found = list(target_readings(history, target, profiles, config, now))
        except Failure as failure:
            failures.append(failure)
            continue
        if found:
            readings[target.source] = found
        else:
            failures.append(Permanent(f"Prometheus knows nothing of {target.source}"))
    if failures and not readings:
        raise failures[0]
    pipeline = build_pipeline(config)
    replay(pipeline, readings, config.interval, now, told=partial(told, "living through steps"))
    problems = [*map(str, failures), *history.warnings]
    counts = {source: len(found) for source, found in readings.items()}
    return Learnt(pipeline.ring.export(), pipeline.bank.state(), counts, tuple(dict.fromkeys(problems)))


def target_readings(
    history: History, target: Known, profiles: Sequence[Profile], config: Config, now: float
) -> Iterator[Reading]:
    """What we would have read of one target, one reading per scrape of Prometheus, oldest first."""
    settings, labels = config.prometheus, dict(target.labels)
    selector = matchers(settings.selector, target.labels)
    stamps = scrape_times(history, selector, labels.get("job", ""), config, now)
    step = settings.step or max(config.interval, spacing(stamps))
    found = history.read(selector, now - settings.lookback, now, step, most_points=_POINTS_AT_ONCE)
    mine = same_target(found.labels, labels.get("job", ""))
    normaliser = Normaliser(profiles, target.labels, target.source, config.signals)
    for at, page in pages(found, mine, stamps):
        yield normaliser.normalise(page, at)


def scrape_times(history: History, selector: str, job: str, config: Config, now: float) -> list[float]:
    """When Prometheus scraped the target, ascending; empty where it does not say."""
    found = history.read(f"timestamp(up{selector})", now - config.prometheus.lookback, now, config.interval)
    mine = same_target(found.labels, job)
    return sorted(set(found.values[mine][np.isfinite(found.values[mine])].tolist()))


def spacing(stamps: Sequence[float]) -> float:
    """Usual time between two scrapes."""
    return float(np.median(np.diff(stamps))) if len(stamps) > 1 else _UNKNOWN_STEP


def pages(found: Range, mine: Sequence[int], stamps: Sequence[float]) -> Iterator[tuple[float, Page]]:
    """Give back the pages behind a range, each once, with the time of its scrape.

    The layout changes with the series that are there. A series is taken to be there from its first sample to its
    last, because a sample that says NaN looks like none.
    """
    mine = [position for position in mine if not _is_of_prometheus(found.labels[position])]
    values = found.values[mine]
    samples = [_sample(found.labels[position]) for position in mine]
    there = _spans(~np.isnan(values))
    layouts: dict[bytes, Layout] = {}
    before_at, before = float("-inf"), np.empty(0)
    for column, moment in enumerate(found.at.tolist()):
        place = bisect_right(stamps, moment) - 1
        if stamps and place < 0:
            continue
        at = stamps[place] if stamps else moment
        present = there[:, column]
        newest = values[present, column]
        seen_before = at <= before_at if stamps else np.array_equal(newest, before, equal_nan=True)
        if seen_before or np.isnan(newest).all():  # of a scrape that failed there is nothing
            continue
        before_at, before = at, newest
        names = present.tobytes()
        if names not in layouts:
            layouts[names] = Layout(tuple(samples[row] for row in np.flatnonzero(present).tolist()))
        yield at, Page(layouts[names], newest)


def _is_of_prometheus(labels: Labels) -> bool:
    """Series that Prometheus writes beside each scrape, also of one that failed."""
    name = dict(labels).get("__name__", "")
    return name == "up" or name.startswith("scrape_")


def _sample(labels: Labels) -> Sample:
    name = dict(labels).get("__name__", "")
    return Sample(name, tuple(pair for pair in labels if pair[0] not in _NOT_OF_THE_PAGE), MetricType.UNKNOWN)


def _spans(known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill the holes of each row: True from the first True to the last."""
    begun = np.logical_or.accumulate(known, axis=1)
    not_over = np.logical_or.accumulate(known[:, ::-1], axis=1)[:, ::-1]
    both: NDArray[np.bool_] = begun & not_over
    return both


def replay(
    pipeline: Pipeline,
    readings: Mapping[str, Sequence[Reading]],
    interval: float,
    now: float,
    *,
    told: Callable[[int, int], None] = lambda *_: None,
) -> None:
    """Let a pipeline live through readings of the past, in ticks of ``interval`` that end at ``now``."""
    ticks: dict[int, list[Reading]] = {}
    for reading in sorted((r for found in readings.values() for r in found), key=lambda reading: reading.at):
        ticks.setdefault(max(0, int((now - reading.at) // interval)), []).append(reading)
    statuses = {source: _status(source, found) for source, found in readings.items()}
    last = None
    for done, age in enumerate(sorted(ticks, reverse=True)):
        told(done, len(ticks))
        at = now - age * interval
        for reading in ticks[age]:
            statuses[reading.source] = replace(statuses[reading.source], last_attempt=at, last_success=at)
        elapsed = interval if last is None else at - last
        pipeline.tick(at, ticks[age], tuple(statuses.values()), elapsed_seconds=elapsed)
        last = at


def _status(source: str, readings: Sequence[Reading]) -> SourceStatus:
    interval = spacing([reading.at for reading in readings])
    return SourceStatus(source, "history", Entity(EntityKind.TARGET, (("source", source),)), interval)


def adopt(pipeline: Pipeline, learnt: Learnt, known: frozenset[SeriesKey]) -> int:
    """Move what was learnt into a running pipeline; call between two ticks.

    Parameters
    ----------
    known
        Series that had a past before history was asked; they keep it.

    Returns
    -------
    int
        Series that have a past now.
    """
    ring, bank = pipeline.ring, pipeline.bank
    past = _without(learnt.ring, known)
    present = ring.export()
    ring.backfill(past)
    columns = [column for key in past.keys if (column := ring.column_of(key)) is not None]
    ours, theirs = moved(bank.state(), present, ring), moved(learnt.bank, past, ring)
    for name, array in ours.items():
        taught = theirs.get(name)
        if taught is None or taught.shape[-1:] != (ring.capacity,) or name.rpartition(".")[2].startswith(FIXED):
            continue
        if array.shape == taught.shape:
            ours[name] = array.copy()
            ours[name][..., columns] = taught[..., columns]
        elif not array.size:  # the bank has not seen a single tick
            ours[name] = taught
    bank.restore(ours)
    return len(columns)


def _without(state: RingState, known: frozenset[SeriesKey]) -> RingState:
    kept = [index for index, key in enumerate(state.keys) if key not in known]
    return replace(
        state,
        keys=tuple(state.keys[index] for index in kept),
        columns=state.columns[kept],
        generation=state.generation[kept],
        values=state.values[:, kept],
        latest=state.latest[kept],
        latest_at=state.latest_at[kept],
        last_seen=state.last_seen[kept],
        unseen_seconds=state.unseen_seconds[kept],
    )
