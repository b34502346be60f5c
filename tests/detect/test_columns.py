"""Per-column state follows its owners."""

from collections.abc import Callable

import numpy as np
import pytest

from aiops.detect.base import Window
from aiops.detect.columns import ColumnState

NAN = float("nan")


def test_it_grows_with_the_window_and_keeps_what_was_there(make_window: Callable, make_keys: Callable) -> None:
    state = ColumnState(level=7.0)
    state.follow(make_window([[0, 0]], make_keys(2)))
    state["level"][:] = (1, 2)
    state.follow(make_window([[0, 0, 0]], make_keys(3)))
    assert state["level"].tolist() == [1, 2, 7]


def test_a_new_owner_starts_blank_and_the_others_stay(make_window: Callable, make_keys: Callable) -> None:
    state = ColumnState(level=0.0, count=0.0)
    state.follow(make_window([[0, 0, 0]], make_keys(3)))
    state["level"][:] = state["count"][:] = (1, 2, 3)
    state.follow(make_window([[0, 0, 0]], make_keys(3), generation=[1, 9, 3]))
    assert state["level"].tolist() == state["count"].tolist() == [1, 0, 3]


def test_restored_columns_belong_to_the_next_window(make_window: Callable, make_keys: Callable) -> None:
    state = ColumnState(level=5.0)
    state.restore({"level": np.array([1.0, NAN, 3.0])})
    state.follow(make_window([[0, 0, 0, 0]], make_keys(4), generation=[40, 41, 42, 43]))
    assert state["level"].tolist() == [1, 5, 3, 5]


def test_state_is_a_copy(make_window: Callable, make_keys: Callable) -> None:
    state = ColumnState(level=0.0)
    state.follow(make_window([[0]], make_keys(1)))
    saved = state.state()
    state["level"][:] = 4
    assert saved["level"].tolist() == [0]


def test_bad_state_is_refused() -> None:
    state = ColumnState(level=0.0, count=0.0)
    with pytest.raises(ValueError, match="lacks the arrays count"):
        state.restore({"level": np.zeros(2)})
    with pytest.raises(ValueError, match="one length"):
        state.restore({"level": np.zeros(2), "count": np.zeros(3)})


def test_owners_that_change_in_place_are_seen(make_window: Callable, make_keys: Callable) -> None:
    state, owners = ColumnState(level=0.0), np.array([1, 2])
    window = Window(0.0, 5.0, np.zeros((1, 2), np.float32), make_keys(2), owners)
    state.follow(window)
    state["level"][:] = (1, 2)
    owners[1] = 9
    state.follow(window)
    assert state["level"].tolist() == [1, 0]
