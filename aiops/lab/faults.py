"""Faults that a lab replica can suffer, as one literal table."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from aiops.lab.engine import Engine


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to the engine, and what a good monitor should say."""

    name: str
    story: str
    strike: Callable[[Engine], None]


def _stuck(engine: Engine) -> None:
    engine.stuck = True


def _slow(engine: Engine) -> None:
    engine.slowdown = 4.0


def _surge(engine: Engine) -> None:
    engine.surge = 12.0


def _kv(engine: Engine) -> None:
    engine.shape = replace(engine.shape, kv_tokens=1_500)


FAULTS: dict[str, Fault] = {
    fault.name: fault
    for fault in (
        Fault("stuck", "the scheduler hangs: requests run, no token comes", _stuck),
        Fault("slow", "every step takes four times as long", _slow),
        Fault("surge", "twelve times the requests", _surge),
        Fault("kv", "the KV cache shrinks to a few requests: preemptions", _kv),
    )
}


def heal(engine: Engine, healthy: Engine) -> None:
    """Put a struck engine back to the shape of a healthy one; its queue stays."""
    engine.stuck, engine.slowdown, engine.surge, engine.shape = False, 1.0, 1.0, healthy.shape
