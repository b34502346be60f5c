"""Receivers that behave as the test says, and the time they live in."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from aiops.kit.clock import Clock
from aiops.kit.retry import Failure
from tests.notify.alerts import START


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
