"""Holds the files of a model against their manifest, slowly and in the background.

An engine goes on serving from memory while its files rot on disk; the next start then fails, or worse, does not. The
disk may hang or be slow, so a thread of low priority does the work and a read only asks how far it is. Between two
whole checks names, sizes and time stamps are looked at each minute. The last verdict is repeated at every read: an
alert must not end because nobody checked again.
"""

import asyncio
import contextlib
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from aiops.collect.manifest import Damage, Pace, Stopped, look, read_manifest, verify
from aiops.collect.settings import LabelName, LabelValue
from aiops.kit.clock import SYSTEM_CLOCK, Clock
from aiops.kit.host import node_name
from aiops.kit.settings import Duration, Section, Size
from aiops.signals.types import Columns, Entity, EntityKind, Mark, MarkKind, Reading, SeriesKey, SourceStatus

KIND = "files"
LOOK_SECONDS = 60.0
RETRY_SECONDS = 600.0
_PATIENCE_SECONDS = 2.0
_NICEST = 19
_SHOWN = 3
NAN = float("nan")


class ModelFilesSettings(Section):
    """One folder and its manifest."""

    directory: Path
    """Folder of the model's files."""
    manifest: Path
    """What the files should be: ``aiops check model DIRECTORY --write-manifest FILE`` writes one, ``sha256sum`` too.
    Keep it elsewhere, or what damages the files damages it as well."""
    interval: Annotated[Duration, Field(ge=60)] = 21_600.0
    """Time between two checks of all bytes; names, sizes and time stamps are looked at each minute. Four times a day
    finds rot before the next rollout does."""
    rate: Size = 32 * 1024 * 1024
    """Most bytes read per second, 0 = no limit. 32 MiB/s leave even a slow disk to the engines; 140 GB take 70 min."""
    labels: dict[LabelName, LabelValue] = Field(default_factory=dict)
    """Labels of the replica that serves from this folder, as it is scraped (``job``, ``instance``, ``model_name``).
    Without them the node and the folder are named."""

    @property
    def entity(self) -> Entity:
        """Whose files they are."""
        if self.labels:
            return Entity.of(EntityKind.REPLICA, **self.labels)
        return Entity.of(EntityKind.NODE, node=node_name(), directory=str(self.directory))


class IntegritySettings(Section):
    """Files of models, checked against manifests."""

    models: tuple[ModelFilesSettings, ...] = ()
    """Folders to check. None by default: only a manifest that you trust says what is right."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        entities = [model.entity for model in self.models]
        if len(set(entities)) != len(entities):
            raise ValueError("models need different labels or directories")
        return self


@dataclass(slots=True)
class _Check:
    """One run of the thread, written by it and read by the collector.

    ``whole``: all bytes are read, not only names and sizes. ``stamp`` is that of the files before they were read.
    """

    whole: bool
    damages: list[Damage] = field(default_factory=list)
    stamp: tuple[object, ...] | None = None
    error: str = "the check ended unexpectedly"
    files: int = 0
    done: bool = False


class IntegrityCollector:
    """Collector of one folder."""

    interval_seconds = LOOK_SECONDS

    def __init__(self, settings: ModelFilesSettings, clock: Clock = SYSTEM_CLOCK) -> None:
        self._settings = settings
        self._clock = clock
        self._pace = Pace(float(settings.rate))
        self._entity = settings.entity
        self._columns = Columns((SeriesKey(self._entity, "files_intact"),))
        self._check: _Check | None = None
        self._thread: threading.Thread | None = None
        self._intact = self._verdict = NAN
        self._told: set[Damage] = set()
        self._stamp: tuple[object, ...] | None = None
        self._due = float("-inf")
        self._unread = ""
        self._progress = (0, -1)
        self._status = SourceStatus(
            f"files/{settings.directory}",
            KIND,
            self._entity,
            LOOK_SECONDS,
            facts={"directory": str(settings.directory)},
        )

    async def read(self) -> Sequence[Reading]:
        """Say how the files are as far as it is known, and have the thread look again."""
        if self._check is None:
            self._begin()
        await self._wait_a_little()
        marks = self._take()
        self._watch()
        values = np.array([self._intact], np.float64)
        return (Reading(self._status.source, self._clock.now(), self._columns, values, marks=marks),)

    def status(self) -> SourceStatus:
        """How the check goes, as of the last :meth:`read`. Damage is no failure of the check."""
        return self._status

    async def close(self) -> None:
        """Tell the thread to stop; one that hangs in the disk is left behind."""
        self._pace.stop.set()
        await self._wait_a_little()

    def _begin(self) -> None:
        self._status = replace(self._status, last_attempt=self._clock.now())
        self._check = _Check(whole=self._clock.monotonic() >= self._due)
        self._thread = threading.Thread(target=self._work, args=(self._check,), name="integrity", daemon=True)
        self._thread.start()

    async def _wait_a_little(self) -> None:
        """Small folders are done at once; nobody waits longer for the others."""
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, _PATIENCE_SECONDS)

    def _take(self) -> tuple[Mark, ...]:
        """Take over what the thread found so far."""
        check = self._check
        if check is None:
            return ()
        now, damages = self._clock.now(), list(check.damages)
        marks = tuple(
            Mark(MarkKind.FILE_DAMAGED, self._entity, now, str(damage))
            for damage in damages
            if damage not in self._told
        )
        self._told.update(damages)
        if damages:
            self._intact = 0.0
            self._status = replace(self._status, facts={**self._status.facts, "damaged": _listed(damages)})
        if check.done:
            self._finish(check, now)
        return marks

    def _watch(self) -> None:
        """A thread that reads nothing from one look to the next hangs in the disk."""
        progress = (id(self._check), self._pace.bytes_spent)
        if self._check is not None and progress == self._progress:
            self._failed("the disk does not answer")
        self._progress = progress

    def _failed(self, why: str) -> None:
        self._status = replace(self._status, failures=self._status.failures + 1, error=why)

    def _finish(self, check: _Check, now: float) -> None:
        self._check = None
        if check.whole:
            self._unread, self._stamp = check.error, check.stamp
        if check.error:
            # Not at every look: the file that cannot be read may be the last of many.
            self._due = max(self._due, self._clock.monotonic() + RETRY_SECONDS) if check.whole else self._due
            self._failed(check.error)
            return
        if not self._unread:
            self._status = replace(self._status, last_success=now, failures=0, error="")
        if check.whole:
            self._due = self._clock.monotonic() + self._settings.interval
            self._intact = self._verdict = 0.0 if check.damages else 1.0
            self._told = set(check.damages)
            facts: dict[str, str | float] = {"directory": str(self._settings.directory)}
            facts |= {"files": float(check.files), "checked_at": now}
            if check.damages:
                facts["damaged"] = _listed(check.damages)
            self._status = replace(self._status, facts=facts)
        elif check.stamp == self._stamp:
            self._intact = self._verdict
        else:
            self._due = float("-inf")  # something was touched: read all of it again

    def _work(self, check: _Check) -> None:
        """The thread: one look, or one whole check."""
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICEST)
        try:
            manifest = read_manifest(self._settings.manifest)
            check.files = len(manifest)
            damages, stamp = look(manifest, self._settings.directory)
            check.stamp = (manifest, stamp)
            if check.whole:
                for damage in verify(manifest, self._settings.directory, self._pace):
                    check.damages.append(damage)
            else:
                check.damages += damages
            check.error = ""
        except Stopped:
            check.error = "stopped"
        except (OSError, ValueError) as error:
            check.error = str(error)
        finally:
            check.done = True


def _listed(damages: Sequence[Damage]) -> str:
    more = len(damages) - _SHOWN
    return "; ".join([*map(str, damages[:_SHOWN]), *([f"and {more} more"] if more > 0 else [])])
