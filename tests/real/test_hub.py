"""A daemon that scrapes nothing: a real Prometheus scrapes for it, loses a replica, and dies itself."""

import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import ClientSession
from prometheus_client.parser import text_string_to_metric_families

from aiops.lab.fleet import Fleet
from tests.real.conftest import House
from tests.real.programs import Program, get_json, until

_WRITTEN = "aiops_anomaly_(score|learning)"
pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]


@pytest_asyncio.fixture
async def fleet() -> AsyncIterator[Fleet]:
    running = Fleet(2)
    await running.start()
    yield running
    await running.stop()


@pytest_asyncio.fixture
async def prometheus(
    tmp_path: Path, fleet: Fleet, free_port: Callable[[], int], real_program: Callable[[str], str]
) -> AsyncIterator[tuple[Program, str]]:
    """One that scrapes the fleet and itself, and its address."""
    address = f"127.0.0.1:{free_port()}"
    targets = ", ".join(f'"127.0.0.1:{replica.port}"' for replica in fleet.replicas)
    (tmp_path / "prometheus.yml").write_text(
        f"""
global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}
scrape_configs:
- job_name: llm
  static_configs: [{{targets: [{targets}], labels: {{pool: chat}}}}]
- job_name: itself
  static_configs: [{{targets: ["{address}"]}}]
"""
    )
    program = Program(
        real_program("prometheus"),
        f"--config.file={tmp_path / 'prometheus.yml'}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address={address}",
        "--web.enable-remote-write-receiver",
        log=tmp_path / "prometheus.log",
    )
    await program.start()
    await until(lambda: get_json(f"http://{address}/api/v1/status/buildinfo"), 20, "Prometheus")
    yield program, address
    await program.end(signal.SIGKILL)


@pytest_asyncio.fixture
async def reader(tmp_path: Path, prometheus: tuple[Program, str], free_port: Callable[[], int]) -> AsyncIterator[House]:
    """The daemon."""
    web, config = free_port(), tmp_path / "aiops.yaml"
    config.write_text(
        f"""
interval: 500ms
hub: {{servers: [{{url: "http://{prometheus[1]}", interval: 500ms, refresh_interval: 1s}}]}}
remote_write: [{{url: "http://{prometheus[1]}/api/v1/write", interval: 500ms, write: [score, learning]}}]
nvml: {{enabled: "off"}}
store: {{directory: {tmp_path / "state"}}}
web: {{listen_address: "127.0.0.1:{web}"}}
"""
    )
    program = Program(sys.executable, "-m", "aiops", "run", f"--config.file={config}", log=tmp_path / "aiops.log")
    house = House(program, f"http://127.0.0.1:{web}", config)
    await house.start()
    yield house
    await program.end(signal.SIGKILL)


async def test_a_daemon_reads_what_prometheus_scrapes_and_tells_their_failures_apart(
    fleet: Fleet, prometheus: tuple[Program, str], reader: House
) -> None:
    program, server = prometheus

    async def down() -> set[str]:
        """Instances that are down."""
        alerts = (await reader.data("alerts")).get("alerts", ())
        firing = [one["labels"] for one in alerts if one["state"] == "firing"]
        return {labels["instance"] for labels in firing if labels["alertname"] == "TargetDown"}

    async def server_is_down() -> bool:
        return server in await down()

    async def server_is_back() -> bool:
        return server not in await down()

    await until(reader.signals, 20, "the first signals")
    sources = {one["source"] for one in (await reader.data("targets"))["activeTargets"]}
    ours = {f'prometheus/llm/127.0.0.1:{replica.port}{{pool="chat"}}' for replica in fleet.replicas}
    assert sources == {"prometheus", *ours}, "Prometheus' own page is of no engine"
    assert await down() == set()

    async def written() -> bool:
        """The store has the very series that the page shows."""
        page = await _shown(f"{reader.url}/metrics")
        return bool(page) and page == await _stored(f"http://{server}")

    await until(written, 30, "scores in Prometheus")

    dead = f"127.0.0.1:{fleet.replicas[1].port}"
    await fleet.strike(1, "dead")
    await until(down, 20, "the dead replica")
    assert await down() == {dead}

    await program.end()
    await until(server_is_down, 30, "the dead Prometheus")
    assert await down() == {dead, server}, "of the other replica nothing is known, and that is not down"
    await program.start()
    await until(server_is_back, 30, "Prometheus is back")
    assert await down() == {dead}
    assert await reader.program.end() == 0


async def _shown(url: str) -> set[frozenset[tuple[str, str]]]:
    async with ClientSession() as session, session.get(url) as answer:
        families = list(text_string_to_metric_families(await answer.text()))
    samples = (sample for family in families for sample in family.samples if re.fullmatch(_WRITTEN, sample.name))
    return {
        frozenset({("__name__", one.name), *((name, text) for name, text in one.labels.items() if text)})
        for one in samples
    }


async def _stored(url: str) -> set[frozenset[tuple[str, str]]]:
    async with ClientSession() as session:
        query = {"query": f'{{__name__=~"{_WRITTEN}"}}'}
        async with session.get(f"{url}/api/v1/query", params=query) as answer:
            return {frozenset(one["metric"].items()) for one in (await answer.json())["data"]["result"]}
