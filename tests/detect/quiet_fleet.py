"""A simulated fleet in which nothing is wrong: noise of several sorts that real series have, and no fault."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from aiops.detect.bank import Bank
from aiops.detect.base import Window
from aiops.detect.policy import OBSERVATIONS, AnomalyPolicy, Floor, TimingSpec, Watch
from aiops.detect.rules import RuleBook
from aiops.detect.settings import DetectSettings
from aiops.incidents.machine import Machine
from aiops.incidents.settings import IncidentSettings
from aiops.signals.catalog import SIGNALS
from aiops.signals.types import Entity, EntityKind, SeriesKey

STEP_SECONDS = 60.0
WINDOW_ROWS = 72
LEVEL = 20.0
Rows = NDArray[np.float32]


def _echo(shocks: Rows, memory: float) -> Rows:
    """First-order autoregression of unit variance from unit shocks."""
    rows, last = np.empty_like(shocks), np.zeros_like(shocks[0])
    for index, shock in enumerate(shocks):
        last = memory * last + np.sqrt(1 - memory**2) * shock
        rows[index] = last
    return rows


def _daily(rng: np.random.Generator, shape: tuple[int, int]) -> Rows:
    """Noise that is six times as strong by day as at night."""
    days = np.arange(shape[0])[:, None] * STEP_SECONDS / 86_400 + rng.random(shape[1])
    return _echo(rng.standard_normal(shape), 0.6) * (1 + 0.7 * np.sin(2 * np.pi * days))


NOISES: dict[str, Callable[[np.random.Generator, tuple[int, int]], Rows]] = {
    "white": lambda rng, shape: rng.standard_normal(shape),
    "autocorrelated": lambda rng, shape: _echo(rng.standard_normal(shape), 0.5),
    "sluggish": lambda rng, shape: _echo(rng.standard_normal(shape), 0.9),
    "wandering": lambda rng, shape: _echo(rng.standard_normal(shape), 0.97),
    "heavy-tailed": lambda rng, shape: rng.standard_t(4, shape),
    "heavy-tailed and autocorrelated": lambda rng, shape: _echo(rng.standard_t(4, shape), 0.8),
    "skewed": lambda rng, shape: np.exp(0.6 * _echo(rng.standard_normal(shape), 0.7)),
    "counts": lambda rng, shape: rng.poisson(4, shape).astype(float),
    "day cycle": _daily,
}


@dataclass(slots=True)
class Lived:
    """What a fleet's life brought: per alert that fired its tick and the noise of its series."""

    bank: Bank
    weeks: float
    fired: list[tuple[int, str]] = field(default_factory=list)


def live(
    series_of_each: int, ticks: int, budget: float, seed: int, *, minimum: float = 0.0, shift: float = 0.0, at: int = 0
) -> Lived:
    """Let a fleet of all noises live under a budget (false alerts a week).

    Parameters
    ----------
    minimum
        Deviation that matters to anybody; the noise has a standard deviation around 1.
    shift, at
        What is added from a tick on, if anything.
    """
    rng, shape = np.random.default_rng(seed), (ticks, series_of_each)
    rows = np.concatenate([LEVEL + noise(rng, shape) for noise in NOISES.values()], axis=1).astype(np.float32)
    rows[at:] += shift
    padded = np.concatenate([np.full((WINDOW_ROWS, rows.shape[1]), np.nan, np.float32), rows])
    keys = tuple(SeriesKey(Entity.of(EntityKind.POOL, pool=f"p{n}"), "ttft", "p95") for n in range(rows.shape[1]))
    generation, names = np.arange(1, len(keys) + 1), list(NOISES)
    bank = _bank(budget, minimum)
    machine = Machine(bank.timing, IncidentSettings())
    lived = Lived(bank, ticks * STEP_SECONDS / (7 * 86_400))
    for tick in range(ticks):
        now = 1e6 + tick * STEP_SECONDS
        window = Window(now, STEP_SECONDS, padded[tick + 1 : tick + 1 + WINDOW_ROWS], keys, generation)
        verdicts = bank.step(window, now, (), (), machine.watched())
        for move in machine.step(now, verdicts):
            if move.began:
                lived.fired.append((tick, names[keys.index(move.alert.key.series) // series_of_each]))
    return lived


def _bank(budget: float, minimum: float) -> Bank:
    """Without floors, which would keep most of this noise silent whatever the budget."""
    units = {signal.unit for signal in SIGNALS.values()} | {OBSERVATIONS}
    policy = AnomalyPolicy(
        timing=TimingSpec(breach_points=3, window_points=4, clear_points=3, clear_window=4),
        units={unit: Floor(noise=1e-6, minimum=minimum) for unit in units},
        watch=(Watch(rule="Slow", signal="ttft", stats=("p95",), kinds=(EntityKind.POOL,), summary="It is slow"),),
    )
    return Bank(DetectSettings(budget=budget), policy, RuleBook(rules=()))
