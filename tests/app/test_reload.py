"""A configuration that changes in the middle of an incident: one page, the same incident, and its end arrives."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

from aiops.app.config_load import Sources
from aiops.app.daemon import Daemon
from aiops.app.flags import RunOptions, load_config
from aiops.incidents.alert import AlertState
from aiops.lab.fleet import Fleet
from aiops.web.asked import Plan
from aiops.web.source import ReloadFailed

STEP = 0.2


@pytest_asyncio.fixture
async def fleet() -> AsyncIterator[Fleet]:
    fleet = Fleet(2)
    await fleet.start()
    yield fleet
    await fleet.stop()


class Receiver:
    """An Alertmanager that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.app = web.Application()
        self.app.router.add_post("/api/v2/alerts", self._take)
        self.app.router.add_get("/api/v2/silences", self._silences)

    async def _take(self, request: web.Request) -> web.Response:
        self.told += await request.json()
        return web.Response()

    async def _silences(self, _: web.Request) -> web.Response:
        return web.json_response([])

    def of(self, name: str) -> list[dict[str, Any]]:
        return [alert for alert in self.told if alert["labels"]["alertname"] == name]


def written(path: Path, fleet: Fleet, receiver: str, **changes: Any) -> RunOptions:
    document = {
        "interval": STEP,
        "scrape": {"jobs": [{"name": "lab", "interval": STEP, "targets": [r.url for r in fleet.replicas]}]},
        "nvml": {"enabled": "off"},
        "store": {"directory": str(path.parent / "state")},
        "web": {"listen_address": "127.0.0.1:0"},
        "notify": {"alertmanagers": [{"url": receiver}]},
    }
    path.write_text(yaml.safe_dump(document | changes))
    sources = Sources(path, {})
    return RunOptions(load_config(sources), sources)


async def until(ready: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, "not in time"
        await asyncio.sleep(0.02)


CHANGES: dict[str, dict[str, Any]] = {
    "rules": {
        "detect": {"threshold_sigma": 7, "disable": ["QueueSaturated"]},
        "incidents": {"flap_limit": 5, "join_window": "1m"},
        "slo": {"objectives": [{"of": "errors", "objective": 0.999}]},
    },
    "maintenance": {"maintenance": {"windows": [{"name": "now", "begins": "00:00", "lasts": "7d"}]}},
    "receivers": {"notify_": True},
}


@pytest.mark.parametrize("what", CHANGES)
async def test_a_reload_in_the_middle_of_an_incident_is_no_news(what: str, fleet: Fleet, tmp_path: Path) -> None:
    receiver, changes = Receiver(), dict(CHANGES[what])
    async with TestServer(receiver.app) as server:
        url, path = str(server.make_url("")).rstrip("/"), tmp_path / "aiops.yaml"
        if changes.pop("notify_", False):
            changes["notify"] = {"alertmanagers": [{"url": url}], "resend_delay": "30s"}
        options = written(path, fleet, url)
        daemon = Daemon(options.loaded.config, options)
        task = asyncio.create_task(daemon.run())
        try:
            await until(lambda: daemon.last_tick_at and all(s.up for s in daemon.collectors.statuses()))
            await fleet.strike(1, "dead")
            await until(lambda: receiver.of("TargetDown"))
            (before,) = (a for a in daemon.pipeline.machine.alerts.values() if a.key.rule == "TargetDown")
            one_off = daemon.upkeep.begin(Plan(name="later", lasts=60.0, begins=datetime(2100, 1, 1, tzinfo=UTC)), "")
            written(path, fleet, url, **changes)
            await daemon.reload()
            ticks = daemon.beat.ticks
            await until(lambda: daemon.beat.ticks > ticks + 5)
            after = daemon.pipeline.machine.alerts[before.key]
            assert (after.state, after.started_at, after.incident, after.muted) == (
                AlertState.FIRING, before.started_at, before.incident, "",
            )  # fmt: skip
            assert [one.id for one in daemon.pipeline.grouping.incidents.values() if one.open] == [before.incident]
            assert one_off["id"] in [one["id"] for one in daemon.upkeep.records()]
            await fleet.replicas[1].start()
            await until(lambda: any("endsAt" in one and not _ahead(one) for one in receiver.of("TargetDown")))
        finally:
            daemon.stop()
            with contextlib.suppress(OSError):
                await task
    down = receiver.of("TargetDown")
    assert {(tuple(sorted(one["labels"].items())), one["startsAt"]) for one in down} == {
        (tuple(sorted(down[0]["labels"].items())), down[0]["startsAt"])
    }, "another start or other labels would be another page"


def _ahead(alert: dict[str, Any]) -> bool:
    """It fires: its end lies ahead of its start by the resends."""
    return bool(alert["endsAt"] > time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 20.0)))


async def test_a_bad_configuration_changes_nothing(fleet: Fleet, tmp_path: Path) -> None:
    path = tmp_path / "aiops.yaml"
    options = written(path, fleet, "http://127.0.0.1:9")
    daemon = Daemon(options.loaded.config, options)
    before = daemon.pipeline.calendar, daemon.pipeline.slo, daemon.pipeline.machine
    path.write_text("maintenance: {windows: [{name: x, begins: '25:00', lasts: 1h}]}\n")
    with pytest.raises(ReloadFailed, match="25:00"):
        await daemon.reload()
    assert (daemon.pipeline.calendar, daemon.pipeline.slo, daemon.pipeline.machine) == before
    assert not daemon.reload_successful
