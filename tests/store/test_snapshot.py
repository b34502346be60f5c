"""A snapshot comes back as it was, or not at all; nothing that lies in its place can stop the daemon."""

import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiops.kit.retry import Temporary
from aiops.signals.types import Columns, Entity, EntityKind, Reading, SeriesKey
from aiops.store.ring import Ring
from aiops.store.snapshot import FORMAT, SavedState, Snapshot, capture, moved, read, state_for, write

NOW = 1_790_000_000.0


def key(name: str) -> SeriesKey:
    return SeriesKey(Entity.of(EntityKind.GPU, gpu=name, host="ü\n\"x'"), "gpu_temp", "p95")


def tick(ring: Ring, now: float, **values: float) -> None:
    layout = Columns(tuple(key(name) for name in values))
    ring.append(now, [Reading("test", now, layout, np.array(list(values.values())))])


def used_ring(**options: float) -> Ring:
    ring = Ring(6, 5.0, max_series=int(options.get("max_series", 100)), ttl_seconds=1000.0)
    tick(ring, NOW, a=1.0, b=2.0)
    tick(ring, NOW + 5, b=float("nan"), c=3.5)
    return ring


def saved(path: Path, **arrays: np.ndarray) -> Snapshot:
    snapshot = capture(used_ring(), {"zscore": SavedState("zscore/1", arrays)}, NOW + 6)
    write(path, snapshot)
    return snapshot


def good(path: Path) -> Snapshot:
    loaded = read(path, NOW)
    assert loaded.problem == ""
    assert loaded.snapshot is not None
    return loaded.snapshot


class TestRoundTrip:
    def test_the_ring_comes_back_exactly(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "folder" / "snapshot.npz"
        before = saved(path, level=np.arange(100.0), runs=np.arange(100), scalar=np.array(7.0)).ring
        snapshot = good(path)
        after = snapshot.ring
        assert snapshot.saved_at == NOW + 6
        assert after.keys == before.keys == (key("a"), key("b"), key("c"))
        assert (after.now, after.step_seconds, after.capacity) == (NOW + 5, 5.0, 100)
        assert snapshot.states["zscore"].arrays["scalar"] == 7
        for name in ("columns", "generation", "values", "latest", "latest_at", "last_seen", "unseen_seconds"):
            np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
            assert getattr(after, name).dtype == getattr(before, name).dtype
        restored = Ring(6, 5.0, max_series=100, ttl_seconds=1000.0)
        restored.restore(after)
        assert restored.window().keys == used_ring().window().keys
        np.testing.assert_array_equal(restored.window().values, used_ring().window().values)

    def test_only_the_owner_may_read_it(self, tmp_path: Path) -> None:
        saved(tmp_path / "s.npz")
        assert (tmp_path / "s.npz").stat().st_mode & 0o777 == 0o600

    def test_a_capture_does_not_change_with_the_daemon(self) -> None:
        ring, level = used_ring(), np.zeros(100)
        snapshot = capture(ring, {"zscore": SavedState("1", {"level": level})}, NOW)
        values = snapshot.ring.values.copy()
        level[:] = 9
        tick(ring, NOW + 10, a=100.0)
        np.testing.assert_array_equal(snapshot.ring.values, values)
        assert snapshot.states["zscore"].arrays["level"].max() == 0

    def test_an_empty_ring(self, tmp_path: Path) -> None:
        ring = Ring(3, 5.0, max_series=10, ttl_seconds=60.0)
        write(tmp_path / "s.npz", capture(ring, {}, NOW))
        fresh = Ring(3, 5.0, max_series=10, ttl_seconds=60.0)
        fresh.restore(good(tmp_path / "s.npz").ring)
        assert fresh.series == 0

    def test_objects_are_refused_rather_than_pickled(self, tmp_path: Path) -> None:
        snapshot = capture(used_ring(), {"bad": SavedState("1", {"x": np.array([{}], object)})}, NOW)
        with pytest.raises(ValueError, match="state/bad/x"):
            write(tmp_path / "s.npz", snapshot)

    def test_what_a_killed_write_left_is_swept(self, tmp_path: Path) -> None:
        (tmp_path / ".s.npz.abc.tmp").write_bytes(b"half")
        (tmp_path / "other.tmp").write_bytes(b"not ours")
        assert read(tmp_path / "s.npz", NOW).snapshot is None
        assert [entry.name for entry in tmp_path.iterdir()] == ["other.tmp"]


class TestMoving:
    @pytest.mark.parametrize("capacity", [3, 5, 300])
    def test_per_column_state_follows_its_series(self, capacity: int) -> None:
        before = used_ring().export()
        ring = Ring(6, 5.0, max_series=capacity, ttl_seconds=1000.0)
        tick(ring, NOW, new=0.0, c=0.0, a=0.0)
        level, runs = np.arange(200.0).reshape(2, 100), np.arange(100)
        fixed, scalar, short = np.arange(100), np.float64(3), np.arange(99)
        state = moved(
            {"level": level, "runs": runs, "fixed_tree": fixed, "scalar": np.asarray(scalar), "short": short},
            before,
            ring,
        )
        for name, old in (("a", 0), ("c", 2)):
            column = ring.column_of(key(name))
            assert state["level"][:, column].tolist() == [old, 100 + old]
            assert state["runs"][column] == old
        column = ring.column_of(key("new"))
        assert np.isnan(state["level"][:, column]).all()
        assert state["runs"][column] == 0
        assert state["level"].shape == (2, ring.capacity)
        assert state["runs"].dtype == runs.dtype
        assert state["fixed_tree"] is fixed
        assert state["short"] is short
        assert state["scalar"] == 3

    def test_a_restored_ring_gives_state_back_only_under_its_signature(self, tmp_path: Path) -> None:
        saved(tmp_path / "s.npz", level=np.arange(100.0))
        snapshot = good(tmp_path / "s.npz")
        ring = Ring(6, 5.0, max_series=7, ttl_seconds=1000.0)
        ring.restore(snapshot.ring)
        state = state_for(snapshot, "zscore", "zscore/1", ring)
        assert state is not None
        assert state["level"][:3].tolist() == [0, 1, 2]
        assert np.isnan(state["level"][3:]).all()
        assert state_for(snapshot, "zscore", "zscore/2", ring) is None
        assert state_for(snapshot, "arima", "zscore/1", ring) is None


class Evil:
    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return os.mkdir, ("pickle-was-run",)


def npz(**members: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.savez(content, **members)  # type: ignore[arg-type]
    return content.getvalue()


def edited(content: bytes, **changes: object) -> bytes:
    """The same snapshot with other header fields."""
    with np.load(io.BytesIO(content)) as members:
        arrays = dict(members)
    header = json.loads(arrays["header"].tobytes())[0] | changes
    return npz(**arrays | {"header": np.frombuffer(json.dumps([header]).encode(), np.uint8)})


def valid_bytes(tmp_path: Path) -> bytes:
    saved(tmp_path / "valid.npz", level=np.arange(100.0))
    content = (tmp_path / "valid.npz").read_bytes()
    (tmp_path / "valid.npz").unlink()
    return content


BAD: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "text": lambda _: b"hello",
    "zeros": lambda _: bytes(1000),
    "half": lambda content: content[: len(content) // 2],
    "one byte short": lambda content: content[:-1],
    "one byte flipped": lambda content: content.replace(np.float64(99.0).tobytes(), b"\xff" * 8),
    "pickle": lambda _: __import__("pickle").dumps(Evil()),
    "object array": lambda _: npz(header=np.array([Evil()], object)),
    "foreign npz": lambda _: npz(x=np.arange(3)),
    "plain npy": lambda _: npy(np.arange(3)),
    "no ring": lambda content: npz(header=np.load(io.BytesIO(content))["header"]),
    "header is no JSON": lambda _: npz(header=np.frombuffer(b"{", np.uint8)),
    "newer version": lambda content: edited(content, version=2),
    "other format": lambda content: edited(content, format="x"),
    "missing keys": lambda content: edited(content, keys=[]),
    "a key twice": lambda content: edited(content, keys=[[{"kind": "gpu", "labels": []}, "x", ""]] * 3),
    "small capacity": lambda content: edited(content, capacity=2),
    "no step": lambda content: edited(content, step_seconds=0),
    "no time": lambda content: edited(content, now="NaN"),
    "a huge array": lambda content: huge(),
}


def npy(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def huge() -> bytes:
    """A header array that claims a petabyte."""
    body = npy(np.arange(8, dtype=np.uint8)).replace(b"(8,), }" + b" " * 12, b"(1125899906842624,), }"[:19].ljust(19))
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("header.npy", body)
    return content.getvalue()


class TestDamage:
    @pytest.mark.parametrize("name", BAD)
    def test_it_is_put_aside_and_reported(self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        content = BAD[name](valid_bytes(tmp_path))
        path = tmp_path / "snapshot.npz"
        path.write_bytes(content)
        loaded = read(path, NOW)
        assert loaded.snapshot is None
        assert "snapshot.npz.bad-20260921T" in loaded.problem
        [aside] = tmp_path.iterdir()
        assert aside.name.startswith("snapshot.npz.bad-")
        assert aside.read_bytes() == content
        assert read(path, NOW) == type(loaded)(None), "the next start is clean"

    @given(position=st.floats(0, 1, exclude_max=True), damage=st.binary(min_size=1, max_size=40), cut=st.booleans())
    @settings(deadline=None, max_examples=150)
    def test_damage_anywhere_gives_the_same_snapshot_or_none(
        self, tmp_path_factory: pytest.TempPathFactory, position: float, damage: bytes, cut: bool
    ) -> None:
        folder = tmp_path_factory.mktemp("damage")
        path = folder / "s.npz"
        before = saved(path, level=np.arange(100.0))
        content = path.read_bytes()
        at = int(position * len(content))
        path.write_bytes(content[:at] + (b"" if cut else damage + content[at + len(damage) :]))
        loaded = read(path, NOW)
        assert (loaded.snapshot is None) == bool(loaded.problem)
        if loaded.snapshot is not None:
            assert loaded.snapshot.ring.keys == before.ring.keys
            np.testing.assert_array_equal(loaded.snapshot.ring.values, before.ring.values)
            np.testing.assert_array_equal(loaded.snapshot.states["zscore"].arrays["level"], np.arange(100.0))

    def test_a_folder_or_a_pipe_in_its_place(self, tmp_path: Path) -> None:
        path = tmp_path / "s.npz"
        path.mkdir()
        assert "not a regular file" in read(path, NOW).problem
        os.mkfifo(path)
        assert "not a regular file" in read(path, NOW + 1).problem
        saved(path)
        good(path)

    def test_only_the_newest_few_damaged_files_are_kept(self, tmp_path: Path) -> None:
        path = tmp_path / "s.npz"
        for number in range(6):
            path.write_text(f"bad {number}")
            assert "pickle" not in read(path, NOW + number).problem  # nobody should be advised to trust it
        assert sorted(entry.read_text() for entry in tmp_path.iterdir()) == ["bad 3", "bad 4", "bad 5"]


class TestDisk:
    def test_a_path_that_cannot_be_is_temporary(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        snapshot = capture(used_ring(), {}, NOW)
        with pytest.raises(Temporary, match="cannot write the snapshot"):
            write(tmp_path / "file" / "s.npz", snapshot)
        (tmp_path / "taken").mkdir()
        with pytest.raises(Temporary) as caught:
            write(tmp_path / "taken", snapshot)
        assert str(caught.value) == f"cannot write the snapshot {tmp_path / 'taken'}: Is a directory"
        loaded = read(tmp_path / "file" / "s.npz", NOW)
        assert loaded.snapshot is None
        assert "cannot read the snapshot" in loaded.problem

    def test_a_full_disk_keeps_the_snapshot_before(self, tmp_path: Path) -> None:
        path = tmp_path / "s.npz"
        saved(path, level=np.arange(100.0))
        content = path.read_bytes()
        script = """
import resource, sys
from pathlib import Path
import numpy as np
from aiops.kit.retry import Temporary
from aiops.store.ring import Ring
from aiops.store.snapshot import SavedState, capture, write
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
ring = Ring(3, 5.0, max_series=10, ttl_seconds=60.0)
try:
    write(Path(sys.argv[1]), capture(ring, {"x": SavedState("1", {"x": np.zeros(100_000)})}, 0.0))
except Temporary as error:
    print(error)
"""
        done = subprocess.run(
            [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True, timeout=50
        )
        assert "File too large" in done.stdout
        assert path.read_bytes() == content
        assert [entry.name for entry in tmp_path.iterdir()] == ["s.npz"]


def test_format_is_part_of_the_file(tmp_path: Path) -> None:
    assert FORMAT.encode() in valid_bytes(tmp_path)
