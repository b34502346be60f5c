"""The way to one receiver: bounded, patient, and quiet about what lasts."""

import asyncio
import logging
import random
from typing import Any

import pytest

from aiops.kit.clock import Clock
from aiops.kit.retry import Failure, Permanent, Temporary
from aiops.notify.lane import Lane

pytestmark = pytest.mark.looptime


def lane_to(notifier: Any, clock: Clock, capacity: int = 100, give_up: float = 3600.0, **more: Any) -> Lane[Any]:
    return Lane(
        notifier,
        lambda item: str(item).split("=", maxsplit=1)[0],
        capacity=capacity,
        longest_retry_seconds=30.0,
        give_up_seconds=give_up,
        clock=clock,
        rng=random.Random(0),
        **more,
    )


def down_until(recovery: float) -> Any:
    return lambda now: Temporary("down") if now < recovery else None


async def test_items_arrive_in_batches_and_in_order(fake_notifier: Any, virtual_clock: Clock) -> None:
    notifier = fake_notifier(batch_size=2)
    lane = lane_to(notifier, virtual_clock)
    for item in "abcde":
        lane.offer(item)
    lane.start()
    await asyncio.sleep(1)
    assert notifier.items() == list("abcde")
    assert len(notifier.tries) == 3
    await lane.stop(1.0)
    assert (lane.status().sent, lane.status().dropped, lane.status().healthy) == (5, 0, True)


async def test_a_newer_item_replaces_the_waiting_one(fake_notifier: Any, virtual_clock: Clock) -> None:
    notifier = fake_notifier(behave=down_until(20.0))
    lane = lane_to(notifier, virtual_clock)
    lane.start()
    lane.offer("a=firing")
    await asyncio.sleep(10)
    lane.offer("a=resolved")
    await asyncio.sleep(60)
    assert notifier.items() == ["a=resolved"]
    await lane.stop(1.0)


async def test_an_item_that_changes_during_the_call_is_sent_again(fake_notifier: Any, virtual_clock: Clock) -> None:
    notifier = fake_notifier(call_seconds=5.0)
    lane = lane_to(notifier, virtual_clock)
    lane.start()
    lane.offer("a=firing")
    await asyncio.sleep(1)
    lane.offer("a=resolved")
    await asyncio.sleep(20)
    assert notifier.items() == ["a=firing", "a=resolved"]
    await lane.stop(1.0)


async def test_nothing_is_told_before_it_is_kept(fake_notifier: Any, virtual_clock: Clock) -> None:
    notifier, on_disk = fake_notifier(), asyncio.Event()

    async def kept() -> None:
        await on_disk.wait()

    lane = lane_to(notifier, virtual_clock, kept=kept)
    lane.start()
    lane.offer("a=firing")
    await asyncio.sleep(5)
    lane.offer("a=resolved")
    assert notifier.items() == []
    on_disk.set()
    await asyncio.sleep(5)
    assert notifier.items() == ["a=firing", "a=resolved"], "what was kept first is told first"
    await lane.stop(1.0)


async def test_a_full_queue_drops_the_oldest_and_counts(fake_notifier: Any, virtual_clock: Clock) -> None:
    notifier = fake_notifier()
    lane = lane_to(notifier, virtual_clock, capacity=3)
    for item in "abcde":
        lane.offer(item)
    assert (lane.status().queue_length, lane.status().dropped) == (3, 2)
    lane.start()
    await lane.stop(1.0)
    assert notifier.items() == list("cde")


@pytest.mark.parametrize("call_seconds", [0.0, 10.0])
@pytest.mark.parametrize("recovery", [1.0, 37.0, 300.0, 1800.0])
async def test_a_recovered_receiver_hears_within_two_intervals(
    fake_notifier: Any, virtual_clock: Clock, recovery: float, call_seconds: float
) -> None:
    notifier = fake_notifier(behave=down_until(recovery), call_seconds=call_seconds)
    lane = lane_to(notifier, virtual_clock)
    lane.start()
    lane.offer("a")
    await asyncio.sleep(recovery + 120)
    assert notifier.items() == ["a"]
    assert notifier.delivered[0][0] <= recovery + 2 * 60
    assert len(notifier.tries) <= 8 + recovery / 3, "back-off keeps the tries few"
    await lane.stop(1.0)


@pytest.mark.parametrize(("asked", "waited"), [(20.0, 20.0), (3600.0, 30.0)])
async def test_the_receiver_may_ask_for_a_wait_but_not_for_ever(
    fake_notifier: Any, virtual_clock: Clock, asked: float, waited: float
) -> None:
    notifier = fake_notifier(behave=lambda now: Temporary("429", asked) if now < 1 else None)
    lane = lane_to(notifier, virtual_clock)
    lane.start()
    lane.offer("a")
    await asyncio.sleep(100)
    assert notifier.tries == [0.0, waited]
    await lane.stop(1.0)


async def test_a_refused_batch_is_not_sent_again(fake_notifier: Any, virtual_clock: Clock) -> None:
    notifier = fake_notifier(behave=lambda now: Permanent("400") if now < 5 else None)
    lane = lane_to(notifier, virtual_clock)
    lane.start()
    lane.offer("a")
    await asyncio.sleep(100)
    assert len(notifier.tries) == 1
    status = lane.status()
    assert (status.refused, status.errors, status.queue_length, status.error) == (1, 1, 0, "400")
    lane.offer("b")
    await asyncio.sleep(1)
    assert (lane.status().healthy, lane.status().last_error) == (True, "400")
    await lane.stop(1.0)


async def test_a_broken_notifier_is_one_error_not_the_end(fake_notifier: Any, virtual_clock: Clock) -> None:
    def behave(now: float) -> Failure | None:
        if now < 5:
            raise KeyError("bug")
        return None

    notifier = fake_notifier(behave=behave)
    lane = lane_to(notifier, virtual_clock)
    lane.start()
    lane.offer("a")
    await asyncio.sleep(10)
    lane.offer("b")
    await asyncio.sleep(1)
    assert notifier.items() == ["b"]
    assert "KeyError" in lane.status().last_error
    await lane.stop(1.0)


async def test_one_poisonous_batch_does_not_starve_the_others(fake_notifier: Any, virtual_clock: Clock) -> None:
    notifier = fake_notifier(batch_size=1)
    good = notifier.send

    async def send(items: Any) -> None:
        if items == ["a"]:
            raise Temporary("500 for this one")
        await good(items)

    notifier.send = send
    lane = lane_to(notifier, virtual_clock, give_up=600.0)
    lane.start()
    for item in "abc":
        lane.offer(item)
    await asyncio.sleep(120)
    assert notifier.items() == ["b", "c"]
    await asyncio.sleep(600)
    assert (lane.status().dropped, lane.status().queue_length) == (1, 0)
    await lane.stop(1.0)


async def test_an_invalid_item_is_left_out_alone(fake_notifier: Any, virtual_clock: Clock) -> None:
    notifier = fake_notifier()
    lane = lane_to(notifier, virtual_clock)
    lane.start()
    for item in ("a", "bad", "b", "bad"):
        lane.offer(item)
    await lane.stop(1.0)
    assert notifier.items() == ["a", "b"]
    assert (lane.status().invalid, lane.status().last_invalid) == (2, "it is bad")


async def test_a_stop_delivers_what_waits_also_out_of_a_back_off(fake_notifier: Any, virtual_clock: Clock) -> None:
    notifier = fake_notifier(behave=down_until(200.0))
    lane = lane_to(notifier, virtual_clock)
    lane.start()
    lane.offer("a")
    await asyncio.sleep(199)
    lane.offer("b")
    await lane.stop(5.0)
    assert sorted(notifier.items()) == ["a", "b"]
    assert asyncio.get_running_loop().time() < 201


@pytest.mark.parametrize("call_seconds", [0.0, 1000.0])
async def test_a_stop_ends_in_time_and_counts_what_is_lost(
    fake_notifier: Any, virtual_clock: Clock, call_seconds: float
) -> None:
    notifier = fake_notifier(behave=down_until(1e9), call_seconds=call_seconds)
    lane = lane_to(notifier, virtual_clock)
    lane.start()
    lane.offer("a")
    await asyncio.sleep(1)
    await lane.stop(5.0)
    assert asyncio.get_running_loop().time() == pytest.approx(6.0, abs=0.3)
    assert (lane.status().dropped, lane.status().queue_length) == (1, 0)


async def test_a_lasting_fault_is_logged_once(
    fake_notifier: Any, virtual_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="aiops.notify")
    notifier = fake_notifier(behave=down_until(1000.0), complaint="its clock is 60 min ahead of ours")
    lane = lane_to(notifier, virtual_clock)
    lane.start()
    lane.offer("a")
    await asyncio.sleep(1500)
    await lane.stop(1.0)
    assert [record.getMessage() for record in caplog.records] == [
        "cannot notify fake: down",
        "fake: its clock is 60 min ahead of ours",
        "fake can be notified again",
    ]
    assert lane.status().warning == "its clock is 60 min ahead of ours"
