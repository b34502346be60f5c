"""Incidents as JSON, signed when a key is set."""

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from aiops.detect.base import Severity
from aiops.incidents.alert import Incident
from aiops.kit.http import HttpClient, open_session
from aiops.kit.retry import Permanent, Temporary
from aiops.notify.notice import IncidentNotice, Letterhead, fingerprint, incident_notice_of
from aiops.notify.settings import WebhookSettings
from aiops.notify.webhook import Webhook
from tests.notify.alerts import START, alert_of


@dataclass
class Receiver:
    url: str = ""
    status: int = 200
    got: list[tuple[str, bytes]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        self.got.append((request.headers.get("X-Aiops-Signature", ""), await request.read()))
        return web.Response(status=self.status)


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver, app = Receiver(), web.Application()
    app.router.add_post("/token-1234/hook", receiver.handle)
    async with TestServer(app) as server:
        receiver.url = str(server.make_url("/token-1234/hook"))
        yield receiver


async def send(item: IncidentNotice, **settings: str) -> None:
    hook = WebhookSettings.model_validate(settings)
    async with open_session() as session:
        await Webhook(hook, HttpClient(hook.client, session)).send([item])


@pytest.fixture
def item() -> IncidentNotice:
    alert = alert_of()
    incident = Incident("abc", "Queue grows", Severity.WARNING, START, START + 5, 0.0, (alert.key,))
    return incident_notice_of(incident, {alert.key: alert}, Letterhead(external_url="http://aiops:9600"))


async def test_url_and_key_may_stand_in_files_that_are_rotated(
    receiver: Receiver, item: IncidentNotice, tmp_path: Path
) -> None:
    url, key = tmp_path / "url", tmp_path / "key"
    url.write_text("http://127.0.0.1:1/gone\n")
    key.write_text("K3Y-5f2a\n")  # what is registered as secret is redacted in every later message
    with pytest.raises(Temporary) as refused:
        await send(item, url_file=str(url), signing_key_file=str(key), name="chat")
    assert "gone" not in str(refused.value)
    url.write_text(receiver.url + "\n")
    await send(item, url_file=str(url), signing_key_file=str(key), name="chat")
    ((signature, body),) = receiver.got
    assert signature == "sha256=" + hmac.new(b"K3Y-5f2a", body, hashlib.sha256).hexdigest()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "exactly one of url and url_file"),
        ({"url": "https://a/", "url_file": "f"}, "exactly one of url and url_file"),
        ({"url_file": "f"}, "name is missing"),
        ({"url": "https://a/", "signing_key": "k", "signing_key_file": "f"}, "at most one of signing_key"),
    ],
)
def test_a_webhook_needs_one_url_and_a_name(settings: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        WebhookSettings.model_validate(settings)


async def test_an_incident_is_one_signed_document(receiver: Receiver, item: IncidentNotice) -> None:
    await send(item, url=receiver.url, signing_key="secret")
    ((signature, body),) = receiver.got
    assert signature == "sha256=" + hmac.new(b"secret", body, hashlib.sha256).hexdigest()
    document = json.loads(body)
    assert document["status"] == "firing"
    assert document["incident"] == {
        "id": "abc",
        "title": "Queue grows",
        "severity": "warning",
        "startsAt": "2023-11-14T22:13:20.000Z",
        "updatedAt": "2023-11-14T22:13:25.000Z",
        "url": "http://aiops:9600/incidents/abc",
    }
    assert document["alerts"][0]["labels"]["instance"] == "a:8000"
    assert document["alerts"][0]["status"] == "firing"
    assert document["alerts"][0]["fingerprint"] == fingerprint(item.alerts[0].labels)
    assert "endsAt" not in document["alerts"][0]


async def test_an_ended_incident_says_when(receiver: Receiver, item: IncidentNotice) -> None:
    await send(replace(item, incident=replace(item.incident, ended_at=START + 60)), url=receiver.url)
    ((signature, body),) = receiver.got
    document = json.loads(body)
    assert (document["status"], document["incident"]["endsAt"]) == ("resolved", "2023-11-14T22:14:20.000Z")
    assert signature == ""


@pytest.mark.parametrize(("status", "error"), [(503, Temporary), (404, Permanent)])
async def test_failures_are_told_apart_and_keep_the_url_secret(
    receiver: Receiver, item: IncidentNotice, status: int, error: type[Exception]
) -> None:
    receiver.status = status
    with pytest.raises(error, match=str(status)) as caught:
        await send(item, url=receiver.url)
    assert "token-1234" not in str(caught.value)
