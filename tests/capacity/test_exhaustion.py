"""Time to exhaustion: right on lines, silent on noise, waves and sawteeth."""

import numpy as np
import pytest

from aiops.capacity.exhaustion import time_to_exhaustion

AT = np.arange(0.0, 3600.0, 15.0)


def test_a_line_reaches_its_limit_on_time() -> None:
    found = time_to_exhaustion(AT, 10.0 + 0.01 * AT, 100.0)
    assert found.reason == ""
    assert found.seconds == pytest.approx((100.0 - 10.0 - 0.01 * AT[-1]) / 0.01, rel=0.02)


def test_the_interval_holds_the_truth() -> None:
    rng = np.random.default_rng(3)
    held = []
    for _ in range(60):
        found = time_to_exhaustion(AT, 10.0 + 0.005 * AT + rng.normal(0.0, 1.0, len(AT)), 100.0)
        truth = (100.0 - 10.0 - 0.005 * AT[-1]) / 0.005
        assert found.reason == ""
        held.append(found.soonest_seconds <= truth <= found.latest_seconds)
    assert np.mean(held) >= 0.9


@pytest.mark.parametrize(
    "used",
    [
        np.full(len(AT), 40.0),
        40.0 + np.random.default_rng(1).normal(0.0, 3.0, len(AT)),
        40.0 + 20.0 * np.sin(AT / 200.0),
        40.0 + (AT % 300.0) / 30.0,
        80.0 - 0.01 * AT,
        40.0 + 0.0001 * AT,
    ],
    ids=["flat", "noise", "wave", "sawtooth", "shrinking", "in weeks"],
)
def test_no_date_where_there_is_none(used: np.ndarray) -> None:
    found = time_to_exhaustion(AT, used, 1000.0)
    assert np.isnan(found.seconds)
    assert found.reason


def test_drifting_noise_is_rarely_called_a_trend() -> None:
    rng = np.random.default_rng(11)
    alarms = 0
    for _ in range(100):
        noise = np.zeros(len(AT))
        for index in range(1, len(AT)):
            noise[index] = 0.9 * noise[index - 1] + rng.normal()
        alarms += not time_to_exhaustion(AT, 50.0 + noise, 100.0).reason
    assert alarms <= 5


def test_full_is_now_and_unknown_is_unknown() -> None:
    assert time_to_exhaustion(AT, np.full(len(AT), 100.0), 100.0).seconds == 0.0
    assert "known" in time_to_exhaustion(AT, np.full(len(AT), np.nan), 100.0).reason
    assert "known" in time_to_exhaustion(AT, 0.01 * AT, float("nan")).reason
    gaps = 10.0 + 0.01 * AT
    gaps[::3] = np.nan
    assert time_to_exhaustion(AT, gaps, 100.0).seconds == pytest.approx(5400.0, rel=0.05)


def test_a_disk_that_runs_empty_is_the_same_upside_down() -> None:
    found = time_to_exhaustion(AT, -(50.0 - 0.005 * AT), 0.0)
    assert found.seconds == pytest.approx((50.0 - 0.005 * AT[-1]) / 0.005, rel=0.02)
