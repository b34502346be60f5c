"""Signals by conservation, by Little's law and by watching the plateau."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.signals.derive import Derivation
from aiops.signals.settings import NormaliseSettings
from aiops.signals.types import Entity, EntityKind, SeriesKey

NAN = float("nan")
REPLICA = Entity.of(EntityKind.REPLICA, job="j")
SETTINGS = NormaliseSettings()


def keys(*signals: str, entity: Entity = REPLICA) -> tuple[SeriesKey, ...]:
    return tuple(SeriesKey(entity, signal) for signal in signals)


def names(derivation: Derivation) -> list[str]:
    return [key.signal for key in derivation.keys]


def test_what_is_derived_depends_on_the_parts() -> None:
    every = Derivation(keys("running", "queue_len", "finished", "tokens_out"), SETTINGS)
    assert names(every) == ["arrivals", "itl", "max_running"]
    assert names(Derivation(keys("running", "queue_len", "finished", "arrivals"), SETTINGS)) == ["max_running"]
    assert names(Derivation(keys("queue_len", "finished"), SETTINGS)) == ["arrivals"]
    assert names(Derivation(keys("finished"), SETTINGS)) == []
    pool = Entity.of(EntityKind.POOL, pool="p")
    assert names(Derivation(keys("running", "queue_len", "finished", entity=pool), SETTINGS)) == []


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=30))
def test_arrivals_add_up_to_what_arrived(flow: list[tuple[int, int]]) -> None:
    """A queue served at most by what is in it: everything that came is told, to the last request."""
    derivation = Derivation(keys("running", "queue_len", "finished"), SETTINGS)
    derivation.step(np.array([0.0, 0.0, NAN]), NAN)
    inside, came, told = 0, 0, 0.0
    for arriving, leaving in flow:
        left = min(leaving, inside + arriving)
        inside += arriving - left
        came += arriving
        running = min(inside, 4)
        told += 5.0 * float(derivation.step(np.array([running, inside - running, left / 5.0]), 5.0)[0])
    assert told == pytest.approx(came)


def test_a_deficit_is_carried_and_not_lost() -> None:
    """The counter was read before a request left, the gauge after: −1 now, made good next time."""
    derivation = Derivation(keys("running", "finished"), SETTINGS)
    derivation.step(np.array([1.0, NAN]), NAN)
    assert derivation.step(np.array([0.0, 0.0]), 1.0).tolist() == [0.0]
    assert derivation.step(np.array([2.0, 3.0]), 1.0).tolist() == [4.0]


def test_itl_is_running_over_token_rate() -> None:
    derivation = Derivation(keys("running", "tokens_out"), SETTINGS)
    derivation.step(np.array([4.0, NAN]), NAN)
    assert derivation.step(np.array([6.0, 100.0]), 1.0).tolist() == [0.05]
    assert math.isnan(derivation.step(np.array([6.0, 0.0]), 1.0)[0])


def plateau(samples: list[tuple[float, float]]) -> float:
    derivation = Derivation(keys("running", "queue_len"), SETTINGS)
    answer = NAN
    for running, queue in samples:
        answer = float(derivation.step(np.array([running, queue]), 5.0)[0])
    return answer


def test_plateau_is_learnt_only_while_a_queue_stands() -> None:
    assert math.isnan(plateau([(9.0, 0.0)] * 50))
    assert math.isnan(plateau([(4.0, 60.0)] * 3))  # three samples, of which two have a queue before them
    assert plateau([(4.0, 60.0)] * 4) == 4.0
    assert plateau([(2.0, 0.0), (3.0, 5.0), *[(4.0, 60.0)] * 20, *[(1.0, 0.0)] * 100]) == 4.0


def test_plateau_ignores_a_dip_and_yields_to_a_lasting_one() -> None:
    assert plateau([(16.0, 9.0)] * 20 + [(15.0, 9.0)] * 3) == 16.0
    assert plateau([(16.0, 9.0)] * 20 + [(9.0, 9.0)] * 600) == 9.0


def test_state_follows_the_entities_to_another_layout() -> None:
    other = Entity.of(EntityKind.REPLICA, job="k")
    first = Derivation(keys("running", "finished"), SETTINGS)
    first.step(np.array([5.0, NAN]), NAN)
    both = keys("running", "finished", entity=other) + keys("running", "finished")
    second = Derivation(both, SETTINGS, first)
    np.testing.assert_equal(second.step(np.array([1.0, 2.0, 7.0, 2.0]), 1.0), [NAN, 4.0])
