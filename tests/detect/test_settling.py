"""What changes on purpose: no verdicts for a while, then a new level; and whose learning pauses."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from aiops.detect.bank import NO_GUIDANCE
from aiops.detect.base import Guidance
from aiops.detect.settling import Settling
from aiops.signals.topology import pool_of
from aiops.signals.types import Entity, EntityKind, Mark, MarkKind, SeriesKey

NAN = float("nan")
REPLICA = Entity.of(EntityKind.REPLICA, job="vllm", instance="a", model_name="m")
OTHER = Entity.of(EntityKind.REPLICA, job="vllm", instance="b", model_name="m")
KEYS = (SeriesKey(REPLICA, "itl", "p95"), SeriesKey(OTHER, "itl", "p95"))


class Life:
    """A bank that sees two replicas, tick by tick."""

    def __init__(self, make_bank: Callable[..., Any], make_window: Callable[..., Any]) -> None:
        self.bank, self._window = make_bank(minimum_samples=20), make_window
        self.rows = np.full((72, 2), np.nan, np.float32)
        self._rng = np.random.default_rng(1)
        self.tick = 0

    def step(self, *values: float, mark: MarkKind | None = None, guidance: Guidance = NO_GUIDANCE) -> list[str]:
        """Alarmed instances."""
        noisy = np.array(values) * (1 + 0.01 * self._rng.standard_normal(2))
        self.rows = np.vstack([self.rows[1:], noisy.astype(np.float32)[np.newaxis]])
        self.tick += 1
        now = 5.0 * self.tick
        marks = () if mark is None else (Mark(mark, REPLICA, now, "changed"),)
        window = self._window(self.rows, KEYS, now=now)
        verdicts = self.bank.step(window, now, (), marks, (), guidance=guidance)
        return [key.series.entity.label("instance") for key in verdicts.breaches]

    def level(self) -> float:
        return float(self.bank.state()["zscore.level"][0])


@pytest.fixture
def life(make_bank: Callable[..., Any], make_window: Callable[..., Any]) -> Life:
    life = Life(make_bank, make_window)
    for _ in range(100):
        assert life.step(0.03, 0.03) == []
    return life


@pytest.mark.parametrize("mark", [MarkKind.DEPLOY, MarkKind.VERSION_CHANGED])
def test_after_a_deploy_the_new_level_is_normal(life: Life, mark: MarkKind) -> None:
    assert life.step(0.09, 0.03, mark=mark) == []
    assert life.bank.scores().learning.tolist() == [True, False]
    for _ in range(60):
        assert life.step(0.09, 0.03) == []
    assert life.level() == pytest.approx(0.09, rel=0.02)
    assert "a" in life.step(0.3, 0.03)


def test_after_a_restart_the_old_level_stays_normal(life: Life) -> None:
    life.step(0.09, 0.03, mark=MarkKind.RESTARTED)
    answers = [life.step(0.09, 0.03) for _ in range(25)]
    assert answers[:18] == [[]] * 18
    assert answers[-1] == ["a"]
    assert life.level() == pytest.approx(0.03, rel=0.02)


def test_what_the_guidance_calls_changed_settles_like_a_deploy(life: Life) -> None:
    pool = Guidance(changed=frozenset({pool_of(REPLICA)}))
    assert life.step(0.09, 0.09, guidance=pool) == []
    assert life.bank.scores().learning.all(), "a pool stands for its replicas"
    for _ in range(40):
        assert life.step(0.09, 0.09) == []
    assert life.level() == pytest.approx(0.09, rel=0.02)


def test_a_frozen_entity_is_judged_and_teaches_nothing(life: Life) -> None:
    before, frozen = life.level(), Guidance(frozen=frozenset({REPLICA}))
    assert life.step(0.09, 0.03, guidance=frozen) == ["a"]
    for _ in range(500):
        life.step(0.09, 0.03, guidance=frozen)
    assert life.step(0.09, 0.03) == ["a"]
    assert life.level() == before


def test_only_known_points_count(make_window: Callable[..., Any]) -> None:
    settling, places = Settling(2), {REPLICA: np.array([0])}
    assert settling.step(make_window([[1, 1]], KEYS), places, (), {REPLICA}).tolist() == [True, False]
    for value, left in ((NAN, True), (1.0, True), (NAN, True), (1.0, False)):
        window = make_window([[value, 1]], KEYS)
        assert settling.step(window, places, (), ())[0]
        assert settling.learn(window).tolist() == [not left, False]
    assert not settling.step(make_window([[1, 1]], KEYS), places, (), ()).any()


def test_a_restart_after_a_deploy_still_learns_anew(make_window: Callable[..., Any]) -> None:
    settling, places, window = Settling(2), {REPLICA: np.array([0])}, make_window([[1, 1]], KEYS)
    settling.step(window, places, (Mark(MarkKind.DEPLOY, REPLICA, 0.0, ""),), ())
    settling.learn(window)
    settling.step(window, places, (Mark(MarkKind.RESTARTED, REPLICA, 0.0, ""),), ())
    assert not settling.learn(window).any()
    again = Settling(2)
    again.restore(settling.state())
    assert again.step(window, places, (), ()).tolist() == [True, False]
    assert again.learn(window).tolist() == [True, False]
