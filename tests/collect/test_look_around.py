from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from aiops.collect.look_around import WELL_KNOWN, Candidate, look_around
from aiops.collect.settings import TargetSettings
from aiops.kit.http import open_session


@pytest_asyncio.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with open_session() as session:
        yield session


@pytest_asyncio.fixture
async def engine() -> AsyncIterator[TestServer]:
    async def metrics(request: web.Request) -> web.Response:
        return web.Response(text="# TYPE a gauge\na 1\nb 2\n")

    async def page(request: web.Request) -> web.Response:
        return web.Response(text="<html>\n<body>\nhello 5\n</body>\n", content_type="text/html")

    async def hang(request: web.Request) -> web.Response:
        import asyncio

        await asyncio.sleep(3600)
        raise AssertionError

    application = web.Application()
    application.router.add_get("/metrics", metrics)
    application.router.add_get("/v1/metrics", metrics)
    application.router.add_get("/html", page)
    application.router.add_get("/hang", hang)
    server = TestServer(application)
    await server.start_server(shutdown_timeout=0.1)
    yield server
    await server.close()


async def test_what_answers_and_what_does_not(
    session: ClientSession, engine: TestServer, free_port: Callable[[], int]
) -> None:
    port = engine.port
    assert port is not None
    places = (
        Candidate(port, "/none", "x"),
        Candidate(port, "/html", "x"),
        Candidate(port, "/hang", "x"),
        Candidate(port, "/metrics", "x"),
        Candidate(port, "/v1/metrics", "x"),
        Candidate(free_port(), "/metrics", "x"),
    )
    sightings = await look_around(session, candidates=places, timeout_seconds=0.5)
    assert [sighting.candidate for sighting in sightings] == list(places)
    assert [sighting.found for sighting in sightings] == [False, False, False, True, False, False]
    assert sightings[3].samples == 2
    assert TargetSettings(url=sightings[3].url).url == f"http://127.0.0.1:{port}/metrics"
    for sighting, why in zip(sightings, ("404", "not with a metrics page", "0.5 s", "", "was taken", ""), strict=True):
        assert why in sighting.detail
    assert "cannot be asked" in sightings[5].detail


async def test_nothing_is_there(session: ClientSession, free_port: Callable[[], int]) -> None:
    places = tuple(Candidate(free_port(), place.path, place.usual) for place in WELL_KNOWN)
    sightings = await look_around(session, candidates=places)
    assert not any(sighting.found for sighting in sightings)
    assert all(sighting.detail for sighting in sightings)


@pytest.mark.parametrize("place", WELL_KNOWN)
def test_well_known_places_are_plain(place: Candidate) -> None:
    assert 0 < place.port < 65_536
    assert place.path.startswith("/")
    assert place.usual
