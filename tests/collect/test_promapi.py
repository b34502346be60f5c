import asyncio
import gzip
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import ValidationError

from aiops.collect import promapi
from aiops.collect.promapi import (
    MOST_POINTS,
    History,
    PrometheusSettings,
    Range,
    Samples,
    matchers,
    same_target,
    with_history,
)
from aiops.kit.clock import Clock
from aiops.kit.retry import Permanent, Temporary
from aiops.signals.types import Labels
from tests.real.prometheus import prometheus_with

Behave = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[[Behave], Awaitable[str]]


@pytest_asyncio.fixture
async def serve() -> AsyncIterator[Serve]:
    servers: list[TestServer] = []

    async def start(behave: Behave) -> str:
        application = web.Application()
        for path in ("query_range", "query", "label/__name__/values"):
            application.router.add_get(f"/api/v1/{path}", behave)
        servers.append(TestServer(application))
        await servers[-1].start_server(shutdown_timeout=0.1)
        return str(servers[-1].make_url("")).rstrip("/")

    yield start
    for server in servers:
        await server.close()


def matrix(*series: tuple[dict[str, str], list[tuple[float, str]]], **more: object) -> dict[str, Any]:
    result = [{"metric": metric, "values": values} for metric, values in series]
    return {"status": "success", "data": {"resultType": "matrix", "result": result}, **more}


def settings(url: str, **more: object) -> PrometheusSettings:
    return PrometheusSettings.model_validate({"url": url, **more})


async def read(url: str, *question: Any, **more: Any) -> Range:
    options = {"most_points": more.pop("most_points", MOST_POINTS)}
    return await with_history(settings(url, **more), lambda history: history.read(*question, **options))


def test_settings_that_cannot_work_are_refused() -> None:
    for wrong in (
        {"url": "prometheus:9090"},
        {"url": "http://me:secret@host"},
        {"url": "http://host/?a=b"},
        {"selector": "up"},
        {"client": {"follow_redirects": True}},
        {"headers": {"Authorization": "Bearer shown"}},
        {"headers": {"X-Scope-OrgID": "a\nb"}},
    ):
        with pytest.raises(ValidationError):
            PrometheusSettings.model_validate(wrong)
    assert PrometheusSettings().url == ""


async def test_samples_become_rows_and_what_is_missing_is_unknown(serve: Serve) -> None:
    async def behave(request: web.Request) -> web.Response:
        assert dict(request.query) == {"query": "a", "start": "100.500", "end": "110.500", "step": "5.000"}
        assert request.headers["Authorization"] == "Bearer canary"
        return web.json_response(
            matrix(
                ({"__name__": "a", "b": "1"}, [(100.5, "1"), (105.5, "NaN"), (110.5, "+Inf")]),
                ({"__name__": "a", "b": "2"}, [(105.5, "-1.5e3")]),
            )
        )

    found = await read(await serve(behave), "a", 100.5, 112.0, 5.0, client={"authorization": {"credentials": "canary"}})
    assert found.at.tolist() == [100.5, 105.5, 110.5]
    assert found.labels == ((("__name__", "a"), ("b", "1")), (("__name__", "a"), ("b", "2")))
    assert np.array_equal(found.values, [[1, np.nan, np.inf], [np.nan, -1500, np.nan]], equal_nan=True)


async def test_an_empty_answer_is_an_empty_range(serve: Serve) -> None:
    async def behave(request: web.Request) -> web.Response:
        return web.json_response(matrix())

    found = await read(await serve(behave), "a", 0.0, 10.0, 5.0)
    assert (found.labels, found.values.shape) == ((), (0, 3))


async def test_a_long_range_is_asked_in_parts_that_fit(serve: Serve) -> None:
    asked: list[int] = []

    async def behave(request: web.Request) -> web.Response:
        start, end, step = (float(request.query[name]) for name in ("start", "end", "step"))
        times = np.arange(round((end - start) / step) + 1) * step + start
        asked.append(len(times))
        assert len(times) <= MOST_POINTS
        return web.json_response(matrix(({"__name__": "a"}, [(at, repr(at)) for at in times.tolist()])))

    found = await read(await serve(behave), "a", 0.0, 12_499.5, 0.5)
    assert asked == [MOST_POINTS, MOST_POINTS, 3000]
    assert np.array_equal(found.values[0], found.at), "every point is where it belongs"
    asked.clear()
    assert np.array_equal((await read(await serve(behave), "a", 3.0, 10.0, 1.0, most_points=3)).at, range(3, 11))
    assert asked == [3, 3, 2]


async def test_warnings_are_kept_once(serve: Serve) -> None:
    async def behave(request: web.Request) -> web.Response:
        return web.json_response(matrix(({"warnings": "x"}, [(0.0, "1")]), warnings=["store\nis away", "partial"]))

    def work(history: History) -> tuple[str, ...]:
        history.read("a", 0.0, 3.0, 1.0, most_points=2)
        return tuple(history.warnings)

    assert await with_history(settings(await serve(behave)), work) == ("store\\nis away", "partial")


async def test_stored_samples_keep_their_own_time_and_an_instant_has_that_of_the_question(serve: Serve) -> None:
    asked: list[dict[str, str]] = []
    tenants: set[str] = set()

    async def behave(request: web.Request) -> web.Response:
        asked.append(dict(request.query))
        tenants.add(request.headers.get("X-Scope-OrgID", ""))
        if request.path.endswith("/values"):
            return web.json_response({"status": "success", "data": ["up", "vllm:x"]})
        if request.query["query"] == "up":
            instant = {"resultType": "vector", "result": [{"metric": {"a": "b"}, "value": [9.5, "1"]}]}
            return web.json_response({"status": "success", "data": instant})
        histogram = {"metric": {}, "histograms": [[1, {"count": "1"}]]}
        answer = matrix(({"__name__": "a"}, [(1.25, "NaN"), (2.5, "3")]))
        answer["data"]["result"].append(histogram)
        return web.json_response(answer)

    def work(history: History) -> tuple[list[Samples], list[Samples], list[str]]:
        instant = history.samples("up", 9.5, most_series=2)
        return instant, history.samples("a[1m]", 9.5, most_series=2), history.names('{a="b"}', 1.0, 2.0)

    instant, stored, names = await with_history(
        settings(await serve(behave), timeout="3s", headers={"X-Scope-OrgID": "red"}), work
    )
    assert instant == [Samples({"a": "b"}, (9.5,), (1.0,))]
    assert stored[0].labels == {"__name__": "a"}
    assert len(stored) == 1, "a native histogram is no number"
    assert stored[0].times == (1.25, 2.5)
    np.testing.assert_equal(stored[0].values, (np.nan, 3.0))
    assert names == ["up", "vllm:x"]
    assert tenants == {"red"}
    whole = {"partial_response": "false", "deny_partial_response": "1", "nocache": "1"}
    assert asked[0] == {"query": "up", "time": "9.500", "timeout": "3s", "limit": "3", **whole}
    assert asked[2] == {"match[]": '{a="b"}', "start": "1.000", "end": "2.000", **whole}


async def test_too_many_series_are_refused_and_a_wait_that_is_asked_for_is_passed_on(serve: Serve) -> None:
    async def behave(request: web.Request) -> web.Response:
        if request.query["query"] == "busy":
            return web.Response(status=429, headers={"Retry-After": "17"})
        return web.json_response(matrix(*(({"n": str(place)}, [(0.0, "1")]) for place in range(3))))

    url = await serve(behave)
    with pytest.raises(Permanent, match="more than 2 series: many"):
        await with_history(settings(url), lambda history: history.samples("many", 0.0, most_series=2))
    with pytest.raises(Temporary) as caught:
        await with_history(settings(url), lambda history: history.samples("busy", 0.0, most_series=2))
    assert caught.value.delay_seconds == 17.0


def says(status: int, body: object) -> Behave:
    async def behave(request: web.Request) -> web.Response:
        return web.Response(status=status, text=body if isinstance(body, str) else json.dumps(body))

    return behave


@pytest.mark.parametrize(
    ("behave", "kind", "why"),
    [
        (says(400, {"status": "error", "error": "1:4: parse error"}), Permanent, "answered 400.*1:4: parse error"),
        (says(401, ""), Permanent, "answered 401"),
        (says(302, ""), Permanent, "answered 302"),
        (says(429, "slow down"), Temporary, "answered 429"),
        (says(503, {"error": "query timed out"}), Temporary, "query timed out"),
        (says(200, "<html>"), Permanent, "gave no answer"),
        (says(200, {"data": None}), Permanent, "gave no answer"),
        (says(200, {"data": {"result": [7]}}), Permanent, "gave no answer"),
        (says(200, {"data": {"result": [{"metric": {}, "values": [[1, "x"]]}]}}), Permanent, "gave no answer"),
        (says(200, "[" * 100_000), Permanent, "gave no answer"),
    ],
)
async def test_a_bad_answer_says_whether_to_ask_again(
    serve: Serve, behave: Behave, kind: type[Exception], why: str
) -> None:
    url = await serve(behave)
    with pytest.raises(kind, match=why) as caught:
        await read(url, "a", 0.0, 1.0, 1.0)
    assert url in str(caught.value)


async def test_nobody_there_is_temporary(free_port: Callable[[], int]) -> None:
    with pytest.raises(Temporary, match=r"cannot be asked: .*refused"):
        await read(f"http://127.0.0.1:{free_port()}", "a", 0.0, 1.0, 1.0)


async def test_credentials_do_not_follow_a_redirect(serve: Serve) -> None:
    seen: list[str] = []

    async def thief(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization", ""))
        return web.json_response(matrix())

    elsewhere = await serve(thief)

    async def behave(request: web.Request) -> web.Response:
        raise web.HTTPFound(f"{elsewhere}/api/v1/query_range")

    with pytest.raises(Permanent, match="302"):
        await read(await serve(behave), "a", 0.0, 1.0, 1.0, client={"basic_auth": {"username": "u", "password": "p"}})
    assert seen == []


async def test_a_compressed_answer_is_read_and_a_bomb_is_not(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    bodies = [json.dumps(matrix(({"a": "b"}, [(0.0, "7")]))).encode(), b" " * 10_000_000]

    async def behave(request: web.Request) -> web.Response:
        return web.Response(body=gzip.compress(bodies.pop(0)), headers={"Content-Encoding": "gzip"})

    url = await serve(behave)
    assert (await read(url, "a", 0.0, 0.0, 1.0)).values.tolist() == [[7.0]]
    monkeypatch.setattr(promapi, "ANSWER_BYTES", 1_000_000)
    with pytest.raises(Permanent, match="more than 1000000 bytes"):
        await read(url, "a", 0.0, 0.0, 1.0)


async def test_a_silent_server_costs_the_timeout(serve: Serve) -> None:
    async def behave(request: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    with pytest.raises(Temporary, match="timed out"):
        await read(await serve(behave), "a", 0.0, 1.0, 1.0, timeout="200ms")


async def test_the_loop_goes_on_while_a_dripping_server_is_left_behind(serve: Serve) -> None:
    async def behave(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        for _ in range(50):
            await answer.write(b" ")
            await asyncio.sleep(0.1)
        return answer

    with pytest.raises(Temporary, match="no answer within"):
        await read(await serve(behave), "a", 0.0, 1.0, 1.0, deadline="200ms")


async def test_after_the_deadline_nothing_more_is_asked() -> None:
    now = [0.0]
    clock = Clock(monotonic=lambda: now[0])

    def work(history: History) -> None:
        now[0] = 61.0
        history.read("a", 0.0, 1.0, 1.0)

    with pytest.raises(Temporary, match="not done within 60 s"):
        await with_history(settings("http://127.0.0.1:1"), work, clock)


async def test_what_goes_wrong_in_the_thread_arrives() -> None:
    def work(history: History) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await with_history(settings("http://127.0.0.1:1"), work)
    secret = {"authorization": {"credentials_file": "/nowhere"}}
    with pytest.raises(Temporary, match="/nowhere"):
        await with_history(settings("http://127.0.0.1:1", client=secret), lambda history: None)


CHECK = """
import sys
import aiops.app.serve
from aiops.collect.promapi import History, PrometheusSettings
heavy = {"pandas", "requests", "prometheus_api_client"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
History(PrometheusSettings(url="http://127.0.0.1:1")).close()
assert heavy & set(sys.modules) == {"requests", "prometheus_api_client"}, heavy & set(sys.modules)
"""


def test_the_daemon_imports_the_library_only_when_asked_and_pandas_never() -> None:
    subprocess.run([sys.executable, "-c", CHECK], check=True, timeout=60)


def test_without_the_library_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_api_client", None)
    with pytest.raises(Permanent, match=r"aiops\[history\]"):
        History(settings("http://127.0.0.1:1"))


def test_matchers_quote_what_labels_hold() -> None:
    labels: Labels = (("instance", 'a"b\\c\nd'), ("job", "j"))
    assert matchers('{instance="$instance",job=~"$job|x$"}', labels) == '{instance="a\\"b\\\\c\\nd",job=~"j|x$"}'


def test_series_of_two_targets_are_never_mixed() -> None:
    ours: Labels = (("__name__", "a"), ("instance", "i"), ("job", "llm"))
    other: Labels = (("__name__", "a"), ("instance", "i"), ("job", "other"))
    third: Labels = (("__name__", "b"), ("instance", "k"), ("job", "other"))
    assert same_target([], "llm") == []
    assert same_target([other, other], "llm") == [0, 1], "another job name is fine where it is the only one"
    assert same_target([other, ours, ours], "llm") == [1, 2]
    with pytest.raises(Permanent, match="2 targets of Prometheus match"):
        same_target([other, third], "llm")


@pytest.mark.real
async def test_a_real_prometheus_gives_back_what_was_written(
    tmp_path: Path, real_program: Callable[[str], str], free_port: Callable[[], int]
) -> None:
    now = float(round(time.time()))
    times = [now - 600 + 10 * number for number in range(61)]
    past = {
        'tokens_total{instance="i",job="j"}': [(at, float(number)) for number, at in enumerate(times)],
        'share{instance="i",job="j"}': [(at, float("nan") if number % 2 else 0.1) for number, at in enumerate(times)],
        'limit{instance="i",job="j"}': [(at, float("inf")) for at in times[:30]],
    }
    programs = {"prometheus": real_program("prometheus"), "promtool": real_program("promtool")}
    async with prometheus_with(past, tmp_path, port=free_port(), **programs) as url:
        found = await read(url, '{instance="i"}', times[0], times[-1], 10.0, most_points=25)
        rows = {dict(labels)["__name__"]: row for labels, row in zip(found.labels, found.values, strict=True)}
        assert rows["tokens_total"].tolist() == list(range(61))
        assert np.array_equal(np.isnan(rows["share"]), [number % 2 == 1 for number in range(61)])
        assert np.isinf(rows["limit"][:30]).all()
        stamps = await read(url, 'timestamp(tokens_total{instance="i"})', times[0], times[-1], 3.0)
        assert sorted(set(stamps.values[0].tolist())) == times
        with pytest.raises(Permanent, match="parse error"):
            await read(url, "a b c", 0.0, 1.0, 1.0)
        with pytest.raises(Permanent, match="11,000 points"):
            await read(url, "a", 0.0, 20_000.0, 1.0, most_points=20_000)
