"""Alerts of one place and one time are one incident."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.detect.base import AlertKey, Severity, Timing, Verdict, Verdicts
from aiops.incidents.alert import Alert, Incident
from aiops.incidents.grouping import Grouping
from aiops.incidents.machine import Machine
from aiops.incidents.settings import IncidentSettings
from aiops.signals.types import Entity, EntityKind, SeriesKey

START = 1_700_000_100.0
SETTINGS = IncidentSettings(flap_limit=100)


def key(rule: str, **labels: str) -> AlertKey:
    return AlertKey(rule, SeriesKey(Entity.of(EntityKind.REPLICA, **labels), "queue_len"))


QUEUE = key("QueueGrows", pool="chat", job="vllm", instance="a:8000")
LATENCY = key("FirstTokenSlow", pool="chat", job="vllm", instance="b:8000")
ELSEWHERE = key("QueueGrows", pool="embed", job="vllm", instance="c:8000")
KEYS = (QUEUE, LATENCY, ELSEWHERE)
XID = AlertKey("GpuXidFatal", SeriesKey(Entity.of(EntityKind.GPU, gpu="GPU-1", node="a"), "gpu_xid"))
WINDOW = tuple(each.series for each in KEYS)


def severity_of(alert: AlertKey) -> Severity:
    return Severity.CRITICAL if alert in (LATENCY, XID) else Severity.WARNING


class Story:
    """A machine that fires and resolves at once, with its grouping."""

    def __init__(self, settings: IncidentSettings = SETTINGS) -> None:
        self.machine = Machine(lambda rule: Timing(1, 1, 1, 1), settings)
        self.grouping = Grouping(settings)

    def wait(self, seconds: float, until: float, *breaching: AlertKey) -> None:
        """Steps of ten seconds, as a daemon makes them: no step ages anything by more than a minute."""
        for at in range(int(seconds), int(until), 10):
            self.step(at, *breaching)

    def step(self, seconds: float, *breaching: AlertKey) -> list[Incident]:
        now = START + seconds
        verdicts = {
            k: Verdict(k.rule, severity_of(k), 2.0, 1.0, summary=f"{k.rule} summary", reason="why") for k in breaching
        }
        self.machine.step(now, Verdicts(verdicts))
        changed = self.grouping.step(now, self.machine.alerts, WINDOW)
        self.machine.assign(changed)
        return changed


def test_alerts_of_one_place_join_one_incident_told_by_the_worst() -> None:
    story = Story()
    (opened,) = story.step(0, QUEUE)
    assert (opened.title, opened.severity, opened.members) == ("QueueGrows summary", Severity.WARNING, (QUEUE,))
    assert opened.started_at == START
    (joined,) = story.step(5, QUEUE, LATENCY)
    assert joined.id == opened.id
    assert (joined.title, joined.severity) == ("FirstTokenSlow summary", Severity.CRITICAL)
    assert joined.members == (QUEUE, LATENCY)
    assert {alert.incident for alert in story.machine.alerts.values()} == {opened.id}
    assert story.step(10, LATENCY) == [], "one member resolved, another still fires"
    (ended,) = story.step(15)
    assert (ended.id, ended.ended_at, ended.severity) == (opened.id, START + 15, Severity.CRITICAL)


def test_another_place_is_another_incident() -> None:
    first, second = Story().step(0, QUEUE, ELSEWHERE)
    assert first.id != second.id


def test_the_same_alert_again_within_the_flap_window_reopens_the_incident() -> None:
    story = Story()
    (opened,) = story.step(0, QUEUE)
    story.step(5)
    (again,) = story.step(300, QUEUE)
    assert (again.id, again.open, again.started_at) == (opened.id, True, START)
    story.step(305)
    (other,) = story.step(400, LATENCY)
    assert other.id != opened.id, "not a member: a new story"


def test_after_the_flap_window_it_is_a_new_incident() -> None:
    story = Story()
    (opened,) = story.step(0, QUEUE)
    story.wait(5, SETTINGS.flap_window + 20)
    assert not story.grouping.incidents
    (new,) = story.step(SETTINGS.flap_window + 25, QUEUE)
    assert new.id != opened.id


@pytest.mark.parametrize("jump", [3600.0, -3600.0, 1e8])
def test_a_clock_that_jumps_neither_forgets_nor_splits(jump: float) -> None:
    story = Story()
    (opened,) = story.step(0, QUEUE)
    (joined,) = story.step(jump + 5, QUEUE, LATENCY)
    assert joined.id == opened.id
    story.step(jump + 10)
    (again,) = story.step(2 * jump + 15, QUEUE)
    assert again.id == opened.id


def test_a_gpu_and_the_pool_that_its_host_serves_are_one_story() -> None:
    """The pool tells first, then the GPU, then a replica of the pool on another host."""
    story = Story()
    (opened,) = story.step(0, QUEUE)
    (joined,) = story.step(5, QUEUE, XID)
    assert joined.id == opened.id
    assert (joined.title, joined.severity) == ("GpuXidFatal summary", Severity.CRITICAL)
    (joined,) = story.step(10, QUEUE, XID, LATENCY)
    assert joined.members == (QUEUE, XID, LATENCY)


def test_what_begins_much_later_is_another_story() -> None:
    story = Story()
    (opened,) = story.step(0, QUEUE)
    story.wait(10, SETTINGS.join_window + 20, QUEUE)
    (other,) = story.step(SETTINGS.join_window + 30, QUEUE, LATENCY)
    assert other.id != opened.id
    (joined,) = story.step(SETTINGS.join_window + 40, QUEUE, LATENCY, XID)
    assert joined.id == other.id, "the older one is not joined any more"


def storm(count: int) -> list[AlertKey]:
    return [key("TargetDown", job=f"job-{n}", instance=f"h{n}:1") for n in range(count)]


def test_a_storm_is_few_incidents_and_loses_nobody() -> None:
    story, alerts = Story(), storm(1000)
    opened = story.step(0, *alerts)
    assert len(opened) == SETTINGS.storm_incidents
    assert sorted(each.series.entity.label("job") for one in opened for each in one.members) == sorted(
        each.series.entity.label("job") for each in alerts
    )
    assert {alert.incident for alert in story.machine.alerts.values()} == {one.id for one in opened}
    (first,) = story.step(5, *alerts, QUEUE)
    assert first.id == opened[0].id
    ended = story.step(10)
    assert {one.id for one in ended} == {one.id for one in opened}
    assert not any(one.open for one in ended)


def test_a_storm_goes_on_when_its_first_incident_is_over() -> None:
    story, alerts = Story(), storm(12)
    opened = story.step(0, *alerts[:10])
    story.step(5, *alerts[1:10])
    (joined,) = story.step(10, *alerts[1:11])
    assert joined.id == opened[1].id


def test_after_a_storm_incidents_open_again() -> None:
    story, alerts = Story(), storm(50)
    story.step(0, *alerts)
    story.wait(10, SETTINGS.storm_window + 20, *alerts)
    (opened,) = story.step(SETTINGS.storm_window + 30, *alerts, QUEUE)
    assert opened.members == (QUEUE,)


def test_a_thousand_alerts_of_one_pool_are_one_incident() -> None:
    story = Story()
    alerts = [key("TargetDown", pool="chat", job="vllm", instance=f"h{n}:1") for n in range(1000)]
    (opened,) = story.step(0, *alerts)
    assert len(opened.members) == 1000


def test_two_daemons_agree_on_the_id() -> None:
    (one,), (two,) = Story().step(0, QUEUE), Story().step(4, QUEUE)
    assert one.id == two.id
    assert len(one.id) == 12


def test_a_restart_goes_on_and_finds_a_lost_incident_again() -> None:
    story, after = Story(), Story()
    (opened,) = story.step(0, QUEUE)
    after.machine.restore(story.machine.alerts.values())
    after.grouping.restore(story.grouping.incidents.values())
    assert after.step(60, QUEUE) == []
    lost = Story()
    lost.machine.restore(story.machine.alerts.values())
    (found,) = lost.step(60, QUEUE)
    assert (found.id, found.started_at) == (opened.id, opened.started_at)


def test_an_incident_whose_alerts_are_gone_ends() -> None:
    story, after = Story(), Story()
    story.step(0, QUEUE)
    after.grouping.restore(story.grouping.incidents.values())
    (ended,) = after.step(60)
    assert not ended.open


@given(st.lists(st.tuples(st.sets(st.sampled_from(KEYS)), st.sampled_from([5.0, 600.0, 2000.0, -3600.0])), max_size=30))
def test_every_firing_alert_has_exactly_one_open_incident(ticks: list[tuple[set[AlertKey], float]]) -> None:
    story, seconds = Story(), 0.0
    for breaching, step in ticks:
        seconds += step
        story.step(seconds, *(key for key in KEYS if key in breaching))
        open_ones = [incident for incident in story.grouping.incidents.values() if incident.open]
        alerts: list[Alert] = [alert for alert in story.machine.alerts.values() if alert.active]
        for alert in alerts:
            homes = [incident.id for incident in open_ones if alert.key in incident.members]
            assert homes == [alert.incident]
        assert all(any(alert.incident == incident.id for alert in alerts) for incident in open_ones)
