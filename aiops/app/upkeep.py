"""The desk where people and programs say what is planned: windows of one time, and deploys.

Windows are kept in the archive and held by the calendar of the pipeline. A deploy becomes marks of the next tick.
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from glob import escape
from typing import TypeVar

from pydantic import Field, ValidationError

from aiops.app.pipeline import Pipeline
from aiops.app.view import Record, mark_record, window_record
from aiops.incidents.policy import Window
from aiops.incidents.policy_settings import Matchers, Skip
from aiops.kit.clock import Clock
from aiops.kit.settings import Duration, Section
from aiops.kit.text import clipped, printable
from aiops.signals.types import EntityKind, Mark, MarkKind
from aiops.store.journal import Journal
from aiops.store.view import ArchiveView
from aiops.web.source import Refused

MOST_WINDOWS = 1000
_MOST_MARKS = 1000
_LONGEST_TEXT = 200
_ORDER = (EntityKind.POOL, EntityKind.REPLICA, EntityKind.TARGET, EntityKind.NODE, EntityKind.GPU)


class Plan(Section):
    """Body of a new window."""

    name: str = Field(min_length=1, max_length=200)
    lasts: Duration = Field(gt=0, le=30 * 86_400.0)
    begins: datetime | None = None
    matches: Matchers = Field(default_factory=dict)
    skip: tuple[Skip, ...] = Field(tuple(Skip), min_length=1)


class Change(Section):
    """Body of a deploy."""

    text: str = Field(min_length=1, max_length=_LONGEST_TEXT)
    matches: Matchers = Field(default_factory=dict)


_Body = TypeVar("_Body", bound=Section)


class Upkeep:
    """Opens, ends and lists windows, and passes deploys on. All but :meth:`restore` belong to the event loop."""

    def __init__(self, pipeline: Pipeline, journal: Journal, view: ArchiveView, clock: Clock) -> None:
        self._pipeline = pipeline
        self._journal = journal
        self._view = view
        self._clock = clock
        self._marks: list[Mark] = []

    def restore(self) -> None:
        """Bring back the windows that are not over. Blocks for the disk."""
        self._pipeline.calendar.open(self._view.load_windows(since=self._clock.now()))

    def records(self) -> Sequence[Record]:
        """Windows that are on or will come."""
        now = self._clock.now()
        return [window_record(window, now) for window in self._pipeline.calendar.windows(now)]

    def begin(self, body: Mapping[str, object], by: str) -> Record:
        """Plan a window of one time."""
        plan, now = _checked(Plan, body), self._clock.now()
        if plan.begins is not None and plan.begins.tzinfo is None:
            raise Refused(400, "begins: expected a time with its zone, such as 2030-01-31T22:00:00Z")
        begins_at = now if plan.begins is None else plan.begins.timestamp()
        window = Window(
            secrets.token_hex(4), plan.name, begins_at, begins_at + plan.lasts, tuple(sorted(plan.matches.items())),
            plan.skip, by,
        )  # fmt: skip
        if window.ends_at <= now:
            raise Refused(400, "begins: the window would be over already")
        if sum(bool(one.id) for one in self._pipeline.calendar.windows(now)) >= MOST_WINDOWS:
            raise Refused(503, f"there are {MOST_WINDOWS} windows already; end some first")
        return self._keep(window, now)

    def end(self, name: str) -> Record:
        """End a window of one time now; one that has not begun never will."""
        window, now = self._pipeline.calendar.find(name), self._clock.now()
        if window is None:
            raise Refused(404, f"there is no window {name!r}, or it is over; one of the configuration ends there")
        ended = Window(
            window.id, window.name, min(window.begins_at, now), now, window.matches, window.skip, window.by
        )  # fmt: skip
        return self._keep(ended, now)

    def mark(self, body: Mapping[str, object]) -> Sequence[Record]:
        """Note a deploy of what matches: of the widest kind of entity that does, pools first."""
        change = _checked(Change, body)
        marks = self._marks_of(change.matches, change.text)
        if not marks:
            raise Refused(404, f"nothing that is watched matches {_said(change.matches)}")
        if len(self._marks) + len(marks) > _MOST_MARKS:
            raise Refused(503, "too many deploys wait for the next tick; try again in some seconds")
        self._marks += marks
        return [mark_record(mark) for mark in marks]

    def take(self, deploys: Iterable[tuple[str, str]] = ()) -> tuple[Mark, ...]:
        """Deploys since the last call, with those that discovery saw: pool and what happened there. Of a pool of which
        nothing was ever read there is nothing to say."""
        for pool, text in deploys:
            self._marks += self._marks_of({"pool": escape(pool)}, clipped(printable(text), _LONGEST_TEXT))
        marks, self._marks = tuple(self._marks), []
        return marks

    def _marks_of(self, matches: Mapping[str, str], text: str) -> list[Mark]:
        now = self._clock.now()
        window = Window("", "", now, now, tuple(sorted(matches.items())), ())
        keys = self._pipeline.ring.window().keys
        found = [one for one in dict.fromkeys(key.entity for key in keys if key is not None) if window.concerns(one)]
        kind = next((kind for kind in _ORDER if any(one.kind is kind for one in found)), None)
        return [Mark(MarkKind.DEPLOY, one, now, text) for one in found if one.kind is kind]

    def _keep(self, window: Window, now: float) -> Record:
        self._pipeline.calendar.open([window])
        self._journal.save(windows=[window])
        return window_record(window, now)


def _checked(kind: type[_Body], body: Mapping[str, object]) -> _Body:
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, one['loc'])) or 'body'}: {one['msg']}" for one in error.errors()]
        raise Refused(400, "; ".join(wrong)) from None


def _said(matches: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in matches.items()) or "(everything)"
