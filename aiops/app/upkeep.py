"""The desk where people and programs say what is planned: windows of one time, and deploys.

Windows are kept in the archive and held by the calendar of the pipeline. A deploy becomes marks of the next tick.
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from glob import escape

from aiops.app.pipeline import Pipeline
from aiops.app.view import mark_record, window_record
from aiops.incidents.policy import Window
from aiops.kit.clock import Clock
from aiops.kit.text import clipped, printable
from aiops.signals.types import EntityKind, Mark, MarkKind
from aiops.store.journal import Journal
from aiops.store.view import ArchiveView
from aiops.web.asked import Change, Plan
from aiops.web.records_told import MarkRecord, WindowRecord
from aiops.web.source import Refused

MOST_WINDOWS = 1000
_MOST_MARKS = 1000
_LONGEST_TEXT = 200
_ORDER = (EntityKind.POOL, EntityKind.REPLICA, EntityKind.TARGET, EntityKind.NODE, EntityKind.GPU)


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

    def records(self) -> Sequence[WindowRecord]:
        """Windows that are on or will come."""
        now = self._clock.now()
        return [window_record(window, now) for window in self._pipeline.calendar.windows(now)]

    def begin(self, plan: Plan, by: str) -> WindowRecord:
        """Plan a window of one time."""
        now = self._clock.now()
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

    def end(self, name: str) -> WindowRecord:
        """End a window of one time now; one that has not begun never will."""
        window, now = self._pipeline.calendar.find(name), self._clock.now()
        if window is None:
            raise Refused(404, f"there is no window {name!r}, or it is over; one of the configuration ends there")
        ended = Window(
            window.id, window.name, min(window.begins_at, now), now, window.matches, window.skip, window.by
        )  # fmt: skip
        return self._keep(ended, now)

    def mark(self, change: Change) -> Sequence[MarkRecord]:
        """Note a deploy of what matches: of the widest kind of entity that does, pools first."""
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

    def _keep(self, window: Window, now: float) -> WindowRecord:
        self._pipeline.calendar.open([window])
        self._journal.save(windows=[window])
        return window_record(window, now)


def _said(matches: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in matches.items()) or "(everything)"
