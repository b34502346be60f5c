"""The first result in one command."""

import json
import os
import re
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from typing import Any

import pytest

from tests import early

COMMAND = (sys.executable, "-m", "aiops", "demo", "--for", "20", "--web.listen-address", "127.0.0.1:0")
FAULTS = {
    "traffic-surge": ("chat", "QueueSaturated"),
    "gpu-thermal-throttle": ("code", "GpuThermalThrottle"),
    "engine-stuck": ("agent", "EngineStuck"),
}


@dataclass(frozen=True)
class Demo:
    """What the demo printed, and what its API told when the story was over."""

    told: str
    url: str
    incidents: list[dict[str, Any]]
    fleet: dict[str, Any]


def begin_with_session() -> None:
    """Half a minute of waiting."""
    early.waiting("demo", watched)


def watched() -> Demo:
    process = early.started(*COMMAND, stdout=subprocess.PIPE, env={**os.environ, "COLUMNS": "500"})
    assert process.stdout is not None
    told = ""
    with process.stdout:
        for line in process.stdout:
            told += line
            if line.startswith("Serving"):
                break
        found = re.search(r"http://127\.0\.0\.1:\d+(?=/)", told.partition("\n")[0])
        assert found, f"the page's address comes first: {told}"
        incidents = asked(found[0], "incidents")["incidents"]
        full = [asked(found[0], f"incidents/{one['id']}")["incident"] for one in incidents]
        fleet = asked(found[0], "fleet")
        process.terminate()
    return Demo(told, found[0], full, fleet)


def asked(url: str, path: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/api/v1/{path}", timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)["data"]
        return found


@pytest.mark.timeout(180)
def test_the_demo_finds_its_three_faults_and_serves_them() -> None:
    demo: Demo = early.outcome("demo")
    told, full = demo.told, demo.incidents
    assert {one["diagnosis"]["causes"][0]["id"] for one in full} == FAULTS.keys()
    for incident in full:
        cause = incident["diagnosis"]["causes"][0]
        pool, rule = FAULTS[cause["id"]]
        assert f"incident {incident['id']}" in told
        assert incident["alerts"][0]["alertname"] == rule
        assert pool in " ".join(cause["entity"]["labels"].values())
        assert not [text for text in (rule, cause["title"], cause["fix"]) if text not in told], told
    assert told.count("Most likely cause") == 3
    assert told.count("not detected") == 0
    assert f"AIOPS_URL={demo.url}\n" in told
    # A GPU stands below the replica on its machine.
    assert [len(replica["gpus"]) for pool in demo.fleet["pools"] for replica in pool["replicas"]] == [1] * 9
    assert demo.fleet["nodes"] == []
