"""Two daemons, two Alertmanagers that gossip, one fault: what people hear while everything else dies in turns."""

import asyncio
import contextlib
import random
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import ClientSession

from aiops.lab.fleet import Fleet
from tests.real.alertmanager import People, RealAlertmanager, pair
from tests.real.conftest import House
from tests.real.programs import Program, until

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]
CONFIG = """
interval: 500ms
scrape: {{jobs: [{{name: lab, interval: 500ms, targets: {targets}}}]}}
nvml: {{enabled: "off"}}
store: {{directory: {folder}/state}}
notify:
  resend_delay: 60s
  alertmanagers: [{{url: {first}}}, {{url: {second}}}]
web: {{listen_address: "127.0.0.1:{port}"}}
"""


@contextlib.asynccontextmanager
async def daemon(
    folder: Path, port: int, fleet: Fleet, managers: tuple[RealAlertmanager, RealAlertmanager]
) -> AsyncIterator[House]:
    """A daemon that watches the fleet and tells both Alertmanagers."""
    folder.mkdir()
    config = folder / "aiops.yaml"
    targets = [replica.url for replica in fleet.replicas]
    first, second = (manager.url for manager in managers)
    config.write_text(CONFIG.format(targets=targets, folder=folder, first=first, second=second, port=port))
    command = (sys.executable, "-m", "aiops", "run", f"--config.file={config}")
    house = House(Program(*command, log=folder / "log"), f"http://127.0.0.1:{port}", config)
    await house.start()
    try:
        yield house
    finally:
        await house.program.end(signal.SIGKILL)


async def came_back(house: House) -> float:
    """Alerts of ours that an Alertmanager told the daemon."""
    async with ClientSession() as session, session.get(f"{house.url}/metrics") as answer:
        (value,) = re.findall(r"^aiops_inbound_own_alerts_total (\S+)$", await answer.text(), re.MULTILINE)
        return float(value)


async def test_one_page_an_incident_whatever_dies(
    tmp_path: Path, free_port: Callable[[], int], real_program: Callable[[str], str]
) -> None:
    """One Alertmanager is down when the fault comes, the other one restarts during it, and each daemon is killed at
    random moments. Both daemons also hear of what they sent. Alerts hold for four minutes, so that a slow test
    machine ends none."""
    people, fleet, rng = People(), Fleet(2), random.Random(5)
    async with contextlib.AsyncExitStack() as stack:
        await fleet.start()
        stack.push_async_callback(fleet.stop)
        program = real_program("prometheus-alertmanager")
        ports = {"one": free_port(), "two": free_port()}
        back = [f"http://127.0.0.1:{port}/api/v1/alertmanager" for port in ports.values()]
        managers = await stack.enter_async_context(pair(program, tmp_path, free_port, people, back))
        houses = [
            await stack.enter_async_context(daemon(tmp_path / name, port, fleet, managers))
            for name, port in ports.items()
        ]
        await until(houses[1].signals, 15, "the fleet is watched")
        await managers[1].stop()
        await fleet.strike(1, "dead")
        for house in (*houses, houses[0]):
            await asyncio.sleep(rng.uniform(0.0, 1.5))
            await house.program.end(signal.SIGKILL)
            await house.start()
        for house in houses:
            await until(lambda house=house: house.alerts("firing"), 15, "both daemons know")
        await until(lambda: people.heard, 15, "a page")
        await managers[1].start()
        await until(managers[1].alerts, 15, "the Alertmanager that was down learns of it")
        await managers[0].stop()
        await managers[0].start()
        assert people.statuses() == ["firing"]
        await fleet.replicas[1].start()
        await until(lambda: "resolved" in people.statuses(), 20, "the end of the fault")
        await asyncio.sleep(3)  # longer than the second Alertmanager waits for the first
        assert people.statuses() == ["firing", "resolved"]
        assert {alert["labels"]["alertname"] for alert in people.heard} == {"TargetDown"}
        for house in houses:
            assert len((await house.data("incidents"))["incidents"]) == 1, "what came back opened none"
        assert sum([await came_back(house) for house in houses]) > 0
