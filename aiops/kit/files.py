"""Small files, read with a cap and written so that a crash leaves the old content or the new, never half.

The directory is synced too: without that a rename may be forgotten by a power cut.
"""

import os
import tempfile
from pathlib import Path


def write_atomically(path: Path, data: bytes | str, *, mode: int = 0o644) -> None:
    """Replace the content of ``path`` as one step: temporary file beside it, fsync, rename.

    Parameters
    ----------
    path
        A symlink is replaced, not followed.
    data
        Text is written as UTF-8.
    mode
        Permission bits; ``0o600`` for whatever may hold a secret.

    Raises
    ------
    OSError
        When the folder is missing, read only or full; the old content is untouched then.
    """
    content = data.encode() if isinstance(data, str) else data
    # mkstemp opens with 0600, so a secret is at no moment readable by others.
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def stamp(path: Path) -> tuple[int, int, int]:
    """What tells that a file was changed or replaced: inode, time of change in nanoseconds, size; raises OSError."""
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, status.st_size


def sync_folder(folder: Path) -> None:
    """Make renames in ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_limited(path: Path, limit_bytes: int) -> bytes:
    """Read a regular file of at most ``limit_bytes``.

    Raises
    ------
    ValueError
        When the file is larger, or is no regular file (a pipe would block for ever).
    OSError
        When it cannot be read.
    """
    if not path.is_file() and path.exists():
        raise ValueError(f"{path} is not a regular file")
    with path.open("rb") as file:
        content = file.read(limit_bytes + 1)
    if len(content) > limit_bytes:
        raise ValueError(f"{path} is larger than {limit_bytes} bytes")
    return content
