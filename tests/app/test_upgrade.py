"""What every released version left on the disk is gone on with; what a newer one left is put aside, not touched.

``tests/app/data/state`` holds the folders; ``make.py`` there says what is in them and how they came about.
"""

import json
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from aiops import __version__
from aiops.app.config import Config
from aiops.app.config_load import Sources, load
from aiops.app.daemon import Daemon
from aiops.kit.clock import Clock
from aiops.lab.fleet import Fleet
from aiops.store import snapshot
from aiops.store.archive import MIGRATIONS
from tests.app.data.state.make import CONFIG
from tests.app.test_daemon import incident_open, running, until

STATES = Path(__file__).parent / "data" / "state"
VERSIONS = sorted(one.name for one in STATES.iterdir() if one.is_dir() and one.name[0].isdigit())


def configured(fleet: Fleet, folder: Path) -> Config:
    file = folder / "aiops.yaml"
    file.write_text(CONFIG.format(urls=[one.url for one in fleet.replicas], state=folder / "state", port=0))
    return load(Config, Sources(file, environ={})).config


def clock_of(saved_at: float) -> Clock:
    """Some seconds after the old version ended, as an upgrade is."""
    began = time.monotonic()
    return Clock(now=lambda: saved_at + 5.0 + time.monotonic() - began)


async def data(daemon: Daemon, path: str) -> Any:
    url = f"http://127.0.0.1:{daemon.server.port}/api/v1/{path}"
    async with ClientSession() as session, session.get(url) as answer:
        return (await answer.json())["data"]


def test_this_version_has_a_folder() -> None:
    assert __version__ in VERSIONS, "run tests/app/data/state/make.py"


@pytest.mark.parametrize("version", VERSIONS)
async def test_what_a_version_left_is_gone_on_with(
    version: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = tmp_path / "state"
    shutil.copytree(STATES / version, state)
    expected = json.loads((state / "expected.json").read_text())
    old = snapshot.read(state / "snapshot.npz", 0.0).snapshot
    assert old is not None
    fleet = Fleet(2)
    await fleet.start()
    config = configured(fleet, tmp_path)
    await fleet.strike(1, "dead")
    try:
        async with running(config, clock_of(old.saved_at)) as daemon:
            alerts = (await data(daemon, "alerts"))["alerts"]
            down = [{key: one[key] for key in ("labels", "activeAt")} for one in alerts if is_down(one)]
            assert down == [one for one in expected["alerts"] if is_down(one)]
            assert len(down) == 1
            incidents = [one for one in (await data(daemon, "incidents"))["incidents"] if one["endsAt"] is None]
            assert [{key: one[key] for key in ("id", "title", "startsAt")} for one in incidents] == expected[
                "incidents"
            ]
            said = (await data(daemon, "feedback"))["feedback"]
            assert [(one["id"], one["cause"], one["note"]) for one in said] == [
                (expected["feedback"][0], "a cable", "seen before")
            ]
            assert [one["id"] for one in (await data(daemon, "maintenance"))["windows"]] == expected["windows"]
            assert [one.key.rule for one in daemon.pipeline.externals.alerts.values()] == ["DiskFull"]
            assert daemon.why.of(incidents[0]["id"]), "the diagnosis is kept"
            assert daemon.pipeline.ring.series >= len(old.ring.keys)
            # What detectors learnt may have another form by now; then they learn anew, and say so.
            assert daemon.state.restored or "what was learnt is not usable" in caplog.text
            (dead,) = (await data(daemon, "signals?signal=queue_len&entity=chat-1"))["signals"]
            assert not (daemon.state.restored and dead["learning"])
            assert any(one.total > 0 for one in daemon.pipeline.slo.budgets())
            await fleet.replicas[1].start()
            await until(lambda: not daemon.pipeline.machine.alerts or not fires(daemon, "TargetDown"))
            assert incident_open(daemon), "another's alert still stands in it"
            status = await data(daemon, "status")
            assert status["storageProblem"] == ""
        assert list(state.glob("*.bad-*")) == []
        with closing(sqlite3.connect(state / "archive.sqlite")) as connection:
            assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    finally:
        await fleet.stop()


def is_down(alert: Any) -> bool:
    """The alert that has to stand; whether others do is the judgement of a version."""
    return bool(alert["labels"]["alertname"] == "TargetDown" and alert.get("state", "firing") == "firing")


def fires(daemon: Daemon, rule: str) -> bool:
    return any(one.active for key, one in daemon.pipeline.machine.alerts.items() if key.rule == rule)


async def test_what_a_newer_version_left_is_put_aside_and_told(tmp_path: Path) -> None:
    state = tmp_path / "state"
    shutil.copytree(STATES / VERSIONS[-1], state)
    with closing(sqlite3.connect(state / "archive.sqlite")) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    newer = (state / "archive.sqlite").read_bytes()
    fleet = Fleet(2)
    await fleet.start()
    try:
        async with running(configured(fleet, tmp_path)) as daemon:
            problem = (await data(daemon, "status"))["storageProblem"]
            assert f"written by a newer version of aiops: schema {len(MIGRATIONS) + 1}, this one knows" in problem
            await until(lambda: all(status.up for status in daemon.collectors.statuses()))
        (aside,) = state.glob("archive.sqlite.bad-*")
        assert aside.read_bytes() == newer
        assert aside.name in problem
    finally:
        await fleet.stop()
