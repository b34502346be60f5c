"""Damaged files are put aside, never deleted on sight and never read twice: no crash loop, and something to look at."""

import contextlib
import shutil
from datetime import UTC, datetime
from pathlib import Path

KEPT = 3
"""Damaged files kept per name, so that a disk that eats files does not fill itself with them."""


def quarantine(path: Path, now: float, *, companions: tuple[str, ...] = ()) -> Path | None:
    """Rename ``path`` to ``<name>.bad-<UTC time>`` and drop all but the newest few of those.

    Parameters
    ----------
    now
        UTC seconds.
    companions
        Endings of files that belong to it (``-wal``) and move along under its new name.

    Returns
    -------
    Path or None
        The new place; None when the folder does not allow it, and the file is still where it was.
    """
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    target = path.with_name(f"{path.name}.bad-{stamp}")
    try:
        path.rename(target)
    except OSError:
        return None
    for ending in companions:
        with contextlib.suppress(OSError):
            path.with_name(path.name + ending).rename(target.with_name(target.name + ending))
    _drop_oldest(path, companions)
    return target


def _drop_oldest(path: Path, companions: tuple[str, ...]) -> None:
    names = sorted(entry.name for entry in path.parent.iterdir() if entry.name.startswith(f"{path.name}.bad-"))
    firsts = [name for name in names if not name.endswith(companions or ("\0",))]
    for name in firsts[:-KEPT]:
        for ending in ("", *companions):
            old = path.with_name(name + ending)
            if old.is_dir():
                shutil.rmtree(old, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    old.unlink(missing_ok=True)
