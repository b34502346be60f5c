"""What outlives the process: window and learnt state in a snapshot, decisions in the archive."""

import asyncio
import fcntl
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from aiops.app.assembly import bank_signature
from aiops.app.capacity import Capacity
from aiops.app.config import Config
from aiops.app.pipeline import Outcome, Pipeline
from aiops.app.rca_export import files_of
from aiops.app.why import DIAGNOSES, RECORDINGS
from aiops.explain.wording import Worded
from aiops.incidents.alert import Notified
from aiops.incidents.external import EXTERNAL
from aiops.incidents.slo import Ledger
from aiops.kit.clock import Clock
from aiops.kit.log import OnChange
from aiops.kit.retry import Temporary
from aiops.signals.types import Mark
from aiops.store import snapshot
from aiops.store.batch import Told
from aiops.store.codec import Codec
from aiops.store.journal import Journal, JournalHealth
from aiops.store.ring import Ring
from aiops.store.seal import Keyring
from aiops.store.view import ArchiveView

_LOG = logging.getLogger("aiops.app.state")
_BANK = "bank"
CAPACITY = "capacity"
_LLM = "llm"
_WORDED = Codec(Worded)
SLO = "slo"
_NO_WINDOW = Ring(2, 1.0, max_series=1, ttl_seconds=1.0)
_KEPT_SECONDS = 1.0
_REMEMBERED = 5000  # firings of which the machine learns what fires often, and messages that were taken


class StateInUse(OSError):
    """Another daemon owns the folder: two would overwrite each other's memory."""


def take_lock(directory: Path) -> IO[str]:
    """Own a folder until the file is closed or the process ends, however it ends.

    Raises
    ------
    StateInUse
        When another process owns it.
    OSError
        When it cannot be written.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = (directory / "lock").open("a", encoding="ascii")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise StateInUse(f"another aiops uses {directory}; give this one its own --storage.path") from None
    return lock


def learnt(pipeline: Pipeline, config: Config, now: float) -> snapshot.Snapshot:
    """What a daemon with this configuration goes on from when it finds it: the window, and what detectors learnt."""
    states = {_BANK: snapshot.SavedState(bank_signature(config), pipeline.bank.state())}
    return snapshot.capture(pipeline.ring, states, now)


class State:
    """Restores the pipeline at start, and keeps what it decides."""

    def __init__(self, config: Config, clock: Clock) -> None:
        store = config.store
        self._settings = store
        self._signature = bank_signature(config)
        self._frequent_window = config.incidents.frequent_window
        self._clock = clock
        self._faults = OnChange(_LOG, clock.monotonic)
        keys = Keyring(store.encryption_key_file)
        self.view = ArchiveView(store.archive_path, keys)
        self.journal = Journal(
            store.archive_path, retention_seconds=store.retention, max_bytes=store.max_archive, clock=clock, keys=keys
        )
        self.snapshots_written = 0
        self.snapshot_failures = 0
        self.snapshot_at = 0.0
        self.restored = False
        self.notified: dict[tuple[str, str], Notified] = {}
        """What each receiver heard last of each incident."""
        self._lock: IO[str] | None = None

    def open(self, pipeline: Pipeline, capacity: Capacity | None = None) -> None:
        """Bring the pipeline back to where it was. Blocks for the disk; damage costs a warm-up, never the start.

        Raises
        ------
        StateInUse
            When another daemon runs on the same folder.
        """
        try:
            self._lock = take_lock(self._settings.directory)
        except StateInUse:
            raise
        except OSError as error:  # a folder that cannot be written has no owner
            _LOG.warning("state cannot be kept", extra={"error": str(error)})
        self.journal.start()
        self._restore_learnt(pipeline, capacity)
        heard = self.view.load_notified(_REMEMBERED)
        self.notified = {(one.receiver, one.incident): one for one in reversed(heard)}
        alerts = self.view.load_alerts()
        pipeline.machine.restore([one for one in alerts if one.key.series.signal != EXTERNAL], self._clock.now())
        pipeline.externals.restore(one for one in alerts if one.key.series.signal == EXTERNAL)
        pipeline.machine.remember(self.view.fired_since(self._clock.now() - self._frequent_window, _REMEMBERED))
        pipeline.grouping.restore(self.view.load_incidents(since=self._clock.now() - self._settings.retention))
        if alerts:
            _LOG.info("alerts restored", extra={"alerts": len(alerts)})

    def _restore_learnt(self, pipeline: Pipeline, capacity: Capacity | None) -> None:
        whole, budgets = self._read(self._settings.snapshot_path), self._read(self._settings.budgets_path)
        if whole is not None:
            pipeline.ring.restore(whole.ring)
            self.restored = self._restore_bank(pipeline, whole)
            past = snapshot.state_for(whole, CAPACITY, CAPACITY, pipeline.ring)
            if capacity is not None and past is not None:
                _taken(capacity.restore, past, "histories of pools are")
            self.snapshot_at = whole.saved_at
        for newest in sorted(filter(None, (whole, budgets)), key=lambda one: one.saved_at)[-1:]:
            spent = snapshot.state_for(newest, SLO, SLO, pipeline.ring)
            if spent is not None:
                _taken(pipeline.slo.restore, spent, "error budgets are")

    def _restore_bank(self, pipeline: Pipeline, whole: snapshot.Snapshot) -> bool:
        """Whether the detectors go on with all that they had learnt; it is told when not."""
        learnt = snapshot.state_for(whole, _BANK, self._signature, pipeline.ring)
        if learnt is None:
            _LOG.warning("what was learnt is not usable: settings or rules of detection are others; it is learnt anew")
            return False
        problems = pipeline.bank.restore(learnt)
        for problem in problems:
            _LOG.warning("what was learnt is not usable, and is learnt anew: %s", problem)
        return not problems

    def _read(self, path: Path) -> snapshot.Snapshot | None:
        loaded = snapshot.read(path, self._clock.now())
        if loaded.problem:
            _LOG.warning("%s", loaded.problem)
        return loaded.snapshot

    def configure(self, config: Config) -> None:
        """After a reload: what is learnt from now on carries the signature of the new settings."""
        self._signature = bank_signature(config)

    def record(self, outcome: Outcome) -> None:
        """Queue what a tick decided."""
        self.journal.save(transitions=outcome.transitions, incidents=outcome.incidents, marks=outcome.marks)

    def note_notified(self, notified: Notified) -> None:
        """Keep what a receiver took."""
        self.notified[notified.receiver, notified.incident] = notified
        while len(self.notified) > _REMEMBERED:
            del self.notified[next(iter(self.notified))]
        self.journal.save(notified=[notified])

    async def kept(self) -> None:
        """Wait until what was decided is on the disk; not while the disk takes nothing, and a moment at most."""
        if not self.journal.health().problem:
            await asyncio.to_thread(self.journal.flush, _KEPT_SECONDS)

    def note(self, marks: Sequence[Mark]) -> None:
        """Queue marks that no tick brought."""
        if marks:
            self.journal.save(marks=marks)

    def keep(self, worded: Worded) -> None:
        """Queue what a language model said of an incident."""
        self.journal.save(told=[Told(worded.incident, _LLM, worded.at, _WORDED.dump(worded))])

    def case(self, incident: str) -> dict[str, str] | None:
        """Files of the case folder of an incident, by the newest numbers that are kept of it. Blocks for the disk."""
        told = self.view.told_of(incident)
        recordings = [RECORDINGS.load(one.record) for one in told if one.author.startswith("recording ")]
        diagnoses = [DIAGNOSES.load(one.record) for one in told if one.author.startswith("diagnosis ")]
        return files_of(recordings[-1], diagnoses) if recordings else None

    def worded(self) -> Iterator[Worded]:
        """What was kept so; a record of another version is left out."""
        for record in self.view.load_told(_LLM):
            with suppress(ValueError):
                yield _WORDED.load(record)

    async def save(self, pipeline: Pipeline, capacity: Capacity | None = None) -> None:
        """Write a snapshot: copied here, written in a thread."""
        states = {_BANK: snapshot.SavedState(self._signature, pipeline.bank.state())}
        states[SLO] = snapshot.SavedState(SLO, pipeline.slo.state(self._clock.now()))
        if capacity is not None:
            states[CAPACITY] = snapshot.SavedState(CAPACITY, capacity.state())
        moment = snapshot.capture(pipeline.ring, states, self._clock.now())
        self.journal.save(alerts=pipeline.alerts.values())
        if await self._write(self._settings.snapshot_path, moment):
            self.snapshots_written += 1
            self.snapshot_at = moment.saved_at

    async def save_budgets(self, slo: Ledger) -> None:
        """Write the error budgets alone: they count what a crash in the middle of an outage must not take back."""
        now = self._clock.now()
        states = {SLO: snapshot.SavedState(SLO, slo.state(now))}
        await self._write(self._settings.budgets_path, snapshot.capture(_NO_WINDOW, states, now))

    async def _write(self, path: Path, moment: snapshot.Snapshot) -> bool:
        try:
            await asyncio.to_thread(snapshot.write, path, moment)
        except Temporary as error:
            self.snapshot_failures += 1
            self._faults.report(path.name, str(error))
            return False
        self._faults.report(path.name, "")
        return True

    def health(self) -> JournalHealth:
        """How the archive does."""
        return self.journal.health()

    async def close(self) -> None:
        """Write what waits and stop the journal."""
        await asyncio.to_thread(self.journal.close)
        if self._lock is not None:
            self._lock.close()


def _taken(restore: Callable[[snapshot.Arrays], None], state: snapshot.Arrays, what: str) -> bool:
    """Whether what an earlier process, perhaps of another version, wrote could be used; it is told when not."""
    try:
        restore(state)
    except (ValueError, KeyError, TypeError) as error:
        _LOG.warning("%s not usable: %s", what, error)
        return False
    return True
