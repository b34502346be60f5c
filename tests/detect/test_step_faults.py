"""The six faults that the public recording rules were measured on: drop to 0, × 10, ± 40 %, ± 70 %, and no fault."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from aiops.detect.base import Window
from aiops.incidents.machine import Machine
from aiops.incidents.settings import IncidentSettings
from aiops.signals.types import Entity, EntityKind, SeriesKey

STEP_SECONDS = 30.0
EACH = 20
FAULTS = {"zero": 0.0, "tenfold": 10.0, "+70 %": 1.7, "+40 %": 1.4, "-40 %": 0.6, "-70 %": 0.3, "none": 1.0}
FAULT_TICKS = 14
"""7 minutes."""


@pytest.mark.parametrize("history", [90, 2000], ids=["45 minutes old", "17 hours old"])
def test_all_are_caught_within_3_minutes_and_nothing_else(make_bank: Callable[..., Any], history: int) -> None:
    rng, names = np.random.default_rng(4), list(FAULTS)
    count, rows = EACH * len(FAULTS), history + FAULT_TICKS
    days = np.arange(rows)[:, None] * STEP_SECONDS / 86_400 + rng.random(count)
    level = rng.uniform(18, 24, count) + 3 * np.sin(2 * np.pi * days)
    # Poisson arrivals, counted over one tick.
    arrivals = rng.poisson(level * STEP_SECONDS) / STEP_SECONDS
    arrivals[history:] *= np.repeat([*FAULTS.values()], EACH)
    padded = np.concatenate([np.full((120, count), np.nan), arrivals]).astype(np.float32)
    keys = tuple(SeriesKey(Entity.of(EntityKind.POOL, pool=f"p{n}"), "arrivals") for n in range(count))
    bank = make_bank()
    machine = Machine(bank.timing, IncidentSettings())
    fired: dict[str, list[int]] = {name: [] for name in names}
    for tick in range(rows):
        now = 1e6 + tick * STEP_SECONDS
        window = Window(now, STEP_SECONDS, padded[tick + 1 : tick + 121], keys, np.arange(1, count + 1))
        for move in machine.step(now, bank.step(window, now, (), (), machine.watched())):
            if move.began:
                fired[names[keys.index(move.alert.key.series) // EACH]].append(tick - history + 1)
    assert fired.pop("none") == []
    assert all(len(ticks) == EACH for ticks in fired.values()), fired
    assert all(min(ticks) > 0 and max(ticks) * STEP_SECONDS <= 180 for ticks in fired.values()), fired
