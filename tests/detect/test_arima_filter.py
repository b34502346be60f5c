"""The recursion against statsmodels' Kalman filter: the same forecasts, variances and intervals."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from aiops.detect import arima_filter as af

SARIMAX = pytest.importorskip("statsmodels.tsa.statespace.sarimax").SARIMAX
ROWS = 150


def coefficients(roots: list[float]) -> NDArray[np.float64]:
    """Of the polynomial with these inverse roots, without the leading 1."""
    return np.asarray(np.poly(roots)[1:], float) if roots else np.zeros(0)


def table_of(phi: NDArray[Any], difference: int, theta: NDArray[Any]) -> af.Table:
    table = af.blank(1)
    table[: len(phi), 0] = phi
    table[af.THETA.start : af.THETA.start + len(theta), 0] = theta
    table[af.DELTA] = difference
    af.start(table)
    return table


def simulated(phi: NDArray[Any], difference: int, theta: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    noise, values = rng.standard_normal(ROWS), np.zeros(ROWS)
    for t in range(ROWS):
        values[t] = noise[t]
        values[t] += sum(p * values[t - 1 - i] for i, p in enumerate(phi) if t > i)
        values[t] += sum(q * noise[t - 1 - i] for i, q in enumerate(theta) if t > i)
    return np.cumsum(values) if difference else values


ROOTS = st.floats(-0.95, 0.95)


@settings(max_examples=30)
@given(
    ar=st.lists(ROOTS, max_size=3),
    ma=st.lists(ROOTS, max_size=2),
    difference=st.integers(0, 1),
    missing=st.sampled_from([0.0, 0.1, 0.5]),
    seed=st.integers(0, 2**32 - 1),
)
def test_forecasts_are_those_of_statsmodels(
    ar: list[float], ma: list[float], difference: int, missing: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    phi, theta = -coefficients(ar), coefficients(ma)
    values = simulated(phi, difference, theta, rng)
    values[rng.random(ROWS) < missing] = np.nan
    order = (len(phi), difference, len(theta))
    known = SARIMAX(values, order=order).filter(np.concatenate([phi, theta, [1.0]]))
    table = table_of(phi, difference, theta)
    errors, factors = af.run(table, values[:, np.newaxis])
    seen = np.isfinite(values)
    expected = known.filter_results.forecasts[0]
    np.testing.assert_allclose((values - errors[:, 0])[seen], expected[seen], rtol=0, atol=1e-6)
    # The variance before anything is known of a level is arbitrary; after it, it is not.
    known_variance = known.filter_results.forecasts_error_cov[0, 0]
    np.testing.assert_allclose(factors[1:, 0], known_variance[1:], rtol=1e-6, atol=1e-6)
    ahead, theirs = af.ahead(table, 24), known.get_forecast(24)
    np.testing.assert_allclose(ahead.mean[:, 0], theirs.predicted_mean, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(np.sqrt(ahead.variance[:, 0]), theirs.se_mean, rtol=1e-6, atol=1e-6)


def test_columns_do_not_know_one_another() -> None:
    rng = np.random.default_rng(0)
    tables = [
        table_of(np.array([0.5, 0.2]), 0, np.array([0.3])),
        table_of(np.zeros(0), 1, np.array([-0.6])),
        table_of(np.array([0.9]), 1, np.zeros(0)),
    ] * 700  # more than one block of the filter
    values = rng.standard_normal((40, len(tables)))
    values[rng.random(values.shape) < 0.2] = np.nan
    together = np.concatenate(tables, axis=1)
    errors, factors = af.run(together, values)
    for column in (0, 1, 2, 1023, 1024, 2099):
        alone_errors, alone_factors = af.run(tables[column].copy(), values[:, [column]])
        np.testing.assert_allclose(errors[:, [column]], alone_errors, atol=1e-12)
        np.testing.assert_allclose(factors[:, [column]], alone_factors, atol=1e-12)


def test_without_gaps_a_column_settles_and_a_gap_unsettles_it() -> None:
    table = table_of(np.array([0.5]), 0, np.array([0.4]))
    af.run(table, np.random.default_rng(0).standard_normal((40, 1)))
    assert table[af.SETTLED, 0] == 1
    assert table[af.FACTOR, 0] == 1
    af.advance(table, np.array([np.nan]))
    assert table[af.SETTLED, 0] == 0
    assert table[af.FACTOR, 0] > 1
    af.run(table, np.zeros((60, 1)))
    assert table[af.SETTLED, 0] == 1


def test_looking_ahead_changes_nothing() -> None:
    table = table_of(np.array([0.5]), 1, np.array([0.4]))
    af.run(table, np.random.default_rng(0).standard_normal((9, 1)))
    before = table.copy()
    forecast = af.ahead(table, 30)
    np.testing.assert_array_equal(table, before)
    assert (np.diff(forecast.variance[:, 0]) > 0).all()


def test_inactive_columns_cost_no_filter_and_harm_nobody() -> None:
    table = np.concatenate([table_of(np.array([0.5]), 0, np.zeros(0)) for _ in range(2)], axis=1)
    alone = table[:, :1].copy()
    for value in (1.0, np.nan, 2.0):
        af.advance(table, np.array([value, np.nan]), np.array([True, False]))
        af.advance(alone, np.array([value]))
    np.testing.assert_array_equal(table[:, 0], alone[:, 0])
