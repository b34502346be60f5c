"""What statistics say and cost, as metrics."""

from dataclasses import replace

import numpy as np
import pytest

from aiops.app.spending import WEEK_SECONDS, Spending, band_of, score_families
from aiops.detect.bank import BankScores
from aiops.detect.base import AlertKey, Scores, Severity, Verdict
from aiops.incidents.alert import Alert, AlertState, Reason, ReasonKind, Transition
from aiops.signals.telemetry import Family
from aiops.signals.types import Entity, EntityKind, SeriesKey

REPLICA = Entity.of(EntityKind.REPLICA, instance="a")
TTFT, RUNNING = SeriesKey(REPLICA, "ttft", "p95"), SeriesKey(REPLICA, "running")
NAN = float("nan")


def moved(at: float, expected: float = 1.0, before: AlertState = AlertState.PENDING) -> Transition:
    verdict = Verdict("Slow", Severity.WARNING, 2.0, 5.0, "slow", "5 s", expected=expected)
    alert = Alert(AlertKey("Slow", TTFT), AlertState.FIRING, at, at, verdict=verdict)
    return Transition(at, before, alert, Reason(ReasonKind.ENOUGH_BREACHES, "enough"))


def values(families: list[Family], name: str) -> list[float]:
    return [value for family in families if family.name == name for _, value in family.samples]


def test_statistical_alerts_are_counted_when_they_begin() -> None:
    spending = Spending(since=0.0)
    spending.take([moved(10.0), moved(20.0, expected=NAN), moved(30.0, before=AlertState.RESOLVING)])
    assert spending.total == 1
    assert np.isnan(spending.per_week(600.0)), "ten minutes make no rate"
    assert spending.per_week(WEEK_SECONDS / 7) == pytest.approx(7)
    assert spending.per_week(WEEK_SECONDS + 5.0) == 1
    assert spending.per_week(WEEK_SECONDS + 11.0) == 0


def test_a_new_process_goes_on_from_the_archive() -> None:
    spending = Spending(since=WEEK_SECONDS)
    spending.restore([moved(WEEK_SECONDS * 0.9), moved(WEEK_SECONDS * 0.5), moved(5.0, expected=NAN)])
    assert spending.per_week(WEEK_SECONDS) == pytest.approx(4)
    assert spending.total == 0, "a counter begins at 0"


def test_asked_stands_beside_spent() -> None:
    spending = Spending(since=0.0)
    spending.take([moved(10.0)])
    families = list(spending.families(WEEK_SECONDS, 3.0, 40))
    assert values(families, "aiops_alert_budget_asked_per_week") == [3]
    assert values(families, "aiops_alert_budget_fired_per_week") == [1]
    assert values(families, "aiops_alert_budget_series") == [40]
    assert values(list(spending.families(60.0, 3.0, 40)), "aiops_alert_budget_fired_per_week") == []


@pytest.fixture
def scores() -> BankScores:
    def row(*numbers: float) -> np.ndarray:
        return np.array(numbers, np.float32)

    ensemble = Scores(row(0.5, 2.0, NAN), row(1, 2, NAN), row(-np.inf, 1, NAN), row(3, 4, NAN))
    votes = {"zscore": row(0.5, 2.0, NAN), "peers": row(NAN, 0.25, NAN)}
    learning, watched = np.array([False, False, True]), np.array([True, False, False])
    return BankScores(0.0, (TTFT, RUNNING, None), ensemble, votes, learning, row(1, 1, NAN), watched)


def test_bands_of_watched_series_are_shown(scores: BankScores) -> None:
    families = {family.name: family.samples for family in score_families(scores)}
    labels = {"instance": "a", "kind": "replica", "signal": "ttft", "stat": "p95"}
    assert families["aiops_anomaly_score"] == [(labels, 0.5)]
    assert families["aiops_anomaly_upper"] == [(labels, 3)]
    assert families["aiops_anomaly_lower"] == [], "there is no bound"
    assert families["aiops_anomaly_vote"] == [({**labels, "detector": "zscore"}, 0.5)]
    assert families["aiops_anomaly_learning"] == [(labels, 0)]
    assert not any(family.samples for family in score_families(None))


def test_a_band_belongs_to_its_series(scores: BankScores) -> None:
    assert band_of(scores, 1, RUNNING).votes == {"zscore": 2.0, "peers": 0.25}
    for wrong in (band_of(scores, 0, RUNNING), band_of(scores, 7, RUNNING), band_of(None, 0, TTFT)):
        assert np.isnan(wrong.score)
        assert not wrong.votes
    young = replace(scores, learning=np.array([True, False, False]))
    assert band_of(young, 0, TTFT).learning
