"""A daemon with a chat: what people read there over a restart."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from aiops.lab.fleet import Fleet
from aiops.notify.settings import NotifySettings, ReceiverKind, ReceiverSettings
from tests.app.test_daemon import configured, running, until


@pytest_asyncio.fixture
async def fleet() -> AsyncIterator[Fleet]:
    fleet = Fleet(2)
    await fleet.start()
    yield fleet
    await fleet.stop()


async def test_a_restart_neither_repeats_nor_forgets_what_people_read(fleet: Fleet, tmp_path: Path) -> None:
    read: list[str] = []

    async def chat(request: web.Request) -> web.Response:
        read.append((await request.json())["text"])
        return web.Response(text="ok")

    app = web.Application()
    app.router.add_post("/", chat)
    async with TestServer(app) as server:
        receiver = ReceiverSettings(name="team", kind=ReceiverKind.SLACK, url=str(server.make_url("/")))  # type: ignore[arg-type]
        config = configured(fleet, tmp_path).model_copy(update={"notify": NotifySettings(receivers=(receiver,))})
        async with running(config) as daemon:
            await until(lambda: all(status.up for status in daemon.collectors.statuses()))
            await fleet.strike(1, "dead")
            await until(lambda: read)
        async with running(config) as daemon:
            ticks = daemon.beat.ticks
            await until(lambda: daemon.beat.ticks > ticks + 5)
            assert len(read) == 1, read
            (team,) = daemon.telling.status()
            assert (team.name, team.sent, team.deduped >= 1) == ("team", 0, True)
            await fleet.replicas[1].start()
            await until(lambda: len(read) > 1)
        assert [text.split("]")[0] for text in read] == ["[CRITICAL", "[RESOLVED"]
