"""Diagnosis of simulated faults, end to end through the pipeline. The whole matrix: ``benchmarks/causes.py``."""

from functools import cache

import pytest

from aiops.app.drill import HEALTHY, Drill, drill, knowledge
from aiops.lab.incidents import TELEMETRY_FAULT

SEED = 401
"""No signature was built with it; the published matrix has seeds of its own."""
PAIRS = [
    ("gpu-thermal-throttle", "gpu-power-cap"),
    ("traffic-surge", "retry-storm"),
    ("traffic-surge", "replica-loss"),
    ("long-prompts", "prefix-cache-drop"),
    ("kv-exhaustion", "admission-livelock"),
    ("engine-stuck", "admission-livelock"),
    ("batch-misconfiguration", "cpu-starvation"),
    ("nvlink-fault", "network-fault"),
]


@cache
def told(story: str, seed: int = SEED) -> Drill:
    return drill(story, seed, *knowledge())


@pytest.mark.parametrize("pair", PAIRS, ids="/".join)
def test_pairs_that_are_easily_confused(pair: tuple[str, str]) -> None:
    for right, wrong in (pair, pair[::-1]):
        found = told(right).diagnosis
        assert found.cause is not None, found.reason
        assert found.cause.id == right
        assert wrong not in {cause.id for cause in found.causes[:1]}


def test_a_gpu_that_is_gone_and_an_exporter_that_is_silent() -> None:
    for story in ("gpu-off-the-bus", "exporter-silent"):
        found = told(story).diagnosis
        assert found.cause is not None
        assert found.cause.id == story
    found = told(TELEMETRY_FAULT).diagnosis
    assert found.abstained
    assert found.reason.startswith("telemetry fault")


def test_a_healthy_fleet_is_not_blamed() -> None:
    for seed in (SEED, SEED + 1, SEED + 2):
        assert told(HEALTHY, seed).diagnosis.abstained


def test_equal_seeds_give_equal_fleets() -> None:
    first, again = told("gpu-power-cap"), drill("gpu-power-cap", SEED, *knowledge())
    assert repr(first) == repr(again)
