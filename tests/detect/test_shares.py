"""The budget between detectors of minutes and of days: own blocks, own share, and all of it where nobody is slow."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from aiops.detect.base import Scores, Timing, Window
from aiops.detect.policy import AnomalyPolicy, Compiler
from aiops.detect.shares import SLOW_SHARE, Shares
from aiops.detect.tails import TRUSTED_BLOCKS
from aiops.signals.types import SeriesKey

COLUMNS = 4
HOUR_TICKS = 4
STEP_SECONDS = 900.0


class Says:
    """Stands for a detector: only its name matters here."""

    def __init__(self, name: str) -> None:
        self.name = name


class Player:
    def __init__(self, policy: AnomalyPolicy, keys: tuple[SeriesKey, ...]) -> None:
        judges: Any = [Says("fast"), Says("slow")]
        self.shares, self._policy, self._keys = (
            Shares(judges, {"slow"}, Timing(3, 4, 3, 4), 10.0),
            Compiler(policy),
            keys,
        )
        self.tick = 0

    def step(self, **scores: NDArray[Any]) -> Mapping[str, Scores]:
        self.tick += 1
        ten = np.full(COLUMNS, 10, np.float32)
        window = Window(self.tick * STEP_SECONDS, STEP_SECONDS, ten[None], self._keys, np.arange(1, COLUMNS + 1))
        said = {name: Scores(score.astype(np.float32), ten, ten - 10, ten + 10) for name, score in scores.items()}
        judged = self.shares.judge(window, self._policy.columns(window), said)
        quiet = np.ones(COLUMNS, np.bool_)
        self.shares.learn(window, said, quiet, ~quiet)
        return judged

    def budget(self) -> float:
        return self.shares.parts()["tails"].budget


@pytest.fixture
def player(policy: AnomalyPolicy, make_keys: Callable[..., tuple[SeriesKey, ...]]) -> Player:
    return Player(policy, make_keys(COLUMNS))


def test_where_no_slow_detector_judges_the_others_have_it_all(player: Player) -> None:
    silent = np.full(COLUMNS, np.nan)
    player.step(fast=np.full(COLUMNS, 0.1), slow=silent)
    assert player.budget() == 10
    player.step(fast=np.full(COLUMNS, 0.1), slow=np.full(COLUMNS, 0.1))
    assert player.budget() == pytest.approx(10 * (1 - SLOW_SHARE))
    assert player.shares.parts()["slow_tails"].budget == pytest.approx(10 * SLOW_SHARE)


def test_slow_ones_learn_their_bands_by_hours(player: Player) -> None:
    rng = np.random.default_rng(1)
    hours = int(2 * TRUSTED_BLOCKS)
    for _ in range(hours * HOUR_TICKS):
        judged = player.step(fast=np.full(COLUMNS, 0.1), slow=np.abs(rng.normal(0, 0.1, COLUMNS)))
    state = {name: part.state() for name, part in player.shares.parts().items()}
    np.testing.assert_allclose(state["slow_tails"]["blocks"], hours, atol=1)
    assert np.max(np.asarray(state["tails"]["blocks"], float)) < 4, "64 points are 16 hours here"
    width = np.asarray(state["slow_tails"]["width"])[0]
    assert (width < 0.7).all(), "calm ones need less than the nominal band"
    assert set(judged) == {"fast", "slow"}
    judged = player.step(fast=np.full(COLUMNS, 0.1), slow=width)
    np.testing.assert_allclose(judged["slow"].score, 1, rtol=1e-5)
    np.testing.assert_allclose(judged["slow"].upper, 10 + 10 * width, rtol=1e-5)
