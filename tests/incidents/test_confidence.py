"""Rules say it, statistics raise or lower it."""

import math
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.detect.base import AlertKey, Severity, Standing, Verdict
from aiops.incidents.alert import Alert, AlertState
from aiops.incidents.confidence import confidence
from aiops.signals.types import Entity, EntityKind, SeriesKey

REPLICA = Entity.of(EntityKind.REPLICA, instance="a:1")
BUDGETS = frozenset({"LLMErrorBudgetBurn"})


def alert(rule: str, severity: Severity = Severity.WARNING, votes: Mapping[str, float] | None = None) -> Alert:
    verdict = Verdict(rule, severity, 1.0, 0.0, summary="s", reason="r", votes=votes or {})
    return Alert(AlertKey(rule, SeriesKey(REPLICA, "running")), AlertState.FIRING, 1.0, 1.0, verdict)


STUCK = alert("EngineStuck", Severity.CRITICAL)
QUEUE = alert("QueueSaturated")
ANOMALY = alert("LLMQueueLengthAnomalous", votes={"zscore": 2.0, "arima": 0.4})
BURN = alert("LLMErrorBudgetBurn", Severity.CRITICAL)


def test_who_says_it_weighs() -> None:
    ratios = [confidence([one], BUDGETS, {}).ratio for one in (BURN, STUCK, QUEUE, ANOMALY)]
    assert ratios == pytest.approx([0.95, 0.9, 0.6, 0.15])
    assert confidence([alert("A", votes={"zscore": 2.0, "arima": 1.4})], BUDGETS, {}).ratio == pytest.approx(0.3)


def test_statistics_raise_it_and_lower_it() -> None:
    alone, raised, lowered, few = (
        confidence([QUEUE], BUDGETS, spreads)
        for spreads in ({}, {REPLICA: Standing(9, 2, 7)}, {REPLICA: Standing(12, 0, 9)}, {REPLICA: Standing(9, 0, 2)})
    )
    assert lowered.ratio < alone.ratio < raised.ratio
    assert few == alone, "two series within their bands say nothing"
    assert raised.reasons == ("QueueSaturated: a rule is broken", "2 of 9 series there are outside their bands: raised")
    assert lowered.reasons[-1] == "none of 9 series there is outside its band: lowered"
    assert confidence([ANOMALY, QUEUE], BUDGETS, {}).ratio == pytest.approx(1 - 0.4 * 0.85)


def test_a_hundred_members_of_one_rule_are_one_kind_of_evidence() -> None:
    assert confidence([QUEUE] * 100, BUDGETS, {}).ratio == pytest.approx(0.6)


def test_without_members_nothing_is_known() -> None:
    assert math.isnan(confidence([], BUDGETS, {REPLICA: Standing(12, 0, 9)}).ratio)


@given(st.lists(st.sampled_from([STUCK, QUEUE, ANOMALY, BURN]), min_size=1), st.integers(0, 9), st.integers(0, 9))
def test_it_is_a_share_and_more_evidence_is_never_less(members: list[Alert], judged: int, outside: int) -> None:
    spreads = {REPLICA: Standing(20, outside, judged)}
    ratio = confidence(members, BUDGETS, spreads).ratio
    assert 0.0 < ratio <= 1.0
    rules = [*members, STUCK]
    assert confidence([*rules, BURN], BUDGETS, spreads).ratio >= confidence(rules, BUDGETS, spreads).ratio
