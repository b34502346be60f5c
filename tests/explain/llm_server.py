"""An OpenAI-compatible server on loopback that answers as the test says, also as no server should."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from aiohttp.test_utils import TestServer

Answer = Callable[[Mapping[str, object]], "str | web.Response"]


def completion(text: str, **usage: object) -> web.Response:
    message = {"role": "assistant", "content": text}
    return web.json_response({"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage})


@dataclass
class Script:
    """What the server does next; the last entry repeats. ``asked`` keeps every request, ``keys`` every key."""

    answers: list[object] = field(default_factory=list)
    asked: list[dict[str, object]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    url: str = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(json.loads(await request.read()))
        self.keys.append(request.headers.get("Authorization", ""))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if callable(answer):
            answer = answer(request)
            if asyncio.iscoroutine(answer):
                answer = await answer
        if isinstance(answer, str):
            return completion(answer, prompt_tokens=900, completion_tokens=120)
        assert isinstance(answer, web.StreamResponse)
        return answer


async def hang(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(3600)
    raise AssertionError


async def drip(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    while True:
        await response.write(b" ")
        await asyncio.sleep(0.02)


def status(code: int) -> Callable[[web.Request], web.Response]:
    return lambda request: web.Response(status=code, text="go away")


@asynccontextmanager
async def serving(*answers: object) -> AsyncIterator[Script]:
    """A running server with a script."""
    script = Script(list(answers))
    app = web.Application(client_max_size=4 * 1024 * 1024)
    app.router.add_post("/v1/chat/completions", script.handle)
    async with TestServer(app) as server:
        script.url = str(server.make_url("/v1"))
        yield script
