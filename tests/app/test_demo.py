"""The first result in one command."""

import json
import re
import subprocess
import sys
import urllib.request


def test_the_demo_finds_its_fault_and_serves_it() -> None:
    command = [sys.executable, "-m", "aiops", "demo", "--for", "20"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        told = ""
        try:
            for line in demo.stdout:
                told += line
                if line.startswith("Serving"):
                    break
            url = re.search(r"http://127\.0\.0\.1:\d+(?=/)", told)
            assert url, told
            with urllib.request.urlopen(f"{url[0]}/api/v1/incidents", timeout=10) as answer:
                (incident, *_) = json.load(answer)["data"]["incidents"]
        finally:
            demo.terminate()
    assert incident["title"] in told
    assert incident["severity"] == "critical"
    assert {member["alertname"] for member in incident["alerts"]} >= {"EngineStuck"}
