"""The GPU collector against a driver that hangs, loses GPUs, reports errors, or is not there."""

import asyncio
import threading

import pynvml
import pytest

from aiops.collect.nvml import ASK_AGAIN_READS
from aiops.collect.nvml_signals import NVML_SIGNALS
from aiops.signals.types import Mark, MarkKind
from tests.collect.nvml_driver import MODEL, NODE, Driver, Time, answered, collecting, gpu_entity, known, of, read


@pytest.mark.parametrize("symbol", ["nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetUUID"])
@pytest.mark.parametrize("code", [1, 15, 999])
async def test_a_gpu_that_cannot_be_opened_is_named_and_tried_again(
    symbol: str, code: int, driver: Driver, time: Time
) -> None:
    driver.healthy(1)
    driver.set(**{"count": 2, f"fail.{symbol}.1": code})
    async with collecting(time.clock) as collector:
        reading = await read(collector, time)
        assert of(reading).keys() == set(NVML_SIGNALS)
        assert "gpu1_unreadable" in collector.status().facts
        assert [mark.kind for mark in reading.marks] == ([MarkKind.GPU_LOST] if code == 15 else [])
        again = await read(collector, time)
        assert again.marks == reading.marks
        driver.drop(f"fail.{symbol}.1")
        for _ in range(ASK_AGAIN_READS):
            again = await read(collector, time)
        assert of(again, 1).keys() == set(NVML_SIGNALS)
        assert again.marks == ()
        assert "gpu1_unreadable" not in collector.status().facts


async def test_a_lost_gpu_is_told_and_comes_back(driver: Driver, time: Time) -> None:
    driver.healthy(1, util=80)
    driver.set(count=2)
    async with collecting(time.clock) as collector:
        before = await read(collector, time)
        driver.gpu(1, lost=1)
        driver.xid(1, 79)
        lost = await read(collector, time)
        condition = Mark(
            MarkKind.GPU_LOST, gpu_entity(1), lost.at, "GPU 1 (NVIDIA Stub 1, GPU-1) is lost to the driver."
        )
        assert [mark for mark in lost.marks if mark.kind is not MarkKind.XID] == [condition]
        assert [mark.entity for mark in lost.marks if mark.kind is MarkKind.XID] == [gpu_entity(1)]
        assert lost.columns is before.columns
        assert known(of(lost, 1)) == {"gpu_xid": 1.0, "gpu_xid_last": 79.0}
        assert of(lost, 0)["gpu_util"] == 0.37
        driver.xid(0, 31)  # the others are still watched, although a lost GPU spoils the event set
        later = await read(collector, time)
        assert [mark for mark in later.marks if mark.kind is MarkKind.GPU_LOST] == [condition]
        xids = [
            mark.entity for mark in (*later.marks, *(await read(collector, time)).marks) if mark.kind is MarkKind.XID
        ]
        assert xids == [gpu_entity(0)]
        assert collector.status().facts["gpu1_lost"] == "for 10 s"
        driver.gpu(1, lost=0)
        back = await read(collector, time)
        assert back.marks == ()
        assert of(back, 1)["gpu_util"] == 0.8
        driver.xid(1, 13)
        assert [mark.entity for mark in (await read(collector, time)).marks] == [gpu_entity(1)]


async def test_an_xid_is_given_exactly_once(driver: Driver, time: Time) -> None:
    driver.healthy(1)
    driver.set(count=2)
    driver.xid(0, 43)  # before our time: the driver does not repeat it
    async with collecting(time.clock) as collector:
        assert (await read(collector, time)).marks == ()
        driver.xid(1, 48)
        driver.xid(1, 63)
        driver.xid(0, 4711)
        reading = await read(collector, time)
        assert [(mark.kind, mark.entity, mark.detail) for mark in reading.marks] == [
            (MarkKind.XID, gpu_entity(1), MODEL.describe_xid(48)),
            (MarkKind.XID, gpu_entity(1), MODEL.describe_xid(63)),
            (MarkKind.XID, gpu_entity(0), MODEL.describe_xid(4711)),
        ]
        assert (of(reading, 1)["gpu_xid"], of(reading, 1)["gpu_xid_last"]) == (2.0, 63.0)
        assert (of(reading, 0)["gpu_xid"], of(reading, 0)["gpu_xid_last"]) == (1.0, 4711.0)
        after = await read(collector, time)
        assert after.marks == ()
        assert (of(after, 1)["gpu_xid"], of(after, 1)["gpu_xid_last"]) == (0.0, 63.0)


async def test_a_hung_driver_is_reported_and_the_loop_lives(driver: Driver, time: Time) -> None:
    async with collecting(time.clock, deadline=0.2) as collector:
        before = await answered(collector)
        driver.set(**{"delay.nvmlDeviceGetPowerUsage": 1_000_000})
        driver.xid(0, 119)
        turns = 0

        async def live() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0.01)
                turns += 1

        alive = asyncio.create_task(live())
        hung = await read(collector)
        assert turns >= 3  # of about twenty
        asked = driver.calls("nvmlDeviceGetPowerUsage")
        (condition, xid) = hung.marks
        assert (condition.kind, condition.entity) == (MarkKind.GPU_DRIVER_UNRESPONSIVE, NODE)
        assert xid.detail == MODEL.describe_xid(119)  # seen before the hang, told at once
        assert hung.columns is before.columns
        assert known(of(hung)) == {"gpu_xid": 1.0, "gpu_xid_last": 119.0}
        assert (await read(collector, time, 34.0)).marks == (condition,)
        assert driver.calls("nvmlDeviceGetPowerUsage") == asked  # nobody asks a hung driver again
        assert [thread.name for thread in threading.enumerate()].count("nvml") == 1
        status = collector.status()
        assert (status.up, status.failures) == (False, 2)
        lasting = status.error
        assert "has not answered since 2023-11-14T" in lasting
        await read(collector, time, 10.0)
        assert collector.status().error == lasting  # one fault, one text: it is logged once
        driver.drop("delay.nvmlDeviceGetPowerUsage")
        back = await answered(collector)
        assert back.marks == ()
        assert of(back)["gpu_power"] == 250.5
        assert collector.status().error == ""
        alive.cancel()


async def test_an_answer_nobody_waited_for_is_dropped(driver: Driver, time: Time) -> None:
    async with collecting(time.clock, deadline=0.2) as collector:
        await answered(collector)
        driver.set(**{"delay.nvmlDeviceGetPowerUsage": 1_000_000})
        await read(collector, time)
        time.seconds += 1.0
        driver.drop("delay.nvmlDeviceGetPowerUsage")
        while "has not answered" in collector.status().error:  # noqa: ASYNC110 -- the driver sets no event
            await asyncio.sleep(0.005)  # the call comes back between two readings
        assert collector.status().error == "the NVIDIA driver did not answer within 0.2 s"
        driver.gpu(0, power_mw=111_000)
        assert of(await answered(collector))["gpu_power"] == 111.0


async def test_a_slow_start_is_no_hang_until_its_own_deadline(driver: Driver, time: Time) -> None:
    driver.set(**{"delay.nvmlInitWithFlags": 1_000_000})
    async with collecting(time.clock, deadline=0.2, start_deadline=60.0) as collector:
        assert await collector.read() == ()
        time.seconds += 59.0
        assert await collector.read() == ()
        assert collector.status().error == "the NVIDIA driver is being opened, 59.0 s so far"
        assert not collector.status().up
        time.seconds += 2.0
        (mark,) = (await read(collector)).marks
        assert mark.kind is MarkKind.GPU_DRIVER_UNRESPONSIVE
        assert "has not answered since" in collector.status().error
        driver.drop("delay.nvmlInitWithFlags")
        assert of(await answered(collector))["gpu_util"] == 0.37


async def test_closing_does_not_wait_for_a_hung_driver(driver: Driver, time: Time) -> None:
    async with collecting(time.clock, deadline=0.2) as collector:
        await answered(collector)
        driver.set(**{"delay.nvmlDeviceGetPowerUsage": 1_000_000})
        await read(collector)
        (thread,) = (thread for thread in threading.enumerate() if thread.name == "nvml")
        await collector.close()
        assert thread.is_alive()
        assert thread.daemon
        assert await collector.read() == ()
        driver.drop("delay.nvmlDeviceGetPowerUsage")
        thread.join(10.0)
        assert not thread.is_alive()


@pytest.mark.parametrize(("enabled", "failures"), [("auto", 0), ("on", 1)])
async def test_a_missing_library_is_named(
    enabled: str, failures: int, forget_library: None, monkeypatch: pytest.MonkeyPatch, time: Time
) -> None:
    def find_nothing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(pynvml, "CDLL", find_nothing)
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/nowhere")
    async with collecting(time.clock, enabled=enabled) as collector:
        assert await collector.read() == ()
        status = collector.status()
        assert "libnvidia-ml.so.1" in status.error
        assert "/opt/nowhere" in status.error
        assert (status.up, status.failures) == (False, failures)


@pytest.mark.parametrize(
    ("state", "error", "failures"),
    [
        ({"fail.nvmlInitWithFlags": 9}, "Driver Not Loaded", 0),
        ({"fail.nvmlInitWithFlags": 18}, "version mismatch", 1),
        ({"fail.nvmlDeviceGetCount_v2": 999}, "does not list its GPUs", 1),
        ({"count": 0}, "lists no GPU", 0),
    ],
)
async def test_a_driver_that_does_not_start_is_a_status(
    state: dict[str, int], error: str, failures: int, driver: Driver, time: Time
) -> None:
    driver.set(**state)
    async with collecting(time.clock) as collector:
        assert await collector.read() == ()
        assert error in collector.status().error
        assert collector.status().failures == failures
        driver.set(count=1)
        driver.state = {key: value for key, value in driver.state.items() if not key.startswith("fail.")}
        driver.write()
        assert of(await read(collector, time))["gpu_util"] == 0.37
        assert collector.status().up


async def test_a_driver_that_goes_away_is_a_failure_also_in_auto(driver: Driver, time: Time) -> None:
    async with collecting(time.clock) as collector:
        columns = (await read(collector, time)).columns
        driver.set(**{"gpu.0.lost": 1, "fail.nvmlInitWithFlags": 9})
        for _ in range(ASK_AGAIN_READS):  # the lost GPU makes the collector open NVML anew
            reading = await read(collector, time)
        assert collector.status().failures == 1
        assert "Driver Not Loaded" in collector.status().error
        assert reading.columns is columns
        assert known(of(reading)) == {}
        assert [mark.kind for mark in reading.marks] == [MarkKind.GPU_LOST]


async def test_status_tells_when_an_answer_last_differed(driver: Driver, time: Time) -> None:
    async with collecting(time.clock) as collector:
        await read(collector, time)
        second = await read(collector, time)  # rates are known now
        await read(collector, time)
        status = collector.status()
        assert (status.last_change, status.last_success) == (second.at, second.at + 5.0)
        driver.gpu(0, util=38)
        assert (await read(collector, time)).at == collector.status().last_change


async def test_off_means_off(driver: Driver, time: Time) -> None:
    before = driver.calls("nvmlInitWithFlags")
    async with collecting(time.clock, enabled="off") as collector:
        assert await collector.read() == ()
    assert driver.calls("nvmlInitWithFlags") == before
