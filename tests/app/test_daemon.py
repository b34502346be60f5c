"""The daemon's life against a fleet over real HTTP: faults, restarts, damage, a full disk, clocks that jump."""

import asyncio
import contextlib
import resource
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import ClientError, ClientSession
from aiohttp.test_utils import TestServer

from aiops.app.actuator import ActuatorSettings
from aiops.app.config import Config
from aiops.app.daemon import Daemon
from aiops.collect.nvml_watch import Enabled, NvmlSettings
from aiops.collect.settings import JobSettings, ScrapeSettings, TargetSettings
from aiops.incidents.alert import AlertState
from aiops.kit.clock import Clock
from aiops.lab.fleet import Fleet
from aiops.store.settings import StoreSettings
from aiops.web.settings import WebSettings
from tests.kit.kubernetes_api import Api

STEP = 0.2


@pytest_asyncio.fixture
async def fleet() -> AsyncIterator[Fleet]:
    fleet = Fleet(2)
    await fleet.start()
    yield fleet
    await fleet.stop()


def configured(fleet: Fleet, folder: Path) -> Config:
    targets = tuple(TargetSettings(url=replica.url) for replica in fleet.replicas)
    return Config(
        interval=STEP,
        scrape=ScrapeSettings(jobs=(JobSettings(name="lab", targets=targets, interval=STEP),)),
        nvml=NvmlSettings(enabled=Enabled.OFF),
        store=StoreSettings(directory=folder),
        web=WebSettings(listen_address="127.0.0.1:0"),
    )


@contextlib.asynccontextmanager
async def running(config: Config, clock: Clock | None = None) -> AsyncIterator[Daemon]:
    daemon = Daemon(config, clock=clock or Clock())
    task = asyncio.create_task(daemon.run())
    try:
        await until(lambda: daemon.last_tick_at > 0 or task.done())
        if task.done():
            await task
        yield daemon
    finally:
        daemon.stop()
        with contextlib.suppress(OSError):
            await task


async def until(ready: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, "not in time"
        await asyncio.sleep(0.02)


def firing(daemon: Daemon) -> dict[str, float]:
    alerts = daemon.pipeline.machine.alerts.items()
    return {key.rule: alert.started_at for key, alert in alerts if alert.state is AlertState.FIRING}


async def test_a_dead_replica_is_an_incident_within_two_scrapes(fleet: Fleet, tmp_path: Path) -> None:
    async with running(configured(fleet, tmp_path)) as daemon:
        await until(lambda: all(status.up for status in daemon.collectors.statuses()))
        await fleet.strike(1, "dead")
        ticks = daemon.beat.ticks
        await until(lambda: "TargetDown" in firing(daemon))
        assert daemon.beat.ticks - ticks <= 4  # two scrapes, and a tick before and after them
        (incident,) = daemon.pipeline.grouping.incidents.values()
        assert incident.open
        await fleet.replicas[1].start()
        await until(lambda: not incident_open(daemon))
    assert list(tmp_path.glob("snapshot.npz"))


def incident_open(daemon: Daemon) -> bool:
    return any(incident.open for incident in daemon.pipeline.grouping.incidents.values())


async def test_a_restart_neither_pages_again_nor_forgets(fleet: Fleet, tmp_path: Path) -> None:
    config = configured(fleet, tmp_path)
    async with running(config) as daemon:
        await until(lambda: all(status.up for status in daemon.collectors.statuses()))
        await fleet.strike(1, "dead")
        await until(lambda: "TargetDown" in firing(daemon))
        await until(lambda: any(True for _ in daemon.pipeline.slo.budgets()))
        before, series = firing(daemon), daemon.pipeline.ring.series
        spent = {(one.objective.title, one.pool): one.total for one in daemon.pipeline.slo.budgets()}
    async with running(config) as daemon:
        assert firing(daemon) == before
        assert daemon.pipeline.ring.series == series
        kept = {(one.objective.title, one.pool): one.total for one in daemon.pipeline.slo.budgets()}
        assert all(kept[budget] >= total for budget, total in spent.items())
        for tick in range(1, 12):
            await until(lambda tick=tick: daemon.beat.ticks > tick)
            assert firing(daemon) == before
        assert daemon.state.restored


async def test_damaged_state_costs_a_warm_up_and_nothing_else(fleet: Fleet, tmp_path: Path) -> None:
    (tmp_path / "archive.sqlite").write_bytes(b"not a database" * 100)
    (tmp_path / "snapshot.npz").write_bytes(b"PK\x03\x04 half a zip")
    async with running(configured(fleet, tmp_path)) as daemon:
        assert not daemon.state.restored
        assert "archive.sqlite" in daemon.state.health().put_aside
    assert len(list(tmp_path.glob("*.bad-*"))) == 2


async def test_two_daemons_do_not_share_a_folder(fleet: Fleet, tmp_path: Path) -> None:
    config = configured(fleet, tmp_path)
    async with running(config):
        with pytest.raises(OSError, match=f"another aiops uses {tmp_path}"):
            async with running(config):
                pass
    async with running(config) as daemon:  # the lock ends with its owner
        assert daemon.last_tick_at > 0


async def test_a_wall_clock_that_jumps_fires_and_resolves_nothing(fleet: Fleet, tmp_path: Path) -> None:
    shift = 0.0
    clock = Clock(now=lambda: time.time() + shift)
    async with running(configured(fleet, tmp_path), clock) as daemon:
        await until(lambda: all(status.up for status in daemon.collectors.statuses()))
        await fleet.strike(1, "dead")
        await until(lambda: "TargetDown" in firing(daemon))
        before = firing(daemon)
        for shift in (3600.0, -3600.0, 0.0):  # noqa: B007 - the clock reads it
            ticks = daemon.beat.ticks
            await until(lambda ticks=ticks: daemon.beat.ticks > ticks + 5)
            assert firing(daemon) == before


async def test_a_full_disk_is_said_and_survived(fleet: Fleet, tmp_path: Path, free_port: Callable[[], int]) -> None:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "aiops",
        "run",
        f"--target={fleet.replicas[0].url}",
        f"--storage.path={tmp_path}",
        f"--web.listen-address=127.0.0.1:{port}",
        env={
            "AIOPS_INTERVAL": "200ms",
            "AIOPS_STORE__SNAPSHOT_INTERVAL": "500ms",
            "AIOPS_NVML__ENABLED": "off",
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024)),
    )
    page = ""
    async with ClientSession() as session:
        for _ in range(600):
            await asyncio.sleep(0.1)
            with contextlib.suppress(ClientError):
                async with session.get(f"http://127.0.0.1:{port}/metrics") as answer:
                    page = await answer.text()
            if "aiops_target_up{" in page and "aiops_snapshot_failures_total 0.0" not in page:
                break
        async with session.get(f"http://127.0.0.1:{port}/-/ready") as answer:
            assert answer.status == 200
    assert "aiops_target_up{" in page
    assert "aiops_snapshot_failures_total 0.0" not in page
    process.terminate()
    _, log = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    assert b"cannot write the snapshot" in log


async def test_a_port_in_use_is_a_clear_error(fleet: Fleet, tmp_path: Path) -> None:
    async with running(configured(fleet, tmp_path / "one")) as daemon:
        taken = f"127.0.0.1:{daemon.server.port}"
        second = configured(fleet, tmp_path / "two").model_copy(update={"web": WebSettings(listen_address=taken)})
        with pytest.raises(OSError, match=f"cannot listen on {taken}"):
            async with running(second):
                pass


async def test_a_service_manager_hears_of_start_life_and_end(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "300000")
        heard: list[bytes] = []

        def hears(message: bytes) -> bool:
            with contextlib.suppress(BlockingIOError):
                heard.append(manager.recv(64))
            return message in heard

        async with running(configured(fleet, tmp_path / "state")):
            assert hears(b"READY=1")
            await until(lambda: hears(b"WATCHDOG=1"))
        while b"STOPPING=1" not in heard:
            heard.append(manager.recv(64))
    assert heard[0] == b"READY=1"
    assert heard[-1] == b"STOPPING=1"


async def test_the_actuator_takes_a_lease_and_gives_it_back(fleet: Fleet, tmp_path: Path) -> None:
    api = Api()
    lease = "/apis/coordination.k8s.io/v1/namespaces/aiops/leases/aiops-actuator"
    async with TestServer(api.application()) as server:
        settings = {
            "enabled": True,
            "interval": 1.0,
            "lease_namespace": "aiops",
            "api": {"url": str(server.make_url(""))},
        }
        config = configured(fleet, tmp_path).model_copy(update={"actuator": ActuatorSettings.model_validate(settings)})
        async with running(config) as daemon:
            await until(lambda: lease in api.objects)
            assert daemon.actuator is not None
            await until(lambda: daemon.actuator.leads)
        assert api.objects[lease]["spec"]["holderIdentity"] == ""


async def test_an_actuator_without_a_cluster_is_a_clear_error(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    config = configured(fleet, tmp_path).model_copy(update={"actuator": ActuatorSettings(enabled=True)})
    with pytest.raises(OSError, match="no pod of a cluster"):
        async with running(config):
            pass
