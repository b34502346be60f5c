"""Why it fired, why it did not: for what stands, what is over, and what never was."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aiops.app.assembly import build_pipeline
from aiops.app.commands import describe as command
from aiops.app.config import Config
from aiops.app.describe import Describer
from aiops.app.pipeline import Pipeline
from aiops.detect.settings import DetectSettings
from aiops.incidents.machine import Machine
from aiops.incidents.policy import Window
from aiops.incidents.policy_settings import Skip
from aiops.incidents.settings import IncidentSettings
from aiops.kit.clock import Clock
from aiops.notify.notice import Letterhead, fingerprint, notice_of
from aiops.signals.types import Columns, Entity, EntityKind, Reading, SeriesKey, SourceStatus
from aiops.store.journal import Journal
from aiops.store.view import ArchiveView
from aiops.web.source import Refused

NAN = float("nan")
REPLICA = Entity.of(EntityKind.REPLICA, job="vllm", instance="a:1", model_name="m")
TARGET = Entity.of(EntityKind.TARGET, job="vllm", instance="a:1")
NAMES = ("queue_len", "running", "max_running", "finished", "errors", "rejected")
COLUMNS = Columns(tuple(SeriesKey(REPLICA, name) for name in NAMES))
HEAD = Letterhead(external_labels=(("cluster", "c"),))
CALM = {"queue_len": 0.0, "running": 4.0, "max_running": 4.0, "finished": 5.0, "errors": 0.0, "rejected": 0.0}


class House:
    """A pipeline with its archive."""

    def __init__(self, folder: Path) -> None:
        self.now = 1_700_000_000.0
        config = Config(
            detect=DetectSettings(minimum_samples=20, disable=("EngineErrors",)),
            incidents=IncidentSettings(retention=30.0),
        )
        self.pipeline: Pipeline = build_pipeline(config)
        self.journal = Journal(folder / "a.sqlite", retention_seconds=1e9, max_bytes=10**9, clock=Clock())
        self.journal.start()
        self.describer = Describer(self.pipeline, ArchiveView(folder / "a.sqlite"), HEAD)

    def run(self, ticks: int, **values: float) -> None:
        for _ in range(ticks):
            self.now += 5.0
            reading = Reading("s", self.now, COLUMNS, np.array([(CALM | values)[name] for name in NAMES]))
            source = SourceStatus("s", "scrape", TARGET, 5.0, self.now, self.now, self.now)
            outcome = self.pipeline.tick(self.now, [reading], [source], elapsed_seconds=5.0)
            self.journal.save(transitions=outcome.transitions)
        assert self.journal.flush(5.0)

    def of_rule(self, rule: str, entity: str = "replica") -> Any:
        return asyncio.run(self.describer.of_rule(rule, entity))[0]

    def of_fingerprint(self, name: str) -> Any:
        (found,) = asyncio.run(self.describer.of_fingerprint(name))
        return found


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.journal.close()


def test_a_condition_that_does_not_hold_is_named_with_what_was_seen(house: House) -> None:
    house.run(5)
    said = house.of_rule("QueueSaturated")
    assert said["state"] == "inactive"
    assert said["why"] == ("it does not fire: “queue_len > 0” does not hold "
                           "(queue_len = 0, running = 4, max_running = 4)")  # fmt: skip
    assert [part["holds"] for part in said["seen"]["parts"]] == [False, True, True]
    assert (said["fires"], said["damping"]) == ("6 of 8 points", "0 of the last 8 points were out of bounds (needs 6)")
    assert said["transitions"] == []


def test_what_cannot_be_said_is_unknown_and_not_fine(house: House) -> None:
    house.run(5, queue_len=NAN)
    said = house.of_rule("QueueSaturated")
    assert said["why"].startswith("it does not fire: it is unknown whether “queue_len > 0” holds (queue_len = unknown")
    assert said["seen"]["outOfBounds"] is None


def test_a_window_that_is_not_full_yet_holds_it_back(house: House) -> None:
    house.run(5)
    house.run(2, queue_len=9.0)
    said = house.of_rule("QueueSaturated")
    assert said["state"] == "pending"
    assert (
        said["why"]
        == "it does not fire yet: out of bounds now, but 2 of the last 8 points were out of bounds (needs 6)"
    )


def test_one_that_fires_says_what_it_saw_and_what_made_it(house: House) -> None:
    house.run(5)
    house.run(6, queue_len=9.0)
    (alert,) = (a for a in house.pipeline.machine.alerts.values() if a.key.rule == "QueueSaturated" and a.active)
    said = house.of_fingerprint(fingerprint(notice_of(alert, HEAD).labels))
    assert said["state"] == "firing"
    assert said["why"].startswith("it fires: queue_len = 9 requests, running = 4 requests")
    assert said["why"].endswith("6 of the last 8 points were out of bounds (needs 6)")
    assert said["alert"]["labels"]["cluster"] == "c"
    assert [move["to"] for move in said["transitions"]] == ["firing", "pending"]
    house.run(3)
    assert house.of_rule("QueueSaturated")["damping"] == "3 of the last 3 points were within bounds (needs 6)"


def test_one_that_is_over_is_found_in_the_archive(house: House) -> None:
    house.run(6, queue_len=9.0)
    (alert,) = (a for a in house.pipeline.machine.alerts.values() if a.key.rule == "QueueSaturated" and a.active)
    name = fingerprint(notice_of(alert, HEAD).labels)
    house.run(20)
    assert alert.key not in house.pipeline.machine.alerts
    said = house.of_fingerprint(name)
    assert said["state"] == "inactive"
    assert said["alert"] is None
    assert "firing" in [move["to"] for move in said["transitions"]]
    with pytest.raises(Refused, match="no alert with the fingerprint '0123456789abcdef'"):
        house.of_fingerprint("0123456789abcdef")


def test_a_window_of_maintenance_is_named(house: House) -> None:
    house.pipeline.calendar.open([Window("w", "racks", house.now, house.now + 1e6, (), (Skip.ALERT,))])
    house.run(6, queue_len=9.0)
    said = house.of_rule("QueueSaturated")
    assert said["why"].endswith("nobody is told yet (maintenance: racks)")
    assert said["damping"].endswith("not told (maintenance: racks)")


def test_statistics_tell_how_far_it_is_to_the_edge(house: House) -> None:
    house.run(3)
    learning = house.of_rule("LLMQueueLengthAnomalous")
    assert learning["seen"]["values"]["value"] == 0.0
    assert "too little was seen of it yet" in learning["why"]
    house.run(60)
    calm = house.of_rule("LLMQueueLengthAnomalous")
    assert 0.0 <= calm["seen"]["values"]["score"] < 1.0
    assert "“score >= 1, the edge of the band” does not hold" in calm["why"]
    house.run(1, queue_len=500.0)
    assert house.of_rule("LLMQueueLengthAnomalous")["why"].startswith("it does not fire yet: out of bounds now")


def test_what_statistics_say_for_too_long_ends_is_learnt_and_says_so(house: House) -> None:
    """A level that came to stay, while a rule and an error budget of the same replica go on."""
    house.pipeline.machine = Machine(house.pipeline.bank.timing, IncidentSettings(max_firing=300.0))
    house.run(60)
    house.run(20, queue_len=500.0)
    first = house.of_rule("LLMQueueLengthAnomalous")
    assert first["state"] == "firing"
    assert "ends at 5m of firing, so far" in first["damping"]
    house.run(50, queue_len=500.0)
    ended = house.of_rule("LLMQueueLengthAnomalous")
    assert ended["state"] == "resolved"
    assert ended["transitions"][0]["reason"] == (
        "fired for 5m (max_firing), never well within bounds: taken as normal from now on"
    )
    assert ended["seen"]["values"]["score"] < 1.0, "the new level is the expected one"
    assert ended["why"].startswith("it does not fire: ")
    assert house.of_rule("QueueSaturated")["state"] == "firing", "a rule holds as long as it holds"
    house.run(20, queue_len=5000.0)
    assert house.of_rule("LLMQueueLengthAnomalous")["state"] == "firing", "worse than what was accepted"


def test_what_was_ended_and_is_still_out_of_bounds_says_why_it_is_quiet(house: House) -> None:
    house.pipeline.machine = Machine(house.pipeline.bank.timing, IncidentSettings(max_firing=300.0))
    house.pipeline.bank.accept = lambda series, window: None  # type: ignore[method-assign] # as where nothing helps
    house.run(60)
    house.run(90, queue_len=500.0)
    said = house.of_rule("LLMQueueLengthAnomalous")
    assert said["why"].startswith("it does not fire any more: fired for 5m (max_firing)")
    assert "quiet until" in said["why"]


def test_a_source_and_a_budget_have_their_conditions_too(house: House) -> None:
    house.run(5)
    down = house.of_rule("TargetDown", "")
    assert down["seen"]["values"] == {"failed_attempts": 0.0, "silent_seconds": 0.0}
    assert down["seen"]["outOfBounds"] is False
    stale = house.of_rule("TargetStale", "")
    assert [part["holds"] for part in stale["seen"]["parts"]] == [False, True]
    burn = house.of_rule("LLMErrorBudgetBurn", "")
    assert burn["seen"]["values"]["burn_rate_1h"] == 0.0
    assert burn["seen"]["outOfBounds"] is False
    assert len(burn["seen"]["parts"]) == 2


def test_a_rule_that_is_not_there_or_has_nothing_to_read_says_so(house: House) -> None:
    house.run(2)
    for rule, entity, reason in (
        ("QueueSaturatd", "", "did you mean QueueSaturated"),
        ("EngineErrors", "", "there is no rule 'EngineErrors'"),
        ("QueueSaturated", "b:2", "watches nothing of 'b:2' now"),
        ("GpuThermalThrottle", "", "watches nothing now"),
    ):
        with pytest.raises(Refused, match=reason):
            house.of_rule(rule, entity)


def test_every_rule_can_be_asked(house: House) -> None:
    house.run(3)
    for rule in {**house.pipeline.bank.rules(), **house.pipeline.slo.rules}:
        try:
            said = house.of_rule(rule, "")
        except Refused:
            continue
        assert said["why"].startswith("it ")


def test_the_command_prints_it_in_lines(house: House, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    house.run(2)
    asked = []

    def answer(args: Any, name: str, key: str) -> list[Any]:
        asked.append(name)
        return [
            house.of_rule("QueueSaturated") | {"transitions": [{"at": "t", "from": "a", "to": "b", "reason": "r\x1b"}]}
        ]

    monkeypatch.setattr(command, "records", answer)
    arguments = type("Args", (), {"name": "QueueSaturated", "entity": "a:1", "output": "table", "headers": True})()
    assert command.alert(arguments) == 0
    out = capsys.readouterr().out
    assert asked == ["alerts/QueueSaturated?entity=a%3A1"]
    assert "  does not hold: queue_len > 0\n" in out
    assert "  t  a -> b: r\\u001b\n" in out


def test_describing_changes_nothing(house: House) -> None:
    house.run(6, queue_len=9.0)
    before = {key: replace(alert) for key, alert in house.pipeline.machine.alerts.items()}
    house.of_rule("QueueSaturated")
    assert dict(house.pipeline.machine.alerts) == before
