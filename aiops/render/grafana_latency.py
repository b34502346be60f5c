"""Where the time of a request goes, across engines: queue, prefill, decode, and what is left."""

from dataclasses import replace

from aiops.render.grafana import Board, Look, Panel, Row, Target
from aiops.render.grafana_own import OWN, VARIABLES, series, signal_panel

_STAGES = ("queue_time", "prefill_time", "decode_time")


def latency() -> Board:
    """Latency decomposition."""
    return Board(
        uid="aiops-latency",
        title="aiops / latency",
        about="Where the time of a request goes: waiting, prefill, decode.",
        source=OWN,
        variables=VARIABLES,
        rows=(_stack(), _first_token(), _tokens(), _whole(), _probe()),
    )


def mean(signal: str) -> str:
    """Mean of a distribution over the chosen replicas, each weighted by how many requests it had.

    A replica without requests has no mean (not 0) and no weight.
    """
    value, weight = series(signal, "mean"), series(signal, "rate")
    both = f"({weight} > 0)"
    return f"sum by (model_name) ({value} * {both}) / sum by (model_name) ({both} and {value})"


def _stack() -> Row:
    stages = tuple(Target(mean(name), f"{{{{model_name}}}} {name.removesuffix('_time')}") for name in _STAGES)
    whole = Target(mean("e2e"), "{{model_name}} whole request", line=True)
    known = " + ".join(f"({mean(name)})" for name in _STAGES)
    shares = tuple(
        Target(f"({mean(name)}) / ({known})", f"{{{{model_name}}}} {name.removesuffix('_time')}") for name in _STAGES
    )
    about = "Means add up as quantiles do not. Replicas are weighted by their requests."
    return Row(
        "Queue, prefill, decode",
        (
            Panel(
                "Mean time of a request, by stage",
                f"Stages on top of each other; dashed: the whole request as measured. {about}",
                (*stages, whole),
                "s",
                Look.STACK,
                width=16,
                height=10,
            ),
            Panel(
                "Share of each stage",
                f"Waiting says: more replicas. Prefill says: long prompts. Decode says: long answers. {about}",
                shares,
                "percentunit",
                Look.STACK,
                height=10,
                top=1,
            ),
            Panel(
                "Running instead of prefill and decode",
                "For engines that do not tell prefill from decode: waiting, running, and the whole request.",
                (
                    Target(mean("queue_time"), "{{model_name}} queue"),
                    Target(mean("service_time"), "{{model_name}} running"),
                    whole,
                ),
                "s",
                Look.STACK,
                width=24,
            ),
        ),
    )


def _quantiles(signal: str, title: str) -> tuple[Panel, ...]:
    return tuple(signal_panel(signal, f"{title}, {stat}", stat) for stat in ("p50", "p95", "p99"))


def _first_token() -> Row:
    explained = Panel(
        "First token: waiting and prefill",
        "The mean time to the first token should be the wait and the prefill. What is above them is neither: "
        "tokenisation, the network, or the event loop of the server.",
        (
            Target(mean("queue_time"), "{{model_name}} queue"),
            Target(mean("prefill_time"), "{{model_name}} prefill"),
            Target(mean("ttft"), "{{model_name}} first token", line=True),
        ),
        "s",
        Look.STACK,
        width=24,
    )
    return Row("First token", (explained, *_quantiles("ttft", "Time to first token")))


def _tokens() -> Row:
    batch = signal_panel("running", "Running", note="Time between tokens grows with the batch.")
    return Row(
        "Further tokens",
        (*_quantiles("itl", "Time between tokens"),
         signal_panel("tpot", "Time per token of a request, p95", "p95"), batch,
         signal_panel("batch_tokens", "Tokens of an engine step, mean", "mean")),
    )  # fmt: skip


def _whole() -> Row:
    lengths = replace(signal_panel("gen_len", "Generated length, mean", "mean"), height=8)
    return Row(
        "Whole request",
        (*_quantiles("e2e", "Whole request"), *_quantiles("queue_time", "Wait before running"),
         signal_panel("prefill_time", "Time in prefill, p95", "p95"),
         signal_panel("decode_time", "Time in decode, p95", "p95"), lengths),
        folded=True,
    )  # fmt: skip


def _probe() -> Row:
    return Row(
        "Our own requests",
        (
            signal_panel("probe_ttft", "Time to first token of our own request"),
            signal_panel("probe_itl", "Time between tokens of our own request"),
            signal_panel("probe_e2e", "Our own request"),
            signal_panel("probe_up", "Our own request is answered"),
        ),
        folded=True,
    )
