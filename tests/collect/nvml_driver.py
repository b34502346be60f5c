"""What the NVML tests share: the stub driver, a clock that moves when told, and short ways to look at a reading."""

import contextlib
import ctypes
import math
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiops.collect.base import Collector
from aiops.collect.gpu_model import NvidiaModel
from aiops.collect.nvml_watch import NvmlCollector, NvmlSettings
from aiops.kit.clock import Clock
from aiops.signals.types import Entity, EntityKind, Reading
from tests.conftest import missing

SOURCE = Path(__file__).parent / "nvml_stub.c"
MODEL = NvidiaModel.parse((Path(__file__).resolve().parents[2] / "models/gpus/nvidia.yaml").read_text())
NODE = Entity.of(EntityKind.NODE, node="n1")
GIB = 2**30

HEALTHY = {
    "util": 37, "mem_util": 12,
    "mem_total": 80 * GIB, "mem_reserved": GIB, "mem_used": 20 * GIB,
    "temp": 61, "power_mw": 250_500, "power_limit_mw": 700_000, "energy_mj": 1_000_000,
    "clock_mhz.1": 1980, "clock_mhz.2": 2619, "pstate": 0, "fan": 45, "reasons": 0,
    "held_ns.0": 0, "held_ns.1": 0,
    "ecc.0.0": 3, "ecc.1.0": 0, "ecc.0.1": 9, "ecc.1.1": 1,
    "retired.0": 2, "retired.1": 1, "retired_pending": 0,
    "remap.0": 4, "remap.1": 1, "remap.2": 0, "remap.3": 0,
    "pcie_replays": 7, "pcie_kilobytes.0": 500, "pcie_kilobytes.1": 1500,
    "mig": 0, "processes": 2,
    "field.82": 70, "field.38": 1, "field.45": 2, "field.52": 3, "field.59": 4,
    "field.138": 1024, "field.139": 2048,
}  # fmt: skip


class Driver:
    """The stub's state file and its call counts."""

    def __init__(self, library: ctypes.CDLL, state: Path) -> None:
        self.library = library
        self.path = state
        self.state: dict[str, int] = {"count": 1}

    def gpu(self, index: int, **changes: int) -> None:
        self.set(**{f"gpu.{index}.{name}": value for name, value in changes.items()})

    def healthy(self, index: int, /, **changes: int) -> None:
        self.gpu(index, **{**HEALTHY, **changes})

    def set(self, **changes: int) -> None:
        self.state.update(changes)
        self.write()

    def drop(self, *keys: str) -> None:
        for key in keys:
            del self.state[key]
        self.write()

    def write(self) -> None:
        fresh = self.path.with_suffix(".new")
        fresh.write_text("".join(f"{key} {value}\n" for key, value in self.state.items()))
        fresh.replace(self.path)  # never half a file

    def xid(self, gpu: int, code: int) -> None:
        events = self.state.get("events", 0)
        self.set(**{f"event.{events}.gpu": gpu, f"event.{events}.xid": code, "events": events + 1})

    def calls(self, symbol: str) -> int:
        self.library.nvml_stub_calls.restype = ctypes.c_long
        return int(self.library.nvml_stub_calls(symbol.encode()))


class Time:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.clock = Clock(now=lambda: 1.7e9 + self.seconds, monotonic=lambda: self.seconds)


def build(folder: Path, *flags: str) -> Path:
    compiler = shutil.which("gcc")
    if compiler is None:
        missing("the program gcc")
    path = folder / "libnvidia-ml.so.1"
    command = [
        str(compiler),
        "-O2",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-shared",
        "-fPIC",
        *flags,
        "-o",
        str(path),
        str(SOURCE),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return path


@contextlib.asynccontextmanager
async def collecting(clock: Clock, **settings: Any) -> AsyncIterator[NvmlCollector]:
    collector = NvmlCollector(NvmlSettings(**settings), MODEL, node="n1", clock=clock)
    as_seam: Collector = collector  # for the type checker: it is one
    try:
        yield collector
    finally:
        await as_seam.close()


async def read(collector: NvmlCollector, time: Time | None = None, seconds: float = 5.0) -> Reading:
    if time is not None:
        time.seconds += seconds
    (reading,) = await collector.read()
    return reading


def of(reading: Reading, gpu: int = 0) -> dict[str, float]:
    names = {key.signal: value for key, value in zip(reading.columns.keys, reading.values, strict=True)
             if key.entity == gpu_entity(gpu)}  # fmt: skip
    return {name: float(value) for name, value in names.items()}


def gpu_entity(index: int) -> Entity:
    return Entity.of(EntityKind.GPU, gpu=f"GPU-{index}", node="n1")


def known(values: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if not math.isnan(value)}


async def answered(collector: NvmlCollector) -> Reading:
    """Read until the driver answers: a busy machine may need more than one of the short deadlines used here."""
    while True:
        for reading in await collector.read():
            if collector.status().up:
                return reading
