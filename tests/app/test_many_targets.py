"""A large fleet in virtual time: everybody has a turn of their own in every interval, whatever the others do."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from aiops.app import collectors as collectors_module
from aiops.app.assembly import load_gpu_model
from aiops.app.collectors import Collectors
from aiops.collect.nvml_watch import Enabled, NvmlSettings
from aiops.collect.scrape import Scraper
from aiops.collect.settings import ScrapeSettings
from aiops.kit.clock import Clock
from aiops.kit.http import Answer
from aiops.kit.retry import Temporary
from aiops.kit.tasks import Supervisor
from aiops.signals.settings import NormaliseSettings

pytestmark = pytest.mark.looptime
TARGETS, INTERVAL, TIMEOUT = 5000, 4.0, 3.0
SLOT = 0.25


async def test_5000_targets_of_which_a_fifth_hangs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    asked: Counter[str] = Counter()
    slots: Counter[int] = Counter()

    async def fetch(scraper: Scraper) -> Answer:
        asked[scraper.target.source] += 1
        slots[int(loop.time() / SLOT)] += 1
        if int(scraper.target.source.rpartition(".")[2].partition(":")[0]) % 5 == 0:
            await asyncio.sleep(TIMEOUT)
            raise Temporary("no whole answer")
        return Answer(scraper.target.url, 200, {}, b"some_metric 1\n")

    monkeypatch.setattr(Scraper, "_fetch", fetch)
    monkeypatch.setattr(collectors_module, "_LOOK_SECONDS", 3600.0)  # it asks a thread, for which virtual time spins
    clock, supervisor = Clock(now=lambda: 1.7e9 + loop.time(), monotonic=loop.time), Supervisor()
    collectors = Collectors((), NormaliseSettings(), supervisor=supervisor, clock=clock)
    targets = [f"10.0.{number // 250}.{number % 250}:8000" for number in range(TARGETS)]
    job = {"name": "llm", "interval": INTERVAL, "timeout": TIMEOUT, "targets": targets, "target_limit": TARGETS}
    settings = ScrapeSettings.model_validate({"jobs": [job]})
    await collectors.start(settings, NvmlSettings(enabled=Enabled.OFF), load_gpu_model(), tmp_path)
    asked.clear()
    slots.clear()
    collectors.drain()
    await asyncio.sleep(INTERVAL)
    assert len(asked) == TARGETS
    assert set(asked.values()) == {1}, "nobody is left out, and nobody is asked more often"
    assert max(slots.values()) < 1.5 * TARGETS * SLOT / INTERVAL, "not all at once"
    assert sum(bool(status.up) for status in collectors.statuses()) == TARGETS * 4 // 5
    assert len(collectors.drain()) == TARGETS * 4 // 5
    await supervisor.close(within_seconds=5.0)
    await collectors.close()
