"""Overload: the daemon leaves detectors out by priority, shows it, keeps what they raised, and takes them back."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import ClientSession

from aiops.app.assembly import build_pipeline
from aiops.app.config import Config
from aiops.app.daemon import Daemon
from aiops.app.pipeline import Outcome, Pipeline
from aiops.detect.shedding import BUSY_TURNS, IDLE_TURNS, ORDER
from aiops.incidents.alert import Alert, AlertState
from aiops.kit.clock import Clock
from aiops.signals.types import Columns, Entity, EntityKind, Reading, SeriesKey, SourceStatus
from tests.app.test_daemon import running

STEP = 5.0
REPLICAS = 6
EVERY = frozenset(ORDER)


@dataclass
class SlowClock:
    """Stands still, but for turns of the pipeline, which take ``turn_seconds``, and for who waits."""

    seconds: float = 0.0
    turn_seconds: float = 0.0

    def clock(self) -> Clock:
        return Clock(now=lambda: 1.7e9 + self.seconds, monotonic=lambda: self.seconds)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> SlowClock:
    slow, tick = SlowClock(), Pipeline.tick

    def longer(*args: Any, **options: Any) -> Outcome:
        slow.seconds += slow.turn_seconds
        return tick(*args, **options)

    monkeypatch.setattr(Pipeline, "tick", longer)
    return slow


async def turns(daemon: Daemon, slow: SlowClock, number: int, share: float) -> None:
    slow.turn_seconds = share * STEP
    for _ in range(number):
        await daemon.tick()
        slow.seconds += STEP - slow.turn_seconds


async def shown(daemon: Daemon) -> tuple[list[str], dict[str, float], dict[str, float]]:
    """What the status says, and the two families of the metrics page, by detector."""
    async with ClientSession() as session:
        async with session.get(f"{daemon.server.base_url}/api/v1/status") as answer:
            status = (await answer.json())["data"]["detectorsLeftOut"]
        async with session.get(f"{daemon.server.base_url}/metrics") as answer:
            page = await answer.text()
    samples = [line.rsplit(" ", 1) for line in page.splitlines() if line.startswith("aiops_detector")]
    found: tuple[dict[str, float], ...] = ({}, {})
    for series, value in samples:
        for family, name in zip(found, ("aiops_detectors_shed{", "aiops_detector_turns_shed_total{"), strict=True):
            if series.startswith(name):
                family[series.split('"')[1]] = float(value)
    return status, *found


async def test_detectors_go_by_priority_are_counted_and_come_back(
    slow: SlowClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "aiops.app.shedding")
    config = Config.model_validate(
        {"interval": STEP, "nvml": {"enabled": "off"}, "store": {"directory": tmp_path},
         "web": {"listen_address": "127.0.0.1:0"}}
    )  # fmt: skip
    async with running(config, slow.clock()) as daemon:
        status, shed, lost = await shown(daemon)
        assert (status, shed, lost) == ([], dict.fromkeys(ORDER, 0.0), dict.fromkeys(ORDER, 0.0))
        await turns(daemon, slow, 2 * BUSY_TURNS, 1.5)
        status, shed, lost = await shown(daemon)
        assert status == list(ORDER[:2])
        assert shed == {name: float(name in ORDER[:2]) for name in ORDER}
        assert lost[ORDER[0]] == BUSY_TURNS
        assert lost[ORDER[1]] == 0
        await turns(daemon, slow, 100, 0.6)
        assert (await shown(daemon))[0] == list(ORDER[:2]), "neither too long nor short enough to change anything"
        await turns(daemon, slow, 2 * IDLE_TURNS, 0.1)
        status, shed, lost = await shown(daemon)
        assert status == []
        assert not any(shed.values())
        assert lost[ORDER[0]] > lost[ORDER[1]] > 100
    ours = [record for record in caplog.records if record.name == "aiops.app.shedding"]
    told = [(record.levelname, record.left_out) for record in ours]  # type: ignore[attr-defined]
    assert told == [
        ("WARNING", "iforest"), ("WARNING", "iforest, residual"), ("INFO", "iforest"), ("INFO", "none"),
    ]  # fmt: skip


class Fleet:
    """Replicas of a pool with 30 ms between tokens, driven through the pipeline."""

    def __init__(self) -> None:
        self.pipeline, self._rng, self.now = build_pipeline(Config()), np.random.default_rng(5), 1.0e9
        self.replicas = [
            Entity.of(EntityKind.REPLICA, job="vllm", pool="chat", instance=f"{i}:8000", model_name="m")
            for i in range(REPLICAS)
        ]
        self._columns = [
            Columns(tuple(SeriesKey(one, *of) for of in (("itl", "p95"), ("running", "")))) for one in self.replicas
        ]

    def step(self, slow: dict[int, float], left_out: frozenset[str] = frozenset()) -> Outcome:
        self.now += STEP
        readings, sources = [], []
        for number, columns in enumerate(self._columns):
            values = np.array([0.03 * slow.get(number, 1.0), 8.0]) * (1 + 0.01 * self._rng.standard_normal(2))
            target = Entity.of(EntityKind.TARGET, instance=f"{number}:8000", job="vllm")
            readings.append(Reading(str(number), self.now, columns, values))
            sources.append(SourceStatus(str(number), "scrape", target, STEP, self.now, self.now, self.now))
        return self.pipeline.tick(self.now, readings, sources, elapsed_seconds=STEP, left_out=left_out)

    def run(self, ticks: int, slow: dict[int, float], left_out: frozenset[str] = frozenset()) -> int:
        """How many alerts moved."""
        return sum(len(self.step(slow, left_out).transitions) for _ in range(ticks))

    def alert(self, number: int) -> Alert | None:
        alerts = self.pipeline.machine.alerts.items()
        return next((one for key, one in alerts if key.series.entity == self.replicas[number]), None)


@pytest.fixture
def fleet() -> Fleet:
    fleet = Fleet()
    assert fleet.run(30, {0: 3.0}) > 0
    alert = fleet.alert(0)
    assert alert is not None
    assert alert.state is AlertState.FIRING
    assert {name for name, vote in alert.verdict.votes.items() if vote >= 1} == {"peers"}
    return fleet


def test_no_alert_resolves_because_its_detector_is_left_out(fleet: Fleet) -> None:
    """Longer than an alert without data lives; back within bounds it resolves only once its detector says so."""
    assert fleet.run(400, {0: 3.0}, EVERY) == 0
    assert fleet.run(400, {}, EVERY) == 0
    alert = fleet.alert(0)
    assert alert is not None
    assert alert.state is AlertState.FIRING
    fleet.run(400, {})
    alert = fleet.alert(0)
    assert alert is None or alert.state is AlertState.RESOLVED


def test_no_alert_begins_but_what_the_detector_sees_when_it_is_back() -> None:
    fleet = Fleet()
    assert fleet.run(200, {0: 3.0}, EVERY) == 0
    assert fleet.run(30, {0: 3.0}) > 0
    alert = fleet.alert(0)
    assert alert is not None
    assert alert.state is AlertState.FIRING


def test_without_being_left_out_the_same_would_have_resolved(fleet: Fleet) -> None:
    fleet.run(400, {})
    alert = fleet.alert(0)
    assert alert is None or alert.state is AlertState.RESOLVED
