"""The HTTP surface: health, envelope, headers, escaping, own metrics."""

import re
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestClient, TestServer

from aiops.signals.catalog import SIGNALS
from aiops.signals.telemetry import Family, FamilyKind, exported_name
from aiops.web.asked import SeriesFilter, Span
from aiops.web.server import Server, build
from aiops.web.settings import WebSettings, split_address
from aiops.web.source import Refused, ReloadFailed

Record = Mapping[str, Any]


class House:
    """A daemon as the web room sees it."""

    def __init__(self) -> None:
        self.reason = ""
        self.reloads = 0
        self.bad_config = ""
        self.broken = False
        self.label = "<script>alert(1)</script>"

    def families(self) -> list[Family]:
        return [
            Family("aiops_ticks", FamilyKind.COUNTER, "Ticks done.", [({}, 7.0)]),
            Family("aiops_target_up", FamilyKind.GAUGE, "1 when the last scrape worked.", [({"source": 'a"b\n'}, 1.0)]),
            Family("aiops_empty", FamilyKind.GAUGE, "Nothing yet.", []),
        ]

    def not_ready(self) -> str:
        return self.reason

    def targets(self) -> Sequence[Record]:
        if self.broken:
            raise RuntimeError("secret-in-a-traceback")
        return [{"source": self.label, "health": "up", "lastScrapeDuration": float("nan"), "facts": {"engine": "vllm"}}]

    async def case(self, name: str) -> Record | None:
        return {"case.json": "{}"} if name == "known" else None

    def incident(self, name: str) -> Record | None:
        told = {"sentences": [{"part": "what", "text": self.label}, {"part": "what", "text": "It is stuck."}]}
        return {**self.incidents()[0], "id": name, "summary": told} if name == "known" else None

    def runbook(self, slug: str) -> str | None:
        return "# Stuck\n" if slug == "engine-stuck" else None

    def signals(self, *, signal: str, entity: str) -> Sequence[Record]:
        return [{"signal": signal or "queue_len", "entity": entity, "value": float("inf")}]

    def fleet(self) -> Record:
        return {"pools": [self.label], "at": None}

    def detectors(self) -> Record:
        return {"rules": []}

    def names(self) -> Record:
        return {"names": []}

    def config_text(self) -> str:
        return "interval: 5s\n"

    def history(self, wanted: SeriesFilter) -> Record:
        return {"asked": list(wanted.model_dump().values()), "at": [float(number) for number in range(3000)]}

    async def changes(self, span: Span) -> Record:
        if span.start < 10:
            raise Refused(400, "there is nothing to compare")
        return {"asked": list(span.model_dump().values())}

    def relabelled(self, job: str, labels: Mapping[str, str]) -> Record:
        return {"job": job, "labels": dict(labels)}

    def rules_tried(self, rules: str, labels: Mapping[str, str]) -> Record:
        return {"rules": rules, "labels": dict(labels)}

    def last_page(self, source: str) -> Record | None:
        return {"source": source, "text": self.label} if source == "llm/a:1" else None

    def alerts(self) -> Sequence[Record]:
        labels = {"alertname": "TargetDown", "severity": "critical"}
        return [{"labels": labels, "annotations": {"summary": self.label}, "state": "firing"}]

    def incidents(self) -> Sequence[Record]:
        return [{"title": self.label, "severity": "critical", "startsAt": "now", "endsAt": None, "alerts": ["x"]}]

    async def ask(self, question: str) -> Record:
        return {"question": question, "sentences": []}

    def status(self) -> Record:
        return {"version": "0.1.0"}

    def recommendations(self) -> Sequence[Record]:
        return [{"pool": "chat/m", "desired_replicas": 7, "probability": float("nan")}]

    def recommendation(self, pool: str) -> tuple[Record | None, str]:
        if pool != "chat/org/m":
            return None, f"no pool {pool!r}"
        return {"pool": pool, "desired_replicas": 7, "probability": 0.97}, self.reason

    async def reload(self) -> None:
        self.reloads += 1
        if self.bad_config:
            raise ReloadFailed(self.bad_config)


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
async def client(house: House) -> AsyncIterator[TestClient]:
    async with TestClient(TestServer(build(house, WebSettings()))) as client:
        yield client


async def test_health_is_independent_of_readiness(client: TestClient, house: House) -> None:
    house.reason = "no tick yet"
    for path in ("/-/healthy", "/healthz", "/livez"):
        assert (await client.get(path)).status == 200
    answer = await client.get("/-/ready")
    assert answer.status == 503
    assert "no tick yet" in await answer.text()
    house.reason = ""
    assert (await client.get("/-/ready")).status == 200
    assert (await client.head("/-/ready")).status == 200


async def test_api_speaks_the_prometheus_envelope_and_unknown_is_null(client: TestClient) -> None:
    answer = await client.get("/api/v1/targets")
    assert answer.headers["Content-Type"].startswith("application/json")
    body = await answer.json()
    assert body["status"] == "success"
    assert body["data"]["activeTargets"][0]["lastScrapeDuration"] is None
    signals = await (await client.get("/api/v1/signals", params={"signal": "ttft"})).json()
    assert signals["data"]["signals"] == [{"signal": "ttft", "entity": "", "value": None}]


async def test_api_errors_keep_the_envelope(client: TestClient, house: House) -> None:
    missing = await client.get("/api/v1/nothing")
    assert (missing.status, (await missing.json())["status"]) == (404, "error")
    wrong = await client.post("/api/v1/alerts")
    assert (wrong.status, (await wrong.json())["errorType"]) == (405, "bad_data")
    unknown = await client.get("/api/v1/signals", params={"signl": "x"})
    assert unknown.status == 400
    assert "signl" in (await unknown.json())["error"]
    house.broken = True
    broken = await client.get("/api/v1/targets")
    assert broken.status == 500
    assert "secret" not in await broken.text()


async def test_the_page_may_run_only_its_own_scripts(client: TestClient) -> None:
    answer = await client.get("/")
    assert answer.content_type == "text/html"
    assert '<script type="module" src="static/app.js">' in await answer.text()
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self';" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert (await client.get("/static/style.css")).headers["Content-Type"].startswith("text/css")
    for missing in ("nothing.js", "uplot/LICENSE", "..%2f..%2fapi.py", "%2e%2e/api.py"):
        answer = await client.get(f"/static/{missing}")
        assert answer.status == 404
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


async def test_links_to_incidents_lead_into_the_page_and_runbooks_are_text(client: TestClient) -> None:
    answer = await client.get("/incidents/known", allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (302, "../#/incidents/known")
    nasty = await client.get("/incidents/a%23b%2f%3Cc%3E", allow_redirects=False)
    assert nasty.headers["Location"] == "../#/incidents/a%23b%2Fc%3E".replace("%2Fc", "%2F%3Cc")
    data = await (await client.get("/api/v1/incidents/known")).json()
    assert data["data"]["incident"]["summary"]["sentences"][1]["text"] == "It is stuck."
    assert (await client.get("/api/v1/incidents/other")).status == 404
    case = await (await client.get("/api/v1/incidents/known/case")).json()
    assert case["data"] == {"files": {"case.json": "{}"}}
    assert (await client.get("/api/v1/incidents/other/case")).status == 404
    book = await client.get("/runbooks/engine-stuck")
    assert (await book.text(), book.content_type) == ("# Stuck\n", "text/markdown")
    for nasty in ("nothing", "..%2f..%2fREADME", "engine-stuck%00", "engine-stuck.md"):
        assert (await client.get(f"/runbooks/{nasty}")).status == 404


async def test_reload_is_off_until_enabled(house: House) -> None:
    async with TestClient(TestServer(build(house, WebSettings()))) as client:
        assert (await client.post("/-/reload")).status == 403
        assert (await client.get("/-/reload")).status == 405
    assert house.reloads == 0
    async with TestClient(TestServer(build(house, WebSettings(enable_lifecycle=True)))) as client:
        assert (await client.post("/-/reload")).status == 200
        house.bad_config = "config.yaml:3: unknown key"
        refused = await client.post("/-/reload")
        assert refused.status == 500
        assert "config.yaml:3" in await refused.text()
    assert house.reloads == 2


async def test_metrics_follow_the_accept_header(client: TestClient) -> None:
    plain = await client.get("/metrics", headers={"Accept": "text/plain"})
    assert plain.headers["Content-Type"].startswith("text/plain; version=")
    text = await plain.text()
    assert "aiops_ticks_total 7.0" in text
    assert 'aiops_target_up{source="a\\"b\\n"} 1.0' in text
    assert "aiops_empty" not in text
    modern = await client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert modern.headers["Content-Type"].startswith("application/openmetrics-text")
    assert (await modern.text()).endswith("# EOF\n")


@pytest.mark.real
async def test_promtool_finds_nothing_to_complain_about(client: TestClient, real_program: object) -> None:
    promtool = real_program("promtool")  # type: ignore[operator]
    page = await (await client.get("/metrics", headers={"Accept": "text/plain"})).read()
    done = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_exported_names_carry_base_units() -> None:
    assert exported_name(SIGNALS["tokens_out"]) == "aiops_signal_tokens_out_per_second"
    assert exported_name(SIGNALS["gpu_nvlink_bytes"]) == "aiops_signal_gpu_nvlink_bytes_per_second"
    assert exported_name(SIGNALS["gpu_mem_used"]) == "aiops_signal_gpu_mem_used_bytes"
    assert len({exported_name(signal) for signal in SIGNALS.values()}) == len(SIGNALS)


@pytest.mark.parametrize("address", ["localhost", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:70000"])
def test_bad_listen_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="listen address"):
        WebSettings(listen_address=address)


def test_listen_address_as_prometheus_writes_it() -> None:
    assert split_address("[::1]:9797") == ("::1", 9797)
    assert split_address(":9797") == ("0.0.0.0", 9797)
    assert WebSettings(listen_address="[::1]:1").base_url == "http://[::1]:1"
    assert WebSettings(external_url="https://aiops.example/x/").base_url == "https://aiops.example/x"


async def test_server_binds_and_says_who_has_the_port(house: House) -> None:
    server = Server(house, WebSettings(listen_address="127.0.0.1:0"))
    await server.start()
    async with ClientSession() as session, session.get(f"http://127.0.0.1:{server.port}/-/healthy") as answer:
        assert answer.status == 200
    second = Server(house, WebSettings(listen_address=f"127.0.0.1:{server.port}"))
    with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{server.port}"):
        await second.start()
    await second.stop()
    await server.stop()


async def test_one_recommendation_stands_bare_for_autoscalers(client: TestClient) -> None:
    answer = await client.get("/api/v1/recommendations/chat/org/m")
    assert answer.status == 200
    assert (await answer.json())["desired_replicas"] == 7
    assert (await answer.json())["probability"] == 0.97


async def test_a_recommendation_that_must_not_be_used_is_an_error_and_never_a_number(
    client: TestClient, house: House
) -> None:
    house.reason = "the newest numbers are 200 s old"
    answer = await client.get("/api/v1/recommendations/chat/org/m")
    assert answer.status == 503
    body = await answer.json()
    assert "desired_replicas" not in body
    assert "200 s old" in body["error"]
    assert (await client.get("/api/v1/recommendations/other")).status == 404
    listed = await (await client.get("/api/v1/recommendations")).json()
    assert listed["data"]["recommendations"][0]["probability"] is None


async def data_of(client: TestClient, path: str) -> Any:
    answer = await client.get(path)
    assert answer.status == 200, await answer.text()
    return (await answer.json())["data"]


async def test_every_view_of_the_page_has_a_twin(client: TestClient) -> None:
    assert (await data_of(client, "/api/v1/fleet"))["pools"] == ["<script>alert(1)</script>"]
    assert await data_of(client, "/api/v1/detectors") == {"rules": []}
    assert await data_of(client, "/api/v1/signals/names") == {"names": []}
    assert await data_of(client, "/api/v1/config") == {"yaml": "interval: 5s\n"}
    assert (await data_of(client, "/api/v1/targets/page?source=llm/a:1"))["text"] == "<script>alert(1)</script>"
    assert (await client.get("/api/v1/targets/page?source=other")).status == 404


async def test_a_window_is_asked_for_by_signal(client: TestClient) -> None:
    found = await data_of(client, "/api/v1/signals/range?signal=ttft&stat=p95&entity=pool&limit=3")
    assert found["asked"] == ["ttft", "p95", "pool", 3]
    answer = await client.get("/api/v1/signals/range?signal=ttft")
    assert answer.headers["Content-Encoding"] in ("gzip", "deflate"), "a long answer is packed"


async def test_changes_are_asked_for_by_time(client: TestClient) -> None:
    assert (await data_of(client, "/api/v1/signals/changes?from=10&to=20.5"))["asked"] == [10.0, 20.5, 50]


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("range", "signal is missing"),
        ("range?signal=x&limit=0", "limit is '0': Input should be greater than or equal to 1"),
        ("range?signal=x&limit=inf", "limit is 'inf'"),
        ("range?signal=x&sinal=y", "unknown parameter 'sinal'; expected signal, stat, entity, limit"),
        ("changes", "from is missing"),
        ("changes?from=1&to=2", "there is nothing to compare"),
        ("changes?from=nan&to=2", "from is 'nan'"),
    ],
)
async def test_a_bad_question_is_told_what_was_expected(client: TestClient, query: str, told: str) -> None:
    answer = await client.get(f"/api/v1/signals/{query}")
    assert answer.status == 400
    assert told in (await answer.json())["error"]


async def test_relabelling_is_tried_with_labels_of_text(client: TestClient) -> None:
    found = await data_of(client, '/api/v1/targets/relabel?job=llm&labels={"a":"b"}')
    assert found == {"job": "llm", "labels": {"a": "b"}}
    for wrong in ("{", "[]", '{"a":1}', "[" * 2000, r'{"a":"\ud800"}', r'{"\ud800":1}'):
        answer = await client.get("/api/v1/targets/relabel", params={"labels": wrong})
        assert answer.status == 400
        assert re.search("JSON object of texts|valid dictionary|valid string", (await answer.json())["error"])


async def test_rules_are_tried_and_may_be_long(client: TestClient) -> None:
    asked = {"rules": "- {action: keep}\n" * 500, "labels": {"a": "ü"}}
    async with client.post("/api/v1/targets/relabel", json=asked) as answer:
        assert (await answer.json())["data"] == asked
    async with client.post("/api/v1/targets/relabel", json={"rules": "x" * 10_001}) as answer:
        assert answer.status == 400
        assert "at most 10000" in (await answer.json())["error"]


async def test_one_listener_too_many_is_told_to_ask_instead(house: House) -> None:
    async with TestClient(TestServer(build(house, WebSettings(max_listeners=1)))) as client:
        first = await client.get("/api/v1/events")
        assert "default-src 'none'" in first.headers["Content-Security-Policy"]
        assert await first.content.readuntil(b"\n\n") == b"retry: 3000\n\n"
        second = await client.get("/api/v1/events")
        assert (second.status, (await second.json())["errorType"]) == (503, "unavailable")
        first.close()


async def test_a_question_needs_words(client: TestClient) -> None:
    data = await (await client.get("/api/v1/ask", params={"q": "为什么?"})).json()
    assert data["data"]["question"] == "为什么?"
    for bad, told in (
        ({}, "q is missing"),
        ({"q": " "}, "q is ' ': String should have at least 1 character"),
        ({"q": "x" * 401}, "at most 400 characters"),
        ({"q": "x", "p": "y"}, "unknown parameter 'p'; expected q"),
        ([("q", "x"), ("q", "y")], "the parameter q is there more than once"),
    ):
        answer = await client.get("/api/v1/ask", params=bad)
        assert answer.status == 400
        assert told in (await answer.json())["error"]
