"""Shipped data is found in a checkout and in an installed wheel."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from aiops.app.presets import Folder, anomaly_policy, dependents, engine_profiles, rulebook, shipped
from aiops.signals.catalog import SIGNALS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("folder", Folder)
def test_in_the_checkout(folder: Folder) -> None:
    assert shipped(folder) == ROOT / folder


def test_in_a_wheel(tmp_path: Path) -> None:
    for folder in Folder:
        (ROOT / folder).mkdir(exist_ok=True)
    wheel = next(iter(WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
        names = archive.namelist()
    assert "aiops/py.typed" in names
    assert {"aiops/web/static/index.html", "aiops/web/static/uplot/LICENSE"} <= set(names)
    assert any(name.startswith("aiops/_data/models/engines/") for name in names)
    assert not [name for name in names if name.startswith(("tests/", "docs/"))]
    code = "from aiops.app.presets import *; print(shipped(Folder.MODELS))"
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(tmp_path / "site")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == str(tmp_path / "site" / "aiops" / "_data" / "models")


def test_the_package_wins_over_what_lies_beside_it(tmp_path: Path) -> None:
    inside, beside = tmp_path / "aiops" / "_data" / "models", tmp_path / "models"
    beside.mkdir()
    assert shipped(Folder.MODELS, tmp_path / "aiops") == beside
    inside.mkdir(parents=True)
    assert shipped(Folder.MODELS, tmp_path / "aiops") == inside


def test_a_damaged_installation_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"models is in neither .*_data/models nor .*; install aiops again"):
        shipped(Folder.MODELS, tmp_path / "aiops")


def test_the_shipped_documents_are_valid() -> None:
    assert "vllm" in {profile.name for profile in engine_profiles()}
    assert anomaly_policy().watch
    assert rulebook().rules


def test_dependents_name_panels_of_the_boards() -> None:
    assert "panel aiops / fleet: Time to first token, p95" in dependents()["ttft"]
    assert "panel aiops / capacity: KV cache in use" in dependents()["kv_use"]
    assert not any("Time to first token" in name for name in dependents()["kv_use"])


def test_dependents_name_rules_of_both_documents() -> None:
    found = dependents()
    assert set(found) <= set(SIGNALS)
    assert "EngineStuck" in found["running"]
    assert "LLMTimeToFirstTokenAnomalous" in found["ttft"]


def test_documents_are_read_once() -> None:
    assert engine_profiles() is engine_profiles()
    assert rulebook() is rulebook()
