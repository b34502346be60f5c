"""Alerts of others through the daemon's pipeline: incidents, our own signals beside them, restarts, and no loop."""

import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import pytest_asyncio

from aiops.app.config import Config
from aiops.app.daemon import Daemon
from aiops.detect.settings import DetectSettings
from aiops.diagnose.record import Diagnosis
from aiops.incidents.external import EXTERNAL, Told
from aiops.kit.clock import Clock
from aiops.notify.notice import fingerprint, notice_of
from aiops.signals.types import Columns, Entity, EntityKind, Reading, SeriesKey, SourceStatus
from aiops.store.archive import Archive
from aiops.store.settings import StoreSettings
from aiops.web.source import Refused

STEP = 5.0
REPLICA = Entity.of(EntityKind.REPLICA, job="chat", instance="a:8000", model_name="m")
COLUMNS = Columns((SeriesKey(REPLICA, "ttft", "p95"),))


class House:
    """A daemon whose ticks and clock the test owns."""

    def __init__(self, folder: Path) -> None:
        self.now = 1_700_000_000.0
        self.config = Config(
            interval=STEP, detect=DetectSettings(minimum_samples=30), store=StoreSettings(directory=folder)
        )
        self.daemon = self.started()
        self.diagnoses: list[Diagnosis] = []
        self.rng = np.random.default_rng(3)

    def started(self) -> Daemon:
        daemon = Daemon(self.config, clock=Clock(now=lambda: self.now))
        daemon.state.open(daemon.pipeline)
        return daemon

    def run(self, ticks: int, ttft: float = 0.2) -> None:
        for _ in range(ticks):
            self.now += STEP
            target = Entity.of(EntityKind.TARGET, job="chat", instance="a:8000")
            source = SourceStatus("s", "scrape", target, STEP, self.now, self.now, self.now)
            value = np.array([ttft * (1.0 + 0.01 * self.rng.standard_normal())])
            reading = Reading("s", self.now, COLUMNS, value)
            outcome = self.daemon.pipeline.tick(self.now, [reading], [source], elapsed_seconds=STEP)
            self.daemon.state.record(outcome)
            self.diagnoses += self.daemon.why.step(self.now, outcome)[0]

    def told(self, firing: bool = True, **labels: str) -> Told:
        pairs = {"alertname": "NodeFilesystemFull", "instance": "a:8000", "job": "chat", **labels}
        end = 0.0 if firing else self.now
        return Told("f00", tuple(sorted(pairs.items())), {"summary": "<b>Disk</b>"}, firing, self.now - 7.0, end)


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    house = House(tmp_path)
    house.run(100)
    yield house
    await house.daemon.state.close()


async def test_it_opens_an_incident_tells_what_we_see_and_ends_it(house: House) -> None:
    pipeline = house.daemon.pipeline
    house.run(1, ttft=0.6)
    first = house.told()
    assert await house.daemon.inbound.told([first]) == {"accepted": 1, "news": 1, "own": 0}
    house.run(1)
    (incident,) = pipeline.grouping.incidents.values()
    assert (incident.open, incident.title, incident.started_at) == (True, "<b>Disk</b>", first.started_at)
    (alert,) = pipeline.externals.alerts.values()
    assert alert.incident == incident.id
    assert "Unusual there: ttft:p95 of replica" in alert.verdict.reason
    assert [one.key.series.signal for one in pipeline.machine.alerts.values() if one.active] == [], "it is not ours"
    (notice,) = house.daemon.telling.notices([incident])
    assert notice.alerts
    assert "NodeFilesystemFull" in notice.summary
    assert [one.incident for one in house.diagnoses] == [incident.id], "it is asked why, as with ours"
    await house.daemon.inbound.told([replace(first, firing=False, ended_at=house.now)])
    house.run(1)
    assert not pipeline.grouping.incidents[incident.id].open


async def test_it_joins_the_incident_that_is_open(house: House) -> None:
    house.run(6, ttft=0.8)
    (incident,) = house.daemon.pipeline.grouping.incidents.values()
    await house.daemon.inbound.told([house.told()])
    house.run(1, ttft=0.8)
    (richer,) = house.daemon.pipeline.grouping.incidents.values()
    assert richer.id == incident.id
    assert [key.series.signal for key in richer.members if key not in incident.members] == [EXTERNAL]


async def test_what_we_sent_ourselves_opens_nothing(house: House) -> None:
    pipeline = house.daemon.pipeline
    house.run(6, ttft=0.8)
    (ours,) = (one for one in pipeline.machine.alerts.values() if one.active)
    notice = notice_of(ours, house.daemon.letterhead())
    back = Told(fingerprint(notice.labels), notice.labels, dict(notice.annotations), True, house.now, 0.0)
    by_peer = replace(back, generator_url="http://the-other-daemon:9797/incidents/x")
    linked = replace(house.told(), generator_url=f"{house.daemon.server.base_url}/incidents/x")
    before = dict(pipeline.grouping.incidents)
    assert await house.daemon.inbound.told([back, by_peer, linked]) == {"accepted": 0, "news": 0, "own": 3}
    house.run(1, ttft=0.8)
    assert not pipeline.externals.alerts
    assert set(pipeline.grouping.incidents) == set(before)


async def test_a_kill_loses_nothing_that_was_accepted(house: House) -> None:
    first = house.told()
    await house.daemon.inbound.told([first])
    killed = house.daemon
    killed.state._lock.close()  # type: ignore[union-attr]
    house.daemon = house.started()
    assert [one.started_at for one in house.daemon.pipeline.externals.alerts.values()] == [first.started_at]
    assert not house.daemon.pipeline.machine.alerts
    house.run(1)
    assert [one.title for one in house.daemon.pipeline.grouping.incidents.values()] == ["<b>Disk</b>"]
    await house.daemon.state.save(house.daemon.pipeline)
    assert house.daemon.state.journal.flush(5.0)
    assert len(house.daemon.state.view.load_alerts()) == 1, "a snapshot of all alerts keeps those of others"
    await killed.state.close()


async def test_what_the_disk_did_not_take_is_asked_for_again_and_is_no_news_then(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.run(1)
    monkeypatch.setattr("aiops.app.inbound._KEEP_SECONDS", 0.05)
    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorcode = sqlite3.SQLITE_FULL
    monkeypatch.setattr(Archive, "write", Mock(side_effect=full))
    with pytest.raises(Refused, match="send it again") as refused:
        await house.daemon.inbound.told([house.told()])
    assert refused.value.status == 503
    assert len(house.daemon.pipeline.externals.alerts) == 1, "we act on it all the same"
    monkeypatch.undo()
    assert house.daemon.state.journal.flush(20.0)
    assert await house.daemon.inbound.told([house.told()]) == {"accepted": 1, "news": 0, "own": 0}
    assert len(house.daemon.state.view.load_alerts()) == 1
