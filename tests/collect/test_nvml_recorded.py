"""What a real driver said: an H200 idle, at full load, copying over PCIe, and with a program that wrote out of bounds.

The recording is ours: ``tests/hardware/record_nvml.py``, one line a second. Matrices are multiplied from second 15 to
70, then memory is copied from the host until 82; at 82 another program faults (Xid 31).
"""

import gzip
import json
import math
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiops.app.assembly import build_pipeline, load_gpu_model
from aiops.app.config import Config
from aiops.collect.nvml import GpuSample, NvmlSample, XidEvent
from aiops.collect.nvml_watch import NvmlCollector, NvmlSettings
from aiops.detect.base import Severity
from aiops.incidents.alert import Transition
from aiops.signals.types import MarkKind, Reading

RECORDING = Path(__file__).parent / "data" / "nvml" / "h200.jsonl.gz"
IDLE, LOAD, COPY, AFTER = range(3, 14), range(28, 66), range(73, 80), range(92, 120)
FAULT = 82


class Recorded:
    """Stands where :class:`aiops.collect.nvml.NvmlReader` stands; and is the clock."""

    def __init__(self) -> None:
        with gzip.open(RECORDING, "rt", encoding="utf-8") as lines:
            self.lines = [json.loads(line) for line in lines]
        self.xids: deque[XidEvent] = deque()
        self.opening = False
        self.second = -1

    def sample(self) -> NvmlSample:
        self.second += 1
        line = self.lines[self.second]
        self.xids.extend(XidEvent(xid["uuid"], xid["code"]) for xid in line["xids"])
        record = line["sample"]
        gpus = tuple(GpuSample(**{**gpu, "pids": tuple(gpu["pids"])}) for gpu in record["gpus"])
        return NvmlSample(record["driver"], gpus)

    def close(self) -> None:
        pass

    def now(self) -> float:
        return 1_700_000_000.0 + self.second

    def monotonic(self) -> float:
        return float(self.second)


@pytest.fixture
async def readings() -> list[Reading]:
    recorded = Recorded()
    collector = NvmlCollector(NvmlSettings(), load_gpu_model(), node="n1", clock=recorded, reader=recorded)  # type: ignore[arg-type]
    got = [reading for _ in recorded.lines for reading in await collector.read()]
    await collector.close()
    assert len(got) == 120
    return got


def values(reading: Reading) -> dict[str, float]:
    return {key.signal: float(value) for key, value in zip(reading.columns.keys, reading.values, strict=True)}


def seen(readings: list[Reading], seconds: range, signal: str) -> Iterator[float]:
    return (values(readings[second])[signal] for second in seconds)


async def test_idle_load_and_copy_look_like_what_they_are(readings: list[Reading]) -> None:
    assert set(seen(readings, IDLE, "gpu_util")) == {0.0}
    assert min(seen(readings, LOAD, "gpu_util")) >= 0.95
    assert max(seen(readings, IDLE, "gpu_power")) < 100
    assert min(seen(readings, LOAD, "gpu_power")) > 650
    assert min(seen(readings, LOAD, "gpu_temp")) - max(seen(readings, IDLE, "gpu_temp")) > 10
    assert min(seen(readings, COPY, "gpu_pcie_rx")) > 30e9
    assert max(seen(readings, LOAD, "gpu_pcie_rx")) < 1e9
    assert max(seen(readings, AFTER, "gpu_mem_used")) == 0.0 < min(seen(readings, LOAD, "gpu_mem_used"))


async def test_the_energy_counter_is_the_integral_of_the_power(readings: list[Reading]) -> None:
    for seconds in (IDLE, LOAD, AFTER):
        energy = sum(seen(readings, seconds, "gpu_energy"))
        assert energy == pytest.approx(sum(seen(readings, seconds, "gpu_power")), rel=0.02)


async def test_a_gpu_at_its_power_limit_says_so_and_nothing_else_holds_it(readings: list[Reading]) -> None:
    assert min(seen(readings, LOAD, "gpu_throttle_power")) > 0.9
    assert set(seen(readings, LOAD, "gpu_throttle_thermal")) == {0.0}
    assert set(seen(readings, LOAD, "gpu_throttle_brake")) == {0.0}
    assert max(seen(readings, COPY, "gpu_throttle_power")) == 0.0


async def test_what_this_board_lacks_is_absent_and_nothing_becomes_unknown(readings: list[Reading]) -> None:
    signals = set(values(readings[0]))
    assert signals.isdisjoint({"gpu_fan", "gpu_retired_pages", "gpu_nvlink_errors", "gpu_nvlink_bytes"})
    settled = [values(reading) for reading in readings[1:]]
    unknown = {name for row in settled for name, value in row.items() if math.isnan(value)}
    assert unknown == {"gpu_xid_last"}  # no Xid was there before the first
    assert len({id(reading.columns) for reading in readings[1:]}) == 1


async def test_the_fault_is_one_xid_event(readings: list[Reading]) -> None:
    marks = [(second, mark) for second, reading in enumerate(readings) for mark in reading.marks]
    assert [(second, mark.kind) for second, mark in marks] == [(FAULT, MarkKind.XID)]
    assert "31" in marks[0][1].detail
    assert sum(seen(readings, range(len(readings)), "gpu_xid")) == 1.0
    assert values(readings[-1])["gpu_xid_last"] == 31.0


def started(readings: list[Reading], times: int) -> list[Transition]:
    """Alerts that began while the recording was replayed ``times`` times without a break."""
    pipeline = build_pipeline(Config.model_validate({"interval": "1s"}))
    began: list[Transition] = []
    for turn in range(times):
        for second, reading in enumerate(readings):
            now = 1_700_000_000.0 + turn * len(readings) + second
            moved = Reading(reading.source, now, reading.columns, reading.values, marks=reading.marks)
            outcome = pipeline.tick(now, [moved], [], elapsed_seconds=1.0)
            began += [move for move in outcome.transitions if move.began]
    return began


def loud(moves: list[Transition]) -> list[Transition]:
    """Without what only gives context."""
    return [move for move in moves if move.alert.severity is not Severity.INFO]


async def test_only_the_fault_is_told(readings: list[Reading]) -> None:
    moves = started(readings, 1)
    (told,) = loud(moves)
    assert told.alert.key.rule == "GpuXidError"
    assert told.at == 1_700_000_000.0 + FAULT
    assert {move.alert.key.rule for move in moves} <= {"GpuXidError", "GpuPowerCapped"}


async def test_work_that_comes_and_goes_pages_nobody(readings: list[Reading]) -> None:
    moves = started(readings, 15)
    assert {move.alert.key.rule for move in loud(moves)} == {"GpuXidError"}
    assert {move.alert.severity for move in moves} <= {Severity.INFO, Severity.WARNING}
