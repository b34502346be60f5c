"""From verdicts to incidents, over random streams with clock jumps and reloads: one page an incident, none lost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from aiops.detect.base import AlertKey, Severity, Timing, Verdict, Verdicts
from aiops.incidents.grouping import Grouping
from aiops.incidents.machine import Machine
from aiops.incidents.settings import IncidentSettings
from aiops.signals.types import Entity, EntityKind, SeriesKey

STEP = 5.0
TIMING = Timing(2, 3, 2, 3)
SETTINGS = IncidentSettings()


def key(rule: str, entity: Entity) -> AlertKey:
    return AlertKey(rule, SeriesKey(entity, "up"))


KEYS = (
    key("TargetDown", Entity.of(EntityKind.TARGET, job="vllm", instance="n1:8000", pool="chat")),
    key("EngineStuck", Entity.of(EntityKind.REPLICA, job="vllm", instance="n2:8000", pool="chat", model_name="m")),
    key("GpuXidFatal", Entity.of(EntityKind.GPU, gpu="GPU-1", node="n2")),
    key("TargetDown", Entity.of(EntityKind.TARGET, job="other", instance="n3:1")),
)
Tick = Mapping[AlertKey, str]
TICKS = st.lists(st.fixed_dictionaries({each: st.sampled_from("BBCCUH") for each in KEYS}), max_size=40)
DISTURBANCES = st.dictionaries(
    st.integers(0, 40), st.sampled_from(["clock +1h", "clock -1h", "reload", "restart"]), max_size=5
)


@dataclass
class Story:
    """What a daemon does between bank and receivers; notes what people would be told."""

    now: float = 1_700_000_000.0
    machine: Machine = field(default_factory=lambda: Machine(lambda rule: TIMING, SETTINGS))
    grouping: Grouping = field(default_factory=lambda: Grouping(SETTINGS))
    pages: list[str] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    told: list[tuple[str, ...]] = field(default_factory=list)

    def disturb(self, what: str) -> None:
        if what.startswith("clock"):
            self.now += 3600.0 if "+" in what else -3600.0
            return
        machine, grouping = Machine(lambda rule: TIMING, SETTINGS), Grouping(SETTINGS)
        if what == "reload":
            machine.succeed(self.machine, self.now)
        else:
            machine.restore(self.machine.alerts.values(), self.now)
        grouping.restore(self.grouping.incidents.values())
        self.machine, self.grouping = machine, grouping

    def step(self, tick: Tick) -> None:
        self.now += STEP
        breaches = {
            each: Verdict(each.rule, Severity.CRITICAL, 1.0, 0.0, summary=each.rule, reason="why")
            for each, mark in tick.items()
            if mark == "B"
        }
        unknown, held = (frozenset(each for each, mark in tick.items() if mark == kind) for kind in "UH")
        moved = self.machine.step(self.now, Verdicts(breaches, unknown, held))
        open_before = {name for name, one in self.grouping.incidents.items() if one.open}
        changed = self.grouping.step(self.now, self.machine.alerts, [each.series for each in KEYS])
        self.machine.assign(changed)
        self.pages += [one.id for one in changed if one.open and one.id not in open_before]
        self.ends += [one.id for one in changed if not one.open]
        self.told.append(tuple(
            [f"{move.alert.key.rule} {move.alert.key.series} {move.before} {move.alert.state}" for move in moved]
            # Which of two that fire at once began first is told by the wall clock; it names the incident, no more.
            + sorted(f"{one.open} {sorted(map(str, one.members))}" for one in changed)
        ))  # fmt: skip
        for move in moved:
            alert = self.machine.alerts.get(move.alert.key)
            if move.began:
                assert alert is not None
                assert self.grouping.incidents[alert.incident].open, "an alert without an incident is a lost page"
        homes = [each for one in self.grouping.incidents.values() if one.open for each in one.members]
        assert len(homes) == len(set(homes)), "two open incidents hold one alert"


def played(ticks: Sequence[Tick], disturbances: Mapping[int, str] | None = None) -> Story:
    story = Story()
    for place, tick in enumerate(ticks):
        if disturbances and place in disturbances:
            story.disturb(disturbances[place])
        story.step(tick)
    return story


@settings(max_examples=150)
@given(TICKS, DISTURBANCES)
def test_clock_jumps_reloads_and_restarts_change_nothing_that_people_hear(
    ticks: list[Tick], disturbances: dict[int, str]
) -> None:
    assert played(ticks, disturbances).told == played(ticks).told


@settings(max_examples=150)
@given(TICKS, DISTURBANCES)
def test_every_page_has_its_end(ticks: list[Tick], disturbances: dict[int, str]) -> None:
    story = played(ticks, disturbances)
    for _ in range(int(SETTINGS.flap_calm / STEP) + TIMING.clear_window):
        story.step(dict.fromkeys(KEYS, "C"))
    assert not any(alert.active for alert in story.machine.alerts.values())
    assert not any(one.open for one in story.grouping.incidents.values())
    assert sorted(story.pages) == sorted(story.ends)


def test_a_flapping_target_is_one_incident_and_few_pages() -> None:
    """A minute up, a minute down, for two hours: the incident ends and reopens once, then stays until it is calm."""
    story = Story()
    for tick in range(1440):
        story.step({KEYS[0]: "B" if tick // 12 % 2 else "C"})
    assert len(set(story.pages)) == 1
    assert len(story.pages) == SETTINGS.flap_limit
    for _ in range(200):
        story.step({KEYS[0]: "C"})
    assert len(story.ends) == len(story.pages)
