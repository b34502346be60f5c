"""Who is left out under overload: the decision over any times, and a bank that does without some of its detectors."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from aiops.detect.bank import DETECTORS, Bank
from aiops.detect.base import AlertKey, Guidance, Verdicts, Window
from aiops.detect.shedding import BUSY_TURNS, IDLE_TURNS, MOST_IDLE_TURNS, ORDER, Shedding
from aiops.signals.types import Entity, EntityKind, SeriesKey

INTERVAL = 5.0
LONG, SHORT, BETWEEN = 0.9 * INTERVAL, 0.1 * INTERVAL, 0.6 * INTERVAL
EVERY = frozenset(ORDER)


def through(state: Shedding, times: Iterable[float]) -> Shedding:
    for seconds in times:
        state = state.after(seconds, INTERVAL)
    return state


def test_all_but_the_z_score_may_be_left_out() -> None:
    assert set(DETECTORS) - {"zscore"} == EVERY
    assert ORDER[0] == "iforest"


def test_one_goes_after_some_long_turns_and_all_in_order() -> None:
    state, seen = Shedding(), []
    for _ in range(20 * BUSY_TURNS):
        state = state.after(LONG, INTERVAL)
        seen.append(state.count)
    assert seen[: 2 * BUSY_TURNS] == [0] * (BUSY_TURNS - 1) + [1] * BUSY_TURNS + [2]
    assert max(seen) == seen[-1] == len(ORDER)


def test_a_single_long_turn_and_turns_in_between_change_nothing() -> None:
    assert through(Shedding(), [LONG, LONG, SHORT] * 100).count == 0
    some = through(Shedding(), [LONG] * BUSY_TURNS)
    assert through(some, [BETWEEN] * 5000).count == 1


runs = st.lists(st.tuples(st.sampled_from([SHORT, BETWEEN, LONG]), st.integers(1, 60)))


@settings(max_examples=150, deadline=None)
@given(runs)
def test_over_any_times_it_moves_by_one_for_a_reason_and_comes_back_by_itself(drawn: list[tuple[float, int]]) -> None:
    state, past = Shedding(), list[float]()
    for seconds in (seconds for seconds, often in drawn for _ in range(often)):
        past.append(seconds)
        before, state = state, state.after(seconds, INTERVAL)
        assert state.left_out == frozenset(ORDER[: state.count])
        assert abs(state.count - before.count) <= 1
        if state.count > before.count:
            assert past[-BUSY_TURNS:] == [LONG] * BUSY_TURNS
        if state.count < before.count:
            assert past[-IDLE_TURNS:] == [SHORT] * IDLE_TURNS
    quiet = [SHORT] * (MOST_IDLE_TURNS + len(ORDER) * IDLE_TURNS)
    assert through(state, quiet).count == 0


def test_who_has_to_go_again_waits_longer_each_time_and_not_for_ever() -> None:
    state, waits = through(Shedding(), [LONG] * BUSY_TURNS), []
    for _ in range(8):
        waited = 0
        while state.count:
            state, waited = state.after(SHORT, INTERVAL), waited + 1
        waits.append(waited)
        state = through(state, [LONG] * BUSY_TURNS)
    assert waits[:3] == [IDLE_TURNS, 2 * IDLE_TURNS, 4 * IDLE_TURNS]
    assert waits[-1] == waits[-2] == MOST_IDLE_TURNS
    state = through(state, [SHORT] * (3 * MOST_IDLE_TURNS))  # back for good
    state = through(state, [LONG] * BUSY_TURNS)
    assert through(state, [SHORT] * IDLE_TURNS).count == 0


# The bank --------------------------------------------------------------------------------------------------------

REPLICAS = 6
SLOW = REPLICAS - 1


def keys(count: int = REPLICAS) -> tuple[SeriesKey, ...]:
    places = [Entity.of(EntityKind.REPLICA, job="vllm", instance=str(i), model_name="m") for i in range(count)]
    return tuple(SeriesKey(place, *of) for place in places for of in (("itl", "p95"), ("running", "")))


class Fleet:
    """Replicas at 30 ms between tokens with 8 requests each."""

    def __init__(self, bank: Bank, make_window: Callable[..., Window]) -> None:
        self.bank, self._window, self._rng = bank, make_window, np.random.default_rng(5)
        self.keys: tuple[SeriesKey | None, ...] = keys()
        self.generation = list(range(1, len(self.keys) + 1))
        self.rows: NDArray[Any] = np.full((80, len(self.keys)), np.nan, np.float32)
        self.tick = 0

    def step(self, slow: float = 1.0, *, watched: tuple[AlertKey, ...] = (), **guidance: Any) -> Verdicts:
        self.tick += 1
        row = np.tile([0.03, 8.0], len(self.keys) // 2) * (1 + 0.01 * self._rng.standard_normal(len(self.keys)))
        row[2 * SLOW] *= slow
        self.rows = np.vstack([self.rows[1:], row.astype(np.float32)])
        now = INTERVAL * self.tick
        window = self._window(self.rows, self.keys, now=now, generation=self.generation)
        return self.bank.step(window, now, (), (), watched, guidance=Guidance(**guidance))

    def votes(self, name: str) -> NDArray[np.float32]:
        scores = self.bank.scores()
        assert scores is not None
        return scores.votes[name]

    def learnt(self, name: str) -> dict[str, NDArray[Any]]:
        return {key: array for key, array in self.bank.state().items() if key.startswith(f"{name}.")}


@pytest.fixture
def fleet(make_bank: Callable[..., Bank], make_window: Callable[..., Window]) -> Fleet:
    fleet = Fleet(make_bank(), make_window)
    for _ in range(100):
        fleet.step()
    return fleet


def equal(one: dict[str, NDArray[Any]], other: dict[str, NDArray[Any]]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[key], other[key], equal_nan=True) for key in one)


@pytest.mark.parametrize("count", range(1, len(ORDER) + 1))
def test_who_is_left_out_says_and_learns_nothing(fleet: Fleet, count: int) -> None:
    left_out = frozenset(ORDER[:count])
    before = {name: fleet.learnt(name) for name in DETECTORS}
    assert np.isfinite(fleet.votes("peers")).any()
    for _ in range(20):
        fleet.step(left_out=left_out)
    for name in left_out:
        assert np.isnan(fleet.votes(name)).all(), name
        assert equal(before[name], fleet.learnt(name)), name
    assert np.isfinite(fleet.votes("zscore")).any()
    assert not equal(before["zscore"], fleet.learnt("zscore"))
    assert equal(before["peers"], fleet.learnt("peers")) == ("peers" in left_out)
    fleet.step()
    assert np.isfinite(fleet.votes("peers")).any()
    assert not equal(before["peers"], fleet.learnt("peers"))


def test_arrays_follow_the_series_also_of_who_is_left_out(fleet: Fleet) -> None:
    """A snapshot that is taken meanwhile must not give a series what was learnt of another one."""
    assert fleet.learnt("peers")["peers.count"][0] > 0
    fleet.keys = keys(REPLICAS + 2)
    fleet.generation = [100, *range(2, len(fleet.keys) + 1)]
    fleet.rows = np.hstack([fleet.rows, np.full((len(fleet.rows), 4), np.nan, np.float32)])
    fleet.step(left_out=EVERY)
    for name in ("peers", "residual", "arima", "drift"):
        arrays = [array for key, array in fleet.learnt(name).items() if ".fixed_" not in key]
        assert {array.shape[-1] for array in arrays} == {len(fleet.keys)}, name
    counts = fleet.learnt("peers")["peers.count"]
    assert counts[0] == 0
    assert counts[2] > 0


def test_an_alert_of_who_is_left_out_waits_for_it(
    make_bank: Callable[..., Bank], make_window: Callable[..., Window]
) -> None:
    """A replica that was always slow: only its peers tell."""
    fleet = Fleet(make_bank(), make_window)
    for _ in range(100):
        verdicts = fleet.step(3.0)
    (key,) = (key for key in verdicts.breaches if key.series == fleet.keys[2 * SLOW])
    assert [name for name, vote in verdicts.breaches[key].votes.items() if vote >= 1] == ["peers"]
    out: dict[str, Any] = {"left_out": frozenset({"iforest", "residual", "peers"}), "watched": (key,)}
    forgotten = fleet.step(3.0, **out)
    assert not forgotten.breaches
    assert key not in forgotten.held, "nobody said that it waits: it would be resolved as gone"
    waiting = fleet.step(3.0, awaited=frozenset({key}), **out)
    assert not waiting.breaches
    assert key in waiting.held & waiting.unknown
    gone = fleet.step(np.nan, awaited=frozenset({key}), **out)
    assert key in gone.unknown - gone.held, "no data is no data, whoever is left out"
    assert key in fleet.step(3.0, watched=(key,)).breaches
