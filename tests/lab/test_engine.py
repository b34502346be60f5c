"""The lab engine obeys the laws that real engines were measured to obey."""

from dataclasses import replace

import pytest
from aiohttp import ClientConnectorError, ClientSession

from aiops.lab.engine import Engine, Histogram, Shape
from aiops.lab.faults import FAULTS, heal
from aiops.lab.fleet import Fleet
from aiops.lab.page import vllm_page


def test_requests_are_conserved_and_tokens_are_the_sum_of_answers() -> None:
    engine = Engine(3)
    arrived = 0
    for second in range(1, 120):
        engine.advance(float(second))
        seen = engine.finished + len(engine.running) + len(engine.queue)
        assert seen >= arrived
        arrived = seen
    assert arrived == pytest.approx(3.0 * 120, rel=0.25)
    assert engine.gen_len.total + sum(r.produced for r in engine.running) == engine.generated_tokens


def test_the_same_seed_prints_the_same_page() -> None:
    one, two = Engine(9), Engine(9)
    one.advance(30.0)
    for moment in range(1, 31):
        two.advance(float(moment))
    assert vllm_page(one, model="m", started=1.0) == vllm_page(two, model="m", started=1.0)


def test_overload_pins_the_batch_and_grows_the_queue() -> None:
    engine = Engine(4, replace(Shape(), slots=4))
    FAULTS["surge"].strike(engine)
    engine.advance(20.0)
    early = len(engine.queue)
    engine.advance(40.0)
    assert len(engine.running) == 4
    assert len(engine.queue) > early > 50
    heal(engine, Engine(4))
    assert engine.surge == 1.0


def test_stuck_engine_stops_its_tokens_but_not_its_queue() -> None:
    engine = Engine(5)
    engine.advance(30.0)
    FAULTS["stuck"].strike(engine)
    tokens = engine.generated_tokens
    engine.advance(60.0)
    assert engine.generated_tokens == tokens
    assert len(engine.queue) > 40


def test_slow_engine_shows_in_its_step_time() -> None:
    engine = Engine(6)
    engine.advance(60.0)
    before = engine.itl.total / engine.itl.number
    FAULTS["slow"].strike(engine)
    total, number = engine.itl.total, engine.itl.number
    engine.advance(90.0)
    assert (engine.itl.total - total) / (engine.itl.number - number) > 3 * before


def test_little_kv_means_preemptions() -> None:
    engine = Engine(7)
    engine.advance(20.0)
    assert engine.preemptions == 0
    FAULTS["kv"].strike(engine)
    engine.surge = 3.0
    engine.advance(60.0)
    assert engine.preemptions > 0
    assert engine.kv_used <= max(1_500, max((r.kv for r in engine.running), default=0))


def test_histogram_counts_like_prometheus() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 3.0):
        histogram.observe(value)
    assert (histogram.counts, histogram.number, histogram.total) == ([2, 3], 4, 6.0)


async def test_fleet_serves_dies_and_comes_back_on_its_port() -> None:
    fleet = Fleet(2)
    await fleet.start()
    try:
        async with ClientSession() as session:
            url = fleet.replicas[1].url
            assert url != fleet.replicas[0].url
            async with session.get(url) as answer:
                assert 'vllm:num_requests_running{engine="0",model_name="demo-7b"}' in await answer.text()
            await fleet.strike(1, "dead")
            with pytest.raises(ClientConnectorError):
                await session.get(url)
            await fleet.replicas[1].restart()
            async with session.get(url) as answer:
                assert answer.status == 200
            assert fleet.replicas[1].url == url
    finally:
        await fleet.stop()
