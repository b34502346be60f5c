"""Bands against a slow oracle: what the detectors said at each tick, slot by slot."""

import numpy as np
import pytest

from aiops.detect.base import Scores
from aiops.store.bands import SLOTS, Bands


def said(score: list[float], lower: list[float], upper: list[float]) -> Scores:
    score_, lower_, upper_ = (np.array(part, np.float32) for part in (score, lower, upper))
    return Scores(score_, lower_, lower_, upper_)


GENERATION = np.array([1, 2], np.int64)


@pytest.mark.parametrize("rows", [SLOTS, 3 * SLOTS, 3 * SLOTS - 1])
def test_a_slot_keeps_the_last_band_and_the_highest_score(rows: int) -> None:
    noise = np.random.default_rng(1)
    bands, step = Bands(rows, 5.0), 5.0
    per_slot = -(-rows // SLOTS)
    scores, lowers = noise.uniform(0, 2, rows), noise.uniform(-9, 0, rows)
    for tick in range(rows):
        bands.append(tick * step, said([scores[tick]] * 2, [lowers[tick]] * 2, [1.0, 2.0]), GENERATION)
    at = np.arange(rows) * step
    found = bands.history(0, at)
    for tick in range(rows):
        slot = range(tick // per_slot * per_slot, min(rows, (tick // per_slot + 1) * per_slot))
        assert found.score[tick] == np.float32(max(scores[index] for index in slot))
        assert found.lower[tick] == np.float32(lowers[slot[-1]])
    assert (found.upper == 1.0).all()


def test_a_full_turn_forgets_the_oldest() -> None:
    bands = Bands(SLOTS, 1.0)
    for tick in range(SLOTS + 10):
        bands.append(float(tick), said([float(tick)] * 2, [0.0, 0.0], [1.0, 1.0]), GENERATION)
    found = bands.history(1, np.arange(SLOTS + 10, dtype=np.float64))
    assert np.isnan(found.score[:10]).all()
    assert found.score[10:].tolist() == list(range(10, SLOTS + 10))


def test_where_nothing_was_said_nothing_is_known() -> None:
    bands = Bands(SLOTS, 1.0)
    assert np.isnan(bands.history(0, np.array([1.0])).score).all()
    bands.append(0.0, said([np.nan, 1.0], [0.0, 0.0], [1.0, 1.0]), GENERATION)
    bands.append(100.0, said([0.5, np.nan], [0.0, -1.0], [1.0, 1.0]), GENERATION)  # the daemon slept in between
    found = bands.history(0, np.array([0.0, 50.0, 100.0]))
    assert np.isnan(found.lower[:2]).all()
    assert found.score[2] == 0.5
    assert np.isnan(bands.history(1, np.array([100.0])).lower)[0], "a band without a score is not one"


def test_a_new_owner_inherits_nothing_and_the_ring_may_grow() -> None:
    bands = Bands(SLOTS, 1.0)
    bands.append(0.0, said([1.0, 1.0], [0.0, 0.0], [1.0, 1.0]), GENERATION)
    other = np.array([1, 7, 8], np.int64)
    bands.append(1.0, said([0.2, 0.3, 0.4], [0.0] * 3, [1.0] * 3), other)
    at = np.array([0.0, 1.0])
    assert bands.history(0, at).score.tolist() == [np.float32(1.0), np.float32(0.2)]
    assert np.isnan(bands.history(1, at).score[0])
    assert bands.history(2, at).score[1] == np.float32(0.4)
    assert bands.memory_bytes == 3 * SLOTS * 3 * 4
