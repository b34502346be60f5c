"""A disk that is really read only, then really full, under a daemon that watches, decides and tells meanwhile.

The state folder is a small tmpfs in a mount namespace of the daemon's own; ``nsenter`` remounts and fills it.
"""

import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from aiops.incidents.alert import AlertState
from aiops.lab.fleet import Fleet
from aiops.store.view import ArchiveView
from tests.conftest import missing
from tests.real.alertmanager import People, alone
from tests.real.conftest import House
from tests.real.programs import Program, until

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]
CONFIG = """
interval: 500ms
scrape: {{jobs: [{{name: lab, interval: 500ms, targets: {targets}}}]}}
nvml: {{enabled: "off"}}
store: {{directory: {state}, window: 60s, snapshot_interval: 1s}}
notify: {{alertmanagers: [{{url: {manager}}}]}}
web: {{listen_address: "127.0.0.1:{port}"}}
"""
MOUNTED = 'mount -t tmpfs -o ro,size=8m,mode=0700 tmpfs "$0" && exec "$@"'


class Disk:
    """The mount that only the daemon sees."""

    def __init__(self, process: int, folder: Path) -> None:
        self._enter = ("nsenter", "--target", str(process), "--mount", "sh", "-c")
        self._folder = folder

    def run(self, command: str) -> bool:
        done = subprocess.run(
            [*self._enter, command.replace("{}", str(self._folder))], check=False, capture_output=True
        )
        return done.returncode == 0


@pytest_asyncio.fixture
async def world(
    tmp_path: Path, free_port: Callable[[], int], real_program: Callable[[str], str]
) -> AsyncIterator[tuple[House, Fleet, People, Disk]]:
    state = tmp_path / "state"
    state.mkdir()
    mount = (real_program("unshare"), "--mount", "sh", "-c", MOUNTED, str(state))
    tried = subprocess.run([*mount, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        missing(f"the right to mount a tmpfs ({tried.stderr.strip()})")
    people, fleet, port = People(), Fleet(2), free_port()
    async with contextlib.AsyncExitStack() as stack:
        await fleet.start()
        stack.push_async_callback(fleet.stop)
        program = real_program("prometheus-alertmanager")
        manager = await stack.enter_async_context(alone(program, tmp_path / "am", free_port(), people))
        config = tmp_path / "aiops.yaml"
        targets = json.dumps([one.url for one in fleet.replicas])
        config.write_text(CONFIG.format(targets=targets, state=state, manager=manager.url, port=port))
        command = (*mount, sys.executable, "-m", "aiops", "run", f"--config.file={config}")
        house = House(Program(*command, log=tmp_path / "log"), f"http://127.0.0.1:{port}", config)
        await house.program.start()
        stack.push_async_callback(house.program.end)
        await until(house.ready, 40, "the daemon")
        assert house.program.process is not None
        yield house, fleet, people, Disk(house.program.process.pid, state)


async def test_a_disk_that_takes_nothing_costs_no_page_and_no_record(world: tuple[House, Fleet, People, Disk]) -> None:
    house, fleet, people, disk = world

    async def problem() -> str:
        return str((await house.data("status")).get("storageProblem"))

    async def said(text: str) -> bool:
        return text in await problem()

    async def well() -> bool:
        return await problem() == ""

    await until(house.signals, 15, "the first signals")
    await fleet.strike(1, "dead")
    await until(lambda: people.statuses() == ["firing"], 20, "a page although nothing can be kept")
    await until(lambda: said("Read-only file system"), 20, "it is said")
    assert disk.run("mount -o remount,rw {}")
    await until(well, 60, "it writes again")  # it tries again at most 30 s later
    assert not disk.run("cat /dev/zero > {}/ballast"), "the disk is full"
    await fleet.replicas[1].start()
    await until(lambda: people.statuses() == ["firing", "resolved"], 20, "the end is told")
    await until(lambda: said("full"), 20, "it is said")
    assert disk.run("rm {}/ballast")
    await until(well, 60, "it writes again")
    assert disk.run("cp -r {} {}-kept")
    moves = ArchiveView(house.config.parent / "state-kept" / "archive.sqlite").recent_transitions(99)
    kept = [move.alert.state for move in reversed(moves) if move.alert.key.rule == "TargetDown"]
    assert kept == [AlertState.FIRING, AlertState.RESOLVING, AlertState.RESOLVED]
    assert await house.program.end() == 0
    assert people.statuses() == ["firing", "resolved"]
