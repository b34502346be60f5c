"""The calibration of bands: order statistics, extreme values, the fleet's share, what may teach, and restarts."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from aiops.detect.base import Scores, Timing, Window
from aiops.detect.policy import AnomalyPolicy, Compiler
from aiops.detect.tails import BLOCK, TRUSTED_BLOCKS, Tails, kth_largest
from aiops.signals.types import Entity, EntityKind, SeriesKey
from tests.detect.quiet_fleet import live

TIMING = Timing(3, 4, 3, 4)
NAN = np.float32(np.nan)


@given(st.lists(st.lists(st.floats(0, 100, width=32), min_size=3, max_size=3), min_size=1, max_size=9), st.data())
def test_the_kth_largest_is_what_sorting_says(rows: list[list[float]], data: st.DataObject) -> None:
    which = data.draw(st.integers(1, len(rows)))
    arrays = [np.array(row, np.float32) for row in rows]
    before = np.array(arrays)
    np.testing.assert_array_equal(kth_largest(arrays, which), np.sort(before, axis=0)[-which])
    np.testing.assert_array_equal(np.array(arrays), before)


class Player:
    """Feeds raw scores of one judge with the band 10 ± 1 to a calibration, tick by tick."""

    def __init__(self, policy: AnomalyPolicy, keys: Sequence[Any], make_window: Callable[..., Window]) -> None:
        self.tails, self._keys, self._make = Tails(1, TIMING, 1.0), tuple(keys), make_window
        self._policy = Compiler(policy)
        self.tick = 0

    def _window(self) -> Window:
        return self._make([np.full(len(self._keys), 10.0)], self._keys, now=5.0 * self.tick)

    def _raw(self, scores: NDArray[np.float32], half: float) -> list[Scores]:
        ten = np.full(len(scores), 10, np.float32)
        return [Scores(np.asarray(scores, np.float32), ten, ten - np.float32(half), ten + np.float32(np.inf))]

    def judge(self, *scores: float, half: float = 1.0) -> Scores:
        window, raw = self._window(), self._raw(np.array(scores), half)
        return self.tails.judge(window, self._policy.columns(window), raw)[0]

    def step(self, scores: NDArray[np.float32], *, taught: bool = True, outside: bool = False) -> None:
        self.tick += 1
        window, raw = self._window(), self._raw(scores, 1.0)
        self.tails.judge(window, self._policy.columns(window), raw)
        mask = np.ones(len(scores), np.bool_)
        self.tails.learn(window, raw, mask & taught, mask & outside)

    def live(self, blocks: float, size: float = 0.1, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(int(blocks * BLOCK)):
            self.step(np.abs(rng.normal(0, size, len(self._keys))).astype(np.float32))

    def width(self) -> NDArray[np.float32]:
        return np.array(self.tails.state()["width"][0])


@pytest.fixture
def player(policy: AnomalyPolicy, make_keys: Callable[..., Any], make_window: Callable[..., Window]) -> Player:
    return Player(policy, make_keys(4), make_window)


def test_a_young_series_has_its_nominal_band(player: Player) -> None:
    scores = player.judge(0.5, 2.0, NAN, 0.0, half=10.0)
    np.testing.assert_array_equal(scores.score, np.array([0.5, 2.0, NAN, 0.0], np.float32))
    assert (scores.lower == 0).all()
    assert np.isposinf(scores.upper).all(), "a side that does not hurt stays open"


def test_the_band_follows_what_a_series_shows(player: Player) -> None:
    player.live(2 * TRUSTED_BLOCKS, size=1 / 6)
    calm = player.width()
    assert (calm < 0.8).all(), "Gaussian noise needs less than 6 sigma"
    player.live(4 * TRUSTED_BLOCKS, size=1.0)
    assert (player.width() > 2 * calm).all()
    scores = player.judge(*player.width(), half=10.0)
    np.testing.assert_allclose(scores.score, 1, rtol=1e-5)
    np.testing.assert_allclose(scores.expected - scores.lower, 10 * player.width(), rtol=1e-5)


def test_a_deviation_too_small_to_matter_stays_below_1(player: Player) -> None:
    player.live(2 * TRUSTED_BLOCKS, size=0.01)
    # Seconds: a quarter of the expected value, so 2.5, must be exceeded; the noise is far smaller.
    scores = player.judge(0.99 * 2.5, 1.01 * 2.5, 0.0, 0.0)
    assert scores.score[0] < 1 < scores.score[1]
    np.testing.assert_allclose(scores.lower, 7.5)
    assert player.tails.series == 0, "who cannot raise a false alert takes no share of the budget"


def test_what_may_not_teach_teaches_nothing(player: Player) -> None:
    player.live(TRUSTED_BLOCKS)
    before = player.width()
    for _ in range(3 * BLOCK):
        player.step(np.full(4, 50, np.float32), taught=False)
    np.testing.assert_allclose(player.width(), before, rtol=0.05)


@pytest.mark.parametrize("blocks", [TRUSTED_BLOCKS // 2, 2 * TRUSTED_BLOCKS])
def test_an_incident_is_no_yardstick(player: Player, blocks: int) -> None:
    player.live(blocks)
    before = player.width()
    for _ in range(5 * BLOCK + BLOCK // 2):
        player.step(np.full(4, 50, np.float32), outside=True)
    player.live(0.5, seed=1)
    # Nor is the block in which it ends.
    np.testing.assert_allclose(player.width(), before, rtol=0.05)
    for _ in range(6):
        player.step(np.full(4, 50, np.float32), outside=True)
    player.live(1, seed=2)
    assert (player.width() < 2 * before).all(), "a short one teaches little"


def test_unknown_points_move_nothing(player: Player) -> None:
    player.live(TRUSTED_BLOCKS)
    before = player.tails.state()
    player.step(np.full(4, NAN))
    after = player.tails.state()
    assert all(np.array_equal(before[f"recent_{back}"], after[f"recent_{back}"]) for back in range(4))


def test_it_goes_on_from_its_state(
    player: Player, policy: AnomalyPolicy, make_keys: Callable[..., Any], make_window: Callable[..., Window]
) -> None:
    player.live(TRUSTED_BLOCKS + 3)
    again = Player(policy, make_keys(4), make_window)
    again.tails.restore(player.tails.state())
    again.tick = player.tick
    for one in (player, again):
        one.live(2, seed=9)
    for name, array in player.tails.state().items():
        np.testing.assert_array_equal(array, again.tails.state()[name], err_msg=name)
    other = Tails(2, TIMING, 1.0)
    with pytest.raises(ValueError, match="expected arrays of 2 judges and fixed_fleet of 161 places"):
        other.restore(player.tails.state())
    assert not other.state()["width"].size, "of another number of judges nothing is taken"


def test_a_quiet_fleet_spends_about_what_it_may() -> None:
    """4 days of 108 series with 9 sorts of noise, asked: 60 false alerts. Bands are nominal in the first hours."""
    lived = live(12, 6000, budget=100, seed=0)
    asked = 100 * lived.weeks
    assert 0.5 <= len(lived.fired) / asked <= 1.5


def test_a_new_replica_starts_from_its_pool(
    player: Player, make_keys: Callable[..., Any], make_window: Callable[..., Window]
) -> None:
    player.live(2 * TRUSTED_BLOCKS, size=1.0)
    before = player.width()
    alone = SeriesKey(Entity.of(EntityKind.POOL, pool="p"), "ttft", "p95")
    player._keys = (*make_keys(5), alone)
    player.judge(*[0.1] * 6)
    after = player.tails.state()
    assert after["width"][0, 4] == np.median(before)
    assert after["mean"][0, 4] == np.median(after["mean"][0, :4])
    assert after["width"][0, 5] == 1, "who stands alone starts from nothing"
    np.testing.assert_array_equal(after["width"][0, :4], before)
    confidence = player.tails.confidence(np.zeros(6, np.float32))
    assert confidence.tolist() == [1, 1, 1, 1, 0.5, 0]


def test_what_is_within_the_band_and_stays_is_told_within_the_budget() -> None:
    """2.5 standard deviations, of which no single point is out of bounds, on series without memory; and none before."""
    lived = live(4, 1680, budget=1, seed=3, shift=2.5, at=1600)
    assert [one for one in lived.fired if one[0] < 1600] == []
    told = Counter(noise for _, noise in lived.fired)
    assert {"white", "heavy-tailed"} <= {noise for noise, count in told.items() if count >= 2}


def test_less_is_asked_less_is_spent() -> None:
    few, many = (len(live(6, 1800, budget, seed=2).fired) for budget in (5, 500))
    assert few <= 3
    assert many > 20
