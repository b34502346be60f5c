"""Peers and residuals on a simulated fleet in virtual time: page → reading → ring → bank, without HTTP."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from aiops.collect.exposition import PageParser
from aiops.detect.bank import Bank
from aiops.detect.base import Timing, Verdicts
from aiops.lab.engine import Engine
from aiops.lab.page import vllm_page
from aiops.signals.normalise import Normaliser
from aiops.signals.profile import parse_profile
from aiops.signals.types import SeriesKey, SourceStatus
from aiops.store.ring import Ring

STEP = 5.0
EPOCH = 1.7e9
HEALTHY_TICKS = 240
SLOW_TOKENS = "LLMInterTokenLatencyAnomalous"


class Fleet:
    """Replicas of one model, and a bank that watches them."""

    def __init__(self, bank: Bank, size: int, seed: int) -> None:
        profile = Path(__file__).resolve().parents[2] / "models" / "engines" / "vllm.yaml"
        profiles = (parse_profile(profile.read_text(), profile.name),)
        self.bank, self.now = bank, 0.0
        self.engines = [Engine(seed + i) for i in range(size)]
        self._parsers = [PageParser() for _ in range(size)]
        self._normalisers = [
            Normaliser(profiles, (("instance", f"r{i}"), ("job", "vllm")), f"r{i}") for i in range(size)
        ]
        self._ring = Ring(120, STEP, max_series=2000, ttl_seconds=3600.0)

    def tick(self) -> Verdicts:
        self.now += STEP
        at = EPOCH + self.now
        readings = []
        for engine, parser, normaliser in zip(self.engines, self._parsers, self._normalisers, strict=True):
            engine.advance(self.now)
            page = parser.parse(vllm_page(engine, model="m", started=EPOCH).encode())
            readings.append(normaliser.normalise(page, at))
        self._ring.append(at, readings, elapsed_seconds=STEP)
        sources: tuple[SourceStatus, ...] = ()
        return self.bank.step(self._ring.window(), at, sources, (), ())

    def ticks(self, count: int) -> Iterator[Verdicts]:
        for _ in range(count):
            yield self.tick()

    def votes(self, detector: str) -> dict[SeriesKey, float]:
        """Votes of at least 1 on the newest row."""
        scores = self.bank.scores()
        assert scores is not None
        loud = np.flatnonzero(scores.votes[detector] >= 1)
        return {key: float(scores.votes[detector][i]) for i in loud if (key := scores.keys[i]) is not None}


def breached(history: list[set[str]], timing: Timing) -> set[str]:
    """What was out of bounds for K of some N ticks in a row."""
    windows = [history[i : i + timing.window_points] for i in range(len(history))]
    names = set().union(*history)
    return {name for name in names for window in windows if sum(name in t for t in window) >= timing.breach_points}


@pytest.fixture
def fleet(make_bank: Callable[..., Bank]) -> Callable[..., Fleet]:
    def make(size: int = 4, seed: int = 1) -> Fleet:
        return Fleet(make_bank(), size, seed)

    return make


def watch(fleet: Fleet, ticks: int, detector: str) -> list[set[str]]:
    """Votes of each tick as "replica signal statistic"."""
    return [
        {f"{key.entity.label('instance')} {key.signal} {key.stat}".strip() for key in fleet.votes(detector)}
        for _ in fleet.ticks(ticks)
    ]


def test_an_hour_of_health_alerts_nobody(fleet: Callable[..., Fleet]) -> None:
    healthy = fleet(4, 1)
    peers: list[set[str]] = []
    residual: list[set[str]] = []
    for _ in healthy.ticks(720):
        for name, history in (("peers", peers), ("residual", residual)):
            history.append({str(key) for key in healthy.votes(name)})
    timing = healthy.bank.timing(SLOW_TOKENS)
    assert breached(peers, timing) == set()
    assert breached(residual, timing) == set()
    scores = healthy.bank.scores()
    assert scores is not None
    for name in ("peers", "residual"):
        judged = {key.signal for key, vote in zip(scores.keys, scores.votes[name], strict=True) if key and vote >= 0}
        assert {"itl", "ttft"} <= judged, "silence must not come from not judging"


def test_one_slow_replica_of_four_is_named_within_12_ticks(fleet: Callable[..., Fleet]) -> None:
    struck = fleet(4, 1)
    for _ in struck.ticks(HEALTHY_TICKS):
        pass
    struck.engines[1].slowdown = 2.0
    seen: dict[str, list[set[str]]] = {"peers": [], "residual": []}
    reasons = []
    for verdicts in struck.ticks(12):
        for name, history in seen.items():
            history.append({k.entity.label("instance") for k in struck.votes(name) if k.signal == "itl"})
        reasons += [v.reason for key, v in verdicts.breaches.items() if key.rule == SLOW_TOKENS]
    timing = struck.bank.timing(SLOW_TOKENS)
    for history in seen.values():
        assert breached(history, timing) == {"r1"}
    assert any("slow for this load: itl" in reason and "of its 3 peers" in reason for reason in reasons)


def test_a_new_fleet_names_its_slow_replica_by_peers_alone(fleet: Callable[..., Fleet]) -> None:
    young = fleet(4, 5)
    young.engines[2].slowdown = 2.0
    history = watch(young, 12, "peers")
    assert "r2 itl mean" in breached(history, young.bank.timing(SLOW_TOKENS))
    assert watch(young, 1, "zscore") == [set()]


def test_a_surge_is_not_slow_for_its_load(fleet: Callable[..., Fleet]) -> None:
    busy = fleet(4, 1)
    for _ in busy.ticks(HEALTHY_TICKS):
        pass
    for engine in busy.engines:
        engine.surge = 4.0
    history = watch(busy, 36, "residual")
    assert {name for tick in history for name in tick if " itl " in name} == set()
    scores = busy.bank.scores()
    assert scores is not None
    judged = [v for k, v in zip(scores.keys, scores.votes["residual"], strict=True) if k and k.signal == "itl"]
    assert np.isfinite(judged).any(), "silence must not come from not judging"


def test_slowness_during_a_swing_is_seen(fleet: Callable[..., Fleet]) -> None:
    swinging = fleet(4, 2)
    for _ in swinging.ticks(HEALTHY_TICKS):
        pass
    for engine in swinging.engines:
        engine.surge = 1.6
    timing = swinging.bank.timing(SLOW_TOKENS)
    before = breached(watch(swinging, 30, "residual"), timing)
    assert not {name for name in before if " itl " in name}
    swinging.engines[1].slowdown = 2.0
    after = breached(watch(swinging, 12, "residual"), timing)
    assert {name for name in after if " itl " in name} == {"r1 itl mean"}
