"""Alerts to tell, and receivers that behave as the test says."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from aiops.detect.base import AlertKey, Severity, Verdict
from aiops.incidents.alert import Alert, AlertState
from aiops.kit.clock import Clock
from aiops.kit.retry import Failure
from aiops.signals.types import Entity, EntityKind, SeriesKey

START = 1_700_000_000.0
AlertMaker = Callable[..., Alert]


@pytest.fixture
def make_alert() -> AlertMaker:
    """Return a function that makes an alert about one replica, firing unless told otherwise."""

    def make(
        instance: str = "a:8000",
        state: AlertState = AlertState.FIRING,
        started_at: float = START,
        ended_at: float = 0.0,
        value: float = 42.0,
    ) -> Alert:
        entity = Entity.of(EntityKind.REPLICA, job="vllm", instance=instance, model_name="tiny")
        verdict = Verdict(
            "QueueGrows",
            Severity.WARNING,
            2.5,
            value,
            summary="Queue grows",
            reason=f"{value} waiting",
            runbook="queue-grows",
        )
        key = AlertKey("QueueGrows", SeriesKey(entity, "queue_len"))
        return Alert(key, state, started_at, started_at, verdict, ended_at=ended_at, incident="abc")

    return make


@pytest.fixture
def virtual_clock() -> Clock:
    """Both clocks follow the running loop, whose time the test controls."""
    return Clock(
        now=lambda: START + asyncio.get_running_loop().time(),
        monotonic=lambda: asyncio.get_running_loop().time(),
    )


@dataclass
class FakeNotifier:
    """Takes each call as ``behave`` says and notes when it delivered what."""

    name: str = "fake"
    kind: str = "fake"
    batch_size: int = 256
    call_seconds: float = 0.0
    behave: Callable[[float], Failure | None] = lambda now: None
    delivered: list[tuple[float, object]] = field(default_factory=list)
    tries: list[float] = field(default_factory=list)
    complaint: str = ""

    def problem(self, item: object) -> str:
        return "it is bad" if item == "bad" else ""

    def warning(self) -> str:
        return self.complaint

    async def send(self, items: Sequence[object]) -> None:
        loop = asyncio.get_running_loop()
        self.tries.append(loop.time())
        await asyncio.sleep(self.call_seconds)
        failure = self.behave(loop.time())
        if failure is not None:
            raise failure
        self.delivered.extend((loop.time(), item) for item in items)

    def items(self) -> list[object]:
        return [item for _, item in self.delivered]


@pytest.fixture
def fake_notifier() -> type[FakeNotifier]:
    """A receiver without a network."""
    return FakeNotifier
