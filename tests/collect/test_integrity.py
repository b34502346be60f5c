import asyncio
import math
import os
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio
from pydantic import ValidationError

from aiops.collect import integrity
from aiops.collect.integrity import IntegrityCollector, IntegritySettings, ModelFilesSettings
from aiops.collect.manifest import write_manifest
from aiops.kit.clock import Clock
from aiops.signals.types import Entity, EntityKind, Mark, MarkKind

HOUR = 3600.0


@dataclass
class Watched:
    """A folder of two files, its manifest, its collector, and the time."""

    folder: Path
    manifest: Path
    now: float = 1000.0
    collectors: list[IntegrityCollector] = field(default_factory=list)

    @property
    def weights(self) -> Path:
        return self.folder / "weights.bin"

    def collector(self, **settings: object) -> IntegrityCollector:
        given = {"directory": self.folder, "manifest": self.manifest, "interval": 6 * HOUR, "rate": 0, **settings}
        clock = Clock(now=lambda: self.now, monotonic=lambda: self.now)
        self.collectors.append(IntegrityCollector(ModelFilesSettings.model_validate(given), clock))
        return self.collectors[-1]

    async def read(self, collector: IntegrityCollector, after: float = 60.0) -> tuple[float, tuple[Mark, ...]]:
        self.now += after
        (reading,) = await collector.read()
        return float(reading.values[0]), reading.marks


@pytest_asyncio.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    folder, manifest = tmp_path / "model", tmp_path / "manifest.json"
    folder.mkdir()
    (folder / "config.json").write_bytes(b"{}")
    (folder / "weights.bin").write_bytes(b"weights")
    manifest.write_text(write_manifest(folder))
    watched = Watched(folder, manifest)
    yield watched
    for collector in watched.collectors:
        await collector.close()


async def test_whole_files_are_intact(watched: Watched) -> None:
    collector = watched.collector()
    assert await watched.read(collector) == (1.0, ())
    status = collector.status()
    assert status.up
    assert (status.facts["files"], status.facts["checked_at"]) == (2.0, watched.now)


async def test_rot_that_no_stamp_shows_is_found_at_the_next_whole_check(watched: Watched) -> None:
    collector = watched.collector()
    await watched.read(collector)
    before = watched.weights.stat()
    watched.weights.write_bytes(b"wejghts")
    os.utime(watched.weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert await watched.read(collector) == (1.0, ()), "names, sizes and stamps are as they were"
    intact, (mark,) = await watched.read(collector, after=6 * HOUR)
    assert intact == 0.0
    assert mark.kind is MarkKind.FILE_DAMAGED
    assert mark.detail.startswith("weights.bin: sha256, expected ")
    assert collector.status().error == "", "damage is no failure of the check"
    assert "weights.bin" in str(collector.status().facts["damaged"])
    assert await watched.read(collector) == (0.0, ()), "told once, repeated as a value"


async def test_a_touched_file_is_read_again_at_once(watched: Watched) -> None:
    collector = watched.collector()
    await watched.read(collector)
    watched.weights.write_bytes(b"wejghts")
    await watched.read(collector)  # sees the stamp
    assert (await watched.read(collector))[0] == 0.0
    watched.weights.write_bytes(b"weights")
    await watched.read(collector)
    assert await watched.read(collector) == (1.0, ())
    assert "damaged" not in collector.status().facts


async def test_a_missing_file_is_seen_by_the_look_and_so_is_its_return(watched: Watched) -> None:
    collector = watched.collector()
    await watched.read(collector)
    watched.weights.rename(watched.folder.parent / "away")
    intact, (mark,) = await watched.read(collector)
    assert intact == 0.0
    assert "missing" in mark.detail
    (watched.folder.parent / "away").rename(watched.weights)
    await watched.read(collector)
    assert (await watched.read(collector))[0] == 1.0


async def test_a_new_manifest_is_followed(watched: Watched) -> None:
    collector = watched.collector()
    await watched.read(collector)
    watched.weights.write_bytes(b"release 2")
    watched.manifest.write_text(write_manifest(watched.folder))
    await watched.read(collector)
    assert await watched.read(collector) == (1.0, ())


@pytest.mark.parametrize("damage", ["manifest", "folder", "nonsense"])
async def test_what_cannot_be_checked_is_unknown(watched: Watched, damage: str) -> None:
    if damage == "manifest":
        watched.manifest.unlink()
    elif damage == "folder":
        watched.folder.rename(watched.folder.parent / "away")
    else:
        watched.manifest.write_text("{")
    collector = watched.collector()
    for attempt in (1, 2):
        intact, marks = await watched.read(collector)
        assert math.isnan(intact)
        assert marks == ()
        assert collector.status().failures == attempt
    assert str(watched.folder.parent) in collector.status().error


async def test_a_file_that_cannot_be_read_is_tried_again_later(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0

    def forbidden(*_: object) -> str:
        nonlocal tries
        tries += 1
        raise PermissionError(13, "Permission denied", "weights.bin")

    with monkeypatch.context() as patched:
        patched.setattr("aiops.collect.manifest._sum", forbidden)
        collector = watched.collector()
        for _ in range(9):
            assert math.isnan((await watched.read(collector))[0])
            assert "Permission denied" in collector.status().error, "a look does not hide it"
        assert tries == 1
    assert await watched.read(collector, after=600.0) == (1.0, ())
    assert collector.status().up


async def test_a_slow_disk_delays_nobody_and_what_is_known_is_told(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(integrity, "_PATIENCE_SECONDS", 0.2)
    going, gate = threading.Event(), threading.Event()

    def slowly(path: Path, pace: object) -> str:
        if path.name == "config.json":
            return "0" * 64
        going.set()
        gate.wait(20)
        return "1" * 64

    monkeypatch.setattr("aiops.collect.manifest._sum", slowly)
    collector = watched.collector()
    intact, marks = await watched.read(collector)
    assert going.is_set()
    assert (intact, len(marks)) == (0.0, 1), "the first file is known to be damaged while the second is read"
    assert collector.status().error == ""
    assert await watched.read(collector) == (0.0, ())
    assert collector.status().error == "the disk does not answer"
    gate.set()
    await asyncio.to_thread(collector._thread.join)  # type: ignore[union-attr]
    assert len((await watched.read(collector))[1]) == 1
    assert collector.status().error == ""


async def test_closing_ends_a_check_in_progress(watched: Watched) -> None:
    watched.weights.write_bytes(b"w" * 1_000_000)
    watched.manifest.write_text(write_manifest(watched.folder))
    collector = watched.collector(rate=4096)
    reading = asyncio.create_task(watched.read(collector))
    await asyncio.sleep(0.05)
    await collector.close()
    assert math.isnan((await reading)[0])
    assert not collector._thread.is_alive()  # type: ignore[union-attr]


def test_whose_files_they_are(tmp_path: Path) -> None:
    settings = ModelFilesSettings(directory=tmp_path, manifest=tmp_path / "m")
    assert settings.entity.kind is EntityKind.NODE
    assert settings.entity.label("directory") == str(tmp_path)
    labels = {"job": "llm", "instance": "h:1", "model_name": "m"}
    named = settings.model_copy(update={"labels": labels})
    assert named.entity == Entity.of(EntityKind.REPLICA, **labels)
    with pytest.raises(ValidationError, match="different labels"):
        IntegritySettings(models=(settings, settings))
