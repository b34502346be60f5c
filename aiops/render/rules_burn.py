"""Error budgets by the multi-window method: a long window says that it matters, a short one that it is still so.

Rates of five minutes are recorded per model; longer windows are averages of those, weighted by what happened in them:
sum of the bad over sum of all. That reads one series per model where buckets of all replicas over three days would be
read otherwise, and a replica that is gone leaves its share behind.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiops.render.rules_pack import Burn, Objective, Pack
from aiops.render.rules_promql import Writer, first, inside

Rule = dict[str, Any]
_BASE = "5m"
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(window: str) -> int:
    """Length of a window such as ``30m``."""
    return int(window[:-1]) * _SECONDS[window[-1]]


def bad(objective: Objective) -> str:
    """Recorded rate of what is bad."""
    return f"model:llm_{objective.name}_bad:rate{_BASE}"


def total(objective: Objective) -> str:
    """Recorded rate of everything."""
    return f"model:llm_{objective.name}_total:rate{_BASE}"


def ratio(objective: Objective, window: str) -> str:
    """Recorded share of the bad in a window."""
    return f"model:llm_{objective.name}_bad:ratio_rate{window}"


def rate_records(writer: Writer, objectives: Iterable[Objective]) -> list[Rule]:
    """Records of one engine: all that happened, and how much of it was bad; none where it cannot show one of them."""
    found: list[Rule] = []
    for objective in objectives:
        everything, wrong = (_slow if objective.signal else _failed)(writer, objective)
        if everything and wrong:
            found.append({"record": total(objective), "expr": everything})
            found.append({"record": bad(objective), "expr": wrong})
    return found


def _slow(writer: Writer, objective: Objective) -> tuple[str, str]:
    sources = writer.histograms(objective.signal)
    everything = first([writer.observed(source, _BASE) for source in sources])
    fast = first([writer.within(source, objective.threshold_seconds, _BASE) for source in sources])
    # The rates of a bucket and of the count may differ by rounding: never below 0.
    return everything, f"clamp_min({total(objective)} - {inside(fast)}, 0)" if fast else ""


def _failed(writer: Writer, objective: Objective) -> tuple[str, str]:
    failures = writer.model_rate((objective.bad,), _BASE)
    everything = writer.model_rate(objective.total, _BASE)
    # Many counters of failures are born with the first failure: until then there are none. The record of the total
    # would not do here: it is also filled by other engines, whose failures would be written over.
    return everything or "", first([failures, f"0 * {inside(everything)}"]) if failures and everything else ""


def window_records(pack: Pack) -> list[Rule]:
    """Share of the bad in every window that an alert looks at."""
    windows = sorted({window for burn in pack.burns for window in (burn.long, burn.short)}, key=seconds)
    found = []
    for objective in pack.objectives:
        for window in windows:
            parts = [bad(objective), total(objective)]
            if window != _BASE:
                parts = [f"avg_over_time({part}[{window}])" for part in parts]
            found.append({"record": ratio(objective, window), "expr": f"{parts[0]}\n/\n{parts[1]}"})
    return found


def burn_alerts(pack: Pack, runbooks: Mapping[str, str]) -> list[Rule]:
    """One alert per objective and pair of windows; ``runbooks`` maps a slug to an address."""
    return [_burn_alert(objective, burn, runbooks) for objective in pack.objectives for burn in pack.burns]


def _burn_alert(objective: Objective, burn: Burn, runbooks: Mapping[str, str]) -> Rule:
    limit = f"({burn.factor:g} * {1 - objective.objective:.6g})"
    # Nothing is judged by a handful of requests.
    volume = f"avg_over_time({total(objective)}[{burn.long}]) * {seconds(burn.long)} >= {objective.least_events}"
    conditions: Sequence[str] = [
        f"{ratio(objective, burn.long)} > {limit}",
        f"{ratio(objective, burn.short)} > {limit}",
        volume,
    ]
    spent = f"{burn.factor:g} times as fast as it may be spent"
    return {
        "alert": objective.alert,
        "expr": "\nand\n".join(conditions),
        "for": burn.for_,
        "labels": {"severity": str(burn.severity), "long": burn.long, "short": burn.short},
        "annotations": {
            "summary": objective.summary,
            "description": f"{objective.description} For {burn.long} the error budget has been spent at least {spent}; "
            f"{{{{ $value | humanizePercentage }}}} of it was bad, allowed is {1 - objective.objective:.3g}.",
            "runbook_url": runbooks[objective.runbook],
        },
    }
