"""The numbers behind a diagnosis, small enough to be kept with it: what was looked at, row by row."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aiops.detect.base import Window
from aiops.diagnose.diagnosis import GUARD_SECONDS, Question, calls_among
from aiops.diagnose.record import Diagnosis
from aiops.diagnose.scene import Periods, columns_of, involved
from aiops.signals.tenancy import NO_TENANCY, Tenancy
from aiops.signals.types import Mark, SeriesKey

MOST_SERIES, REFERENCE_SECONDS = 400, 1200.0


@dataclass(frozen=True, slots=True)
class Recording:
    """One incident's numbers.

    Attributes
    ----------
    at
        UTC seconds of the newest row.
    since
        UTC seconds at which the first alert saw it.
    reference, window
        From and to, UTC seconds, both inclusive; the gap between belongs to neither.
    calls
        (caller, callee) as text: a disturbance travels from the callee to the caller.
    packed
        Values as little-endian float32 [rows, keys], NaN = unknown, compressed by zlib.
    """

    incident: str
    at: float
    since: float
    step_seconds: float
    reference: tuple[float, float]
    window: tuple[float, float]
    series: tuple[SeriesKey, ...]
    keys: tuple[SeriesKey, ...]
    calls: tuple[tuple[str, str], ...]
    marks: tuple[Mark, ...]
    packed: bytes

    def values(self) -> NDArray[np.float32]:
        """float32 [rows, keys], oldest row first."""
        return np.frombuffer(zlib.decompress(self.packed), "<f4").reshape(-1, len(self.keys))


def record(
    question: Question, window: Window, found: Diagnosis, marks: Sequence[Mark], tenancy: Tenancy = NO_TENANCY
) -> Recording:
    """Keep what a diagnosis rests on: its evidence first, then the rest of what is involved, while there is room."""
    periods = Periods.around(window, question.since, guard_seconds=GUARD_SECONDS, reference_seconds=REFERENCE_SECONDS)
    owned = columns_of(window.keys)
    entities = involved(owned, [key.entity for key in question.series], tenancy)
    cited = {fact.series for fact in found.evidence}
    columns = [column for entity, own in owned.items() if entity in entities for column in own]
    columns = sorted(columns, key=lambda k: window.keys[k] not in cited)[:MOST_SERIES]
    keys = tuple(key for key in (window.keys[k] for k in columns) if key is not None)
    first, last = periods.reference

    def at(row: int) -> float:
        return window.now - window.step_seconds * (len(window.values) - 1 - row)

    return Recording(
        incident=question.incident,
        at=window.now,
        since=question.since,
        step_seconds=window.step_seconds,
        reference=(at(first), at(max(last - 1, first))),
        window=(at(periods.start), window.now),
        series=question.series,
        keys=keys,
        calls=tuple(calls_among({key.entity for key in keys}, tenancy)),
        marks=tuple(mark for mark in marks if mark.entity in entities),
        packed=zlib.compress(window.values[first:, columns].astype("<f4").tobytes(), 1),
    )
