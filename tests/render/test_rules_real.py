"""Every expression of the rule pack against a real Prometheus that scraped recordings of the real programs."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import pytest_asyncio
import yaml
from aiohttp import ClientError, ClientSession, ClientTimeout, web
from aiohttp.test_utils import TestServer

from aiops.app import rule_pack
from tests import early, recordings
from tests.render.promtool import verdict

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]
_TOGETHER = pytest.mark.asyncio(loop_scope="module")
RULES = Path(__file__).resolve().parents[2] / "alert_rules"

# Job → pages in the order in which one program showed them.
ROUTERS = ("dynamo", "vllm-router", "sglang-router", "litellm")
JOBS = {
    "vllm": ("vllm/idle", "vllm/steady", "vllm/overload"),
    "vllm-rejecting": ("vllm/admission-rejections",),
    "triton": ("triton/idle", "triton/steady", "triton/overload"),
    "llamacpp": ("llamacpp/idle", "llamacpp/steady", "llamacpp/overload"),
    "ray": ("ray/idle",),
    "node": ("node_exporter/idle",),
}
JOBS |= {program: tuple(f"{program}/{moment}" for moment in recordings.moments(program)) for program in ROUTERS}
# Engine → records that its recording cannot fill, and why. Everything else must be there.
UNFILLED = {
    "engine-vllm": {"replica:llm_corrupted:rate5m"},  # only with VLLM_COMPUTE_NANS_IN_LOGITS=1
    "engine-triton": {
        "replica:llm_running:sum", "replica:llm_max_running:sum", "replica:llm_kv_use:ratio",  # TensorRT-LLM backend
        "replica:llm_ttft_seconds:mean5m", "model:llm_ttft_total:rate5m", "model:llm_ttft_bad:rate5m",  # off by default
    },
    "engine-llamacpp": {"replica:llm_kv_use:ratio"} | {"replica:llm_start_time_seconds:max"},  # gone; no process_*
    "gateway-ray-serve": {
        "replica:llm_finished:rate5m", "replica:llm_errors:rate5m", "replica:llm_queue_time_seconds:mean5m",
        "model:llm_e2e_total:rate5m", "model:llm_e2e_bad:rate5m",
        "model:llm_errors_total:rate5m", "model:llm_errors_bad:rate5m",  # the recording is of an idle server
    },
    "gateway-dynamo": {
        "replica:llm_max_running:sum", "replica:llm_ready:sum",  # this version has no count of workers
        "replica:llm_errors:rate5m", "replica:llm_rejected:rate5m", "replica:llm_aborted:rate5m",  # none were seen
    },
    "gateway-vllm-router": set(),
    "gateway-sglang-router": {
        # of workers that speak gRPC
        "replica:llm_ttft_seconds:mean5m", "model:llm_ttft_total:rate5m", "model:llm_ttft_bad:rate5m",
    },
    "gateway-litellm": {"replica:llm_rejected:rate5m"},  # none were seen
}  # fmt: skip


@dataclass
class Prometheus:
    """A running Prometheus with the whole pack loaded."""

    url: str
    session: ClientSession

    async def get(self, path: str, **parameters: str) -> dict[str, Any]:
        """Body of an answer, errors included."""
        async with self.session.get(f"{self.url}/api/v1/{path}", params=parameters) as answer:
            body: dict[str, Any] = await answer.json()
            return body

    async def series(self, expr: str) -> list[dict[str, Any]]:
        """Result of an instant query."""
        body = await self.get("query", query=expr)
        assert body["status"] == "success", f"{body.get('error')}\n{expr}"
        found: list[dict[str, Any]] = body["data"]["result"]
        return found

    async def until(self, expr: str, seconds: float) -> None:
        """Wait until a query finds something."""
        for _ in range(int(seconds * 5)):
            try:
                if await self.series(expr):
                    return
            except (ClientError, OSError):
                pass
            await asyncio.sleep(0.2)
        raise AssertionError(f"nothing for {expr} within {seconds} s")


def pages(captures: Path) -> web.Application:
    """Serves the pages of a job one after the other, the last again and again."""
    asked: dict[str, int] = {}

    async def show(request: web.Request) -> web.Response:
        job = request.match_info["job"]
        turn = min(asked.get(job, 0), len(JOBS[job]) - 1)
        asked[job] = asked.get(job, 0) + 1
        program, moment = JOBS[job][turn].split("/")
        own = program in ROUTERS
        body = recordings.page(program, moment) if own else (captures / program / f"{moment}.prom").read_bytes()
        return web.Response(body=body, content_type="text/plain")

    app = web.Application()
    app.router.add_get("/{job}", show)
    return app


def scrape_config(address: str, daemon: int) -> dict[str, Any]:
    def job(name: str, target: str, path: str) -> dict[str, Any]:
        labels = {"namespace": "llm"}
        return {"job_name": name, "metrics_path": path, "static_configs": [{"targets": [target], "labels": labels}]}

    return {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES / "*.rules.yaml")],
        "scrape_configs": [
            *(job(name, address, f"/{name}") for name in JOBS),
            job("aiops", f"127.0.0.1:{daemon}", "/metrics"),
        ],
    }


def daemon_config(folder: Path, port: int, address: str) -> str:
    return json.dumps(
        {
            "interval": "1s",
            "scrape": {"jobs": [{"name": "chat", "interval": "1s", "targets": [f"http://{address}/vllm-rejecting"]}]},
            "nvml": {"enabled": "off"},
            "store": {"directory": str(folder / "state")},
            "notify": {"alertmanagers": [{"url": f"http://{address}"}]},
            "web": {"listen_address": f"127.0.0.1:{port}"},
        }
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def prometheus(
    captures: Path,
    tmp_path_factory: pytest.TempPathFactory,
    free_port: Callable[[], int],
    real_program: Callable[[str], str],
) -> AsyncIterator[Prometheus]:
    program, port, daemon = real_program("prometheus"), free_port(), free_port()
    tmp_path = tmp_path_factory.mktemp("pack")
    async with TestServer(pages(captures)) as server, ClientSession(timeout=ClientTimeout(total=30)) as session:
        address = f"{server.host}:{server.port}"
        (tmp_path / "aiops.yaml").write_text(daemon_config(tmp_path, daemon, address))
        (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(scrape_config(address, daemon)))
        commands = (
            (sys.executable, "-m", "aiops", "run", f"--config.file={tmp_path / 'aiops.yaml'}"),
            (
                program,
                f"--config.file={tmp_path / 'prometheus.yml'}",
                f"--storage.tsdb.path={tmp_path / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ),
        )
        with (tmp_path / "log").open("ab") as log:
            running = [await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log) for command in commands]
            try:
                yield Prometheus(f"http://127.0.0.1:{port}", session)
            finally:
                for process in running:
                    process.terminate()
                for process in running:
                    await process.wait()


@_TOGETHER
async def test_every_expression_is_evaluated_and_every_record_of_a_recording_is_filled(prometheus: Prometheus) -> None:
    last = "model:llm_rejections_bad:ratio_rate3d"
    failed = [f'replica:llm_errors:rate5m{{job="{router}"}}' for router in ("vllm-router", "sglang-router")]
    for ready in ("aiops_target_up == 1", 'model:llm_e2e_bad:rate5m{job="vllm"}', f'{last}{{job="vllm"}}', *failed):
        await prometheus.until(ready, 90)

    groups = (await prometheus.get("rules"))["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) == sum(len(file.rules) for file in rule_pack.files())
    assert not [(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] == "err"]

    for file in rule_pack.files():
        for rule in file.rules:
            await prometheus.series(rule["expr"])  # raises with the error that Prometheus gives

    found = {file.name: await empty(prometheus, file.name) for file in rule_pack.files() if file.name in UNFILLED}
    assert found == UNFILLED
    ratios = [
        rule["record"] for file in rule_pack.files() for rule in file.rules if "ratio_rate" in rule.get("record", "")
    ]
    assert not [record for record in ratios if not await prometheus.series(f'{record}{{job="vllm"}}')]


async def empty(prometheus: Prometheus, name: str) -> set[str]:
    """Records of a file whose expression finds nothing in the recording of the engine that the file is for."""
    (file,) = (file for file in rule_pack.files() if file.name == name)
    return {rule["record"] for rule in file.rules if not await prometheus.series(rule["expr"])}


async def jobs_of(prometheus: Prometheus, name: str) -> set[str]:
    (file,) = (file for file in rule_pack.files() if file.name == name)
    return {row["metric"]["job"] for rule in file.rules for row in await prometheus.series(rule["expr"])}


@_TOGETHER
async def test_the_pack_sees_what_the_recordings_show(prometheus: Prometheus) -> None:
    async def value(expr: str) -> float:
        await prometheus.until(expr, 90)
        (row,) = await prometheus.series(expr)
        return float(row["value"][1])

    # The page of the overload says: 4 run, about 60 wait, one model.
    await prometheus.until('replica:llm_queue_len:sum{job="vllm", model_name!=""} > 50', 60)
    assert await value('replica:llm_running:sum{job="vllm"}') == 4
    assert await value('replica:llm_queue_len:sum{job="llamacpp"} > 50') > 50
    assert await value('replica:llm_queue_len:sum{job="triton", model_name="tinyllm"} > 100') > 100
    assert 0 < await value('replica:llm_kv_use:ratio{job="vllm"}') < 1
    assert await value('replica:llm_ready:sum{job="ray"}') == 1
    share = await value('model:llm_ttft_bad:ratio_rate5m{job="vllm"} >= 0')
    assert 0 <= share <= 1
    assert share == pytest.approx(1 - await value(SHARE_WITHIN), abs=0.05)
    await prometheus.until('ALERTS{alertname="AIOpsHeartbeat", alertstate="firing", severity="info"}', 30)


SHARE_WITHIN = """
sum(increase(vllm:time_to_first_token_seconds_bucket{job="vllm", le="2.5"}[5m]))
/ sum(increase(vllm:time_to_first_token_seconds_count{job="vllm"}[5m]))
"""


# Annotations -----------------------------------------------------------------------------------------------------


ALERT_TESTS = tuple(sorted((RULES / "tests").glob("*.yaml")))


def without_expected_alerts(path: Path) -> tuple[dict[str, Any], set[str]]:
    """A document of tests that asks for alerts and says that there are none, and which it asks for."""
    document = yaml.safe_load(path.read_text())
    document["rule_files"] = [str((path.parent / name).resolve()) for name in document["rule_files"]]
    wanted: set[str] = set()
    for test in document["tests"]:
        asked = [one for one in test.pop("promql_expr_test") if one["exp_samples"]]
        first: dict[str, str] = {}
        for one in asked:
            first.setdefault(re.findall(r'alertname="(\w+)"', one["expr"])[0], one["eval_time"])
        wanted |= set(first)
        test["alert_rule_test"] = [{"alertname": name, "eval_time": at, "exp_alerts": []} for name, at in first.items()]
    return document, wanted


def complained(path: Path) -> tuple[Any, set[str]]:
    """What promtool says of such a document, and what the document asks for."""
    document, wanted = without_expected_alerts(path)
    with TemporaryDirectory() as folder:
        Path(folder, path.name).write_text(yaml.safe_dump(document))
        return verdict(Path(folder, path.name)), wanted


def begin_with_session() -> None:
    """A quarter of a minute of computing."""
    for path in ALERT_TESTS:
        early.computing(f"annotations of {path.stem}", partial(complained, path))


@pytest.mark.parametrize("name", [path.stem for path in ALERT_TESTS])
def test_annotations_are_filled_in(name: str, real_program: Callable[[str], str]) -> None:
    """Ask promtool for alerts that it cannot have, and read in its complaint what it has."""
    real_program("promtool")
    done, wanted = early.outcome(f"annotations of {name}")
    told = done.stdout + done.stderr
    descriptions = re.findall(r'description="((?:[^"\\]|\\.)*)"', told)
    assert {one for one in wanted if f'alertname="{one}"' in told} == wanted
    assert len(descriptions) >= len(wanted)
    assert not [text for text in descriptions if re.search(r"error expanding|no value|%!|{{|  |\(\)", text)]
