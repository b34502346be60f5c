"""T(n): fitting survives stalls, the knee is found, and recorded engines give theirs back."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from aiops.capacity.curve import StepCurve, fit_curve, monotone


def test_a_bent_curve_is_recovered_through_noise_and_stalls() -> None:
    rng = np.random.default_rng(3)
    running = rng.integers(1, 257, 3000).astype(float)
    truth = np.maximum(0.010 + 0.0001 * running, 0.0003 * running)
    seen = truth * rng.lognormal(0.0, 0.1, 3000)
    seen[rng.random(3000) < 0.1] *= 30.0
    fitted = fit_curve(running, seen)
    assert fitted is not None
    assert fitted.samples == 3000
    table = fitted.curve.table(256)
    for n in (8, 32, 64, 128, 250):
        assert table[n] == pytest.approx(max(0.010 + 0.0001 * n, 0.0003 * n), rel=0.15)
    # throughput n / T(n) reaches 90 % of 1 / 0.0003 at n = 42.9
    assert fitted.knee == pytest.approx(43, abs=10)


def test_an_engine_that_still_speeds_up_has_no_knee() -> None:
    running = np.repeat(np.arange(1.0, 65.0), 5)
    fitted = fit_curve(running, 0.02 + 0.00001 * running)
    assert fitted is not None
    assert math.isnan(fitted.knee)


def test_too_little_to_fit() -> None:
    assert fit_curve(np.empty(0), np.empty(0)) is None
    assert fit_curve(np.full(50, 8.0), np.full(50, 0.02)) is None
    assert fit_curve(np.full(50, np.nan), np.full(50, 0.02)) is None


def test_the_table_is_straight_between_points_and_beyond() -> None:
    curve = StepCurve(np.array([4.0, 8.0, 16.0]), np.array([0.01, 0.02, 0.06]))
    assert curve.table(20)[[0, 1, 4, 6, 16, 20]] == pytest.approx([0.01, 0.01, 0.01, 0.015, 0.06, 0.08])
    assert StepCurve.linear(0.002, 0.0004).table(100)[100] == pytest.approx(0.042)


@given(arrays(np.float64, st.integers(1, 12), elements=st.floats(-100, 100)))
def test_monotone_regression_is_the_minimax_of_means(values: np.ndarray) -> None:
    n = len(values)
    oracle = [
        max(min(values[a : b + 1].mean() for b in range(i, n)) for a in range(i + 1)) for i in range(n)
    ]  # the min-max formula of isotonic regression
    assert monotone(values, np.ones(n)) == pytest.approx(oracle, abs=1e-9)


def test_recorded_engine_gives_its_curve_and_knee(traces: Path) -> None:
    running, seconds = [], []
    for path in sorted((traces / "burstgpt_replay_logs").glob("vllm_log_*.json")):
        for row in json.loads(path.read_text()).values():
            if row["generation_throughput"] > 0 and row["num_running"] >= 1 and row["prompt_throughput"] < 1.0:
                running.append(row["num_running"])
                seconds.append(row["num_running"] / row["generation_throughput"])
    fitted = fit_curve(np.array(running), np.array(seconds))
    assert fitted is not None
    table = fitted.curve.table(256) * 1e3
    # medians published for these logs: 8.1 ms (9-16), 15.8 ms (33-64), 33.6 ms (65-128), 77.2 ms (201-256)
    assert table[12] == pytest.approx(8.1, rel=0.15)
    assert table[48] == pytest.approx(15.8, rel=0.15)
    assert table[100] == pytest.approx(33.6, rel=0.15)
    assert table[230] == pytest.approx(77.2, rel=0.15)
    assert 40 <= fitted.knee <= 80
    assert fitted.best_per_second == pytest.approx(3_150, rel=0.1)
