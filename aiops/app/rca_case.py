"""Root-cause cases as folders: the format in which incidents are exported, kept and replayed.

A folder holds ``metrics.csv`` (first column epoch seconds, then columns ``entity|metric``), ``case.json``, perhaps
``topology.csv`` (caller,callee) and, where the answer is known, ``truth.json``.
"""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, nan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aiops.app.output import CommandFailedError
from aiops.diagnose.correlate import Alert
from aiops.diagnose.deviation import Panel
from aiops.diagnose.traits import trait_of

WINDOW_ROWS, AFTER_ROWS, GUARD_ROWS = 4, 1, 2
"""Where a case does not say: rows of the window up to the alert, rows after it, rows left out before the window."""


@dataclass(frozen=True, slots=True)
class Span:
    """From ``start`` to ``end``, UTC seconds, both inclusive."""

    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Truth:
    """What is known to be right; no entities means that nothing was wrong."""

    entities: frozenset[str]
    metrics: frozenset[str]
    cause: str


@dataclass(frozen=True, slots=True)
class Case:
    """One case. ``times`` is float64 [rows], ``values`` float64 [rows, columns], NaN = unknown; ``about`` is all of
    case.json."""

    id: str
    group: str
    alert: Alert
    alert_time: float
    interval_seconds: float
    reference: Span
    window: Span
    columns: tuple[tuple[str, str], ...]
    times: NDArray[np.float64]
    values: NDArray[np.float64]
    calls: tuple[tuple[str, str], ...]
    truth: Truth | None
    folder: Path
    about: Mapping[str, Any]

    @property
    def entities(self) -> set[str]:
        """All that could be blamed."""
        return {entity for entity, _ in self.columns} | {name for call in self.calls for name in call}

    def panel(self, shift_seconds: float = 0.0) -> Panel:
        """Reference and window, both moved by ``shift_seconds``.

        Raises
        ------
        CommandFailedError
            When a period holds no row.
        """
        parts = []
        for name, span in (("reference", self.reference), ("window", self.window)):
            inside = (self.times >= span.start + shift_seconds) & (self.times <= span.end + shift_seconds)
            if not inside.any():
                raise CommandFailedError(
                    f"{self.folder}: no row of metrics.csv lies in the {name} "
                    f"({span.start + shift_seconds:.0f} to {span.end + shift_seconds:.0f})"
                )
            parts.append(inside)
        entities, metrics = (tuple(column[part] for column in self.columns) for part in (0, 1))
        reference, window = parts
        return Panel(
            entities=entities,
            metrics=metrics,
            traits=tuple(map(trait_of, metrics)),
            reference=self.values[reference],
            window=self.values[window],
            times=self.times[window],
        )


def find(paths: Sequence[Path]) -> Iterator[Case]:
    """Every case at or below ``paths``, in the order of their names.

    Raises
    ------
    CommandFailedError
        When a path holds none, or one is not in the format.
    """
    for path in paths:
        found = sorted({file.parent for file in path.rglob("case.json")})
        if not found:
            raise CommandFailedError(f"{path}: no case here; expected a folder with case.json and metrics.csv")
        yield from map(read, found)


def read(folder: Path) -> Case:
    """One case of ``folder``; raises :class:`CommandFailedError` when it is not in the format."""
    about = _json(folder / "case.json")
    times, columns, values = _metrics(folder / "metrics.csv")
    try:
        alert = about["alert"]
        at = float(alert["time"])
        interval = float(about.get("interval_seconds") or np.median(np.diff(np.unique(times))))
        window = _span(about.get("window")) or Span(at - WINDOW_ROWS * interval, at + AFTER_ROWS * interval)
        before = Span(float(times.min()), window.start - (1 + GUARD_ROWS) * interval)
        name = str(about.get("id") or f"{folder.resolve().parent.name}/{folder.resolve().name}")
        noticed = Alert(str(alert["entity"]), str(alert["metric"]))
        reference = _span(about.get("reference")) or before
    except (KeyError, TypeError, ValueError) as error:
        raise CommandFailedError(
            f"{folder / 'case.json'}: expected alert {{time, entity, metric}}, interval_seconds and perhaps reference "
            f"and window {{start, end}}; wrong or missing: {error}"
        ) from None
    return Case(
        id=name,
        group=name.rpartition("/")[0] or folder.resolve().parent.name,
        alert=noticed,
        alert_time=at,
        interval_seconds=interval,
        reference=reference,
        window=window,
        columns=columns,
        times=times,
        values=values,
        calls=_calls(folder / "topology.csv"),
        truth=_truth(folder / "truth.json"),
        folder=folder,
        about=about,
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CommandFailedError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise CommandFailedError(f"{path}: not JSON: {error}") from None
    if not isinstance(data, dict):
        raise CommandFailedError(f"{path}: expected an object")
    return data


def _span(data: Any) -> Span | None:
    return None if data is None else Span(float(data["start"]), float(data["end"]))


def _truth(path: Path) -> Truth | None:
    if not path.exists():
        return None
    data = _json(path)
    entities = data.get("entities")
    if not isinstance(entities, list):
        raise CommandFailedError(f"{path}: expected entities, a list; empty where nothing was wrong")
    return Truth(
        frozenset(map(str, entities)), frozenset(map(str, data.get("metrics") or ())), str(data.get("cause") or "")
    )


def _rows(path: Path) -> list[list[str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.reader(file))
    except OSError as error:
        raise CommandFailedError(f"{path}: {error.strerror}") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise CommandFailedError(f"{path}: not CSV in UTF-8: {error}") from None


def _metrics(path: Path) -> tuple[NDArray[np.float64], tuple[tuple[str, str], ...], NDArray[np.float64]]:
    header, *rows = _rows(path) or [[]]
    columns = []
    for name in header[1:]:
        entity, separator, metric = name.rpartition("|")
        if not separator:
            raise CommandFailedError(f"{path}: column {name!r}: expected entity|metric")
        columns.append((entity, metric))
    if not rows or not columns:
        raise CommandFailedError(f"{path}: expected a header timestamp,entity|metric,… and rows below it")
    if len(set(columns)) < len(columns):
        raise CommandFailedError(f"{path}: two columns have the same name")
    table = np.empty((len(rows), len(header)))
    for number, row in enumerate(rows):
        if len(row) != len(header):
            raise CommandFailedError(f"{path}:{number + 2}: {len(row)} fields, {len(header)} expected")
        try:
            table[number] = [float(text) if text.strip() else nan for text in row]
        except ValueError as error:
            raise CommandFailedError(f"{path}:{number + 2}: {error}; empty where a value is unknown") from None
        if not isfinite(table[number, 0]):
            raise CommandFailedError(f"{path}:{number + 2}: expected epoch seconds in the first column")
    table = table[np.argsort(table[:, 0], kind="stable")]
    return table[:, 0], tuple(columns), np.where(np.isfinite(table[:, 1:]), table[:, 1:], nan)


def _calls(path: Path) -> tuple[tuple[str, str], ...]:
    if not path.exists():
        return ()
    header, *rows = _rows(path) or [[]]
    if header[:2] != ["caller", "callee"]:
        raise CommandFailedError(f"{path}: expected the header caller,callee")
    short = next((number for number, row in enumerate(rows) if len(row) < 2), None)
    if short is not None:
        raise CommandFailedError(f"{path}:{short + 2}: expected caller,callee")
    return tuple((row[0], row[1]) for row in rows)
