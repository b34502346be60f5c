import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import ClientSession, web

from aiops.kit.http import Answer, BodyTooLarge, HttpClient, HttpClientSettings, open_session

Serve = Callable[[Callable[[web.Request], Any]], Any]


async def get(session: ClientSession, url: str, **options: Any) -> Answer:
    client = HttpClient(HttpClientSettings(), session)
    return await client.ask("GET", url, **{"timeout_seconds": 5.0, "limit_bytes": 1 << 20, **options})


async def endless(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    for number in range(10_000):
        await answer.write(b"%d\n" % number)
        await asyncio.sleep(0.001)
    return answer


async def test_a_listener_hears_each_piece_and_may_stop(serve: Serve, session: ClientSession) -> None:
    heard: list[bytes] = []

    def hear(piece: bytes) -> bool:
        heard.append(piece)
        return len(heard) == 3

    answer = await get(session, await serve(endless), hear=hear)
    assert len(heard) == 3
    assert answer.body == b"".join(heard)
    assert answer.body.startswith(b"0\n1\n")


async def test_a_listener_changes_no_cap(serve: Serve, session: ClientSession) -> None:
    with pytest.raises(BodyTooLarge):
        await get(session, await serve(endless), hear=lambda _: False, limit_bytes=10)


async def test_without_keep_alive_every_request_has_its_own_connection(serve: Serve) -> None:
    ports: set[object] = set()

    async def note_port(request: web.Request) -> web.Response:
        assert request.transport is not None
        ports.add(request.transport.get_extra_info("peername")[1])
        return web.Response(headers={"Seen": request.headers["Connection"]})

    url = await serve(note_port)
    async with open_session(keep_alive_seconds=0) as session:
        answers = [await get(session, url) for _ in range(3)]
    assert len(ports) == 3
    assert {answer.headers["Seen"] for answer in answers} == {"close"}
