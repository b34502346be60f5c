"""Sources that are gone, frozen or lost, in ticks and never by the wall clock."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from aiops.detect.base import AlertKey, Verdict, Window
from aiops.detect.liveness import OWN_VERDICT, Liveness
from aiops.detect.rules import RuleBook
from aiops.signals.types import Entity, EntityKind, Mark, MarkKind, SeriesKey, SourceStatus

TARGET = Entity.of(EntityKind.TARGET, job="vllm", instance="a:8000")
REPLICA = Entity.of(EntityKind.REPLICA, job="vllm", instance="a:8000", model_name="m")
OTHER = Entity.of(EntityKind.REPLICA, job="vllm", instance="b:8000", model_name="m")
NODE = Entity.of(EntityKind.NODE, node="n")
GPU = Entity.of(EntityKind.GPU, node="n", gpu="GPU-1")
NAN = float("nan")


class Scene:
    """One source and one series over ticks of 5 s."""

    def __init__(self, rulebook: RuleBook, make_window: Callable[..., Window]) -> None:
        self.liveness = Liveness(rulebook.rules)
        self._window = make_window
        self.now = 1000.0
        self.status = SourceStatus("a:8000", "scrape", TARGET, 5.0)

    def answers(self, *, changed: bool = True) -> SourceStatus:
        change = self.now if changed else self.status.last_change
        return replace(
            self.status, last_attempt=self.now, last_success=self.now, last_change=change, failures=0, error=""
        )

    def fails(self) -> SourceStatus:
        return replace(
            self.status, last_attempt=self.now, failures=self.status.failures + 1, error="connection refused"
        )

    def tick(
        self,
        status: SourceStatus | None = None,
        values: Mapping[SeriesKey, float] | None = None,
        marks: Sequence[Mark] = (),
    ) -> dict[str, Verdict]:
        """One tick; gives rule → verdict."""
        self.now += 5.0
        self.status = status or self.status
        keys = tuple(values or {})
        window = self._window([list((values or {}).values())], keys, now=self.now)
        columns = {
            entity: np.array([i for i, key in enumerate(keys) if key.entity == entity])
            for entity in {key.entity for key in keys}
        }
        return {key.rule: verdict for key, verdict in self.liveness.evaluate(window, [self.status], marks, columns)}

    def known(self, rule: str, entity: Entity = TARGET) -> bool:
        return self.liveness.known(AlertKey(rule, SeriesKey(entity, "up")))


@pytest.fixture
def scene(rulebook: RuleBook, make_window: Callable[..., Window]) -> Scene:
    return Scene(rulebook, make_window)


def test_two_failures_make_a_target_gone(scene: Scene) -> None:
    assert not scene.tick(scene.answers())
    assert not scene.tick(scene.fails())
    gone = scene.tick(scene.fails())
    assert list(gone) == ["TargetDown"]
    assert "2 failed attempts in a row: connection refused" in gone["TargetDown"].reason
    assert not scene.tick(scene.answers())
    assert scene.known("TargetDown")


def test_silence_makes_a_target_gone_without_any_failure(scene: Scene) -> None:
    scene.tick(scene.answers())
    assert [bool(scene.tick()) for _ in range(4)] == [False, False, True, True]


def test_a_slow_source_has_its_own_patience(scene: Scene) -> None:
    scene.status = replace(scene.status, interval_seconds=60.0)
    scene.tick(scene.answers())
    silent = [bool(scene.tick()) for _ in range(40)]
    assert silent.index(True) == 30


def test_a_jump_of_the_wall_clock_makes_nobody_dead(scene: Scene) -> None:
    for jump in (0.0, 86_400.0, -86_400.0, 0.0):
        scene.now += jump
        assert not scene.tick(scene.answers())
    scene.now += 7200.0  # and so does a night asleep, in which one attempt failed
    assert not scene.tick(scene.fails())


def test_a_source_that_never_answered_is_gone(scene: Scene) -> None:
    assert [bool(scene.tick()) for _ in range(4)] == [False, False, False, True]


@pytest.mark.parametrize("kind", sorted(OWN_VERDICT))
def test_a_source_that_judges_by_a_signal_is_not_judged_twice(scene: Scene, kind: str) -> None:
    scene.status = replace(scene.status, kind=kind)
    assert not any(scene.tick(scene.fails()) for _ in range(5))
    assert not scene.known("TargetDown")


def test_a_source_that_left_is_unknown(scene: Scene) -> None:
    scene.tick(scene.answers())
    assert scene.known("TargetDown")
    assert not scene.known("TargetDown", OTHER)
    assert not scene.known("GpuDriverUnresponsive")


@pytest.mark.parametrize(
    ("values", "stale"),
    [
        ({SeriesKey(REPLICA, "running"): 3.0}, True),
        ({SeriesKey(REPLICA, "queue_len"): 3.0}, True),
        ({SeriesKey(REPLICA, "running"): 0.0, SeriesKey(REPLICA, "queue_len"): 0.0}, False),
        ({SeriesKey(REPLICA, "tokens_out"): 3.0}, False),
        ({SeriesKey(OTHER, "running"): 3.0}, False),
        ({}, False),
    ],
)
def test_the_same_answer_under_load_is_stale(scene: Scene, values: dict[SeriesKey, float], stale: bool) -> None:
    scene.tick(scene.answers(), values)
    seen = ["TargetStale" in scene.tick(scene.answers(changed=False), values) for _ in range(20)]
    assert seen == [False] * 11 + [stale] * 9
    assert scene.known("TargetStale")
    assert not scene.tick(scene.answers(), values)


def test_a_target_that_is_down_is_not_called_stale(scene: Scene) -> None:
    values = {SeriesKey(REPLICA, "running"): 3.0}
    scene.tick(scene.answers(), values)
    seen = [set(scene.tick(scene.fails(), values)) for _ in range(20)]
    assert seen[-1] == {"TargetDown"}


def test_a_silent_driver_is_the_driver(scene: Scene) -> None:
    scene.status = SourceStatus("nvml", "nvml", NODE, 5.0)
    for _ in range(20):
        assert not scene.tick()  # no GPU was ever there
    scene.tick(scene.answers())
    scene.tick(scene.fails())
    assert list(scene.tick(scene.fails())) == ["GpuDriverUnresponsive"]
    assert scene.known("GpuDriverUnresponsive", NODE)


def test_an_event_holds_until_the_driver_says_otherwise(scene: Scene) -> None:
    scene.status = SourceStatus("nvml", "nvml", NODE, 5.0)
    power = SeriesKey(GPU, "gpu_power")
    lost = Mark(MarkKind.GPU_LOST, GPU, 1000.0, "GPU 1 is lost to the driver.")
    scene.tick(scene.answers(), {power: 300.0})
    found = scene.tick(scene.answers(), {power: NAN}, [lost])
    assert found["GpuLost"].reason == lost.detail
    assert list(scene.tick(None, {power: NAN})) == ["GpuLost"]  # a tick between two readings
    assert list(scene.tick(scene.answers(), {power: NAN}, [lost])) == ["GpuLost"]
    assert not scene.tick(scene.answers(), {power: 300.0})
    assert scene.known("GpuLost", GPU)


def test_a_hung_driver_holds_while_the_rest_of_the_node_lives(scene: Scene) -> None:
    scene.status = SourceStatus("nvml", "nvml", NODE, 5.0)
    load = {SeriesKey(NODE, "load1"): 3.0}
    hung = Mark(MarkKind.GPU_DRIVER_UNRESPONSIVE, NODE, 1000.0, "hangs")
    scene.tick(scene.answers(), load)
    assert list(scene.tick(scene.fails(), load, [hung])) == ["GpuDriverUnresponsive"]
    assert list(scene.tick(None, load)) == ["GpuDriverUnresponsive"]
    assert not scene.tick(scene.answers(), load)


def test_an_event_of_another_source_holds_until_the_gpu_has_a_value(scene: Scene) -> None:
    power = SeriesKey(GPU, "gpu_power")
    lost = Mark(MarkKind.GPU_LOST, GPU, 1000.0, "lost")
    assert list(scene.tick(scene.answers(), {power: NAN}, [lost])) == ["GpuLost"]
    assert list(scene.tick(scene.answers(), {power: NAN})) == ["GpuLost"]
    assert not scene.tick(scene.answers(), {power: 300.0})


def test_after_a_restart_a_lost_gpu_is_unknown_not_fine(scene: Scene) -> None:
    power = SeriesKey(GPU, "gpu_power")
    assert not scene.known("GpuLost", GPU)
    assert not scene.tick(scene.answers(), {power: NAN})
    assert not scene.known("GpuLost", GPU)
    scene.tick(scene.answers(), {power: 300.0})
    assert scene.known("GpuLost", GPU)


def test_other_marks_are_not_its_business(scene: Scene) -> None:
    marks = [Mark(kind, GPU, 1000.0, "x") for kind in (MarkKind.RESTARTED, MarkKind.XID, MarkKind.DEPLOY)]
    assert not scene.tick(scene.answers(), None, marks)
