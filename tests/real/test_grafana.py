"""Every query of every panel, asked of a real Prometheus that scraped the programs which the panel is about.

Recordings of real programs are served moment by moment; synthetic pages of the others grow evenly from half to all of
their numbers, so the rate of every counter is known and the panels' numbers can be held against the table beside the
page. The daemon watches the simulated fleet and is scraped as it is.
"""

import asyncio
import contextlib
import json
import math
import re
import shutil
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGHUP
from typing import Any

import pytest
import pytest_asyncio
import yaml
from aiohttp import ClientSession, ClientTimeout, web
from aiohttp.test_utils import TestServer

from aiops.app.boards import boards
from aiops.app.config import Config
from aiops.app.daemon import Daemon
from aiops.app.presets import engine_profiles
from aiops.app.rule_pack import pack
from aiops.capacity.settings import CapacitySettings
from aiops.collect.nvml_watch import Enabled, NvmlSettings
from aiops.collect.settings import JobSettings, ScrapeSettings, TargetSettings
from aiops.lab.fleet import Fleet
from aiops.render.grafana import ENGINES, Board
from aiops.render.grafana_promql import Query
from aiops.signals.catalog import SIGNALS, Kind
from aiops.store.settings import StoreSettings
from aiops.web.settings import WebSettings
from tests import recordings
from tests.conftest import missing
from tests.real.programs import Program, get_json, until
from tests.render.grafana_queries import SELECTOR, expects

pytestmark = [
    pytest.mark.real,
    pytest.mark.timeout(150),
    pytest.mark.asyncio(loop_scope="module"),
]
ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "tests" / "signals" / "data"
GROW_SECONDS = 10.0
"""As between the two readings of the tables."""
WINDOW = "6s"
CONSTANT = re.compile(rb"start_time_seconds|boot_time_seconds|timestamp_seconds")
MOMENTS = {
    "vllm": ("idle", "steady", "overload", "after"),
    "triton": ("idle", "steady", "overload", "after"),
    "llamacpp": ("idle", "steady", "overload"),
    "ray": ("idle",),
}
WATCHED = ("recording-vllm", "recording-ray", "dcgm-exporter-default", "dynamo-new", "tensorrt-llm-new")
"""Pages that the daemon reads too, beside the fleet."""
PROGRAMS = {"ray": "ray-serve"} | recordings.PROFILE
"""Folder of a recording → profile, where they are not called the same."""


def grown(page: bytes, share: float) -> bytes:
    """The page with a share of every number that is no time stamp."""
    lines = []
    for line in page.splitlines():
        head, _, number = line.rpartition(b" ")
        if line.startswith(b"#") or not head or CONSTANT.search(head):
            lines.append(line)
        else:
            lines.append(head + b" %r" % (float(number) * share) if math.isfinite(float(number)) else line)
    return b"\n".join(lines) + b"\n"


@dataclass
class Stage:
    """Pages over time, which begins when all of them were read."""

    synthetic: dict[str, bytes] = field(default_factory=dict)
    moments: dict[str, list[bytes]] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)
    began: float = math.inf

    async def page(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        self.read.add(name)
        share = min(max(time.time() - self.began, 0.0) / GROW_SECONDS, 1.0)
        if name in self.synthetic:
            return web.Response(body=grown(self.synthetic[name], 0.5 + share / 2), content_type="text/plain")
        moments = self.moments[name]
        return web.Response(body=moments[min(int(share * len(moments)), len(moments) - 1)], content_type="text/plain")

    @property
    def names(self) -> list[str]:
        return [*self.synthetic, *self.moments]


@dataclass
class Scene:
    """A Prometheus that saw everything."""

    url: str
    session: ClientSession
    stage: Stage
    began: float
    ended: float
    series: Mapping[str, list[dict[str, str]]]
    """Metric name → labels."""

    async def ask(self, expr: str, *, at: float | None = None) -> tuple[str, list[dict[str, Any]]]:
        """Error text and series; over the whole time, or at one moment."""
        if at is None:
            path, times = "query_range", {"start": f"{self.began:.3f}", "end": f"{self.ended:.3f}", "step": "2"}
        else:
            path, times = "query", {"time": f"{at:.3f}"}
        async with self.session.post(f"{self.url}/api/v1/{path}", data={"query": expr, **times}) as answer:
            body = await answer.json()
        return body.get("error", ""), (body.get("data") or {}).get("result", [])

    def present(self, selector: str) -> bool:
        """Whether any series that was scraped or recorded fits a selector; judged here, not by Prometheus."""
        found = SELECTOR.fullmatch(selector)
        assert found
        matchers = MATCHER.findall(found["inside"])
        return any(
            all(_accepts(series.get(name, ""), operator, json.loads(text)) for name, operator, text in matchers)
            for series in self.series.get(found["name"], ())
        )


MATCHER = re.compile(r'([a-zA-Z_]\w*)(=~|!~|!=|=)("(?:\\.|[^"\\])*")')


def _accepts(value: str, operator: str, wanted: str) -> bool:
    same = bool(re.fullmatch(wanted, value)) if "~" in operator else value == wanted
    return not same if operator.startswith("!") else same


def filled(expr: str, **values: str) -> str:
    """The query as Grafana sends it."""
    expr = expr.replace("$__rate_interval", WINDOW).replace("$__range", "20s")
    chosen = {"job": ".+", "instance": ".+", **values}
    return re.sub(r"\$([a-z]\w*)", lambda found: chosen.get(found[1], ".*"), expr)


@pytest.fixture(scope="module")
def stage() -> Stage:
    synthetic = {path.stem: path.read_bytes() for path in sorted(PAGES.glob("*.prom"))}
    return Stage(synthetic={name: page for name, page in synthetic.items() if name in tables()})


def tables() -> dict[str, dict[str, Any]]:
    """Page → what must come out, for programs that have a board."""
    shown = {board.uid.removeprefix("aiops-engine-") for board in boards()}
    found = {path.stem: yaml.safe_load(path.read_text()) for path in sorted(PAGES.glob("*.yaml"))}
    return {name: table for name, table in found.items() if table["engine"] in shown}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(stage: Stage, captures: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    """Serve, scrape for a while, then stop all but Prometheus: what follows are many questions about the past."""
    folder = tmp_path_factory.mktemp("grafana")
    for name, moments in MOMENTS.items():
        stage.moments[f"recording-{name}"] = [(captures / name / f"{one}.prom").read_bytes() for one in moments]
    for name in recordings.PROGRAMS:
        stage.moments[f"recording-{name}"] = [recordings.page(name, one) for one in recordings.moments(name)]
    app = web.Application()
    app.router.add_get("/{name}", stage.page)
    config = folder / "prometheus.yml"
    config.write_text("{}")
    rules = [str(path) for path in sorted((ROOT / "alert_rules").glob("*.rules.yaml"))]
    async with _prometheus(find_program("prometheus"), config) as (program, url):
        began = time.time()
        async with TestServer(app) as server:
            watched = {name: str(server.make_url(f"/{name}")) for name in WATCHED}
            async with _daemon(folder, watched) as daemon:
                fleet = [one.removeprefix("http://").removesuffix("/metrics") for one in daemon.fleet]
                jobs = [_job(name, [f"127.0.0.1:{server.port}"], f"/{name}") for name in stage.names]
                jobs += [_job("fleet", fleet, "/metrics"), _job("aiops", [daemon.address], "/metrics")]
                times = {"scrape_interval": "1s", "evaluation_interval": "3s"}
                config.write_text(json.dumps({"global": times, "rule_files": rules, "scrape_configs": jobs}))
                program.send_signal(SIGHUP)
                await until(lambda: stage.read == set(stage.names), 30, "a first scrape of every page")
                await until(daemon.has_advised, 30, "a first advice, which its counters begin with")
                await asyncio.sleep(3)
                stage.began = time.time()
                await asyncio.sleep(GROW_SECONDS + 3)
                ended = time.time()
                config.write_text("{}")
                program.send_signal(SIGHUP)
        async with ClientSession(timeout=ClientTimeout(total=30)) as session:
            series: dict[str, list[dict[str, str]]] = {}
            asked = {"match[]": '{__name__!=""}', "start": f"{began:.3f}", "end": f"{ended:.3f}"}
            async with session.get(f"{url}/api/v1/series", params=asked) as answer:
                for one in (await answer.json())["data"]:
                    series.setdefault(one.pop("__name__"), []).append(one)
            yield Scene(url, session, stage, began, ended, series)


def find_program(name: str) -> str:
    """As the fixture ``real_program``, for a fixture of the module."""
    path = shutil.which(name)
    if path is None:
        missing(f"the program {name}")
    return str(path)


def _job(name: str, targets: list[str], path: str) -> dict[str, Any]:
    return {"job_name": name, "metrics_path": path, "static_configs": [{"targets": targets}]}


@contextlib.asynccontextmanager
async def _prometheus(program: str, config: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = Program(
        program,
        f"--config.file={config}",
        f"--storage.tsdb.path={config.parent / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        log=config.parent / "prometheus.log",
    )
    await process.start()
    url = f"http://127.0.0.1:{port}"
    try:
        await until(lambda: get_json(f"{url}/api/v1/status/buildinfo"), 20, "Prometheus")
        assert process.process is not None
        yield process.process, url
    finally:
        await process.end()


@dataclass
class Watching:
    """The daemon's address, and what it watches."""

    address: str
    fleet: list[str]

    async def has_advised(self) -> bool:
        async with ClientSession() as session, session.get(f"http://{self.address}/metrics") as answer:
            return "aiops_recommendation_outcomes_total{" in await answer.text()


@contextlib.asynccontextmanager
async def _daemon(folder: Path, pages: Mapping[str, str]) -> AsyncIterator[Watching]:
    fleet = Fleet(2)
    await fleet.start()
    targets = tuple(TargetSettings(url=replica.url) for replica in fleet.replicas)
    daemon = Daemon(
        Config(
            interval=1.0,
            scrape=ScrapeSettings(
                jobs=(
                    JobSettings(name="fleet", targets=targets, interval=1.0),
                    *(
                        JobSettings(name=name, targets=(TargetSettings(url=url),), interval=1.0)
                        for name, url in pages.items()
                    ),
                )
            ),
            nvml=NvmlSettings(enabled=Enabled.OFF),
            capacity=CapacitySettings(interval=1.0, step=1.0),
            store=StoreSettings(directory=folder / "state"),
            web=WebSettings(listen_address="127.0.0.1:0"),
        )
    )
    running = asyncio.create_task(daemon.run())
    try:
        await until(lambda: daemon.server.port or running.done(), 20, "the daemon")
        yield Watching(f"127.0.0.1:{daemon.server.port}", [replica.url for replica in fleet.replicas])
    finally:
        daemon.stop()
        await asyncio.gather(running, return_exceptions=True)
        await fleet.stop()


# Questions ----------------------------------------------------------------------------------------------------------


def queries(board: Board) -> Iterator[tuple[str, str]]:
    for row in board.rows:
        for panel in row.panels:
            for target in panel.targets:
                yield f"{board.uid} / {panel.title} / {target.legend}", target.expr


def scraped(stage: Stage) -> dict[str, list[str]]:
    """Profile → jobs whose pages are of that program; a page may be of two."""
    found: dict[str, list[str]] = {}
    for name, table in tables().items():
        for program in table.get("programs", [table["engine"]]):
            found.setdefault(program, []).append(name)
    for job in stage.moments:
        folder = job.removeprefix("recording-")
        found.setdefault(PROGRAMS.get(folder, folder), []).append(job)
    return found


async def faults(scene: Scene, board: Board, change: Callable[[str], str] = str, **values: str) -> list[str]:
    """What is wrong with the queries of a board; ``change`` spoils them on purpose."""
    wrong = []
    for where, raw in queries(board):
        meant = filled(raw, **values)
        error, series = await scene.ask(filled(change(raw), **values))
        if error:
            wrong.append(f"{where}: {error}\n{meant}")
        elif not series and expects(meant, scene.present):
            wrong.append(f"{where}: nothing found\n{meant}")
    return wrong


@pytest.mark.parametrize("board", [one for one in boards() if one.tag == ENGINES], ids=lambda board: board.uid)
async def test_every_query_of_an_engine_finds_what_its_pages_have(scene: Scene, board: Board) -> None:
    jobs = scraped(scene.stage)[board.uid.removeprefix("aiops-engine-")]
    assert jobs
    for job in jobs:
        assert not (wrong := await faults(scene, board, job=job)), "\n".join(wrong)


PROMISED = {"aiops-engine-ray-serve": 0.3, "aiops-engine-triton": 0.55, "aiops-engine-sglang-router": 0.6}
"""Least share of the queries that some page of the program promises to answer; Ray was recorded idle,
Triton without its optional quantiles, the router before workers that speak HTTP."""


@pytest.mark.parametrize("board", [one for one in boards() if one.tag == ENGINES], ids=lambda board: board.uid)
async def test_the_pages_promise_answers_to_most_queries(scene: Scene, board: Board) -> None:
    """Else the test above would hold of a board that nobody feeds."""
    asked = [expr for _, expr in queries(board)]
    jobs = scraped(scene.stage)[board.uid.removeprefix("aiops-engine-")]
    promised = [expr for expr in asked if any(expects(filled(expr, job=job), scene.present) for job in jobs)]
    assert len(promised) / len(asked) >= PROMISED.get(board.uid, 0.8), (board.uid, len(promised), len(asked))


@pytest.mark.parametrize("board", [one for one in boards() if one.tag != ENGINES], ids=lambda board: board.uid)
async def test_every_query_about_the_daemon_finds_what_it_shows(scene: Scene, board: Board) -> None:
    assert await faults(scene, board, job="aiops") == []


def board_of(uid: str) -> Board:
    return next(one for one in boards() if one.uid == uid)


async def test_a_misspelt_metric_and_broken_promql_are_found(scene: Scene) -> None:
    spelling = await faults(
        scene, board_of("aiops-engine-vllm"), lambda expr: expr.replace("running{", "runing{"), job="fleet"
    )
    assert {fault.partition(":")[0].split(" / ")[1] for fault in spelling} == {"Running"}
    assert all("nothing found" in fault for fault in spelling)
    own = await faults(
        scene, board_of("aiops-fleet"), lambda expr: expr.replace("queue_len{", "queue_length{"), job="aiops"
    )
    assert {fault.partition(":")[0].split(" / ")[1] for fault in own} == {"Waiting"}
    broken = await faults(scene, board_of("aiops-engine-tgi"), lambda expr: f"{expr})", job="tgi")
    assert len(broken) == len(list(queries(board_of("aiops-engine-tgi"))))
    assert all("parse error" in fault for fault in broken)


ALIVE = {
    "aiops-fleet": ("Replicas that answer", "Waiting", "Running", "Time to first token, p95",
                    "Arrivals and ends", "How requests end", "Tokens", "KV cache in use", "Budget burn, 1 h"),
    "aiops-latency": ("Mean time of a request, by stage", "Share of each stage", "First token: waiting and prefill"),
    "aiops-capacity": ("Arrivals and ends", "Running, of what can run", "Work of a request", "KV cache, tokens in use",
                       "Replicas that serve"),
    "aiops-gpus": ("GPU temperature", "Device memory in use"),
    "aiops-itself": ("Time of a turn", "Series", "Answers", "Memory", "Journal", "Version"),
    "aiops-incidents": ("Alerts of aiops", "Open incidents", "Changes", "Pending"),
    "aiops-engine-vllm": ("Queue, prefill and decode", "KV cache in use", "Prefix cache hits"),
}  # fmt: skip


@pytest.mark.parametrize("uid", ALIVE)
async def test_panels_that_must_live_show_numbers(scene: Scene, uid: str) -> None:
    wrong = []
    for title in ALIVE[uid]:
        panels = [panel for row in board_of(uid).rows for panel in row.panels if panel.title == title]
        assert panels, title
        for target in panels[0].targets:
            _, series = await scene.ask(filled(target.expr, job="recording-vllm" if "engine" in uid else "aiops"))
            values = [float(value) for one in series for _, value in one["values"]]
            if not any(math.isfinite(value) for value in values):
                wrong.append(f"{title}: {target.expr}")

    assert not wrong, "\n".join(wrong)


# Numbers ------------------------------------------------------------------------------------------------------------

_WORDS = {"gpu": "uuid", "node": "Hostname", "mig": "GPU_I_ID"}


def stated(table: Mapping[str, Any]) -> Iterator[tuple[dict[str, str], str, str, float]]:
    """Labels, signal, statistic and number of everything that the table states."""
    for entity in table["entities"]:
        labels = {_WORDS.get(name, name): text for name, text in entity["labels"].items()}
        for key, number in entity["values"].items():
            signal, _, stat = key.partition(":")
            yield labels, signal, stat, float(number)


@pytest.mark.parametrize("name", tables())
async def test_panels_show_the_numbers_of_the_table(scene: Scene, name: str) -> None:
    """Counters gain what the table says while the page grows; levels are what it says at the end."""
    table = tables()[name]
    (profile,) = [one for one in engine_profiles() if one.name == table["engine"]]
    own = {*profile.entity.labels, *profile.entity.page}
    query, compared, wrong = Query.of(profile, pack().bare_counters), 0, []
    for labels, signal, stat, number in stated(table):
        if signal not in profile.roles or math.isnan(number) or signal == "gpu_xid":
            continue  # every step of a growing page is a change, so there it looks like many errors
        if not labels.keys() <= {"Hostname", *(_WORDS.get(one, one) for one in own)}:
            continue  # another program on the same page
        expr = {"": query.value(signal), "mean": query.mean(signal, query.entity_labels)}.get(stat)
        if expr is None or (signal == "arrivals" and not expects(filled(expr, job=name), scene.present)):
            continue  # a quantile, which boards show over all replicas only; or derived from other signals
        compared += 1
        factor = GROW_SECONDS if SIGNALS[signal].kind is Kind.EVENTS else 1.0
        shown = []
        for at in (scene.stage.began + GROW_SECONDS - 1, scene.ended):
            _, series = await scene.ask(filled(expr, job=name), at=at)
            shown.append([float(one["value"][1]) * factor for one in series if fits(one, labels, series)])
        if [pytest.approx(number, rel=0.05, abs=1e-9)] not in shown:
            wrong.append(f"{signal}:{stat} of {labels}: {shown}, expected {number}\n{expr}")
    assert not wrong, "\n".join(wrong)
    assert compared > 0


def fits(one: dict[str, Any], labels: Mapping[str, str], among: list[dict[str, Any]]) -> bool:
    """Labels that no series has came from the target or from another metric of the page."""
    there = {name for other in among for name in other["metric"]}
    return all(one["metric"].get(name, "") == text for name, text in labels.items() if name in there)
