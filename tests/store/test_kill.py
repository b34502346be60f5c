"""kill -9 at random moments and a disk that fills up, in real processes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import SOAK

KILL = """
import json, os, random, signal, sys, time
from pathlib import Path
import numpy as np
from aiops.incidents.alert import AlertState
from aiops.signals.types import Columns, Reading
from aiops.store.journal import Journal
from aiops.store.ring import Ring
from aiops.store.snapshot import SavedState, capture, read, write
from aiops.store.view import ArchiveView
from tests.store.records import mark, series, transition

folder, rounds = Path(sys.argv[1]), int(sys.argv[2])
rng = random.Random(7)
STATES = [AlertState.PENDING, AlertState.FIRING, AlertState.RESOLVED, AlertState.INACTIVE]

def step(number):
    return transition(str(number % 5), STATES[number // 5 % 4], at=float(number))

def work(path, snapshot_path, acknowledged, first):
    journal = Journal(path, retention_seconds=1e12, max_bytes=2**40)
    journal.start()
    ring, layout = Ring(20, 5.0, max_series=100, ttl_seconds=1e9), Columns(tuple(map(series, "abc")))
    number = first
    while True:
        for _ in range(3):
            journal.save(transitions=[step(number)], marks=[mark(number), mark(number + 0.5)])
            number += 1
        if number % 4 == 0:
            journal.flush(10)
            os.pwrite(acknowledged, b"%20d" % number, 0)
        ring.append(5.0 * number, [Reading("x", 0.0, layout, np.full(3, float(number)))])
        write(snapshot_path, capture(ring, {"x": SavedState("1", {"x": np.full(50_000, number)})}, number))

results = []
path, snapshot_path = folder / "archive.sqlite", folder / "snapshot.npz"
acknowledged = os.open(folder / "acknowledged", os.O_CREAT | os.O_RDWR)
first = 0
for round in range(rounds):
    os.pwrite(acknowledged, b"%20d" % first, 0)
    child = os.fork()
    if child == 0:
        work(path, snapshot_path, acknowledged, first)
    time.sleep(rng.uniform(0.02, 0.25))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    check = Journal(path, retention_seconds=1e12, max_bytes=2**40)
    check.start()
    check.close(10)
    view = ArchiveView(path)
    moves = [int(found.at) for found in view.recent_transitions(10**6)][::-1]
    marks = [found.at for found in view.recent_marks(10**6)][::-1]
    count = len(moves)
    expected = {}
    for number in range(count):
        move = step(number)
        expected[move.alert.key] = move.alert
    expected = {key: alert for key, alert in expected.items() if alert.state != AlertState.INACTIVE}
    loaded = read(snapshot_path, 0.0)
    saved = loaded.snapshot
    results.append({
        "count": count,
        "acknowledged": int(os.pread(acknowledged, 20, 0)),
        "prefix": moves == list(range(count)) and marks == [n / 2 for n in range(2 * count)],
        "alerts": {alert.key: alert for alert in view.load_alerts()} == expected,
        "problem": check.health().problem + check.health().put_aside + view.problem + loaded.problem,
        "snapshot": saved is not None and set(saved.states["x"].arrays["x"].tolist()) == {int(saved.saved_at)},
        "litter": sorted(entry.name for entry in folder.iterdir() if entry.name.startswith(".")),
    })
    first = count
print(json.dumps(results))
"""

FULL = """
import json, resource, sys, time
from pathlib import Path
from aiops.store.journal import Journal
from aiops.store.view import ArchiveView
from tests.store.records import alert, mark

path = Path(sys.argv[1])
journal = Journal(path, retention_seconds=1e12, max_bytes=2**40, retry_seconds=0.02)
journal.start()
journal.save(marks=[mark(0)])
journal.flush(10)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
number = 1
while journal.health().failures_total < 3:
    journal.save(marks=[mark(number), mark(number + 1)], alerts=[alert(at=float(number))])
    number += 2
    time.sleep(0.001)
broken = journal.health()
seen = [found.at for found in ArchiveView(path).recent_marks(10**6)][::-1]
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
flushed = journal.flush(30)
closed = journal.close(10)
view = ArchiveView(path)
print(json.dumps({
    "problem": broken.problem, "pending": broken.pending, "dropped": broken.dropped_total,
    "prefix": seen == list(range(len(seen))) and 0 < len(seen) < number,
    "flushed": flushed, "closed": closed, "healed": journal.health().problem, "put_aside": journal.health().put_aside,
    "complete": [found.at for found in view.recent_marks(10**6)][::-1] == list(range(number)),
    "alerts": [found.started_at for found in view.load_alerts()] == [number - 2],
}))
"""
ROOT = Path(__file__).resolve().parents[2]


def result_of(script: str, *arguments: object) -> object:
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=55 * SOAK,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.timeout(60 * SOAK)
def test_kill_at_any_moment_leaves_a_prefix(tmp_path: Path) -> None:
    rounds = result_of(KILL, tmp_path, 24 * SOAK)
    assert isinstance(rounds, list)
    assert len(rounds) == 24 * SOAK
    for number, found in enumerate(rounds):
        assert found["prefix"], (number, found)
        assert found["alerts"], (number, found)
        assert found["problem"] == "", (number, found)
        assert found["count"] >= found["acknowledged"], (number, found)
        assert found["litter"] == [], (number, found)
    assert rounds[-1]["count"] > 100, "the writers never got to write"
    assert rounds[-1]["acknowledged"] > 0
    assert rounds[-1]["snapshot"]


def test_a_full_disk_delays_and_loses_nothing(tmp_path: Path) -> None:
    found = result_of(FULL, tmp_path / "archive.sqlite")
    assert isinstance(found, dict)
    assert "cannot write the archive" in found["problem"]
    assert found["pending"] > 0
    assert found["prefix"]
    assert (found["flushed"], found["closed"], found["complete"], found["alerts"]) == (True, True, True, True), found
    assert (found["healed"], found["put_aside"], found["dropped"]) == ("", "", 0)
