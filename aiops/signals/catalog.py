"""THE list of canonical signals. Engines, detectors, alerts and panels all speak these names.

Units are Prometheus base units: seconds, bytes, ratio 0–1, celsius, watts, joules, hertz, or a count.
``kind`` tells what arithmetic means: a *level* is what it is now, a *rate* is per second, a *distribution*
is seen through its statistics (mean, p50, p95, p99 and the rate of observations), a *state* is a flag or a
code, a *capacity* is a limit, an *event count* is how many happened since the reading before.
"""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What sort of number a signal is."""

    LEVEL = "level"
    RATE = "rate"
    DISTRIBUTION = "distribution"
    CAPACITY = "capacity"
    STATE = "state"
    EVENTS = "events"


class Bad(StrEnum):
    """Which way hurts."""

    HIGH = "high"
    LOW = "low"
    BOTH = "both"
    NONE = "none"


DISTRIBUTION_STATS = ("mean", "p50", "p95", "p99", "rate")


@dataclass(frozen=True, slots=True)
class Signal:
    """One canonical signal: name, base unit, kind, which direction is bad, what it means.

    ``low`` and ``high`` bound the values that are physically possible; outside them a value is unknown.
    """

    name: str
    unit: str
    kind: Kind
    bad: Bad
    meaning: str
    low: float = 0.0
    high: float = float("inf")


_L, _R, _D, _C, _S, _E = Kind.LEVEL, Kind.RATE, Kind.DISTRIBUTION, Kind.CAPACITY, Kind.STATE, Kind.EVENTS
_H, _LOW, _BOTH, _N = Bad.HIGH, Bad.LOW, Bad.BOTH, Bad.NONE

_ENGINE = (
    Signal("queue_len", "requests", _L, _H, "Requests admitted but not yet running."),
    Signal("running", "requests", _L, _N, "Requests in the running batch."),
    Signal("adapter_waiting", "requests", _L, _H, "Requests that wait until their LoRA adapter is loaded."),
    Signal(
        "max_running", "requests", _C, _N, "Most requests that can run at once; exported or learnt from the plateau."
    ),
    Signal("arrivals", "requests/s", _R, _BOTH, "Requests arriving; counted, or by conservation."),
    Signal("finished", "requests/s", _R, _BOTH, "Requests that left, for whatever reason."),
    Signal("finished_stop", "requests/s", _R, _N, "Requests that ended by themselves."),
    Signal("finished_length", "requests/s", _R, _H, "Requests cut at their token limit."),
    Signal("finished_abort", "requests/s", _R, _H, "Requests given up by the client."),
    Signal("errors", "requests/s", _R, _H, "Requests that failed."),
    Signal("rejected", "requests/s", _R, _H, "Requests refused at admission; HTTP codes may hide them."),
    Signal("corrupted", "requests/s", _R, _H, "Requests with NaN in their logits."),
    Signal("ttft", "seconds", _D, _H, "Time to first token."),
    Signal("itl", "seconds", _D, _H, "Time between output tokens, over tokens."),
    Signal("tpot", "seconds", _D, _H, "Mean time per output token of a request, over requests."),
    Signal("e2e", "seconds", _D, _H, "Whole request, arrival to last token."),
    Signal("queue_time", "seconds", _D, _H, "Wait before running."),
    Signal("service_time", "seconds", _D, _H, "Time running: prefill and decode."),
    Signal("prefill_time", "seconds", _D, _H, "Time in prefill."),
    Signal("decode_time", "seconds", _D, _H, "Time in decode."),
    Signal("tokens_in", "tokens/s", _R, _BOTH, "Prompt tokens processed."),
    Signal("tokens_out", "tokens/s", _R, _LOW, "Tokens generated."),
    Signal("tokens_cached", "tokens/s", _R, _N, "Prompt tokens served from a cache."),
    Signal("prompt_len", "tokens", _D, _BOTH, "Prompt length of finished requests."),
    Signal("gen_len", "tokens", _D, _BOTH, "Generated length of finished requests."),
    Signal("batch_tokens", "tokens", _D, _N, "Tokens processed per engine step."),
    Signal("kv_use", "ratio", _L, _H, "Share of the KV cache in use.", 0.0, 1.0),
    Signal("kv_capacity", "tokens", _C, _N, "Tokens that the KV cache holds."),
    Signal("preemptions", "events/s", _R, _H, "Requests thrown out of the batch for lack of KV."),
    Signal("prefix_hit", "ratio", _L, _LOW, "Share of prompt tokens found in the prefix cache.", 0.0, 1.0),
    Signal("spec_accept", "ratio", _L, _LOW, "Share of drafted tokens accepted.", 0.0, 1.0),
    Signal("perplexity", "ratio", _D, _H, "Perplexity as the engine reports it."),
    Signal("engine_busy", "ratio", _L, _N, "Share of time the engine computed.", 0.0, 1.0),
    Signal("sleeping", "state", _S, _N, "1 when the engine sleeps and is no capacity.", 0.0, 1.0),
    Signal("replicas", "replicas", _L, _LOW, "Replicas that exist."),
    Signal("replicas_desired", "replicas", _L, _N, "Replicas that somebody asked for."),
    Signal("ready", "replicas", _L, _LOW, "Replicas able to serve."),
    Signal("restarts", "events/s", _R, _H, "Starts of replicas or containers."),
    Signal("cold_start", "seconds", _D, _H, "Start of a replica until it can serve."),
    Signal("start_time", "seconds", _S, _N, "UTC time at which the process started."),
    Signal("budget_burn", "usd/s", _R, _H, "Money spent, as a gateway counts it."),
)

_PROBE = (
    Signal("probe_up", "state", _S, _LOW, "1 when a synthetic request was answered with a sane answer.", 0.0, 1.0),
    Signal("probe_ttft", "seconds", _L, _H, "Time to first token of our own request."),
    Signal("probe_itl", "seconds", _L, _H, "Mean time between tokens of our own request."),
    Signal("probe_e2e", "seconds", _L, _H, "Duration of our own request."),
    Signal("probe_tokens", "tokens", _L, _LOW, "Tokens that our own request received."),
    Signal("files_intact", "state", _S, _LOW, "1 when the model's files match their manifest.", 0.0, 1.0),
)

_GPU = (
    Signal("gpu_util", "ratio", _L, _N, "Share of time with a kernel on the GPU; says little about load.", 0.0, 1.0),
    Signal("gpu_sm_active", "ratio", _L, _N, "Share of time an SM had work.", 0.0, 1.0),
    Signal("gpu_tensor_active", "ratio", _L, _N, "Share of time the tensor cores worked.", 0.0, 1.0),
    Signal("gpu_dram_active", "ratio", _L, _N, "Share of time device memory moved data.", 0.0, 1.0),
    Signal("gpu_mem_util", "ratio", _L, _N, "Share of time memory was read or written.", 0.0, 1.0),
    Signal("gpu_mem_used", "bytes", _L, _H, "Device memory in use."),
    Signal("gpu_mem_free", "bytes", _L, _LOW, "Device memory free."),
    Signal("gpu_mem_total", "bytes", _C, _N, "Device memory."),
    Signal("gpu_temp", "celsius", _L, _H, "GPU temperature.", -40.0, 150.0),
    Signal("gpu_mem_temp", "celsius", _L, _H, "Memory temperature.", -40.0, 150.0),
    Signal("gpu_power", "watts", _L, _BOTH, "Power drawn.", 0.0, 5000.0),
    Signal("gpu_power_limit", "watts", _C, _LOW, "Enforced power limit.", 0.0, 5000.0),
    Signal("gpu_energy", "watts", _R, _N, "Energy counter as a rate (joules per second).", 0.0, 5000.0),
    Signal("gpu_sm_clock", "hertz", _L, _LOW, "SM clock."),
    Signal("gpu_mem_clock", "hertz", _L, _LOW, "Memory clock."),
    Signal("gpu_pstate", "state", _S, _N, "Performance state, 0 = fastest.", 0.0, 32.0),
    Signal("gpu_fan", "ratio", _L, _N, "Fan speed as a share of the maximum.", 0.0, 2.0),
    Signal(
        "gpu_throttle",
        "ratio",
        _L,
        _H,
        "1 while any harmful clock-limit reason holds; the share of time where known.",
        0.0,
        1.0,
    ),
    Signal("gpu_throttle_thermal", "ratio", _L, _H, "Share of time clocks were held for heat.", 0.0, 1.0),
    Signal("gpu_throttle_power", "ratio", _L, _H, "Share of time clocks were held for power.", 0.0, 1.0),
    Signal("gpu_throttle_brake", "ratio", _L, _H, "Share of time the power brake was on.", 0.0, 1.0),
    Signal("gpu_ecc_corrected", "events/s", _R, _H, "Corrected memory errors."),
    Signal("gpu_ecc_uncorrected", "events", _E, _H, "Uncorrected memory errors since the reading before."),
    Signal("gpu_ecc_uncorrected_total", "events", _L, _H, "Uncorrected memory errors of the board's life."),
    Signal("gpu_retired_pages", "pages", _L, _H, "Memory pages retired for errors."),
    Signal("gpu_retired_pending", "state", _S, _H, "1 when pages wait for a reset to be retired.", 0.0, 1.0),
    Signal("gpu_row_remap", "rows", _L, _H, "Rows remapped for uncorrectable errors."),
    Signal("gpu_row_remap_pending", "state", _S, _H, "1 when a row remap waits for a reset.", 0.0, 1.0),
    Signal("gpu_row_remap_failed", "state", _S, _H, "1 when a row remap failed: replace the board.", 0.0, 1.0),
    Signal("gpu_xid", "events", _E, _H, "Xid errors since the reading before."),
    Signal("gpu_xid_last", "state", _S, _N, "Number of the last Xid error."),
    Signal("gpu_nvlink_errors", "events/s", _R, _H, "NVLink CRC, replay and recovery errors."),
    Signal("gpu_nvlink_bytes", "bytes/s", _R, _N, "NVLink traffic."),
    Signal("gpu_pcie_replays", "events/s", _R, _H, "PCIe replays."),
    Signal("gpu_pcie_tx", "bytes/s", _R, _N, "PCIe bytes sent."),
    Signal("gpu_pcie_rx", "bytes/s", _R, _N, "PCIe bytes received."),
    Signal("gpu_processes", "processes", _L, _N, "Compute processes on the GPU."),
    Signal("gpu_mig", "state", _S, _N, "1 when the GPU is partitioned (MIG).", 0.0, 1.0),
)

_HOST = (
    Signal("cpu_busy", "ratio", _L, _H, "Share of CPU time not idle.", 0.0, 1.0),
    Signal("cpu_pressure", "ratio", _L, _H, "Share of time some task waited for a CPU.", 0.0, 1.0),
    Signal("memory_pressure", "ratio", _L, _H, "Share of time some task waited for memory.", 0.0, 1.0),
    Signal("io_pressure", "ratio", _L, _H, "Share of time some task waited for a disk.", 0.0, 1.0),
    Signal("memory_available", "bytes", _L, _LOW, "Host memory available."),
    Signal("disk_available", "bytes", _L, _LOW, "Smallest free space of a real file system."),
    Signal("load1", "tasks", _L, _H, "Load average of one minute."),
    Signal("network_rx", "bytes/s", _R, _N, "Bytes received."),
    Signal("network_tx", "bytes/s", _R, _N, "Bytes sent."),
    Signal("network_errors", "events/s", _R, _H, "Receive and transmit errors."),
    Signal("oom_kills", "events/s", _R, _H, "Processes killed for lack of memory."),
)

SIGNALS: dict[str, Signal] = {signal.name: signal for signal in (*_ENGINE, *_PROBE, *_GPU, *_HOST)}


def stats_of(signal: Signal) -> tuple[str, ...]:
    """Statistics under which a signal is kept: those of a distribution, or the plain value."""
    return DISTRIBUTION_STATS if signal.kind is Kind.DISTRIBUTION else ("",)


ENGINE_SIGNALS, PROBE_SIGNALS, GPU_SIGNALS, HOST_SIGNALS = (
    tuple(signal.name for signal in part) for part in (_ENGINE, _PROBE, _GPU, _HOST)
)
"""Names of the signals by what they describe, in the order of the catalogue."""
