"""The network between the daemon and the rest is cut and comes back: nobody is told nothing, and nobody twice.

The daemon lives in one network namespace, targets, Alertmanager and people in another one. A fault begins, ends or
lasts while the cable to Alertmanager, to the targets, or both are out. All in a minute, which would count as flapping.
"""

import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from aiops.lab.fleet import Fleet
from tests.real.alertmanager import People, RealAlertmanager, listening
from tests.real.conftest import House
from tests.real.namespaces import Cable, Namespace, namespaces
from tests.real.programs import Program, until

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]
HERE, THERE = 0, 1
HEALTHY, BEGINS, ENDS, LASTS = range(4)
CONFIG = """
interval: 500ms
scrape: {{jobs: [{{name: lab, interval: 500ms, targets: {targets}}}]}}
nvml: {{enabled: "off"}}
incidents: {{flap_limit: 9}}
store: {{directory: {folder}/state}}
notify:
  resend_delay: 60s
  alertmanagers: [{{url: {manager}, timeout: 1s}}]
web: {{listen_address: "127.0.0.1:9797"}}
"""


@dataclass
class World:
    """Both sides, and the cables between them."""

    here: Namespace
    there: Namespace
    to_targets: Cable
    to_manager: Cable
    fleet: Fleet
    people: People
    house: House

    async def start(self, index: int) -> None:
        with self.there:
            await self.fleet.replicas[index].start()

    def heard(self, index: int) -> list[str]:
        """What people heard of one replica."""
        port = f":{self.fleet.replicas[index].port}"
        return [one["status"] for one in self.people.heard if one["labels"].get("instance", "").endswith(port)]

    async def firing(self) -> set[int]:
        """Replicas that the daemon has an alert about."""
        with self.here:
            alerts = (await self.house.data("alerts")).get("alerts", ())
        ports = {f":{replica.port}": index for index, replica in enumerate(self.fleet.replicas)}
        active = [one["labels"] for one in alerts if one["state"] == "firing"]
        assert {labels["alertname"] for labels in active} <= {"TargetDown"}, "what is not seen is not anomalous"
        return {ports[f":{labels['instance'].rpartition(':')[2]}"] for labels in active}

    async def up(self) -> set[int]:
        """Replicas whose pages are read."""
        with self.here:
            targets = (await self.house.data("targets"))["activeTargets"]
        ports = {replica.port: index for index, replica in enumerate(self.fleet.replicas)}
        return {ports[int(one["source"].rpartition(":")[2])] for one in targets if one["health"] == "up"}

    async def known(self) -> set[int]:
        """Replicas whose queue was known in one of the last rows of the window; phases differ by less than that."""
        with self.here:
            found = (await self.house.data("signals/range?signal=queue_len&entity=replica"))["series"]
        ports = {str(replica.port): index for index, replica in enumerate(self.fleet.replicas)}
        return {
            ports[one["entity"]["labels"]["instance"].rpartition(":")[2]]
            for one in found
            if any(value is not None for value in one["values"][-3:])
        }


@pytest.fixture
def sides() -> Iterator[tuple[Namespace, Namespace]]:
    with namespaces() as made:
        yield made


@pytest_asyncio.fixture
async def world(
    sides: tuple[Namespace, Namespace], tmp_path: Path, real_program: Callable[[str], str]
) -> AsyncIterator[World]:
    here, there = sides
    cables = [Cable(number, sides) for number in (1, 2)]
    people, fleet = People(), Fleet(4, host=cables[0].addresses[THERE])
    program = real_program("prometheus-alertmanager")
    async with contextlib.AsyncExitStack() as stack:
        with there:
            await fleet.start()
            stack.push_async_callback(fleet.stop)
            hook = await stack.enter_async_context(listening(people))
            manager = RealAlertmanager(program, tmp_path / "am", 9093, [hook], host=cables[1].addresses[THERE])
            stack.push_async_callback(manager.stop)
            await manager.start()
        config = tmp_path / "aiops.yaml"
        targets = [replica.url for replica in fleet.replicas]
        config.write_text(CONFIG.format(targets=targets, folder=tmp_path, manager=manager.url))
        command = (sys.executable, "-m", "aiops", "run", f"--config.file={config}")
        house = House(Program(*command, log=tmp_path / "log"), "http://127.0.0.1:9797", config)
        with here:
            await house.program.start()
            stack.push_async_callback(house.program.end)
            await until(house.ready, 40, "the daemon")
        yield World(here, there, *cables, fleet, people, house)


async def test_what_begins_ends_or_lasts_while_nobody_is_reached_is_told_once(world: World) -> None:
    await until(lambda: same(world.up, {0, 1, 2, 3}), 15, "all are read")
    for cables, end in (
        ([world.to_manager], THERE),
        ([world.to_targets], HERE),
        ([world.to_targets, world.to_manager], THERE),
    ):
        await story(world, cables, end)


async def same(what: Callable[[], object], wanted: object) -> bool:
    return bool(await what() == wanted)  # type: ignore[misc]


async def story(world: World, cables: list[Cable], end: int) -> None:
    """One partition, and what people have heard of each replica when it is over."""
    world.people.heard.clear()
    blind = world.to_targets in cables
    for index in (ENDS, LASTS):
        await world.fleet.strike(index, "dead")
    await until(lambda: (world.heard(ENDS), world.heard(LASTS)) == (["firing"], ["firing"]), 15, "two pages")
    for cable in cables:
        cable.pull(end)
    await world.fleet.strike(BEGINS, "dead")
    await world.start(ENDS)
    if blind:
        await until(lambda: same(world.firing, {0, 1, 2, 3}), 15, "nobody is reached")
        assert await world.up() == set()
        await until(lambda: same(world.known, set()), 5, "what is not read is not known")
    else:
        await until(lambda: same(world.firing, {BEGINS, LASTS}), 15, "the daemon knows, and can tell nobody")
        assert await world.up() == {HEALTHY, ENDS}
        await until(lambda: same(world.known, {HEALTHY, ENDS}), 5, "only what is read is known")
        assert (world.heard(BEGINS), world.heard(ENDS)) == ([], ["firing"])
    assert world.heard(LASTS) == ["firing"]
    for cable in cables:
        cable.plug()
    await until(lambda: same(world.up, {HEALTHY, ENDS}), 15, "whoever lives is read again")
    await until(lambda: same(world.firing, {BEGINS, LASTS}), 15, "and nobody else fires")
    await until(lambda: world.heard(BEGINS) == ["firing"], 15, "what began is told")
    await until(lambda: world.heard(ENDS) == ["firing", "resolved"], 15, "what ended is told")
    assert world.heard(LASTS) == ["firing"], "what lasts is told once"
    await until(lambda: same(world.known, {HEALTHY, ENDS}), 5, "and known")
    for index in (BEGINS, LASTS):
        await world.start(index)
    for index in (BEGINS, LASTS):
        await until(lambda index=index: world.heard(index) == ["firing", "resolved"], 15, "all is well again")
    await until(lambda: same(world.firing, set()), 15, "nothing fires")
    told = [] if cables == [world.to_manager] else ["firing", "resolved"]
    assert world.heard(HEALTHY) == told or (len(cables) == 2 and world.heard(HEALTHY) == [])
