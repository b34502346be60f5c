"""The doors for feedback: who may say something, what is refused, and that looking changes nothing."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from aiops.web.feedback import FORM
from aiops.web.server import build
from aiops.web.settings import Role, TokenSettings, WebSettings
from aiops.web.source import Refused, Saying

Record = Mapping[str, Any]
BODY = {"alert": "0123456789abcdef", "judgement": "false"}


class House:
    """A daemon as the doors see it."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str, Saying]] = []

    def families(self) -> list[Any]:
        return []

    def opinions(self) -> Record:
        return {"feedback": [], "detectors": [{"detector": "zscore", "precision": float("nan")}]}

    async def say(self, alert: str, incident: str, saying: Saying) -> Sequence[Record]:
        self.said.append((alert, incident, saying))
        return [{"id": "1"}]

    def undo(self, name: str) -> Record:
        raise Refused(404, f"there is no feedback {name!r}")

    def asked(self, token: str) -> Record:
        if token != "good":
            raise Refused(410, "this link was used before")
        return {"alert": "A", "summary": "<script>x</script>", "series": "s", "startsAt": "now"}

    async def say_by_link(self, token: str, saying: Saying) -> Record:
        self.asked(token)
        self.said.append((token, "", saying))
        return {"id": "l1", "effects": ["<b>wider</b>"]}


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
async def client_of(house: House) -> AsyncIterator[Callable[..., Any]]:
    opened: list[TestClient] = []

    async def make(settings: WebSettings | None = None) -> TestClient:
        client = TestClient(TestServer(build(house, settings or WebSettings())))  # type: ignore[arg-type]
        await client.start_server()
        opened.append(client)
        return client

    yield make
    for client in opened:
        await client.close()


async def test_an_opinion_is_one_post_and_listed(client_of: Any, house: House) -> None:
    client = await client_of()
    answer = await client.post("/api/v1/feedback", json={**BODY, "cause": " kv ", "note": "n"})
    assert (answer.status, (await answer.json())["data"]) == (200, {"feedback": [{"id": "1"}]})
    assert house.said == [(BODY["alert"], "", Saying("false", "kv", "n", "api"))]
    listed = await (await client.get("/api/v1/feedback")).json()
    assert listed["data"]["detectors"] == [{"detector": "zscore", "precision": None}]
    assert (await client.post("/api/v1/feedback/9/undo", json={})).status == 404


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('{"alert":', "Invalid JSON"),
        ("[" * 30_000, "Invalid JSON"),
        ("[1]", "should be an object"),
        ('{"judgement": "false"}', "exactly one of"),
        ('{"alert": "a", "incident": "b", "judgement": "false"}', "exactly one of"),
        ('{"alert": "a", "judgement": "maybe"}', "judgement is 'maybe': Input should be 'true', 'false' or 'expected'"),
        ('{"alert": 5, "judgement": "false"}', "alert is 5: Input should be a valid string"),
        ('{"alert": "a", "judgement": "false", "url": "http://169.254.169.254/"}', "'url' is unknown"),
        ('{"alert": "a", "judgement": "false", "note": "' + "x" * 2000 + '"}', "at most 1000 characters"),
    ],
)
async def test_a_bad_body_says_what_is_wrong(client_of: Any, house: House, body: str, said: str) -> None:
    client = await client_of()
    answer = await client.post("/api/v1/feedback", data=body, headers={"Content-Type": "application/json"})
    assert answer.status == 400
    assert said in (await answer.json())["error"]
    assert house.said == []


async def test_a_body_that_is_too_large_is_refused(client_of: Any, house: House) -> None:
    client = await client_of()
    answer = await client.post("/api/v1/feedback", json={**BODY, "note": "x" * 200_000})
    assert (answer.status, house.said) == (413, [])


@pytest.mark.parametrize("path", ["/api/v1/feedback", "/api/v1/feedback/1/undo", "/feedback/good"])
@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
async def test_a_foreign_page_is_refused(client_of: Any, house: House, path: str, origin: str) -> None:
    client = await client_of()
    answer = await client.post(path, json=BODY, headers={"Origin": origin})
    assert (answer.status, house.said) == (403, [])


async def test_our_own_page_may(client_of: Any) -> None:
    client = await client_of(WebSettings(external_url="https://aiops.example/x"))
    own = f"http://{client.server.host}:{client.server.port}"
    for origin in (own, "https://aiops.example"):
        assert (await client.post("/api/v1/feedback", json=BODY, headers={"Origin": origin})).status == 200


async def test_saying_needs_a_role_and_a_link_needs_none(client_of: Any, house: House) -> None:
    tokens = tuple(TokenSettings(name=role, role=role, token=f"{role}-token-0123456789") for role in Role)  # type: ignore[arg-type]
    client = await client_of(WebSettings(tokens=tokens))
    for header, status in ((None, 401), ("wrong", 401), ("read", 403), ("feedback", 200)):
        headers = {} if header is None else {"Authorization": f"Bearer {header}-token-0123456789"}
        assert (await client.post("/api/v1/feedback", json=BODY, headers=headers)).status == status
        assert (await client.post("/api/v1/feedback/9/undo", json={}, headers=headers)).status == (
            404 if status == 200 else status
        )
    assert len(house.said) == 1
    assert (await client.get("/feedback/good")).status == 200
    assert (await client.post("/feedback/good", data={"judgement": "true"})).status == 200


async def test_looking_at_a_link_changes_nothing_and_saying_it_does(client_of: Any, house: House) -> None:
    client = await client_of()
    for method in ("GET", "HEAD", "GET"):
        answer = await client.request(method, "/feedback/good")
        assert answer.status == 200
        assert "form-action 'self'" in answer.headers["Content-Security-Policy"]
    assert house.said == []
    text = await (await client.get("/feedback/good")).text()
    assert "<script" not in text
    assert '<form method="post">' in text
    said = await client.post("/feedback/good", data={"judgement": "expected", "cause": "batch"})
    assert said.status == 200
    page = await said.text()
    assert "<b>" not in page
    assert "aiops feedback undo l1" in page
    assert house.said == [("good", "", Saying("expected", "batch", "", "link"))]
    assert (await client.post("/feedback/good", data={"judgement": "maybe"})).status == 400
    fields = "&".join(f"f{number}=1" for number in range(11))
    for kind, body, status in (
        ("multipart/form-data", "judgement=true", 415),
        ("application/json", '{"judgement": "true"}', 415),
        (f"{FORM}; charset=nonsense", fields, 400),
        (FORM, b"judgement=\xff\xfe", 400),
    ):
        answer = await client.post("/feedback/good", data=body, headers={"Content-Type": kind})
        assert answer.status == status, kind
    assert len(house.said) == 1
    used = await client.get("/feedback/used")
    assert (used.status, await used.text()) == (410, "this link was used before\n")
