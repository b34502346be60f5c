import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from aiops.collect.discovery import Discovery
from aiops.collect.settings import JobSettings
from aiops.collect.targets import Found
from aiops.kit.clock import Clock
from aiops.kit.http import open_session


class Now:
    """A monotonic clock to move by hand."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def clock(self) -> Clock:
        return Clock(monotonic=lambda: self.seconds)


@pytest_asyncio.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with open_session() as session:
        yield session


@pytest_asyncio.fixture
async def list_server() -> AsyncIterator[Callable[[Any], Any]]:
    """Return a function that serves one handler and gives the URL."""
    servers: list[TestServer] = []

    async def start(handler: Any) -> str:
        application = web.Application()
        application.router.add_get("/sd", handler)
        server = TestServer(application)
        servers.append(server)
        await server.start_server(shutdown_timeout=0.1)
        return str(server.make_url("/sd"))

    yield start
    for server in servers:
        await server.close()


def job(**settings: Any) -> JobSettings:
    return JobSettings.model_validate({"name": "j", **settings})


def urls(found: Found) -> list[str]:
    return [target.url for target in found.targets]


def from_files(*patterns: str, **settings: Any) -> JobSettings:
    return job(file_sd=[{"files": list(patterns), "refresh_interval": "10s"}], **settings)


GOOD_YAML = "- targets: [h:1, h:2]\n  labels: {pool: a, rack: 7}\n"


async def test_static_only(session: ClientSession) -> None:
    discovery = Discovery([job(targets=["h:1"])], session=session)
    found = await discovery.look()
    assert urls(found) == ["http://h:1/metrics"]
    assert await discovery.look() is found


@pytest.mark.parametrize(
    ("name", "content"),
    [("t.yml", GOOD_YAML), ("t.json", '[{"targets": ["h:1", "h:2"], "labels": {"pool": "a", "rack": 7}, "x": 1}]')],
)
async def test_files_in_both_formats(session: ClientSession, tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    rule = {"source_labels": ["__meta_filepath"], "regex": ".*/(.*)", "target_label": "file"}
    found = await Discovery([from_files(name, relabel=[rule])], session=session, folder=tmp_path).look()
    assert urls(found) == ["http://h:1/metrics", "http://h:2/metrics"]
    assert dict(found.targets[0].labels) == {"job": "j", "instance": "h:1", "pool": "a", "rack": "7", "file": name}


@pytest.mark.real
async def test_prometheus_finds_the_same_targets(
    session: ClientSession, tmp_path: Path, real_program: Callable[[str], str]
) -> None:
    (tmp_path / "t.yml").write_text(
        GOOD_YAML + "- targets: ['[::1]:9', x:1]\n  labels: {job: other, __metrics_path__: /m}\n"
    )
    rules = [
        {"source_labels": ["__meta_filepath"], "regex": ".*/(.*)", "target_label": "file"},
        {"source_labels": ["__metrics_path__", "__scheme__", "__scrape_interval__"], "target_label": "seen"},
        {"source_labels": ["__address__"], "regex": "x:.*", "action": "drop"},
    ]
    (tmp_path / "prometheus.yml").write_text(
        json.dumps(
            {
                "scrape_configs": [
                    {
                        "job_name": "j",
                        "scrape_interval": "5s",
                        "scrape_timeout": "4s",
                        "file_sd_configs": [{"files": [str(tmp_path / "t.yml")]}],
                        "relabel_configs": rules,
                    }
                ]
            }
        )
    )
    process = await asyncio.create_subprocess_exec(
        real_program("promtool"), "check", "service-discovery", "--timeout=1s", str(tmp_path / "prometheus.yml"), "j",
        stdout=subprocess.PIPE,
    )  # fmt: skip
    output, _ = await process.communicate()
    theirs = [target["labels"] for target in json.loads(output) if target.get("labels")]
    public = [{k: v for k, v in labels.items() if not k.startswith("__")} for labels in theirs]
    found = await Discovery([from_files("t.yml", relabel=rules)], session=session, folder=tmp_path).look()
    ours = [dict(target.labels) for target in found.targets]
    for labels in public:  # they write the interval as a duration, we in seconds
        labels["seen"] = labels["seen"].replace("5s", "5")
    assert sorted(ours, key=str) == sorted((dict(sorted(labels.items())) for labels in public), key=str)
    assert len(ours) == 3


async def test_file_changes_are_seen_at_the_refresh_by_content(session: ClientSession, tmp_path: Path) -> None:
    now = Now()
    path = tmp_path / "a.yml"
    path.write_text("[{targets: [h:1]}]")
    discovery = Discovery([from_files("*.yml")], session=session, folder=tmp_path, clock=now.clock())
    first = await discovery.look()
    times = path.stat().st_atime, path.stat().st_mtime
    path.write_text("[{targets: [h:2]}]")
    os.utime(path, times)
    now.seconds += 9
    assert await discovery.look() is first
    now.seconds += 1
    assert urls(await discovery.look()) == ["http://h:2/metrics"]
    (tmp_path / "b.yml").write_text("[{targets: [h:3]}]")
    now.seconds += 10
    assert urls(await discovery.look()) == ["http://h:2/metrics", "http://h:3/metrics"]
    path.unlink()
    now.seconds += 10
    assert urls(await discovery.look()) == ["http://h:3/metrics"]


async def test_a_config_map_swap_is_seen(session: ClientSession, tmp_path: Path) -> None:
    """Kubernetes swaps the link ``..data``; the file's own link never changes."""
    now = Now()
    for version in ("1", "2"):
        (tmp_path / f"v{version}").mkdir()
        (tmp_path / f"v{version}" / "t.json").write_text(json.dumps([{"targets": [f"h:{version}"]}]))
    (tmp_path / "..data").symlink_to("v1")
    (tmp_path / "t.json").symlink_to("..data/t.json")
    discovery = Discovery([from_files("t.json")], session=session, folder=tmp_path, clock=now.clock())
    assert urls(await discovery.look()) == ["http://h:1/metrics"]
    (tmp_path / "new").symlink_to("v2")
    (tmp_path / "new").replace(tmp_path / "..data")
    now.seconds += 10
    assert urls(await discovery.look()) == ["http://h:2/metrics"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "a list"),
        ("{", "flow"),
        ("targets: [h:1]", "a list"),
        ("- targets: h:1", "0.targets"),
        ("- targets: [1]", "0.targets.0"),
        ("- targets: [h:1]\n  labels: {a: [b]}", "0.labels.a"),
        ("- targets: &a [h:1]\n- targets: *a", "aliases"),
        ("[" * 9 + "]" * 9, "nesting"),
        ("[" * 100_000, "nesting"),
        ("- !!python/object/apply:os.system [x]", "tags"),
        ("- targets: [!!timestamp noon]", "tags"),
        ("- targets: [!!bool maybe]", "tags"),
        ("\x00", "control characters"),
        ("#" * (9 << 20), "larger than"),
    ],
)
async def test_a_broken_file_keeps_the_last_good_list(
    session: ClientSession, tmp_path: Path, content: str, why: str
) -> None:
    now = Now()
    path = tmp_path / "t.yml"
    path.write_text(GOOD_YAML)
    (tmp_path / "u.yml").write_text("[{targets: [u:1]}]")
    discovery = Discovery([from_files("*.yml")], session=session, folder=tmp_path, clock=now.clock())
    good = await discovery.look()
    assert good.problems == ()
    path.write_text(content)
    for _ in range(2):
        now.seconds += 10
        bad = await discovery.look()
        assert bad.targets == good.targets
        (problem,) = bad.problems
        assert why in problem
        assert str(path) in problem
        assert len(problem) < 1000
    path.write_text("[{targets: [h:9]}]")
    now.seconds += 10
    fixed = await discovery.look()
    assert (urls(fixed), fixed.problems) == (["http://h:9/metrics", "http://u:1/metrics"], ())


async def test_json_nested_deeply_is_an_error(session: ClientSession, tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text("[" * 200_000)
    found = await Discovery([from_files("t.json")], session=session, folder=tmp_path).look()
    assert "nested too deeply" in found.problems[0]


async def test_a_billion_laughs_costs_nothing(session: ClientSession, tmp_path: Path) -> None:
    lines = ["a0: &a0 [lol]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    (tmp_path / "t.yml").write_text("\n".join(lines))
    found = await Discovery([from_files("t.yml")], session=session, folder=tmp_path).look()
    assert "aliases" in found.problems[0]


async def test_no_file_is_a_problem(session: ClientSession, tmp_path: Path) -> None:
    found = await Discovery([from_files("none.yml")], session=session, folder=tmp_path).look()
    assert "matches no file" in found.problems[0]
    assert found.idle_jobs == ("j",)


async def test_http_list(session: ClientSession, list_server: Callable[[Any], Any]) -> None:
    seen = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers)
        return web.json_response([{"targets": ["10.0.0.1:8000"], "labels": {"__meta_zone": "z"}}, {"targets": []}])

    url = await list_server(answer)
    rules = [
        {"source_labels": ["__meta_zone"], "target_label": "zone"},
        {"source_labels": ["__meta_url"], "target_label": "from"},
    ]
    client = {"authorization": {"credentials": "t"}}
    settings = job(http_sd=[{"url": url, "refresh_interval": "90s", "client": client}], relabel=rules)
    found = await Discovery([settings], session=session).look()
    assert dict(found.targets[0].labels) == {"job": "j", "instance": "10.0.0.1:8000", "zone": "z", "from": url}
    assert seen[0]["X-Prometheus-Refresh-Interval-Seconds"] == "90"
    assert seen[0]["Authorization"] == "Bearer t"


def bad_lists() -> list[tuple[str, Callable[[], web.Response]]]:
    good = [{"targets": ["new:1"]}]
    return [
        ("500", lambda: web.json_response(good, status=500)),
        ("201", lambda: web.json_response(good, status=201)),
        ("302", lambda: web.Response(status=302, headers={"Location": "/other"})),
        ("text/plain", lambda: web.Response(text=json.dumps(good))),
        ("no JSON", lambda: web.Response(text="[{", content_type="application/json")),
        ("a list", lambda: web.json_response({})),
        ("a list", lambda: web.json_response(None)),
        ("0.targets", lambda: web.json_response([{"targets": "new:1"}])),
        ("more than", lambda: web.Response(text=" " * (9 << 20), content_type="application/json")),
    ]


@pytest.mark.parametrize(("why", "bad"), bad_lists())
async def test_any_bad_answer_keeps_the_last_list(
    session: ClientSession, list_server: Callable[[Any], Any], why: str, bad: Callable[[], web.Response]
) -> None:
    now = Now()
    answers = [lambda: web.json_response([{"targets": ["h:1"]}]), bad, lambda: web.json_response([])]

    async def answer(request: web.Request) -> web.Response:
        return answers.pop(0)()

    url = await list_server(answer)
    discovery = Discovery([job(http_sd=[{"url": url}])], session=session, clock=now.clock())
    good = await discovery.look()
    now.seconds += 59
    assert await discovery.look() is good
    now.seconds += 1
    kept = await discovery.look()
    assert kept.targets == good.targets
    (problem,) = kept.problems
    assert why in problem
    assert url in problem
    now.seconds += 60
    empty = await discovery.look()
    assert (empty.targets, empty.problems) == ((), ())


async def test_a_dead_list_server_does_not_hide_other_sources(
    session: ClientSession, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    (tmp_path / "t.yml").write_text(GOOD_YAML)
    dead = job(name="dead", http_sd=[{"url": f"http://127.0.0.1:{free_port()}/sd"}])
    found = await Discovery([dead, from_files("t.yml")], session=session, folder=tmp_path).look()
    assert len(found.targets) == 2
    assert found.idle_jobs == ("dead",)
    assert "cannot be asked" in found.problems[0]


async def test_a_hanging_list_server_ends_at_its_timeout(
    session: ClientSession, list_server: Callable[[Any], Any]
) -> None:
    async def hang(request: web.Request) -> web.Response:
        await asyncio.sleep(3600)
        raise AssertionError

    url = await list_server(hang)
    found = await Discovery([job(http_sd=[{"url": url, "refresh_interval": "200ms"}])], session=session).look()
    assert "no whole answer within 0.2 s" in found.problems[0]


async def test_discovered_metadata_addresses_are_left_out(session: ClientSession, tmp_path: Path) -> None:
    (tmp_path / "t.yml").write_text("[{targets: ['169.254.169.254:80', 'h:1']}]")
    found = await Discovery([from_files("t.yml")], session=session, folder=tmp_path).look()
    assert urls(found) == ["http://h:1/metrics"]
    assert "metadata" in found.problems[0]
