"""An assistant asks over stdio, through the protocol's own client: the same answers, and nothing that changes any."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from mcp import Client, StdioServerParameters

from aiops.app.commands.mcp import clean

pytestmark = pytest.mark.timeout(120)


class Daemon:
    """Answers as a daemon does, and remembers how it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append((request.method, request.path_qs))
        if request.path.endswith("/missing"):
            return web.json_response(
                {"status": "error", "errorType": "not_found", "error": "no such incident"}, status=404
            )
        data = {"path": request.path, "text": "a\x1b[2Jb\u202e", "q": request.query.get("q", "")}
        return web.json_response({"status": "success", "data": data})


async def test_an_assistant_gets_answers_and_can_change_nothing(tmp_path: Path) -> None:
    daemon, app = Daemon(), web.Application()
    app.router.add_route("*", "/{path:.*}", daemon.handle)
    async with TestServer(app) as server:
        url = str(server.make_url("/")).rstrip("/")
        command = StdioServerParameters(
            command=sys.executable, args=["-m", "aiops", "mcp", "--url", url], cwd=tmp_path, env=dict(os.environ)
        )
        async with Client(command) as client:
            tools = (await client.list_tools()).tools
            answers = {
                "ask": await client.call_tool("ask", {"question": "首字时延为什么高? & more"}),
                "incident": await client.call_tool("incident", {"incident_id": "../status"}),
                "signals": await client.call_tool("signals", {"signal": "ttft"}),
            }
            for name in ("incidents", "alerts", "recommendations"):
                answers[name] = await client.call_tool(name, {})
            failed = await client.call_tool("incident", {"incident_id": "missing"})
    assert {tool.name for tool in tools} == {"ask", "incidents", "incident", "alerts", "signals", "recommendations"}
    assert all(tool.annotations is not None and tool.annotations.read_only_hint for tool in tools)
    assert body(answers["ask"])["q"] == "首字时延为什么高? & more"
    assert body(answers["incident"])["path"] == "/api/v1/incidents/../status"
    assert body(answers["alerts"])["text"] == "a\\u001b[2Jb\\u202e"
    assert failed.is_error
    assert "no such incident" in str(failed.content)
    assert {method for method, _ in daemon.asked} == {"GET"}


def body(result: Any) -> dict[str, Any]:
    assert not result.is_error, result.content
    return dict(json.loads(result.content[0].text))


def test_answers_are_cut_and_say_so() -> None:
    cut = clean({"list": list(range(300)), "text": "x" * 5000, "deep": [{"a": "\u200b"}]})
    assert len(cut["list"]) == 201
    assert cut["list"][-1] == "100 more are not shown"
    assert len(cut["text"]) == 2000
    assert cut["deep"] == [{"a": "\\u200b"}]
