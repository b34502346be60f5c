"""What each service gets over the wire, and what each of its answers means."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from aiops.detect.base import AlertKey, Severity
from aiops.incidents.alert import Incident
from aiops.kit.clock import Clock
from aiops.kit.http import HttpClient, open_session
from aiops.kit.retry import Failure, Permanent, Temporary
from aiops.notify.chat import FORMS, PAGERDUTY_URL, Chat
from aiops.notify.notice import IncidentNotice
from aiops.notify.settings import ReceiverKind, ReceiverSettings
from aiops.signals.types import Entity, EntityKind, SeriesKey

NOW = 1_700_000_000.25
HOSTILE = "<!channel> @all [click](http://evil) <script>x</script> & *b*"
TOKEN = "t0ken-that-is-secret"
KEY = AlertKey("QueueGrows", SeriesKey(Entity.of(EntityKind.REPLICA, job="vllm", instance="a:8000"), "queue_len"))
OPEN = IncidentNotice(
    Incident("abc123", HOSTILE, Severity.CRITICAL, NOW, NOW, 0.0, (KEY,)),
    (),
    "http://aiops:9797/incidents/abc123",
    f"What: {HOSTILE}\nCause: slow GPU",
)
OVER = replace(OPEN, incident=replace(OPEN.incident, ended_at=NOW + 60.0))
SPOKEN = tuple(FORMS)


@dataclass
class Service:
    """Notes what arrives and answers as told."""

    url: str = ""
    status: int = 200
    body: str = "ok"
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False
    got: list[tuple[dict[str, str], Any]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        self.got.append((dict(request.query), await request.json()))
        if self.hang:
            await asyncio.sleep(60)
        return web.Response(status=self.status, text=self.body, headers=self.headers)


@pytest_asyncio.fixture
async def service() -> AsyncIterator[Service]:
    there, app = Service(), web.Application()
    app.router.add_post("/hook/{token}", there.handle)
    async with TestServer(app) as server:
        there.url = str(server.make_url(f"/hook/{TOKEN}"))
        yield there


def settings(kind: ReceiverKind, url: str, **more: object) -> ReceiverSettings:
    section = {"name": "ops", "kind": kind, "url": url, "timeout": 0.3, **more}
    if kind is ReceiverKind.PAGERDUTY:
        section.setdefault("secret", "routing-key")
    return ReceiverSettings.model_validate(section)


async def send(section: ReceiverSettings, item: IncidentNotice = OPEN) -> None:
    async with open_session() as session:
        await Chat(section, HttpClient(section.client, session), Clock(now=lambda: NOW)).send([item])


async def test_slack_gets_blocks_in_which_nothing_is_a_command(service: Service) -> None:
    await send(settings(ReceiverKind.SLACK, service.url))
    (_, body) = service.got[0]
    header, section = body["blocks"]
    assert header["text"] == {"type": "plain_text", "text": f"[CRITICAL] {HOSTILE}"}
    assert section["text"]["type"] == "mrkdwn"
    assert "&lt;!channel&gt;" in section["text"]["text"]
    assert "<!channel>" not in body["text"] + section["text"]["text"]
    assert section["text"]["text"].endswith("<http://aiops:9797/incidents/abc123|Details>")


async def test_teams_gets_a_card_of_plain_text(service: Service) -> None:
    service.status, service.body = 202, ""
    await send(settings(ReceiverKind.TEAMS, service.url))
    (attachment,) = service.got[0][1]["attachments"]
    card = attachment["content"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert {part["type"] for part in card["body"]} == {"RichTextBlock"}, "a TextBlock would read Markdown"
    assert card["body"][0]["inlines"][0]["text"] == f"[CRITICAL] {HOSTILE}"
    assert card["actions"] == [{"type": "Action.OpenUrl", "title": "Details", "url": OPEN.url}]
    assert "fallback" not in json.dumps(card)


async def test_pagerduty_opens_and_resolves_one_incident(service: Service) -> None:
    service.status, service.body = 202, '{"status": "success", "dedup_key": "x"}'
    for item in (OPEN, OVER):
        await send(settings(ReceiverKind.PAGERDUTY, service.url), item)
    first, second = (body for _, body in service.got)
    assert (first["event_action"], second["event_action"]) == ("trigger", "resolve")
    assert first["dedup_key"] == second["dedup_key"] == "aiops-abc123"
    assert first["routing_key"] == "routing-key"
    assert first["payload"]["severity"] == "critical"
    assert first["payload"]["source"] == str(KEY.series.entity)
    section = ReceiverSettings(name="pd", kind=ReceiverKind.PAGERDUTY, secret="k")  # type: ignore[arg-type]
    assert section.url is None
    assert PAGERDUTY_URL.startswith("https://events.pagerduty.com/")


async def test_wecom_gets_plain_text_within_its_bytes(service: Service) -> None:
    service.body = '{"errcode": 0, "errmsg": "ok"}'
    await send(settings(ReceiverKind.WECOM, f"{service.url}?key=k1"), replace(OPEN, summary="队列很长。" * 1000))
    query, body = service.got[0]
    assert query == {"key": "k1"}
    assert body["msgtype"] == "text"
    assert len(body["text"]["content"].encode()) <= 2048
    assert "mentioned_list" not in body["text"]


async def test_dingtalk_is_signed_when_it_has_a_secret(service: Service) -> None:
    service.body = '{"errcode": 0, "errmsg": "ok"}'
    await send(settings(ReceiverKind.DINGTALK, f"{service.url}?access_token=t", secret="SEC1"))
    await send(settings(ReceiverKind.DINGTALK, f"{service.url}?access_token=t"))
    (signed, body), (plain, _) = service.got
    stamp = "1700000000250"
    digest = hmac.new(b"SEC1", f"{stamp}\nSEC1".encode(), hashlib.sha256).digest()
    assert signed == {"access_token": "t", "timestamp": stamp, "sign": base64.b64encode(digest).decode()}
    assert plain == {"access_token": "t"}
    assert body["text"]["content"].startswith(f"[CRITICAL] {HOSTILE}\nWhat:")
    assert "at" not in body


async def test_feishu_is_signed_when_it_has_a_secret(service: Service) -> None:
    service.body = '{"code": 0, "msg": "success"}'
    await send(settings(ReceiverKind.FEISHU, service.url, secret="S"))
    (_, body) = service.got[0]
    digest = hmac.new(b"1700000000\nS", b"", hashlib.sha256).digest()
    assert (body["timestamp"], body["sign"]) == ("1700000000", base64.b64encode(digest).decode())
    post = body["content"]["post"]["en_us"]
    assert post["title"] == f"[CRITICAL] {HOSTILE}"
    assert [part["tag"] for line in post["content"] for part in line] == ["text", "a"]


@pytest.mark.parametrize("kind", SPOKEN)
async def test_the_end_is_told_as_an_end(service: Service, kind: ReceiverKind) -> None:
    service.body = "{}"
    await send(settings(kind, service.url), OVER)
    text = json.dumps(service.got[0][1])
    assert "resolve" in text.lower()
    assert "CRITICAL" not in text


@pytest.mark.parametrize("kind", SPOKEN)
@pytest.mark.parametrize(
    ("status", "failure"),
    [(400, Permanent), (403, Permanent), (404, Permanent), (410, Permanent), (302, Permanent), (429, Temporary),
     (408, Temporary), (500, Temporary), (503, Temporary)],
)  # fmt: skip
async def test_failures_are_told_apart_and_name_no_secret(
    service: Service, kind: ReceiverKind, status: int, failure: type[Failure]
) -> None:
    service.status, service.headers = status, {"Retry-After": "7", "Location": "http://127.0.0.1:1/"}
    with pytest.raises(failure) as raised:
        await send(settings(kind, service.url))
    assert TOKEN not in str(raised.value)
    assert "ops" in str(raised.value)
    if isinstance(raised.value, Temporary):
        assert raised.value.delay_seconds == 7.0


@pytest.mark.parametrize(
    ("kind", "body", "failure"),
    [
        (ReceiverKind.WECOM, '{"errcode": 93000, "errmsg": "invalid webhook url"}', Permanent),
        (ReceiverKind.WECOM, '{"errcode": 45009, "errmsg": "api freq out of limit"}', Temporary),
        (ReceiverKind.WECOM, '{"errcode": -1, "errmsg": "system busy"}', Temporary),
        (ReceiverKind.DINGTALK, '{"errcode": 310000, "errmsg": "sign not match"}', Permanent),
        (ReceiverKind.DINGTALK, '{"errcode": 130101, "errmsg": "send too fast"}', Temporary),
        (ReceiverKind.FEISHU, '{"code": 19021, "msg": "sign match fail"}', Permanent),
        (ReceiverKind.FEISHU, '{"code": 11232, "msg": "frequency limited"}', Temporary),
    ],
)
async def test_a_no_inside_an_answer_of_200_is_heard(
    service: Service, kind: ReceiverKind, body: str, failure: type[Failure]
) -> None:
    service.body = body
    with pytest.raises(failure) as raised:
        await send(settings(kind, service.url))
    assert TOKEN not in str(raised.value)


async def test_a_service_that_hangs_or_is_gone_is_temporary(service: Service) -> None:
    service.hang = True
    with pytest.raises(Temporary, match="ops gave no whole answer"):
        await send(settings(ReceiverKind.SLACK, service.url))
    with pytest.raises(Temporary) as raised:
        await send(settings(ReceiverKind.SLACK, f"http://127.0.0.1:1/{TOKEN}"))
    assert TOKEN not in str(raised.value)


async def test_url_and_secret_are_read_from_files_at_every_use(service: Service, tmp_path: Path) -> None:
    url, secret = tmp_path / "url", tmp_path / "secret"
    url.write_text(service.url)
    section = ReceiverSettings(name="d", kind=ReceiverKind.DINGTALK, url_file=url, secret_file=secret)
    with pytest.raises(Temporary, match="secret file"):
        await send(section)
    for text in ("S1", "S2"):
        secret.write_text(text)
        await send(section)
    assert len({query["sign"] for query, _ in service.got}) == 2
    assert TOKEN not in repr(section) + section.model_dump_json()


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"name": "a", "kind": "slack"}, "exactly one of url and url_file"),
        ({"name": "a", "kind": "pagerduty"}, "exactly one of secret and secret_file"),
        ({"name": "", "kind": "slack", "url": "http://x"}, "name"),
        ({"name": "a", "kind": "smoke", "url": "http://x"}, "kind"),
        ({"name": "a", "kind": "slack", "url": "http://x", "per_minute": 0}, "per_minute"),
    ],
)
def test_what_could_not_work_is_refused(section: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ReceiverSettings.model_validate(section)
