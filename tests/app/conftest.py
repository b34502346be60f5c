"""The demo begins with the session: its story takes half a minute, in which other tests run."""

import json
import os
import re
import subprocess
import sys
import urllib.request
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

_COMMAND = (sys.executable, "-m", "aiops", "demo", "--for", "20", "--web.listen-address", "127.0.0.1:0")


@dataclass(frozen=True)
class Demo:
    """What the demo printed, and what its API told when the story was over."""

    told: str
    url: str
    incidents: list[dict[str, Any]]
    fleet: dict[str, Any]


_DEMO = pytest.StashKey[tuple[subprocess.Popen[str], "Future[Demo]"]]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start it where its test will come."""
    if session.config.option.collectonly or not any(item.path.name == "test_demo.py" for item in session.items):
        return
    process = subprocess.Popen(_COMMAND, stdout=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "500"})
    pool = ThreadPoolExecutor(1, "demo")
    session.stash[_DEMO] = process, pool.submit(_watched, process)
    pool.shutdown(wait=False)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """End it, whatever became of the tests."""
    if (demo := session.stash.get(_DEMO, None)) is not None:
        demo[0].terminate()
        demo[0].wait()


def _watched(process: subprocess.Popen[str]) -> Demo:
    assert process.stdout is not None
    told = ""
    try:
        for line in process.stdout:
            told += line
            if line.startswith("Serving"):
                break
        found = re.search(r"http://127\.0\.0\.1:\d+(?=/)", told.partition("\n")[0])
        assert found, f"the page's address comes first: {told}"
        incidents = _asked(found[0], "incidents")["incidents"]
        full = [_asked(found[0], f"incidents/{one['id']}")["incident"] for one in incidents]
        return Demo(told, found[0], full, _asked(found[0], "fleet"))
    finally:
        process.terminate()
        process.stdout.close()


def _asked(url: str, path: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/api/v1/{path}", timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)["data"]
        return found


@pytest.fixture(scope="session")
def demo(request: pytest.FixtureRequest) -> Demo:
    """The demo as a program, since the session began."""
    return request.session.stash[_DEMO][1].result()
