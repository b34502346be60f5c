import asyncio
import json
import math
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from pydantic import ValidationError

from aiops.collect.probe import ANSWER_BYTES, EndpointSettings, ProbeCollector, ProbeSettings
from aiops.signals.page import Layout, MetricType, Sample
from aiops.signals.profile import parse_profile
from aiops.signals.resolve import resolve
from aiops.signals.types import Entity, EntityKind
from tests.real.llama_server import write_model

Behave = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[[Behave], Awaitable[str]]
ROOT = Path(__file__).parents[2]
LLAMA = ROOT / "tests" / "real" / "llama_server.py"
WORDS = ["red", ", ", "green", ", ", "blue"]
DONE = "data: [DONE]\n\n"


def chunk(text: str, **more: object) -> str:
    return "data: " + json.dumps({"choices": [{"delta": {"content": text}, **more}]}) + "\n\n"


GOOD = "".join(map(chunk, WORDS)) + DONE


@pytest_asyncio.fixture
async def serve() -> AsyncIterator[Serve]:
    """Return a function that starts a server with one behaviour and gives the base URL of its API."""
    servers: list[TestServer] = []

    async def start(behave: Behave) -> str:
        application = web.Application()
        application.router.add_post("/v1/{tail:.*}", behave)
        servers.append(TestServer(application))
        await servers[-1].start_server(shutdown_timeout=0.1)
        return str(servers[-1].make_url("/v1"))

    yield start
    for server in servers:
        await server.close()


def says(text: str, *, status: int = 200, kind: str = "text/event-stream") -> Behave:
    async def behave(request: web.Request) -> web.Response:
        return web.Response(text=text, status=status, content_type=kind)

    return behave


def endpoint(url: str, **settings: Any) -> EndpointSettings:
    return EndpointSettings.model_validate({"url": url, "model": "tiny", **settings})


async def ask(collector: ProbeCollector) -> dict[str, float]:
    (reading,) = await collector.read()
    assert reading.source == collector.status().source
    return {key.signal: value for key, value in zip(reading.columns.keys, reading.values.tolist(), strict=True)}


async def test_an_answer_is_timed_and_counted(serve: Serve) -> None:
    asked: list[Any] = []

    async def behave(request: web.Request) -> web.StreamResponse:
        asked.append((request.path, request.headers["Authorization"], await request.json()))
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        for word in WORDS:
            await asyncio.sleep(0.02)
            await answer.write(chunk(word).encode())
        await answer.write(DONE.encode())
        return answer

    settings = endpoint(await serve(behave), client={"authorization": {"credentials": "canary"}})
    collector = ProbeCollector(settings)
    values = await ask(collector)
    await collector.close()
    ((path, authorization, body),) = asked
    assert (path, authorization) == ("/v1/chat/completions", "Bearer canary")
    assert body["messages"] == [{"role": "user", "content": settings.prompt}]
    assert (body["model"], body["max_tokens"], body["stream"], body["temperature"]) == ("tiny", 16, True, 0)
    assert (values["probe_up"], values["probe_tokens"]) == (1.0, 5.0)
    # Four gaps between five tokens, each at least as long as the server waits.
    assert values["probe_ttft"] >= 0.02
    assert values["probe_itl"] >= 0.015
    assert values["probe_e2e"] >= values["probe_ttft"] + 4 * values["probe_itl"] - 1e-9
    status = collector.status()
    assert status.up
    assert status.entity == settings.entity
    assert "canary" not in repr(status)


async def test_completions_have_a_prompt_and_their_own_path(serve: Serve) -> None:
    async def behave(request: web.Request) -> web.Response:
        body = await request.json()
        assert request.path == "/v1/completions"
        return web.json_response({"choices": [{"text": f"{body['prompt']} {body['seed']}"}]})

    settings = endpoint(
        await serve(behave), kind="completions", prompt="Count:", parameters={"seed": 7}, expect="Count: 7"
    )
    collector = ProbeCollector(settings)
    values = await ask(collector)
    await collector.close()
    assert values["probe_up"] == 1.0
    assert math.isnan(values["probe_ttft"]), "the answer came as a whole"
    assert values["probe_e2e"] > 0


@pytest.mark.parametrize(
    ("behave", "why"),
    [
        (says('{"error": {"message": "The model `tiny` does not exist."}}', status=404), "404: .*does not exist"),
        (says("<h1>busy</h1>", status=503), "answered 503$"),
        (says("", status=401), "answered 401"),
        (says(chunk("red") + 'data: {"error": {"message": "CUDA error"}}\n\n' + DONE), "CUDA error"),
        (says(chunk("red") + "data: {oops\n\n" + DONE), "expected JSON"),
        (says(chunk("red")), "broke off"),
        (says(""), "broke off"),
        (says(DONE), "empty"),
        (says("".join([chunk("!")] * 16) + DONE), "over and over"),
        (says("<html>Sign in</html>", kind="text/html"), "expected JSON"),
        (says("x" * (ANSWER_BYTES + 1)), "more than 1048576 bytes"),
    ],
)
async def test_a_failure_is_a_measurement(serve: Serve, behave: Behave, why: str) -> None:
    collector = ProbeCollector(endpoint(await serve(behave)))
    for attempt in (1, 2):
        values = await ask(collector)
        assert values.pop("probe_up") == 0.0
        assert np.isnan(list(values.values())).all(), "unknown is never 0"
        assert collector.status().failures == attempt
    await collector.close()
    status = collector.status()
    assert not status.up
    with pytest.raises(AssertionError, match=why):
        raise AssertionError(status.error)


async def test_an_expected_answer_that_does_not_come(serve: Serve) -> None:
    collector = ProbeCollector(endpoint(await serve(says(GOOD)), expect="(?i).*violet.*"))
    assert (await ask(collector))["probe_up"] == 0.0
    assert "violet" in collector.status().error
    await collector.close()


async def test_a_server_that_stops_talking_is_given_up(serve: Serve) -> None:
    async def behave(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        await answer.write(chunk("red").encode())
        await asyncio.sleep(30)
        return answer

    collector = ProbeCollector(endpoint(await serve(behave), timeout="200ms"))
    assert (await ask(collector))["probe_up"] == 0.0
    assert "within 0.2 s" in collector.status().error
    await collector.close()


async def test_a_stream_that_never_closes_ends_with_done(serve: Serve) -> None:
    async def behave(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        await answer.write(GOOD.encode())
        await asyncio.sleep(30)
        return answer

    collector = ProbeCollector(endpoint(await serve(behave), timeout="5s"))
    assert (await ask(collector))["probe_up"] == 1.0
    await collector.close()


async def test_nobody_listens_and_then_somebody_does(free_port: Callable[[], int]) -> None:
    port = free_port()
    collector = ProbeCollector(endpoint(f"http://127.0.0.1:{port}/v1"))
    assert (await ask(collector))["probe_up"] == 0.0
    assert "cannot be asked" in collector.status().error
    application = web.Application()
    application.router.add_post("/v1/chat/completions", says(GOOD))
    async with TestServer(application, port=port):
        assert (await ask(collector))["probe_up"] == 1.0
    assert collector.status().failures == 0
    await collector.close()
    await collector.close()


async def test_a_server_that_drops_idle_connections_without_a_word_is_not_down() -> None:
    """It offers to keep the connection alive and closes it with the next request: no question may meet that."""

    closed = asyncio.Semaphore(0)

    async def serve_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        body = GOOD.encode()
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Type: text/event-stream\r\n")
        writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        await reader.read(1)
        writer.close()
        await writer.wait_closed()
        closed.release()

    server = await asyncio.start_server(serve_once, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    collector = ProbeCollector(endpoint(f"http://127.0.0.1:{port}/v1"))
    assert [(await ask(collector))["probe_up"] for _ in range(5)] == [1.0] * 5
    await collector.close()
    for _ in range(5):
        await closed.acquire()
    server.close()
    await server.wait_closed()


def test_the_answer_belongs_to_the_scraped_replica() -> None:
    profile = parse_profile((ROOT / "models" / "engines" / "vllm.yaml").read_text(), "vllm.yaml")
    page = Layout((Sample("vllm:num_requests_running", (("model_name", "tiny"),), MetricType.GAUGE),))
    target = (("instance", "10.0.0.1:8000"), ("job", "llm"))
    (binding,) = resolve(page, [profile], target).bindings
    assert endpoint("http://10.0.0.1:8000/v1").entity == binding.entity


def test_labels_move_the_answer_to_another_entity() -> None:
    url = "http://10.0.0.1:8080/v1"
    given = {"job": "chat", "pool": "a", "model_name": ""}
    labels = {"instance": "10.0.0.1:8080", "job": "chat", "pool": "a"}
    assert endpoint(url, labels=given).entity == Entity.of(EntityKind.REPLICA, **labels)
    assert endpoint(url, labels={"pool": "a"}, watches="pool").entity == Entity.of(
        EntityKind.POOL, pool="a", model_name="tiny"
    )


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"url": "ftp://host/v1"}, "expected http"),
        ({"url": "http://me:secret@host/v1"}, "credentials"),
        ({"expect": "(a+)+"}, "exponential"),
        ({"interval": "10s", "timeout": "20s"}, "must not exceed"),
        ({"parameters": {"temperature": float("nan")}}, "JSON"),
        ({"parameters": {"stop": {1, 2}}}, "JSON"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        endpoint(**{"url": "http://host/v1", **settings})


def test_two_endpoints_cannot_write_one_series() -> None:
    both = [{"url": "http://host:1/v1", "model": "m"}, {"url": "http://host:1/v1", "model": "m", "kind": "completions"}]
    with pytest.raises(ValidationError, match="different labels"):
        ProbeSettings.model_validate({"endpoints": both})
    both[1]["labels"] = {"job": "completions"}  # type: ignore[assignment]
    assert len(ProbeSettings.model_validate({"endpoints": both}).endpoints) == 2


@pytest.mark.real
async def test_a_real_server_is_probed_until_it_dies(tmp_path: Path, free_port: Callable[[], int]) -> None:
    pytest.importorskip("xllamacpp")
    model, port = tmp_path / "tiny.gguf", free_port()
    write_model(model)
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(LLAMA), str(model), str(port), "2",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    settings = {"labels": {"model_name": ""}, "kind": "completions", "max_tokens": 24}
    collector = ProbeCollector(endpoint(f"http://127.0.0.1:{port}/v1", **settings))
    unknown = ProbeCollector(endpoint(f"http://127.0.0.1:{port}/v2", **settings))
    try:
        assert process.stdout is not None
        assert b"listening" in await asyncio.wait_for(process.stdout.readline(), 20)
        values = await ask(collector)
        assert values["probe_up"] == 1.0, collector.status().error
        async with ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as page:
            counted = re.search(r"^llamacpp:tokens_predicted_total (\d+)", await page.text(), re.MULTILINE)
        assert counted
        assert 0 < values["probe_tokens"] <= 24.0
        assert values["probe_tokens"] == float(counted[1]), "as the server counts them"
        assert 0 < values["probe_ttft"] < values["probe_e2e"]
        assert 0 < values["probe_itl"] < values["probe_e2e"] / 10
        for _ in range(10):  # this server closes kept-alive connections now and then
            assert (await ask(collector))["probe_up"] == 1.0
        assert (await ask(unknown))["probe_up"] == 0.0
        assert "answered 404" in unknown.status().error
        process.kill()
        await process.wait()
        assert (await ask(collector))["probe_up"] == 0.0
        assert "cannot be asked" in collector.status().error
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await collector.close()
        await unknown.close()
