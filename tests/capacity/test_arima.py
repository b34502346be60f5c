"""ARIMA of loads: our recursion against statsmodels, coefficients of the worker, the judging back-test."""

import numpy as np
import pytest

from aiops.capacity.arima import Arima
from aiops.capacity.arima_fit import fit
from aiops.capacity.forecast import forecast


def simulated(phi: tuple[float, float], theta: tuple[float, float], mean: float, n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    noise, values = rng.standard_normal(n), np.zeros(n)
    for t in range(n):
        values[t] = noise[t] + sum(phi[k] * values[t - k - 1] + theta[k] * noise[t - k - 1] for k in range(2) if t > k)
    return mean + values


@pytest.mark.parametrize("differenced", [False, True])
def test_paths_are_those_of_statsmodels(differenced: bool) -> None:
    from statsmodels.tsa.statespace.sarimax import SARIMAX

    values = simulated((0.9, -0.3), (0.4, 0.0), 40.0, 300, seed=1)
    values = np.cumsum(values - 40.0) / 5.0 + 60.0 if differenced else values
    phi, theta, mean = np.array([0.9, -0.3]), np.array([0.4, 0.0]), 0.0 if differenced else 40.0
    ours = Arima(phi, theta, mean, differenced).paths(values, np.array([150, 299]), 12)
    order = (2, int(differenced), 1)
    parameters = [*([] if differenced else [mean * (1.0 - phi.sum())]), *phi, theta[0], 1.0]
    for row, last in zip(ours, (150, 299), strict=True):
        model = SARIMAX(values[: last + 1], order=order, trend=None if differenced else "c")
        assert row == pytest.approx(model.filter(parameters).forecast(12), rel=1e-3)


def test_gaps_are_bridged_by_what_was_expected_and_nothing_is_below_zero() -> None:
    model = Arima(np.array([0.5, 0.0]), np.zeros(2), 10.0, differenced=False)
    values = np.array([np.nan, 18.0, np.nan, np.nan])
    assert model.paths(values, np.array([1, 3]), 2) == pytest.approx(np.array([[14.0, 12.0], [11.0, 10.5]]))
    walk = Arima(np.zeros(2), np.zeros(2), 0.0, differenced=True)
    assert walk.paths(values, np.array([3]), 3) == pytest.approx(np.full((1, 3), 18.0))
    assert walk.paths(np.array([-5.0, -6.0]), np.array([1]), 1) == pytest.approx(np.zeros((1, 1)))


def test_coefficients_come_back_from_the_worker() -> None:
    loads = np.stack([simulated((1.2, -0.5), (0.0, 0.0), 30.0, 500, seed=2), np.full(500, 7.0)], axis=1)
    loads[100:110, 0] = np.nan
    answer = fit({"values": loads, "names": np.zeros(1)})
    plain, differenced = answer["models"][0]
    assert plain[:2] == pytest.approx([1.2, -0.5], abs=0.15)
    assert plain[4] == pytest.approx(30.0, rel=0.03)
    assert differenced[4] == 0.0
    assert np.isnan(answer["models"][1]).all()  # a constant teaches nothing


def test_it_is_chosen_where_it_is_right_and_only_there() -> None:
    swinging = np.maximum(0.0, simulated((1.7, -0.9), (0.0, 0.0), 30.0, 500, seed=3))
    found = fit({"values": swinging[:, np.newaxis], "names": np.zeros(1)})["models"][0]
    models = [Arima(one[:2], one[2:4], float(one[4]), differenced=bool(kind)) for kind, one in enumerate(found)]
    with_it, without = forecast(swinging, 8, arima=models), forecast(swinging, 8)
    assert with_it is not None
    assert without is not None
    assert with_it.method == "arima"
    assert with_it.scores["arima"] < 0.8 * without.scores[without.method]
    rising = np.linspace(5.0, 50.0, 500)
    trend = forecast(rising, 8, arima=models)
    assert trend is not None
    assert trend.method == "trend"
