"""The replay: a queue that equals slow simulations, draws that show the same intervals, placement that learns."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aiops.capacity.placement import Placement, learn_placement, place
from aiops.capacity.replay import Requests, draw, fifo_waits, most_at_once, synthesise
from aiops.capacity.work import Intervals
from tests.capacity.loads import at_rho, bursts, every, poisson

rows_ = st.lists(st.tuples(st.floats(0.0, 5.0), st.floats(0.0, 20.0)), min_size=1, max_size=40)


def slow_fifo(requests: Requests, servers: int) -> list[float]:
    """Kiefer and Wolfowitz: the vector of work left at each server, ordered, found by each arrival."""
    left, before, waits = np.zeros(servers), 0.0, []
    for arrival, size in zip(requests.arrival_seconds, requests.service_seconds, strict=True):
        left = np.sort(np.maximum(0.0, left - (arrival - before)))
        before = arrival
        waits.append(float(left[0]))
        left[0] += size
    return waits


@given(rows_, st.integers(1, 12))
@example([(0.0, 1.0), (0.0, 0.0)], 1)
def test_the_queue_equals_the_slow_one(rows: list[tuple[float, float]], servers: int) -> None:
    gaps, sizes = np.array(rows).T
    requests = Requests(np.cumsum(gaps), sizes)
    assert fifo_waits(requests, servers).seconds == pytest.approx(slow_fifo(requests, servers), abs=1e-9)


@given(rows_, st.integers(1, 8))
def test_more_servers_never_wait_longer(rows: list[tuple[float, float]], servers: int) -> None:
    gaps, sizes = np.array(rows).T
    requests = Requests(np.cumsum(gaps), sizes)
    fewer, more = fifo_waits(requests, servers).seconds, fifo_waits(requests, servers + 1).seconds
    assert (more <= fewer + 1e-9).all()
    assert not fifo_waits(requests, most_at_once(requests) or 1).seconds.any()


def test_no_servers_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        fifo_waits(poisson(1.0, 10.0, mean=1.0, seed=1), 0)


@pytest.mark.parametrize("placement", [Placement(), Placement(0.1, 0.3, 0.8)])
def test_draws_show_the_same_intervals(placement: Placement) -> None:
    load = bursts(quiet=1.0, busy=8.0, seconds=1200.0, mean=2.0, seed=7)
    seen = Intervals.of(load.arrival_seconds, load.service_seconds, 15.0)
    drawn = synthesise(seen, np.random.default_rng(1), placement)
    number = (drawn.arrival_seconds // 15.0).astype(int)
    assert np.bincount(number, minlength=len(seen.counts)).tolist() == seen.counts.tolist()
    assert np.bincount(number, drawn.service_seconds, len(seen.counts)) == pytest.approx(seen.work)
    assert (np.diff(drawn.arrival_seconds) >= 0.0).all()
    assert drawn.arrival_seconds[-1] <= seen.span_seconds


def test_draws_keep_the_shape_of_sizes() -> None:
    load = poisson(20.0, 600.0, mean=1.0, seed=8)
    sizes = np.where(np.random.default_rng(1).random(len(load.arrival_seconds)) < 0.1, 8.0, 0.3)
    seen = Intervals.of(load.arrival_seconds, sizes, 15.0)
    drawn = synthesise(seen, np.random.default_rng(2))
    assert (drawn.service_seconds > 2.0).mean() == pytest.approx(0.1, abs=0.02)
    assert drawn.service_seconds.std() == pytest.approx(sizes.std(), rel=0.15)
    blind = synthesise(Intervals(15.0, seen.span_seconds, seen.counts, seen.work), np.random.default_rng(2))
    assert blind.service_seconds.sum() == pytest.approx(sizes.sum())


def test_the_same_seed_gives_the_same_draws_and_blocks_differ() -> None:
    load = poisson(3.0, 900.0, mean=1.0, seed=9)
    seen = Intervals.of(load.arrival_seconds, load.service_seconds, 15.0)
    first, second, other = (draw(seen, Placement(), draws=2, seed=seed) for seed in (1, 1, 2))
    assert [a.arrival_seconds.tolist() for a in first] == [b.arrival_seconds.tolist() for b in second]
    assert first[0].arrival_seconds.tolist() != first[1].arrival_seconds.tolist()
    assert first[0].arrival_seconds.tolist() != other[0].arrival_seconds.tolist()
    totals = [len(one.arrival_seconds) for one in draw(seen, Placement(), draws=8, seed=1, block_seconds=300.0)]
    assert len(set(totals)) > 1


def test_placement_learns_clumps_and_their_absence() -> None:
    calm = poisson(10.0, 7200.0, mean=1.0, seed=10)
    smooth = learn_placement(Intervals.of(calm.arrival_seconds, calm.service_seconds, 15.0))
    assert smooth.steady < 0.003
    rough = every(20.0, 7200.0, size=60.0, mean=1.0, seed=11)
    assert learn_placement(Intervals.of(rough.arrival_seconds, rough.service_seconds, 15.0)).steady > 0.1
    assert learn_placement(Intervals.of(calm.arrival_seconds[:50], calm.service_seconds[:50], 15.0)) == Placement()


def test_clumping_clumps() -> None:
    seen = Intervals(15.0, 1500.0, np.full(100, 200), np.full(100, 200.0))
    spread = {}
    for steady in (0.0, 0.2):
        times = place(seen, Placement(steady=steady), np.random.default_rng(3))
        per_second = np.bincount(times.astype(int), minlength=1500)
        spread[steady] = per_second.var() / per_second.mean()
    assert spread[0.0] == pytest.approx(1.0, abs=0.15)
    assert spread[0.2] > 5.0


def test_a_step_makes_no_slope_beside_it_and_a_ramp_goes_on_inside() -> None:
    counts = np.array([0] * 20 + [300] * 20 + list(range(300, 700, 20)), np.int64)
    seen = Intervals(16.0, 16.0 * len(counts), counts, counts.astype(float))
    times = np.concatenate([place(seen, Placement(slope=0.125), np.random.default_rng(n)) for n in range(20)])
    halves = np.bincount((times // 8.0).astype(int), minlength=2 * len(counts)).reshape(-1, 2).astype(float)
    tilt = (halves[:, 1] - halves[:, 0]) / np.maximum(halves.sum(axis=1), 1.0)
    assert np.abs(tilt[20:39]).max() < 0.03
    assert tilt[41:59].mean() == pytest.approx(np.mean(20.0 / 4.0 / counts[41:59]), abs=0.006)


def test_fine_clumps_stay_fine() -> None:
    seen = Intervals(16.0, 1600.0, np.full(100, 200, np.int64), np.full(100, 200.0))
    times = place(seen, Placement(fine=0.4), np.random.default_rng(3))
    spread = [np.bincount((times // width).astype(int)).var() / (12.5 * width) for width in (1.0, 8.0)]
    assert spread[0] > 3.0
    assert spread[0] > 0.8 * spread[1]


@pytest.mark.parametrize("servers", [2, 8, 32])
def test_the_replay_finds_the_wait_of_bursts(servers: int) -> None:
    load = at_rho(bursts(quiet=1.0, busy=5.0, seconds=3600.0, mean=1.0, seed=12), servers, 0.75)
    truth = np.mean(slow_fifo(load, servers))
    seen = Intervals.of(load.arrival_seconds, load.service_seconds, 15.0)
    found = [fifo_waits(one, servers).mean for one in draw(seen, learn_placement(seen), draws=4, seed=1)]
    assert np.mean(found) == pytest.approx(truth, rel=0.25)
