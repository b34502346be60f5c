"""Reads NVIDIA GPUs through NVML into plain numbers; the one home of ``pynvml``.

Every call here can block for as long as the kernel driver does (a hung GPU hangs NVML), so nothing of
this may run on an event loop: ``nvml_watch`` gives a reader its own thread. Drivers differ in what they
answer, so each field fails alone: it is left out, and asked again only now and then.
"""

import contextlib
import ctypes
import dataclasses
import os
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from aiops.collect.nvml_fields import FIELDS, PROCESSES, Field, Read

LIBRARY = "libnvidia-ml.so.1"
ASK_AGAIN_READS = 60
"""Reads between two tries of something that the driver does not have; five minutes at the default interval."""
EVENTS_PER_READ = 256
EVENT_WAIT_MILLISECONDS = 1
"""Not 0: for some event calls of the family 0 means "for ever"."""


class NvmlUnavailable(Exception):
    """NVML cannot be used at all; ``absent`` when nothing is there to be used, rather than broken."""

    def __init__(self, message: str, *, absent: bool = False) -> None:
        super().__init__(message)
        self.absent = absent


class GpuLost(Exception):
    """The driver says that this GPU is gone."""


class XidEvent(NamedTuple):
    """One Xid error; ``uuid`` is empty when the driver names a device that we do not know."""

    uuid: str
    code: int


@dataclasses.dataclass(frozen=True, slots=True)
class GpuSample:
    """One GPU, once.

    Attributes
    ----------
    at_seconds
        Monotonic time of the reading.
    values
        Numbers by field name (:data:`aiops.collect.nvml_fields.FIELDS`): levels in canonical units, counters
        as they stand. What the driver did not answer is absent.
    missing
        Field → why the driver did not answer it.
    xid_watched
        Xid errors of this GPU are delivered as events.
    parts
        UUID of each MIG device → number of its GPU instance, as exporters write it.
    minor
        Of its device file, ``/dev/nvidia0``; -1 when the driver does not tell.
    """

    uuid: str
    index: int
    name: str
    at_seconds: float
    values: dict[str, float]
    pids: tuple[int, ...] = ()
    missing: dict[str, str] = dataclasses.field(default_factory=dict)
    xid_watched: bool = False
    lost: bool = False
    parts: dict[str, str] = dataclasses.field(default_factory=dict)
    minor: int = -1


@dataclasses.dataclass(frozen=True, slots=True)
class NvmlSample:
    """All GPUs, once.

    Attributes
    ----------
    unreadable
        Index of a GPU that cannot be opened → why.
    lost_indexes
        Those of them that the driver calls lost.
    """

    driver: str
    gpus: tuple[GpuSample, ...]
    unreadable: dict[int, str] = dataclasses.field(default_factory=dict)
    lost_indexes: tuple[int, ...] = ()

    def as_record(self) -> dict[str, Any]:
        """Plain dict that ``json.dumps`` takes."""
        return dataclasses.asdict(self)


class _Source:
    """One field of one GPU: which way answers, and when to ask again after none did."""

    __slots__ = ("ask_at", "error", "failures", "field", "way")

    def __init__(self, field: Field) -> None:
        self.field = field
        self.way: Read | None = None
        self.forget_failures()

    def forget_failures(self) -> None:
        self.failures = 0
        self.ask_at = 0
        self.error = ""

    def ask(self, nvml: Any, handle: Any, read: int) -> tuple[float, ...] | None:
        """Numbers, or None with the reason in ``error``; raises GpuLost."""
        if read < self.ask_at:
            return None
        never_there = (nvml.NVML_ERROR_NOT_SUPPORTED, nvml.NVML_ERROR_FUNCTION_NOT_FOUND, nvml.NVML_ERROR_NO_PERMISSION)
        wait = ASK_AGAIN_READS
        for way in (self.way,) if self.way else self.field.ways:
            try:
                values = way(nvml, handle)
            except nvml.NVMLError as error:
                if error.value == nvml.NVML_ERROR_GPU_IS_LOST:
                    raise GpuLost from error
                self.error = str(error)
                if error.value not in never_there:  # may pass: try soon, then less and less often
                    wait = min(ASK_AGAIN_READS, 2 ** min(self.failures, 16))
            else:
                self.way = way
                self.forget_failures()
                return values
        self.failures += 1
        self.ask_at = read + wait
        return None


@dataclasses.dataclass(slots=True)
class _Gpu:
    handle: Any
    address: int
    uuid: str
    index: int
    name: str
    minor: int
    sources: tuple[_Source, ...]
    processes: _Source
    lost: bool = False
    xid_watched: bool = False


class NvmlReader:
    """All GPUs of this machine. Belongs to one thread; only ``xids`` and ``opening`` may be seen from others.

    Attributes
    ----------
    xids
        Events as the driver delivered them; kept apart from the samples so that a sample that nobody
        waited for loses none.
    opening
        The driver is being opened: without persistence mode that takes seconds per GPU.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.xids: deque[XidEvent] = deque(maxlen=4096)
        self.opening = False
        self._monotonic = monotonic
        self._nvml: Any = None
        self._driver = ""
        self._gpus: list[_Gpu] = []
        self._unreadable: dict[int, str] = {}
        self._lost_indexes: tuple[int, ...] = ()
        self._sources: dict[str, tuple[_Source, ...]] = {}  # by UUID: what answers outlives a reopening
        self._reads = 0
        self._reopen_at = ASK_AGAIN_READS
        self._events: Any = None
        self._events_for: tuple[str, ...] = ()
        self._events_ask_at = 0

    def sample(self) -> NvmlSample:
        """Read every GPU once, opening NVML when needed; raises NvmlUnavailable."""
        self._reads += 1
        if self._nvml is not None and self._reads >= self._reopen_at:
            self.close()  # a GPU that was reset is seen again only by opening NVML anew
        if self._nvml is None:
            self._open()
        self._drain_events()  # first: a GPU that hangs below has often said why
        gpus = tuple(self._read(gpu) for gpu in self._gpus)
        self._watch_events()
        if not self._unreadable and all(gpu.values for gpu in gpus):
            self._reopen_at = self._reads + ASK_AGAIN_READS
        return NvmlSample(self._driver, gpus, dict(self._unreadable), self._lost_indexes)

    def close(self) -> None:
        """Let NVML go; :meth:`sample` opens it again."""
        if self._nvml is None:
            return
        self._drain_events()
        self._drop_events()
        nvml, self._nvml, self._gpus = self._nvml, None, []
        _shut_down(nvml)

    def _open(self) -> None:
        self.opening = True
        try:
            nvml = _initialised()
            try:
                self._find_gpus(nvml)
            except NvmlUnavailable:
                _shut_down(nvml)
                raise
            self._nvml = nvml
            self._reopen_at = self._reads + ASK_AGAIN_READS
            self._events_ask_at = 0
            self._watch_events()
        finally:
            self.opening = False

    def _find_gpus(self, nvml: Any) -> None:
        self._driver = _text(nvml, nvml.nvmlSystemGetDriverVersion)
        try:
            count = nvml.nvmlDeviceGetCount()
        except nvml.NVMLError as error:
            raise NvmlUnavailable(f"the NVIDIA driver does not list its GPUs: {error}") from error
        if count == 0:
            raise NvmlUnavailable("the NVIDIA driver is loaded and lists no GPU", absent=True)
        self._gpus, self._unreadable, self._lost_indexes = [], {}, ()
        for index in range(count):
            try:
                self._gpus.append(self._find_gpu(nvml, index))
            except (nvml.NVMLError, UnicodeDecodeError) as error:
                self._unreadable[index] = str(error)
                if getattr(error, "value", None) == nvml.NVML_ERROR_GPU_IS_LOST:
                    self._lost_indexes += (index,)

    def _find_gpu(self, nvml: Any, index: int) -> _Gpu:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        uuid = nvml.nvmlDeviceGetUUID(handle)
        sources = self._sources.setdefault(uuid, tuple(_Source(field) for field in (*FIELDS, PROCESSES)))
        for source in sources:
            source.forget_failures()
        name = _text(nvml, nvml.nvmlDeviceGetName, handle)
        minor = -1
        with contextlib.suppress(nvml.NVMLError):
            minor = int(nvml.nvmlDeviceGetMinorNumber(handle))
        return _Gpu(handle, _address(handle), uuid, index, name, minor, sources[:-1], sources[-1])

    def _read(self, gpu: _Gpu) -> GpuSample:
        values: dict[str, float] = {}
        missing: dict[str, str] = {}
        pids: tuple[int, ...] = ()
        try:
            for source in gpu.sources:
                numbers = source.ask(self._nvml, gpu.handle, self._reads)
                if numbers is None:
                    missing.update(dict.fromkeys(source.field.outputs, source.error))
                else:
                    values.update(zip(source.field.outputs, numbers, strict=True))
            processes = gpu.processes.ask(self._nvml, gpu.handle, self._reads)
            if processes is None:
                missing["gpu_processes"] = gpu.processes.error
            else:
                pids = tuple(sorted({int(pid) for pid in processes}))
                values["gpu_processes"] = float(len(pids))
            gpu.lost = False
        except GpuLost:
            gpu.lost, values, missing = True, {}, {}
        return GpuSample(
            gpu.uuid,
            gpu.index,
            gpu.name,
            at_seconds=self._monotonic(),
            values=values,
            pids=pids,
            missing=missing,
            xid_watched=gpu.xid_watched,
            lost=gpu.lost,
            parts=_parts(self._nvml, gpu.handle) if values.get("gpu_mig") == 1.0 else {},
            minor=gpu.minor,
        )

    def _watch_events(self) -> None:
        """Have Xid errors of all GPUs that are there delivered to one event set."""
        wanted = tuple(gpu.uuid for gpu in self._gpus if not gpu.lost)
        if self._events is not None and wanted != self._events_for:
            self._drain_events()  # a set with a lost GPU in it fails for all: build another without it
            self._drop_events()
            self._events_ask_at = 0
        if self._events is not None or not wanted or self._reads < self._events_ask_at:
            return
        self._events_for = wanted
        self._events_ask_at = self._reads + ASK_AGAIN_READS
        try:
            self._events = self._nvml.nvmlEventSetCreate()
        except self._nvml.NVMLError:
            return
        for gpu in self._gpus:
            try:
                self._nvml.nvmlDeviceRegisterEvents(gpu.handle, self._nvml.nvmlEventTypeXidCriticalError, self._events)
                gpu.xid_watched = True
            except self._nvml.NVMLError:
                gpu.xid_watched = False

    def _drain_events(self) -> None:
        names = {gpu.address: gpu.uuid for gpu in self._gpus}
        for _ in range(EVENTS_PER_READ):
            if self._events is None:
                return
            try:
                event = self._nvml.nvmlEventSetWait(self._events, EVENT_WAIT_MILLISECONDS)
            except self._nvml.NVMLError_Timeout:
                return
            except self._nvml.NVMLError as error:
                self._drop_events()
                if error.value == self._nvml.NVML_ERROR_GPU_IS_LOST:
                    self._events_ask_at = 0
                return
            if event.eventType == self._nvml.nvmlEventTypeXidCriticalError:
                self.xids.append(XidEvent(names.get(_address(event.device), ""), int(event.eventData)))

    def _drop_events(self) -> None:
        events, self._events = self._events, None
        for gpu in self._gpus:
            gpu.xid_watched = False
        if events is not None:
            with contextlib.suppress(self._nvml.NVMLError):  # the driver forgets it when NVML is shut down
                self._nvml.nvmlEventSetFree(events)


def record() -> dict[str, Any]:
    """What the driver answers now, as plain data for a recording; blocks; raises NvmlUnavailable."""
    reader = NvmlReader()
    try:
        return reader.sample().as_record()
    finally:
        reader.close()


def _initialised() -> Any:
    """Give the ``pynvml`` module with NVML initialised."""
    try:
        import pynvml  # noqa: PLC0415 -- machines without a GPU never load it
    except ImportError as error:
        raise NvmlUnavailable(f"the Python module pynvml (package nvidia-ml-py) is missing: {error}") from error
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        if error.value == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND:
            where = os.environ.get("LD_LIBRARY_PATH") or "not set"
            raise NvmlUnavailable(
                f"{LIBRARY} (part of the NVIDIA driver) was not found: looked in LD_LIBRARY_PATH ({where}) "
                "and the system's library folders",
                absent=True,
            ) from error
        absent = error.value == pynvml.NVML_ERROR_DRIVER_NOT_LOADED
        raise NvmlUnavailable(f"NVML does not start: {error}", absent=absent) from error
    return pynvml


def _shut_down(nvml: Any) -> None:
    with contextlib.suppress(nvml.NVMLError):  # nothing is left that could be done
        nvml.nvmlShutdown()


def _text(nvml: Any, function: Callable[..., Any], *arguments: Any) -> str:
    """Text for people, empty when the driver does not tell."""
    try:
        return str(function(*arguments))
    except (nvml.NVMLError, UnicodeDecodeError):
        return ""


def _parts(nvml: Any, handle: Any) -> dict[str, str]:
    """UUID of each MIG device of a GPU → number of its GPU instance; those that the driver names."""
    found: dict[str, str] = {}
    with contextlib.suppress(nvml.NVMLError):
        for place in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
            with contextlib.suppress(nvml.NVMLError):  # most places are free
                part = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, place)
                found[str(nvml.nvmlDeviceGetUUID(part))] = str(nvml.nvmlDeviceGetGpuInstanceId(part))
    return found


def _address(handle: Any) -> int:
    """Where a device handle points: the only thing that tells which GPU an event is about."""
    return ctypes.cast(handle, ctypes.c_void_p).value or 0
