"""What the files of a model should be, and whether they are: manifests are read, written and held against a folder.

A manifest is JSON or YAML (``files: [{path, size, sha256}]``, size and sum each optional) or the output of
``sha256sum``. Reading is throttled, because the folder usually lies on the disk that engines load from.
"""

import errno
import hashlib
import json
import os
import re
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from aiops.kit.files import read_limited

MANIFEST_BYTES = 16 * 1024 * 1024
MOST_FILES = 100_000
_LEAST_BYTES, _MOST_BYTES = 4096, 1024 * 1024
_SUM_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](.+)")
_SUM = re.compile(r"[0-9a-f]{64}")


class Stopped(Exception):
    """Whoever asked wants no answer any more."""


class Flaw(StrEnum):
    """What is wrong with a file."""

    MISSING = "missing"
    SIZE = "size"
    CONTENT = "sha256"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Expected:
    """One file of a manifest; ``size_bytes`` -1 and ``sha256`` empty where the manifest does not say."""

    path: str
    size_bytes: int = -1
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Damage:
    """One file that is not as the manifest says."""

    path: str
    flaw: Flaw
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.path}: {self.flaw}, expected {self.expected}, found {self.found}"


@dataclass(slots=True)
class Pace:
    """How fast to read, and whether to go on.

    Parameters
    ----------
    bytes_per_second
        0 = as fast as the disk can.

    Attributes
    ----------
    bytes_spent
        Bytes read so far; moves for as long as the disk answers.
    """

    bytes_per_second: float = 0.0
    stop: threading.Event = field(default_factory=threading.Event)
    monotonic: Callable[[], float] = time.monotonic
    wait: Callable[[float], object] | None = None
    bytes_spent: int = 0
    _due: float = float("-inf")

    def spend(self, count: int) -> None:
        """Wait until ``count`` more bytes are within the rate; unused time is not saved up.

        Raises
        ------
        Stopped
            Once :attr:`stop` is set.
        """
        self.bytes_spent += count
        if self.bytes_per_second > 0:
            now = self.monotonic()
            self._due = max(self._due, now) + count / self.bytes_per_second
            (self.wait or self.stop.wait)(self._due - now)
        if self.stop.is_set():
            raise Stopped


def parse_manifest(text: str, origin: str) -> tuple[Expected, ...]:
    """Read a manifest in any of its forms.

    Raises
    ------
    ValueError
        Naming ``origin``, the entry and what was expected. Paths that leave the folder are refused.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    sums = [_SUM_LINE.fullmatch(line) for line in lines]
    entries: Any
    if lines and all(sums):
        entries = [{"path": match[2], "sha256": match[1]} for match in sums if match]
    else:
        entries = _document(text, origin)
    if isinstance(entries, dict):
        entries = entries.get("files")
    if not isinstance(entries, list) or not 0 < len(entries) <= MOST_FILES:
        raise ValueError(f"{origin}: expected a list 'files' of 1 to {MOST_FILES} entries, or lines of sha256sum")
    files = tuple(_expected(entry, f"{origin}: file {number}") for number, entry in enumerate(entries, start=1))
    if len({file.path for file in files}) != len(files):
        raise ValueError(f"{origin}: a path stands twice")
    return files


def _document(text: str, origin: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return yaml.safe_load(text)  # not the loader in C: deep nesting overflows its stack and ends the process
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{origin}: neither JSON, YAML nor lines of sha256sum: {str(error)[:200]}") from None


def _expected(entry: Any, where: str) -> Expected:
    if not isinstance(entry, dict) or not isinstance(path := entry.get("path"), str) or not path:
        raise ValueError(f"{where}: expected path, size, sha256")
    if unknown := entry.keys() - {"path", "size", "sha256"}:
        raise ValueError(f"{where}: unknown keys {', '.join(sorted(map(str, unknown)))}")
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts or "\0" in path:
        raise ValueError(f"{where}: path {path[:100]!r} leaves the folder")
    size, digest = entry.get("size", -1), entry.get("sha256", "")
    if type(size) is not int or size < -1:
        raise ValueError(f"{where}: size {size!r}, expected bytes")
    if not isinstance(digest, str) or (digest and not _SUM.fullmatch(digest.lower())):
        raise ValueError(f"{where}: sha256 {str(digest)[:80]!r}, expected 64 hexadecimal digits")
    return Expected(path, size, digest.lower())


def read_manifest(path: Path) -> tuple[Expected, ...]:
    """Read a manifest file of at most 16 MiB.

    Raises
    ------
    ValueError
        When it is too large or no manifest.
    OSError
        When it cannot be read.
    """
    return parse_manifest(read_limited(path, MANIFEST_BYTES).decode(errors="surrogateescape"), str(path))


def write_manifest(directory: Path, pace: Pace | None = None) -> str:
    """Describe every file below a folder, as JSON with one file per line; files whose name starts with a dot are
    left out, and so are folders of that sort (caches of downloaders).

    Raises
    ------
    OSError
        When something cannot be read: a manifest with holes would be believed.
    """
    pace = pace or Pace()
    entries = [
        json.dumps(
            {"path": str(name), "size": (directory / name).stat().st_size, "sha256": _sum(directory / name, pace)}
        )
        for name in _names(directory)
    ]
    return '{"files": [\n  ' + ",\n  ".join(entries) + "\n]}\n"


def _names(directory: Path) -> list[PurePosixPath]:
    def failed(error: OSError) -> None:
        raise error

    found: list[PurePosixPath] = []
    for folder, folders, names in os.walk(directory, onerror=failed):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = (Path(folder) / name for name in names if not name.startswith("."))
        found += [PurePosixPath(path.relative_to(directory)) for path in paths]
    return sorted(found)


def look(manifest: Iterable[Expected], directory: Path) -> tuple[list[Damage], tuple[object, ...]]:
    """Compare names and sizes only, which costs next to nothing.

    Returns
    -------
    list[Damage], tuple
        And a stamp that changes whenever a file was touched: a reason to read it again.

    Raises
    ------
    OSError
        When nothing can be said: no permission, the folder itself is away.
    """
    directory.stat()
    damages, stamps = list[Damage](), list[object]()
    for file in manifest:
        try:
            status = (directory / file.path).stat()
        except (FileNotFoundError, NotADirectoryError):
            damages.append(Damage(file.path, Flaw.MISSING, "a file", "none"))
            stamps.append(None)
            continue
        stamps.append((status.st_ino, status.st_size, status.st_mtime_ns))
        if not stat.S_ISREG(status.st_mode):
            damages.append(Damage(file.path, Flaw.MISSING, "a file", "something else"))
        elif file.size_bytes not in (-1, status.st_size):
            damages.append(Damage(file.path, Flaw.SIZE, f"{file.size_bytes} bytes", f"{status.st_size} bytes"))
    return damages, tuple(stamps)


def verify(manifest: Iterable[Expected], directory: Path, pace: Pace | None = None) -> Iterator[Damage]:
    """Read every file that has a sum, and yield what differs as soon as it is known.

    Raises
    ------
    OSError
        When nothing can be said, see :func:`look`. What the disk itself cannot read (EIO) is damage.
    Stopped
        Once the pace says so.
    """
    manifest, pace = tuple(manifest), pace or Pace()
    damages, _ = look(manifest, directory)
    yield from damages
    bad = {damage.path for damage in damages}
    for file in manifest:
        if not file.sha256 or file.path in bad:
            continue
        try:
            found = _sum(directory / file.path, pace)
        except FileNotFoundError:
            yield Damage(file.path, Flaw.MISSING, "a file", "none")
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            yield Damage(file.path, Flaw.UNREADABLE, f"sha256 {file.sha256}", error.strerror or str(error))
        else:
            if found != file.sha256:
                yield Damage(file.path, Flaw.CONTENT, file.sha256, found)


def _sum(path: Path, pace: Pace) -> str:
    """SHA-256 of a file; OSError when somebody writes to it meanwhile, since that sum is of no file."""
    digest = hashlib.sha256()
    piece_bytes = int(min(max(pace.bytes_per_second or _MOST_BYTES, _LEAST_BYTES), _MOST_BYTES))
    with path.open("rb", buffering=0) as file:
        before = os.fstat(file.fileno())
        while piece := file.read(piece_bytes):
            digest.update(piece)
            pace.spend(len(piece))
        after = os.fstat(file.fileno())
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
        raise OSError(errno.EAGAIN, "changed while it was read", str(path))
    return digest.hexdigest()
