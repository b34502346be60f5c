import asyncio
import gzip
import re
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from aiohttp import ClientSession

from aiops.collect.scrape import SHOWN_BYTES, Scraper
from aiops.collect.settings import JobSettings
from aiops.collect.targets import Target, build
from aiops.kit.clock import Clock
from aiops.kit.http import open_session
from aiops.signals.page import Page
from aiops.signals.types import Columns, Entity, EntityKind, Reading, SeriesKey

Behave = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]
PAGE = b"# TYPE up gauge\nup 1\nrequests_total 5\n"


class Echo:
    """Normaliser that passes all numbers on."""

    def normalise(self, page: Page, at: float) -> Reading:
        keys = (SeriesKey(Entity.of(EntityKind.TARGET, job="t"), sample.name) for sample in page.layout.samples)
        return Reading("t", at, Columns(tuple(keys)), page.values)

    def facts(self) -> dict[str, str | float]:
        return {"engine": "echo"}


def answer(body: bytes, *, status: str = "200 OK", headers: str = "Content-Type: text/plain\r\n") -> bytes:
    return f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


def says(raw: bytes) -> Behave:
    async def behave(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()
        writer.close()

    return behave


async def hang(request: bytes, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3600)


async def hang_after_headers(request: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nup 1\n")
    await asyncio.sleep(3600)


async def drip(request: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b"#")
        await writer.drain()
        await asyncio.sleep(0.02)


async def drip_headers(request: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X: y\r\n")
        await writer.drain()
        await asyncio.sleep(0.02)


async def reset(request: bytes, writer: asyncio.StreamWriter) -> None:
    raw: socket.socket = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def endless_chunks(request: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b"#" * 0x10000 + b"\r\n")
        await writer.drain()


@pytest_asyncio.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[list[str]]]]:
    """Return a function that starts raw servers with one behaviour and gives their addresses."""
    servers: list[asyncio.Server] = []
    tasks: set[asyncio.Task[Any]] = set()

    async def start(behave: Behave, *, hosts: int = 1) -> list[str]:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            try:
                await behave(await reader.readuntil(b"\r\n\r\n"), writer)
            except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass
            finally:
                writer.close()
                tasks.discard(task)

        server = await asyncio.start_server(connected, [f"127.0.{n // 200}.{n % 200 + 1}" for n in range(hosts)], 0)
        servers.append(server)
        return ["{}:{}".format(*one.getsockname()) for one in server.sockets]

    yield start
    for server in servers:
        server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest_asyncio.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with open_session() as session:
        yield session


def target(address: str, **job: Any) -> Target:
    settings = {"name": "t", "interval": 60, "timeout": 30, "targets": [address], **job}
    (one,) = build([JobSettings.model_validate(settings)], {}).targets
    return one


def scraper(session: ClientSession, address: str, **job: Any) -> Scraper:
    return Scraper(target(address, **job), session=session, normaliser=Echo(), clock=Clock(now=lambda: 1000.0))


async def test_a_good_page(serve: Any, session: ClientSession) -> None:
    (address,) = await serve(says(answer(PAGE)))
    one = scraper(session, address)
    assert one.status().last_attempt == 0.0
    assert not one.status().up
    (reading,) = await one.read()
    assert reading.at == 1000.0
    assert reading.values.tolist() == [1.0, 5.0]
    status = one.status()
    assert status.up
    assert (status.source, status.kind, status.entity.label("instance")) == (f"t/{address}", "scrape", address)
    assert (status.last_attempt, status.last_success, status.last_change) == (1000.0, 1000.0, 1000.0)
    assert status.facts["duration_seconds"] > 0  # type: ignore[operator]
    assert {k: v for k, v in status.facts.items() if k != "duration_seconds"} == {
        "engine": "echo",
        "url": f"http://{address}/metrics",
        "samples": 2.0,
        "size_bytes": float(len(PAGE)),
        "bad_lines": 0.0,
        "first_bad_line": "",
    }
    assert one.last_page == PAGE
    await one.close()
    await one.close()


async def test_the_request_looks_like_one_of_prometheus(serve: Any, session: ClientSession) -> None:
    requests = []

    async def remember(request: bytes, writer: asyncio.StreamWriter) -> None:
        requests.append(request.decode())
        await says(answer(PAGE))(request, writer)

    (address,) = await serve(remember)
    await scraper(
        session, f"http://{address}/m?a=b%20c", timeout=2.5, client={"authorization": {"credentials": "x"}}
    ).read()
    first, *headers = requests[0].split("\r\n")
    assert first == "GET /m?a=b+c HTTP/1.1"
    assert "X-Prometheus-Scrape-Timeout-Seconds: 2.5" in headers
    assert "Authorization: Bearer x" in headers
    assert "Accept-Encoding: gzip" in headers
    (accept,) = (line for line in headers if line.startswith("Accept: "))
    assert accept.index("openmetrics-text;version=1.0.0") < accept.index("text/plain;version=0.0.4")


async def test_openmetrics_and_gzip(serve: Any, session: ClientSession) -> None:
    body = gzip.compress(b"# TYPE a counter\na_total 3\n# EOF\n")
    headers = "Content-Type: application/openmetrics-text; version=1.0.0\r\nContent-Encoding: gzip\r\n"
    (address,) = await serve(says(answer(body, headers=headers)))
    one = scraper(session, address)
    (reading,) = await one.read()
    assert reading.values.tolist() == [3.0]
    assert one.status().facts["bad_lines"] == 0.0


FAULTS: list[tuple[str, Behave, dict[str, Any], str]] = [
    ("hang before headers", hang, {"timeout": 0.3}, "no whole answer within 0.3 s"),
    ("hang after headers", hang_after_headers, {"timeout": 0.3}, "no whole answer within 0.3 s"),
    ("drip", drip, {"timeout": 0.3}, "no whole answer within 0.3 s"),
    ("drip headers", drip_headers, {"timeout": 0.3}, "cannot be asked|no whole answer"),
    ("reset", reset, {}, "cannot be asked"),
    ("closes at once", says(b""), {}, "cannot be asked"),
    ("endless chunks", endless_chunks, {}, "more than 16777216 bytes"),
    ("too short", says(answer(PAGE).replace(b"Length: ", b"Length: 9")), {}, "broke off its body"),
    ("not HTTP", says(b"SSH-2.0-OpenSSH_9.2\r\n"), {}, "cannot be asked"),
    ("500", says(answer(PAGE, status="500 Oops")), {}, "answered 500"),
    ("404", says(answer(b"no", status="404 Not Found")), {}, "answered 404"),
    ("redirect", says(answer(b"", status="302 Found", headers="Location: /x\r\n")), {}, "redirects are not followed"),
    ("HTML", says(answer(b"<html>\n<body>Please log in</body>\n")), {}, "has no samples"),
    ("empty", says(answer(b"")), {}, "the page is empty"),
    ("comments only", says(answer(b"# TYPE a gauge\n")), {}, "has no samples"),
    ("brotli", says(answer(PAGE, headers="Content-Encoding: br\r\n")), {}, "encoding 'br'|cannot be asked"),
    ("bad gzip", says(answer(PAGE, headers="Content-Encoding: gzip\r\n")), {}, "damaged gzip"),
    (
        "bomb",
        says(answer(gzip.compress(bytes(40 << 20)), headers="Content-Encoding: gzip\r\n")),
        {},
        "more than 16777216",
    ),
    ("too many bytes", says(answer(PAGE)), {"limits": {"body": 10}}, "more than 10 bytes"),
    ("too many samples", says(answer(PAGE)), {"limits": {"samples": 1}}, "samples"),
    ("long label", says(answer(b'a{b="%s"} 1\n' % (b"c" * 99))), {"limits": {"value_bytes": 90}}, "90"),
]


@pytest.mark.parametrize(("behave", "job", "why"), [fault[1:] for fault in FAULTS], ids=[fault[0] for fault in FAULTS])
async def test_a_fault_is_a_status_not_an_exception(
    serve: Any, session: ClientSession, behave: Behave, job: dict[str, Any], why: str
) -> None:
    (address,) = await serve(behave)
    one = scraper(session, address, **job)
    assert await one.read() == ()
    assert re.search(why, one.status().error), one.status().error
    assert address in one.status().error
    assert (one.status().failures, one.status().up) == (1, False)
    assert await one.read() == ()
    assert one.status().failures == 2
    assert one.status().last_success == 0.0


async def test_refused_and_unknown_names(session: ClientSession, free_port: Callable[[], int]) -> None:
    for address in (f"127.0.0.1:{free_port()}", "does-not-exist.invalid:80"):
        one = scraper(session, address)
        assert await one.read() == ()
        assert "cannot be asked" in one.status().error


async def test_bad_lines_cost_themselves(serve: Any, session: ClientSession) -> None:
    (address,) = await serve(says(answer(b"a 1\nb {\nc 3\n")))
    one = scraper(session, address)
    (reading,) = await one.read()
    assert reading.values.tolist() == [1.0, 3.0]
    assert one.status().facts["bad_lines"] == 1.0
    assert "2" in str(one.status().facts["first_bad_line"])


async def test_failures_recovery_and_last_change(serve: Any, session: ClientSession) -> None:
    now = 0.0
    bodies = [b"a 1\n", b"a 1\n", None, b"a 1\n", b"a NaN\n", b"a NaN\n", b"a NaN\nb 1\n"]
    turn = -1

    async def behave(request: bytes, writer: asyncio.StreamWriter) -> None:
        body = bodies[turn]
        await says(answer(body) if body is not None else answer(b"", status="503 Busy"))(request, writer)

    (address,) = await serve(behave)
    one = Scraper(target(address), session=session, normaliser=Echo(), clock=Clock(now=lambda: now))
    seen = []
    for turn in range(len(bodies)):
        now = 100.0 + turn
        await one.read()
        status = one.status()
        seen.append((status.last_attempt, status.last_success, status.last_change, status.failures))
    assert seen == [
        (100, 100, 100, 0),
        (101, 101, 100, 0),
        (102, 101, 100, 1),
        (103, 103, 100, 0),
        (104, 104, 104, 0),
        (105, 105, 104, 0),
        (106, 106, 106, 0),
    ]


async def test_a_ten_thousand_sample_page_keeps_its_layout(serve: Any, session: ClientSession) -> None:
    layouts = []

    class Remember(Echo):
        def normalise(self, page: Page, at: float) -> Reading:
            layouts.append(page.layout)
            return Reading("t", at, Columns(()), np.empty(0))

    body = b"".join(b'metric{series="%d"} %d\n' % (n, n) for n in range(10_000))
    (address,) = await serve(says(answer(body)))
    one = Scraper(target(address), session=session, normaliser=Remember())
    for _ in range(2):
        await one.read()
    assert one.status().facts["samples"] == 10_000.0
    assert layouts[0] is layouts[1]
    assert one.last_page == body[:SHOWN_BYTES]


async def test_bad_targets_never_delay_good_ones(serve: Any, session: ClientSession) -> None:
    """120 targets hang in every way; while all of them still do, the good ones are read again and again."""
    bad = [
        address
        for behave in (hang, hang_after_headers, drip, drip_headers)
        for address in await serve(behave, hosts=30)
    ]
    good = await serve(says(answer(PAGE)), hosts=20)
    hanging = [asyncio.create_task(scraper(session, address).read()) for address in bad]
    await asyncio.sleep(0.3)
    for _ in range(3):
        readings = await asyncio.gather(*(scraper(session, address).read() for address in good))
        assert all(len(reading) == 1 for reading in readings)
    assert not any(task.done() for task in hanging)
    for task in hanging:
        task.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)


async def test_cancelling_a_read_leaves_nothing_behind(serve: Any, session: ClientSession) -> None:
    (address,) = await serve(hang)
    before = asyncio.all_tasks()
    reading = asyncio.create_task(scraper(session, address).read())
    await asyncio.sleep(0.1)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    mine = {task for task in asyncio.all_tasks() - before if "connected" not in repr(task.get_coro())}
    assert mine == set()


async def test_a_redirect_never_sees_the_credentials(serve: Any, session: ClientSession) -> None:
    stolen = []

    async def thief(request: bytes, writer: asyncio.StreamWriter) -> None:
        stolen.append(request)
        await says(answer(PAGE))(request, writer)

    (other,) = await serve(thief)
    (address,) = await serve(says(answer(b"", status="307 X", headers=f"Location: http://{other}/metrics\r\n")))
    for follow in (False, True):
        client = {"basic_auth": {"username": "u", "password": "canary"}, "follow_redirects": follow}
        one = scraper(session, address, client=client)
        assert await one.read() == ()
        assert "redirect" in one.status().error
        assert "canary" not in one.status().error
    assert stolen == []


async def test_kept_alive_connection_that_the_server_closes(serve: Any, session: ClientSession) -> None:
    connections = 0

    async def close_when_idle(request: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.write(answer(PAGE))
        await writer.drain()
        await asyncio.sleep(0.05)

    (address,) = await serve(close_when_idle)
    one = scraper(session, address)
    for _ in range(3):
        assert len(await one.read()) == 1
        await asyncio.sleep(0.06)
    assert one.status().failures == 0
    assert connections == 3


async def test_a_crashing_normaliser_is_not_hidden_and_the_target_is_not_up(serve: Any, session: ClientSession) -> None:
    class Crash(Echo):
        def normalise(self, page: Page, at: float) -> Reading:
            raise KeyError("bug")

    (address,) = await serve(says(answer(PAGE)))
    one = Scraper(target(address), session=session, normaliser=Crash())
    with pytest.raises(KeyError):
        await one.read()
    assert "KeyError" in one.status().error
    assert one.status().failures == 1


async def test_recorded_pages_of_real_programs_are_read(serve: Any, session: ClientSession, captures: Path) -> None:
    pages = sorted(captures.rglob("*.prom"))
    assert pages
    for path in pages:
        (address,) = await serve(says(answer(path.read_bytes())))
        one = scraper(session, address)
        assert len(await one.read()) == 1, (path, one.status().error)
        assert one.status().facts["bad_lines"] == 0.0, path


@pytest.mark.real
async def test_a_real_prometheus_is_read_without_a_bad_line(
    session: ClientSession, tmp_path: Path, real_program: Callable[[str], str], free_port: Callable[[], int]
) -> None:
    (tmp_path / "prometheus.yml").write_text("{}")
    address = f"127.0.0.1:{free_port()}"
    process = await asyncio.create_subprocess_exec(
        real_program("prometheus"),
        f"--config.file={tmp_path}/prometheus.yml",
        f"--storage.tsdb.path={tmp_path}/data",
        f"--web.listen-address={address}",
        stderr=asyncio.subprocess.DEVNULL,
    )
    one = scraper(session, address)
    try:
        for _ in range(600):
            if await one.read():
                break
            await asyncio.sleep(0.1)
        assert one.status().up, one.status().error
        assert one.status().facts["bad_lines"] == 0.0, one.status().facts["first_bad_line"]
        assert one.status().facts["samples"] > 100  # type: ignore[operator]
    finally:
        process.terminate()
        await process.wait()


def test_a_changed_target_is_another_target() -> None:
    one = target("h:1")
    assert one == target("h:1")
    assert one != replace(one, timeout_seconds=1.0)
