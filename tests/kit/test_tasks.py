import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest

from aiops.kit.clock import Clock
from aiops.kit.tasks import Beat, RestartPolicy, Supervisor, TaskState, every

pytestmark = pytest.mark.looptime


def virtual_clock() -> Clock:
    return Clock(now=lambda: 0.0, monotonic=asyncio.get_running_loop().time)


def supervisor(**policy: float) -> Supervisor:
    return Supervisor(policy=RestartPolicy(**policy), rng=random.Random(1))


async def run_for(seconds: float, loop: Awaitable[None]) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(loop, seconds)


async def test_ticks_stand_on_the_grid_without_drift() -> None:
    clock, at = virtual_clock(), []

    async def work() -> None:
        at.append(clock.monotonic())
        await asyncio.sleep(0.3)

    await asyncio.sleep(0.7)
    await run_for(3600, every(1.0, work, clock=clock, offset_seconds=0.25))
    assert at == pytest.approx([1.25 + k for k in range(3600)])


async def test_missed_ticks_are_skipped_and_counted_never_overlapping() -> None:
    clock, beat, at, running = virtual_clock(), Beat(), [], 0

    async def work() -> None:
        nonlocal running
        running += 1
        assert running == 1
        at.append(clock.monotonic())
        await asyncio.sleep(3.5 if len(at) == 2 else 0.1)
        running -= 1

    await run_for(8.5, every(1.0, work, clock=clock, beat=beat))
    assert at == pytest.approx([0, 1, 5, 6, 7, 8])
    assert (beat.ticks, beat.skipped) == (6, 3)


async def test_work_that_ends_exactly_at_the_next_tick_skips_nothing() -> None:
    clock, beat = virtual_clock(), Beat()
    await run_for(4.5, every(1.0, lambda: asyncio.sleep(1.0), clock=clock, beat=beat))
    assert (beat.ticks, beat.skipped) == (5, 0)


async def test_a_loop_that_is_always_late_does_not_starve_others() -> None:
    now = 0.0

    def monotonic() -> float:
        nonlocal now
        now += 5.0  # each look at the clock is five ticks later
        return now

    async def work() -> None:
        return

    task = asyncio.create_task(every(1.0, work, clock=Clock(monotonic=monotonic)))
    for _ in range(10):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_interval_must_be_positive() -> None:
    for interval in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="more than 0"):
            await every(interval, lambda: asyncio.sleep(0))


def failing(times: int, starts: list[float], error: Callable[[int], BaseException]) -> Callable[[], Awaitable[None]]:
    async def work() -> None:
        starts.append(asyncio.get_running_loop().time())
        if len(starts) <= times:
            raise error(len(starts))
        await asyncio.sleep(1e6)

    return work


async def test_a_crash_is_counted_logged_once_and_restarted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="aiops.kit.tasks")
    keeper, starts = supervisor(healthy_after_seconds=50), []
    keeper.spawn("loop", failing(3, starts, lambda n: ValueError("bad" if n < 3 else "worse")))
    await asyncio.sleep(20)
    (report,) = keeper.reports()
    assert (len(starts), report.crashes, report.error, report.state) == (4, 3, "ValueError: worse", TaskState.RUNNING)
    assert [record.__dict__["error"] for record in caplog.records] == ["ValueError: bad", "ValueError: worse"]
    await asyncio.sleep(50)
    (report,) = keeper.reports()
    assert (report.crashes, report.crashes_in_a_row, report.error) == (3, 0, "")
    assert caplog.records[-1].message == "task is healthy again"
    assert await keeper.close(within_seconds=1) == ()


async def test_restarts_back_off_up_to_the_cap() -> None:
    keeper, starts = supervisor(base_seconds=1, cap_seconds=8), []
    keeper.spawn("loop", failing(10**9, starts, lambda n: ValueError("x")))
    await asyncio.sleep(2000)
    gaps = [b - a for a, b in pairwise(starts)]
    assert all(gap <= min(8, 2**n) + 1e-6 for n, gap in enumerate(gaps))
    assert max(gaps) > 4
    assert 300 < len(gaps) < 900  # mean wait is half the cap
    await keeper.close(within_seconds=1)


async def test_one_crash_does_not_touch_the_neighbour() -> None:
    keeper, ticks = supervisor(), Beat()
    keeper.spawn("bad", failing(10**9, [], lambda n: RuntimeError("x")))
    keeper.spawn("good", lambda: every(1.0, lambda: asyncio.sleep(0), clock=virtual_clock(), beat=ticks))
    await asyncio.sleep(99.5)
    assert (ticks.ticks, ticks.skipped) == (100, 0)
    await keeper.close(within_seconds=1)


async def test_a_stray_cancellation_is_a_crash_not_an_end() -> None:
    keeper, starts = supervisor(), []
    keeper.spawn("loop", failing(1, starts, lambda n: asyncio.CancelledError()))
    await asyncio.sleep(10)
    (report,) = keeper.reports()
    assert (len(starts), report.crashes) == (2, 1)
    await keeper.close(within_seconds=1)


async def test_a_task_that_returns_is_finished_and_its_name_free() -> None:
    keeper = supervisor()
    keeper.spawn("once", lambda: asyncio.sleep(1))
    with pytest.raises(ValueError, match="already running"):
        keeper.spawn("once", lambda: asyncio.sleep(1))
    await asyncio.sleep(2)
    assert [report.state for report in keeper.reports()] == [TaskState.FINISHED]
    keeper.spawn("once", lambda: asyncio.sleep(1))
    assert [report.state for report in keeper.reports()] == [TaskState.RUNNING]
    await keeper.close(within_seconds=1)


async def test_close_leaves_no_task_and_takes_no_more() -> None:
    keeper, ended = supervisor(), []

    async def tidy() -> None:
        try:
            await asyncio.sleep(1e6)
        finally:
            await asyncio.sleep(2)  # flush something
            ended.append("tidy")

    keeper.spawn("tidy", tidy)
    keeper.spawn("waiting", failing(10**9, [], lambda n: ValueError("x")))
    await asyncio.sleep(5)
    assert await keeper.close(within_seconds=10) == ()
    assert ended == ["tidy"]
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert keeper.reports() == ()
    with pytest.raises(RuntimeError, match="closed"):
        keeper.spawn("late", tidy)


async def test_a_task_that_will_not_stop_is_named_at_the_deadline() -> None:
    keeper, loop = supervisor(), asyncio.get_running_loop()

    async def stubborn() -> None:
        end = loop.time() + 100
        while loop.time() < end:
            try:
                await asyncio.sleep(end - loop.time())
            except asyncio.CancelledError:
                continue

    keeper.spawn("stubborn", stubborn)
    keeper.spawn("good", lambda: asyncio.sleep(1e6))
    await asyncio.sleep(0)
    began = loop.time()
    assert await keeper.close(within_seconds=5) == ("stubborn",)
    assert loop.time() - began == pytest.approx(5)
    await asyncio.sleep(100)


async def test_stop_ends_one_task_only() -> None:
    keeper = supervisor()
    keeper.spawn("a", lambda: asyncio.sleep(1e6))
    keeper.spawn("b", lambda: asyncio.sleep(1e6))
    assert await keeper.stop("a", within_seconds=1)
    assert await keeper.stop("unknown", within_seconds=1)
    assert [report.name for report in keeper.reports()] == ["b"]
    await keeper.close(within_seconds=1)
