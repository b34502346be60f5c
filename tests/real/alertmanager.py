"""A real Alertmanager, alone or as one peer of a cluster, and the people it tells."""

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.real.programs import Program, get_json, until

CONFIG = """
route:
  receiver: people
  group_by: ["..."]
  group_wait: 0s
  group_interval: 500ms
  repeat_interval: 1h
receivers:
- name: people
  webhook_configs:
{hooks}
"""
# What takes minutes in a real cluster, so that a death is noticed and made good within a test.
_CLUSTER = (
    "--cluster.gossip-interval=20ms",
    "--cluster.pushpull-interval=500ms",
    "--cluster.probe-interval=200ms",
    "--cluster.probe-timeout=150ms",
    "--cluster.reconnect-interval=500ms",
    "--cluster.settle-timeout=1s",
    "--cluster.peer-timeout=2s",
)


@dataclass
class People:
    """Who Alertmanager tells."""

    heard: list[dict[str, Any]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        self.heard += (await request.json())["alerts"]
        return web.Response()

    def statuses(self, alertname: str = "") -> list[str]:
        return [alert["status"] for alert in self.heard if alertname in ("", alert["labels"]["alertname"])]


@contextlib.asynccontextmanager
async def listening(people: People) -> AsyncIterator[str]:
    """URL of their webhook receiver."""
    app = web.Application()
    app.router.add_post("/", people.handle)
    async with TestServer(app) as server:
        yield str(server.make_url("/"))


class RealAlertmanager:
    """The program with files of its own; it keeps them and its port over a restart.

    Parameters
    ----------
    hooks
        URLs of webhook receivers.
    cluster
        Gossip addresses of all peers, its own first; empty: alone.
    """

    def __init__(
        self,
        program: str,
        folder: Path,
        port: int,
        hooks: Sequence[str],
        cluster: Sequence[str] = (),
        *,
        host: str = "127.0.0.1",
    ) -> None:
        folder.mkdir(exist_ok=True)
        told = "\n".join(f"  - {{url: {hook}, send_resolved: true}}" for hook in hooks)
        (folder / "am.yml").write_text(CONFIG.format(hooks=told))
        self.url = f"http://{host}:{port}"
        own = cluster[0] if cluster else ""
        self.program = Program(
            program,
            f"--config.file={folder / 'am.yml'}",
            f"--storage.path={folder / 'data'}",
            f"--web.listen-address={host}:{port}",
            f"--cluster.listen-address={own}",
            *(f"--cluster.advertise-address={own}" for _ in cluster[:1]),
            *(f"--cluster.peer={peer}" for peer in cluster[1:]),
            *(_CLUSTER if cluster else ()),
            log=folder / "log",
        )

    async def start(self) -> None:
        await self.program.start()
        await until(lambda: get_json(f"{self.url}/api/v2/status"), 20, "Alertmanager")

    async def stop(self) -> None:
        if self.program.process is not None:
            await self.program.end()

    async def alerts(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await get_json(f"{self.url}/api/v2/alerts") or []
        return found

    async def peers(self) -> int:
        """Members of the cluster as it sees them, itself included."""
        status = await get_json(f"{self.url}/api/v2/status")
        return len(status["cluster"]["peers"]) if status and status["cluster"]["status"] == "ready" else 0


@contextlib.asynccontextmanager
async def alone(program: str, folder: Path, port: int, people: People) -> AsyncIterator[RealAlertmanager]:
    """One that runs, without gossip."""
    async with listening(people) as url:
        manager = RealAlertmanager(program, folder, port, [url])
        await manager.start()
        try:
            yield manager
        finally:
            await manager.stop()


@contextlib.asynccontextmanager
async def pair(
    program: str, folder: Path, free_port: Callable[[], int], people: People, also: Sequence[str] = ()
) -> AsyncIterator[tuple[RealAlertmanager, RealAlertmanager]]:
    """A cluster of two that found each other; ``also`` are webhook receivers beside the people."""
    one, other = (f"127.0.0.1:{free_port()}" for _ in range(2))
    async with listening(people) as url, contextlib.AsyncExitStack() as stack:
        first = RealAlertmanager(program, folder / "am-1", free_port(), [url, *also], (one, other))
        second = RealAlertmanager(program, folder / "am-2", free_port(), [url, *also], (other, one))
        for manager in (first, second):
            stack.push_async_callback(manager.stop)
            await manager.start()
        for manager in (first, second):
            await until(lambda manager=manager: _is(manager.peers(), 2), 20, "the peers found each other")
        yield first, second


async def _is(count: Any, wanted: int) -> bool:
    return bool(await count == wanted)
