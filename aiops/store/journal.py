"""Writes decisions to the archive from a thread of its own: the event loop never waits for a disk.

:meth:`Journal.save` only queues. The thread writes what has gathered in one transaction, in order. When the disk is
full, locked or read only, records wait in a bounded backlog (over it the oldest go, counted) and are written once it
works again. A save with the complete ``alerts`` set heals whatever was lost before it, so save one now and then.
"""

import contextlib
import logging
import random
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from aiops.incidents.alert import Alert, Incident, Notified, Transition
from aiops.incidents.feedback import Opinion
from aiops.incidents.policy import Window
from aiops.kit.clock import SYSTEM_CLOCK, Clock
from aiops.kit.retry import backoff_seconds
from aiops.signals.types import Mark
from aiops.store.archive import Archive, is_damage, is_trouble
from aiops.store.batch import Batch, Statement, Told
from aiops.store.seal import Keyring

_LOG = logging.getLogger(__name__)
_BATCHES_PER_WRITE = 256
_PRUNE_EVERY_SECONDS = 3600.0
_RETRY_FACTOR = 30.0


@dataclass(frozen=True, slots=True)
class JournalHealth:
    """How the journal does.

    Attributes
    ----------
    written_total, dropped_total, rejected_total
        Records on disk; lost because the backlog was full; lost because they could not be written as JSON or SQL.
    failures_total
        Writes, opens and prunings that the disk refused.
    pending
        Records that wait.
    problem
        Why nothing can be written now; empty when all is well.
    put_aside
        Why the last damaged archive was put aside, and where it is; empty when none was.
    """

    written_total: int
    dropped_total: int
    rejected_total: int
    failures_total: int
    pending: int
    problem: str
    put_aside: str


class Journal:
    """Queue and writer thread in front of one archive file.

    Parameters
    ----------
    retention_seconds, max_bytes
        Age and file size above which old records go; looked at once an hour.
    capacity
        Records that wait at most.
    retry_seconds
        Base of the wait after a failed write: exponential with jitter, at most 30 times this.
    keys
        What records are sealed with. A key that is missing is trouble like a full disk.
    """

    def __init__(
        self,
        path: Path,
        *,
        retention_seconds: float,
        max_bytes: int,
        capacity: int = 10_000,
        retry_seconds: float = 1.0,
        clock: Clock = SYSTEM_CLOCK,
        keys: Keyring | None = None,
    ) -> None:
        self._path = path
        self._retention_seconds = retention_seconds
        self._max_bytes = max_bytes
        self._capacity = capacity
        self._retry_seconds = retry_seconds
        self._clock = clock
        self._keys = keys or Keyring(None)
        self._rng = random.Random()  # noqa: S311 - jitter
        self._archive: Archive | None = None
        self._next_prune = 0.0
        self._changed = threading.Condition()
        # Everything below is shared with the thread, under _changed.
        self._backlog: deque[Batch] = deque()
        self._pending = 0
        self._submitted = 0
        self._settled = 0
        self._written = 0
        self._dropped = 0
        self._rejected = 0
        self._failures = 0
        self._problem = ""
        self._put_aside = ""
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    def start(self) -> None:
        """Open, check and migrate the file (blocks for the disk), then start the thread. A refusal is no error."""
        self._attempt(self._open)
        self._thread.start()

    def save(
        self,
        *,
        transitions: Iterable[Transition] = (),
        incidents: Iterable[Incident] = (),
        marks: Iterable[Mark] = (),
        alerts: Iterable[Alert] | None = None,
        opinions: Iterable[Opinion] = (),
        notified: Iterable[Notified] = (),
        told: Iterable[Told] = (),
        windows: Iterable[Window] = (),
    ) -> None:
        """Queue records that belong together; never blocks, never raises for the disk's sake.

        Parameters
        ----------
        transitions
            Appended; the alert of each becomes the current one of its key, or leaves if it is inactive.
        incidents, opinions, notified, windows
            Replace earlier versions of themselves.
        alerts
            The complete set of alerts that are not inactive, or None to leave it as it is.
        told
            Replace what the same author told of the same incident.
        """
        standing = None if alerts is None else tuple(alerts)
        batch = Batch(
            tuple(transitions),
            tuple(incidents),
            tuple(marks),
            standing,
            opinions=tuple(opinions),
            told=tuple(told),
            notified=tuple(notified),
            windows=tuple(windows),
        )
        if not batch and batch.alerts is None:
            return
        with self._changed:
            self._backlog.append(batch)
            self._submitted += 1
            self._pending += len(batch)
            self._drop_oldest()
            self._changed.notify_all()

    def flush(self, timeout_seconds: float) -> bool:
        """Wait until everything saved so far is settled; False when it is not in time."""
        with self._changed:
            goal = self._submitted
            return self._changed.wait_for(lambda: self._settled >= goal, timeout_seconds)

    def close(self, timeout_seconds: float = 5.0) -> bool:
        """Write what waits (one last try) and stop; False when something was left. May be called twice."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout_seconds)
        with self._changed:
            return self._settled >= self._submitted and not self._thread.is_alive()

    def health(self) -> JournalHealth:
        """Counters and trouble as of now."""
        with self._changed:
            return JournalHealth(
                self._written,
                self._dropped,
                self._rejected,
                self._failures,
                self._pending,
                self._problem,
                self._put_aside,
            )

    def _run(self) -> None:
        attempt = 0
        while self._wait(attempt):
            attempt = 0 if self._attempt(self._step) else attempt + 1
        self._close_archive()

    def _wait(self, attempt: int) -> bool:
        """Sleep until there is work; False when there is none left to do before the end."""
        with self._changed:
            if attempt and self._closing:
                return False
            if attempt:
                self._changed.wait_for(lambda: self._closing, self._backoff_seconds(attempt))
                return True
            seconds = max(0.0, self._next_prune - self._clock.monotonic())
            self._changed.wait_for(lambda: self._closing or bool(self._backlog), seconds)
            return bool(self._backlog) or not self._closing

    def _backoff_seconds(self, attempt: int) -> float:
        cap = self._retry_seconds * _RETRY_FACTOR
        jittered = backoff_seconds(attempt, base=self._retry_seconds, cap=cap, rng=self._rng)
        return max(self._retry_seconds / 10, jittered)

    def _attempt(self, action: Callable[[], object]) -> bool:
        """Supervise one action: a failure is counted and told once, and the thread lives on."""
        try:
            action()
            problem = ""
        except (sqlite3.Error, OSError) as error:
            problem = f"cannot write the archive {self._path}: {error}"
        except Exception as error:  # noqa: BLE001 - supervision: the journal outlives its own mistakes
            _LOG.exception("journal")
            problem = f"cannot write the archive {self._path}: {type(error).__name__}: {error}"
        if problem:
            # A file that was remounted, replaced or repaired is found again only by opening it anew.
            self._close_archive()
        with self._changed:
            self._failures += bool(problem)
            news, self._problem = problem != self._problem, problem
        if news:
            _LOG.warning("%s", problem or f"the archive {self._path} can be written again")
        return not problem

    def _step(self) -> None:
        self._open()
        self._write_some()
        if self._clock.monotonic() >= self._next_prune:
            self._next_prune = self._clock.monotonic() + _PRUNE_EVERY_SECONDS
            self._open().prune(self._clock.now() - self._retention_seconds, self._max_bytes)

    def _open(self) -> Archive:
        if self._archive is None:
            self._archive, put_aside = Archive.open(self._path, self._clock.now(), self._keys.seal())
            if put_aside:
                _LOG.warning("%s", put_aside)
                with self._changed:
                    self._put_aside = put_aside
        return self._archive

    def _close_archive(self) -> None:
        if self._archive is not None:
            with contextlib.suppress(sqlite3.Error):
                self._archive.close()
            self._archive = None

    def _write_some(self) -> None:
        """Write the oldest batches as one transaction, or put them back and raise."""
        with self._changed:
            batches = [self._backlog.popleft() for _ in range(min(len(self._backlog), _BATCHES_PER_WRITE))]
        sound = [(batch, statements) for batch in batches if (statements := self._encoded(batch)) is not None]
        try:
            written = self._written_or_refused([statement for _, statements in sound for statement in statements])
        except BaseException:
            with self._changed:
                self._backlog.extendleft(batch for batch, _ in reversed(sound))
                self._drop_oldest()
            raise
        count = sum(len(batch) for batch, _ in sound)
        self._settle([batch for batch, _ in sound], written=count * written, rejected=count * (not written))

    def _encoded(self, batch: Batch) -> list[Statement] | None:
        try:
            return batch.statements(self._keys.seal())
        except Exception:  # noqa: BLE001 - supervision, as below
            # Whatever is wrong with a record must not hold back those behind it.
            _LOG.exception("journal: a record cannot be written and is lost")
            self._settle([batch], rejected=len(batch))
            return None

    def _written_or_refused(self, statements: list[Statement]) -> bool:
        """Write; a damaged file is replaced first. False when a sound file does not take the records either."""
        if not statements:
            return True
        try:
            self._open().write(statements)
        except sqlite3.Error as error:
            if is_trouble(error):
                raise
            self._close_archive()
        else:
            return True
        try:
            self._open().write(statements)
        except sqlite3.Error as error:
            if is_trouble(error) or is_damage(error):
                raise
            _LOG.exception("journal: the archive does not take these records, and they are lost")
            return False
        return True

    def _settle(self, batches: Sequence[Batch], *, written: int = 0, rejected: int = 0) -> None:
        with self._changed:
            self._settled += len(batches)
            self._pending -= sum(map(len, batches))
            self._written += written
            self._rejected += rejected
            self._changed.notify_all()

    def _drop_oldest(self) -> None:
        """Hold the backlog within its capacity; the newest batch always stays. Call under the lock."""
        while self._pending > self._capacity and len(self._backlog) > 1:
            lost = len(self._backlog.popleft())
            self._pending -= lost
            self._dropped += lost
            self._settled += 1
