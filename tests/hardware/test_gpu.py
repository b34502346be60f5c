"""Plausibility on a real NVIDIA GPU; skipped only where no NVIDIA driver is loaded."""

import asyncio
import math
import time
from collections.abc import Iterator
from pathlib import Path

import pynvml
import pytest

from aiops.collect.gpu_model import NvidiaModel
from aiops.collect.nvml_signals import NVML_SIGNALS
from aiops.collect.nvml_watch import NvmlCollector, NvmlSettings
from aiops.signals.catalog import SIGNALS
from aiops.signals.types import Reading

MODEL = NvidiaModel.parse((Path(__file__).resolve().parents[2] / "models/gpus/nvidia.yaml").read_text())
ALWAYS = {"gpu_mem_used", "gpu_mem_free", "gpu_mem_total", "gpu_temp", "gpu_sm_clock", "gpu_processes"}
"""What every data-centre GPU of the last ten years answers."""

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def real_library() -> Iterator[None]:
    """Other tests lend ``pynvml`` a library of their own: forget it."""
    pynvml.nvmlLib = None
    pynvml._nvmlGetFunctionPointer_cache.clear()
    if not Path("/proc/driver/nvidia/version").exists() and not Path("/dev/nvidiactl").exists():
        pytest.skip("no NVIDIA driver is loaded on this machine")
    yield
    pynvml.nvmlLib = None
    pynvml._nvmlGetFunctionPointer_cache.clear()


def by_gpu(reading: Reading) -> dict[str, dict[str, float]]:
    gpus: dict[str, dict[str, float]] = {}
    for key, value in zip(reading.columns.keys, reading.values, strict=True):
        gpus.setdefault(key.entity.label("gpu"), {})[key.signal] = float(value)
    return gpus


async def test_a_real_gpu_gives_plausible_values() -> None:
    collector = NvmlCollector(NvmlSettings.model_validate({"enabled": "on", "deadline": "45s"}), MODEL, node="here")
    try:
        await collector.read()
        await asyncio.sleep(2.0)
        (reading,) = await collector.read()
        status = collector.status()
    finally:
        await collector.close()
    print(status.facts)  # noqa: T201 -- shown with -s: what this board and driver do not have
    assert status.up, status.error
    assert reading.marks == ()
    assert abs(reading.at - time.time()) < 60.0
    assert by_gpu(reading), "the driver is loaded and lists no GPU"
    for uuid, values in by_gpu(reading).items():
        print(uuid, values)  # noqa: T201 -- the same
        assert uuid.startswith("GPU-")
        assert values.keys() <= set(NVML_SIGNALS)
        seen = {name for name, value in values.items() if not math.isnan(value)}
        assert seen >= ALWAYS, f"{uuid} does not say {ALWAYS - seen}"
        assert all(SIGNALS[name].low <= values[name] <= SIGNALS[name].high for name in seen)
        check_relations(values)


def check_relations(values: dict[str, float]) -> None:
    """What must hold between the numbers of one GPU: it finds a wrong unit or a swapped field."""
    total = values["gpu_mem_total"]
    assert 1e9 < total < 1e12
    assert 0.9 * total <= values["gpu_mem_used"] + values["gpu_mem_free"] <= total
    assert 10.0 <= values["gpu_temp"] <= 110.0
    assert 1e8 < values["gpu_sm_clock"] < 5e9
    if "gpu_power" in values and "gpu_energy" in values:
        assert 5.0 < values["gpu_power"] < 3000.0
        # The energy counter as a rate is the mean power of the two seconds between the readings.
        assert values["gpu_energy"] == pytest.approx(values["gpu_power"], rel=0.5, abs=30.0)
    if "gpu_power_limit" in values:
        assert values["gpu_power"] < 1.3 * values["gpu_power_limit"]
    if "gpu_mem_clock" in values:
        assert 1e8 < values["gpu_mem_clock"] < 2e10
