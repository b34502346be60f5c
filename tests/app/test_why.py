"""From an incident to a diagnosis that is kept, told, exported and replayed."""

import json
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from aiops.app.assembly import build_pipeline
from aiops.app.cli import main
from aiops.app.config import Config
from aiops.app.output import CommandFailedError
from aiops.app.pipeline import Pipeline
from aiops.app.rca_export import FILES, entity_of, files_of, write
from aiops.app.view import diagnosis_record
from aiops.app.why import DIAGNOSES, MOST_PER_INCIDENT, RECORDINGS, Why
from aiops.diagnose.record import Diagnosis
from aiops.kit.clock import SYSTEM_CLOCK
from aiops.lab.incidents import STORIES, Strike
from aiops.lab.rig import STEP_SECONDS, Rig
from aiops.signals.types import Entity, EntityKind
from aiops.store.batch import Told
from aiops.store.journal import Journal
from aiops.store.view import ArchiveView

QUIET, TICKS = 60, 66


@dataclass
class Run:
    pipeline: Pipeline
    why: Why
    opened: dict[str, float] = field(default_factory=dict)
    made: list[tuple[float, Diagnosis]] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    now: float = 0.0


@pytest.fixture(scope="module")
def run() -> Run:
    """Five minutes of calm, then a power brake on two of four hosts."""
    rig, pipeline = Rig(7), build_pipeline(Config(interval=STEP_SECONDS))
    done = Run(pipeline, Why(pipeline))
    for tick in range(QUIET + TICKS):
        if tick >= QUIET:
            for victim in (0, 1):
                STORIES["gpu-power-brake"](Strike(rig, victim, 0.5, (tick - QUIET) * STEP_SECONDS))
        readings, statuses = rig.step()
        outcome = pipeline.tick(rig.now, readings, statuses, elapsed_seconds=STEP_SECONDS)
        for incident in outcome.incidents:
            done.opened.setdefault(incident.id, rig.now)
        diagnoses, told = done.why.step(rig.now, outcome)
        assert len(diagnoses) <= 1
        done.made += [(rig.now, one) for one in diagnoses]
        done.told += told
    done.now = rig.now
    return done


def test_an_incident_is_diagnosed_when_it_opens(run: Run) -> None:
    assert run.opened
    for number, (incident, opened) in enumerate(sorted(run.opened.items(), key=lambda one: one[1])):
        first = next(at for at, one in run.made if one.incident == incident)
        assert first - opened <= number * STEP_SECONDS  # one per tick, the others wait their turn


def test_it_is_asked_again_when_more_is_seen_and_not_too_often(run: Run) -> None:
    for incident in run.opened:
        times = [at for at, one in run.made if one.incident == incident]
        assert 2 <= len(times) <= MOST_PER_INCIDENT
        assert min(after - before for before, after in pairwise(times)) >= 30.0
    assert run.why.made_total == len(run.made)


def test_the_cause_is_named_for_receivers(run: Run) -> None:
    newest = {one.incident: one for _, one in run.made}
    braked = [name for name, one in newest.items() if one.cause is not None and one.cause.id == "gpu-power-brake"]
    assert braked
    for name in braked:
        assert run.why.causes()[name].startswith("The power supply or the chassis pulls the brake")
        assert run.why.of(name)[-1] is newest[name]
    record = diagnosis_record(newest[braked[0]])
    assert json.loads(json.dumps(record))["causes"][0]["id"] == "gpu-power-brake"


def test_what_was_said_is_never_changed(run: Run) -> None:
    places = [(one.incident, one.author) for one in run.told]
    assert len(places) == len(set(places)) == 2 * len(run.made)
    for (_, found), text in zip(run.made, [one for one in run.told if one.author.startswith("diag")], strict=True):
        assert repr(DIAGNOSES.load(text.record)) == repr(found)


def test_it_survives_a_restart(run: Run, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "a.sqlite", retention_seconds=1e10, max_bytes=1 << 30, clock=SYSTEM_CLOCK)
    journal.start()
    journal.save(incidents=run.pipeline.grouping.incidents.values(), told=run.told)
    assert journal.close()
    again = Why(run.pipeline)
    newest = again.restore(ArchiveView(tmp_path / "a.sqlite"), run.now)
    assert {one.incident for one in newest} == set(run.opened)
    for incident in run.opened:
        assert repr(again.of(incident)) == repr(run.why.of(incident))
    assert ArchiveView(tmp_path / "a.sqlite").told_of("nobody") == []


def test_an_export_replays_to_the_same_cause(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place, (_, found) in enumerate(run.made):
        recording = RECORDINGS.load([one for one in run.told if one.author.startswith("rec")][place].record)
        assert recording.incident == found.incident
        folder = tmp_path / "cases" / str(place)
        write(files_of(recording, [found]), folder)
        assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
        assert main(["rca", "replay", str(folder), "-o", "jsonl"]) == 0
        answer = json.loads(capsys.readouterr().out)
        assert answer["cause"] == (found.cause.id if found.cause is not None else None)
        assert answer["abstained"] == found.abstained
        assert answer["candidates"]
    assert json.loads((folder / "diagnosis.json").read_text())[0]["incident"] == found.incident
    with pytest.raises(CommandFailedError, match="there is a case already"):
        write(files_of(recording, [found]), folder)


def test_entities_are_read_as_they_are_written() -> None:
    for entity in (
        Entity.of(EntityKind.GPU, gpu="GPU-0", node="n"),
        Entity.of(EntityKind.POOL, pool="a|b, c", model_name="org/m-7b"),
        Entity.of(EntityKind.NODE),
    ):
        assert entity_of(str(entity)) == entity
    for text in ("front", 'moon{a="b"}', "gpu{a=b}", "gpu{"):
        assert entity_of(text) is None
