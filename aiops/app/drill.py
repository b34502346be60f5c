"""Rehearses diagnosis: a simulated fleet through the real pipeline, a fault, and what is said about it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from aiops.app import presets
from aiops.app.assembly import build_pipeline
from aiops.app.config import Config
from aiops.app.pipeline import Pipeline
from aiops.detect.policy import Floor
from aiops.diagnose.diagnosis import Question, diagnose
from aiops.diagnose.record import Diagnosis
from aiops.diagnose.signature import CauseBook
from aiops.lab.incidents import STORIES, Strike
from aiops.lab.rig import STEP_SECONDS, Rig
from aiops.signals.types import Mark, SeriesKey

_QUIET_TICKS, _FAULT_TICKS = 72, 24
HEALTHY = "healthy"


@dataclass(frozen=True, slots=True)
class Drill:
    """One rehearsal: what was done, and what was said; ``alerted``: an incident opened."""

    story: str
    seed: int
    alerted: bool
    diagnosis: Diagnosis


def drill(story: str, seed: int, book: CauseBook, floors: Mapping[str, Floor]) -> Drill:
    """Let a fleet run, strike it with ``story`` (or leave it :data:`HEALTHY`), and ask why two minutes later."""
    rig, pipeline = Rig(seed), build_pipeline(Config(interval=STEP_SECONDS))
    choice = np.random.default_rng((seed, 7))
    victim, force = int(choice.integers(len(rig.servers))), float(choice.uniform())
    marks: list[Mark] = []
    began = 0.0
    for tick in range(_QUIET_TICKS + _FAULT_TICKS):
        if tick == _QUIET_TICKS:
            began = rig.now
        if tick >= _QUIET_TICKS and story != HEALTHY:
            STORIES[story](Strike(rig, victim, force, (tick - _QUIET_TICKS) * STEP_SECONDS))
        readings, statuses = rig.step()
        marks += pipeline.tick(rig.now, readings, statuses, elapsed_seconds=STEP_SECONDS).marks
    question, alerted = _question(pipeline, rig, began)
    found = diagnose(question, pipeline.ring.window(), book, marks=marks, floors=floors)
    return Drill(story, seed, alerted, found)


def _question(pipeline: Pipeline, rig: Rig, began: float) -> tuple[Question, bool]:
    """What the first incident since the fault asks; without one, what a person would ask about the pool."""
    alerts = pipeline.machine.alerts
    opened = [
        (alert.started_at, key.series)
        for incident in pipeline.grouping.incidents.values()
        for key in incident.members
        if (alert := alerts.get(key)) is not None and alert.started_at > began
    ]
    if not opened:
        return Question("", began + STEP_SECONDS, (SeriesKey(rig.pool, "ttft", "mean"),)), False
    since = min(at for at, _ in opened)
    return Question("", since, tuple(series for _, series in sorted(opened, key=lambda one: one[0]))), True


def knowledge() -> tuple[CauseBook, Mapping[str, Floor]]:
    """The shipped signatures and what matters to anybody, by unit."""
    return presets.cause_book(), presets.anomaly_policy().units
