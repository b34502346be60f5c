"""The six faults that the public recording rules were measured on: drop to 0, × 10, ± 40 %, ± 70 %, and no fault.

And faults that no single tick shows.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from aiops.detect.base import Window
from aiops.incidents.machine import Machine
from aiops.incidents.settings import IncidentSettings
from aiops.signals.types import Entity, EntityKind, SeriesKey

STEP_SECONDS = 30.0
EACH = 20
FAULTS = {"zero": 0.0, "tenfold": 10.0, "+70 %": 1.7, "+40 %": 1.4, "-40 %": 0.6, "-70 %": 0.3, "none": 1.0}
FAULT_TICKS = 14
"""7 minutes."""


def fired(
    make_bank: Callable[..., Any], table: NDArray[Any], keys: tuple[SeriesKey, ...], step_seconds: float
) -> Iterator[tuple[int, int]]:
    """Tick and column of each alert, as rows of ``table`` [ticks, columns] come in."""
    padded = np.concatenate([np.full((120, len(keys)), np.nan), table]).astype(np.float32)
    bank = make_bank()
    machine = Machine(bank.timing, IncidentSettings())
    for tick in range(len(table)):
        now = 1e6 + tick * step_seconds
        window = Window(now, step_seconds, padded[tick + 1 : tick + 121], keys, np.arange(1, len(keys) + 1))
        for move in machine.step(now, bank.step(window, now, (), (), machine.watched())):
            if move.began:
                yield tick, keys.index(move.alert.key.series)


@pytest.mark.parametrize("history", [90, 2000], ids=["45 minutes old", "17 hours old"])
def test_all_are_caught_within_3_minutes_and_nothing_else(make_bank: Callable[..., Any], history: int) -> None:
    rng, names = np.random.default_rng(4), list(FAULTS)
    count, rows = EACH * len(FAULTS), history + FAULT_TICKS
    days = np.arange(rows)[:, None] * STEP_SECONDS / 86_400 + rng.random(count)
    level = rng.uniform(18, 24, count) + 3 * np.sin(2 * np.pi * days)
    # Poisson arrivals, counted over one tick.
    arrivals = rng.poisson(level * STEP_SECONDS) / STEP_SECONDS
    arrivals[history:] *= np.repeat([*FAULTS.values()], EACH)
    keys = tuple(SeriesKey(Entity.of(EntityKind.POOL, pool=f"p{n}"), "arrivals") for n in range(count))
    found: dict[str, list[int]] = {name: [] for name in names}
    for tick, column in fired(make_bank, arrivals, keys, STEP_SECONDS):
        found[names[column // EACH]].append(tick - history + 1)
    assert found.pop("none") == []
    assert all(len(ticks) == EACH for ticks in found.values()), found
    assert all(min(ticks) > 0 and max(ticks) * STEP_SECONDS <= 180 for ticks in found.values()), found


def test_few_requests_a_tick_tell_enough_in_a_row(make_bank: Callable[..., Any]) -> None:
    """A pool of 5 requests/s falls to a quarter, prefill on replicas of 1 request/s takes three times as long; each is
    within the noise of one tick of 5 s. Half of the series stay as they are."""
    rng, step, history, count = np.random.default_rng(5), 5.0, 264, 20
    struck = np.arange(count) % 2 == 0
    arrivals, requests = rng.poisson(24.0, (history + 36, count)), rng.poisson(5.0, (history + 36, count))
    first_token = 0.07 + rng.gamma(1.3 * np.maximum(requests, 1), 0.03) / np.maximum(requests, 1)
    arrivals[history:, struck] = rng.poisson(6.0, (36, count // 2))
    first_token[history:, struck] += rng.gamma(1.3 * 5, 0.06, (36, count // 2)) / 5
    table = np.concatenate([arrivals / step, np.where(requests > 0, first_token, np.nan)], axis=1)
    keys = (
        *(SeriesKey(Entity.of(EntityKind.POOL, pool=f"p{n}"), "arrivals") for n in range(count)),
        *(SeriesKey(Entity.of(EntityKind.REPLICA, job="v", instance=f"r{n}"), "ttft", "mean") for n in range(count)),
    )
    found = list(fired(make_bank, table, keys, step))
    assert min(tick for tick, _ in found) >= history
    assert {column for _, column in found} == set(np.flatnonzero(np.tile(struck, 2)).tolist())


@pytest.mark.parametrize("length", [24, 36, 300], ids=["2 minutes", "3 minutes", "25 minutes"])
def test_a_second_fault_is_found_like_the_first(make_bank: Callable[..., Any], length: int) -> None:
    """The first one is no yardstick for what is usual, neither while it lasts nor when it goes."""
    rng, step, first, again, count = np.random.default_rng(6), 5.0, 400, 400 + length + 300, 20
    heat = 60 + 1.5 * rng.standard_normal((again + 36, count))
    heat[first : first + length] += 25
    heat[again:] += 25
    keys = tuple(SeriesKey(Entity.of(EntityKind.GPU, gpu=f"g{n}", node=f"n{n}"), "gpu_temp") for n in range(count))
    found = list(fired(make_bank, heat, keys, step))
    assert {column for tick, column in found if first <= tick < first + 36} == set(range(count))
    assert {column for tick, column in found if again <= tick} == set(range(count))
    assert all(first <= tick < first + 36 or again <= tick for tick, _ in found)
