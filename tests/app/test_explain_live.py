"""From a fault to words in the daemon: templates at once, the checked text of a model later, kept over a restart."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from aiops.app import presets
from aiops.app.daemon import Daemon
from aiops.app.drill import HEALTHY
from aiops.detect.base import Severity
from aiops.explain.grounding import Checker, Claim
from aiops.explain.known import Known
from aiops.explain.narrator import Narrator
from aiops.explain.settings import ExplainSettings, LlmSettings
from aiops.explain.words import Language
from aiops.incidents.alert import Incident
from aiops.lab.fleet import Fleet
from tests.app.test_daemon import configured, firing, fleet, running, until  # noqa: F401 - a fixture
from tests.app.test_drill import told
from tests.app.test_explain import honest
from tests.explain.llm_server import completion, serving, status


def says(answer: Callable[[Mapping[str, object]], str]) -> object:
    """A server that answers with what a function makes of the findings that it was sent."""

    async def handle(request: Any) -> object:
        body = json.loads(await request.read())
        return completion(answer(json.loads(body["messages"][1]["content"])), prompt_tokens=10, completion_tokens=5)

    return handle


def talkative(findings: Mapping[str, object]) -> str:
    """What the findings say, be it nothing in a fleet so young, and one thing that they do not say."""
    answer = json.loads(honest(findings))
    answer["sentences"].append({"text": "Xid 79 took the GPU off the bus.", "evidence": []})
    return json.dumps(answer)


async def shown(daemon: Daemon) -> dict[str, Any]:
    """The open incident as the API shows it."""
    (name,) = [one.id for one in daemon.pipeline.grouping.incidents.values() if one.open]
    url = f"http://127.0.0.1:{daemon.server.port}/api/v1/incidents/{name}"
    async with ClientSession() as session, session.get(url) as answer:
        return dict((await answer.json())["data"]["incident"])


async def test_a_fault_is_told_at_once_and_worded_later(fleet: Fleet, tmp_path: Path) -> None:  # noqa: F811
    async with serving(says(talkative)) as script:
        llm = LlmSettings(url=script.url, model="m", settle=0.0, timeout=5.0)
        config = configured(fleet, tmp_path).model_copy(update={"explain": ExplainSettings(llm=llm)})
        async with running(config) as daemon:
            await until(lambda: all(status.up for status in daemon.collectors.statuses()))
            await fleet.strike(1, "dead")
            await until(lambda: "TargetDown" in firing(daemon))
            summary = (await shown(daemon))["summary"]
            assert {sentence["part"] for sentence in summary["sentences"]} >= {"what", "cause", "confidence"}
            await until(lambda: daemon.explain.counts.worded > 0, 20.0)
            model = (await shown(daemon))["summary"]["model"]
            assert model["name"] == "m"
            assert model["droppedSentences"] >= 1
            assert "Xid" not in json.dumps(model["sentences"])
        async with running(config) as daemon:
            assert (await shown(daemon))["summary"]["model"]["at"] == model["at"]


async def test_a_silent_model_changes_nothing(fleet: Fleet, tmp_path: Path) -> None:  # noqa: F811
    async with serving(status(500)) as script:
        llm = LlmSettings(url=script.url, model="m", settle=0.0, timeout=5.0, attempts=1)
        config = configured(fleet, tmp_path).model_copy(update={"explain": ExplainSettings(llm=llm)})
        async with running(config) as daemon:
            await until(lambda: all(status.up for status in daemon.collectors.statuses()))
            await fleet.strike(1, "dead")
            await until(lambda: "TargetDown" in firing(daemon))
            await until(lambda: daemon.explain.llm_counts.failures > 0, 20.0)
            summary = (await shown(daemon))["summary"]
            assert summary["model"] is None
            assert summary["sentences"]


@pytest.mark.parametrize("story", ["gpu-thermal-throttle", "gpu-off-the-bus", "long-prompts", HEALTHY])
@pytest.mark.parametrize("language", Language)
def test_what_templates_tell_of_rehearsed_faults_is_found_true(story: str, language: Language) -> None:
    diagnosis = told(story).diagnosis
    incident = Incident("5aec", "t", Severity.WARNING, diagnosis.at - 100.0, diagnosis.at, 0.0, ())
    check = Checker(Known(incident, {}, diagnosis, presets.words()))
    said = Narrator(presets.words(), language).tell(incident, {}, diagnosis).sentences
    assert len(said) >= 8
    assert [(one.text, why) for one in said if (why := check.problem(Claim(one.text, one.evidence)))] == []
