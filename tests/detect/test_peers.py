"""Peers against a slow oracle, what is never judged, and what is learnt of a member."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from aiops.detect.base import Window
from aiops.detect.peers import Peers, others
from aiops.detect.policy import AnomalyPolicy, Compiler
from aiops.detect.settings import DetectSettings
from aiops.signals.types import Entity, EntityKind, SeriesKey

NAN = float("nan")


def replica(name: str, job: str = "vllm") -> Entity:
    return Entity.of(EntityKind.REPLICA, job=job, instance=name, model_name="m")


def gpu(name: str, **labels: str) -> Entity:
    return Entity.of(EntityKind.GPU, gpu=name, **{"node": "n1", **labels})


@pytest.fixture
def detector(policy: AnomalyPolicy) -> Callable[..., Peers]:
    def make(**options: object) -> Peers:
        return Peers(DetectSettings(**options), Compiler(policy))  # type: ignore[arg-type]

    return make


def naive(values: list[float], groups: list[int]) -> tuple[list[float], ...]:
    """One member at a time."""
    centres, spreads, peers = [], [], []
    for place, group in enumerate(groups):
        rest = [v for i, v in enumerate(values) if groups[i] == group and i != place]
        every = np.array([*rest, values[place]])
        mad = np.median(np.abs(every - np.median(every)))
        wider = len(every) / (len(every) - 0.8) * np.sqrt(1 + 1.5708 / max(len(rest), 1))
        enough = len(rest) >= 3
        centres.append(float(np.median(rest)) if enough else NAN)
        spreads.append(float(mad * 1.4826 * wider) if enough else NAN)
        peers.append(float(len(rest)) if enough else NAN)
    return centres, spreads, peers


members = st.lists(st.tuples(st.floats(-1e5, 1e5, width=32), st.integers(0, 4)), max_size=40)


@settings(max_examples=80, deadline=None)
@given(members)
def test_it_equals_one_member_at_a_time(drawn: list[tuple[float, int]]) -> None:
    values, groups = [value for value, _ in drawn], [group for _, group in drawn]
    fast = others(np.array(values, np.float32), np.array(groups, np.intp))
    for array, slow in zip(fast, naive(values, groups), strict=True):
        np.testing.assert_allclose(array, slow, rtol=1e-4, atol=0.1)


def score(model: Peers, window: Window) -> NDArray[np.float32]:
    return model.score(window).score


def test_a_slow_replica_is_seen_at_age_zero(detector: Callable, make_window: Callable) -> None:
    keys = tuple(SeriesKey(replica(name), "itl", "mean") for name in "abcd")
    model, window = detector(), make_window([[0.024, 0.050, 0.025, 0.023]], keys)
    scores = model.score(window)
    assert scores.score[1] > 1.5
    assert (scores.score[[0, 2, 3]] < 0.5).all()
    assert scores.expected[1] == pytest.approx(0.024)
    assert scores.upper[1] < 0.05
    assert np.isneginf(scores.lower[1])
    assert model.explain(1) == "2.1 × the median of its 3 peers, 0.024 seconds"
    model.learn(window, np.ones(4, np.bool_))
    assert model.explain(1) == ""


def test_two_slow_ones_of_four_do_not_accuse_the_others(detector: Callable, make_window: Callable) -> None:
    keys = tuple(SeriesKey(replica(name), "itl", "mean") for name in "abcd")
    found = score(detector(), make_window([[0.024, 0.050, 0.025, 0.051]], keys))
    assert not (found >= 1).any()


def test_too_few_peers_are_no_judges(detector: Callable, make_window: Callable) -> None:
    keys = tuple(SeriesKey(replica(name), "itl", "mean") for name in "abcd")
    assert np.isnan(score(detector(), make_window([[0.02, 0.09, 0.02, NAN]], keys))).all()
    apart = tuple(SeriesKey(replica(name, job), "itl", "mean") for name, job in zip("abcd", "xxyy", strict=True))
    assert np.isnan(score(detector(), make_window([[0.02, 0.09, 0.02, 0.02]], apart))).all()


def test_an_unknown_member_is_unknown_and_no_peer(detector: Callable, make_window: Callable) -> None:
    keys = tuple(SeriesKey(replica(name), "itl", "mean") for name in "abcde")
    found = score(detector(), make_window([[0.02, 0.09, 0.02, NAN, 0.02]], keys))
    assert np.isnan(found).tolist() == [False, False, False, True, False]
    assert found[1] > 1


def test_signals_without_meaning_among_peers_are_left_out(detector: Callable, make_window: Callable) -> None:
    keys = tuple(SeriesKey(replica(name), "restarts") for name in "abcd")
    pools = tuple(SeriesKey(Entity.of(EntityKind.POOL, pool=name), "itl", "mean") for name in "abcd")
    assert np.isnan(score(detector(), make_window([[1, 2, 30, 4]], keys))).all()
    assert np.isnan(score(detector(), make_window([[1, 2, 30, 4]], pools))).all()


def test_a_hot_gpu_among_siblings(detector: Callable, make_window: Callable) -> None:
    keys = tuple(SeriesKey(gpu(name), "gpu_temp") for name in "abcdefgh")
    model = detector()
    found = score(model, make_window([[60, 62, 61, 84, 59, 61, 63, 60]], keys))
    assert np.flatnonzero(found >= 1).tolist() == [3]
    assert model.explain(3) == "23 celsius above the median of its 7 peers, 61 celsius"


def test_a_busy_gpu_among_idle_ones_is_not_compared(detector: Callable, make_window: Callable) -> None:
    entities = [gpu(name) for name in "abcdefgh"]
    keys = (*(SeriesKey(e, "gpu_temp") for e in entities), *(SeriesKey(e, "gpu_util") for e in entities))
    idle, busy = [33, 34, 33, 35, 34, 33], [70, 71]
    found = score(detector(), make_window([[*idle, *busy, *[0.0] * 6, 0.9, 0.8]], keys))
    assert np.isnan(found[6:]).all()
    assert (found[:6] < 1).all()


def test_slices_of_a_gpu_are_not_compared(detector: Callable, make_window: Callable) -> None:
    keys = tuple(SeriesKey(gpu("a", mig=str(i)), "gpu_temp") for i in range(5))
    assert np.isnan(score(detector(), make_window([[60, 60, 90, 60, 60]], keys))).all()


def test_score_is_pure_and_learning_is_not(detector: Callable, make_window: Callable) -> None:
    keys = tuple(SeriesKey(replica(name), "itl", "mean") for name in "abcde")
    rows = np.random.default_rng(1).lognormal(-4, 0.3, (40, 5))
    often, once = detector(), detector()
    for row in rows:
        window = make_window([row], keys)
        first = often.score(window)
        often.score(make_window([row[::-1]], keys))
        np.testing.assert_array_equal(first.score, often.score(window).score)
        for model in (often, once):
            model.learn(window, np.ones(5, np.bool_))
    for name, array in once.state().items():
        np.testing.assert_array_equal(array, often.state()[name])
    assert (once.state()["count"] == 40).all()
    assert (once.state()["variance"] > 0).all()


def test_a_member_that_always_strays_gets_a_wider_band(detector: Callable, make_window: Callable) -> None:
    keys = tuple(SeriesKey(replica(name), "itl", "mean") for name in "abcdef")
    rng, model = np.random.default_rng(2), detector()
    last = make_window([[0.02] * 5 + [0.038]], keys)
    before = score(model, last)[5]
    assert before > 1
    for _ in range(600):
        row = 0.02 * rng.lognormal(0, [0.02] * 5 + [0.25])
        model.learn(make_window([row], keys), np.ones(6, np.bool_))
    assert score(model, last)[5] < 1 < before
    assert score(model, make_window([[0.02] * 4 + [0.038, 0.02]], keys))[4] > 1


def test_an_incident_does_not_excuse_itself(detector: Callable, make_window: Callable) -> None:
    keys, model = tuple(SeriesKey(replica(name), "itl", "mean") for name in "abcdef"), detector()
    window = make_window([[0.02] * 5 + [0.05]], keys)
    for _ in range(1000):
        found = score(model, window)
        model.learn(window, ~(found >= 1))
    assert score(model, window)[5] > 1


def test_a_lasting_difference_can_be_accepted(detector: Callable, make_window: Callable) -> None:
    keys, model = tuple(SeriesKey(replica(name), "itl", "mean") for name in "abcd"), detector()
    rows = [[0.02, 0.02, 0.05, 0.02]] * 70
    window = make_window(rows, keys)
    assert score(model, window)[2] > 1
    model.relearn(window, np.array([False, False, True, False]))
    assert score(model, window)[2] == pytest.approx(0, abs=1e-3)
    assert score(model, make_window([[0.02, 0.02, 0.1, 0.02]], keys))[2] > 1
    fresh = detector()
    fresh.restore(model.state())
    np.testing.assert_array_equal(score(fresh, window), score(model, window))


def test_a_new_owner_starts_anew_and_the_window_may_grow(detector: Callable, make_window: Callable) -> None:
    keys, model = tuple(SeriesKey(replica(name), "itl", "mean") for name in "abcd"), detector()
    window = make_window([[0.02, 0.02, 0.05, 0.02]] * 70, keys)
    model.relearn(window, np.ones(4, np.bool_))
    other = (*keys[:2], SeriesKey(replica("z"), "itl", "mean"), keys[3], None, SeriesKey(replica("y"), "itl", "mean"))
    grown = make_window([[0.02, 0.02, 0.05, 0.02, NAN, 0.02]], other, generation=[1, 2, 9, 4, 5, 6])
    found = score(model, grown)
    assert found[2] > 1
    assert np.isnan(found[4])
    assert model.state()["offset"].tolist() == [0] * 6


def test_an_empty_window_is_fine(detector: Callable, make_window: Callable) -> None:
    model, window = detector(), make_window([[NAN, NAN]], (None, None))
    assert np.isnan(score(model, window)).all()
    model.learn(window, np.zeros(2, np.bool_))
    model.relearn(window, np.ones(2, np.bool_))
