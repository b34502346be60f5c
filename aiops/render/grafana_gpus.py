"""Health of GPUs as the daemon sees them, by whichever way it reads them: NVML, DCGM, nvidia_gpu_exporter."""

from dataclasses import replace

from aiops.render.grafana import MATCH, Board, Panel, Row, Target, Variable
from aiops.render.grafana_own import GPU, OWN, legend, series, signal_panel
from aiops.signals.catalog import GPU_SIGNALS, SIGNALS

_TEMPERATURE = f"aiops_signal_gpu_temp_celsius{{{MATCH}}}"


def gpus() -> Board:
    """Every GPU signal of the catalogue."""
    return Board(
        uid="aiops-gpus",
        title="aiops / GPUs",
        about="Health of GPUs, by whichever way the daemon reads them.",
        source=OWN,
        variables=(
            Variable("node", "Node", "node", _TEMPERATURE, ".*"),
            Variable("gpu", "GPU", "gpu", f'aiops_signal_gpu_temp_celsius{{{MATCH}, node=~"$node"}}', ".*"),
        ),
        rows=(
            Row("Work", _panels("gpu_util", "gpu_sm_active", "gpu_tensor_active", "gpu_dram_active", "gpu_mem_util")),
            Row("Pods", (_pods(),), folded=True),
            Row("Memory", (_memory(), *_panels("gpu_mem_free", "gpu_processes"))),
            Row("Heat and power", (_heat(), *_panels("gpu_mem_temp"), _power(), *_panels(
                "gpu_energy", "gpu_sm_clock", "gpu_mem_clock", "gpu_pstate", "gpu_fan"))),
            Row("Clocks held back", _panels(
                "gpu_throttle", "gpu_throttle_thermal", "gpu_throttle_power", "gpu_throttle_brake")),
            Row("Faults", _panels(
                "gpu_xid", "gpu_xid_last", "gpu_ecc_uncorrected", "gpu_ecc_uncorrected_total", "gpu_ecc_corrected",
                "gpu_retired_pages", "gpu_retired_pending", "gpu_row_remap", "gpu_row_remap_pending",
                "gpu_row_remap_failed")),
            Row("Links", _panels(
                "gpu_nvlink_bytes", "gpu_nvlink_errors", "gpu_pcie_tx", "gpu_pcie_rx", "gpu_pcie_replays"),
                folded=True),
        ),
    )  # fmt: skip


def _series(signal: str) -> str:
    return series(signal, labels=GPU).replace(MATCH, f'{MATCH}, node=~"$node", gpu=~"$gpu"')


def _panels(*signals: str) -> tuple[Panel, ...]:
    unknown = [name for name in signals if name not in GPU_SIGNALS]
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: no signal of GPUs")
    return tuple(
        replace(
            signal_panel(name, SIGNALS[name].meaning.partition(";")[0].removesuffix("."), labels=GPU),
            targets=(Target(_series(name), legend(GPU)),),
        )
        for name in signals
    )


def _memory() -> Panel:
    return Panel(
        "Device memory in use",
        "As a share of all.",
        (Target(f"{_series('gpu_mem_used')} / {_series('gpu_mem_total')}", legend(GPU)),),
        "percentunit",
        top=1,
    )


def _pods() -> Panel:
    owner = f'max by (node, gpu, pod_namespace, pod_name) (aiops_gpu_pod_info{{{MATCH}, node=~"$node", gpu=~"$gpu"}})'
    joined = f"{owner} * on (node, gpu) group_left () max by (node, gpu) ({_series('gpu_util')})"
    return Panel(
        "Use of GPUs by pod",
        "Share of time with work on the GPU, by the pod that was given it; needs pod_resources.",
        (Target(joined, legend(("pod_namespace", "pod_name", "gpu"))),),
        "percentunit",
        top=1,
    )


def _heat() -> Panel:
    (panel,) = _panels("gpu_temp")
    return replace(panel, limits=(80, 90))


def _power() -> Panel:
    (panel,) = _panels("gpu_power")
    limit = Target(_series("gpu_power_limit"), legend(GPU, "limit"), line=True)
    return replace(panel, description="Power drawn; dashed: the enforced limit.", targets=(*panel.targets, limit))
