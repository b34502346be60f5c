"""Traces as people keep them: CSV with a header, one request a line, in order of arrival."""

import csv
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from aiops.capacity.work import Floats

ARRIVAL, SERVICE, TOKENS_IN, TOKENS_OUT = "arrival_seconds", "service_seconds", "input_tokens", "output_tokens"
EXPECTED = f"the columns {ARRIVAL},{SERVICE} or {ARRIVAL},{TOKENS_IN},{TOKENS_OUT}"


class _Reader(Protocol):
    line_num: int

    def __iter__(self) -> Iterator[list[str]]: ...


class TraceError(ValueError):
    """The trace cannot be used; the text says file, line and what was expected."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Columns of a trace, float64 [n] each, n ≥ 1; time starts at the first arrival. Either service or tokens."""

    arrival_seconds: Floats
    service_seconds: Floats | None = None
    input_tokens: Floats | None = None
    output_tokens: Floats | None = None


def parse_trace(lines: Iterable[str], name: str) -> Trace:
    """Read a trace; other columns than the known ones are ignored.

    Raises
    ------
    TraceError
        No header, missing columns, no rows, arrivals that go back, or a value that is no finite number ≥ 0.
    """
    reader = csv.reader(lines)
    header = next(reader, None)
    if header is None:
        raise TraceError(f"{name}: the file is empty; expected a header with {EXPECTED}")
    names = [column.strip().lstrip("\ufeff") for column in header]
    wanted = (ARRIVAL, SERVICE) if SERVICE in names else (ARRIVAL, TOKENS_IN, TOKENS_OUT)
    missing = [column for column in wanted if column not in names]
    if missing:
        raise TraceError(f"{name}:1: the header lacks {', '.join(missing)}; expected {EXPECTED}")
    places = [names.index(column) for column in wanted]
    rows = _rows(reader, name, wanted, places)
    if not len(rows):
        raise TraceError(f"{name}: no requests below the header; expected at least one line")
    arrival = rows[:, 0] - rows[0, 0]
    if SERVICE in wanted:
        return Trace(arrival, service_seconds=rows[:, 1])
    return Trace(arrival, input_tokens=rows[:, 1], output_tokens=rows[:, 2])


def _rows(reader: _Reader, name: str, wanted: tuple[str, ...], places: list[int]) -> Floats:
    values: list[list[float]] = []
    before = 0.0
    try:
        for row in reader:
            if not row:
                continue
            where = f"{name}:{reader.line_num}"
            if len(row) <= max(places):
                raise TraceError(
                    f"{where}: {len(row)} column(s); expected at least {max(places) + 1}, as in the header"
                )
            found = [_number(row[place], column, where) for place, column in zip(places, wanted, strict=True)]
            if found[0] < before:
                raise TraceError(
                    f"{where}: {ARRIVAL} {found[0]:g} is before {before:g} of the request above; "
                    f"expected the file sorted by arrival"
                )
            before = found[0]
            values.append(found)
    except csv.Error as error:
        raise TraceError(f"{name}:{reader.line_num}: {error}; expected comma-separated values") from None
    return np.array(values, dtype=np.float64).reshape(len(values), len(wanted))


def _number(text: str, column: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 <= value < math.inf:
        raise TraceError(f"{where}: {column} is {text.strip()[:40]!r}; expected a finite number ≥ 0")
    return value
