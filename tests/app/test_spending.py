"""What statistics say and cost, as metrics."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiops.app.spending import MOST_KEPT, WEEK_SECONDS, Spending, band_of, score_families
from aiops.detect.bank import BankScores
from aiops.detect.base import AlertKey, Scores, Severity, Timing, Verdict, Verdicts
from aiops.incidents.alert import Alert, AlertState, Reason, ReasonKind, Transition
from aiops.incidents.machine import Machine
from aiops.incidents.settings import IncidentSettings
from aiops.signals.telemetry import Family
from aiops.signals.types import Entity, EntityKind, SeriesKey
from aiops.store.journal import Journal
from aiops.store.view import ArchiveView

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


@pytest.fixture
def folder(tmp_path: Path) -> Iterator["Folder"]:
    folder = Folder(tmp_path)
    yield folder
    folder.journal.close()


class Folder:
    """An archive, and what a new process learns from it."""

    def __init__(self, path: Path) -> None:
        self.view = ArchiveView(path / "a.sqlite")
        self.journal = Journal(path / "a.sqlite", retention_seconds=1e10, max_bytes=10**9)
        self.journal.start()

    def save(self, transitions: Iterable[Transition]) -> None:
        self.journal.save(transitions=transitions)
        assert self.journal.flush(10), "the backlog does not hold what two of these may be"

    def started(self, now: float) -> Spending:
        assert self.journal.flush(10)
        spending = Spending(since=now)
        spending.restore(self.view, now)
        return spending


def test_a_new_process_goes_on_from_the_archive(folder: Folder) -> None:
    now = 2 * WEEK_SECONDS
    folder.save([moved(5.0, expected=NAN), moved(1.5 * WEEK_SECONDS), moved(1.9 * WEEK_SECONDS)])
    folder.save(moved(1.95 * WEEK_SECONDS, before=AlertState.RESOLVING) for _ in range(MOST_KEPT))
    spending = folder.started(now)
    assert spending.per_week(now) == 2, "what only moves to and fro takes no place"
    assert spending.total == 0, "a counter begins at 0"


def test_the_rate_is_that_of_the_time_that_somebody_watched(folder: Folder) -> None:
    assert np.isnan(folder.started(WEEK_SECONDS).per_week(WEEK_SECONDS))
    folder.save([moved(WEEK_SECONDS / 2, expected=NAN), moved(0.9 * WEEK_SECONDS)])
    assert folder.started(WEEK_SECONDS).per_week(WEEK_SECONDS) == pytest.approx(2)


@given(st.lists(st.tuples(st.sets(st.sampled_from("abc")), st.integers(0, 9)), max_size=40))
@settings(max_examples=20, deadline=None)
def test_a_kill_at_any_moment_counts_neither_twice_nor_not_at_all(ticks: list[tuple[set[str], int]]) -> None:
    """Of a tick with a 0 the process does not live to write anything; the next goes on from what is on disk."""
    with TemporaryDirectory() as path:
        folder = Folder(Path(path))
        timing = Timing(2, 3, 1, 2)
        machine, spending, now = Machine(lambda rule: timing, IncidentSettings(flap_limit=99)), Spending(0.0), 0.0
        for names, life in ticks:
            now += 60.0
            keys = [AlertKey("Slow", SeriesKey(REPLICA, "ttft", name)) for name in sorted(names)]
            verdict = moved(0.0).alert.verdict
            moves = machine.step(now, Verdicts(dict.fromkeys(keys, verdict)))
            if life:
                spending.take(moves)
                folder.save(moves)
                continue
            spending = folder.started(now)
            machine = Machine(lambda rule: timing, IncidentSettings(flap_limit=99))
            machine.restore(folder.view.load_alerts(), now)
        assert folder.journal.flush(10)
        began = [move for move in reversed(folder.view.recent_transitions(10**6)) if move.began]
        assert list(spending._fired) == list(folder.started(now)._fired) == [move.at for move in began]
        for alert in machine.alerts.values():
            occurrence = alert.key, alert.started_at
            same = [move for move in began if (move.alert.key, move.alert.started_at) == occurrence]
            assert len(same) == 1 or not alert.active, "what stands was counted once"
        folder.journal.close()


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
