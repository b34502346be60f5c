"""``aiops feedback``: what it sends, with which token, and what it shows of the answer."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from aiops.app.cli import main

SAID = {
    "id": "b7f9e1c20a4d",
    "judgement": "false",
    "alertname": "LLMQueueLengthAnomalous",
    "undoneAt": None,
    "effects": ["counted", "threshold: 1.5 times as wide"],
}


@dataclass
class Daemon:
    url: str = ""
    asked: list[tuple[str, str, str, Any]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else None
        self.asked.append((request.method, request.path, request.headers.get("Authorization", ""), body))
        return web.json_response({"status": "success", "data": {"feedback": [SAID]}})


@pytest_asyncio.fixture
async def daemon() -> AsyncIterator[Daemon]:
    house, app = Daemon(), web.Application()
    app.router.add_route("*", "/{path:.*}", house.handle)
    async with TestServer(app) as server:
        house.url = str(server.make_url("")).rstrip("/")
        yield house


async def aiops(daemon: Daemon, *arguments: str) -> int:
    return await asyncio.to_thread(main, ["feedback", *arguments, f"--url={daemon.url}"])


@pytest.fixture(autouse=True)
def _token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    monkeypatch.setenv("AIOPS_TOKEN_FILE", str(tmp_path / "token"))


@pytest.mark.parametrize(("about", "kind"), [("0123456789abcdef", "alert"), ("0123456789ab", "incident")])
async def test_it_says_what_an_alert_or_an_incident_was(
    daemon: Daemon, capsys: pytest.CaptureFixture[str], about: str, kind: str
) -> None:
    assert await aiops(daemon, "false", about, "--cause=batch") == 0
    body = {kind: about, "judgement": "false", "cause": "batch", "note": ""}
    assert daemon.asked == [("POST", "/api/v1/feedback", "Bearer s3cret", body)]
    assert "threshold: 1.5 times as wide" in capsys.readouterr().out


async def test_it_lists_and_takes_back(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    assert await aiops(daemon, "list", "-o", "wide") == 0
    assert "counted; threshold: 1.5 times as wide" in capsys.readouterr().out
    assert await aiops(daemon, "undo", "../x") == 0
    assert [asked[:2] for asked in daemon.asked] == [
        ("GET", "/api/v1/feedback"),
        ("POST", "/api/v1/feedback/../x/undo"),
    ]
