"""Server-sent events: everybody hears the newest, nobody makes the daemon wait, and there is room for so many."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer

from aiops.web.events import Events


async def lines(answer: ClientResponse, count: int) -> list[str]:
    return [(await answer.content.readuntil(b"\n\n")).decode().strip() for _ in range(count)]


def app_of(events: Events) -> web.Application:
    app = web.Application()

    async def handle(request: web.Request) -> web.StreamResponse:
        return web.Response(status=503) if events.full() else await events.stream(request)

    async def let_go(_: web.Application) -> None:
        await events.close()

    app.add_routes([web.get("/", handle)])
    app.on_shutdown.append(let_go)
    return app


@pytest.fixture
async def listen() -> AsyncIterator[Callable[[Events], object]]:
    clients: list[TestClient] = []

    async def open_(events: Events) -> TestClient:
        client = TestClient(TestServer(app_of(events)))
        await client.start_server()
        clients.append(client)
        return client

    yield open_
    for client in clients:
        await client.close()


async def test_everybody_hears_that_there_is_news(listen: Callable[[Events], object]) -> None:
    events = Events(2)
    client = await listen(events)  # type: ignore[misc]
    answers = [await client.get("/") for _ in range(2)]
    for answer in answers:
        assert answer.content_type == "text/event-stream"
        assert await lines(answer, 1) == ["retry: 3000"]
    events.publish({"at": "now"})
    for answer in answers:
        assert await lines(answer, 1) == ['event: tick\ndata: {"at": "now"}']
    assert (await client.get("/")).status == 503
    assert (events.listeners, events.refused) == (2, 1)


async def test_who_is_late_hears_only_the_newest(listen: Callable[[Events], object]) -> None:
    events = Events(1)
    answer = await (await listen(events)).get("/")  # type: ignore[misc]
    await lines(answer, 1)
    for number in range(100):
        events.publish({"at": number})
    assert await lines(answer, 1) == ['event: tick\ndata: {"at": 99}']


async def test_silence_is_broken_so_that_proxies_do_not_hang_up(listen: Callable[[Events], object]) -> None:
    events = Events(1, heartbeat_seconds=0.01)
    answer = await (await listen(events)).get("/")  # type: ignore[misc]
    assert await lines(answer, 3) == ["retry: 3000", ": still here", ": still here"]


async def test_who_left_makes_room(listen: Callable[[Events], object]) -> None:
    events = Events(1)
    client = await listen(events)  # type: ignore[misc]
    answer = await client.get("/")
    await lines(answer, 1)
    answer.close()
    async with asyncio.timeout(60):
        while events.listeners:
            events.publish({"at": "now"})
            await asyncio.sleep(0)
    assert (await client.get("/")).status == 200
    assert events.dropped == 0


async def test_who_does_not_read_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiops.web.events._PATIENCE_SECONDS", 0.05)
    events = Events(1)
    async with TestServer(app_of(events)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"retry")
        events.publish({"at": "x" * 50_000_000})
        async with asyncio.timeout(60):
            while events.listeners:  # noqa: ASYNC110 - the listener leaves without an event of ours
                await asyncio.sleep(0.01)
        assert events.dropped == 1
        writer.transport.abort()


async def test_the_end_of_the_server_ends_every_stream(listen: Callable[[Events], object]) -> None:
    events = Events(1)
    client = await listen(events)  # type: ignore[misc]
    answer = await client.get("/")
    await lines(answer, 1)
    await events.close()
    assert await answer.read() == b""
