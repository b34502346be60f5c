"""One board for each engine, gateway and GPU exporter, with the names that its versions really expose."""

from collections.abc import Mapping, Sequence

from aiops.render.grafana import ENGINES, Board, Look, Panel, Row, Target, Variable
from aiops.render.grafana_own import unit
from aiops.render.grafana_promql import Query, model_label, presence
from aiops.signals.catalog import SIGNALS, Kind
from aiops.signals.profile import Family, Profile

_LINKS = {"dcgm-exporter": {"NVIDIA's own board": "https://grafana.com/grafana/dashboards/12239"}}
_KINDS = {Family.ENGINE: "Engine", Family.GATEWAY: "Gateway", Family.GPU: "GPU"}
_NOW = ("running", "queue_len", "tokens_out", "finished", "errors", "rejected")
_REASONS = ("finished_stop", "finished_length", "finished_abort", "errors", "rejected")
_STAGES = ("queue_time", "prefill_time", "decode_time")

_TITLES = {
    "queue_len": "Waiting", "running": "Running", "kv_use": "KV cache in use", "preemptions": "Preemptions",
    "engine_busy": "Engine busy", "ttft": "Time to first token", "itl": "Time between tokens",
    "tpot": "Time per token of a request", "e2e": "Whole request", "queue_time": "Wait before running",
    "service_time": "Time running", "prefill_time": "Time in prefill", "decode_time": "Time in decode",
    "prompt_len": "Prompt length", "gen_len": "Generated length", "batch_tokens": "Tokens of an engine step",
    "prefix_hit": "Prefix cache hits", "tokens_cached": "Prompt tokens from a cache",
    "kv_capacity": "KV cache, tokens it holds", "spec_accept": "Drafted tokens accepted",
    "corrupted": "Corrupted requests", "perplexity": "Perplexity", "sleeping": "Asleep",
    "cold_start": "Start of a replica", "finished": "Finished", "errors": "Errors", "rejected": "Refused",
    "tokens_out": "Tokens out, per second",
    "replicas": "Replicas", "replicas_desired": "Replicas asked for", "ready": "Replicas able to serve",
    "restarts": "Starts", "budget_burn": "Money spent",
    "gpu_util": "Time with a kernel", "gpu_sm_active": "SMs active", "gpu_tensor_active": "Tensor cores active",
    "gpu_dram_active": "Device memory active", "gpu_mem_util": "Memory read or written",
    "gpu_mem_used": "Memory in use", "gpu_mem_free": "Memory free", "gpu_temp": "Temperature",
    "gpu_mem_temp": "Memory temperature", "gpu_power": "Power", "gpu_energy": "Power, from the energy counter",
    "gpu_sm_clock": "SM clock", "gpu_mem_clock": "Memory clock", "gpu_pstate": "Performance state",
    "gpu_fan": "Fan", "gpu_throttle": "Clocks held back", "gpu_throttle_thermal": "Clocks held back for heat",
    "gpu_throttle_power": "Clocks held back for power", "gpu_throttle_brake": "Power brake",
    "gpu_ecc_corrected": "Corrected memory errors", "gpu_ecc_uncorrected": "Uncorrected memory errors",
    "gpu_ecc_uncorrected_total": "Uncorrected memory errors of the board's life",
    "gpu_retired_pages": "Retired pages", "gpu_retired_pending": "Pages wait for a reset",
    "gpu_row_remap": "Remapped rows", "gpu_row_remap_pending": "Row remap waits for a reset",
    "gpu_row_remap_failed": "Row remap failed", "gpu_xid_last": "Number of the last Xid error",
    "gpu_nvlink_errors": "NVLink errors", "gpu_nvlink_bytes": "NVLink traffic", "gpu_pcie_replays": "PCIe replays",
    "gpu_pcie_tx": "PCIe sent", "gpu_pcie_rx": "PCIe received", "gpu_processes": "Compute processes",
}  # fmt: skip

_LIMITS = {"kv_use": (0.9, 0.97), "gpu_temp": (80.0, 90.0), "gpu_mem_temp": (90.0, 100.0)}
_WITH = {"running": "max_running", "gpu_power": "gpu_power_limit", "gpu_mem_used": "gpu_mem_total",
         "ready": "replicas_desired"}  # fmt: skip
"""Signal → its limit, drawn dashed in the same panel."""

_SERVING: Mapping[str, Sequence[str]] = {
    "Saturation": ("queue_len", "running", "kv_use", "preemptions", "engine_busy"),
    "Latency": ("ttft", "itl", "tpot", "e2e", "queue_time", "service_time"),
    "Shape of the work": ("prompt_len", "gen_len", "batch_tokens"),
    "Cache": ("prefix_hit", "tokens_cached", "kv_capacity", "spec_accept"),
    "Replicas": ("ready", "replicas", "restarts", "cold_start", "sleeping"),
    "Quality and cost": ("corrupted", "perplexity", "budget_burn"),
}
_HARDWARE: Mapping[str, Sequence[str]] = {
    "GPU work": ("gpu_util", "gpu_sm_active", "gpu_tensor_active", "gpu_dram_active", "gpu_mem_util", "gpu_processes"),
    "GPU memory": ("gpu_mem_used", "gpu_mem_free"),
    "Heat and power": (
        "gpu_temp", "gpu_mem_temp", "gpu_power", "gpu_energy", "gpu_sm_clock", "gpu_mem_clock", "gpu_pstate", "gpu_fan",
    ),
    "Clocks held back": ("gpu_throttle", "gpu_throttle_thermal", "gpu_throttle_power", "gpu_throttle_brake"),
    "Faults": (
        "gpu_xid_last", "gpu_ecc_uncorrected", "gpu_ecc_uncorrected_total", "gpu_ecc_corrected", "gpu_retired_pages",
        "gpu_retired_pending", "gpu_row_remap", "gpu_row_remap_pending", "gpu_row_remap_failed",
    ),
    "Links": ("gpu_nvlink_bytes", "gpu_nvlink_errors", "gpu_pcie_tx", "gpu_pcie_rx", "gpu_pcie_replays"),
}  # fmt: skip


def engine(profile: Profile, bare_counters: Sequence[str]) -> Board:
    """Board of one program."""
    query = Query.of(profile, bare_counters)
    rows: list[tuple[str, tuple[Panel, ...]]] = []
    if profile.family is not Family.GPU:
        rows += [("Now", _now(query)), ("Where the time goes", _stages(query)), ("Traffic", _traffic(query))]
    rows += [
        (title, tuple(panel for name in signals if (panel := _panel(query, name))))
        for title, signals in {**_SERVING, **_HARDWARE}.items()
    ]
    order = ("Now", "Saturation", "Latency", "Where the time goes", "Traffic")
    rows.sort(key=lambda row: order.index(row[0]) if row[0] in order else len(order))
    source = presence(profile)
    label = model_label(profile)
    inside = f'{source[:-1]}, job=~"$job"}}'
    return Board(
        uid=f"aiops-engine-{profile.name}",
        title=f"{_KINDS[profile.family]} / {profile.title}",
        about=f"What {profile.title} says about itself, under its own names. {_sentence(profile.docs)}".strip(),
        source=source,
        tag=ENGINES,
        variables=(Variable("model", "Model", label, inside, ".*"),) if label else (),
        rows=tuple(Row(title, panels) for title, panels in rows if panels),
        links=_LINKS.get(profile.name, {}),
    )


def _now(query: Query) -> tuple[Panel, ...]:
    found = []
    for signal in _NOW:
        if expr := query.value(signal):
            target = Target(f"sum({_indent(expr)})", "")
            unit_id, _ = unit(signal)
            found.append(
                Panel(_TITLES[signal], _about(query, signal), (target,), unit_id, Look.NUMBER, width=4, height=4)
            )
    return tuple(found)


def _stages(query: Query) -> tuple[Panel, ...]:
    """Means add up as quantiles do not, so the stack is of means."""
    stages = [name for name in _STAGES if query.mean(name)]
    if "decode_time" not in stages:
        stages = [name for name in ("queue_time", "service_time") if query.mean(name)]
    if len(stages) < 2:
        return ()
    targets = [
        _target(query.mean(name), query, name.removesuffix("_time").replace("service", "running")) for name in stages
    ]
    if whole := query.mean("e2e"):
        targets.append(_target(whole, query, "whole request", line=True))
    about = "Mean time of a request in each stage, one on top of the other; dashed: the whole request as measured."
    return (Panel("Queue, prefill and decode", about, tuple(targets), "s", Look.STACK, width=24),)


def _traffic(query: Query) -> tuple[Panel, ...]:
    found = []
    about = "Requests that arrive and that leave, over the chosen replicas."
    for title, text, names, axis, look in (
        ("Requests", about, ("arrivals", "finished"), "", Look.LINES),
        (
            "How requests end",
            "Requests by the reason of their end; refused ones never began.",
            _REASONS,
            "",
            Look.STACK,
        ),
        (
            "Tokens",
            "Prompt tokens processed and tokens generated.",
            ("tokens_in", "tokens_out"),
            "tokens/s",
            Look.LINES,
        ),
    ):
        targets = tuple(
            Target(f"sum({_indent(expr)})", name.removeprefix("finished_").replace("_", " "))
            for name in names
            if (expr := query.value(name))
        )
        if targets:
            found.append(Panel(title, text, targets, "short" if axis else "reqps", look, axis=axis))
    return tuple(found)


def _panel(query: Query, signal: str) -> Panel | None:
    spread = SIGNALS[signal].kind is Kind.DISTRIBUTION
    targets = _spread(query, signal) if spread else _lines(query, signal)
    if not targets:
        return None
    unit_id, axis = unit(signal)
    if SIGNALS[signal].kind is Kind.EVENTS:
        unit_id, axis = "eps", ""
    return Panel(
        title=_TITLES[signal],
        description=_about(query, signal),
        targets=targets,
        unit=unit_id,
        axis=axis,
        limits=_LIMITS.get(signal),
        top=1.0 if unit_id == "percentunit" and SIGNALS[signal].high == 1.0 else None,
    )


def _lines(query: Query, signal: str) -> tuple[Target, ...]:
    expr = query.value(signal)
    if not expr:
        return ()
    limit = _WITH.get(signal, "")
    dashed = query.value(limit) if limit else None
    lines = [Target(expr, query.legend)]
    return (*lines, Target(dashed, f"{query.legend} limit", line=True)) if dashed else tuple(lines)


def _spread(query: Query, signal: str) -> tuple[Target, ...]:
    found = [_target(expr, query, stat) for stat in ("p50", "p95", "p99") if (expr := query.quantile(signal, stat))]
    mean = query.mean(signal)
    return (*found, _target(mean, query, "mean", line=bool(found))) if mean else tuple(found)


def _target(expr: str | None, query: Query, what: str, *, line: bool = False) -> Target:
    labels = " ".join(f"{{{{{label}}}}}" for label in query.merged_labels)
    return Target(expr or "", f"{labels} {what}".strip(), line)


def _about(query: Query, signal: str) -> str:
    """What it means, and what the profile knows of its best source."""
    sources = query.profile.roles[signal]
    best = sources[0]
    notes = [f"{best.metric}: {best.note}."] if best.note else []
    notes += [f"Appears {best.appears}."] if best.appears else []
    return " ".join([SIGNALS[signal].meaning, *notes])


def _indent(expr: str) -> str:
    return "\n" + "\n".join(f"  {line}" for line in expr.splitlines()) + "\n" if "\n" in expr else expr


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""
