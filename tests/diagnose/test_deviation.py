import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiops.diagnose.deviation import CAP, EVENT, Panel, Trait, deviation, onset, quantiles
from aiops.signals.catalog import Bad
from tests.diagnose.panels import calm, moved

HIGH = Trait(Bad.HIGH, 0.05)


def one(reference: list[float], window: list[float], trait: Trait = HIGH) -> Panel:
    return Panel(("e",), ("m",), (trait,), np.array([reference]).T, np.array([window]).T, np.arange(len(window)) * 60.0)


def test_a_calm_series_is_near_its_reference() -> None:
    found = deviation(calm())
    assert found.harm.max() < 2.0
    assert found.suspected.max() < 2.0


def test_a_constant_series_is_floored_by_its_kind() -> None:
    found = deviation(one([100.0] * 20, [110.0] * 5))
    assert found.scale[0] == pytest.approx(5.0)
    assert found.harm[0] == pytest.approx(2.0)


def test_what_was_always_zero_and_moved_is_an_event_whatever_its_size() -> None:
    for size in (1e-9, 1.0, 1e9):
        assert deviation(one([0.0] * 20, [size] * 5)).harm[0] == EVENT
    assert deviation(one([0.0] * 20, [0.0] * 5)).harm[0] == 0.0


def test_distances_are_capped() -> None:
    assert deviation(one([1.0] * 20, [1e12] * 5)).harm[0] == CAP


def test_moves_the_harmless_way_count_less() -> None:
    assert deviation(one([100.0] * 20, [50.0] * 5)).harm[0] == pytest.approx(0.4 * 10.0)
    assert deviation(one([100.0] * 20, [50.0] * 5, Trait(Bad.LOW, 0.05))).harm[0] == pytest.approx(10.0)
    assert deviation(one([100.0] * 20, [50.0] * 5, Trait(Bad.BOTH, 0.05))).harm[0] == pytest.approx(0.4 * 10.0)


@pytest.mark.parametrize("window", [[np.nan] * 5, [np.nan, np.nan, np.nan, np.nan, 100.0]])
def test_missing_data_is_not_anomalous_data(window: list[float]) -> None:
    assert deviation(one([100.0, 101.0, 99.0] * 5, window)).harm[0] == 0.0


def test_a_series_that_is_mostly_absent_does_not_compete() -> None:
    reference = [np.nan] * 20 + [1.0, 1.0, 1.0]
    assert deviation(one(reference, [50.0] * 5)).harm[0] == 0.0
    assert deviation(one(reference[-12:], [50.0] * 5)).harm[0] > 100.0


def test_few_requests_make_a_number_uncertain() -> None:
    def harm(requests: float) -> float:
        traffic = Trait(Bad.BOTH, 0.05, traffic=True)
        share = Trait(Bad.LOW, 0.005, averaged="share")
        counts = requests + np.arange(20)[:, None] % 2
        before, now = np.hstack([counts, np.full((20, 1), 100.0)]), np.hstack([counts[:5], np.full((5, 1), 97.0)])
        panel = Panel(("e", "e"), ("requests", "success"), (traffic, share), before, now, np.arange(5.0))
        return float(deviation(panel).harm[1])

    assert harm(1000.0) == pytest.approx(6.0)
    assert harm(10.0) < 1.0  # three in a hundred of ten requests is less than one request


def test_durations_that_were_as_long_now_and_then_are_not_blamed() -> None:
    duration = Trait(Bad.HIGH, 0.1, averaged="duration")
    reference = [1.0] * 27 + [9.0] * 2
    assert deviation(one(reference, [8.0] * 5, duration)).harm[0] == 2.0
    assert deviation(one(reference, [8.0] * 5)).harm[0] > 4.0
    assert deviation(one(reference, [20.0] * 5, duration)).harm[0] > 5.0


@settings(max_examples=40)
@given(st.lists(st.sampled_from([1e-6, 1e-3, 60.0, 1024.0, 1e6, 1e9]), min_size=15, max_size=15), st.integers(0, 5))
def test_units_change_nothing(factors: list[float], seed: int) -> None:
    """Every column may have a unit of its own."""
    panel = moved(calm(seed), ("index", "latency_avg_s", 0.1), ("index", "cpu_percent", 40.0))
    plain = deviation(panel)
    scaled = deviation(
        replace(panel, reference=panel.reference * np.array(factors), window=panel.window * np.array(factors))
    )
    np.testing.assert_allclose(scaled.harm, plain.harm, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(scaled.suspected, plain.suspected, rtol=1e-6, atol=1e-9)


@given(st.integers(1, 9), st.integers(1, 4), st.integers(0, 1000))
def test_quantiles_are_those_of_numpy(rows: int, columns: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.where(rng.random((rows, columns)) < 0.3, np.nan, rng.standard_normal((rows, columns)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        expected = np.nanquantile(values, (0.0, 0.3, 0.5, 1.0), axis=0)
    np.testing.assert_allclose(quantiles(values, (0.0, 0.3, 0.5, 1.0)), expected, atol=1e-12)


def test_onset_is_where_it_stays_outside() -> None:
    times = np.arange(6) * 10.0
    assert onset(np.array([5.0, 0.0, 0.0, 3.0, 4.0, 4.0]), times) == 30.0
    assert onset(np.array([0.0, 0.0, 0.0, 0.0, 0.0, 4.0]), times) == 50.0
    assert np.isnan(onset(np.array([5.0, 0.0, np.nan, 0.0, 0.0, 0.0]), times))
