"""Alerts of one place and one time are one incident."""

from collections.abc import Iterable

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


def severity_of(alert: AlertKey) -> Severity:
    return Severity.CRITICAL if alert in (LATENCY, XID) else Severity.WARNING


class Story:
    """A machine that fires and resolves at once, with its grouping."""

    def __init__(self, settings: IncidentSettings = SETTINGS) -> None:
        self.machine = Machine(lambda rule: Timing(1, 1, 1, 1), settings)
        self.grouping = Grouping(settings)
        self.seen: dict[str, Incident] = {}

    def wait(self, seconds: float, until: float, *breaching: AlertKey) -> None:
        """Steps of ten seconds, as a daemon makes them: no step ages anything by more than a minute."""
        for at in range(int(seconds), int(until), 10):
            self.step(at, *breaching)

    def step(self, seconds: float, *breaching: AlertKey, window: Iterable[AlertKey] = KEYS) -> list[Incident]:
        now = START + seconds
        verdicts = {
            k: Verdict(k.rule, severity_of(k), 2.0, 1.0, summary=f"{k.rule} summary", reason="why") for k in breaching
        }
        self.machine.step(now, Verdicts(verdicts))
        changed = self.grouping.step(now, self.machine.alerts, [each.series for each in window])
        self.machine.assign(changed)
        self.seen |= {one.id: one for one in changed}
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


def test_what_a_timer_starts_on_the_quarter_hour_has_one_id_however_the_clocks_differ() -> None:
    assert START % SETTINGS.flap_window == 0.0
    names = {Story().step(seconds, QUEUE)[0].id for seconds in (-440, -3, 0, 3, 440)}
    assert len(names) == 1
    assert Story().step(460, QUEUE)[0].id not in names


POOLS = {
    "chat": (
        AlertKey("FirstTokenSlow", SeriesKey(Entity.of(EntityKind.POOL, pool="chat", model_name="m"), "ttft", "p95")),
        key("EngineStuck", pool="chat", job="vllm", instance="n1:8000", model_name="m"),
        key("QueueGrows", pool="chat", job="vllm", instance="n2:8000", model_name="m"),
        key("TargetDown", pool="chat", job="vllm", instance="n1:8000"),
        AlertKey("GpuXidFatal", SeriesKey(Entity.of(EntityKind.GPU, gpu="GPU-7", node="n2"), "gpu_xid")),
    ),
    "decode": (  # another pool that serves the same model: one story with the first
        key("QueueGrows", pool="decode", job="d", instance="n3:8000", model_name="m"),
        AlertKey("HostDown", SeriesKey(Entity.of(EntityKind.NODE, node="n3"), "up")),
    ),
    "embed": (
        key("QueueGrows", pool="embed", job="vllm", instance="n4:8000", model_name="e"),
        AlertKey("GpuLost", SeriesKey(Entity.of(EntityKind.GPU, gpu="GPU-9", node="n4"), "gpu_xid")),
    ),
    "": (AlertKey("HostDown", SeriesKey(Entity.of(EntityKind.NODE, node="n9"), "up")),),
}  # fmt: skip
ALL = tuple(each for pool in POOLS.values() for each in pool)


def told_in(ticks: Iterable[int]) -> dict[str, frozenset[AlertKey]]:
    """Incidents of a daemon that sees the alerts of ``ALL`` begin in these ticks; the window opens with its first."""
    story, order = Story(), dict(zip(ALL, ticks, strict=True))
    for tick in range(6):
        story.step(300 + 5 * tick, *(each for each, at in order.items() if at <= tick), window=ALL)
    return {one.id: frozenset(one.members) for one in story.grouping.incidents.values()}


@given(*[st.lists(st.integers(0, 5), min_size=len(ALL), max_size=len(ALL))] * 2)
def test_daemons_agree_on_ids_whatever_they_saw_first(one: list[int], other: list[int]) -> None:
    told = told_in(one)
    assert told == told_in(other)
    assert sorted(map(len, told.values())) == [1, 2, 7]


@given(st.permutations(ALL))
def test_the_order_in_which_alerts_are_handed_over_names_nothing(alerts: list[AlertKey]) -> None:
    first, second = Story(), Story()
    first.step(0, *ALL)
    changed = second.step(0, *alerts)
    assert changed == list(first.grouping.incidents.values())


def test_no_id_is_given_twice_to_what_is_another_story() -> None:
    """Two of one place in one window; one an hour later; and one after the clock was set back, over a restart."""
    story, ids = Story(), []
    for seconds, alert in ((0, QUEUE), (20, LATENCY), (3700, QUEUE), (100, LATENCY)):
        story.wait(seconds, seconds + 10, alert)
        ids += [one.id for one in story.grouping.incidents.values() if one.open]
        story.wait(seconds + 10, seconds + 20)
        if seconds != 0:
            story.wait(seconds + 20, seconds + 20 + SETTINGS.flap_window + 30)
            assert not story.grouping.incidents
            after = Story()
            after.grouping.restore(story.seen.values())
            after.seen = story.seen
            story = after
            story.wait(seconds + 970, seconds + 970 + SETTINGS.flap_window + 30)
    assert len(set(ids)) == len(ids) == 4


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
