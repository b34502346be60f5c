import json
from pathlib import Path

import pytest

from aiops.app.cli import main


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights\x1b[31m.bin").write_bytes(b"weights")
    (folder / "config.json").write_bytes(b"{}")
    return folder


def test_a_manifest_is_written_and_held_against_the_files(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = model.parent / "manifest.json"
    assert main(["check", "model", str(model), "--write-manifest", str(manifest)]) == 0
    assert len(json.loads(manifest.read_text())["files"]) == 2
    check = ["check", "model", str(model), "--manifest", str(manifest), "--rate", "1GB"]
    assert main(check) == 0
    assert "0 of 2 files differ" in capsys.readouterr().err
    (model / "weights\x1b[31m.bin").write_bytes(b"wejghts")
    (model / "config.json").unlink()
    assert main(check) == 1
    out, err = capsys.readouterr()
    assert [line.split(":")[0] for line in out.splitlines()] == ["config.json", "weights\\u001b[31m.bin"]
    assert "2 of 2 files differ" in err


@pytest.mark.parametrize("argument", ["--manifest=/none", "--write-manifest=/none/file", "--manifest=/dev/null"])
def test_what_cannot_be_done_is_said(model: Path, argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "model", str(model), argument]) == 1
    assert capsys.readouterr().err


def test_a_rate_that_is_none_is_said(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "model", str(model), "--write-manifest", str(model / "m"), "--rate", "fast"]) == 1
    assert "'fast' is not a size" in capsys.readouterr().err
    assert not (model / "m").exists()
