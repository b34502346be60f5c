"""``aiops incident show`` and ``export``; what is behind them is in test_why."""

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from aiops.app.cli import main
from aiops.app.rca_export import FILES

INCIDENT = {
    "id": "abc",
    "summary": {"sentences": [
        {"part": "what", "text": "Critical incident.", "evidence": []},
        {"part": "cause", "text": "Most likely cause: heat.", "evidence": ["E1"]},
        {"part": "cause", "text": "Because \x1b[31mhot.", "evidence": ["E1"]},
    ]},
    "diagnosis": {"evidence": [{"id": "E1", "text": "gpu_temp rose from 60 to 90 celsius", "query": "aiops_signal_x"}]},
}  # fmt: skip


def answers(monkeypatch: pytest.MonkeyPatch, **by_path: Any) -> list[str]:
    asked: list[str] = []

    def answer_of(_: Namespace, name: str) -> Any:
        asked.append(name)
        return next(data for end, data in by_path.items() if name.endswith(end))

    monkeypatch.setattr("aiops.app.commands.incident.answer_of", answer_of)
    return asked


def test_an_incident_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked = answers(monkeypatch, abc={"incident": INCIDENT})
    assert main(["incident", "show", "a/abc"]) == 0
    assert asked == ["/api/v1/incidents/a%2Fabc"]
    out = capsys.readouterr().out
    assert out.startswith("Critical incident.\nMost likely cause: heat. Because ")
    assert "\x1b" not in out
    assert "E1        gpu_temp rose from 60 to 90 celsius" in out
    assert main(["incident", "show", "abc", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["id"] == "abc"


def test_an_incident_without_a_diagnosis(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    answers(monkeypatch, abc={"incident": INCIDENT | {"diagnosis": None}})
    assert main(["incident", "show", "abc"]) == 0
    assert "E1" not in capsys.readouterr().out
    answers(monkeypatch, abc={})
    assert main(["incident", "show", "abc"]) == 1


def test_an_export_writes_the_files_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {name: f"text of {name}" for name in FILES}
    asked = answers(monkeypatch, case={"files": files | {"../evil": "x"}})
    assert main(["incident", "export", "abc", str(tmp_path / "out")]) == 0
    assert asked == ["/api/v1/incidents/abc/case"]
    assert {path.name: path.read_text() for path in (tmp_path / "out").iterdir()} == files
    assert not (tmp_path / "evil").exists()
    assert main(["incident", "export", "abc", str(tmp_path / "out")]) == 1
    assert "there is a case already" in capsys.readouterr().err
    answers(monkeypatch, case={"files": {"metrics.csv": "x"}})
    assert main(["incident", "export", "abc", str(tmp_path / "other")]) == 1
    assert "lacks one of" in capsys.readouterr().err
