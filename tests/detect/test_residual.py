"""The load-conditioned residual against a slow oracle; what it must see, must not, and may not judge."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from aiops.detect.base import Scores, Window
from aiops.detect.policy import AnomalyPolicy, Compiler
from aiops.detect.residual import RIDGE, Residual
from aiops.detect.settings import DetectSettings
from aiops.signals.types import Entity, EntityKind, SeriesKey

NAN = float("nan")
REPLICA = Entity.of(EntityKind.REPLICA, job="vllm", instance="a", model_name="m")
ITL, RUNNING = SeriesKey(REPLICA, "itl", "mean"), SeriesKey(REPLICA, "running")
KEYS = (ITL, RUNNING)
Rows = NDArray[np.float64]


@pytest.fixture
def detector(policy: AnomalyPolicy) -> Callable[..., Residual]:
    def make(**options: object) -> Residual:
        return Residual(DetectSettings(**options), Compiler(policy))  # type: ignore[arg-type]

    return make


class Player:
    """Feeds rows; a window holds the newest two of them."""

    def __init__(
        self, model: Residual, make_window: Callable[..., Window], keys: tuple[SeriesKey | None, ...] = KEYS
    ) -> None:
        self.model, self.keys, self._window = model, keys, make_window
        self.rows = np.full((80, len(keys)), np.nan)

    def window(self, row: Rows | list[float]) -> Window:
        return self._window(np.vstack([self.rows[1:], row]), self.keys)

    def play(self, rows: Rows) -> NDArray[np.float32]:
        scores = []
        for row in rows:
            window = self.window(row)
            scores.append(self.model.score(window).score)
            self.model.learn(window, ~(scores[-1] >= 1))
            self.rows = np.asarray(window.values, float)
        return np.array(scores)


def steps(rng: np.random.Generator, count: int = 300, low: int = 2, high: int = 12) -> Rows:
    """Batches that change every few ticks, and step times that follow them."""
    running = np.repeat(rng.integers(low, high, count // 5 + 1), 5)[:count].astype(float)
    between = (running + np.r_[running[0], running[:-1]]) / 2
    return np.stack([0.02 + 0.003 * between + rng.normal(0, 0.0005, count), running], axis=1)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(4)


@pytest.fixture
def player(detector: Callable, make_window: Callable, rng: np.random.Generator) -> Player:
    player = Player(detector(), make_window)
    player.play(steps(rng))
    return player


def test_expected_equals_the_shrunk_least_squares_line(
    player: Player, make_window: Callable, detector: Callable
) -> None:
    rows = steps(np.random.default_rng(9), 200)
    other = Player(detector(), make_window)
    other.play(rows)
    y, now = rows[:, 0], rows[:, 1]
    x = (now + np.r_[now[0], now[:-1]]) / 2
    cov = np.cov(x, y, bias=True)
    # One entity is its own group: the prior says what the data say.
    slope = cov[0, 1] / (cov[0, 0] * (1 + RIDGE))
    scores = other.model.score(other.window([0.05, now[-1]]))
    assert scores.expected[0] == pytest.approx(y.mean() + slope * (now[-1] - x.mean()), rel=1e-3)


def test_load_is_no_anomaly_and_slowness_is(player: Player) -> None:
    player.play(steps(np.random.default_rng(1), 20))
    busy = np.array([[0.02 + 0.003 * 16, 16.0]] * 2)
    assert (player.play(busy)[1:, 0] < 0.5).all()
    window = player.window([2 * (0.02 + 0.003 * 16), 16])
    scores = player.model.score(window)
    assert scores.score[0] > 2
    assert np.isnan(scores.score[1])
    assert scores.upper[0] < 0.1
    assert np.isneginf(scores.lower[0])
    assert player.model.explain(0).startswith("slow for this load: itl 0.136 seconds, expected 0.06")
    assert player.model.explain(0).endswith("at running = 16")
    assert player.model.explain(1) == ""
    faster = player.model.score(player.window([0.01, 16]))
    assert faster.score[0] == 0


def test_it_is_silent_until_the_load_has_moved(
    detector: Callable, make_window: Callable, rng: np.random.Generator
) -> None:
    player = Player(detector(), make_window)
    flat = np.stack([rng.normal(0.03, 0.001, 300), np.full(300, 8.0)], axis=1)
    assert np.isnan(player.play(flat)).all()
    assert np.isnan(player.play(np.array([[0.3, 8.0]]))).all()


def test_it_is_silent_before_enough_points_and_without_load(
    player: Player, detector: Callable, make_window: Callable
) -> None:
    young = Player(detector(), make_window)
    found = young.play(steps(np.random.default_rng(2), 100))[:, 0]
    assert np.isnan(found[:60]).all()
    assert np.isfinite(found[61:]).all()
    assert np.isnan(player.model.score(player.window([0.2, NAN])).score[0])
    assert np.isnan(player.model.score(player.window([NAN, 5])).score[0])


def test_it_does_not_believe_the_line_far_out(player: Player) -> None:
    assert np.isnan(player.model.score(player.window([0.2, 500])).score[0])


def test_gaps_do_not_poison_what_is_learnt(player: Player, rng: np.random.Generator) -> None:
    rows = steps(rng, 200)
    rows[rng.random(rows.shape) < 0.3] = NAN
    player.play(rows)
    assert all(np.isfinite(array).all() for array in player.model.state().values())
    assert player.model.score(player.window([0.2, 6])).score[0] > 1


def test_a_young_replica_borrows_the_slope_of_its_pool(
    detector: Callable, make_window: Callable, rng: np.random.Generator
) -> None:
    young = Entity.of(EntityKind.REPLICA, job="vllm", instance="b", model_name="m")
    keys = (*KEYS, SeriesKey(young, "itl", "mean"), SeriesKey(young, "running"))
    player = Player(detector(), make_window, keys)
    old = steps(rng, 400)
    new = np.full((400, 2), NAN)
    new[-70:] = [0.02 + 0.003 * 4, 4.0]
    player.play(np.hstack([old, new]))
    lonely = Player(detector(), make_window)
    lonely.play(new[-70:])
    assert np.isnan(lonely.model.score(lonely.window([0.03, 7])).score[0])
    expected = player.model.score(player.window([*old[-1], 0.2, 4])).expected[2]
    assert expected == pytest.approx(0.032, rel=0.02)


def test_score_is_pure(player: Player, detector: Callable, make_window: Callable) -> None:
    twin = detector()
    twin.restore(player.model.state())
    for row in steps(np.random.default_rng(5), 40):
        window = player.window(row)
        first = player.model.score(window)
        player.model.score(player.window(row * 3))
        np.testing.assert_array_equal(first.score, player.model.score(window).score)
        twin.score(window)
        for model in (player.model, twin):
            model.learn(window, np.ones(2, np.bool_))
    for name, array in twin.state().items():
        np.testing.assert_array_equal(array, player.model.state()[name])


def test_an_incident_does_not_excuse_itself(player: Player) -> None:
    found = player.play(np.array([[0.12, 8.0]] * 600))[:, 0]
    assert (found > 1).all()


def test_what_a_slow_fault_taught_is_taken_back(player: Player) -> None:
    def look() -> Scores:
        player.rows[-1] = busy
        return player.model.score(player.window(busy))

    busy = [0.02 + 0.003 * 8, 8.0]
    before = look()
    player.play(steps(np.random.default_rng(7), 100) * np.stack([np.linspace(1, 1.4, 100), np.ones(100)], axis=1))
    learnt = look()
    assert learnt.expected[0] > 1.02 * before.expected[0]
    assert learnt.upper[0] > 1.1 * before.upper[0]
    player.model.unlearn(player.window(busy), np.array([True, False]))
    after = look()
    assert after.expected[0] == pytest.approx(before.expected[0], rel=0.01)
    assert after.upper[0] == pytest.approx(before.upper[0], rel=0.02)


def test_a_lasting_slowness_can_be_accepted(player: Player) -> None:
    slow = steps(np.random.default_rng(6), 90) + np.array([0.05, 0])
    assert player.play(slow)[-1, 0] > 1
    window = player.window(slow[-1])
    player.model.relearn(window, np.array([True, False]))
    assert player.model.score(window).score[0] < 0.3
    assert player.model.score(player.window([0.02 + 0.003 * 4, 4])).expected[0] == pytest.approx(0.082, rel=0.1)


def test_a_new_owner_starts_anew_and_the_window_may_grow(player: Player, make_window: Callable) -> None:
    stranger = Entity.of(EntityKind.REPLICA, job="vllm", instance="z", model_name="m")
    keys = (SeriesKey(stranger, "itl", "mean"), SeriesKey(stranger, "running"), None)
    window = make_window(np.full((80, 3), 5.0), keys, generation=[7, 8, 3])
    assert np.isnan(player.model.score(window).score).all()
    assert (player.model.state()["count"] == 0).all()


def test_a_model_of_other_regressors_is_dropped(
    detector: Callable, make_window: Callable, rng: np.random.Generator
) -> None:
    gpu = Entity.of(EntityKind.GPU, gpu="g", node="n")
    keys = (SeriesKey(gpu, "gpu_power"), SeriesKey(gpu, "gpu_util"), None)
    model = detector()
    player = Player(model, make_window, keys)
    util = rng.uniform(0, 1, 200)
    player.play(np.stack([100 + 400 * util, util, np.full(200, NAN)], axis=1))
    assert model.state()["count"][0] == 200
    richer = (*keys[:2], SeriesKey(gpu, "gpu_tensor_active"))
    model.score(make_window(np.full((80, 3), 0.5), richer))
    assert model.state()["count"][0] == 0


def test_heat_is_explained_by_the_power_of_the_last_minute(
    detector: Callable, make_window: Callable, rng: np.random.Generator
) -> None:
    gpu = Entity.of(EntityKind.GPU, gpu="g", node="n")
    player = Player(detector(), make_window, (SeriesKey(gpu, "gpu_temp"), SeriesKey(gpu, "gpu_power")))
    power = np.repeat(rng.uniform(100, 600, 40), 20)
    mean = np.array([power[max(i - 12, 0) : i + 1].mean() for i in range(len(power))])
    rows = np.stack([30 + 0.07 * mean + rng.normal(0, 0.5, len(power)), power], axis=1)
    found = player.play(rows)[:, 0]
    assert np.nanmax(found) < 1
    rows[-1, 0] += 20
    assert player.model.score(player.window(rows[-1])).score[0] > 1
    assert "hot for this power" in player.model.explain(0)
