"""Nothing is written twice, what is lost is counted, and a receiver that is away costs nobody anything."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import TypeAdapter, ValidationError

from aiops.kit.http import open_session
from aiops.notify.remote_write import RemoteWrite, RemoteWrites, RemoteWriteSettings
from aiops.signals.telemetry import Family, FamilyKind
from tests.notify.test_write_request import WriteRequest

Answer = tuple[int, dict[str, str]]


@dataclass
class Receiver:
    """Takes writes, or says what it was told to say."""

    url: str = ""
    answers: list[Answer] = field(default_factory=list)
    heard: list[Mapping[str, str]] = field(default_factory=list)
    samples: list[tuple[dict[str, str], float, int]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.Response:
        import cramjam

        self.heard.append(request.headers)
        self.arrived.set()
        await self.gate.wait()
        body = bytes(cramjam.snappy.decompress_raw(await request.read()))
        status, headers = self.answers.pop(0) if self.answers else (204, {})
        if status == 204:
            for one in WriteRequest.FromString(body).timeseries:
                labels = {label.name: label.value for label in one.labels}
                self.samples += [(labels, sample.value, sample.timestamp) for sample in one.samples]
        return web.Response(status=status, headers=headers, text=None if status == 204 else "out of order\x1b sample")


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    one = Receiver()
    one.gate.set()
    application = web.Application()
    application.router.add_post("/api/v1/write", one.handle)
    server = TestServer(application)
    await server.start_server(shutdown_timeout=0.1)
    one.url = str(server.make_url("/api/v1/write"))
    yield one
    await server.close()


class NoWait(random.Random):
    """Makes every wait that nobody asked for the shortest one."""

    def uniform(self, a: float, b: float) -> float:
        return 0.0


Start = Callable[..., Awaitable[RemoteWrite]]


@pytest_asyncio.fixture
async def start() -> AsyncIterator[Start]:
    tasks: list[asyncio.Task[None]] = []
    session = open_session()

    async def begin(url: str, *, running: bool = True, **settings: Any) -> RemoteWrite:
        given = RemoteWriteSettings.model_validate({"url": url, **settings})
        writer = RemoteWrite(given, session, rng=NoWait())
        if running:
            tasks.append(asyncio.create_task(writer.run()))
        return writer

    yield begin
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    await session.close()


def score(*rows: tuple[str, float]) -> list[Family]:
    samples = [({"instance": name, "stat": ""}, value) for name, value in rows]
    return [Family("aiops_anomaly_score", FamilyKind.GAUGE, "", samples)]


async def delivered(writer: RemoteWrite) -> None:
    async with asyncio.timeout(10):
        while writer.waiting_samples:  # noqa: ASYNC110 - it has no event for it
            await asyncio.sleep(0.005)


async def test_samples_arrive_once_under_the_names_of_the_page(receiver: Receiver, start: Start) -> None:
    token = {"authorization": {"credentials": "canary"}}
    labels = {"cluster": "x", "instance": "never"}
    writer = await start(receiver.url, client=token, external_labels=labels, headers={"X-Scope-OrgID": "red"})
    total = Family("aiops_signal_thing", FamilyKind.COUNTER, "", [({}, 7.0)])
    await writer.take(1000.0, [*score(("a", 0.5)), total])
    await writer.take(1000.0, score(("a", 0.7)))
    await delivered(writer)
    assert receiver.samples == [
        ({"__name__": "aiops_anomaly_score", "cluster": "x", "instance": "a"}, 0.5, 1_000_000),
        ({"__name__": "aiops_signal_thing_total", "cluster": "x", "instance": "never"}, 7.0, 1_000_000),
    ]
    headers = receiver.heard[0]
    assert headers["X-Prometheus-Remote-Write-Version"] == "0.1.0"
    assert headers["Content-Encoding"] == "snappy"
    assert headers["Content-Type"] == "application/x-protobuf"
    assert headers["Authorization"] == "Bearer canary"
    assert headers["X-Scope-OrgID"] == "red"
    assert (writer.counts.sent, writer.counts.sent_until) == (2, 1000.0)


async def test_a_series_that_is_gone_ends_once(receiver: Receiver, start: Start) -> None:
    writer = await start(receiver.url)
    await writer.take(1.0, score(("a", 1.0), ("b", 2.0)))
    await writer.take(2.0, score(("a", 1.0)))
    await writer.take(3.0, score(("a", 1.0)))
    await delivered(writer)
    of_b = [(value, at) for labels, value, at in receiver.samples if labels["instance"] == "b"]
    assert [at for _, at in of_b] == [1000, 2000]
    assert of_b[1][0] != of_b[1][0]


async def test_a_large_tick_is_cut_and_stays_in_order(receiver: Receiver, start: Start) -> None:
    writer = await start(receiver.url, max_samples=3)
    for at in (1.0, 2.0):
        await writer.take(at, score(*((str(place), at) for place in range(7))))
    await delivered(writer)
    assert len(receiver.heard) == 6
    assert [at for *_, at in receiver.samples] == [1000] * 7 + [2000] * 7


@pytest.mark.parametrize("status", [500, 503, 429, 408])
async def test_a_request_that_failed_for_now_is_repeated(receiver: Receiver, start: Start, status: int) -> None:
    receiver.answers = [(status, {}), (status, {})]
    writer = await start(receiver.url)
    await writer.take(1.0, score(("a", 1.0)))
    await writer.take(2.0, score(("a", 2.0)))
    await delivered(writer)
    assert [at for *_, at in receiver.samples] == [1000, 2000]
    assert (writer.counts.retries, writer.counts.refused, writer.counts.sent) == (2, 0, 2)


async def test_the_wait_that_is_asked_for_is_kept(
    receiver: Receiver, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    sleep = asyncio.sleep

    async def short(seconds: float) -> None:
        waits.append(seconds)
        await sleep(0.0 if seconds > 1 else seconds)

    receiver.answers = [(429, {"Retry-After": "77"})]
    monkeypatch.setattr("aiops.notify.remote_write.asyncio.sleep", short)
    writer = await start(receiver.url)
    await writer.take(1.0, score(("a", 1.0)))
    await delivered(writer)
    assert 77.0 in waits


@pytest.mark.parametrize("status", [400, 401, 404, 413])
async def test_what_is_refused_for_good_is_counted_and_the_next_goes_on(
    receiver: Receiver, start: Start, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers = [(status, {})]
    writer = await start(receiver.url, name="store")
    await writer.take(1.0, score(("a", 1.0), ("b", 1.0)))
    await writer.take(2.0, score(("a", 2.0)))
    await delivered(writer)
    assert (writer.counts.refused, writer.counts.retries) == (2, 0)
    assert writer.counts.sent == 2, "a new value, and an end"
    assert {at for *_, at in receiver.samples} == {2000}
    facts = caplog.records[0].__dict__
    assert "out of order\\u001b sample" in facts["fault"]
    assert facts["subject"] == "store"


async def test_an_outage_costs_a_known_amount(receiver: Receiver, start: Start, free_port: Callable[[], int]) -> None:
    away = await start(f"http://127.0.0.1:{free_port()}/api/v1/write", running=False, queue="64KiB")
    taken = 0
    for at in range(1, 400):
        rows = [(random.Random(at * 1000 + place).randbytes(60).hex(), 1.0) for place in range(10)]
        await away.take(float(at), score(*rows))
        taken += 10 if at == 1 else 20  # and the ten of before end
    assert away.counts.dropped > 0
    assert away.waiting_samples + away.counts.dropped == taken
    assert sum(len(batch.body) for batch in away._queue) <= 64 * 1024
    assert away._queue[-1].at == 399.0, "the oldest went"
    await away.flush(5.0)
    assert (away.counts.dropped, away.waiting_samples, away.counts.sent) == (taken, 0, 0)


async def test_at_the_end_what_waits_is_delivered(receiver: Receiver, start: Start) -> None:
    writer = await start(receiver.url, running=False)
    for at in (1.0, 2.0):
        await writer.take(at, score(("a", at)))
    await writer.flush(5.0)
    assert [at for *_, at in receiver.samples] == [1000, 2000]
    assert (writer.counts.sent, writer.counts.dropped) == (2, 0)


async def test_a_cancelled_request_is_not_forgotten(receiver: Receiver, start: Start) -> None:
    receiver.gate.clear()
    writer = await start(receiver.url, running=False)
    await writer.take(1.0, score(("a", 1.0)))
    task = asyncio.create_task(writer.run())
    await asyncio.wait_for(receiver.arrived.wait(), 5)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert writer.waiting_samples == 1
    receiver.gate.set()
    await writer.flush(5.0)
    assert writer.counts.sent == 1


def test_settings_that_cannot_work_are_refused() -> None:
    for wrong in (
        {"url": "prometheus:9090"},
        {"url": "http://me:secret@host/api/v1/write"},
        {"url": "http://h/w", "headers": {"Authorization": "x"}},
        {"url": "http://h/w", "external_labels": {"a-b": "c"}},
        {"url": "http://h/w", "write": ["scores"]},
    ):
        with pytest.raises(ValidationError) as caught:
            RemoteWriteSettings.model_validate(wrong)
        assert "secret" not in str(caught.value.errors(include_input=False))
    twice = [{"url": "http://h/w"}, {"url": "http://g/w", "name": "http://h/w"}]
    with pytest.raises(ValidationError, match="used twice: http://h/w"):
        TypeAdapter(RemoteWrites).validate_python(twice)
    assert RemoteWriteSettings(url="http://h/w").title == "http://h/w"
