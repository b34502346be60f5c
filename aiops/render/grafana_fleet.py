"""The first board to open: are the promises kept, and if not, what is full, slow, different or sick."""

from collections.abc import Sequence
from dataclasses import replace

from aiops.render.grafana import Board, Look, Panel, Row, Target
from aiops.render.grafana_own import (
    GPU,
    OWN,
    POOL,
    REPLICA,
    VARIABLES,
    legend,
    number,
    own,
    series,
    signal_panel,
    total,
)
from aiops.render.rules_burn import ratio
from aiops.render.rules_pack import Objective

_MODEL = 'job=~"$watched_job", model_name=~"$model"'
"""Recorded shares are per model, so replicas cannot be chosen, and the job is that of the engine."""


def fleet(objectives: Sequence[Objective]) -> Board:
    """Overview of everything that is watched; ``objectives`` are those of the rule pack."""
    return Board(
        uid="aiops-fleet",
        title="aiops / fleet",
        about="Are the promises kept, and if not: what is full, slow, different or sick?",
        source=OWN,
        variables=VARIABLES,
        rows=(
            _promises(objectives),
            _now(),
            _saturation(),
            _latency(),
            _workload(),
            _cache(),
            _gpus(),
            _gateways(),
            _sources(),
        ),
    )


def _promises(objectives: Sequence[Objective]) -> Row:
    def burn(window: str) -> tuple[Target, ...]:
        return tuple(
            Target(f"{ratio(one, window)}{{{_MODEL}}} / {1 - one.objective:.6g}", f"{{{{model_name}}}} {one.name}")
            for one in objectives
        )

    left = tuple(Target(f"1 - {target.expr}", target.legend) for target in burn("3d"))
    return Row(
        "Promises (from the rule pack)",
        (
            Panel(
                "Budget burn, 1 h",
                "How many times as fast as allowed the error budget was spent in the last hour. At 1 it is just used "
                "up at the end of the period. Needs alert_rules in Prometheus.",
                burn("1h"),
                axis="times",
                limits=(6, 14.4),
                width=9,
            ),
            Panel(
                "Budget burn, 6 h",
                "The same over six hours: slower, and sure.",
                burn("6h"),
                axis="times",
                limits=(3, 6),
                width=9,
            ),
            Panel(
                "Budget left of 3 days",
                "Share of the error budget of the last three days that is not spent; below 0 it is overdrawn.",
                left,
                "percentunit",
                Look.NUMBER,
                width=6,
            ),
        ),
    )


def _now() -> Row:
    return Row(
        "Now",
        (
            number(
                "Replicas that answer",
                "Sources that were read well at the last attempt.",
                f"sum({_up()})",
            ),
            number(
                "Replicas that do not",
                "Sources that could not be read.",
                f"sum(1 - {_up()})",
                limits=(1, 2),
            ),
            number(
                "Incidents",
                "Incidents that are not over.",
                f"max({own('aiops_incidents_open')})",
                limits=(1, 3),
            ),
            number("Waiting", "Requests admitted but not yet running.", f"sum({total('queue_len')})"),
            number("Running", "Requests in the running batches.", f"sum({total('running')})"),
            number("Tokens out", "Tokens generated a second.", f"sum({total('tokens_out')})"),
        ),
    )


def _up() -> str:
    return f"max by (source) ({_target('aiops_target_up')})"


def _target(metric: str) -> str:
    return own(metric, 'exported_job=~"$watched_job", exported_instance=~"$watched"')


def _saturation() -> Row:
    plateau = Target(series("max_running"), legend(REPLICA, "plateau"), line=True)
    running = signal_panel("running", "Running, and the plateau", note="Dashed: the most that can run at once.")
    return Row(
        "Saturation",
        (
            signal_panel("queue_len", "Waiting"),
            replace(running, targets=(*running.targets, plateau)),
            Panel(
                "Share of the plateau",
                "Running requests as a share of the most that can run at once. At 100 % every further one waits.",
                (Target(f"{series('running')} / ({series('max_running')} > 0)", legend(REPLICA)),),
                "percentunit",
                limits=(0.9, 1),
            ),
            replace(signal_panel("kv_use", "KV cache in use"), limits=(0.9, 0.97)),
            signal_panel("preemptions", "Preemptions"),
            signal_panel("queue_time", "Wait before running", "p95"),
        ),
    )


def _latency() -> Row:
    return Row(
        "Latency",
        (
            signal_panel("ttft", "Time to first token, p95", "p95"),
            signal_panel("itl", "Time between tokens, p95", "p95"),
            signal_panel("e2e", "Whole request, p95", "p95"),
            signal_panel("ttft", "Time to first token, median", "p50"),
            signal_panel("itl", "Time between tokens, median", "p50"),
            signal_panel("probe_ttft", "Time to first token of our own request"),
        ),
    )


def _workload() -> Row:
    reasons = ("finished_stop", "finished_length", "finished_abort", "errors", "rejected")
    return Row(
        "Workload mix",
        (
            Panel(
                "Arrivals and ends",
                "Requests that arrive and that leave, by model. Where more arrive than leave, a queue grows.",
                (
                    Target(total("arrivals"), "{{model_name}} arrive"),
                    Target(total("finished"), "{{model_name}} leave", line=True),
                ),
                "reqps",
            ),
            Panel(
                "How requests end",
                "Requests by the reason of their end; refused ones never began.",
                tuple(Target(f"sum({total(reason)})", reason.removeprefix("finished_")) for reason in reasons),
                "reqps",
                Look.STACK,
            ),
            Panel(
                "Tokens",
                "Prompt tokens processed and tokens generated, by model.",
                (Target(total("tokens_in"), "{{model_name}} in"), Target(total("tokens_out"), "{{model_name}} out")),
                axis="tokens/s",
            ),
            signal_panel("prompt_len", "Prompt length, mean", "mean"),
            signal_panel("gen_len", "Generated length, mean", "mean"),
            signal_panel("prompt_len", "Prompt length, p95", "p95"),
        ),
    )


def _cache() -> Row:
    return Row(
        "Cache",
        (
            signal_panel("prefix_hit", "Prefix cache hits"),
            signal_panel("tokens_cached", "Prompt tokens from a cache"),
            signal_panel("kv_capacity", "KV cache, tokens it holds"),
            signal_panel("spec_accept", "Drafted tokens accepted"),
            signal_panel("batch_tokens", "Tokens of an engine step, mean", "mean"),
        ),
    )


def _gpus() -> Row:
    return Row(
        "GPU health",
        (
            signal_panel("gpu_util", "Time with a kernel", labels=GPU),
            replace(signal_panel("gpu_temp", "Temperature", labels=GPU), limits=(80, 90)),
            signal_panel("gpu_power", "Power", labels=GPU),
            signal_panel("gpu_throttle", "Clocks held back", labels=GPU),
            Panel(
                "Memory in use",
                "Device memory in use as a share of all.",
                (Target(f"{series('gpu_mem_used', '', GPU)} / {series('gpu_mem_total', '', GPU)}", legend(GPU)),),
                "percentunit",
                top=1,
            ),
            signal_panel("gpu_xid", "Xid errors", labels=GPU),
        ),
    )


def _gateways() -> Row:
    return Row(
        "Gateways and pools",
        (
            signal_panel("arrivals", "Arrivals", labels=POOL),
            signal_panel("queue_len", "Waiting", labels=POOL),
            signal_panel("ready", "Replicas able to serve", labels=POOL),
            signal_panel("ttft", "Time to first token, p95", "p95", labels=POOL),
            signal_panel("e2e", "Whole request, p95", "p95", labels=POOL),
            signal_panel("errors", "Errors", labels=POOL),
        ),
        folded=True,
    )


def _sources() -> Row:
    return Row(
        "Sources",
        (
            Panel("Answers", "1 when the last attempt to read the source succeeded.", (Target(_up(), "{{source}}"),),
                  "bool_on_off", width=12, top=1),
            Panel("Time of a reading", "Duration of the last attempt.",
                  (Target(f"max by (source) ({_target('aiops_target_duration_seconds')})", "{{source}}"),), "s",
                  width=12),
        ),
        folded=True,
    )  # fmt: skip
