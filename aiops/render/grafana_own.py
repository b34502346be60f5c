"""Building blocks of boards that read the daemon's own ``/metrics``.

They expect it scraped as usual, without ``honor_labels``: then ``job`` and ``instance`` are the daemon's, and what it
watches stands in ``exported_job`` and ``exported_instance``. Two daemons that watch the same fleet show it once.
"""

from collections.abc import Sequence

from aiops.render.grafana import MATCH, RATE, Look, Panel, Target, Variable
from aiops.signals.catalog import SIGNALS
from aiops.signals.telemetry import exported_name

OWN = "aiops_build_info"
"""Stands on the page of every daemon."""
WATCHED = f'{MATCH}, exported_job=~"$watched_job", exported_instance=~"$watched"'
REPLICA = ("exported_instance", "model_name")
POOL = ("exported_instance", "application", "deployment", "inference_pool", "model_name")
GPU = ("node", "gpu", "mig")
_JOB = f"aiops_target_up{{{MATCH}}}"
VARIABLES = (
    Variable("watched_job", "Watched job", "exported_job", _JOB, ".*"),
    Variable(
        "watched", "Replica", "exported_instance", f'aiops_target_up{{{MATCH}, exported_job=~"$watched_job"}}', ".*"
    ),
    Variable("model", "Model", "model_name", f"aiops_signal_running{{{MATCH}}}", ".*"),
)
UNITS = {
    "seconds": ("s", ""), "bytes": ("bytes", ""), "ratio": ("percentunit", ""), "celsius": ("celsius", ""),
    "watts": ("watt", ""), "hertz": ("hertz", ""), "tokens/s": ("short", "tokens/s"), "requests/s": ("reqps", ""),
    "events/s": ("eps", ""), "bytes/s": ("Bps", ""), "usd/s": ("currencyUSD", "USD/s"),
}  # fmt: skip
"""Unit of a signal → unit id of Grafana, and the name on the axis."""


def unit(signal: str, stat: str = "") -> tuple[str, str]:
    """Unit id and axis of a signal."""
    if stat == "rate":
        return UNITS["events/s"]
    return UNITS.get(SIGNALS[signal].unit, ("short", SIGNALS[signal].unit))


def legend(labels: Sequence[str], suffix: str = "") -> str:
    """Format of a legend: the labels side by side."""
    return " ".join([*(f"{{{{{label}}}}}" for label in labels), suffix]).strip()


def own(metric: str, extra: str = "") -> str:
    """Selector of a metric about the daemon itself."""
    return f"{metric}{{{MATCH}{', ' if extra else ''}{extra}}}"


def series(signal: str, stat: str = "", labels: Sequence[str] = REPLICA) -> str:
    """A signal with one series for each combination of ``labels``."""
    return f"max by ({', '.join(labels)}) ({_select(signal, stat, labels)})"


def total(signal: str, stat: str = "", by: Sequence[str] = ("model_name",)) -> str:
    """A signal of the replicas added up."""
    return f"sum by ({', '.join(by)}) ({series(signal, stat)})"


def _select(signal: str, stat: str, labels: Sequence[str]) -> str:
    kind = {GPU: "gpu", POOL: "pool"}.get(tuple(labels), "replica")
    where = MATCH if kind == "gpu" else WATCHED
    if kind != "gpu":
        where += ', model_name=~"$model"'
    return f'{exported_name(SIGNALS[signal])}{{{where}, kind="{kind}", stat="{stat}"}}'


def signal_panel(
    signal: str, title: str, stat: str = "", *, labels: Sequence[str] = REPLICA, width: int = 8, note: str = ""
) -> Panel:
    """One signal, one line each."""
    grafana_unit, axis = unit(signal, stat)
    meaning = SIGNALS[signal].meaning
    return Panel(
        title=title,
        description=f"{meaning} {_STATS[stat]}{note}".strip(),
        targets=(Target(series(signal, stat, labels), legend(labels)),),
        unit=grafana_unit,
        axis=axis,
        width=width,
        top=1.0 if SIGNALS[signal].high == 1.0 and grafana_unit == "percentunit" else None,
    )


_STATS = {
    "": "", "mean": "Mean. ", "p50": "Median. ", "p95": "95 of 100 are faster or smaller. ",
    "p99": "99 of 100 are faster or smaller. ", "rate": "How many a second. ",
}  # fmt: skip


def number(
    title: str, description: str, expr: str, *, unit: str = "short", limits: tuple[float, ...] | None = None
) -> Panel:
    """One figure in large type."""
    return Panel(title, description, (Target(expr, ""),), unit, Look.NUMBER, width=4, height=4, limits=limits)


def rate(metric: str, extra: str = "") -> str:
    """Increase per second of one of the daemon's counters."""
    return f"rate({own(metric, extra)}[{RATE}])"
