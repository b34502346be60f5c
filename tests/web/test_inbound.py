"""Payloads of a real Alertmanager, and of everybody else: the right status, and nothing lost that was accepted."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from aiops.incidents.external import Told
from aiops.web import inbound
from aiops.web.server import build
from aiops.web.settings import Role, TokenSettings, WebSettings
from aiops.web.source import Refused

Record = Mapping[str, Any]
PATH = "/api/v1/alertmanager"
TOKEN = "feedback-token-0123456789"
JSON = {"Content-Type": "application/json"}


class House:
    """Takes what it is told, while there is room."""

    def __init__(self) -> None:
        self.kept: list[Told] = []
        self.full = False

    def families(self) -> list[Any]:
        return []

    async def told(self, told: Sequence[Told]) -> Record:
        if self.full:
            raise Refused(503, "no room")
        self.kept += told
        return {"accepted": len(told)}


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
async def client(house: House) -> AsyncIterator[TestClient]:
    async with TestClient(TestServer(build(house, WebSettings()))) as client:  # type: ignore[arg-type]
        yield client


def alert(**changes: object) -> dict[str, object]:
    return {
        "status": "firing",
        "labels": {"alertname": "NodeDown", "instance": "a:9100"},
        "annotations": {"summary": "down"},
        "startsAt": "2026-11-22T03:16:47.091Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://169.254.169.254/latest/meta-data",
        "fingerprint": "01b6a33fdd0d512f",
        **changes,
    }


def payload(*alerts: object, **changes: object) -> bytes:
    whole = {"version": "4", "groupKey": "{}:{}", "status": "firing", "alerts": list(alerts), **changes}
    return json.dumps(whole).encode()


async def post(client: TestClient, body: bytes, **headers: str) -> tuple[int, Any]:
    answer = await client.post(PATH, data=BytesIO(body), headers={**JSON, **headers})
    return answer.status, await answer.json()


async def test_recorded_payloads_are_taken(client: TestClient, house: House, captures: Path) -> None:
    recorded = [json.loads(path.read_text()) for path in sorted((captures / "alertmanager").glob("webhook-*.json"))]
    assert len(recorded) == 5
    for one in recorded:
        status, body = await post(client, json.dumps(one["body"]).encode(), **{"User-Agent": "Alertmanager/0.25.0"})
        assert (status, body["data"]["refused"]) == (202, 0)
        assert body["data"]["accepted"] == len(one["body"]["alerts"])
    assert {told.firing for told in house.kept} == {True, False}
    sent = [one for each in recorded for one in each["body"]["alerts"]]
    assert [(told.fingerprint, dict(told.labels)) for told in house.kept] == [
        (one["fingerprint"], one["labels"]) for one in sent
    ]
    assert all(told.ended_at > told.started_at > 1.7e9 for told in house.kept if not told.firing)
    assert all(told.ended_at == 0.0 for told in house.kept if told.firing)


async def test_unknown_keys_of_newer_versions_are_no_error(client: TestClient, house: House) -> None:
    body = payload(alert(newer=1), notification_reason="x", routeLabels={"a": "b"})
    assert (await post(client, body))[0] == 202
    assert len(house.kept) == 1


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (payload(alert())[:-20], 400, "JSON"),
        (b"", 400, "JSON"),
        (b"null", 400, "version 4"),
        (b"[" * 100_000, 400, "version 4"),
        (b"\xff\xfe", 400, "version 4"),
        (payload(version="3"), 400, "version"),
        (payload(alerts={}), 400, "alerts"),
        (payload(groupKey=5), 400, "groupKey"),
        (payload(7), 400, "alerts.0"),
        (payload(alert(labels=["a"])), 400, "labels"),
        (payload(alert(labels={})), 400, "labels"),
        (payload(alert(labels={"job": "x"})), 400, "alertname is missing"),
        (payload(alert(labels={"alertname": "x" * 5000})), 400, "labels"),
        (payload(alert(labels={f"l{n}": "x" for n in range(200)})), 400, "labels"),
        (payload(alert(startsAt="yesterday")), 400, "startsAt"),
        (payload(alert(startsAt="2026-11-22T03:16:47")), 400, "startsAt"),
        (payload(alert(startsAt=float("inf"))), 400, "startsAt"),
        (payload(alert(status="maybe")), 400, "status"),
        (payload(alert(fingerprint="../../etc/passwd")), 400, "fingerprint"),
        (payload(*[alert()] * 10_000), 413, "max_alerts"),
        (payload(alert(annotations={"a": "x" * 10 * 2**20})), 413, "max_alerts"),
    ],
)
async def test_what_can_never_be_taken_is_refused_for_good(
    client: TestClient, house: House, body: bytes, status: int, said: str
) -> None:
    assert (await post(client, payload(alert())))[0] == 202
    refused, answer = await post(client, body)
    assert refused == status, answer
    assert said in answer["error"]
    assert len(answer["error"]) < 500
    assert len(house.kept) == 1, "what was accepted before is still there, and nothing else"


async def test_one_alert_that_is_none_costs_itself_alone(client: TestClient, house: House) -> None:
    good = [alert(fingerprint=f"{number:x}") for number in range(999)]
    status, body = await post(client, payload(alert(labels=5), *good))
    assert status == 202
    assert body["data"]["accepted"] == 999
    assert body["data"]["refused"] == 1
    assert body["data"]["problems"][0].startswith("alerts.0.labels")
    assert len(house.kept) == 999


async def test_a_bomb_in_gzip_stops_at_the_cap(client: TestClient, house: House) -> None:
    bomb = gzip.compress(b" " * 50 * 2**20)
    answer = await client.post(PATH, data=bomb, headers={**JSON, "Content-Encoding": "gzip"})
    assert answer.status == 413
    packed = gzip.compress(payload(alert()))
    assert (await client.post(PATH, data=packed, headers={**JSON, "Content-Encoding": "gzip"})).status == 202
    assert len(house.kept) == 1


async def test_a_body_that_drips_is_not_waited_for(
    client: TestClient, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbound, "_SLOWEST_SECONDS", 0.05)

    async def drip() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(5)

    answer = await client.post(PATH, data=drip(), headers=JSON)
    assert answer.status == 408
    assert house.kept == []


async def test_a_full_house_asks_for_another_try(client: TestClient, house: House) -> None:
    house.full = True
    status, answer = await post(client, payload(alert()))
    assert (status, answer["errorType"]) == (503, "unavailable")


async def test_texts_of_strangers_are_kept_as_text(client: TestClient, house: House) -> None:
    script = "<script>alert(1)</script>{{7*7}}${x}\x00\u202e"
    status, _ = await post(client, payload(alert(annotations={"summary": script, "long": "x" * 100_000})))
    assert status == 202
    (kept,) = house.kept
    assert kept.annotations["summary"] == script
    assert len(kept.annotations["long"]) == 2000


async def test_a_token_is_asked_for_once_there_is_one(house: House) -> None:
    token = TokenSettings(name="am", role=Role.FEEDBACK, token=TOKEN)  # type: ignore[arg-type]
    async with TestClient(TestServer(build(house, WebSettings(tokens=(token,))))) as client:  # type: ignore[arg-type]
        for headers, status in (
            ({}, 401),
            ({"Authorization": "Bearer wrong-token-01234567"}, 401),
            ({"Authorization": f"Basic {TOKEN}"}, 401),
            ({"Authorization": f"Bearer {TOKEN}"}, 202),
        ):
            assert (await post(client, payload(alert()), **headers))[0] == status
    assert len(house.kept) == 1
