"""The lab's GPUs: read through the real profile, calm until they are struck."""

import asyncio

import pytest

from aiops.app import presets
from aiops.collect.exposition import PageParser
from aiops.kit.clock import Clock
from aiops.lab.engine import Engine
from aiops.lab.exporter import WARMING_SECONDS, Gpu, GpuExporter
from aiops.signals.normalise import Normaliser
from aiops.signals.types import EntityKind


class Stopped:
    """A time that a test moves."""

    def __init__(self) -> None:
        self.at = 100.0
        self.clock = Clock(now=lambda: 1e9 + self.at, monotonic=lambda: self.at)


@pytest.fixture
def exporter() -> tuple[GpuExporter, Stopped]:
    clock = Stopped()
    gpus = [Gpu(f"node-{index}", f"GPU-{index}", Engine(index, now=clock.at)) for index in range(2)]
    return GpuExporter(gpus, clock=clock.clock), clock


def numbers(exporter: GpuExporter, clock: Stopped, seconds: int) -> dict[str, dict[str, float]]:
    """GPU → signal → value after some seconds, a page each."""
    parser, normaliser = PageParser(), Normaliser(presets.engine_profiles(), (("instance", "x:9400"),), "x")
    reading = normaliser.normalise(parser.parse(exporter.page().encode()), clock.clock.now())
    for _ in range(seconds):
        clock.at += 1.0
        reading = normaliser.normalise(parser.parse(exporter.page().encode()), clock.clock.now())
    found: dict[str, dict[str, float]] = {}
    for key, value in zip(reading.columns.keys, reading.values, strict=True):
        assert key.entity.kind is EntityKind.GPU
        found.setdefault(key.entity.label("gpu"), {})[key.signal] = float(value)
    return found


def test_a_calm_gpu_follows_its_engine(exporter: tuple[GpuExporter, Stopped]) -> None:
    told = numbers(*exporter, 10)
    assert told.keys() == {"GPU-0", "GPU-1"}
    for values in told.values():
        assert values["gpu_throttle_thermal"] == 0.0
        assert 45 <= values["gpu_temp"] <= 61
        assert values["gpu_sm_clock"] == 1.98e9
        assert values["gpu_mem_total"] == 81_000 * 2**20


def test_a_struck_gpu_gets_hot_and_slow_and_its_engine_with_it(exporter: tuple[GpuExporter, Stopped]) -> None:
    told, clock = exporter
    numbers(told, clock, 3)
    told.overheat(1)
    assert numbers(told, clock, int(WARMING_SECONDS) - 1)["GPU-1"]["gpu_throttle_thermal"] == 0.0
    after = numbers(told, clock, 8)
    assert after["GPU-1"]["gpu_throttle_thermal"] == pytest.approx(0.9)
    assert after["GPU-1"]["gpu_temp"] > after["GPU-0"]["gpu_temp"] + 20
    assert after["GPU-1"]["gpu_sm_clock"] < after["GPU-0"]["gpu_sm_clock"]
    assert after["GPU-0"]["gpu_throttle_thermal"] == 0.0
    assert [gpu.engine.slowdown > 1 for gpu in told.gpus] == [False, True]


async def test_it_serves_its_page(exporter: tuple[GpuExporter, Stopped]) -> None:
    told, _ = exporter
    await told.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", told.port)
    writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    await told.stop()
    assert answer.startswith(b"HTTP/1.0 200")
    assert b'DCGM_FI_DEV_GPU_TEMP{gpu="1",UUID="GPU-1",Hostname="node-1"}' in answer
