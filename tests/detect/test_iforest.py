"""The forest against scikit-learn's own scores, and the detector around it."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from aiops.detect.base import Window
from aiops.detect.forest import Forest
from aiops.detect.iforest import LEAST_ROWS, MOST_ROWS, IForest
from aiops.detect.policy import AnomalyPolicy, Compiler
from aiops.detect.settings import DetectSettings
from aiops.signals.types import Entity, EntityKind, SeriesKey

IsolationForest = pytest.importorskip("sklearn.ensemble").IsolationForest
iforest_fit = pytest.importorskip("aiops.detect.iforest_fit")

SIGNALS = ("running", "queue_len", "arrivals", "tokens_out", "kv_use")
ROWS = 120


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(2, 600),
    features=st.integers(1, 9),
    digits=st.sampled_from([0, 2, 12]),
    share=st.sampled_from([1.0, 0.5]),
    seed=st.integers(0, 2**16),
)
def test_scores_are_those_of_scikit_learn(rows: int, features: int, digits: int, share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    known = np.round(rng.standard_normal((rows, features)) * 10 ** rng.uniform(-3, 6, features), digits)
    model = IsolationForest(n_estimators=20, max_samples=min(64, rows), max_features=share, random_state=seed).fit(
        known.astype(np.float32)
    )
    # Rows of the training data lie exactly on thresholds more often than others.
    asked = np.concatenate([known, known * 3, rng.standard_normal((50, features))]).astype(np.float32)
    score = iforest_fit.exported(model).score(asked)
    np.testing.assert_allclose(score, -model.score_samples(asked), rtol=0, atol=1e-6)


def test_shares_add_up_to_the_shortened_path() -> None:
    rng = np.random.default_rng(0)
    forest = iforest_fit.exported(
        IsolationForest(n_estimators=50, random_state=0).fit(rng.standard_normal((500, 4)).astype(np.float32))
    )
    for row in np.array([[0, 0, 0, 0], [0, 9, 0, 0], [0.5, -1, 0.3, 2]], np.float32):
        path = -np.log2(forest.score(row[np.newaxis])[0])
        root = forest.length[:, 0].mean() / forest.normal_length
        assert forest.shares(row).sum() == pytest.approx(root - path, abs=1e-5)
    shares = forest.shares(np.array([0, 9, 0, 0], np.float32))
    assert shares.argmax() == 1
    assert shares[1] > 0.8 * shares[shares > 0].sum()


def test_broken_arrays_are_refused() -> None:
    good = iforest_fit.grown(np.random.default_rng(0).standard_normal((300, 3)).astype(np.float32), trees=4)
    Forest.of(good)
    for name in ("feature", "threshold", "length"):
        with pytest.raises(ValueError, match="no complete trees"):
            Forest.of({**good, name: good[name][:, 1:]})


def replica(name: str, job: str = "vllm") -> Entity:
    return Entity.of(EntityKind.REPLICA, job=job, instance=name, model_name="m")


def window_of(entities: Sequence[Entity], values: NDArray[Any], *, signals: Sequence[str] = SIGNALS) -> Window:
    """``values`` [rows, entities, signals]."""
    keys = tuple(SeriesKey(entity, signal) for entity in entities for signal in signals)
    flat = np.asarray(values, np.float32).reshape(len(values), -1)
    return Window(1e6, 5.0, flat, keys, np.arange(1, len(keys) + 1))


def lively(entities: int, seed: int = 0) -> NDArray[Any]:
    """Queue, batch, arrivals and output follow one load, as those of a server do."""
    rng = np.random.default_rng(seed)
    load = 1 + 0.5 * np.sin(np.arange(ROWS) / 9)[:, np.newaxis, np.newaxis]
    level = np.array([8, 2, 5, 900, 0.4])
    noise: NDArray[Any] = level * load * (1 + 0.05 * rng.standard_normal((ROWS, entities, len(SIGNALS))))
    return noise


@pytest.fixture
def make(policy: AnomalyPolicy) -> Callable[[], IForest]:
    return lambda: IForest(DetectSettings(), Compiler(policy))


def grow(detector: IForest, window: Window) -> int:
    ask = detector.ask(window, 8)
    assert ask is not None
    return detector.accept(window, iforest_fit.fit(ask))


def test_the_odd_one_out_gets_the_vote_and_the_reason(make: Callable[[], IForest]) -> None:
    entities = [replica(str(i)) for i in range(6)]
    values = lively(6)
    detector = make()
    assert np.isnan(detector.score(window_of(entities, values)).score).all()
    assert grow(detector, window_of(entities, values)) == 1
    values[-1, 2, [1, 4]] = 30, 0.99  # a full cache and a queue at ordinary load
    window = window_of(entities, values)
    scores = detector.score(window)
    votes = scores.score.reshape(6, -1)
    assert (votes == votes[:, :1]).all(), "one vote per entity, on all its series"
    assert votes[:, 0].argmax() == 2
    assert votes[2, 0] > 1
    assert np.isnan(scores.expected).all()
    shares = detector.shares(window, entities[2])
    assert set(sorted(shares, key=shares.__getitem__)[-2:]) == {("kv_use", ""), ("queue_len", "")}
    np.testing.assert_array_equal(detector.score(window).score, scores.score)


def test_signals_may_come_and_go(make: Callable[[], IForest]) -> None:
    entities = [replica(str(i)) for i in range(4)]
    values = lively(4)
    detector = make()
    grow(detector, window_of(entities, values))
    more = np.concatenate([values, values[..., :1] * 7], axis=2)
    new = detector.score(window_of(entities, more, signals=(*SIGNALS, "errors"))).score.reshape(4, -1)
    np.testing.assert_array_equal(new[:, :5], detector.score(window_of(entities, values)).score.reshape(4, -1))
    assert np.isnan(new[:, 5]).all(), "a signal that the forest does not know has no vote"
    fewer = detector.score(window_of(entities, values[..., :4], signals=SIGNALS[:4])).score
    assert np.isfinite(fewer).all()
    values[-1, 0, :2] = np.nan
    values[-1, 1, :3] = np.nan
    partly = detector.score(window_of(entities, values)).score.reshape(4, -1)
    assert np.isnan(partly[0]).tolist() == [True, True, False, False, False]
    assert np.isnan(partly[1]).all(), "too little is known"


def test_a_missing_value_counts_as_the_median(make: Callable[[], IForest]) -> None:
    entities = [replica(str(i)) for i in range(4)]
    values = lively(4)
    detector = make()
    grow(detector, window_of(entities, values))
    gap, filled = values.copy(), values.copy()
    gap[-1, 0, 1] = np.nan
    filled[-1, 0, 1] = np.median(values[..., 1].astype(np.float32))
    assert detector.score(window_of(entities, gap)).score[0] == detector.score(window_of(entities, filled)).score[0]


def test_one_forest_per_role(make: Callable[[], IForest]) -> None:
    entities = [*(replica(str(i)) for i in range(3)), *(replica(str(i), "other") for i in range(3))]
    target = Entity.of(EntityKind.TARGET, job="x", instance="1")
    values = lively(7)
    detector = make()
    window = window_of([*entities, target], values)
    ask = detector.ask(window, 8)
    assert ask is not None
    assert int(ask["count"]) == 2
    assert detector.ask(window, 8) is None, "asked for already"
    detector.accept(window, iforest_fit.fit(ask))
    score = detector.score(window).score.reshape(7, -1)
    assert np.isfinite(score[:6]).all()
    assert np.isnan(score[6]).all()


def test_training_rows_are_bounded_and_fair(make: Callable[[], IForest]) -> None:
    entities = [replica(str(i)) for i in range(80)]
    values = lively(80)
    values[..., 0] = np.arange(80)
    ask = make().ask(window_of(entities, values), 1)
    assert ask is not None
    rows = ask["0.rows"]
    assert LEAST_ROWS <= len(rows) <= MOST_ROWS
    counts = np.bincount(rows[:, 0].astype(int), minlength=80)
    assert counts.min() > 0
    assert make().ask(window_of(entities[:1], values[:, :1]), 1) is None, "too few rows"


def test_state_makes_the_round_trip(make: Callable[[], IForest]) -> None:
    entities = [replica(str(i)) for i in range(4)]
    window = window_of(entities, lively(4))
    detector, again = make(), make()
    grow(detector, window)
    state = detector.state()
    assert all(name.startswith("fixed_") for name in state), "not per column"
    again.restore(state)
    np.testing.assert_array_equal(again.score(window).score, detector.score(window).score)
    assert again.ask(window, 1) is None, "the age of a forest is kept"
    again.relearn(window, np.ones(len(window.keys), np.bool_))
    assert again.ask(window, 1) is not None
    for name in state:
        with pytest.raises(ValueError, match="lacks the array"):
            make().restore({key: array for key, array in state.items() if key != name})
