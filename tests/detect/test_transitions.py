"""Transitions against a count in plain Python, and what they are there for."""

from collections import Counter

import numpy as np
import pytest

from aiops.detect.transitions import LEANING, PLACES, STEP, Transitions


def pushed(deviations: np.ndarray, known: np.ndarray | None = None, rows: int = 100) -> np.ndarray:
    known = np.ones(deviations.shape, bool) if known is None else known
    counts = Transitions(deviations.shape[1])
    parts = [counts.push(deviations[at : at + rows], known[at : at + rows]) for at in range(0, len(deviations), rows)]
    return np.concatenate(parts)


def slow(deviations: np.ndarray, known: np.ndarray) -> list[float]:
    half = PLACES // 2
    places = [max(-half, min(half, round(float(np.arcsinh(value)) / STEP))) for value in deviations]
    seen: Counter[tuple[int, ...]] = Counter()
    expected = []
    for row in range(len(places)):
        three = tuple(places[at] if at >= 0 else 0 for at in range(row - 2, row + 1))
        probability = 1 / PLACES
        for past in range(3):
            context = three[2 - past : 2]
            probability = (seen[*context, three[2]] + LEANING * probability) / (seen[context] + LEANING)
        expected.append(float(-np.log(min(probability, 1.0))) if known[row] else 0.0)
        if row % 100 == 99:
            for at in range(row - 99, row + 1):
                counted = tuple(places[back] if back >= 0 else 0 for back in range(at - 2, at + 1))
                seen.update([(), counted[2:], counted[1:], counted] if known[at] else [])
    return expected


def test_surprises_are_those_of_a_slow_count() -> None:
    rng = np.random.default_rng(1)
    deviations = np.sin(np.arange(450) / 4)[:, None] * 2 + rng.standard_t(3, (450, 3))
    known = rng.random((450, 3)) > 0.05
    result = pushed(deviations, known)
    for column in range(3):
        np.testing.assert_allclose(result[:, column], slow(deviations[:, column], known[:, column]), rtol=1e-12)


@pytest.mark.parametrize("rows", [1, 25])
def test_blocks_do_not_matter(rows: int) -> None:
    deviations = np.random.default_rng(2).standard_normal((300, 2))
    np.testing.assert_array_equal(pushed(deviations, rows=rows), pushed(deviations))


def test_usual_values_in_an_unusual_order_surprise() -> None:
    deviations = np.tile([-1.5, 0.0, 1.5], 400)[:, None]
    deviations[1100:1102] = deviations[[1101, 1100]]
    surprise = pushed(deviations)[:, 0]
    assert surprise[1000:1098].max() < 0.05
    assert surprise[1100:1102].min() > 5


def test_values_beyond_the_grid_are_the_outermost_place() -> None:
    deviations = np.zeros((200, 2))
    deviations[150] = [40.0, 1e90]
    surprise = pushed(deviations)
    assert surprise[150, 0] == surprise[150, 1] > 5
