"""Alerts of others: told in any order and any number of times, placed by their labels, and never for ever."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.detect.base import Severity
from aiops.incidents.alert import Alert, Transition
from aiops.incidents.external import EXTERNAL, MOST_ALERTS, Externals, Fleet, Full, Told
from aiops.incidents.settings import IncidentSettings
from aiops.signals.types import Entity, EntityKind, Labels

NOW = 1_700_000_000.0
SETTINGS = IncidentSettings(external_ttl=3600.0)
REPLICA = Entity.of(EntityKind.REPLICA, job="chat", instance="a:8000", model_name="m")
TARGET = Entity.of(EntityKind.TARGET, job="chat", instance="a:8000")
NODE = Entity.of(EntityKind.NODE, node="n1")
GPU = Entity.of(EntityKind.GPU, node="n1", gpu="GPU-7")
FLEET = Fleet([REPLICA, TARGET, NODE, GPU, Entity.of(EntityKind.TARGET, job="chat", instance="b:8000")])


def told(firing: bool = True, start: float = 0.0, end: float = 0.0, name: str = "f1", **labels: str) -> Told:
    given = {"alertname": "NodeDown", "instance": "a:8000", **labels}
    ended = 0.0 if firing else NOW + end
    return Told(name, tuple(sorted(given.items())), {"summary": "It is down."}, firing, NOW + start, ended)


def take(externals: Externals, *batch: Told, at: float = 0.0, seen: str = "") -> list[Transition]:
    return externals.take(NOW + at, batch, FLEET.place, lambda entity: seen)


def only(externals: Externals) -> Alert:
    (alert,) = externals.alerts.values()
    return alert


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"instance": "a:8000", "job": "chat"}, TARGET),
        ({"instance": "a:8000", "job": "chat", "model_name": "m"}, REPLICA),
        ({"Hostname": "n1", "UUID": "GPU-7", "job": "dcgm"}, GPU),
        ({"node": "n1", "severity": "page"}, NODE),
        ({"instance": "new:1", "job": "chat"}, Entity.of(EntityKind.TARGET, instance="new:1", job="chat")),
        ({"team": "x"}, Entity.of(EntityKind.TARGET, alertname="A")),
    ],
)
def test_labels_find_the_entity_that_they_name(labels: dict[str, str], expected: Entity) -> None:
    pairs: Labels = tuple(sorted({"alertname": "A", **labels}.items()))
    assert FLEET.place(pairs) == expected


def test_an_alert_is_told_opened_and_ended_once() -> None:
    externals = Externals(SETTINGS)
    (began,) = take(externals, told(start=-30.0, severity="page"), at=0.0, seen="ttft is long")
    assert began.began
    alert = only(externals)
    assert (alert.started_at, alert.severity, alert.key.series.signal) == (NOW - 30.0, Severity.CRITICAL, EXTERNAL)
    assert alert.verdict.reason == "Alertmanager says: It is down. Unusual there: ttft is long."
    assert take(externals, told(start=-30.0), told(start=-30.0), at=60.0) == []
    (ended,) = take(externals, told(False, start=-30.0, end=90.0), at=100.0)
    assert ended.ended
    assert only(externals).ended_at == NOW + 90.0
    assert take(externals, told(False, start=-30.0, end=90.0), at=110.0) == []
    assert take(externals, told(start=-30.0), at=120.0) == [], "an old message that is sent again"
    (again,) = take(externals, told(start=200.0), at=201.0)
    assert again.began
    assert take(externals, told(False, start=-30.0, end=90.0), at=210.0) == [], "the end of the life before"


def test_an_end_without_a_beginning_is_no_news() -> None:
    externals = Externals(SETTINGS)
    assert take(externals, told(False, end=5.0), at=10.0) == []
    assert not externals.alerts


def test_what_nobody_repeats_ends_and_is_forgotten() -> None:
    externals = Externals(SETTINGS)
    take(externals, told())
    moves: list[Transition] = []
    for minute in range(60 * 4):
        moves += externals.step(NOW + 60.0 * minute)
        if minute == 30:
            take(externals, told(), at=60.0 * minute)
    ended, forgotten = moves
    assert ended.at == NOW + (30 + 60) * 60.0, "the repetition counted"
    assert forgotten.at == ended.at + 3600.0
    assert not externals.alerts
    assert take(externals, told(start=20_000.0), at=20_000.0), "its place is free again"


def test_a_jump_of_the_clock_ends_nothing() -> None:
    externals = Externals(SETTINGS)
    take(externals, told())
    for now in (NOW, NOW + 86_400.0, NOW - 86_400.0, NOW):
        assert externals.step(now) == []
    assert only(externals).active


def test_a_full_house_takes_nothing_of_a_batch_and_loses_nothing() -> None:
    externals = Externals(SETTINGS)
    take(externals, *(told(name=f"{number:x}") for number in range(MOST_ALERTS - 1)))
    before = dict(externals.alerts)
    with pytest.raises(Full, match="at most"):
        take(externals, told(name="x"), told(name="y"))
    assert dict(externals.alerts) == before
    assert take(externals, told(False, name="0", end=1.0), at=2.0), "an end needs no room"
    assert take(externals, told(name="x"))


def test_a_restart_goes_on() -> None:
    externals = Externals(SETTINGS)
    take(externals, told())
    other = Externals(SETTINGS)
    other.restore(externals.alerts.values())
    assert take(other, told()) == []
    assert take(other, told(False, end=5.0), at=6.0)[0].ended


messages = st.lists(st.tuples(st.sampled_from("ab"), st.booleans(), st.integers(0, 5)), max_size=30)


@given(messages)
def test_any_order_of_messages_leaves_the_newest_life(sent: Sequence[tuple[str, bool, int]]) -> None:
    """Lives of an alert begin at 100·n and end at 100·n + 50; a naive table has the newest of each."""
    externals, lives = Externals(SETTINGS), dict[str, tuple[int, bool]]()
    for name, firing, life in sent:
        message = told(firing, start=100.0 * life, end=100.0 * life + 50.0, name=name)
        take(externals, message, at=10_000.0)
        newest, open_ = lives.get(name, (-1, False))
        if (firing and not open_ and life > newest) or (not firing and open_ and life >= newest):
            lives[name] = (life, firing)
    assert {one.key.series.stat: one.active for one in externals.alerts.values()} == {
        name: open_ for name, (_, open_) in lives.items()
    }
