"""Feedback through the whole pipeline: what stops being told, what is told all the same, and how it is undone."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from aiops.app.assembly import build_pipeline
from aiops.app.config import Config
from aiops.app.opinions import Opinions
from aiops.app.pipeline import Pipeline
from aiops.detect.leniency import MOST_WIDER
from aiops.detect.settings import DetectSettings
from aiops.incidents.feedback import FALSE_FOR_ALL, Effects
from aiops.incidents.settings import IncidentSettings
from aiops.incidents.slo_settings import Indicator, Objective, SloSettings
from aiops.kit.clock import Clock
from aiops.notify.notice import Letterhead, feedback_url, fingerprint, notice_of
from aiops.signals.types import Buckets, Columns, Entity, EntityKind, Reading, SeriesKey, SourceStatus
from aiops.store.journal import Journal
from aiops.store.view import ArchiveView
from aiops.web.source import Refused, Saying

STEP = 5.0
ANOMALY, BURN = "LLMTimeToFirstTokenAnomalous", "LLMTimeToFirstTokenBudgetBurn"
REPLICA = Entity.of(EntityKind.REPLICA, job="chat", instance="a:8000", model_name="m")
TARGET = Entity.of(EntityKind.TARGET, job="chat", instance="a:8000")
TTFT = SeriesKey(REPLICA, "ttft", "p95")
COLUMNS = Columns((TTFT,))
BOUNDS = np.array([0.5, 2.5, np.inf])
CONFIG = Config(
    interval=STEP,
    detect=DetectSettings(minimum_samples=30),
    incidents=IncidentSettings(flap_calm=0.0),
    slo=SloSettings(objectives=(Objective(of=Indicator.TTFT, objective=0.99, threshold=2.5, least_events=10),)),
)
FALSE = Saying("false", by="api")


class Fleet:
    """One replica whose time to first token the test decides."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self.pipeline: Pipeline = build_pipeline(CONFIG)
        self.rng = np.random.default_rng(3)
        self.began: list[str] = []
        self.run(200, 0.2)
        self.learnt = self.pipeline.bank.state()

    def run(self, ticks: int, ttft: float, *, slow: bool = False) -> None:
        for _ in range(ticks):
            self.now += STEP
            source = SourceStatus("s", "scrape", TARGET, STEP, self.now, self.now, self.now)
            value = np.array([ttft * (1.0 + 0.01 * self.rng.standard_normal())])
            counts = np.array([0.0, 0.0, 50.0]) if slow else np.array([50.0, 0.0, 0.0])
            reading = Reading("s", self.now, COLUMNS, value, (Buckets(TTFT._replace(stat=""), BOUNDS, counts, 0.0),))
            outcome = self.pipeline.tick(self.now, [reading], [source], elapsed_seconds=STEP)
            self.began += [move.alert.key.rule for move in outcome.transitions if move.began]

    def bump(self) -> list[str]:
        """A deviation that means nothing to users; what was told because of it.

        The detectors have learnt nothing from those before, so that only feedback makes a difference.
        """
        self.pipeline.bank.restore(self.learnt)
        self.began.clear()
        self.run(6, 0.33)
        told = list(self.began)
        self.run(80, 0.2)
        return told


class House:
    """A fleet, the desk, and an archive that outlives both."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fleet = Fleet()
        self.clock = Clock(now=lambda: self.fleet.now)
        self.head = Letterhead(external_url="http://aiops:9797")
        self.journal = Journal(folder / "a.sqlite", retention_seconds=1e9, max_bytes=2**30, clock=self.clock)
        self.journal.start()
        self.desk = self.opened()

    def opened(self) -> Opinions:
        desk = Opinions(
            self.fleet.pipeline,
            self.journal,
            ArchiveView(self.folder / "a.sqlite"),
            head=lambda: self.head,
            diagnosed=lambda incident: "gpu-thermal-throttle",
            key_path=self.folder / "link.key",
            clock=self.clock,
        )
        desk.open()
        return desk

    async def say_false_until_it_stops(self) -> int:
        """How many false alarms it took."""
        for marks in range(2 * FALSE_FOR_ALL):
            if self.fleet.bump() != [ANOMALY]:
                return marks
            await self.desk.say(self.alert(), "", FALSE)
        pytest.fail("it never stopped")

    def alert(self, rule: str = ANOMALY) -> str:
        (found,) = (one for one in self.fleet.pipeline.machine.alerts.values() if one.key.rule == rule)
        return fingerprint(notice_of(found, self.head).labels)


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    house = House(tmp_path)
    yield house
    house.journal.close()


async def test_a_false_alarm_marked_three_times_stops_while_the_error_budget_of_the_same_signal_pages(
    house: House,
) -> None:
    silent = Fleet()  # the same story, and nobody says a word
    marks = await house.say_false_until_it_stops()
    assert 1 <= marks <= FALSE_FOR_ALL
    assert [silent.bump() for _ in range(marks + 1)] == [[ANOMALY]] * (marks + 1), "it did not stop by itself"
    (divisor,) = house.fleet.pipeline.effects.wider.values()
    assert 1.0 < divisor <= MOST_WIDER
    house.fleet.began.clear()
    house.fleet.run(120, 8.0, slow=True)
    assert BURN in house.fleet.began
    assert ANOMALY in house.fleet.began, "a deviation beyond the bound is told whatever was said"


async def test_a_restart_keeps_what_was_said_and_an_undo_brings_the_alarm_back(house: House) -> None:
    house.fleet.bump()
    for _ in range(3):
        await house.desk.say(house.alert(), "", FALSE)
    wider = dict(house.fleet.pipeline.effects.wider)
    house.journal.flush(5.0)
    house.fleet.pipeline.effects = Effects()
    desk = house.opened()
    assert dict(house.fleet.pipeline.effects.wider) == wider
    for record in desk.records()["feedback"]:  # type: ignore[attr-defined]
        undone = desk.undo(record["id"])
        assert undone["effects"] == ["undone: it changes nothing any more"]
    assert house.fleet.bump() == [ANOMALY]
    house.journal.flush(5.0)
    assert [bool(one.undone_at) for one in ArchiveView(house.folder / "a.sqlite").load_opinions(9)] == [True] * 3


async def test_effects_are_listed_back_and_a_guard_says_that_it_does_not_listen(house: House) -> None:
    house.fleet.bump()
    (said,) = await house.desk.say(house.alert(), "", Saying("false", cause="nightly batch", by="api"))
    (threshold,) = (line for line in said["effects"] if line.startswith("threshold"))  # type: ignore[attr-defined]
    assert re.search(r'of replica\{job="chat",model_name="m"\}: [12](\.\d+)? times as wide, for 90 days', threshold)
    house.fleet.run(120, 8.0, slow=True)
    for _ in range(9):
        (guard,) = await house.desk.say(house.alert(BURN), "", FALSE)
    assert f"{BURN} is no statistical rule: its condition stays as it is" in guard["effects"]  # type: ignore[operator]
    assert len(house.fleet.pipeline.effects.wider) == 1
    assert house.desk.tallies()["rule"].false == 1, "one occurrence, however often it is said"


async def test_causes_that_people_name_move_in_the_ranking(house: House) -> None:
    house.fleet.bump()
    for _ in range(3):
        (said,) = await house.desk.say(house.alert(), "", Saying("true", cause="queue-saturated", by="api"))
    priors = house.fleet.pipeline.effects.priors
    assert priors["gpu-thermal-throttle"] < 1.0 < priors["queue-saturated"]
    assert any("prior of cause queue-saturated" in line for line in said["effects"])  # type: ignore[attr-defined]


async def test_an_incident_stands_for_its_alerts_also_when_they_are_forgotten(house: House) -> None:
    house.fleet.bump()
    (alert,) = house.fleet.pipeline.machine.alerts.values()
    (by_incident,) = await house.desk.say("", alert.incident, Saying("true", by="api"))
    assert by_incident["alert"] == house.alert()
    for wrong in (("0" * 16, ""), ("", "0" * 12)):
        with pytest.raises(Refused, match="forgotten"):
            await house.desk.say(*wrong, FALSE)
    with pytest.raises(Refused, match="no feedback"):
        house.desk.undo("x")


async def test_a_link_is_signed_expires_and_is_worth_one_opinion(house: House) -> None:
    house.fleet.bump()
    (alert,) = house.fleet.pipeline.machine.alerts.values()
    signing = Letterhead(external_url="http://aiops:9797", link_key=house.desk.link_key)
    url = feedback_url(alert, house.alert(), signing)
    assert dict(notice_of(alert, signing).annotations)["feedback_url"] == url
    token = url.rpartition("/")[2]
    for _ in range(2):  # scanners look as often as they like
        assert house.desk.asked(token)["alert"] == ANOMALY
    assert house.desk.records()["feedback"] == []
    said = await house.desk.say_by_link(token, Saying("false", by="link"))
    assert said["by"] == "link"
    for use in (lambda: house.desk.asked(token), lambda: house.opened().asked(token)):
        house.journal.flush(5.0)
        with pytest.raises(Refused, match="used before"):
            use()
    with pytest.raises(Refused, match="not made here"):
        house.desk.asked(token[:-2] + ("AA" if not token.endswith("AA") else "BB"))
    other = feedback_url(alert.moved(started_at=alert.started_at - 15 * 86_400.0), house.alert(), signing)
    with pytest.raises(Refused, match="too old"):
        house.desk.asked(other.rpartition("/")[2])
