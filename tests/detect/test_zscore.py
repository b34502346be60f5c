"""The z-score detector against a slow oracle, its invariants, and what it must see and must not."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from aiops.detect.base import Window
from aiops.detect.policy import AnomalyPolicy, Compiler
from aiops.detect.settings import DetectSettings, Estimator
from aiops.detect.zscore import ONSET_PARDON, ONSET_POINTS, WIDEN, ZScore
from aiops.signals.types import Entity, EntityKind, SeriesKey

NAN = float("nan")
QUICK = {"minimum_samples": 8, "level_memory_points": 10, "scale_memory_points": 60}


class Naive:
    """The formula for one series, one point at a time; float64, no arrays, high side only."""

    def __init__(self, options: DetectSettings, noise: float, relative: float, minimum: float, part: float) -> None:
        self.options, self.noise, self.relative, self.minimum, self.part = options, noise, relative, minimum, part
        self.level = self.variance = 0.0
        self.count, self.run = 0, 0.0

    def half(self) -> float:
        least = self.noise**2 + (self.relative * self.level) ** 2
        spread = self.options.threshold_sigma * math.sqrt(max(self.variance, least))
        return max(spread, self.minimum, self.part * abs(self.level))

    def point(self, x: float) -> float:
        if math.isnan(x):
            return NAN
        half, residual, ready = self.half(), x - self.level, self.count >= self.options.minimum_samples
        score = max(residual, 0.0) / half if ready else NAN
        outside = ready and score >= 1
        quiet = not outside
        if (quiet or self.run < ONSET_POINTS) and self.count > 0:
            gain = 1 / min(max(self.count, 1), self.options.scale_memory_points)
            more = gain * (residual**2 - self.variance)
            self.variance += min(more, WIDEN * (half / self.options.threshold_sigma) ** 2) if ready else more
        if quiet:
            self.level += residual / min(self.count + 1, self.options.level_memory_points)
            self.count += 1
        self.run = self.run + 1 if outside else max(self.run - ONSET_PARDON, 0)
        return score


@pytest.fixture
def detector(policy: AnomalyPolicy) -> Callable[..., ZScore]:
    def make(**options: object) -> ZScore:
        return ZScore(DetectSettings(**options), Compiler(policy))  # type: ignore[arg-type]

    return make


def windows(table: NDArray[np.float32], keys: tuple[SeriesKey, ...], *, rows: int = 60) -> list[Window]:
    generation = np.arange(1, len(keys) + 1)
    padded = np.vstack([np.full((rows, len(keys)), np.nan, np.float32), table.astype(np.float32)])
    return [Window(5.0 * i, 5.0, padded[i + 1 : i + 1 + rows], keys, generation) for i in range(len(table))]


def run(detector: ZScore, table: NDArray[np.float32], keys: tuple[SeriesKey, ...]) -> NDArray[np.float32]:
    scores = np.empty(table.shape, np.float32)
    for i, window in enumerate(windows(table, keys)):
        scores[i] = detector.score(window).score
        detector.learn(window, ~(scores[i] >= 1))
    return scores


def test_it_equals_the_naive_formula(detector: Callable, make_keys: Callable, policy: AnomalyPolicy) -> None:
    rng = np.random.default_rng(7)
    table = rng.lognormal(-1, 0.5, (400, 12)).astype(np.float32)
    table[rng.random(table.shape) < 0.1] = np.nan
    table[200:206, 3] *= 30
    fast = run(detector(**QUICK), table, make_keys(12))
    unit, watch = policy.units["seconds"], next(one for one in policy.watch if one.signal == "ttft")
    assert watch.minimum is not None
    slow = np.empty_like(fast)
    for column in range(12):
        naive = Naive(DetectSettings(**QUICK), unit.noise, unit.relative_noise, watch.minimum, unit.minimum_relative)
        slow[:, column] = [naive.point(float(x)) for x in table[:, column]]
    assert (slow >= 1).any()
    np.testing.assert_allclose(fast, slow, rtol=2e-3, atol=1e-4)


numbers = st.floats(-1e6, 1e6, width=32) | st.just(NAN)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(numbers, numbers), min_size=5, max_size=60), st.sampled_from(list(Estimator)))
def test_columns_do_not_feel_each_other(
    policy: AnomalyPolicy, points: list[tuple[float, float]], estimator: Estimator
) -> None:
    keys = tuple(SeriesKey(Entity.of(EntityKind.REPLICA, instance=name), "arrivals") for name in ("a", "b"))
    options = DetectSettings(**QUICK, estimator=estimator)  # type: ignore[arg-type]
    table = np.array(points, np.float32)
    alone = table.copy()
    alone[:, 1] = np.nan
    together = run(ZScore(options, Compiler(policy)), table, keys)
    lonely = run(ZScore(options, Compiler(policy)), alone, keys)
    np.testing.assert_array_equal(together[:, 0], lonely[:, 0])
    assert np.isnan(lonely[:, 1]).all()
    assert not (together < 0).any()


@settings(max_examples=30, deadline=None)
@given(st.lists(numbers, min_size=20, max_size=60), st.integers(10, 19))
def test_the_past_does_not_know_the_future(policy: AnomalyPolicy, points: list[float], cut: int) -> None:
    keys = (SeriesKey(Entity.of(EntityKind.REPLICA, instance="a"), "arrivals"),)
    table = np.array(points, np.float32)[:, None]
    options = DetectSettings(**QUICK)  # type: ignore[arg-type]
    whole = run(ZScore(options, Compiler(policy)), table, keys)
    part = run(ZScore(options, Compiler(policy)), table[:cut], keys)
    np.testing.assert_array_equal(whole[:cut], part)


def test_score_is_pure(detector: Callable, make_keys: Callable) -> None:
    table = np.random.default_rng(1).normal(1, 0.1, (80, 3)).astype(np.float32)
    keys = make_keys(3)
    asked_often, asked_once = detector(**QUICK), detector(**QUICK)
    for window in windows(table, keys):
        first = asked_often.score(window)
        np.testing.assert_array_equal(first.score, asked_often.score(window).score)
        other = Window(window.now, 5.0, window.values[::-1], keys, window.generation)
        asked_often.score(other)
        everywhere = np.ones(3, np.bool_)
        asked_often.learn(window, everywhere)
        asked_once.learn(window, everywhere)
    for name, array in asked_once.state().items():
        np.testing.assert_array_equal(array, asked_often.state()[name])


def test_a_new_owner_of_a_column_is_unknown(detector: Callable, make_keys: Callable) -> None:
    model, keys = detector(**QUICK), make_keys(2)
    run(model, np.ones((40, 2), np.float32), keys)
    rows = np.ones((60, 2), np.float32)
    score = model.score(Window(0.0, 5.0, rows, keys, np.array([1, 77]))).score
    assert score[0] == 0
    assert np.isnan(score[1])


def test_it_grows_with_the_window(detector: Callable, make_keys: Callable) -> None:
    model = detector(**QUICK)
    run(model, np.ones((40, 2), np.float32), make_keys(2))
    keys = make_keys(5)
    score = model.score(Window(0.0, 5.0, np.ones((60, 5), np.float32), keys, np.arange(1, 6))).score
    assert score[:2].tolist() == [0, 0]
    assert np.isnan(score[2:]).all()


def test_it_goes_on_from_saved_state(detector: Callable, make_keys: Callable) -> None:
    table = np.random.default_rng(3).normal(1, 0.1, (200, 4)).astype(np.float32)
    keys = make_keys(4)
    whole = run(detector(**QUICK), table, keys)
    first, second = detector(**QUICK), detector(**QUICK)
    run(first, table[:100], keys)
    second.restore(first.state())
    np.testing.assert_array_equal(run(second, table[100:], keys), whole[100:])


def test_it_waits_for_enough_points(detector: Callable, make_keys: Callable) -> None:
    table = np.full((70, 1), 2.0, np.float32)
    table[::2] = NAN
    score = run(detector(minimum_samples=30), table, make_keys(1))[:, 0]
    assert np.isnan(score[:61]).all()
    assert score[61] == 0
    assert np.isnan(score[62])


@pytest.mark.parametrize("estimator", list(Estimator))
def test_stationary_noise_is_silent(detector: Callable, make_keys: Callable, estimator: Estimator) -> None:
    """Budget: no breach in 200 000 judged points of Gaussian, AR(1) and uniform noise."""
    rng = np.random.default_rng(11)
    steps, count = 4000, 60
    gauss = 20 + rng.normal(0, 2, (steps, count))
    level = np.zeros((steps, count))
    for i in range(1, steps):
        level[i] = 0.95 * level[i - 1] + rng.normal(0, 1, count)
    table = np.hstack([gauss, 50 + level, rng.uniform(5, 15, (steps, count))]).astype(np.float32)
    keys = make_keys(3 * count, "arrivals", "")
    score = run(detector(estimator=estimator), table, keys)
    assert np.isfinite(score[100:]).all()
    assert not (score >= 1).any()


def test_heavy_tails_never_fire_three_times_in_four(detector: Callable, make_keys: Callable) -> None:
    """Budget: under 1 point in 1 000 of lognormal noise, and no alert at 3 of 4."""
    table = np.random.default_rng(5).lognormal(0, 0.5, (4000, 50)).astype(np.float32)
    outside = run(detector(), table, make_keys(50)) >= 1
    assert outside.mean() < 1e-3
    four = sum(outside[i : len(outside) - 3 + i].astype(int) for i in range(4))
    assert not (four >= 3).any()


@pytest.mark.parametrize(
    "case",
    [
        ("arrivals", 0.0, True), ("arrivals", 10.0, True), ("arrivals", 1.7, True), ("arrivals", 0.3, True),
        ("queue_len", 10.0, True), ("queue_len", 0.0, False), ("tokens_out", 0.0, True), ("tokens_out", 10.0, False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("estimator", list(Estimator))
def test_it_sees_steps_on_the_side_that_hurts(
    detector: Callable, make_keys: Callable, case: tuple[str, float, bool], estimator: Estimator
) -> None:
    signal, factor, seen = case
    rng = np.random.default_rng(2)
    t = np.arange(1600)
    wave = 200 + 30 * np.sin(2 * np.pi * t / 1440)
    table = (wave[:, None] + rng.normal(0, 6, (1600, 20))).astype(np.float32)
    table[1500:1520] *= factor
    outside = run(detector(estimator=estimator), table, make_keys(20, signal, "")) >= 1
    assert not outside[:1500].any()
    assert outside[1500:1520].mean() > 0.95 if seen else not outside[1500:1520].any()


@pytest.mark.parametrize(
    "points",
    [[5.0] * 300, [0.0] * 300, [0.0, 0.0, 0.0, 1.0] * 75, [0.0] * 299 + [1.0], [3.0, 3.0 + 1e-6] * 150],
    ids=["constant", "zero", "sparse", "first one", "tiny"],
)
def test_trifles_are_no_anomaly(detector: Callable, make_keys: Callable, points: Sequence[float]) -> None:
    for signal, stat in (("queue_len", ""), ("ttft", "p95"), ("errors", ""), ("gpu_temp", "")):
        table = np.array(points, np.float32)[:, None]
        if signal == "errors":
            table /= 5  # one event in a tick
        scores = run(detector(), table, make_keys(1, signal, stat))
        if not (signal == "ttft" and max(points) == 1.0):  # a second more is no trifle for a latency
            assert not (scores >= 1).any(), signal


def test_a_long_incident_does_not_become_normal(detector: Callable, make_keys: Callable) -> None:
    table = np.random.default_rng(2).normal(1, 0.05, (1500, 8)).astype(np.float32)
    table[600:] *= 10
    outside = run(detector(), table, make_keys(8)) >= 1
    assert outside[600:].all()


def test_relearn_accepts_the_new_level(detector: Callable, make_keys: Callable) -> None:
    table = np.random.default_rng(2).normal(1, 0.05, (700, 2)).astype(np.float32)
    table[600:] *= 10
    keys, model = make_keys(2), detector()
    assert (run(model, table, keys)[-1] >= 1).all()
    last = windows(table, keys)[-1]
    model.relearn(last, np.array([True, False]))
    scores = model.score(last)
    assert scores.score[0] < 1 <= scores.score[1]
    assert scores.expected[0] == pytest.approx(10, rel=0.05)


def test_relearn_without_a_known_point_changes_nothing(detector: Callable, make_keys: Callable) -> None:
    keys, model = make_keys(1), detector(**QUICK)
    run(model, np.ones((40, 1), np.float32), keys)
    before = model.state()
    model.relearn(Window(0.0, 5.0, np.full((60, 1), np.nan, np.float32), keys, np.array([1])), np.array([True]))
    np.testing.assert_array_equal(before["level"], model.state()["level"])


def test_the_band_agrees_with_the_score(detector: Callable, make_keys: Callable) -> None:
    for signal in ("arrivals", "queue_len", "tokens_out"):
        model, keys = detector(**QUICK), make_keys(30, signal, "")
        run(model, np.random.default_rng(4).normal(100, 10, (100, 30)).astype(np.float32), keys)
        rows = np.tile(np.linspace(0, 400, 30, dtype=np.float32), (60, 1))
        scores = model.score(Window(0.0, 5.0, rows, keys, np.arange(1, 31)))
        beyond = (rows[-1] > scores.upper) | (rows[-1] < scores.lower)
        np.testing.assert_array_equal(beyond, scores.score > 1)
        assert np.isinf(scores.lower).all() == (signal == "queue_len")
        assert np.isinf(scores.upper).all() == (signal == "tokens_out")


def test_a_new_replica_is_expected_to_be_as_its_pool_is(detector: Callable, make_keys: Callable) -> None:
    """Learning is explicit: for 60 points there is a band and no score; then it is judged by the level of its pool."""
    one, keys = detector(minimum_samples=60), make_keys(5, "itl", "p95")
    alone = SeriesKey(Entity.of(EntityKind.POOL, pool="p"), "itl", "p95")
    rng = np.random.default_rng(1)
    rows = rng.normal([0.030, 0.032, 0.031, 0.031, 0.060, 0.060], 0.001, (400, 6)).astype(np.float32)
    run(one, rows[:300, :3], keys[:3])
    young = run(one, rows[300:360], (*keys, alone))
    assert np.isfinite(young[:, :3]).all()
    assert np.isnan(young[:, 3:]).all()
    window = windows(rows[360:361], (*keys, alone))[0]
    scores = one.score(window)
    np.testing.assert_allclose(scores.expected, [0.030, 0.032, 0.031, 0.031, 0.031, 0.060], atol=0.0005)
    assert scores.score[3] < 0.5
    assert scores.score[4] > 1, "born slow"
    assert scores.score[5] < 0.5, "who has no pool is its own measure"
    one.relearn(window, np.arange(6) == 4)
    assert one.score(window).score[4] < 0.1, "until it is accepted"


def test_while_it_learns_a_new_replica_shows_the_band_of_its_pool(detector: Callable, make_keys: Callable) -> None:
    one, keys = detector(minimum_samples=60), make_keys(3, "itl", "p95")
    run(one, np.full((100, 2), 0.03, np.float32), keys[:2])
    run(one, np.full((10, 3), 0.03, np.float32), keys)
    scores = one.score(windows(np.full((1, 3), 0.03, np.float32), keys)[0])
    assert np.isnan(scores.score[2])
    assert scores.expected[2] == scores.expected[0]
    assert scores.upper[2] == pytest.approx(scores.upper[0])
    busy = make_keys(3, "tokens_out", "")
    other = detector(minimum_samples=60)
    run(other, np.full((100, 2), 900, np.float32), busy[:2])
    run(other, np.full((1, 3), 5, np.float32), busy)
    assert np.isnan(other.score(windows(np.full((1, 3), 5, np.float32), busy)[0]).expected[2]), (
        "load is no matter of age"
    )
