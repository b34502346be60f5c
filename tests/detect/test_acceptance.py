"""When an incident opens, what counts back, and what is accepted."""

from collections.abc import Callable
from typing import Any

import numpy as np

from aiops.detect.acceptance import MOST_PATIENCE, Acceptance, at_rest
from aiops.detect.base import Scores

NAN = float("nan")


def test_an_incident_opens_once_and_is_accepted_when_it_rests(make_window: Callable, make_keys: Callable) -> None:
    acceptance, patience = Acceptance(3, 40 * 5.0), 40
    ones: np.ndarray[Any, Any] = np.ones(2, np.float32)
    scores, out, rows = Scores(ones, ones, -ones, 3 * ones), np.ones(2, np.bool_), np.ones((60, 2))
    opened, shifted = [], []
    for tick in range(200):
        rows = np.vstack([rows[1:], [50, 50 + tick]])
        window = make_window(rows, make_keys(2), now=5.0 * tick)
        began, accepted = acceptance.step(window, scores, out, ~out)
        opened += [(tick, column) for column in np.flatnonzero(began)]
        shifted += [(tick, column) for column in np.flatnonzero(accepted)]
        acceptance.begin_anew(accepted)
    assert opened[:2] == [(2, 0), (2, 1)]
    firsts = {column: next(tick for tick, one in shifted if one == column) for column in (0, 1)}
    assert firsts[0] == patience - 1
    assert firsts[1] == MOST_PATIENCE * patience - 1, "what still moves must stay out longer"
    assert (patience + 2, 0) in opened, "after that it is counted anew"


def test_it_comes_to_rest() -> None:
    rows = np.array([[0, 0, NAN, 0], [0, 0, NAN, 0], [0, 3, 5, NAN], [1, 3, 5, NAN]], np.float32)
    half = np.full(4, 2, np.float32)
    assert at_rest(rows, half)[:2].tolist() == [True, False]
