"""Who may do what, from nobody to admin."""

import asyncio
import base64
from pathlib import Path

import bcrypt
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from aiops.web.access import Access, Passwords, Role, is_loopback
from aiops.web.server import ROLES, build
from aiops.web.settings import WebSettings
from aiops.web.web_config import WebConfig
from tests.web.test_server import House

TOKENS = [
    {"name": "grafana", "role": "read", "token": "read-token-0123456789"},
    {"name": "alertmanager", "role": "feedback", "token": "feedback-token-012345"},
    {"name": "ops", "role": "admin", "token": "admin-token-0123456789"},
]
PASSWORD = "correct horse battery staple"
HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
MORE = {("POST", "/api/v1/written"): Role.FEEDBACK}
HEALTH = {"/-/healthy", "/-/ready", "/healthz", "/livez", "/readyz"}
BEYOND = {"listen_address": "0.0.0.0:9797"}


class Hands:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.at = 0.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


def asked(
    settings: dict[str, object], config: dict[str, object] | None = None, clock: Hands | None = None
) -> TestClient:
    web_settings = WebSettings.model_validate(settings)
    access = Access(web_settings, WebConfig.model_validate(config or {}), clock=clock or Hands(), roles=ROLES | MORE)
    app = build(House(), web_settings, access)

    async def write(_: web.Request) -> web.Response:
        return web.Response(text="written")

    app.router.add_post("/api/v1/written", write)
    app.router.add_post("/api/v1/undeclared", write)
    return TestClient(TestServer(app))


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


async def test_loopback_without_credentials_is_one_s_own_terminal() -> None:
    async with asked({"enable_lifecycle": True}) as client:
        assert (await client.get("/api/v1/alerts")).status == 200
        assert (await client.post("/api/v1/written")).status == 200
        assert (await client.post("/-/reload")).status == 200


async def test_beyond_loopback_only_metrics_and_health_are_open() -> None:
    async with asked({**BEYOND, "enable_lifecycle": True}) as client:
        for path in (*HEALTH, "/metrics"):
            assert (await client.get(path)).status == 200, path
        for path in ("/", "/api/v1/alerts", "/incidents/known", "/runbooks/engine-stuck"):
            assert (await client.get(path)).status == 403, path
        answer = await client.get("/api/v1/alerts")
        assert (await answer.json())["errorType"] == "forbidden"
        assert (await client.post("/-/reload")).status == 403
        assert (await client.post("/api/v1/written")).status == 403


async def test_anonymous_read_opens_reading_and_nothing_else() -> None:
    async with asked({**BEYOND, "anonymous_read": True, "enable_lifecycle": True}) as client:
        assert (await client.get("/api/v1/alerts")).status == 200
        assert (await client.post("/api/v1/written")).status == 403
        assert (await client.post("/-/reload")).status == 403


@pytest.mark.parametrize(
    ("token", "read", "feedback", "reload"),
    [
        ("read-token-0123456789", 200, 403, 403),
        ("feedback-token-012345", 200, 200, 403),
        ("admin-token-0123456789", 200, 200, 200),
        ("admin-token-012345678", 401, 401, 401),
        ("", 401, 401, 401),
    ],
)
async def test_a_token_may_what_its_role_may(token: str, read: int, feedback: int, reload: int) -> None:
    async with asked({"tokens": TOKENS, "enable_lifecycle": True}) as client:
        assert (await client.get("/api/v1/alerts", headers=bearer(token))).status == read
        assert (await client.post("/api/v1/written", headers=bearer(token))).status == feedback
        assert (await client.post("/-/reload", headers=bearer(token))).status == reload


async def test_a_token_of_any_bytes_is_refused_and_no_fault_of_ours() -> None:
    async with asked({"tokens": TOKENS}) as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
        writer.write(b"GET /api/v1/alerts HTTP/1.0\r\nAuthorization: Bearer \xfc\xff\r\n\r\n")
        assert b" 401 " in await reader.readline()
        writer.close()
        await writer.wait_closed()


async def test_with_credentials_every_path_but_health_asks_for_them() -> None:
    async with asked({"tokens": TOKENS}) as client:
        app = client.app
        assert app is not None
        paths = {route.resource.canonical for route in app.router.routes() if route.resource is not None}
        assert len(paths) > 10
        for path in paths - HEALTH - {"/feedback/{token}"}:
            answer = await client.get(path.replace("{", "").replace("}", ""))
            assert answer.status == 401, path
            assert answer.headers["WWW-Authenticate"] == 'Basic realm="aiops"'


async def test_a_browser_shows_a_token_as_the_password_of_its_name() -> None:
    async with asked({"tokens": TOKENS}) as client:
        assert (await client.get("/", headers=basic("grafana", "read-token-0123456789"))).status == 200
        assert (await client.post("/api/v1/feedback", headers=basic("grafana", "read-token-0123456789"))).status == 403
        assert (await client.get("/", headers=basic("ops", "read-token-0123456789"))).status == 401
        assert (await client.get("/", headers=basic("grafana", "admin-token-0123456789"))).status == 401


async def test_what_nobody_thought_of_needs_the_highest_role() -> None:
    async with asked({"tokens": TOKENS}) as client:
        for method, path, status in (
            ("POST", "/api/v1/undeclared", 200),
            ("DELETE", "/api/v1/feedback/3", 404),
            ("DELETE", "/-/healthy", 405),
            ("GET", "/-/reload", 405),
        ):
            for token, answer in (("feedback-token-012345", 403 if method != "GET" else status),
                                  ("admin-token-0123456789", status)):  # fmt: skip
                assert (await client.request(method, path, headers=bearer(token))).status == answer, (method, path)


def test_only_health_and_signed_links_ask_for_nothing() -> None:
    open_to_all = {path for (_, path), role in ROLES.items() if role is Role.NOBODY}
    assert open_to_all == HEALTH | {"/feedback/{token}"}
    assert {route for route, role in ROLES.items() if role is Role.ADMIN} == {
        ("POST", "/-/reload"), ("PUT", "/-/reload"),
        ("POST", "/api/v1/maintenance"), ("POST", "/api/v1/maintenance/{id}/end"),
    }  # fmt: skip
    changes_nothing = ("POST", "/api/v1/targets/relabel")
    assert ROLES[changes_nothing] is Role.READ
    assert all(role > Role.READ for (method, path), role in ROLES.items()
               if method != "GET" and path != "/feedback/{token}" and (method, path) != changes_nothing)  # fmt: skip


async def test_a_token_file_may_be_rotated_and_a_missing_one_lets_nobody_in(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first-token-0123456789\n")
    async with asked({"tokens": [{"name": "x", "token_file": str(file)}]}) as client:
        assert (await client.get("/metrics", headers=bearer("first-token-0123456789"))).status == 200
        file.write_text("other-token-0123456789\n")
        assert (await client.get("/metrics", headers=bearer("first-token-0123456789"))).status == 401
        assert (await client.get("/metrics", headers=bearer("other-token-0123456789"))).status == 200
        file.unlink()
        assert (await client.get("/metrics", headers=bearer("other-token-0123456789"))).status == 401
        assert (await client.get("/metrics", headers=bearer(""))).status == 401


async def test_users_of_the_file_may_do_everything() -> None:
    async with asked({**BEYOND, "enable_lifecycle": True}, {"basic_auth_users": {"alice": HASH}}) as client:
        assert (await client.post("/-/reload", headers=basic("alice", PASSWORD))).status == 200
        for headers in (
            basic("alice", "wrong"),
            basic("bob", PASSWORD),
            basic("", ""),
            {},
            {"Authorization": "Basic !"},
        ):
            answer = await client.get("/metrics", headers=headers)
            assert answer.status == 401, headers
            assert answer.headers["WWW-Authenticate"].startswith("Basic")


async def test_a_remembered_answer_answers_no_other_question() -> None:
    """The flaw of CVE-2022-46146: parts joined without a border let one question be written as another."""
    passwords = Passwords({"a": HASH, f"a{HASH}": HASH})
    assert await passwords.check("a", PASSWORD.encode())
    assert not await passwords.check("a", b"")
    assert not await passwords.check("aa", PASSWORD.encode())
    assert not await passwords.check("", f"a{PASSWORD}".encode())
    assert await passwords.check("a", PASSWORD.encode())


async def test_an_unknown_user_costs_as_much_and_is_let_in_with_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = Passwords({"alice": HASH})
    hashes: list[bytes] = []

    def check(password: bytes, hashed: bytes) -> bool:
        hashes.append(hashed)
        return True  # even if somebody found the password of nobody

    monkeypatch.setattr(passwords, "_check_hash", check)
    assert not await passwords.check("bob", b"x")
    assert len(hashes) == 1
    assert bcrypt.checkpw(b"x", hashes[0]) is False


async def test_many_guesses_are_turned_away_and_do_not_hold_up_the_loop() -> None:
    slow = bcrypt.hashpw(b"x", bcrypt.gensalt(8)).decode()
    async with asked({}, {"basic_auth_users": {"alice": slow}}) as client:
        guesses = [client.get("/metrics", headers=basic("alice", f"guess {n}")) for n in range(100)]
        done = asyncio.gather(*guesses)
        await asyncio.sleep(0)
        assert (await client.get("/-/healthy")).status == 200  # while guesses wait
        statuses = [answer.status for answer in await done]
    assert set(statuses) == {401, 429}
    assert statuses.count(429) > 50


async def test_a_page_of_another_origin_changes_nothing() -> None:
    async with asked({"external_url": "https://aiops.example.org"}) as client:
        own = f"http://{client.host}:{client.port}"
        for headers, status in (
            ({"Origin": own}, 200),
            ({"Origin": "https://aiops.example.org"}, 200),
            ({"Origin": "https://evil.example"}, 403),
            ({"Origin": "null"}, 403),
            ({"Sec-Fetch-Site": "cross-site"}, 403),
            ({"Sec-Fetch-Site": "same-site"}, 403),
            ({}, 200),
        ):
            assert (await client.post("/api/v1/written", headers=headers)).status == status, headers


async def test_a_name_that_may_be_anybody_s_is_refused_on_loopback() -> None:
    async with asked({"external_url": "https://aiops.example.org"}) as client:
        for host, status in (
            ("localhost:9797", 200),
            ("127.0.0.1:1", 200),
            ("[::1]:9797", 200),
            ("aiops.example.org", 200),
            ("evil.example", 421),
            ("127.0.0.1.evil.example", 421),
        ):
            assert (await client.get("/api/v1/alerts", headers={"Host": host})).status == status, host


async def test_the_rate_limit_is_that_of_the_file() -> None:
    clock = Hands()
    async with asked({}, {"rate_limit": {"interval": "1s", "burst": 2}}, clock) as client:
        statuses = [(await client.get("/-/healthy")).status for _ in range(3)]
        assert statuses == [200, 200, 429]
        clock.at = 1.0
        assert [(await client.get("/-/healthy")).status for _ in range(2)] == [200, 429]


async def test_changes_are_written_to_the_audit_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "aiops.audit")
    async with asked({"tokens": TOKENS}) as client:
        await client.get("/metrics", headers=bearer("admin-token-0123456789"))
        await client.post("/api/v1/written", headers=bearer("feedback-token-012345"))
        await client.post("/api/v1/nothing", headers=bearer("admin-token-0123456789"))
    told = [(r.who, r.method, r.path, r.status) for r in caplog.records if r.name == "aiops.audit"]  # type: ignore[attr-defined]
    assert told == [
        ("alertmanager", "POST", "/api/v1/written", 200),
        ("ops", "POST", "/api/v1/nothing", 404),
    ]
    assert "token-0" not in caplog.text


@pytest.mark.parametrize(("host", "only_here"), [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True),
                                                 ("localhost", True), ("0.0.0.0", False), ("::", False),
                                                 ("10.0.0.1", False), ("node-1", False)])  # fmt: skip
def test_loopback(host: str, only_here: bool) -> None:
    assert is_loopback(host) is only_here


def test_hashes_are_never_printed() -> None:
    config = WebConfig.model_validate({"basic_auth_users": {"alice": HASH}})
    assert HASH not in repr(config) + config.model_dump_json()
    assert "alice" in repr(config)
