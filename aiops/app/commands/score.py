"""``aiops score``: how surprising each row of a recording was when it came."""

import csv
import gzip
from argparse import Namespace
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import repeat
from math import isnan
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from aiops.app.output import CommandFailedError, Exit, say
from aiops.app.parts import Lost, processes
from aiops.app.progress import Progress
from aiops.detect.ensemble import Ensemble, Scored

_INTERVAL_ROWS = 25
"""Leading rows from which the interval is told: fewer than the ensemble's warm-up, so that no score looks ahead."""
_LEFT_OUT = "label"
_GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Recording:
    """A file's rows.

    Attributes
    ----------
    stamps
        Timestamps as they stand in the file.
    seconds
        The same in UTC epoch seconds, float64 [rows].
    values
        float64 [rows, channels], NaN = unknown.
    names
        Name of each channel, in lower case.
    """

    stamps: tuple[str, ...]
    seconds: NDArray[np.float64]
    values: NDArray[np.float64]
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """What is the same for every file."""

    folder: Path
    interval_seconds: float | None
    alerts_per_week: float
    votes: bool


def score(args: Namespace) -> int:
    """``aiops score FILE… --out DIR``."""
    job = Job(args.out, args.interval, args.budget, args.votes)
    written: dict[Path, Path] = {}
    for file in args.files:
        goal = _goal(file, job.folder)
        if goal in written:
            raise CommandFailedError(f"{file} and {written[goal]} would both be written to {goal}")
        if file.resolve() == goal.resolve():
            raise CommandFailedError(f"{goal} would overwrite its own input; choose another --out")
        written[goal] = file
    try:
        job.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandFailedError(f"--out {job.folder}: {error.strerror}") from None
    failed = 0
    with processes(min(args.jobs, len(args.files))) as engine, Progress("scoring") as progress:
        for done, problem in enumerate(engine.map(partial(_one, job), args.files), 1):
            progress.to(done, len(args.files))
            if problem:
                failed += 1
                progress.wipe()
                say(f"aiops: {f'{args.files[done - 1]}: {problem.reason}' if isinstance(problem, Lost) else problem}")
    return Exit.FAILED if failed else Exit.OK


def _one(job: Job, file: Path) -> str:
    """Score one file; what went wrong, or nothing."""
    try:
        recording = read(file)
        interval = job.interval_seconds or interval_of(recording.seconds, file)
        ensemble = Ensemble(recording.values.shape[1], interval, job.alerts_per_week)
        _write(_goal(file, job.folder), recording, ensemble.push(recording.values), votes=job.votes)
    except CommandFailedError as error:
        return str(error)
    except OSError as error:
        return f"{file}: {error.strerror or error}"
    return ""


def _goal(file: Path, folder: Path) -> Path:
    base = file.name.removesuffix(".gz").removesuffix(".csv")
    return folder / f"{base}.csv"


def read(file: Path) -> Recording:
    """Rows of a CSV file, plain or gzipped: ``timestamp,value[,value…]`` with a header.

    Rows stay in the order of the file: one score per row, whatever the timestamps say. Empty cells and ``nan`` are
    unknown values. A column named ``label`` is left out.

    Raises
    ------
    CommandFailedError
        When something is not as expected: file, line, and what was expected.
    """
    with _opened(file) as stream:
        try:
            rows = csv.reader(stream, strict=True)
            header = next(rows, [])
            names = [name.strip().lower() for name in header]
            wanted = [index for index, name in enumerate(names) if index and name != _LEFT_OUT]
            if not names or names[0] != "timestamp" or not wanted:
                raise CommandFailedError(f"{file}:1: expected the header timestamp,value[,value…], got {header}")
            stamps: list[str] = []
            seconds: list[float] = []
            values = array("d")
            for row in rows:
                if not row:
                    continue
                if len(row) != len(names):
                    raise CommandFailedError(
                        f"{file}:{rows.line_num}: expected {len(names)} cells as in the header, got {len(row)}"
                    )
                stamps.append(row[0].strip())
                seconds.append(_seconds(stamps[-1], file, rows.line_num))
                cells = [row[index] for index in wanted]
                try:
                    values.extend([float(cell) for cell in cells])
                except ValueError:  # empty, or wrong
                    cell_names = [names[index] for index in wanted]
                    values.extend(map(_value, cells, repeat(file), repeat(rows.line_num), cell_names))
        except (csv.Error, UnicodeDecodeError, EOFError) as error:
            raise CommandFailedError(f"{file}: not a CSV file: {error}") from None
    if not stamps:
        raise CommandFailedError(f"{file}: there are no rows after the header")
    table = np.array(values).reshape(len(stamps), len(wanted))
    table[np.isinf(table)] = np.nan
    return Recording(tuple(stamps), np.array(seconds), table, tuple(names[index] for index in wanted))


@contextmanager
def _opened(file: Path) -> Iterator[TextIO]:
    with file.open("rb") as raw:
        packed = raw.read(2) == _GZIP_MAGIC
    if packed:
        with gzip.open(file, "rt", encoding="utf-8", newline="") as stream:
            yield stream
    else:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            yield stream


def _seconds(text: str, file: Path, line: int) -> float:
    try:
        number = float(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise CommandFailedError(
                f"{file}:{line}: expected epoch seconds or an ISO 8601 time, got {text!r}"
            ) from None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if not np.isfinite(number):
        raise CommandFailedError(f"{file}:{line}: expected a finite timestamp, got {text!r}")
    return number


def _value(text: str, file: Path, line: int, name: str) -> float:
    if not text.strip():
        return float("nan")
    try:
        return float(text)
    except ValueError:
        raise CommandFailedError(f"{file}:{line}: column {name}: expected a number, got {text!r}") from None


def interval_of(seconds: NDArray[np.float64], file: Path) -> float:
    """Usual time between rows: the median of the steps forward between the first rows."""
    steps = np.diff(seconds[:_INTERVAL_ROWS])
    forward = steps[steps > 0]
    if len(forward) == 0:
        raise CommandFailedError(
            f"{file}: the first {min(_INTERVAL_ROWS, len(seconds))} timestamps do not advance; "
            "state the time between rows with --interval SECONDS"
        )
    return float(np.median(forward))


def _write(goal: Path, recording: Recording, scored: Scored, *, votes: bool) -> None:
    """All or nothing: a reader never sees half a file."""
    columns = {"score": scored.score, **(scored.votes if votes else {})}
    partial = goal.with_suffix(".csv.partial")
    with partial.open("w", encoding="utf-8", newline="") as stream:
        stream.write(f"timestamp,{','.join(columns)}\n")
        for row in zip(recording.stamps, *(column.tolist() for column in columns.values()), strict=True):
            stream.write(f"{row[0]},{','.join('' if isnan(cell) else f'{cell:.6g}' for cell in row[1:])}\n")
    partial.replace(goal)
