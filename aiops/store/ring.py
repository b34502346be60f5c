"""The last hour as one matrix: a row per tick, a column per series, written in place.

Detectors read a view of it, so its shape is the speed of the whole daemon. Invariants:

* Every cell is a finite number or NaN; NaN = unknown, also for rows in which the daemon slept.
* A free column is NaN from top to bottom, has no key, and its next owner gets a generation of its own.
* Memory is ``(rows + rows/12) × capacity × 4 bytes`` plus some 60 bytes per column: the newest ``rows`` rows are
  kept contiguous in a buffer a twelfth longer, and moved to its start when its end is reached, which costs one
  ``memmove`` per ``rows/12`` ticks. The capacity grows in blocks up to ``max_series`` and never beyond, whatever is
  scraped; while it grows, the old and the new buffer exist together.

float32 carries 24 bits, about 64 s in a UTC time stamp; :meth:`Ring.latest` keeps the exact float64.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from aiops.detect.base import Window
from aiops.signals.types import Columns, Reading, SeriesKey

_Scalar = TypeVar("_Scalar", bound=np.generic)

BLOCK = 256
"""Columns added at a time: 1 KiB per row, so rows stay aligned to cache lines."""


class Latest(NamedTuple):
    """Newest known value of each column and when it was read: float64 [capacity] each, NaN = never known.

    Read-only views, valid until the next append.
    """

    values: NDArray[np.float64]
    at: NDArray[np.float64]


class History(NamedTuple):
    """One series over time: float64 [n] UTC seconds, oldest first, and float32 [n] values, NaN = unknown."""

    at: NDArray[np.float64]
    values: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RingState:
    """What a snapshot keeps of a ring: only columns that have an owner, copied.

    Attributes
    ----------
    now, step_seconds
        UTC seconds of the newest row, and the time between rows.
    capacity
        Columns that the ring had; detector state written beside it has this many.
    generations
        How many generations were given out, so that none is given twice.
    keys
        Series, length n.
    columns
        intp [n]: the column of each series.
    generation
        int64 [n].
    values
        float32 [rows, n], oldest row first.
    latest, latest_at, last_seen, unseen_seconds
        float64 [n].
    """

    now: float
    step_seconds: float
    capacity: int
    generations: int
    keys: tuple[SeriesKey, ...]
    columns: NDArray[np.intp]
    generation: NDArray[np.int64]
    values: NDArray[np.float32]
    latest: NDArray[np.float64]
    latest_at: NDArray[np.float64]
    last_seen: NDArray[np.float64]
    unseen_seconds: NDArray[np.float64]


class _Route(NamedTuple):
    """Where the values of one :class:`Columns` go; ``taken`` picks those that have a column, None = all."""

    columns: NDArray[np.intp]
    taken: NDArray[np.intp] | None


class Ring:
    """Columnar window of fixed memory. Not thread safe: one loop owns it.

    Parameters
    ----------
    rows
        Length of the window in ticks, ≥ 2.
    step_seconds
        Time between ticks, > 0.
    max_series
        Most series that get a column. Over it the newest are dropped and counted, never an exception.
    ttl_seconds
        A series that no reading mentions for longer loses its column. It ages only while ticks arrive: after a
        suspended night slow sources have their full time to report again.

    Attributes
    ----------
    dropped_series
        Series of the newest tick that found no column.
    dropped_values_total
        The same, summed over all ticks.
    """

    def __init__(self, rows: int, step_seconds: float, *, max_series: int, ttl_seconds: float) -> None:
        if rows < 2 or step_seconds <= 0 or max_series < 1 or ttl_seconds <= 0:
            raise ValueError(
                f"a ring needs rows ≥ 2, step > 0, max_series ≥ 1 and ttl > 0; "
                f"got {rows=}, {step_seconds=}, {max_series=}, {ttl_seconds=}"
            )
        self.rows = rows
        self.step_seconds = step_seconds
        self.max_series = max_series
        self.ttl_seconds = ttl_seconds
        self.dropped_series = 0
        self.dropped_values_total = 0
        self._now = 0.0
        self._awake_seconds = 0.0
        self._started = False
        self._end = rows
        self._generations = 0
        self._column: dict[SeriesKey, int] = {}
        self._keys: list[SeriesKey | None] = []
        self._keys_view: tuple[SeriesKey | None, ...] | None = None
        self._free: deque[int] = deque()
        self._routes: WeakKeyDictionary[Columns, _Route] = WeakKeyDictionary()
        self._buffer = np.full((rows + max(1, rows // 12), 0), np.nan, np.float32)
        self._tick_values = np.empty(0)
        self._mentioned = np.empty(0, np.bool_)
        self._generation = np.empty(0, np.int64)
        self._latest = np.empty(0)
        self._latest_at = np.empty(0)
        self._last_seen = np.empty(0)
        self._seen_awake = np.empty(0)
        self._grow(min(BLOCK, max_series))

    @property
    def capacity(self) -> int:
        """Columns that exist, owned or free."""
        return self._buffer.shape[1]

    @property
    def series(self) -> int:
        """Columns that have an owner."""
        return len(self._column)

    @property
    def memory_bytes(self) -> int:
        """Size of the arrays; keys and route tables are extra."""
        arrays = (self._buffer, self._tick_values, self._mentioned, self._generation)
        per_column = (self._latest, self._latest_at, self._last_seen, self._seen_awake)
        return sum(array.nbytes for array in arrays) + sum(array.nbytes for array in per_column)

    @property
    def last_seen(self) -> NDArray[np.float64]:
        """UTC seconds of the last tick that mentioned the series, known or not: float64 [capacity], NaN = free."""
        return _locked(self._last_seen.view())

    def append(self, now: float, readings: Iterable[Reading], *, elapsed_seconds: float | None = None) -> None:
        """Write one row: the tick at ``now``.

        A series read twice within the tick keeps the last reading. Infinite values, and values beyond float32,
        are stored as unknown. Ticks that were missed become rows of NaN, at most ``rows`` of them.

        Parameters
        ----------
        now
            UTC seconds.
        elapsed_seconds
            Monotonic time since the tick before, for whom a jump of the wall clock must not look like a gap. Left
            out, it is taken from ``now``; a wall clock that went backwards counts as no gap.

        Raises
        ------
        ValueError
            When a reading has not one value per column.
        """
        self._skip_missed(now - self._now if elapsed_seconds is None else elapsed_seconds)
        self._now = now
        self._awake_seconds += self.step_seconds
        self._release(np.flatnonzero(self._awake_seconds - self._seen_awake > self.ttl_seconds))
        self._gather(readings)
        self._store()

    def window(self) -> Window:
        """Give the newest ``rows`` rows without copying. Read only; valid until the next append."""
        if self._keys_view is None:
            self._keys_view = tuple(self._keys)
        values = _locked(self._buffer[self._end - self.rows : self._end])
        return Window(self._now, self.step_seconds, values, self._keys_view, self._generation)

    def latest(self) -> Latest:
        """Newest known value of each column, exact, however old; see :class:`Latest`."""
        return Latest(_locked(self._latest.view()), _locked(self._latest_at.view()))

    def column_of(self, key: SeriesKey) -> int | None:
        """Column of a series, None when it has none."""
        return self._column.get(key)

    def history(self, key: SeriesKey, since: float = 0.0) -> History:
        """Rows of one series that are not older than ``since``; empty for a series without a column.

        Row times are counted back from the newest row, so they are exact up to the jitter of the ticks.
        """
        column = self._column.get(key)
        if column is None:
            return History(np.empty(0), np.empty(0, np.float32))
        at = self._now - self.step_seconds * np.arange(self.rows - 1, -1, -1, dtype=np.float64)
        first = int(np.searchsorted(at, since))
        return History(at[first:], self._buffer[self._end - self.rows + first : self._end, column].copy())

    def export(self) -> RingState:
        """Copy what a snapshot needs; later appends do not change it."""
        columns = np.fromiter(self._column.values(), np.intp, len(self._column))
        return RingState(
            now=self._now,
            step_seconds=self.step_seconds,
            capacity=self.capacity,
            generations=self._generations,
            keys=tuple(self._column),
            columns=columns,
            generation=self._generation[columns],
            values=self._buffer[self._end - self.rows : self._end, columns],
            latest=self._latest[columns],
            latest_at=self._latest_at[columns],
            last_seen=self._last_seen[columns],
            unseen_seconds=self._awake_seconds - self._seen_awake[columns],
        )

    def restore(self, state: RingState) -> None:
        """Continue from a snapshot, in a ring that has seen nothing yet.

        The time in between becomes rows of NaN at the next append. Another step or window length is honoured: each
        old row goes to the row of its own time. Generations are kept, so detector state stays valid. If the
        snapshot has more series than fit, those seen last stay.

        Raises
        ------
        ValueError
            When the ring has already been written to.
        """
        if self._started:
            raise ValueError("a ring can be restored only before its first append")
        kept = np.sort(np.argsort(state.unseen_seconds, kind="stable")[: self.max_series])
        self._assign([state.keys[index] for index in kept])
        columns = np.array([self._column[state.keys[index]] for index in kept], np.intp)
        generation = self._generation.copy()
        generation[columns] = state.generation[kept]
        self._generation = _locked(generation)
        self._generations = max(self._generations, state.generations)
        self._restore_rows(state, kept, columns)
        self._latest[columns] = state.latest[kept]
        self._latest_at[columns] = state.latest_at[kept]
        self._last_seen[columns] = state.last_seen[kept]
        # None of them leaves at the first append: detectors must see once whose columns they were given back.
        unseen_seconds = np.minimum(state.unseen_seconds[kept], max(0.0, self.ttl_seconds - self.step_seconds))
        self._seen_awake[columns] = self._awake_seconds - unseen_seconds
        self._now = state.now
        self._started = True

    def backfill(self, state: RingState) -> None:
        """Fill in the past of series whose present is already being written, from a ring that saw it elsewhere.

        Only cells that are unknown change. A series without a column gets one while there are any. A ring that has
        seen nothing is restored.
        """
        if not self._started:
            self.restore(state)
            return
        self._assign(state.keys)
        kept = np.array([index for index, key in enumerate(state.keys) if key in self._column], np.intp)
        columns = np.array([self._column[state.keys[index]] for index in kept], np.intp)
        late_seconds = self._now - state.now
        ages = np.arange(len(state.values) - 1, -1, -1) * state.step_seconds + late_seconds
        places = np.floor(ages / self.step_seconds + 1e-6).astype(np.intp)
        for old, age in enumerate(places):
            if 0 <= age < self.rows:
                row = self._buffer[self._end - 1 - age]
                row[columns] = np.where(np.isnan(row[columns]), state.values[old, kept], row[columns])
        older = np.isnan(self._latest_at[columns])
        self._latest[columns[older]] = state.latest[kept[older]]
        self._latest_at[columns[older]] = state.latest_at[kept[older]]
        self._last_seen[columns] = np.fmax(self._last_seen[columns], state.last_seen[kept])

    def _restore_rows(self, state: RingState, kept: NDArray[np.intp], columns: NDArray[np.intp]) -> None:
        """Put each old row where its time is now; where two meet, the newer stays."""
        ages = np.arange(len(state.values) - 1, -1, -1)
        places = np.floor(ages * (state.step_seconds / self.step_seconds) + 1e-6).astype(np.intp)
        for old, age in enumerate(places):
            if age < self.rows:
                self._buffer[self._end - 1 - age, columns] = state.values[old, kept]

    def _skip_missed(self, elapsed_seconds: float) -> None:
        """Make room for the new row and for those that nobody wrote."""
        missed = round(elapsed_seconds / self.step_seconds) - 1 if self._started else 0
        self._started = True
        count = min(max(missed, 0), self.rows - 1) + 1
        if self._end + count > len(self._buffer):
            self._rewind(self.rows - count)
        self._buffer[self._end : self._end + count] = np.nan
        self._end += count

    def _rewind(self, keep: int) -> None:
        """Move the newest ``keep`` rows to the start of the buffer.

        Flat, because numpy moves overlapping memory in place in one dimension only and copies it in two.
        """
        width = self.capacity
        flat = self._buffer.reshape(-1)
        flat[: keep * width] = flat[(self._end - keep) * width : self._end * width]
        self._end = keep

    def _gather(self, readings: Iterable[Reading]) -> None:
        """Collect the tick's values by column, in float64."""
        readings = list(readings)
        # All new series of the tick at once: the buffer grows once, not once per reading.
        self._assign(
            [key for reading in readings if reading.columns not in self._routes for key in reading.columns.keys]
        )
        routed = [(reading, self._route(reading)) for reading in readings]
        self._tick_values.fill(np.nan)
        self._mentioned.fill(False)
        self.dropped_series = 0
        for reading, (columns, taken) in routed:
            self._tick_values[columns] = reading.values if taken is None else reading.values[taken]
            self._mentioned[columns] = True
            self.dropped_series += len(reading.values) - len(columns)
        self.dropped_values_total += self.dropped_series

    def _store(self) -> None:
        """Write the gathered values as the newest row."""
        row = self._buffer[self._end - 1]
        with np.errstate(over="ignore"):
            row[:] = self._tick_values
        known = np.isfinite(row)
        row[~known] = np.nan
        np.copyto(self._latest, self._tick_values, where=known)
        np.copyto(self._latest_at, self._now, where=known)
        np.copyto(self._last_seen, self._now, where=self._mentioned)
        np.copyto(self._seen_awake, self._awake_seconds, where=self._mentioned)

    def _route(self, reading: Reading) -> _Route:
        """Columns of a reading's values, looked up once per layout."""
        keys = reading.columns.keys
        if len(reading.values) != len(keys):
            raise ValueError(f"reading of {reading.source}: {len(reading.values)} values for {len(keys)} series")
        route = self._routes.get(reading.columns)
        if route is None:
            columns = [self._column.get(key, -1) for key in keys]
            taken = np.flatnonzero(np.array(columns, np.intp) >= 0)
            route = _Route(np.array(columns, np.intp)[taken], None if len(taken) == len(keys) else taken)
            self._routes[reading.columns] = route
        return route

    def _assign(self, keys: Sequence[SeriesKey]) -> None:
        """Give a column to each new series, in their order and the longest free first, while there are any."""
        new = [key for key in dict.fromkeys(keys) if key not in self._column]
        if not new:
            return
        if len(new) > len(self._free):
            self._grow(len(new) - len(self._free))
        new = new[: len(self._free)]
        columns = [self._free.popleft() for _ in new]
        for key, column in zip(new, columns, strict=True):
            self._column[key] = column
            self._keys[column] = key
        self._owners_changed(np.array(columns, np.intp))
        # A new column starts young: it has not been unseen for the life of the daemon.
        self._seen_awake[columns] = self._awake_seconds

    def _release(self, columns: NDArray[np.intp]) -> None:
        """Take columns from their owners and wipe them."""
        if not len(columns):
            return
        for column in columns.tolist():
            key = self._keys[column]
            if key is not None:
                del self._column[key]
            self._keys[column] = None
            self._free.append(column)
        self._buffer[:, columns] = np.nan
        for values in (self._latest, self._latest_at, self._last_seen):
            values[columns] = np.nan
        self._seen_awake[columns] = np.inf
        self._owners_changed(columns)
        self._forget_routes(columns)

    def _forget_routes(self, columns: NDArray[np.intp]) -> None:
        """Drop routes into released columns, and those that still wait for a free one."""
        gone = np.zeros(self.capacity, np.bool_)
        gone[columns] = True
        for layout, route in list(self._routes.items()):
            if route.taken is not None or gone[route.columns].any():
                del self._routes[layout]

    def _owners_changed(self, columns: NDArray[np.intp]) -> None:
        """Number the new owners. A new array each time: readers keep the old one to compare with."""
        generation = self._generation.copy()
        generation[columns] = np.arange(self._generations + 1, self._generations + 1 + len(columns))
        self._generations += len(columns)
        self._generation = _locked(generation)
        self._keys_view = None

    def _grow(self, wanted: int) -> None:
        """Add at least ``wanted`` columns, in whole blocks, within ``max_series``."""
        blocks = -(-(self.capacity + wanted) // BLOCK)
        added = min(blocks * BLOCK, self.max_series) - self.capacity
        if added <= 0:
            return
        old = self.capacity
        buffer = np.full((len(self._buffer), old + added), np.nan, np.float32)
        buffer[:, :old] = self._buffer
        self._buffer = buffer
        self._tick_values = np.full(old + added, np.nan)
        self._mentioned = np.zeros(old + added, np.bool_)
        self._generation = _locked(_extended(self._generation, added, 0))
        self._latest = _extended(self._latest, added, np.nan)
        self._latest_at = _extended(self._latest_at, added, np.nan)
        self._last_seen = _extended(self._last_seen, added, np.nan)
        self._seen_awake = _extended(self._seen_awake, added, np.inf)
        self._keys.extend([None] * added)
        self._keys_view = None
        self._free.extend(range(old, old + added))


def _extended(array: NDArray[_Scalar], count: int, fill: float) -> NDArray[_Scalar]:
    """Longer copy, the new end filled."""
    return np.concatenate([array, np.full(count, fill, array.dtype)])


def _locked(array: NDArray[_Scalar]) -> NDArray[_Scalar]:
    """Make read only."""
    array.flags.writeable = False
    return array
