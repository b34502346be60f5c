"""Replicas that come and go for days, in virtual time: memory stays where it is.

The default is short; ``make soak`` multiplies it (``AIOPS_SOAK=20``: 10 000 scrapes of each place, half a day).
"""

import json
import sys

import pytest

from tests import early
from tests.conftest import SOAK

PROGRAM = """
import gc, json, sys
from pathlib import Path
from aiops.app.assembly import build_pipeline
from aiops.app.config import Config
from aiops.app.presets import engine_profiles
from aiops.collect.exposition import PageParser
from aiops.kit.memory import give_back, limit_heaps
from aiops.lab.engine import Engine
from aiops.lab.page import vllm_page
from aiops.signals.normalise import Normaliser
from aiops.signals.types import Entity, EntityKind, SourceStatus

limit_heaps()
PLACES, STEP, CHURN = 8, 5.0, 2
cycles = int(sys.argv[1])
config = Config.model_validate({"store": {"window": "10m", "series_ttl": "5m", "max_series": 3000}})
pipeline = build_pipeline(config)
profiles = engine_profiles()
now, born, resident = 1_700_000_000.0, 0, []

class Replica:
    def __init__(self, number):
        labels = (("instance", f"10.0.0.{number % PLACES}:{8000 + number}"), ("job", "llm"))
        self.source = f"llm/{number}"
        self.target = Entity.of(EntityKind.TARGET, **dict(labels))
        self.parser, self.normaliser = PageParser(), Normaliser(profiles, labels, self.source)
        self.engine = Engine(number)
        self.started = now

    def read(self):
        self.engine.advance(now - self.started)
        text = vllm_page(self.engine, model="m", started=self.started)
        return self.normaliser.normalise(self.parser.parse(text.encode()), now)

replicas = [Replica(n) for n in range(PLACES)]
born = PLACES
for cycle in range(cycles):
    now += STEP
    if cycle % CHURN == 0:
        replicas[born % PLACES] = Replica(born)
        born += 1
    readings = [replica.read() for replica in replicas]
    statuses = [SourceStatus(r.source, "scrape", r.target, STEP, now, now, now) for r in replicas]
    pipeline.tick(now, readings, statuses, elapsed_seconds=STEP)
    if cycle % 25 == 0:
        gc.collect()
        give_back()
        status = Path("/proc/self/status").read_text()
        resident.append(int(status.partition("VmRSS:")[2].split()[0]) / 1024)
print(json.dumps({"resident": resident, "born": born, "series": pipeline.ring.series,
                  "dropped": pipeline.ring.dropped_values_total}))
"""


CYCLES = 500 * SOAK


def begin_with_session() -> None:
    """A quarter of a minute of computing."""
    early.computing("churn", lambda: early.done(sys.executable, "-c", PROGRAM, str(CYCLES)))


@pytest.mark.timeout(120 + 60 * SOAK)
def test_churn_of_replicas_does_not_grow_memory() -> None:
    done = early.outcome("churn")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    settled = told["resident"][len(told["resident"]) // 2 :]
    grown = sum(settled[-3:]) / 3 - sum(settled[:3]) / 3
    assert told["born"] > 200 * SOAK
    assert grown < 1.0 * max(1.0, CYCLES / 2000), told["resident"]
