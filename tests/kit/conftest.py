"""A real HTTP server on loopback whose behaviour each test writes itself."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest_asyncio
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from aiops.kit.http import open_session

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[[Handler], Awaitable[str]]


@pytest_asyncio.fixture
async def serve() -> AsyncIterator[Serve]:
    """Return a function that starts a server with one handler for every path and gives its base URL."""
    servers: list[TestServer] = []

    async def start(handler: Handler) -> str:
        application = web.Application()
        application.router.add_route("*", "/{tail:.*}", handler)
        server = TestServer(application)
        servers.append(server)
        await server.start_server(shutdown_timeout=0.1)
        return str(server.make_url("")).rstrip("/")

    yield start
    for server in servers:
        await server.close()


@pytest_asyncio.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with open_session() as session:
        yield session
