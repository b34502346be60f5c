"""Windows by the clocks of their zone, and what they hold back: nothing is lost, nothing told before goes silent."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from aiops.detect.base import AlertKey, Severity, Timing, Verdict, Verdicts
from aiops.incidents.alert import Alert, ReasonKind, Transition
from aiops.incidents.grouping import Grouping
from aiops.incidents.machine import Machine
from aiops.incidents.policy import Calendar, Window, occurrence
from aiops.incidents.policy_settings import MaintenanceSettings, Skip, Weekday, WindowSettings
from aiops.incidents.settings import IncidentSettings
from aiops.signals.tenancy import Pod, Tenancy, Tenant
from aiops.signals.types import Entity, EntityKind, Mark, MarkKind, SeriesKey

BERLIN = ZoneInfo("Europe/Berlin")
CHAT = Entity.of(EntityKind.REPLICA, job="chat", instance="10.0.0.7:8000", model_name="m")
CHAT_POOL = Entity.of(EntityKind.POOL, pool="chat", model_name="m")
EMBED = Entity.of(EntityKind.REPLICA, job="vllm", pool="embed", instance="10.0.1.7:8000", model_name="e")
GPU = Entity.of(EntityKind.GPU, node="n1", gpu="GPU-1")
KEYS = tuple(SeriesKey(entity, "running") for entity in (CHAT, CHAT_POOL, EMBED, GPU))
QUEUE = AlertKey("QueueSaturated", KEYS[0])
NOW = 1_700_000_000.0


def at(text: str, zone: ZoneInfo = BERLIN, *, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp()


def nightly(**changes: Any) -> WindowSettings:
    return WindowSettings(
        **{"name": "nightly", "begins": "22:00", "lasts": "8h", "timezone": "Europe/Berlin"} | changes
    )


@pytest.mark.parametrize(
    ("now", "begins"),
    [
        ("2026-06-10T21:59:59", "2026-06-10T22:00"),  # before: the next one
        ("2026-06-10T22:00", "2026-06-10T22:00"),
        ("2026-06-11T05:59:59", "2026-06-10T22:00"),
        ("2026-06-11T06:00", "2026-06-11T22:00"),
        ("2026-12-10T23:00", "2026-12-10T22:00"),  # the same time of day in winter
        ("2026-03-29T06:30", "2026-03-28T22:00"),  # clocks went forward: eight hours end at 7
        ("2026-10-25T04:59", "2026-10-24T22:00"),
        ("2026-10-25T05:00", "2026-10-25T22:00"),  # clocks went back: eight hours end at 5
    ],
)
def test_a_window_begins_by_the_clock_on_the_wall_and_lasts_real_hours(now: str, begins: str) -> None:
    window = occurrence(nightly(), at(now))
    assert window is not None
    assert datetime.fromtimestamp(window.begins_at, BERLIN) == datetime.fromisoformat(begins).replace(tzinfo=BERLIN)
    assert window.ends_at - window.begins_at == 8 * 3600
    assert window.holds(at(now)) is (at(now) >= at(begins))


def test_a_time_that_is_left_out_comes_an_hour_later_and_one_that_comes_twice_once() -> None:
    half_past_two = nightly(begins="02:30", lasts="30m")
    spring = occurrence(half_past_two, at("2026-03-29T00:00"))
    assert spring is not None
    assert datetime.fromtimestamp(spring.begins_at, BERLIN).isoformat() == "2026-03-29T03:30:00+02:00"
    first, second = at("2026-10-25T02:45"), at("2026-10-25T02:45", fold=1)
    assert second - first == 3600
    for now, on in ((first, True), (second, False)):
        window = occurrence(half_past_two, now)
        assert window is not None
        assert window.holds(now) is on


def test_only_on_its_days() -> None:
    weekend = nightly(days=(Weekday.SAT,), lasts="2d")
    for day, on in (("2026-06-12T23:00", False), ("2026-06-13T23:00", True), ("2026-06-15T21:00", True),
                    ("2026-06-15T23:00", False)):  # fmt: skip
        window = occurrence(weekend, at(day))
        assert window is not None
        assert window.holds(at(day)) is on
        assert datetime.fromtimestamp(window.begins_at, BERLIN).weekday() == 5


@given(
    st.datetimes(datetime(2024, 1, 1), datetime(2028, 1, 1)),  # noqa: DTZ001 - hypothesis wants them so
    st.integers(0, 23),
    st.integers(1, 7 * 24),
    st.sets(st.sampled_from(list(Weekday)), min_size=1),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]),
)
def test_it_is_on_when_a_walk_over_all_days_says_so(
    moment: datetime, hour: int, hours: int, days: set[Weekday], zone: str
) -> None:
    settings = nightly(begins=f"{hour:02d}:00", lasts=hours * 3600.0, days=tuple(days), timezone=zone)
    now = moment.replace(tzinfo=UTC).timestamp()
    starts = []
    for shift in range(-12, 12):
        local = (moment.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)) + timedelta(days=shift)).date()
        if list(Weekday)[local.weekday()] in days:
            starts.append(datetime(local.year, local.month, local.day, hour, tzinfo=ZoneInfo(zone)).timestamp())
    on = any(start <= now < start + hours * 3600 for start in starts)
    window = occurrence(settings, now)
    assert window is not None
    assert window.holds(now) is on
    assert on or window.begins_at == min(start for start in starts if start > now)


SHARED = Entity.of(EntityKind.GPU, node="10.0.0.9", gpu="GPU-9")
CHAT_GPU = Entity.of(EntityKind.GPU, node="10.0.0.7", gpu="GPU-7")
CHAT_HOST = Entity.of(EntityKind.NODE, node="10.0.0.7")
HOUSED = tuple(
    SeriesKey(entity, "up")
    for entity in (
        *(CHAT, CHAT_POOL, EMBED, GPU, SHARED, CHAT_GPU, CHAT_HOST),
        Entity.of(EntityKind.TARGET, job="chat", instance="10.0.0.7:8000"),
        Entity.of(EntityKind.REPLICA, job="chat", instance="10.0.0.9:1", model_name="m"),
        Entity.of(EntityKind.REPLICA, job="vllm", pool="embed", instance="10.0.0.9:2", model_name="e"),
    )
)


@pytest.mark.parametrize(
    ("matches", "gpus"),
    [
        ({"pool": "chat"}, {CHAT_GPU}),
        ({"model_name": "m"}, {CHAT_GPU}),
        ({"pool": "*"}, {CHAT_GPU, SHARED, GPU}),
        ({"pool": "embed"}, set()),
        ({"pool": "chat", "gpu": "GPU-8"}, set()),
        ({"pool": "nobody"}, set()),
        ({}, {CHAT_GPU, SHARED, GPU}),
    ],
)
def test_a_window_of_a_pool_holds_for_the_gpus_that_serve_nobody_else(
    matches: dict[str, str], gpus: set[Entity]
) -> None:
    calendar = Calendar(MaintenanceSettings())
    calendar.open([Window("w", "racks", NOW, NOW + 60, tuple(matches.items()), tuple(Skip))])
    calendar.turn(NOW, HOUSED)
    assert {one for one in calendar.frozen if one.kind is EntityKind.GPU} == gpus
    assert (CHAT_HOST in calendar.frozen) == (CHAT_GPU in gpus)
    for gpu in (CHAT_GPU, SHARED, GPU):
        alert = AlertKey("GpuXidFatal", SeriesKey(gpu, "gpu_xid"))
        assert bool(calendar.muted(alert, Severity.CRITICAL)) == (gpu in gpus)


def test_where_it_is_known_who_has_a_gpu_the_others_of_its_host_do_not_count() -> None:
    """The replica of the chat pool on the shared host has GPU-9, and the window is turned to that."""
    calendar, alert = Calendar(MaintenanceSettings()), AlertKey("GpuXidFatal", SeriesKey(SHARED, "gpu_xid"))
    calendar.open([Window("w", "racks", NOW, NOW + 60, (("pool", "chat"),), tuple(Skip))])
    calendar.turn(NOW, HOUSED)
    assert not calendar.muted(alert, Severity.CRITICAL)
    pods = {("chat", "10.0.0.9:1"): Pod("llm", "chat-0"), ("vllm", "10.0.0.9:2"): Pod("llm", "embed-0")}
    tenancy = Tenancy("10.0.0.9", {"GPU-9": (Tenant(Pod("llm", "chat-0"), "engine"),)}, pods)
    calendar.turn(NOW, HOUSED, tenancy=tenancy)
    assert calendar.muted(alert, Severity.CRITICAL)
    assert SHARED in calendar.frozen


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"timezone": "Mars/Olympus"}, "no time zone"),
        ({"timezone": "../../etc/passwd"}, "no time zone"),
        ({"begins": "25:00"}, "no time of day"),
        ({"lasts": "8d"}, "less than or equal"),
        ({"days": ()}, "at least 1"),
        ({"skip": ()}, "at least 1"),
        ({"matches": {"pool": ""}}, "expected a value or a pattern"),
    ],
)
def test_a_window_that_cannot_be_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        nightly(**changes)
    with pytest.raises(ValidationError, match="two windows are called nightly"):
        MaintenanceSettings(windows=(nightly(), nightly()))


def window(
    matches: dict[str, str] | None = None, *, lasts: float = 600.0, skip: tuple[Skip, ...] = tuple(Skip)
) -> Window:
    return Window("w1", "upgrade", NOW, NOW + lasts, tuple((matches or {}).items()), skip)


@pytest.mark.parametrize(
    ("matches", "concerned"),
    [
        ({}, {CHAT, CHAT_POOL, EMBED, GPU}),
        ({"pool": "chat"}, {CHAT, CHAT_POOL}),  # a replica without a pool belongs to that of its job
        ({"instance": "10.0.0.*"}, {CHAT}),
        ({"model_name": "?", "pool": "embed"}, {EMBED}),
        ({"node": "n1"}, {GPU}),
        ({"pool": "chat", "node": "n1"}, set()),
        ({"alertname": "QueueSaturated", "pool": "chat"}, set()),  # about one alert: all else is learnt
    ],
)
def test_whom_a_window_is_about(matches: dict[str, str], concerned: set[Entity]) -> None:
    calendar = Calendar(MaintenanceSettings())
    calendar.open([window(matches)])
    calendar.turn(NOW, KEYS)
    assert calendar.frozen == concerned
    assert bool(calendar.muted(QUEUE, Severity.CRITICAL)) == (CHAT in concerned or "alertname" in matches)


def test_each_window_chooses_what_it_leaves_out() -> None:
    for skip, muted, frozen in ((Skip.ALERT, True, False), (Skip.LEARNING, False, True)):
        calendar = Calendar(MaintenanceSettings())
        calendar.open([window(skip=(skip,))])
        calendar.turn(NOW, KEYS)
        assert bool(calendar.muted(QUEUE, Severity.CRITICAL)) is muted
        assert bool(calendar.frozen) is frozen
        calendar.turn(NOW + 600.0, KEYS)
        assert not calendar.muted(QUEUE, Severity.CRITICAL)
        assert not calendar.frozen
        assert list(calendar.windows(NOW + 600.0)) == []


def test_windows_of_the_configuration_come_first_and_survive_nothing_but_time() -> None:
    settings = MaintenanceSettings(windows=(nightly(),))
    calendar, after = Calendar(settings), Calendar(settings)
    calendar.open([window()])
    after.succeed(calendar)
    assert [one.name for one in after.windows(NOW)] == ["nightly", "upgrade"]
    assert after.find("w1") == window()
    assert after.find("w2") is None


class Story:
    """A machine and its incidents under a calendar."""

    def __init__(self, settings: MaintenanceSettings | None = None) -> None:
        self.calendar = Calendar(settings or MaintenanceSettings())
        self.machine = Machine(lambda rule: Timing(1, 1, 1, 1), IncidentSettings(flap_limit=100))
        self.grouping = Grouping(IncidentSettings())
        self.changed: list[bool] = []

    def step(
        self, seconds: float, *, bad: bool, severity: Severity = Severity.CRITICAL, marks: Any = ()
    ) -> list[Transition]:
        now = NOW + seconds
        self.calendar.turn(now, KEYS, marks)
        verdicts = {QUEUE: Verdict(QUEUE.rule, severity, 1.0, 0.0, summary="s", reason="r")} if bad else {}
        moved = self.machine.step(now, Verdicts(verdicts), self.calendar)
        changed = self.grouping.step(now, self.machine.alerts, KEYS)
        self.machine.assign(changed)
        self.changed = [one.open for one in changed]
        return moved

    @property
    def alert(self) -> Alert:
        return self.machine.alerts[QUEUE]


def test_what_begins_in_a_window_is_told_when_it_is_over_if_it_still_stands() -> None:
    story = Story()
    story.calendar.open([window()])
    (move,) = story.step(5, bad=True)
    assert move.reason.text == "the last point was out of bounds (needs 1); not told yet (maintenance: upgrade)"
    assert not move.began
    assert (story.alert.active, story.alert.told, story.alert.muted) == (True, False, "maintenance: upgrade")
    assert story.changed == []
    story.step(300, bad=True)
    assert story.changed == []
    (move,) = story.step(600, bad=True)
    assert (move.reason.kind, move.reason.text) == (ReasonKind.TOLD_NOW, "still there after maintenance: upgrade")
    assert move.began, "now it is news"
    assert story.changed == [True]
    assert story.alert.told
    assert story.alert.incident
    assert story.alert.started_at == NOW + 5


def test_what_ends_in_the_window_is_never_told() -> None:
    story = Story()
    story.calendar.open([window()])
    story.step(5, bad=True)
    (move,) = story.step(10, bad=False)
    assert not move.ended
    assert story.alert.muted, "so that nobody hears of its end"
    assert not story.step(600, bad=False)
    assert story.changed == []


def test_what_was_told_before_goes_on_being_told() -> None:
    story = Story()
    story.step(-5, bad=True)
    story.calendar.open([window()])
    story.step(5, bad=True)
    assert story.alert.told
    story.step(10, bad=False)
    assert story.changed == [False], "its end is told too"
    story.step(15, bad=True)
    assert not story.alert.told, "begun anew inside the window"


def deploy(kind: MarkKind = MarkKind.DEPLOY, entity: Entity = CHAT_POOL) -> list[Mark]:
    return [Mark(kind, entity, NOW, "1.4 became 1.5")]


@pytest.mark.parametrize(
    ("kind", "severity", "held"),
    [
        (MarkKind.DEPLOY, Severity.WARNING, True),
        (MarkKind.VERSION_CHANGED, Severity.INFO, True),
        (MarkKind.DEPLOY, Severity.CRITICAL, False),
        (MarkKind.RESTARTED, Severity.WARNING, False),
        (MarkKind.XID, Severity.WARNING, False),
    ],
)
def test_after_a_deploy_all_but_pages_wait_a_little(kind: MarkKind, severity: Severity, held: bool) -> None:
    story = Story()
    story.step(0, bad=False, marks=deploy(kind))
    story.step(5, bad=True, severity=severity)
    assert story.alert.told is not held
    story.step(121, bad=True, severity=severity)
    assert story.alert.told


def test_an_alert_says_what_had_changed_before_it() -> None:
    story = Story()
    story.step(0, bad=False, marks=[*deploy(entity=GPU), *deploy(MarkKind.RESTARTED, CHAT), *deploy()])
    (move,) = story.step(300, bad=True)
    assert story.alert.after == "300 s after a deploy: 1.4 became 1.5"
    assert move.reason.text.endswith("; 300 s after a deploy: 1.4 became 1.5")
    story.step(305, bad=False)
    story.step(1900, bad=True)
    assert story.alert.after == "", "deploy_memory is over"


def test_a_change_elsewhere_is_no_news() -> None:
    for entity, said in ((EMBED, False), (GPU, False), (CHAT, True), (CHAT_POOL, True)):
        calendar = Calendar(MaintenanceSettings())
        calendar.turn(NOW, KEYS, deploy(entity=entity))
        assert bool(calendar.after(CHAT)) is said
        assert bool(calendar.after(GPU)) is (entity == GPU)
