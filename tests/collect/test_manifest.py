import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.collect import manifest as manifest_module
from aiops.collect.manifest import (
    Damage,
    Expected,
    Flaw,
    Pace,
    Stopped,
    look,
    parse_manifest,
    read_manifest,
    verify,
    write_manifest,
)

SUM = hashlib.sha256(b"weights").hexdigest()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "config.json").write_bytes(b"{}")
    (folder / "sub" / "weights 1.bin").write_bytes(b"weights")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "lock").write_bytes(b"")
    (folder / ".hidden").write_bytes(b"")
    return folder


def found(model: Path, text: str) -> list[Damage]:
    return list(verify(parse_manifest(text, "m"), model))


def test_what_was_written_verifies(model: Path) -> None:
    text = write_manifest(model)
    assert [entry["path"] for entry in json.loads(text)["files"]] == ["config.json", "sub/weights 1.bin"]
    assert found(model, text) == []


def test_yaml_and_sha256sum_are_manifests_too(model: Path) -> None:
    files = parse_manifest(f"files:\n- {{path: sub/weights 1.bin, size: 7, sha256: {SUM.upper()}}}\n", "m")
    assert files == (Expected("sub/weights 1.bin", 7, SUM),)
    sums = subprocess.run(
        ["sha256sum", "config.json", "sub/weights 1.bin"], cwd=model, capture_output=True, check=True, text=True
    ).stdout
    assert parse_manifest(sums, "m")[1] == Expected("sub/weights 1.bin", -1, SUM)
    assert found(model, sums) == []
    assert found(model, sums.replace("  ", " *")) == []


def test_each_flaw_is_told_with_what_was_expected_and_found(model: Path) -> None:
    text = write_manifest(model)
    weights = model / "sub" / "weights 1.bin"
    weights.write_bytes(b"wejghts")
    other = hashlib.sha256(b"wejghts").hexdigest()
    assert found(model, text) == [Damage("sub/weights 1.bin", Flaw.CONTENT, SUM, other)]
    weights.write_bytes(b"weight")
    assert found(model, text) == [Damage("sub/weights 1.bin", Flaw.SIZE, "7 bytes", "6 bytes")]
    weights.unlink()
    (damage,) = found(model, text)
    assert str(damage) == "sub/weights 1.bin: missing, expected a file, found none"
    weights.mkdir()
    assert [damage.found for damage in found(model, text)] == ["something else"]
    weights.rmdir()
    weights.parent.rmdir()
    weights.parent.write_bytes(b"")
    assert [damage.flaw for damage in found(model, text)] == [Flaw.MISSING]


def test_a_look_reads_nothing_and_sees_a_touch(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = parse_manifest(write_manifest(model), "m")
    monkeypatch.setattr(manifest_module, "_sum", None)
    damages, before = look(files, model)
    assert damages == []
    assert look(files, model)[1] == before
    os.utime(model / "config.json", (1, 1))
    damages, after = look(files, model)
    assert damages == []
    assert after != before


def test_links_are_followed_as_downloaders_lay_them(model: Path, tmp_path: Path) -> None:
    shutil.move(model / "config.json", tmp_path / "blob")
    (model / "config.json").symlink_to(tmp_path / "blob")
    assert found(model, write_manifest(model)) == []


def test_what_cannot_be_judged_is_no_damage(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = write_manifest(model)
    with pytest.raises(FileNotFoundError):
        found(model / "elsewhere", text)

    def forbidden(path: Path, pace: Pace) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(manifest_module, "_sum", forbidden)
    with pytest.raises(PermissionError):
        found(model, text)


def test_what_the_disk_cannot_read_is_damage(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = write_manifest(model)

    def broken(path: Path, pace: Pace) -> str:
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr(manifest_module, "_sum", broken)
    assert {damage.flaw for damage in found(model, text)} == {Flaw.UNREADABLE}


def test_a_file_that_is_being_written_has_no_sum(model: Path) -> None:
    weights = model / "sub" / "weights 1.bin"
    text = write_manifest(model)

    def write(_: float) -> None:
        weights.write_bytes(b"half of")

    with pytest.raises(OSError, match="changed while it was read"):
        list(verify(parse_manifest(text, "m"), model, Pace(1000.0, wait=write)))


@given(st.lists(st.integers(1, 1_000_000), max_size=30), st.floats(1, 1e7))
def test_the_rate_is_kept(counts: list[int], rate: float) -> None:
    now = [0.0]

    def wait(seconds: float) -> None:
        now[0] += seconds

    pace = Pace(rate, monotonic=lambda: now[0], wait=wait)
    for count in counts:
        pace.spend(count)
    assert now[0] == pytest.approx(sum(counts) / rate)
    assert pace.bytes_spent == sum(counts)


def test_unused_time_is_not_saved_up() -> None:
    now, waited = [0.0], list[float]()
    pace = Pace(100.0, monotonic=lambda: now[0], wait=waited.append)
    pace.spend(100)
    now[0] = 1000.0
    pace.spend(100)
    assert waited == [1.0, 1.0]


def test_who_stops_waits_for_nothing(model: Path) -> None:
    pace = Pace(1e-6)
    pace.stop.set()
    with pytest.raises(Stopped):
        write_manifest(model, pace)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "expected a list 'files'"),
        ("[]", "expected a list 'files'"),
        ("files: 7", "expected a list 'files'"),
        ("{", "neither JSON, YAML nor"),
        ("- 7", "file 1: expected path"),
        ("- {path: a, md5: b}", "unknown keys md5"),
        ("- {path: /etc/passwd}", "leaves the folder"),
        ("- {path: a/../../b}", "leaves the folder"),
        ("- {path: a, size: 1.5}", "size 1.5, expected bytes"),
        ("- {path: a, size: true}", "expected bytes"),
        ("- {path: a, sha256: 12}", "expected 64 hexadecimal"),
        ("- {path: a, sha256: abc}", "expected 64 hexadecimal"),
        ("- {path: a}\n- {path: a}", "a path stands twice"),
        ("[" * 5_000, "m: neither"),
    ],
)
def test_a_bad_manifest_is_explained(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_manifest(text, "m")


def test_a_manifest_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest_module, "MANIFEST_BYTES", 10)
    path = tmp_path / "m.json"
    path.write_text("[]")
    with pytest.raises(ValueError, match="files"):
        read_manifest(path)
    path.write_text("x" * 11)
    with pytest.raises(ValueError, match="larger than 10"):
        read_manifest(path)
