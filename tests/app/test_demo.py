"""The first result in one command."""

import json
import os
import re
import subprocess
import sys
import urllib.request
from typing import Any

import pytest

FAULTS = {
    "traffic-surge": ("chat", "QueueSaturated"),
    "gpu-thermal-throttle": ("code", "GpuThermalThrottle"),
    "engine-stuck": ("agent", "EngineStuck"),
}


def asked(url: str, path: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/api/v1/{path}", timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)["data"]
        return found


@pytest.mark.timeout(180)
def test_the_demo_finds_its_three_faults_and_serves_them() -> None:
    command = [sys.executable, "-m", "aiops", "demo", "--for", "20", "--web.listen-address", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "500"}) as demo:
        assert demo.stdout is not None
        told = ""
        try:
            for line in demo.stdout:
                told += line
                if line.startswith("Serving"):
                    break
            first = told.partition("\n")[0]
            url = re.search(r"http://127\.0\.0\.1:\d+(?=/)", first)
            assert url, "the page's address comes first"
            incidents = asked(url[0], "incidents")["incidents"]
            full = [asked(url[0], f"incidents/{one['id']}")["incident"] for one in incidents]
            fleet = asked(url[0], "fleet")
        finally:
            demo.terminate()
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
    assert f"AIOPS_URL={url[0]}\n" in told
    # A GPU stands below the replica on its machine.
    assert [len(replica["gpus"]) for pool in fleet["pools"] for replica in pool["replicas"]] == [1] * 9
    assert fleet["nodes"] == []
