"""``aiops fit``: a daemon that finds what it wrote judges with its models from the first tick on."""

import json
from pathlib import Path

import numpy as np
import pytest

from aiops.app import fit_parts
from aiops.app.assembly import build_pipeline
from aiops.app.backtest_inputs import from_files
from aiops.app.cli import main
from aiops.app.commands.score import read
from aiops.app.config import Config
from aiops.app.config_load import Sources, load
from aiops.app.pipeline import Pipeline
from aiops.app.state import State
from tests.app.part_work import solve_all_but_forests
from tests.app.pasts import START, STEP, table

pytest.importorskip("sklearn")
pytest.importorskip("statsmodels")
ROWS = 140


class Now:
    """A clock that stands."""

    def now(self) -> float:
        return START + (ROWS + 1) * STEP

    def monotonic(self) -> float:
        return 0.0


@pytest.fixture
def past(tmp_path: Path) -> list[Path]:
    """Two replicas."""
    rows = table().splitlines(keepends=True)[: ROWS + 1]
    files = [tmp_path / "a.csv", tmp_path / "b.csv"]
    for file in files:
        file.write_text("".join(rows))
    return files


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    file = tmp_path / "aiops.yaml"
    file.write_text(f"{{interval: {STEP:g}s, store: {{directory: {tmp_path / 'state'}}}}}")
    return file


def fit(past: list[Path], config_file: Path, *flags: str, code: int = 0) -> None:
    assert main(["fit", "--csv", *map(str, past), "--config.file", str(config_file), *flags]) == code


def started(config: Config) -> Pipeline:
    """What a daemon with that configuration begins with."""
    pipeline, state = build_pipeline(config), State(config, Now())
    state.open(pipeline)
    state.journal.close()
    assert state._lock is not None
    state._lock.close()
    assert state.restored
    return pipeline


def test_a_daemon_judges_with_the_models_from_its_first_tick(
    past: list[Path], config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(past, config_file, "--jobs", "1", "--label", "job=vllm", "--label", "model_name=m", "-o", "json")
    found = json.loads(capsys.readouterr().out)
    assert found["models"] == {"arima": found["series"], "iforest": 1}
    assert found["failed"] == []
    pipeline = started(load(Config, Sources(file=config_file)).config)
    labels = (("job", "vllm"), ("model_name", "m"))
    last = from_files({file: read(file) for file in past}, STEP, labels).answers[-2:]
    readings = [answer.reading for answer in last if answer.reading is not None]
    assert {key.entity for reading in readings for key in reading.columns.keys} <= {
        key.entity for key in pipeline.ring.window().keys if key is not None
    }
    pipeline.tick(Now().now(), readings, (), elapsed_seconds=STEP)
    window = pipeline.ring.window()
    scores = {one.name: one.score(window).score for one in pipeline.bank.fitted()}  # type: ignore[attr-defined]
    columns = [pipeline.ring.column_of(key) for reading in readings for key in reading.columns.keys]
    known = np.isfinite(np.concatenate([reading.values for reading in readings]))
    assert known.any()
    assert np.isfinite(scores["arima"][columns][known]).all()
    assert np.isfinite(scores["iforest"][columns][known]).all()


def test_what_a_daemon_learnt_or_uses_is_left_alone(
    past: list[Path], config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = State(load(Config, Sources(file=config_file)).config, Now())
    state.open(build_pipeline(Config()))
    fit(past, config_file, code=1)
    assert f"another aiops uses {tmp_path / 'state'}" in capsys.readouterr().err
    state.journal.close()
    assert state._lock is not None
    state._lock.close()
    snapshot = tmp_path / "state" / "snapshot.npz"
    snapshot.write_bytes(b"of before")
    fit(past, config_file, code=1)
    assert f"{snapshot} holds what a daemon has learnt; --replace" in capsys.readouterr().err
    assert snapshot.read_bytes() == b"of before"
    fit(past, config_file, "--replace", "--jobs", "1")
    started(load(Config, Sources(file=config_file)).config)


def test_a_part_that_kills_its_process_is_named_and_the_others_are_written(
    past: list[Path], config_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_parts, "solve", solve_all_but_forests)
    fit(past, config_file, "--jobs", "2", "-o", "json", code=1)
    said = capsys.readouterr()
    assert "aiops: a fit failed: iforest of replicas of pool" in said.err
    assert "its process died, 3 times" in said.err
    found = json.loads(said.out)
    assert found["models"] == {"arima": found["series"], "iforest": 0}
    started(load(Config, Sources(file=config_file)).config)


def test_a_past_with_few_points_says_why_there_is_no_arima(
    past: list[Path], config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config_file.write_text(config_file.read_text().replace("interval: 15s", "interval: 5s"))
    fit(past, config_file, "--jobs", "1")
    said = capsys.readouterr()
    assert "no ARIMA models: they need a value in every second step of 5 s within the last 3600 s; here 33%" in said.err
    assert "arima models" in said.out


def test_misuse_is_told(past: list[Path], config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(past, config_file, "--label", "job", code=1)
    assert "--label: expected NAME=VALUE, got 'job'" in capsys.readouterr().err
    assert main(["fit", "--prometheus", "http://127.0.0.1:1", "--label", "a=b", "--config.file", str(config_file)]) == 1
    assert "--label goes with --csv" in capsys.readouterr().err
    config_file.write_text("interval: soon")
    fit(past, config_file, code=1)
    assert "interval" in capsys.readouterr().err
