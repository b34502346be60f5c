"""Closed-form queues against slow exact sums, a simulation, and their own laws."""

import math
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.capacity.queueing import (
    birth_death,
    erlang_b,
    erlang_c,
    gg_c,
    hayward,
    mmc,
    square_root_beta,
    square_root_servers,
)
from aiops.capacity.replay import Requests, fifo_waits

servers_ = st.integers(1, 60)
rhos = st.floats(0.05, 0.98)


def exact_erlang_b(servers: int, load: Fraction) -> Fraction:
    terms = [Fraction(1)]
    for k in range(1, servers + 1):
        terms.append(terms[-1] * load / k)
    return terms[-1] / sum(terms)


def exact_erlang_c(servers: int, load: Fraction) -> Fraction:
    blocked = exact_erlang_b(servers, load)
    return blocked / (1 - load / servers * (1 - blocked))


@pytest.mark.parametrize("servers", [1, 2, 7, 40, 150])
@pytest.mark.parametrize("percent", [10, 50, 90, 99])
def test_erlang_equals_the_exact_sums(servers: int, percent: int) -> None:
    load = Fraction(servers * percent, 100)
    assert erlang_b(servers, float(load)) == pytest.approx(float(exact_erlang_b(servers, load)), rel=1e-12)
    assert erlang_c(servers, float(load)) == pytest.approx(float(exact_erlang_c(servers, load)), rel=1e-11)


@pytest.mark.parametrize(("servers", "load"), [(0.5, 0.3), (2.5, 1.2), (3.75, 8.0), (12.25, 0.01), (7.9, 700.0)])
def test_real_valued_servers_equal_the_integral(servers: float, load: float) -> None:
    # 1/B = A ∫ e^{-At} (1+t)^c dt, by brute force on a grid fine where it bends
    u = np.concatenate([[0.0], np.logspace(-9, math.log10(60.0 + 3 * servers), 400_001)])
    values = np.exp(-u) * (1 + u / load) ** servers
    assert erlang_b(servers, load) == pytest.approx(1 / np.trapezoid(values, u), rel=1e-6)


def test_thousands_of_servers_neither_overflow_nor_vanish() -> None:
    with localcontext() as context:
        context.prec = 60
        term = total = Decimal(1)
        for k in range(1, 5001):
            term *= Decimal(4900) / k
            total += term
        blocked = float(term / total)
    assert erlang_b(5000, 4900.0) == pytest.approx(blocked, rel=1e-10)
    assert erlang_c(5000, 4900.0) == pytest.approx(blocked / (1 - 0.98 * (1 - blocked)), rel=1e-9)
    assert erlang_c(5000.5, 10.0) == 0.0
    assert mmc(10_000, 9_900.0, 1.0).mean_seconds > 0.0
    assert erlang_b(3, 1e300) == pytest.approx(1.0)


@given(servers_, rhos)
def test_blocking_is_below_waiting_and_both_are_chances(servers: int, rho: float) -> None:
    blocked, waits = erlang_b(servers, rho * servers), erlang_c(servers, rho * servers)
    assert 0.0 <= blocked <= waits <= 1.0


@given(servers_, rhos, st.floats(0.01, 100.0))
def test_more_servers_wait_less_and_more_load_waits_more(servers: int, rho: float, service: float) -> None:
    arrivals = rho * servers / service
    here = mmc(servers, arrivals, service)
    assert mmc(servers + 1, arrivals, service).mean_seconds <= here.mean_seconds
    assert mmc(servers, arrivals * 1.01, service).mean_seconds >= here.mean_seconds or rho * 1.01 >= 1
    assert here.tail(0.0) == pytest.approx(here.probability)
    assert here.tail(service) <= here.probability


@given(rhos, st.floats(0.01, 10.0))
def test_one_server_is_mm1(rho: float, service: float) -> None:
    answer = mmc(1, rho / service, service)
    assert answer.probability == pytest.approx(rho)
    assert answer.mean_seconds == pytest.approx(rho * service / (1 - rho))
    assert answer.tail(service) == pytest.approx(rho * math.exp(-(1 - rho)))


@given(servers_, rhos, st.floats(0.0, 0.999))
def test_the_quantile_inverts_the_tail(servers: int, rho: float, share: float) -> None:
    answer = mmc(servers, rho * servers, 1.0)
    wait = answer.quantile(share)
    assert answer.tail(wait) == pytest.approx(1 - share) if wait > 0 else answer.probability <= 1 - share + 1e-12


@given(servers_, rhos, st.floats(0.2, 8.0))
def test_hayward_is_mmc_without_peaks_and_grows_with_them(servers: int, rho: float, peak: float) -> None:
    plain = mmc(servers, rho * servers, 1.0)
    assert hayward(servers, rho * servers, 1.0, peakedness=1.0).mean_seconds == pytest.approx(plain.mean_seconds)
    low, high = (hayward(servers, rho * servers, 1.0, peakedness=z).mean_seconds for z in (peak, peak * 1.2))
    assert high >= low


@given(servers_, rhos, st.floats(0.0, 20.0), st.floats(0.0, 20.0))
def test_allen_cunneen_scales_mmc(servers: int, rho: float, arrival: float, service: float) -> None:
    plain = mmc(servers, rho * servers, 1.0).mean_seconds
    answer = gg_c(servers, rho * servers, 1.0, arrival_cv2=arrival, service_cv2=service)
    assert answer.mean_seconds == pytest.approx(plain * (arrival + service) / 2)


@pytest.mark.parametrize("rho", [1.0, 1.5, 20.0])
def test_an_unstable_queue_has_growth_and_no_wait(rho: float) -> None:
    for answer in (
        mmc(4, rho * 2.0, 2.0),
        hayward(4, rho * 2.0, 2.0, peakedness=3.0),
        gg_c(4, rho * 2.0, 2.0, arrival_cv2=2.0, service_cv2=1.0),
    ):
        assert answer.backlog_growth_per_second == pytest.approx(rho * 2.0 - 2.0)
        assert all(math.isnan(value) for value in (answer.mean_seconds, answer.tail(1.0), answer.quantile(0.5)))


def test_no_load_no_wait() -> None:
    for answer in (mmc(3, 0.0, 1.0), hayward(3, 0.0, 1.0, peakedness=2.0)):
        assert (answer.mean_seconds, answer.tail(0.0), answer.quantile(0.99)) == (0.0, 0.0, 0.0)


def test_nonsense_is_refused() -> None:
    for call in (
        lambda: mmc(0, 1.0, 1.0),
        lambda: mmc(1, -1.0, 1.0),
        lambda: mmc(1, float("nan"), 1.0),
        lambda: mmc(1, 1.0, 0.0),
        lambda: hayward(1, 0.5, 1.0, peakedness=0.0),
        lambda: gg_c(2, 0.5, 1.0, arrival_cv2=-1.0, service_cv2=0.0),
        lambda: mmc(2, 1.0, 1.0).quantile(1.0),
        lambda: square_root_beta(1.0),
    ):
        with pytest.raises(ValueError, match="expected"):
            call()


def test_birth_death_balances() -> None:
    births, deaths = np.array([2.0, 3.0, 0.5]), np.array([1.0, 1.5, 4.0])
    states = birth_death(births, deaths)
    assert states.sum() == pytest.approx(1.0)
    assert states[:-1] * births == pytest.approx(states[1:] * deaths)
    assert birth_death(np.zeros(2), np.ones(2)) == pytest.approx([1.0, 0.0, 0.0])


@pytest.mark.parametrize("probability", [0.9, 0.5, 0.2, 0.01, 1e-6])
def test_square_root_staffing_inverts_and_meets_its_chance(probability: float) -> None:
    beta = square_root_beta(probability)
    density = math.exp(-beta * beta / 2) / math.sqrt(2 * math.pi)
    below = math.erfc(-beta / math.sqrt(2)) / 2
    assert 1 / (1 + beta * below / density) == pytest.approx(probability, rel=1e-6)


def test_square_root_staffing_is_right_for_a_large_pool() -> None:
    servers = square_root_servers(2000.0, square_root_beta(0.2))
    assert erlang_c(servers, 2000.0) == pytest.approx(0.2, abs=0.02)
    assert square_root_servers(2000.0, 1.0, peakedness=4.0) - 2000 == pytest.approx(2 * (2000**0.5), abs=1)
    assert square_root_servers(0.0, 1.0) == 1


@pytest.mark.parametrize(("servers", "rho"), [(1, 0.6), (4, 0.8), (16, 0.9)])
def test_mmc_agrees_with_a_simulation(servers: int, rho: float) -> None:
    # The mean over ten runs, so that the error of the simulation is well below what is asked of the formula.
    means, tails = [], []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        arrivals = np.cumsum(rng.exponential(1.0 / (rho * servers), 60_000))
        waits = fifo_waits(Requests(arrivals, rng.exponential(1.0, 60_000)), servers)
        means.append(waits.mean)
        tails.append(waits.tail(0.5))
    answer = mmc(servers, rho * servers, 1.0)
    assert np.mean(means) == pytest.approx(answer.mean_seconds, rel=0.06)
    assert np.mean(tails) == pytest.approx(answer.tail(0.5), rel=0.04)
