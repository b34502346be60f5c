"""``aiops report``: the weekly review, out of the archive; no daemon has to run."""

import sys
import time
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping

from aiops.app.config_load import ConfigError
from aiops.app.flags import load_config, sources
from aiops.app.output import CommandFailedError, Exit, say, write
from aiops.app.review_state import Kept, gpus_of, kept_of
from aiops.app.why import kept_diagnoses
from aiops.incidents.alert import Incident, Transition
from aiops.incidents.feedback import Judgement, Opinion
from aiops.kit.files import write_atomically
from aiops.render.review import Happened, Review, Rule, Told, html, markdown
from aiops.signals.types import Mark, MarkKind
from aiops.store.seal import Keyring
from aiops.store.view import ArchiveView

_MOST = 200_000
_ARCHIVE = "archive.sqlite"
_HARDWARE = {MarkKind.GPU_LOST, MarkKind.GPU_DRIVER_UNRESPONSIVE, MarkKind.XID, MarkKind.FILE_DAMAGED}


def report(args: Namespace) -> int:
    """``aiops report``."""
    try:
        config = load_config(sources(args)).config
    except ConfigError as error:
        raise CommandFailedError(str(error)) from None
    archive = config.store.directory / _ARCHIVE
    if not archive.is_file():
        raise CommandFailedError(f"{archive} is not there; expected the archive of a daemon (--storage.path)")
    view, now = ArchiveView(archive, Keyring(config.store.encryption_key_file)), time.time()
    kept = kept_of(config, now - args.since, now)
    review = review_of(view, now - args.since, now, kept, budget_per_week=config.detect.budget)
    read_here = args.out is None and sys.stdout.isatty()
    text = markdown(review) if (args.output or ("md" if read_here else "html")) == "md" else html(review)
    if args.out is None:
        write(text)
    else:
        write_atomically(args.out, text)
        say(f"{args.out}: {len(review.incidents)} incident(s) in {archive}")
    if review.note:
        say(f"aiops: {review.note}")
    return Exit.OK


def review_of(view: ArchiveView, since: float, until: float, kept: Kept, *, budget_per_week: float) -> Review:
    """Collect what happened between two times (UTC seconds), beside what a snapshot kept."""
    problems = [kept.problem]
    incidents = [one for one in view.load_incidents(since=since) if one.started_at <= until]
    problems.append(view.problem)
    moves = [move for move in view.recent_transitions(_MOST) if since <= move.at <= until]
    problems.append(view.problem)
    opinions = [one for one in view.load_opinions(_MOST) if since <= one.at <= until and not one.undone_at]
    problems.append(view.problem)
    causes = {one.incident: "" if one.cause is None else one.cause.title for one in kept_diagnoses(view)}
    marks = [mark for mark in view.recent_marks(_MOST, since) if mark.at <= until][::-1]
    problems.append(view.problem)
    spans = list(_spans(moves, until))
    return Review(
        since=since,
        until=until,
        incidents=[_told(one, opinions, causes.get(one.id, "")) for one in incidents],
        rules=_rules(spans, opinions),
        changes=[_happened(mark) for mark in marks if mark.kind not in {*_HARDWARE, MarkKind.RECOMMENDATION}],
        hardware=[_happened(mark) for mark in marks if mark.kind in _HARDWARE],
        false_alerts=sum(one.judgement is Judgement.FALSE for one in opinions),
        budget_per_week=budget_per_week,
        known_at=kept.at,
        budgets=kept.budgets,
        pools=kept.pools,
        advice=[_happened(mark) for mark in marks if mark.kind is MarkKind.RECOMMENDATION],
        gpus=gpus_of(kept.ring, spans, marks),
        note="; ".join(dict.fromkeys(problem for problem in problems if problem)),
    )


def _told(incident: Incident, opinions: Iterable[Opinion], diagnosed: str) -> Told:
    """What people found counts more than what the diagnosis says."""
    said = [one for one in opinions if one.incident == incident.id]
    return Told(
        id=incident.id,
        started_at=incident.started_at,
        ended_at=incident.ended_at,
        severity=str(incident.severity),
        title=incident.title,
        alerts=len(incident.members),
        cause=next((one.cause for one in said if one.cause), diagnosed),
        judgement=", ".join(dict.fromkeys(str(one.judgement) for one in said)),
    )


def _spans(moves: Iterable[Transition], until: float) -> Iterator[tuple[Transition, float]]:
    """Every alert that fired, by its first transition, and when that was over (``until`` for what still stands)."""
    running: dict[object, Transition] = {}
    for move in sorted(moves, key=lambda move: move.at):
        if move.began:
            running[move.alert.key] = move
        elif move.ended and move.alert.key in running:
            yield running.pop(move.alert.key), move.at
    yield from ((move, until) for move in running.values())


def _rules(spans: Iterable[tuple[Transition, float]], opinions: Iterable[Opinion]) -> list[Rule]:
    fired: dict[str, int] = {}
    seconds: dict[str, float] = {}
    severity: dict[str, str] = {}
    for move, ended in spans:
        name = move.alert.key.rule
        fired[name] = fired.get(name, 0) + 1
        seconds[name] = seconds.get(name, 0.0) + ended - move.at
        severity[name] = str(move.alert.severity)
    said = _judged(opinions)
    return [Rule(name, severity[name], count, seconds[name], *said.get(name, (0, 0))) for name, count in fired.items()]


def _judged(opinions: Iterable[Opinion]) -> Mapping[str, tuple[int, int]]:
    """Rule → how many of its alerts were called true, and false."""
    counts: dict[str, tuple[int, int]] = {}
    for one in opinions:
        true, false = counts.get(one.key.rule, (0, 0))
        counts[one.key.rule] = (
            true + (one.judgement is Judgement.TRUE),
            false + (one.judgement is Judgement.FALSE),
        )
    return counts


def _happened(mark: Mark) -> Happened:
    return Happened(mark.at, str(mark.kind).replace("_", " "), str(mark.entity), mark.detail)
