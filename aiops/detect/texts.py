"""What a person is told about rules, and why a series is out of bounds."""

import numpy as np

from aiops.detect.base import RuleText, Timing
from aiops.detect.condition import Operand
from aiops.detect.policy import Watch
from aiops.detect.rules import Rule
from aiops.signals.catalog import SIGNALS
from aiops.signals.types import SeriesKey


def reason(key: SeriesKey, value: float, band: tuple[float, float, float], score: float) -> str:
    """Why a series is out of its ``band`` (expected, lower, upper), with the numbers."""
    expected, lower, upper = band
    signal = SIGNALS.get(key.signal)
    unit = "" if signal is None or key.stat == "rate" or signal.unit in ("ratio", "state") else f" {signal.unit}"
    name = f"{key.signal}:{key.stat}" if key.stat else key.signal
    bounds = (
        f"{'no bound' if np.isinf(lower) else f'{lower:.4g}'} to {'no bound' if np.isinf(upper) else f'{upper:.4g}'}"
    )
    return (
        f"{name} = {value:.4g}{unit}, expected {expected:.4g} (band {bounds}); {score:.1f} times the allowed distance"
    )


def text_of_rule(rule: Rule) -> RuleText:
    """Text of a deterministic rule."""
    return RuleText(
        rule.name,
        rule.severity,
        rule.timing(),
        rule.summary,
        rule.description,
        rule.runbook,
        condition="" if rule.when is None else rule.when.text,
        look_alikes=rule.look_alikes,
        signals=() if rule.when is None else tuple(map(str, rule.when.operands)),
    )


def text_of_watch(watch: Watch, otherwise: Timing) -> RuleText:
    """Text of a statistical rule; ``otherwise`` is the timing of those that have none of their own."""
    timing = otherwise if watch.timing is None else watch.timing.timing()
    return RuleText(
        watch.rule,
        watch.severity,
        timing,
        watch.summary,
        watch.description,
        watch.runbook,
        signals=tuple(str(Operand(watch.signal, stat)) for stat in watch.stats),
    )
