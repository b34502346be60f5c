"""What the page costs with 5000 series: time until the overview stands, elements, memory of the browser, answers.

Needs Chromium and the development environment. Prints one JSON document.
"""

import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from aiohttp import ClientSession
from playwright.async_api import Page, async_playwright

from aiops.app.config import Config
from aiops.app.daemon import Daemon
from aiops.collect.nvml_watch import Enabled, NvmlSettings
from aiops.collect.settings import ScrapeSettings
from aiops.signals.types import Columns, Entity, EntityKind, Reading, SeriesKey
from aiops.store.settings import StoreSettings
from aiops.web.settings import WebSettings

REPLICAS, TICKS, VISITS = 250, 720, 7
SIGNALS = ("queue_len", "running", "max_running", "kv_use", "tokens_out", "tokens_in", "arrivals", "finished")
STATS = tuple((signal, stat) for signal in ("ttft", "itl", "e2e") for stat in ("mean", "p50", "p95", "p99"))


def fleet() -> Columns:
    """250 replicas with 20 series each."""
    keys = []
    for number in range(REPLICAS):
        entity = Entity.of(EntityKind.REPLICA, instance=f"10.0.0.{number}:8000", job="llm", model_name="m")
        keys += [SeriesKey(entity, signal) for signal in SIGNALS] + [SeriesKey(entity, *pair) for pair in STATS]
    return Columns(tuple(keys))


def lived_through(daemon: Daemon) -> None:
    """Fill the window: an hour at 5 s."""
    columns, noise = fleet(), np.random.default_rng(1)
    base = noise.uniform(1, 10, len(columns.keys))
    start = time.time() - TICKS * 5.0
    for tick in range(TICKS):
        values = base * (1 + 0.02 * noise.standard_normal(len(base)))
        at = start + tick * 5.0
        daemon.pipeline.tick(at, [Reading("llm", at, columns, values)], [], elapsed_seconds=5.0)
    daemon.last_tick_at = time.time()


async def answers(url: str) -> dict[str, dict[str, float]]:
    """Milliseconds and bytes (packed) of what the views ask for."""
    found = {}
    async with ClientSession(auto_decompress=False) as session:
        until = time.time()
        for path in ("fleet", "signals/names", "signals/range?signal=ttft&stat=p95", "detectors",
                     f"signals/changes?from={until - 600:.0f}&to={until:.0f}"):  # fmt: skip
            seconds, size = [], 0
            for _ in range(VISITS):
                began = time.perf_counter()
                async with session.get(f"{url}/api/v1/{path}") as answer:
                    size = len(await answer.read())
                seconds.append(time.perf_counter() - began)
            found[path.partition("?")[0]] = {"ms": round(1000 * median(seconds), 1), "bytes": size}
    return found


async def first_look(page: Page, url: str) -> dict[str, float]:
    """One visit with an empty cache."""
    await page.goto(url)
    await page.locator("main[data-ready]").wait_for()
    ready = await page.evaluate("performance.now()")
    paint = await page.evaluate("performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN")
    return {"first_paint_ms": paint, "overview_ms": ready}


async def browse(url: str) -> dict[str, float]:
    """Medians over several visits, and memory after the last."""
    async with async_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        looks = []
        for _ in range(VISITS):
            context = await browser.new_context()
            page = await context.new_page()
            looks.append(await first_look(page, url))
            devtools = await context.new_cdp_session(page)
            await devtools.send("Performance.enable")
            await devtools.send("HeapProfiler.collectGarbage")
            metrics = {one["name"]: one["value"] for one in (await devtools.send("Performance.getMetrics"))["metrics"]}
            elements = await page.locator("*").count()
            await context.close()
        await browser.close()
    found = {name: round(median(look[name] for look in looks)) for name in looks[0]}
    return {**found, "elements": elements, "heap_mb": round(metrics["JSHeapUsedSize"] / 1e6, 1)}


async def main() -> None:
    """Run a daemon with a full window and look at it."""
    with tempfile.TemporaryDirectory() as folder:
        daemon = Daemon(
            Config(
                scrape=ScrapeSettings(look_around=False),
                nvml=NvmlSettings(enabled=Enabled.OFF),
                store=StoreSettings(directory=Path(folder)),
                web=WebSettings(listen_address="127.0.0.1:0"),
            )
        )
        lived_through(daemon)
        await daemon.server.start()
        url = f"http://127.0.0.1:{daemon.server.port}"
        result = {
            "series": daemon.pipeline.ring.series,
            "ring_mb": round(daemon.pipeline.ring.memory_bytes / 1e6, 1),
            "bands_mb": round(daemon.pipeline.bands.memory_bytes / 1e6, 1),
            "answers": await answers(url),
            "browser": await browse(url),
        }
        await daemon.server.stop()
    json.dump(result, sys.stdout, indent=1)


if __name__ == "__main__":
    asyncio.run(main())
