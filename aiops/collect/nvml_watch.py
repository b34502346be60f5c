"""The GPU collector: asks the NVIDIA driver in a watched thread, so that a hung driver is an alert, not a dead daemon.

A GPU that hangs also hangs every NVML call, in the kernel, where nothing can interrupt it. So one daemon
thread asks, the event loop waits no longer than a deadline, and while the call hangs nobody asks a second
time: the next :meth:`NvmlCollector.read` waits for the same call. When the call comes back, so do the numbers.
"""

import asyncio
import concurrent.futures
import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from aiops.collect.gpu_model import NvidiaModel
from aiops.collect.nvml import GpuSample, NvmlReader, NvmlSample, NvmlUnavailable, XidEvent
from aiops.collect.nvml_signals import NAN, NVML_SIGNALS, GpuSignals
from aiops.kit.clock import SYSTEM_CLOCK, Clock
from aiops.kit.log import timestamp
from aiops.kit.settings import Duration, Section
from aiops.signals.tenancy import Part
from aiops.signals.types import Columns, Entity, EntityKind, Mark, MarkKind, Reading, SeriesKey, SourceStatus

SOURCE = "nvml"
Answer = TypeVar("Answer")


class Enabled(StrEnum):
    """Whether to ask for something that may not be there."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


class NvmlSettings(Section):
    """NVIDIA GPUs of this machine, read through the driver's library. They carry the machine's name as ``node``: the
    variable NODE_NAME where there is one (the downward API's ``spec.nodeName``), else the host name."""

    enabled: Enabled = Enabled.AUTO
    """``auto``: read GPUs when a driver is there, and call its absence normal. ``on``: its absence is a failure."""
    interval: Duration = Field(default=5.0, gt=0)
    """Time between readings. 5 s sees a throttle that lasts; a reading takes 0.1 s or so per GPU."""
    deadline: Duration = Field(default=10.0, gt=0)
    """How long the driver may take to answer before it counts as hung. A healthy one needs less than a
    second; a reset of a GPU beside it can take several."""
    start_deadline: Duration = Field(default=60.0, gt=0)
    """The same while the driver is being opened: without persistence mode it wakes each GPU, seconds apiece."""


class WatchedThread(Generic[Answer]):
    """Makes one blocking call again and again in a daemon thread, and never waits for it longer than told.

    Parameters
    ----------
    call
        Blocking function; at most one runs at any time.
    finish
        Called in the thread at the end, when the last call has come back.
    """

    def __init__(
        self, call: Callable[[], Answer], finish: Callable[[], None], *, name: str, monotonic: Callable[[], float]
    ) -> None:
        self._call = call
        self._finish = finish
        self._name = name
        self._monotonic = monotonic
        self._asked: queue.SimpleQueue[concurrent.futures.Future[Answer] | None] = queue.SimpleQueue()
        self._answer: concurrent.futures.Future[Answer] | None = None
        self._asked_at = 0.0
        self._thread: threading.Thread | None = None

    @property
    def busy_seconds(self) -> float:
        """How long the running call has been running; 0.0 when none is."""
        if self._answer is None or self._answer.done():
            return 0.0
        return self._monotonic() - self._asked_at

    async def ask(self, deadline_seconds: float) -> Answer:
        """Answer of a new call, or of the one still running.

        Raises TimeoutError when the deadline passes first (the call goes on), and whatever the call raised.
        An answer that came while nobody waited is old by now and is dropped.
        """
        if self._answer is None or self._answer.done():
            self._answer = concurrent.futures.Future()
            self._asked_at = self._monotonic()
            self._start()
            self._asked.put(self._answer)
        waiter = asyncio.wrap_future(self._answer)
        try:
            await asyncio.wait({waiter}, timeout=deadline_seconds)
            if not waiter.done():
                raise TimeoutError
            return waiter.result()
        finally:
            waiter.cancel()  # a running call cannot be cancelled: only the waiting ends

    async def close(self, deadline_seconds: float) -> None:
        """End the thread; a hung one is left behind (it is a daemon thread and holds up no exit)."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._asked.put(None)
        await asyncio.to_thread(thread.join, deadline_seconds)

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()

    def _work(self) -> None:
        while (answer := self._asked.get()) is not None:
            if not answer.set_running_or_notify_cancel():
                continue
            try:
                answer.set_result(self._call())
            except Exception as error:  # noqa: BLE001 -- handed to whoever waits, which supervises
                answer.set_exception(error)
        self._finish()


class _Gpu:
    """What is remembered of one GPU for as long as the daemon runs."""

    def __init__(self, entity: Entity, model: NvidiaModel) -> None:
        self.entity = entity
        self.signals = GpuSignals(model)
        self.seen: set[str] = set()
        self.sample: GpuSample | None = None
        self.lost_at = 0.0
        self.last_xid = NAN


class NvmlCollector:
    """Implements :class:`aiops.collect.base.Collector` for the GPUs of this machine.

    Marks ``GPU_DRIVER_UNRESPONSIVE`` and ``GPU_LOST`` are conditions: every reading carries them while they
    last, each time equal (``at`` is when it began), so that a receiver may both hold an alert and journal
    once. ``XID`` marks are events: each is given exactly once.

    Parameters
    ----------
    model
        Meaning of clock-limit bits and Xid numbers.
    node
        Host name; with the UUID it identifies a GPU. The index may change at a reboot and is only a fact.
    reader
        Another source of samples, for tests.
    """

    def __init__(
        self,
        settings: NvmlSettings,
        model: NvidiaModel,
        *,
        node: str,
        clock: Clock = SYSTEM_CLOCK,
        reader: NvmlReader | None = None,
    ) -> None:
        self.interval_seconds = settings.interval
        self._settings = settings
        self._model = model
        self._node = Entity.of(EntityKind.NODE, node=node)
        self._clock = clock
        self._reader = reader or NvmlReader(clock.monotonic)
        self._thread = WatchedThread(self._reader.sample, self._reader.close, name="nvml", monotonic=clock.monotonic)
        self._gpus: dict[str, _Gpu] = {}
        self._columns = Columns(())
        self._places: dict[tuple[str, str], int] = {}
        self._values: NDArray[np.float64] = np.empty(0)
        self._strangers_at: dict[int, float] = {}
        self._hung_at = 0.0
        self._closed = settings.enabled is Enabled.OFF
        self._last_attempt = self._last_success = self._last_change = 0.0
        self._duration_seconds = NAN
        self._failures = 0
        self._error = ""
        self._sample = NvmlSample("", ())

    async def read(self) -> Sequence[Reading]:
        """Ask the driver once; takes no longer than the deadline."""
        if self._closed:
            return ()
        self._last_attempt = self._clock.now()
        begun = self._clock.monotonic()
        try:
            sample = await self._thread.ask(self._settings.deadline)
        except TimeoutError:
            return self._unanswered()
        except NvmlUnavailable as error:
            return self._unavailable(error)
        self._duration_seconds = self._clock.monotonic() - begun
        return (self._answered(sample),)

    def status(self) -> SourceStatus:
        """Health of the driver; ``error`` says since when it hangs, also between two reads."""
        error = self._error
        if self._hung_at and self._thread.busy_seconds:  # a moment, not a duration: the text of one fault stays one
            error = f"the NVIDIA driver has not answered since {timestamp(self._hung_at)}: a GPU or the driver hangs"
        return SourceStatus(
            source=SOURCE,
            kind=SOURCE,
            entity=self._node,
            interval_seconds=self.interval_seconds,
            last_attempt=self._last_attempt,
            last_success=self._last_success,
            last_change=self._last_change,
            failures=self._failures,
            error=error,
            facts=self._facts(),
        )

    async def close(self) -> None:
        """End the thread and let NVML go; a hung driver is not waited for."""
        self._closed = True
        await self._thread.close(min(1.0, self._settings.deadline))

    def _unanswered(self) -> Sequence[Reading]:
        busy = self._thread.busy_seconds
        if self._reader.opening and busy < self._settings.start_deadline:
            self._error = f"the NVIDIA driver is being opened, {busy:.1f} s so far"
            return ()
        self._failures += 1
        self._error = f"the NVIDIA driver did not answer within {self._settings.deadline:g} s"
        self._hung_at = self._hung_at or self._last_attempt
        return (self._reading({}, self._take_xids()),)

    def _unavailable(self, error: NvmlUnavailable) -> Sequence[Reading]:
        self._hung_at = 0.0
        self._error = str(error)
        expected = error.absent and not self._gpus and self._settings.enabled is Enabled.AUTO
        self._failures = 0 if expected else self._failures + 1
        if not self._gpus:
            return ()
        return (self._reading({}, self._take_xids()),)

    def devices(self) -> dict[str, Part]:
        """GPUs and parts of them by names that a kubelet gives them.

        UUIDs of MIG devices, and ``gpu-0`` of NVIDIA's DRA driver. Its number is an index in older releases and a minor
        in newer ones, so it is given only where both are the same.
        """
        found: dict[str, Part] = {}
        for gpu in self._sample.gpus:
            found |= {uuid: Part(gpu.uuid, instance) for uuid, instance in gpu.parts.items()}
            if gpu.minor == gpu.index:
                found[f"gpu-{gpu.index}"] = Part(gpu.uuid)
        return found

    def _answered(self, sample: NvmlSample) -> Reading:
        self._failures, self._error, self._hung_at = 0, "", 0.0
        self._last_success = self._clock.now()
        self._sample = sample
        rows: dict[str, dict[str, float]] = {}
        for gpu in sample.gpus:
            if gpu.uuid not in self._gpus:
                entity = Entity.of(EntityKind.GPU, gpu=gpu.uuid, node=self._node.label("node"))
                self._gpus[gpu.uuid] = _Gpu(entity, self._model)
            known = self._gpus[gpu.uuid]
            known.sample = gpu
            rows[gpu.uuid] = known.signals.step(gpu)
            if gpu.xid_watched:
                rows[gpu.uuid] |= {"gpu_xid": 0.0, "gpu_xid_last": known.last_xid}
        self._note_lost({gpu.uuid for gpu in sample.gpus if not gpu.lost})
        reading = self._reading(rows, self._take_xids())
        if not np.array_equal(reading.values, self._values, equal_nan=True):
            self._last_change = self._last_success
        self._values = reading.values
        return reading

    def _note_lost(self, there: set[str]) -> None:
        for uuid, gpu in self._gpus.items():
            if uuid in there:
                gpu.lost_at = 0.0
            else:
                gpu.lost_at = gpu.lost_at or self._last_attempt
        known = {gpu.sample.index for gpu in self._gpus.values() if gpu.sample is not None}
        strangers = [index for index in self._sample.lost_indexes if index not in known]
        self._strangers_at = {index: self._strangers_at.get(index, self._last_attempt) for index in strangers}

    def _take_xids(self) -> list[XidEvent]:
        xids = self._reader.xids
        return [xids.popleft() for _ in range(len(xids))]

    def _reading(self, rows: dict[str, dict[str, float]], xids: Iterable[XidEvent]) -> Reading:
        """Rows (UUID → signals) and Xid events as one reading; what is in neither is NaN."""
        now = self._clock.now()
        marks = self._conditions()
        for xid in xids:
            gpu = self._gpus.get(xid.uuid)
            entity = self._node if gpu is None else gpu.entity
            marks.append(Mark(MarkKind.XID, entity, now, self._model.describe_xid(xid.code)))
            if gpu is not None:
                gpu.last_xid = float(xid.code)
                row = rows.setdefault(xid.uuid, {})
                row["gpu_xid"] = row.get("gpu_xid", 0.0) + 1.0
                row["gpu_xid_last"] = gpu.last_xid
        self._intern(rows)
        values = np.full(len(self._columns.keys), NAN)
        for uuid, row in rows.items():
            for name, value in row.items():
                values[self._places[uuid, name]] = value
        return Reading(SOURCE, now, self._columns, values, marks=tuple(marks))

    def _conditions(self) -> list[Mark]:
        marks = []
        if self._hung_at:
            limit = self._settings.deadline
            detail = f"The NVIDIA driver did not answer within {limit:g} s: a GPU or the driver hangs."
            marks.append(Mark(MarkKind.GPU_DRIVER_UNRESPONSIVE, self._node, self._hung_at, detail))
        for gpu in self._gpus.values():
            if gpu.lost_at and gpu.sample is not None:
                detail = f"GPU {gpu.sample.index} ({gpu.sample.name}, {gpu.sample.uuid}) is lost to the driver."
                marks.append(Mark(MarkKind.GPU_LOST, gpu.entity, gpu.lost_at, detail))
        for index, at in self._strangers_at.items():  # lost before we ever saw it: its UUID cannot be asked
            detail = f"GPU {index} is lost to the driver."
            marks.append(Mark(MarkKind.GPU_LOST, self._node, at, detail))
        return marks

    def _intern(self, rows: dict[str, dict[str, float]]) -> None:
        """Keep the same Columns object until a signal appears that was never there."""
        for uuid, row in rows.items():
            self._gpus[uuid].seen.update(row)
        if sum(len(gpu.seen) for gpu in self._gpus.values()) == len(self._places):
            return
        order = [(uuid, name) for uuid, gpu in self._gpus.items() for name in NVML_SIGNALS if name in gpu.seen]
        self._places = {place: column for column, place in enumerate(order)}
        self._columns = Columns(tuple(SeriesKey(self._gpus[uuid].entity, name) for uuid, name in order))

    def _facts(self) -> dict[str, str | float]:
        facts: dict[str, str | float] = {
            "driver": self._sample.driver,
            "gpus": float(len(self._gpus)),
            "duration_seconds": self._duration_seconds,
        }
        for uuid, gpu in self._gpus.items():
            if gpu.sample is None:
                continue
            name = f"gpu{gpu.sample.index}"
            facts[name] = f"{gpu.sample.name} {uuid}"
            if gpu.lost_at:
                facts[f"{name}_lost"] = f"for {self._clock.now() - gpu.lost_at:.0f} s"
            if missing := [signal for signal in NVML_SIGNALS if signal not in gpu.seen]:
                facts[f"{name}_missing"] = ", ".join(missing)
            if gpu.sample.pids:
                facts[f"{name}_pids"] = ", ".join(map(str, gpu.sample.pids))
        for index, why in self._sample.unreadable.items():
            facts[f"gpu{index}_unreadable"] = why
        return facts
