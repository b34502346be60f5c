"""What is read from each GPU: values and units on the real ``pynvml``, new and old drivers, calls that fail."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from aiops.collect.nvml import ASK_AGAIN_READS, NvmlReader
from aiops.collect.nvml_signals import NVML_SIGNALS
from aiops.signals.tenancy import Part
from tests.collect.nvml_driver import GIB, NODE, Driver, Time, collecting, known, of, read

LEVELS = {
    "gpu_util": 0.37, "gpu_mem_util": 0.12,
    "gpu_mem_used": 20.0 * GIB, "gpu_mem_free": 59.0 * GIB, "gpu_mem_total": 80.0 * GIB,
    "gpu_temp": 61.0, "gpu_mem_temp": 70.0, "gpu_power": 250.5, "gpu_power_limit": 700.0,
    "gpu_sm_clock": 1.98e9, "gpu_mem_clock": 2.619e9, "gpu_pstate": 0.0, "gpu_fan": 0.45,
    "gpu_throttle": 0.0, "gpu_throttle_thermal": 0.0, "gpu_throttle_power": 0.0, "gpu_throttle_brake": 0.0,
    "gpu_ecc_uncorrected_total": 1.0, "gpu_retired_pages": 3.0, "gpu_retired_pending": 0.0,
    "gpu_row_remap": 1.0, "gpu_row_remap_pending": 0.0, "gpu_row_remap_failed": 0.0,
    "gpu_pcie_tx": 500e3, "gpu_pcie_rx": 1500e3, "gpu_processes": 2.0, "gpu_mig": 0.0, "gpu_xid": 0.0,
}  # fmt: skip
COUNTED = {
    "gpu_energy", "gpu_ecc_corrected", "gpu_ecc_uncorrected", "gpu_nvlink_errors", "gpu_nvlink_bytes",
    "gpu_pcie_replays", "gpu_xid_last",
}  # fmt: skip


async def test_every_value_and_unit(driver: Driver, time: Time) -> None:
    async with collecting(time.clock) as collector:
        reading = await read(collector, time)
        assert of(reading).keys() == set(NVML_SIGNALS)
        assert known(of(reading)) == pytest.approx(LEVELS)
        assert set(of(reading)) - set(known(of(reading))) == COUNTED
        assert reading.marks == ()
        facts = collector.status().facts
        assert facts["gpu0"] == "NVIDIA Stub 0 GPU-0"
        assert facts["gpu0_pids"] == "1000, 1001"
        assert "gpu0_missing" not in facts
        assert collector.status().up
        assert collector.status().entity == NODE


async def test_devices_have_the_names_that_a_kubelet_gives_them(driver: Driver, time: Time) -> None:
    """MIG devices, and GPUs by a number on which index and minor agree."""
    driver.set(count=4)
    for gpu, minor in enumerate((0, 2, 1)):
        driver.healthy(gpu, minor=minor, mig=int(gpu < 2), **{"part.0": 7, "part.3": 9})
    driver.healthy(3)
    async with collecting(time.clock) as collector:
        assert collector.devices() == {}
        await read(collector, time)
        assert collector.devices() == {
            "gpu-0": Part("GPU-0"),
            "MIG-00000000-0000-4000-8000-000000000000": Part("GPU-0", "7"),
            "MIG-00000000-0000-4000-8000-000000000003": Part("GPU-0", "9"),
            "MIG-00000001-0000-4000-8000-000000000000": Part("GPU-1", "7"),
            "MIG-00000001-0000-4000-8000-000000000003": Part("GPU-1", "9"),
        }
        driver.drop("gpu.0.part.3")
        driver.gpu(1, lost=1)
        await read(collector, time)
        assert set(collector.devices()) == {"gpu-0", "MIG-00000000-0000-4000-8000-000000000000"}


async def test_counters_become_rates_and_columns_stay(driver: Driver, time: Time) -> None:
    async with collecting(time.clock) as collector:
        first = await read(collector, time)
        driver.gpu(0, **{
            "energy_mj": 2_000_000, "ecc.0.0": 13, "ecc.1.0": 2, "pcie_replays": 12, "field.38": 11,
            "field.52": 13, "field.138": 1024 + 1000, "field.139": 2048 + 500, "held_ns.1": 1_000_000_000,
        })  # fmt: skip
        second = await read(collector, time, 4.0)
        assert second.columns is first.columns
        assert known(of(second)) | dict.fromkeys(LEVELS, 0.0) == pytest.approx(dict.fromkeys(LEVELS, 0.0) | {
            "gpu_energy": 250.0, "gpu_ecc_corrected": 2.5, "gpu_ecc_uncorrected": 2.0, "gpu_pcie_replays": 1.25,
            "gpu_nvlink_errors": 5.0, "gpu_nvlink_bytes": 1500 * 1024 / 4.0,
        })  # fmt: skip
        assert of(second)["gpu_throttle_thermal"] == of(second)["gpu_throttle"] == 0.25
        driver.gpu(0, **{"ecc.0.0": 0, "ecc.1.0": 0})
        reset = of(await read(collector, time))
        assert math.isnan(reset["gpu_ecc_corrected"])
        assert math.isnan(reset["gpu_ecc_uncorrected"])
        assert known(of(await read(collector, time)))["gpu_ecc_uncorrected"] == 0.0


async def test_an_old_driver_gives_what_it_has(install: Callable[[str], Driver], time: Time) -> None:
    driver = install("old")
    driver.gpu(0, **{"reasons": 0x40, "links": 4, "link_errors.0": 5, "link_errors.2": 1})
    driver.drop("gpu.0.field.38", "gpu.0.field.45", "gpu.0.field.52", "gpu.0.field.59", "gpu.0.held_ns.1")
    async with collecting(time.clock) as collector:
        await read(collector, time)
        driver.gpu(0, **{"link_errors.0": 10})
        reading = of(await read(collector, time))
        gone = {"gpu_row_remap", "gpu_row_remap_pending", "gpu_row_remap_failed", "gpu_mig", "gpu_xid", "gpu_xid_last"}
        assert set(NVML_SIGNALS) - reading.keys() == gone
        assert set(str(collector.status().facts["gpu0_missing"]).split(", ")) == gone
        assert reading["gpu_mem_used"] == 21.0 * GIB  # the old call counts the reserve
        assert reading["gpu_mem_free"] == 59.0 * GIB
        assert reading["gpu_temp"] == 61.0
        assert reading["gpu_throttle_thermal"] == 1.0
        assert reading["gpu_processes"] == 2.0
        assert reading["gpu_nvlink_errors"] == 5 * 3 / 5.0  # three of four links are up


SYMBOLS = {
    "nvmlDeviceGetUtilizationRates": {"gpu_util", "gpu_mem_util"},
    "nvmlDeviceGetMemoryInfo_v2": set(),
    "nvmlDeviceGetTemperatureV": set(),
    "nvmlDeviceGetFieldValues": {"gpu_mem_temp", "gpu_nvlink_errors", "gpu_nvlink_bytes"},
    "nvmlDeviceGetPowerUsage": {"gpu_power"},
    "nvmlDeviceGetEnforcedPowerLimit": {"gpu_power_limit"},
    "nvmlDeviceGetTotalEnergyConsumption": {"gpu_energy"},
    "nvmlDeviceGetClockInfo": {"gpu_sm_clock", "gpu_mem_clock"},
    "nvmlDeviceGetPerformanceState": {"gpu_pstate"},
    "nvmlDeviceGetFanSpeed": {"gpu_fan"},
    "nvmlDeviceGetCurrentClocksEventReasons": set(),
    "nvmlDeviceGetViolationStatus": set(),
    "nvmlDeviceGetTotalEccErrors": {"gpu_ecc_corrected", "gpu_ecc_uncorrected", "gpu_ecc_uncorrected_total"},
    "nvmlDeviceGetRetiredPages": {"gpu_retired_pages"},
    "nvmlDeviceGetRetiredPagesPendingStatus": {"gpu_retired_pending"},
    "nvmlDeviceGetRemappedRows": {"gpu_row_remap", "gpu_row_remap_pending", "gpu_row_remap_failed"},
    "nvmlDeviceGetPcieReplayCounter": {"gpu_pcie_replays"},
    "nvmlDeviceGetPcieThroughput": {"gpu_pcie_tx", "gpu_pcie_rx"},
    "nvmlDeviceGetMigMode": {"gpu_mig"},
    "nvmlDeviceGetComputeRunningProcesses_v3": set(),
    "nvmlEventSetCreate": {"gpu_xid", "gpu_xid_last"},
    "nvmlDeviceRegisterEvents": {"gpu_xid", "gpu_xid_last"},
    "nvmlEventSetWait_v2": {"gpu_xid", "gpu_xid_last"},
    "nvmlEventSetFree": set(),
    "nvmlShutdown": set(),
    "nvmlSystemGetDriverVersion": set(),
    "nvmlDeviceGetName": set(),
    "nvmlDeviceGetNvLinkState": set(),
}


@pytest.mark.parametrize("code", [1, 3, 13, 16, 999])
@pytest.mark.parametrize("symbol", SYMBOLS)
async def test_one_failing_call_costs_its_own_signals(symbol: str, code: int, driver: Driver, time: Time) -> None:
    driver.set(**{f"fail.{symbol}": code})
    async with collecting(time.clock) as collector:
        await read(collector, time)
        reading = await read(collector, time)
        assert of(reading).keys() == set(NVML_SIGNALS) - SYMBOLS[symbol]
        same = LEVELS.keys() - SYMBOLS[symbol] - {"gpu_mem_used"}
        assert {name: of(reading)[name] for name in same} == pytest.approx({name: LEVELS[name] for name in same})
        assert collector.status().up


async def test_two_gpus_one_of_them_partitioned(driver: Driver, time: Time) -> None:
    driver.healthy(1, mig=1, power_mw=99_000)
    driver.set(count=2)
    driver.drop("gpu.1.util")  # a partitioned GPU has no utilisation as a whole
    async with collecting(time.clock) as collector:
        reading = await read(collector, time)
        assert (of(reading, 0)["gpu_mig"], of(reading, 1)["gpu_mig"]) == (0.0, 1.0)
        assert of(reading, 1)["gpu_power"] == 99.0
        assert set(NVML_SIGNALS) - of(reading, 1).keys() == {"gpu_util", "gpu_mem_util"}
        assert collector.status().facts["gpu1_missing"] == "gpu_util, gpu_mem_util"


async def test_what_is_not_there_is_asked_rarely_and_what_failed_once_soon(driver: Driver, time: Time) -> None:
    driver.set(**{"fail.nvmlDeviceGetFanSpeed": 3, "fail.nvmlDeviceGetPowerUsage": 999})
    async with collecting(time.clock) as collector:
        fan, power = driver.calls("nvmlDeviceGetFanSpeed"), driver.calls("nvmlDeviceGetPowerUsage")
        await read(collector, time)
        driver.drop("fail.nvmlDeviceGetFanSpeed", "fail.nvmlDeviceGetPowerUsage")
        assert of(await read(collector, time))["gpu_power"] == 250.5
        assert driver.calls("nvmlDeviceGetPowerUsage") == power + 2
        for _ in range(ASK_AGAIN_READS - 2):
            assert "gpu_fan" not in of(await read(collector, time))
        assert driver.calls("nvmlDeviceGetFanSpeed") == fan + 1
        assert of(await read(collector, time))["gpu_fan"] == 0.45


async def test_the_way_that_answered_is_kept(driver: Driver, time: Time) -> None:
    driver.set(**{"fail.nvmlDeviceGetMemoryInfo_v2": 999})
    async with collecting(time.clock) as collector:
        assert of(await read(collector, time))["gpu_mem_used"] == 21.0 * GIB
        driver.drop("fail.nvmlDeviceGetMemoryInfo_v2")
        # The new call counts differently: changing over would look like a gibibyte set free.
        assert of(await read(collector, time))["gpu_mem_used"] == 21.0 * GIB


def test_a_sample_is_plain_data(driver: Driver) -> None:
    freed, ended = driver.calls("nvmlEventSetFree"), driver.calls("nvmlShutdown")
    reader = NvmlReader()
    sample = reader.sample()
    reader.close()
    reader.close()
    assert json.loads(json.dumps(sample.as_record()))["gpus"][0]["values"]["energy_joules"] == 1000.0
    assert (driver.calls("nvmlEventSetFree"), driver.calls("nvmlShutdown")) == (freed + 1, ended + 1)


def test_the_library_is_found_the_usual_way(libraries: dict[str, Path], driver: Driver) -> None:
    code = "import json; from aiops.collect.nvml import record; print(json.dumps(record()))"
    place = {"LD_LIBRARY_PATH": str(libraries["real name"].parent), "NVML_STUB_STATE": str(driver.path)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=os.environ | place, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["gpus"][0]["name"] == "NVIDIA Stub 0"
