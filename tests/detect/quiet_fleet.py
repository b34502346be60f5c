"""A simulated fleet in which nothing is wrong: noise of several sorts that real series have, and no fault."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from aiops.detect.bank import SLOW, Bank
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


RHYTHM_STEP_SECONDS = 300.0
_IN_DAY = round(86_400 / RHYTHM_STEP_SECONDS)
_THREE_HOURS = 1 - RHYTHM_STEP_SECONDS / 10_800


def _week(days: int) -> Rows:
    """Load by the hour around 1, less on weekends; [ticks, 1]."""
    at = np.arange(days * _IN_DAY)[:, None] / _IN_DAY
    return (1 + 0.7 * np.sin(2 * np.pi * (at - 0.375))) * np.where(at // 1 % 7 >= 5, 0.6, 1.0)


def _by_day(rng: np.random.Generator, days: int, columns: int, spread: float) -> Rows:
    """Factor by which each day is busier than others, [ticks, columns]."""
    return np.repeat(np.exp(spread * rng.standard_normal((days, columns))), _IN_DAY, axis=0)


def _wander(rng: np.random.Generator, days: int, columns: int, spread: float) -> Rows:
    """Factor that moves within hours, [ticks, columns]."""
    return np.exp(spread * _echo(rng.standard_normal((days * _IN_DAY, columns)), _THREE_HOURS))


RHYTHMS: dict[str, Callable[[np.random.Generator, int, int], Rows]] = {
    "busier days": lambda rng, days, n: _week(days) * _by_day(rng, days, n, 0.04) * _wander(rng, days, n, 0.03),
    "wandering load": lambda rng, days, n: _week(days) * _wander(rng, days, n, 0.15),
    "both": lambda rng, days, n: _week(days) * _by_day(rng, days, n, 0.1) * _wander(rng, days, n, 0.1),
    "counts": lambda rng, days, n: rng.poisson(30 * _week(days) * _by_day(rng, days, n, 0.05)) / 30,
}
"""Sorts of days that return, with nothing wrong; a level of 1."""


@dataclass(slots=True)
class Lived:
    """What a fleet's life brought: per alert that fired its tick and the noise of its series; and the ticks of those to
    which a detector of days (``detect.bank.SLOW``) said yes."""

    bank: Bank
    weeks: float
    fired: list[tuple[int, str]] = field(default_factory=list)
    slow: list[int] = field(default_factory=list)


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
    return _life(_bank(budget, minimum), rows, list(NOISES), STEP_SECONDS)


def live_by_the_clock(series_of_each: int, days: int, budget: float, seed: int) -> Lived:
    """Let a fleet of all rhythms live under a budget; its level remembers half an hour."""
    rng = np.random.default_rng(seed)
    rows = np.concatenate([LEVEL * rhythm(rng, days, series_of_each) for rhythm in RHYTHMS.values()], axis=1)
    bank = _bank(budget, 0.0, level_memory_points=6, minimum_samples=8)
    return _life(bank, rows.astype(np.float32), list(RHYTHMS), RHYTHM_STEP_SECONDS)


def _life(bank: Bank, rows: Rows, names: list[str], step_seconds: float) -> Lived:
    """Live through ``rows``, of which each name has as many columns as the others, side by side."""
    padded = np.concatenate([np.full((WINDOW_ROWS, rows.shape[1]), np.nan, np.float32), rows])
    keys = tuple(SeriesKey(Entity.of(EntityKind.POOL, pool=f"p{n}"), "ttft", "p95") for n in range(rows.shape[1]))
    generation, of_each = np.arange(1, len(keys) + 1), len(keys) // len(names)
    machine = Machine(bank.timing, IncidentSettings())
    lived = Lived(bank, len(rows) * step_seconds / (7 * 86_400))
    for tick in range(len(rows)):
        now = 1e6 + tick * step_seconds
        window = Window(now, step_seconds, padded[tick + 1 : tick + 1 + WINDOW_ROWS], keys, generation)
        verdicts = bank.step(window, now, (), (), machine.watched())
        for move in machine.step(now, verdicts):
            if move.began:
                lived.fired.append((tick, names[keys.index(move.alert.key.series) // of_each]))
                if any(move.alert.verdict.votes.get(name, 0.0) >= 1 for name in SLOW):
                    lived.slow.append(tick)
    return lived


def _bank(budget: float, minimum: float, **settings: int) -> Bank:
    """Without floors, which would keep most of this noise silent whatever the budget."""
    units = {signal.unit for signal in SIGNALS.values()} | {OBSERVATIONS}
    policy = AnomalyPolicy(
        timing=TimingSpec(breach_points=3, window_points=4, clear_points=3, clear_window=4),
        units={unit: Floor(noise=1e-6, minimum=minimum) for unit in units},
        watch=(Watch(rule="Slow", signal="ttft", stats=("p95",), kinds=(EntityKind.POOL,), summary="It is slow"),),
    )
    return Bank(DetectSettings(budget=budget, **settings), policy, RuleBook(rules=()))
