"""What is asked of one GPU, and the ways to ask for it on newer and older drivers.

Each field is one row: the numbers it gives and its ways, newest first. The ``pynvml`` module is an argument
(its one home is :mod:`aiops.collect.nvml`). Levels come in canonical units under canonical names; counters
come as they stand, in base units, under names of their own, and become rates in ``nvml_signals``.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

ALL_LINKS = 0xFFFFFFFF
MAX_LINKS = 18
UNKNOWN_PERFORMANCE_STATE = 32

Read = Callable[[Any, Any], tuple[float, ...]]
"""One way to ask: (the pynvml module, a device handle) → numbers; raises NVMLError."""


class Field(NamedTuple):
    """Numbers that one call gives, and the ways to ask, newest first. The first way that answers is kept:
    two ways may count differently, so changing over would look like a jump."""

    outputs: tuple[str, ...]
    ways: tuple[Read, ...]


def _utilisation(nvml: Any, handle: Any) -> tuple[float, ...]:
    percent = nvml.nvmlDeviceGetUtilizationRates(handle)
    return percent.gpu / 100.0, percent.memory / 100.0


def _memory_v2(nvml: Any, handle: Any) -> tuple[float, ...]:
    memory = nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2)
    return float(memory.used), float(memory.free), float(memory.total)


def _memory_v1(nvml: Any, handle: Any) -> tuple[float, ...]:
    # Older drivers count what they reserve for themselves as used.
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    return float(memory.used), float(memory.free), float(memory.total)


def _performance_state(nvml: Any, handle: Any) -> tuple[float, ...]:
    state = nvml.nvmlDeviceGetPerformanceState(handle)
    return (float("nan") if state == UNKNOWN_PERFORMANCE_STATE else float(state),)


def _retired_pages(nvml: Any, handle: Any) -> tuple[float, ...]:
    causes = range(nvml.NVML_PAGE_RETIREMENT_CAUSE_COUNT)
    return (float(sum(len(nvml.nvmlDeviceGetRetiredPages(handle, cause)) for cause in causes)),)


def _scaled(function: str, scale: float, *arguments: str) -> Read:
    """Ask a function that gives one number; ``arguments`` name constants of the module."""

    def read(nvml: Any, handle: Any) -> tuple[float, ...]:
        return (getattr(nvml, function)(handle, *(getattr(nvml, name) for name in arguments)) * scale,)

    return read


def _held(policy: str) -> Read:
    """Seconds that a limit has held the clocks down since the driver was loaded (it counts nanoseconds)."""

    def read(nvml: Any, handle: Any) -> tuple[float, ...]:
        return (nvml.nvmlDeviceGetViolationStatus(handle, getattr(nvml, policy)).violationTime / 1e9,)

    return read


def _field_values(scale: float, *names: str, scope: int = 0) -> Read:
    """Sum of field values; all of them must answer, or the sum would jump when one comes and goes."""

    def read(nvml: Any, handle: Any) -> tuple[float, ...]:
        kinds = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")
        total = 0.0
        for answer in nvml.nvmlDeviceGetFieldValues(handle, [(getattr(nvml, name), scope) for name in names]):
            if answer.nvmlReturn != nvml.NVML_SUCCESS:
                raise nvml.NVMLError(answer.nvmlReturn)
            if answer.valueType >= len(kinds):
                raise nvml.NVMLError(nvml.NVML_ERROR_NOT_SUPPORTED)
            total += getattr(answer.value, kinds[answer.valueType])
        return (total * scale,)

    return read


def _link_errors(counter: str) -> Read:
    """Sum of an error counter over the links that are up; the way of drivers without field totals."""

    def read(nvml: Any, handle: Any) -> tuple[float, ...]:
        total, links = 0, 0
        for link in range(MAX_LINKS):
            try:
                if nvml.nvmlDeviceGetNvLinkState(handle, link):
                    total += nvml.nvmlDeviceGetNvLinkErrorCounter(handle, link, getattr(nvml, counter))
                    links += 1
            except nvml.NVMLError_InvalidArgument:
                break  # past the last link
        if not links:
            raise nvml.NVMLError(nvml.NVML_ERROR_NOT_SUPPORTED)
        return (float(total),)

    return read


def _ecc(kind: str, life: str) -> Read:
    return _scaled("nvmlDeviceGetTotalEccErrors", 1.0, f"NVML_MEMORY_ERROR_TYPE_{kind}", f"NVML_{life}_ECC")


def _pids(function: str) -> Read:
    def read(nvml: Any, handle: Any) -> tuple[float, ...]:
        return tuple(float(process.pid) for process in getattr(nvml, function)(handle))

    return read


FIELDS: tuple[Field, ...] = (
    Field(("gpu_util", "gpu_mem_util"), (_utilisation,)),
    Field(("gpu_mem_used", "gpu_mem_free", "gpu_mem_total"), (_memory_v2, _memory_v1)),
    Field(
        ("gpu_temp",),
        (
            _scaled("nvmlDeviceGetTemperatureV", 1.0, "NVML_TEMPERATURE_GPU"),
            _scaled("nvmlDeviceGetTemperature", 1.0, "NVML_TEMPERATURE_GPU"),
        ),
    ),
    Field(("gpu_mem_temp",), (_field_values(1.0, "NVML_FI_DEV_MEMORY_TEMP"),)),
    Field(("gpu_power",), (_scaled("nvmlDeviceGetPowerUsage", 1e-3),)),
    Field(("gpu_power_limit",), (_scaled("nvmlDeviceGetEnforcedPowerLimit", 1e-3),)),
    Field(("energy_joules",), (_scaled("nvmlDeviceGetTotalEnergyConsumption", 1e-3),)),
    Field(("gpu_sm_clock",), (_scaled("nvmlDeviceGetClockInfo", 1e6, "NVML_CLOCK_SM"),)),
    Field(("gpu_mem_clock",), (_scaled("nvmlDeviceGetClockInfo", 1e6, "NVML_CLOCK_MEM"),)),
    Field(("gpu_pstate",), (_performance_state,)),
    Field(("gpu_fan",), (_scaled("nvmlDeviceGetFanSpeed", 0.01),)),
    Field(
        ("clock_reasons",),
        (
            _scaled("nvmlDeviceGetCurrentClocksEventReasons", 1.0),
            _scaled("nvmlDeviceGetCurrentClocksThrottleReasons", 1.0),
        ),
    ),
    # Not through field values: the numbers of those fields changed between driver releases.
    Field(("thermal_held_seconds",), (_held("NVML_PERF_POLICY_THERMAL"),)),
    Field(("power_held_seconds",), (_held("NVML_PERF_POLICY_POWER"),)),
    Field(("ecc_corrected",), (_ecc("CORRECTED", "VOLATILE"),)),
    Field(("ecc_uncorrected",), (_ecc("UNCORRECTED", "VOLATILE"),)),
    Field(("ecc_corrected_total",), (_ecc("CORRECTED", "AGGREGATE"),)),
    Field(("gpu_ecc_uncorrected_total",), (_ecc("UNCORRECTED", "AGGREGATE"),)),
    Field(("gpu_retired_pages",), (_retired_pages,)),
    Field(("gpu_retired_pending",), (_scaled("nvmlDeviceGetRetiredPagesPendingStatus", 1.0),)),
    Field(
        ("row_remap_corrected", "gpu_row_remap", "gpu_row_remap_pending", "gpu_row_remap_failed"),
        (lambda nvml, handle: tuple(map(float, nvml.nvmlDeviceGetRemappedRows(handle))),),
    ),
    Field(("pcie_replays",), (_scaled("nvmlDeviceGetPcieReplayCounter", 1.0),)),
    # NVML says KB/s and measures for 20 ms each.
    Field(("gpu_pcie_tx",), (_scaled("nvmlDeviceGetPcieThroughput", 1e3, "NVML_PCIE_UTIL_TX_BYTES"),)),
    Field(("gpu_pcie_rx",), (_scaled("nvmlDeviceGetPcieThroughput", 1e3, "NVML_PCIE_UTIL_RX_BYTES"),)),
    *(
        Field(
            (f"nvlink_{short}",),
            (
                _field_values(1.0, f"NVML_FI_DEV_NVLINK_{long}_ERROR_COUNT_TOTAL"),
                _link_errors(f"NVML_NVLINK_ERROR_DL_{long}"),
            ),
        )
        for short, long in (
            ("crc_flit", "CRC_FLIT"),
            ("crc_data", "CRC_DATA"),
            ("replay", "REPLAY"),
            ("recovery", "RECOVERY"),
        )
    ),
    # The fifth NVLink generation counts under other names.
    Field(("nvlink_receive",), (_field_values(1.0, "NVML_FI_DEV_NVLINK_COUNT_RCV_ERRORS", scope=ALL_LINKS),)),
    Field(
        ("nvlink_recovery_event",),
        (_field_values(1.0, "NVML_FI_DEV_NVLINK_COUNT_LINK_RECOVERY_EVENTS", scope=ALL_LINKS),),
    ),
    Field(
        ("nvlink_bytes",),
        (
            _field_values(
                1024.0,
                "NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX",
                "NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX",
                scope=ALL_LINKS,
            ),
            _field_values(
                1.0, "NVML_FI_DEV_NVLINK_COUNT_XMIT_BYTES", "NVML_FI_DEV_NVLINK_COUNT_RCV_BYTES", scope=ALL_LINKS
            ),
        ),
    ),
    Field(("gpu_mig",), (lambda nvml, handle: (float(nvml.nvmlDeviceGetMigMode(handle)[0]),),)),
)

PROCESSES = Field(
    ("pids",),
    (_pids("nvmlDeviceGetComputeRunningProcesses_v3"), _pids("nvmlDeviceGetComputeRunningProcesses_v2")),
)
"""Not in :data:`FIELDS`: it gives as many numbers (process ids) as there are processes."""
