"""kill -9 at random moments of the whole program while faults begin and end: every fault is one page and one end.

The default is short; ``make soak`` kills 200 times.
"""

import contextlib
import json
import random
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from aiops.lab.fleet import Fleet
from tests.conftest import SOAK
from tests.real.alertmanager import People, alone
from tests.real.programs import Program, until

pytestmark = [pytest.mark.real, pytest.mark.timeout(120 + 30 * SOAK)]
KILLS = 10 * SOAK if SOAK > 1 else 6
# Everything is imported once, and every life of the daemon is a fork: so most of it is not start-up. Some end while it
# starts, most after some turns and at any point of the next one, so that they last as many turns on a slow machine.
LIVES = """
import os, random, signal, sys, threading, time
from pathlib import Path
from aiops.app.config import Config
from aiops.app.config_load import Sources, load
from aiops.app.daemon import Daemon
from aiops.app.serve import run

config, count = load(Config, Sources(Path(sys.argv[1]), environ={})).config, Path(sys.argv[2])
rng, lives, tick = random.Random(9), 0, Daemon.tick
os.setsid()
signal.signal(signal.SIGTERM, lambda *_: os.killpg(0, signal.SIGKILL))

def die(seconds):
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)

def live(turns, seconds):
    async def counted(daemon):
        await tick(daemon)
        if daemon.beat.ticks >= turns:
            threading.Thread(target=die, args=[seconds]).start()
    Daemon.tick = counted
    if not turns:
        threading.Thread(target=die, args=[seconds]).start()
    run(config)

while True:
    turns, seconds = rng.choice([0, 1, 2, 4, 6, 8]), rng.uniform(0.0, 0.25)
    child = os.fork()
    if child == 0:
        live(turns, seconds)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL, "it ended by itself"
    lives += 1
    count.write_text(str(lives))
"""
CONFIG = """
interval: 200ms
scrape: {{jobs: [{{name: lab, interval: 200ms, targets: {targets}}}]}}
nvml: {{enabled: "off"}}
incidents: {{flap_limit: 9999}}
store: {{directory: {folder}/state, snapshot_interval: 300ms}}
notify: {{alertmanagers: [{{url: {manager}}}]}}
web: {{listen_address: "127.0.0.1:0"}}
"""


@contextlib.asynccontextmanager
async def killed_again_and_again(folder: Path, config: str) -> AsyncIterator[Callable[[], int]]:
    """A daemon that lives for a moment, and how often it was killed."""
    file, count = folder / "aiops.yaml", folder / "kills"
    file.write_text(config)
    program = Program(sys.executable, "-c", LIVES, str(file), str(count), log=folder / "log")
    await program.start()
    process = program.process
    assert process is not None

    def kills() -> int:
        assert process.returncode is None, program.log.read_text()[-3000:]
        return int(count.read_text() or 0) if count.exists() else 0

    try:
        yield kills
    finally:
        await program.end()


async def test_every_fault_is_one_page_and_one_end(
    tmp_path: Path, free_port: Callable[[], int], real_program: Callable[[str], str]
) -> None:
    people, fleet, rng = People(), Fleet(2), random.Random(4)
    async with contextlib.AsyncExitStack() as stack:
        await fleet.start()
        stack.push_async_callback(fleet.stop)
        program = real_program("prometheus-alertmanager")
        manager = await stack.enter_async_context(alone(program, tmp_path / "am", free_port(), people))
        config = CONFIG.format(
            targets=json.dumps([one.url for one in fleet.replicas]), folder=tmp_path, manager=manager.url
        )
        kills = await stack.enter_async_context(killed_again_and_again(tmp_path, config))

        def heard() -> list[str]:  # rules about counters see turns here that are too short for a request
            kills()
            return people.statuses("TargetDown")

        faults = 0
        while kills() < KILLS:
            expected = ["firing", "resolved"] * faults
            await fleet.strike(1, "dead")
            await until(lambda: len(heard()) > len(expected), 60, "a page")  # noqa: B023
            more = kills() + rng.randrange(1, 4)
            await until(lambda: kills() >= more, 60, "some more lives")  # noqa: B023
            assert heard() == [*expected, "firing"]
            await fleet.replicas[1].start()
            await until(lambda: len(heard()) > len(expected) + 1, 60, "its end")  # noqa: B023
            faults += 1
        assert heard() == ["firing", "resolved"] * faults
    assert list((tmp_path / "state").glob("*.bad-*")) == []
