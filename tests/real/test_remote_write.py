"""What was scored is what a real Prometheus gives back, also when it was away in between."""

import asyncio
import math
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from aiops.app.spending import score_families
from aiops.kit.http import open_session
from aiops.notify.remote_write import RemoteWrite, RemoteWriteSettings
from aiops.signals.telemetry import Family, FamilyKind
from tests.real.programs import Program, get_json, until

pytestmark = pytest.mark.real
Told = dict[tuple[str, str], dict[float, float]]


def tick(rng: random.Random, names: list[str]) -> list[Family]:
    samples = [
        ({"instance": name, "kind": "replica", "signal": "ttft", "stat": "p95"}, rng.gauss(0, 1e3)) for name in names
    ]
    return [Family(family.name, FamilyKind.GAUGE, "", samples) for family in score_families(None)]


async def stored(url: str) -> Told:
    async with ClientSession() as session:
        query = {"query": '{__name__=~"aiops_anomaly_.*"}[30m]'}
        async with session.get(f"{url}/api/v1/query", params=query) as answer:
            result: list[Any] = (await answer.json())["data"]["result"]
    return {
        (one["metric"]["__name__"], one["metric"]["instance"]): {at: float(value) for at, value in one["values"]}
        for one in result
    }


async def test_what_is_stored_is_what_was_scored(
    tmp_path: Path, free_port: Callable[[], int], real_program: Callable[[str], str]
) -> None:
    address = f"127.0.0.1:{free_port()}"
    (tmp_path / "prometheus.yml").write_text("global: {scrape_interval: 1h}\n")
    prometheus = Program(
        real_program("prometheus"),
        f"--config.file={tmp_path / 'prometheus.yml'}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address={address}",
        "--web.enable-remote-write-receiver",
        log=tmp_path / "prometheus.log",
    )

    async def up() -> None:
        await prometheus.start()
        await until(lambda: get_json(f"http://{address}/api/v1/status/buildinfo"), 20, "Prometheus")

    await up()
    rng, session, told = random.Random(1), open_session(), Told()
    settings = RemoteWriteSettings(url=f"http://{address}/api/v1/write", max_samples=10, longest_retry=0.2)
    writer = RemoteWrite(settings, session)
    task = asyncio.create_task(writer.run())
    began = math.floor(time.time()) - 120.0

    async def take(turn: int) -> None:
        names = ["a", "b"] if turn < 30 else ["a"]
        families = tick(rng, names)
        await writer.take(began + turn, families)
        for family in families:
            for labels, value in family.samples:
                told.setdefault((family.name, labels["instance"]), {})[began + turn] = value

    async def idle() -> bool:
        return writer.waiting_samples == 0

    try:
        for turn in range(10):
            await take(turn)
        await until(idle, 10, "the first samples")
        await prometheus.end(signal.SIGKILL)
        for turn in range(10, 20):
            await take(turn)
        await until(lambda: writer.counts.retries, 10, "a request that failed")
        await up()
        for turn in range(20, 40):
            await take(turn)
        await until(idle, 20, "the rest")
        assert await stored(f"http://{address}") == told, "nothing lost, nothing twice, nothing changed"
        assert (writer.counts.refused, writer.counts.dropped) == (0, 0)
        ended = len(list(score_families(None)))
        assert writer.counts.sent == sum(map(len, told.values())) + ended
        now = await get_json(f"http://{address}/api/v1/query?query=aiops_anomaly_score&time={began + 40}")
        assert [one["metric"]["instance"] for one in now["data"]["result"]] == ["a"], "b has ended"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await session.close()
        await prometheus.end(signal.SIGKILL)
