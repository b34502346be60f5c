"""What goes over the wire to an Alertmanager, and what each of its answers means."""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from aiops.incidents.alert import AlertState
from aiops.kit.clock import Clock
from aiops.kit.http import HttpClient, open_session
from aiops.kit.http_settings import AuthorizationSettings, BasicAuthSettings, HttpClientSettings
from aiops.kit.retry import Permanent, Temporary
from aiops.notify.alertmanager import Alertmanager
from aiops.notify.dispatch import dispatcher_of
from aiops.notify.notice import Letterhead, Notice, notice_of
from aiops.notify.settings import AlertmanagerSettings, NotifySettings
from tests.notify.alerts import START, alert_of

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def fine(request: web.Request) -> web.StreamResponse:
    return web.Response()


async def hang(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(60)
    return web.Response()


async def hang_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def status(code: int, body: str = "", **headers: str) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=code, text=body, headers=headers)

    return answer


@dataclass
class FakeAlertmanager:
    """Notes every request and answers as told."""

    answer: Answer = fine
    url: str = ""
    posts: list[list[dict[str, Any]]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.headers.append(dict(request.headers))
        self.posts.append(await request.json())
        return await self.answer(request)


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[FakeAlertmanager]:
    fake = FakeAlertmanager()
    app = web.Application()
    app.router.add_post("/prefix/api/v2/alerts", fake.handle)
    async with TestServer(app, skip_url_asserts=True) as server:
        fake.url = str(server.make_url("/prefix"))
        yield fake


@pytest_asyncio.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with open_session() as opened:
        yield opened


@dataclass
class HandClock:
    """Wall and monotonic time, set by hand."""

    wall: float = START
    steady: float = 50.0

    @property
    def clock(self) -> Clock:
        return Clock(now=lambda: self.wall, monotonic=lambda: self.steady)


def sender_to(
    url: str, session: ClientSession, clock: Clock, timeout: float = 5.0, client: HttpClientSettings | None = None
) -> Alertmanager:
    settings = AlertmanagerSettings(url=url, timeout=timeout, client=client or HttpClientSettings())
    return Alertmanager(settings, HttpClient(settings.client, session), valid_seconds=240.0, clock=clock)


def dated(seconds: float) -> Answer:
    """Answer with a clock of its own."""
    return status(200, Date=formatdate(seconds, usegmt=True))


async def test_a_batch_is_one_array_with_an_end_four_resends_ahead(
    receiver: FakeAlertmanager, session: ClientSession
) -> None:
    receiver.answer = dated(START)
    firing = notice_of(alert_of(started_at=START - 30), Letterhead(external_url="http://aiops:9600"))
    resolved = notice_of(alert_of("b:8000", AlertState.RESOLVED, START - 90, START - 1), Letterhead())
    await sender_to(receiver.url, session, HandClock().clock).send([firing, resolved])
    ((first, second),) = receiver.posts
    assert set(first) == {"labels", "annotations", "startsAt", "endsAt", "generatorURL"}
    assert first["labels"]["alertname"] == "QueueGrows"
    assert (first["startsAt"], first["endsAt"]) == ("2023-11-14T22:12:50.000Z", "2023-11-14T22:17:20.000Z")
    assert (second["startsAt"], second["endsAt"]) == ("2023-11-14T22:11:50.000Z", "2023-11-14T22:13:19.000Z")
    assert "generatorURL" not in second
    assert receiver.headers[0]["Content-Type"] == "application/json"


@pytest.mark.parametrize("code", [200, 202, 204])
async def test_any_2xx_is_delivery(receiver: FakeAlertmanager, session: ClientSession, code: int) -> None:
    receiver.answer = status(code)
    await sender_to(receiver.url, session, Clock()).send([notice_of(alert_of(), Letterhead())])
    assert len(receiver.posts) == 1


@pytest.mark.parametrize("answer", [status(500), status(503), status(429), hang, hang_up])
async def test_what_may_pass_is_temporary(receiver: FakeAlertmanager, session: ClientSession, answer: Answer) -> None:
    receiver.answer = answer
    with pytest.raises(Temporary):
        await sender_to(receiver.url, session, Clock(), timeout=0.3).send([notice_of(alert_of(), Letterhead())])
    assert len(receiver.posts) == 1


async def test_a_closed_port_is_temporary(session: ClientSession, free_port: Callable[[], int]) -> None:
    sender = sender_to(f"http://127.0.0.1:{free_port()}", session, Clock())
    with pytest.raises(Temporary, match="cannot be asked"):
        await sender.send([notice_of(alert_of(), Letterhead())])


@pytest.mark.parametrize("code", [301, 401, 404, 413])
async def test_what_will_not_pass_is_permanent(receiver: FakeAlertmanager, session: ClientSession, code: int) -> None:
    receiver.answer = status(code, Location="http://127.0.0.1:1/")
    with pytest.raises(Permanent, match=str(code)):
        await sender_to(receiver.url, session, Clock()).send([notice_of(alert_of(), Letterhead())])


async def test_a_400_is_never_sent_again_and_quoted_harmlessly(
    receiver: FakeAlertmanager, session: ClientSession
) -> None:
    receiver.answer = status(400, json.dumps('invalid label set: invalid name "x"') + "\nforged log line")
    with pytest.raises(Permanent) as caught:
        await sender_to(receiver.url, session, Clock()).send([notice_of(alert_of(), Letterhead())])
    assert "invalid label set" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(receiver.posts) == 1


async def test_credentials_are_sent_and_never_shown(receiver: FakeAlertmanager, session: ClientSession) -> None:
    notice = notice_of(alert_of(), Letterhead())
    basic = HttpClientSettings(basic_auth=BasicAuthSettings.model_validate({"username": "u", "password": "p"}))
    bearer = HttpClientSettings(authorization=AuthorizationSettings.model_validate({"credentials": "token"}))
    for client in (basic, bearer):
        await sender_to(receiver.url, session, Clock(), client=client).send([notice])
    assert [headers["Authorization"] for headers in receiver.headers] == ["Basic dTpw", "Bearer token"]
    with_password = sender_to(receiver.url.replace("http://", "http://u:hunter2@"), session, Clock())
    assert with_password.name == receiver.url
    receiver.answer = status(500)
    with pytest.raises(Temporary) as caught:
        await with_password.send([notice])
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
async def test_our_clock_may_jump_without_ending_or_holding_an_alert(
    receiver: FakeAlertmanager, session: ClientSession, jump: float
) -> None:
    hand = HandClock()
    receiver.answer = dated(START)
    sender = sender_to(receiver.url, session, hand.clock)
    firing = notice_of(alert_of(started_at=START), Letterhead())
    await sender.send([firing])
    hand.wall += jump + 60
    hand.steady += 60
    receiver.answer = dated(START + 60)
    await sender.send([firing])
    hand.wall += 60
    hand.steady += 60
    receiver.answer = dated(START + 120)
    await sender.send([notice_of(alert_of(state=AlertState.RESOLVED, ended_at=hand.wall), Letterhead())])
    ends = [record["endsAt"] for (record,) in receiver.posts]
    assert ends[0] == "2023-11-14T22:17:20.000Z"
    assert ends[1] >= "2023-11-14T22:18:20.000Z", "it still fires by the receiver's clock"
    assert ends[2] <= "2023-11-14T22:15:20.000Z", "it is over by the receiver's clock"
    assert all(record["startsAt"] <= record["endsAt"] for (record,) in receiver.posts)
    assert sender.warning() == f"its clock is 60 min {'ahead of' if jump < 0 else 'behind'} ours"


async def test_an_alert_from_before_a_jump_back_does_not_start_after_its_end(
    receiver: FakeAlertmanager, session: ClientSession
) -> None:
    receiver.answer = dated(START)
    sender = sender_to(receiver.url, session, HandClock().clock)
    await sender.send([notice_of(alert_of(started_at=START + 3600), Letterhead())])
    ((record,),) = receiver.posts
    assert (record["startsAt"], record["endsAt"]) == ("2023-11-14T22:13:20.000Z", "2023-11-14T22:17:20.000Z")


async def test_a_receiver_whose_clock_is_ahead_gets_the_batch_again_at_once(
    receiver: FakeAlertmanager, session: ClientSession
) -> None:
    receiver.answer = dated(START + 3600)
    sender = sender_to(receiver.url, session, HandClock().clock)
    firing = notice_of(alert_of(started_at=START), Letterhead())
    await sender.send([firing])
    assert [record["endsAt"] for (record,) in receiver.posts] == [
        "2023-11-14T22:17:20.000Z",
        "2023-11-14T23:17:20.000Z",
    ]
    await sender.send([firing])
    assert len(receiver.posts) == 3, "now its clock is known"


@pytest.mark.parametrize("date", ["", "yesterday", "Mon, 01 Jan 9999 00:00:00 GMT", "Tue, 99 Nov 2023 25:00:00 GMT"])
async def test_a_nonsense_date_is_not_believed(receiver: FakeAlertmanager, session: ClientSession, date: str) -> None:
    receiver.answer = status(200, Date=date)
    sender = sender_to(receiver.url, session, HandClock().clock)
    await sender.send([notice_of(alert_of(), Letterhead())])
    assert sender.warning() == ""
    assert len(receiver.posts) == 1


async def test_the_dispatcher_leaves_an_invalid_alert_out_and_tells_every_peer(
    receiver: FakeAlertmanager, session: ClientSession, free_port: Callable[[], int]
) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    peers = (AlertmanagerSettings(url=dead), AlertmanagerSettings(url=receiver.url))
    settings = NotifySettings(alertmanagers=peers, drain_timeout=0.5)
    dispatcher = dispatcher_of(settings, session, interval_seconds=5.0)
    alerts = {alert.key: alert for alert in (alert_of(), alert_of("b\udcff:1"), alert_of("c:1"))}
    dispatcher.submit(alerts)
    dispatcher.start()
    await dispatcher.stop()
    assert sorted(record["labels"]["instance"] for record in receiver.posts[0]) == ["a:8000", "c:1"]
    down, up = dispatcher.status()
    assert (up.sent, up.invalid, up.healthy) == (2, 1, True)
    assert "instance" in up.last_invalid
    assert (down.sent, down.dropped, down.healthy) == (0, 2, False)
    assert dead in down.error
    assert not math.isnan(up.latency_seconds)


async def test_a_thousand_alerts_go_in_batches_of_256(receiver: FakeAlertmanager, session: ClientSession) -> None:
    settings = NotifySettings(alertmanagers=(AlertmanagerSettings(url=receiver.url),))
    dispatcher = dispatcher_of(settings, session, interval_seconds=5.0)
    dispatcher.submit({alert.key: alert for alert in (alert_of(f"i{i}:1") for i in range(1000))})
    dispatcher.start()
    await dispatcher.stop()
    assert [len(post) for post in receiver.posts] == [256, 256, 256, 232]


def test_a_notice_knows_its_status() -> None:
    notices: list[Notice] = [notice_of(alert_of(state=state), Letterhead()) for state in AlertState]
    assert [notice.status for notice in notices] == ["resolved", "resolved", "firing", "firing", "resolved"]
