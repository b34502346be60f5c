"""Forecasts: the recursions against statsmodels, the choice, honest bands, gaps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.capacity.forecast import forecast, smooth, smooth_seasons

RNG = np.random.default_rng(5)


@pytest.mark.parametrize(("alpha", "beta", "phi"), [(0.3, 0.1, 0.9), (0.6, 0.02, 0.98), (0.1, 0.5, 0.8)])
def test_damped_trend_is_that_of_statsmodels(alpha: float, beta: float, phi: float) -> None:
    holt = pytest.importorskip("statsmodels.tsa.holtwinters").Holt
    values = 20.0 + np.cumsum(RNG.normal(0.1, 1.0, 80))
    model = holt(values, damped_trend=True, initialization_method="known", initial_level=values[0], initial_trend=0.0)
    fitted = model.fit(smoothing_level=alpha, smoothing_trend=beta, damping_trend=phi, optimized=False)
    ours = smooth(values, ((alpha, beta, phi),)).paths(np.array([79]), 12, 0)[0]
    np.testing.assert_allclose(ours, np.maximum(0.0, fitted.forecast(12)), rtol=1e-9)


def test_seasons_are_those_of_statsmodels() -> None:
    model_of = pytest.importorskip("statsmodels.tsa.holtwinters").ExponentialSmoothing
    period, alpha, beta, gamma, phi = 12, 0.2, 0.1, 0.3, 0.95
    values = 50.0 + 10.0 * np.sin(np.arange(96) * 2.0 * np.pi / period) + RNG.normal(0.0, 1.0, 96)
    level = values[:period].mean()
    model = model_of(
        values, trend="add", damped_trend=True, seasonal="add", seasonal_periods=period,
        initialization_method="known", initial_level=level, initial_trend=0.0, initial_seasonal=values[:period] - level,
    )  # fmt: skip
    fitted = model.fit(
        smoothing_level=alpha, smoothing_trend=beta, smoothing_seasonal=gamma, damping_trend=phi, optimized=False
    )
    ours = smooth_seasons(values, period, alpha=alpha, beta=beta, gamma=gamma, phi=phi)
    # The oracle leaves the newest season out of its last step, so that one is not compared.
    path = ours.paths(np.array([95]), period, 0)[0]
    np.testing.assert_allclose(path[:-1], fitted.forecast(period)[:-1], rtol=1e-8)


def test_a_rise_is_followed_and_a_flat_load_is_not_bent() -> None:
    rising = forecast(np.linspace(10.0, 50.0, 120) + RNG.normal(0.0, 0.5, 120), 8)
    flat = forecast(30.0 + RNG.normal(0.0, 3.0, 240), 8)
    assert rising is not None
    assert flat is not None
    assert rising.method == "trend"
    assert rising.path[-1] == pytest.approx(52.5, abs=1.5)
    assert flat.method != "naive"
    assert flat.path == pytest.approx(np.full(8, 30.0), abs=2.0)


def test_a_season_is_used_once_it_was_seen_twice() -> None:
    wave = 50.0 + 30.0 * np.sign(np.sin(np.arange(300) * 2.0 * np.pi / 100.0)) + RNG.normal(0.0, 1.0, 300)
    assert "seasonal naive" not in forecast(wave[:190], 10, period=100).scores  # type: ignore[union-attr]
    found = forecast(wave[:245], 10, period=100)
    assert found is not None
    assert found.method.startswith("seasonal")
    assert found.path[-1] == pytest.approx(20.0, abs=6.0)  # the step down at 250 is foreseen


def test_bands_hold_what_they_promise_out_of_sample() -> None:
    rng = np.random.default_rng(8)
    inside = []
    for _ in range(60):
        values = np.maximum(0.0, 40.0 + rng.gamma(2.0, 6.0, 400) + 10.0 * np.sin(np.arange(400) / 60.0))
        found = forecast(values[:390], 10)
        assert found is not None
        inside.append(values[390:] <= found.band(0.9))
    assert 0.83 <= np.mean(inside) <= 0.96


def test_futures_have_the_bands() -> None:
    found = forecast(30.0 + RNG.gamma(2.0, 4.0, 300), 6)
    assert found is not None
    futures = found.futures(4000, np.random.default_rng(1))
    assert futures.shape == (4000, 6)
    np.testing.assert_allclose(np.quantile(futures, 0.9, axis=0), found.band(0.9), rtol=0.06)


def test_too_little_is_no_forecast() -> None:
    assert forecast(np.full(20, 3.0), 8) is None
    assert forecast(np.full(400, np.nan), 8) is None
    assert forecast(np.append(np.full(300, 3.0), np.full(60, np.nan)), 8) is None  # silent for too long
    assert forecast(np.empty(0), 8) is None


def test_an_idle_pool_has_a_forecast_of_nothing() -> None:
    found = forecast(np.zeros(100), 5)
    assert found is not None
    np.testing.assert_array_equal(found.band(0.99), np.zeros(5))


@given(st.lists(st.one_of(st.just(float("nan")), st.floats(0.0, 1e6)), min_size=1, max_size=80), st.integers(1, 12))
def test_gaps_never_leak(values: list[float], horizon: int) -> None:
    found = forecast(np.array(values), horizon)
    if found is not None:
        assert np.isfinite(found.path).all()
        assert (found.path >= 0.0).all()
        assert np.isfinite(found.futures(16, np.random.default_rng(0))).all()


def test_a_gap_is_not_no_load() -> None:
    values = np.full(100, 20.0)
    values[90:96] = np.nan
    found = forecast(values, 6)
    assert found is not None
    assert found.path == pytest.approx(np.full(6, 20.0))
