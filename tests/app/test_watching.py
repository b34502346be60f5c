"""The daemon with probes, files to check and a past to learn from, over real HTTP."""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from aiops.app.config import Config
from aiops.app.daemon import Daemon
from aiops.collect import integrity, probe
from aiops.collect.integrity import IntegritySettings, ModelFilesSettings
from aiops.collect.manifest import write_manifest
from aiops.collect.nvml_watch import Enabled, NvmlSettings
from aiops.collect.probe import EndpointSettings, ProbeSettings
from aiops.collect.promapi import PrometheusSettings
from aiops.collect.settings import JobSettings, ScrapeSettings, TargetSettings
from aiops.detect.liveness import OWN_VERDICT
from aiops.lab.engine import Engine
from aiops.lab.page import vllm_page
from aiops.store.settings import StoreSettings
from aiops.web.settings import WebSettings

STEP = 0.2


SAID = ["red, green"]


async def answer(request: web.Request) -> web.Response:
    chunk = json.dumps({"choices": [{"delta": {"content": SAID[-1]}, "finish_reason": "stop"}]})
    return web.Response(text=f"data: {chunk}\n\ndata: [DONE]\n\n", content_type="text/event-stream")


@pytest_asyncio.fixture
async def served() -> AsyncIterator[str]:
    """Base URL of an engine that has a page and answers."""
    engine, application = Engine(seed=1), web.Application()

    async def page(_: web.Request) -> web.Response:
        engine.advance(engine.now + STEP)
        return web.Response(text=vllm_page(engine, model="tiny", started=1.0))

    application.router.add_get("/metrics", page)
    application.router.add_post("/v1/chat/completions", answer)
    async with TestServer(application) as server:
        yield str(server.make_url("")).rstrip("/")


def configured(url: str, folder: Path) -> Config:
    (folder / "model").mkdir()
    (folder / "model" / "weights.bin").write_bytes(b"weights")
    (folder / "manifest.json").write_text(write_manifest(folder / "model"))
    (folder / "model" / "weights.bin").write_bytes(b"wejghts")
    job = JobSettings(name="llm", targets=(TargetSettings(url=f"{url}/metrics"),), interval=STEP)
    endpoint = EndpointSettings(url=f"{url}/v1", model="tiny", interval=1.0, timeout=1.0)
    files = ModelFilesSettings(directory=folder / "model", manifest=folder / "manifest.json")
    return Config(
        interval=STEP,
        scrape=ScrapeSettings(jobs=(job,)),
        nvml=NvmlSettings(enabled=Enabled.OFF),
        store=StoreSettings(directory=folder / "state"),
        web=WebSettings(listen_address="127.0.0.1:0"),
        probe=ProbeSettings(endpoints=(endpoint,)),
        integrity=IntegritySettings(models=(files,)),
        prometheus=PrometheusSettings(url="http://127.0.0.1:1"),
    )


@contextlib.asynccontextmanager
async def running(config: Config) -> AsyncIterator[Daemon]:
    daemon = Daemon(config)
    task = asyncio.create_task(daemon.run())
    try:
        yield daemon
    finally:
        daemon.stop()
        await task


def test_kinds_are_those_that_detection_knows() -> None:
    assert {probe.KIND, integrity.KIND} == OWN_VERDICT


async def until(done: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        await asyncio.sleep(0.05)


async def test_probe_and_files_reach_the_window_and_the_alerts(
    served: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiops.collect.integrity.IntegrityCollector.interval_seconds", 0.5)
    config = configured(served, tmp_path)
    entity = config.probe.endpoints[0].entity
    with caplog.at_level(logging.INFO, "aiops.app"):
        async with running(config) as daemon:
            ring, machine = daemon.pipeline.ring, daemon.pipeline.machine

            def known(signal: str) -> bool:
                keys = [key for key in ring.window().keys if key is not None and key.signal == signal]
                return any(key.entity == entity and ring.history(key).values.size for key in keys)

            await until(lambda: known("probe_up") and known("running"), "the probe is beside the page of its replica")
            await until(
                lambda: [
                    key for key, alert in machine.alerts.items() if alert.active and key.series.signal == "files_intact"
                ],
                "the damaged file is alerted",
            )
            assert not [key for key in machine.alerts if key.series.signal == "probe_up"]
            monkeypatch.setattr(f"{__name__}.SAID", ["!" * 16])
            await until(
                lambda: [key for key, alert in machine.alerts.items() if alert.active and key.rule == "ProbeFailed"],
                "nonsense is alerted",
            )
            assert not [key for key in machine.alerts if key.rule == "TargetDown"], "one failure, one alert"
            await until(lambda: "no history to learn from" in caplog.messages, "the missing Prometheus is told")
            ticks = daemon.beat.ticks
            await until(lambda: daemon.beat.ticks > ticks + 3, "the ticks go on")
    assert caplog.messages.count("no history to learn from") == 1
