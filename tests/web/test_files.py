"""The page's files: what is sent, what is cached, what may not be in them."""

import asyncio
import gzip
import hashlib
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from aiops.web import files
from aiops.web.server import build
from aiops.web.settings import WebSettings
from tests.web.test_server import House

STATIC = Path(files.__file__).with_name("static")
OURS = sorted(
    path for path in STATIC.rglob("*") if path.suffix in (".js", ".css", ".html") and path.parent.name != "uplot"
)


@pytest.fixture
async def client() -> AsyncIterator[TestClient]:
    found = files.load()

    async def handle(request: web.Request) -> web.Response:
        return files.answer(request, found[request.match_info["name"]])

    app = web.Application()
    app.add_routes([web.get("/{name:.+}", handle)])
    async with TestClient(TestServer(app), auto_decompress=False) as client:
        yield client


async def test_a_browser_that_has_the_file_is_not_sent_it_again(client: TestClient) -> None:
    first = await client.get("/app.js", headers={"Accept-Encoding": "identity"})
    assert first.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert await first.read() == (STATIC / "app.js").read_bytes()
    assert first.headers["Cache-Control"] == "no-cache"
    again = await client.get("/app.js", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status, await again.read()) == (304, b"")
    other = await client.get("/app.js", headers={"If-None-Match": '"other"'})
    assert other.status == 200


async def test_files_are_packed_for_who_can_unpack_them(client: TestClient) -> None:
    answer = await client.get("/style.css", headers={"Accept-Encoding": "gzip, br"})
    assert answer.headers["Content-Encoding"] == "gzip"
    body = await answer.read()
    assert gzip.decompress(body) == (STATIC / "style.css").read_bytes()
    assert len(body) < 0.5 * (STATIC / "style.css").stat().st_size


def test_only_what_a_browser_needs_is_served() -> None:
    found = files.load()
    assert {"index.html", "app.js", "style.css", "uplot/uPlot.esm.js", "views/overview.js"} <= set(found)
    assert not [name for name in found if name.endswith(("LICENSE", "SHA256SUMS"))]


def test_the_chart_library_is_the_one_that_was_vendored() -> None:
    sums = dict(reversed(line.split("  ")) for line in (STATIC / "uplot" / "SHA256SUMS").read_text().splitlines())
    assert set(sums) == {"uPlot.esm.js", "uPlot.min.css", "LICENSE"}
    for name, digest in sums.items():
        assert hashlib.sha256((STATIC / "uplot" / name).read_bytes()).hexdigest() == digest, name


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_nothing_of_ours_writes_markup_or_asks_elsewhere(path: Path) -> None:
    text = path.read_text()
    assert not re.findall(r"(?:inner|outer)HTML\s*[=+]|insertAdjacentHTML|document\.write|\beval\(|new Function", text)
    assert [url for url in re.findall(r"https?://[\w./]+", text) if "www.w3.org/2000/svg" not in url] == []
    assert len(text.splitlines()) <= 500
    if path.suffix == ".html":
        assert not re.findall(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", text)


@pytest.mark.parametrize("prefix", ["/static/", "/runbooks/", "/incidents/", "/api/v1/incidents/"])
@pytest.mark.parametrize(
    "path",
    ["../pyproject.toml", "..%2fpyproject.toml", "..%2f..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd",
     "/etc/passwd", "%2fetc%2fpasswd", "style.css%00", "....//....//etc/passwd", "..%5c..%5cetc%5cpasswd"],
)  # fmt: skip
async def test_no_path_leads_out_of_what_is_shipped(prefix: str, path: str) -> None:
    """Sent as it stands, since every client library would tidy it up first."""
    async with TestServer(build(House(), WebSettings())) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(f"GET {prefix}{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = (await reader.read()).decode(errors="replace")
        writer.close()
        await writer.wait_closed()
    status = int(answer.split(maxsplit=2)[1])
    assert status in (302, 400, 404), answer
    assert "root:" not in answer
    assert "[project]" not in answer
    if status == 302:  # a link to a view of the page, which looks the name up
        assert re.search(r"(?im)^location: \.\./#/incidents/[\w%.~-]*\r?$", answer), answer
