"""The ARIMA detector: what it expects, what it learns from, and how models come and go."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from aiops.detect import arima_filter as af
from aiops.detect.arima import ACTIVE, ASKED_AT, MAX_GAP, MEAN, MODEL_ROWS, SEASON, VARIANCE, Arima
from aiops.detect.arima_season import chosen_shares
from aiops.detect.base import Window
from aiops.detect.policy import AnomalyPolicy, Compiler
from aiops.detect.settings import DetectSettings
from aiops.signals.types import SeriesKey

STEP = 5.0
ROWS = 200


class Feed:
    """Windows that slide over [rows, n] values, one row per tick."""

    def __init__(self, values: NDArray[Any], keys: tuple[SeriesKey | None, ...], rows: int = ROWS) -> None:
        self.values = np.asarray(values, np.float32)
        self.keys = keys
        self.rows = rows
        self.generation = np.arange(1, len(keys) + 1)

    def window(self, tick: int) -> Window:
        first = tick + 1 - self.rows
        rows = self.values[max(first, 0) : tick + 1]
        pad = np.full((max(0, -first), len(self.keys)), np.nan, np.float32)
        return Window(tick * STEP, STEP, np.concatenate([pad, rows]), self.keys, self.generation)


def model(phi: list[float], theta: list[float], difference: int, mean: float, count: int = 1) -> NDArray[Any]:
    table = np.zeros((MODEL_ROWS, count))
    table[: af.ROWS] = af.blank(count)
    table[: len(phi)] = np.array(phi)[:, np.newaxis]
    table[af.THETA.start : af.THETA.start + len(theta)] = np.array(theta)[:, np.newaxis]
    table[af.DELTA] = difference
    af.start(table[: af.ROWS])
    table[MEAN] = mean
    return table


def answer(window: Window, table: NDArray[Any], variance: float = 1.0, points: int = 5000) -> dict[str, Any]:
    count = table.shape[1]
    return {
        "columns": np.arange(count),
        "generation": np.array(window.generation[:count]),
        "now": np.float64(window.now),
        "fitted": np.ones(count, np.bool_),
        "model": table,
        "variance": np.full(count, variance),
        "points": np.full(count, points),
    }


@pytest.fixture
def make(policy: AnomalyPolicy) -> Callable[..., Arima]:
    def build(**settings: Any) -> Arima:
        return Arima(DetectSettings(**settings), Compiler(policy))

    return build


def noise(count: int = 1, rows: int = 600, seed: int = 0) -> NDArray[Any]:
    """AR(1) around 100 with innovations of 1: milliseconds of no floor's concern (unit: tokens)."""
    rng = np.random.default_rng(seed)
    values = np.zeros((rows, count))
    for t in range(1, rows):
        values[t] = 0.8 * values[t - 1] + rng.standard_normal(count)
    return 100 + values


@pytest.fixture
def keys(make_keys: Callable[..., tuple[SeriesKey, ...]]) -> tuple[SeriesKey, ...]:
    return make_keys(1, "gpu_temp", "")


def quiet(window: Window) -> NDArray[np.bool_]:
    return np.ones(len(window.keys), np.bool_)


def test_it_says_nothing_without_a_model(make: Callable[..., Arima], keys: tuple[SeriesKey, ...]) -> None:
    detector, feed = make(), Feed(noise(), keys)
    for tick in range(100):
        scores = detector.score(feed.window(tick))
        assert np.isnan(scores.score).all()
        assert np.isnan(scores.expected).all()
        detector.learn(feed.window(tick), quiet(feed.window(tick)))


def test_scores_are_the_one_step_errors(make: Callable[..., Arima], keys: tuple[SeriesKey, ...]) -> None:
    values = noise()
    detector, feed = make(), Feed(values, keys)
    detector.accept(feed.window(0), answer(feed.window(0), model([0.8], [], 0, 100.0)))
    for tick in range(1, 300):
        window = feed.window(tick)
        scores = detector.score(window)
        if tick > 1:  # the first value meets the stationary state
            assert scores.expected[0] == pytest.approx(100 + 0.8 * (values[tick - 1, 0] - 100), abs=1e-4)
        again = detector.score(replace(window))
        np.testing.assert_array_equal(again.score, scores.score)
        detector.learn(window, quiet(window))
    assert detector.state()["table"][VARIANCE, 0] == pytest.approx(1.0, rel=0.1)


def test_a_jump_stays_out_of_bounds_while_it_is_not_shown_to_the_model(
    make: Callable[..., Arima], keys: tuple[SeriesKey, ...]
) -> None:
    values = noise()
    values[300:] += 40
    detector, feed = make(), Feed(values, keys)
    detector.accept(feed.window(0), answer(feed.window(0), model([0.8], [], 0, 100.0)))
    outside = []
    for tick in range(1, 340):
        window = feed.window(tick)
        score = detector.score(window).score
        outside.append(bool(score[0] >= 1))
        detector.learn(window, score < 1)
    assert not any(outside[:299])
    assert all(outside[299:])
    columns = np.ones(1, np.bool_)
    detector.relearn(window, columns)
    later = feed.window(340)
    assert detector.score(later).score[0] < 1
    assert detector.state()["table"][ASKED_AT, 0] == 0, "a fit is due"


def test_what_a_slow_fault_taught_the_noise_is_taken_back(
    make: Callable[..., Arima], keys: tuple[SeriesKey, ...]
) -> None:
    values = noise()
    values[300:400] += np.linspace(0, 12, 100)[:, np.newaxis]
    detector, feed = make(), Feed(values, keys)
    detector.accept(feed.window(0), answer(feed.window(0), model([0.8], [], 0, 100.0), points=200))
    variances = []
    for tick in range(1, 400):
        detector.score(feed.window(tick))
        detector.learn(feed.window(tick), quiet(feed.window(tick)))
        variances.append(detector.state()["table"][VARIANCE, 0])
    assert variances[-1] > 1.3 * variances[298], "it was not out of bounds, so it was learnt"
    detector.unlearn(feed.window(399), np.zeros(1, np.bool_))
    assert detector.state()["table"][VARIANCE, 0] == variances[-1], "of others nothing is taken back"
    detector.unlearn(feed.window(399), np.ones(1, np.bool_))
    assert detector.state()["table"][VARIANCE, 0] == pytest.approx(variances[298], rel=0.2)


def test_rows_that_came_during_the_fit_are_made_up_for(make: Callable[..., Arima], keys: tuple[SeriesKey, ...]) -> None:
    values = noise()
    values[55] = np.nan
    feed = Feed(values, keys)
    early, late = make(), make()
    early.accept(feed.window(40), answer(feed.window(40), model([0.8], [0.3], 0, 100.0)))
    for tick in range(41, 60):
        early.learn(feed.window(tick), quiet(feed.window(tick)))
    late.accept(feed.window(59), answer(feed.window(40), model([0.8], [0.3], 0, 100.0)))
    window = feed.window(60)
    np.testing.assert_allclose(late.score(window).expected, early.score(window).expected, rtol=1e-6)
    np.testing.assert_allclose(late.score(window).upper, early.score(window).upper, rtol=1e-2)


def test_after_a_long_silence_the_model_starts_over(make: Callable[..., Arima], keys: tuple[SeriesKey, ...]) -> None:
    values = noise()
    values[100 : 100 + MAX_GAP + 30] = np.nan
    values[100 + MAX_GAP + 30 :] += 500
    detector, feed = make(), Feed(values, keys)
    detector.accept(feed.window(0), answer(feed.window(0), model([], [-0.5], 1, 100.0)))
    for tick in range(1, 240):
        window = feed.window(tick)
        scores = detector.score(window)
        if 100 <= tick < 100 + MAX_GAP + 31:
            assert np.isnan(scores.score[0]), "unknown, or the first value of an unknown level"
        elif tick > 1:
            assert scores.score[0] < 1, tick
        detector.learn(window, quiet(window))
        assert np.isfinite(detector.state()["table"]).all(), "what is not finite would be lost in a snapshot"


def test_a_window_asked_twice_waits_for_its_turn(
    make: Callable[..., Arima], make_keys: Callable[..., tuple[SeriesKey, ...]]
) -> None:
    keys = (*make_keys(5, "queue_len", ""), None)
    values = np.column_stack([noise(5), np.full(600, np.nan)])
    values[:180, 4] = np.nan  # too young
    detector, feed = make(), Feed(values, keys)
    window = feed.window(199)
    detector.score(window)
    first, second = detector.ask(window, 3), detector.ask(window, 3)
    assert first is not None
    assert second is not None
    assert first["columns"].tolist() == [0, 1, 2]
    assert second["columns"].tolist() == [3], "the young and the free column are not asked for"
    assert detector.ask(window, 3) is None
    np.testing.assert_array_equal(first["values"], window.values[:, :3])


def test_a_model_of_a_former_owner_is_not_taken(make: Callable[..., Arima], keys: tuple[SeriesKey, ...]) -> None:
    detector, feed = make(), Feed(noise(), keys)
    found = answer(feed.window(50), model([0.8], [], 0, 100.0))
    feed.generation = feed.generation + 1
    assert detector.accept(feed.window(60), found) == 0
    assert detector.accept(feed.window(60), {**found, "columns": np.array([7])}) == 0
    assert np.isnan(detector.score(feed.window(60)).score[0])


def test_a_failed_fit_keeps_the_model_before(make: Callable[..., Arima], keys: tuple[SeriesKey, ...]) -> None:
    detector, feed = make(), Feed(noise(), keys)
    good = answer(feed.window(50), model([0.8], [], 0, 100.0))
    detector.accept(feed.window(50), good)
    before = detector.state()["table"].copy()
    bad = {**good, "fitted": np.zeros(1, np.bool_), "model": np.full_like(good["model"], np.nan)}
    assert detector.accept(feed.window(50), bad) == 0
    np.testing.assert_array_equal(detector.state()["table"], before)


def test_state_makes_the_round_trip_and_follows_its_series(
    make: Callable[..., Arima], make_keys: Callable[..., tuple[SeriesKey, ...]]
) -> None:
    keys = make_keys(3, "gpu_temp", "")
    detector, feed = make(), Feed(noise(3), keys)
    detector.accept(feed.window(50), answer(feed.window(50), model([0.8], [0.2], 0, 100.0, count=3)))
    for tick in range(51, 90):
        detector.learn(feed.window(tick), quiet(feed.window(tick)))
    moved = detector.state()["table"][:, [2, 0]]
    moved = np.column_stack([moved, np.full(len(moved), np.nan)])
    again = make()
    again.restore({"table": moved})
    other = Feed(feed.values[:, [2, 0, 1]], (keys[2], keys[0], keys[1]))
    np.testing.assert_array_equal(
        again.score(other.window(90)).expected[:2], detector.score(feed.window(90)).expected[[2, 0]]
    )
    assert again.state()["table"][ACTIVE].tolist() == [1, 1, 0]
    with pytest.raises(ValueError, match="rows"):
        make().restore({"table": np.zeros((3, 3))})


def test_forecasts_have_intervals_that_hold(make: Callable[..., Arima], make_keys: Callable[..., Any]) -> None:
    count = 400
    keys = make_keys(count, "gpu_temp", "")
    values = noise(count, rows=320)
    detector, feed = make(), Feed(values, keys)
    detector.accept(feed.window(0), answer(feed.window(0), model([0.8], [], 0, 100.0, count=count)))
    for tick in range(1, 300):
        detector.learn(feed.window(tick), quiet(feed.window(tick)))
    forecast = detector.forecast(feed.window(299), np.arange(count), 20)
    inside = np.abs(values[300:320] - forecast.mean) < 1.96 * np.sqrt(forecast.variance)
    assert abs(inside.mean() - 0.95) < 0.02
    assert np.isnan(make().forecast(feed.window(299), np.arange(2), 3).mean).all()


def test_the_season_is_used_where_it_is_known(make: Callable[..., Arima], keys: tuple[SeriesKey, ...]) -> None:
    step = 3600.0
    hours = np.arange(24 * 12)
    rng = np.random.default_rng(0)
    values = 50 + 20 * np.sin(hours * 2 * np.pi / 24) + 0.5 * rng.standard_normal(len(hours))
    assert chosen_shares(values, step)[0] == pytest.approx(1.0, abs=0.1)
    assert not chosen_shares(50 + rng.standard_normal(len(hours)), step).any()
    assert not chosen_shares(values[:48], step).any(), "two days are too few"
    table = model([], [], 0, 50.0)
    table[SEASON.start] = 1.0
    detector = make()

    def window(tick: int) -> Window:
        rows = values[: tick + 1, np.newaxis].astype(np.float32)
        return Window(tick * step, step, rows, keys, np.ones(1, np.int64))

    detector.accept(window(100), answer(window(100), table))
    for tick in range(101, 150):
        scores = detector.score(window(tick))
        assert scores.expected[0] == pytest.approx(values[tick - 24], abs=1e-3)
        detector.learn(window(tick), quiet(window(tick)))
    forecast = detector.forecast(window(149), np.arange(1), 12)
    np.testing.assert_allclose(forecast.mean[:, 0], values[126:138], rtol=1e-5)


def test_another_owner_of_a_column_starts_without_a_model(
    make: Callable[..., Arima], keys: tuple[SeriesKey, ...]
) -> None:
    detector, feed = make(), Feed(noise(), keys)
    detector.accept(feed.window(50), answer(feed.window(50), model([0.8], [], 0, 100.0)))
    assert np.isfinite(detector.score(feed.window(51)).score[0])
    feed.generation = feed.generation + 7
    assert np.isnan(detector.score(feed.window(52)).score[0])
