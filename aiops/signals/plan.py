"""A resolution compiled to arrays: one page becomes one vector of signals in a few numpy calls.

Three steps, all gathers and reductions without Python per series:

1. *cells*: sums (or max, min, mean) over the series of one entity, of the values now or of the counter gains;
2. *columns*: ``cell[a] / cell[b] * scale + offset``; a rate divides by the time step, a mean by a count, a plain
   gauge by the constant 1;
3. *quantiles* of all histograms at once, from cells that hold their buckets.

Invariant: NaN in any part of a cell makes the cell NaN, and so the signal: unknown is never 0.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aiops.signals.catalog import SIGNALS, Kind
from aiops.signals.histograms import QUANTILE_STATS, QUANTILES
from aiops.signals.page import Layout, Sample
from aiops.signals.profile import How, NewSeries, Reduce
from aiops.signals.resolve import Binding, Indices, Resolution
from aiops.signals.types import SeriesKey

Floats = NDArray[np.float64]
Positions = NDArray[np.intp]

ONE, STEP = 0, 1  # the first two cells: the constant 1 and the time step in seconds
_UFUNC = {Reduce.SUM: np.add, Reduce.MEAN: np.add, Reduce.MAX: np.maximum, Reduce.MIN: np.minimum}


class _Origin(NamedTuple):
    """What a cell is made of: gains or values now, and how they are reduced."""

    gain: bool
    reduce: Reduce


@dataclass(frozen=True, slots=True)
class CellGroup:
    """Cells of one origin, reduced in one call: cells ``first …`` from ``positions`` cut at ``starts``."""

    origin: _Origin
    first: int
    positions: Positions
    starts: Positions
    lengths: Positions

    def fill(self, cells: Floats, now: Floats, gain: Floats) -> None:
        """Compute the group's cells in place."""
        ufunc = _UFUNC[self.origin.reduce]
        picked = (gain if self.origin.gain else now)[self.positions]
        reduced = ufunc.reduceat(picked, self.starts)
        if self.origin.reduce is Reduce.MEAN:
            reduced = reduced / self.lengths
        cells[self.first : self.first + len(reduced)] = reduced


@dataclass(frozen=True, slots=True)
class HistogramTable:
    """All histograms of a page side by side.

    Attributes
    ----------
    keys
        (entity, signal) of each row.
    cells
        intp [h, k], cells with the cumulative buckets, padded with the last one.
    bounds
        float64 [h, k] in canonical units, padded with +Inf.
    rows
        The real bounds of each row, float64 [buckets], always the same objects.
    totals
        intp [h], cells with the sum of observed values, or -1.
    scales
        float64 [h], page unit to canonical unit.
    columns
        intp [h, 3], columns of p50, p95 and p99.
    """

    keys: tuple[SeriesKey, ...]
    cells: Positions
    bounds: Floats
    rows: tuple[Floats, ...]
    totals: Positions
    scales: Floats
    columns: Positions


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything to be done with the values of a layout.

    Attributes
    ----------
    counters, starts, lengths
        Positions of all counter series in the page, and the groups that reset together.
    counter_samples
        Their identity, to find them again when the layout changes.
    products
        Cells to be multiplied: (target, factors).
    differences
        Cells for what is left: (target, from, taken away).
    newest
        Cells that take the code of the series with the greatest value: (target, positions, codes).
    from_zero
        bool [counters]: where the program creates the series with its first event, so that it began at 0.
    numerator, denominator, scale, offset, low, high
        Columns, [n].
    sticky
        Columns whose raw value is an event code that stays: they count its changes.
    averaged
        Columns made of counter gains, other than counts of events: over a long gap they say nothing about now.
    start_time
        Position of the only process start time on the page, or -1.
    """

    resolution: Resolution
    keys: tuple[SeriesKey, ...]
    counters: Positions
    starts: Positions
    lengths: Positions
    counter_samples: tuple[Sample, ...]
    groups: tuple[CellGroup, ...]
    fixed: Floats
    cell_count: int
    products: tuple[tuple[int, Indices], ...]
    differences: tuple[tuple[int, int, int], ...]
    newest: tuple[tuple[int, Positions, Floats], ...]
    from_zero: NDArray[np.bool_]
    numerator: Positions
    denominator: Positions
    scale: Floats
    offset: Floats
    low: Floats
    high: Floats
    sticky: Positions
    averaged: Positions
    start_time: int
    histograms: HistogramTable | None


class _Column(NamedTuple):
    key: SeriesKey
    numerator: int
    denominator: int
    scale: float
    offset: float
    sticky: bool = False


class _Table(NamedTuple):
    key: SeriesKey
    cells: tuple[int, ...]
    bounds: tuple[float, ...]
    total: int
    scale: float
    column: int


class _Compiler:
    """Collects cells, columns and histograms, then lays them out."""

    def __init__(self) -> None:
        self.origins: dict[_Origin, list[Indices]] = {}
        self.requested: list[tuple[_Origin, int]] = []
        self.fixed: list[float] = [1.0, float("nan")]
        self.columns: list[_Column] = []
        self.tables: list[_Table] = []
        self.products: list[tuple[int, Indices]] = []
        self.differences: list[tuple[int, int, int]] = []
        self.newest: list[tuple[int, Positions, Floats]] = []
        self.together: list[Indices] = []

    def cell(self, positions: Indices, reduce: Reduce, *, gain: bool) -> int:
        """Ask for a cell; the number is provisional until :meth:`slots` (negative = computed)."""
        if reduce is Reduce.FIRST:
            positions, reduce = positions[:1], Reduce.SUM
        origin = _Origin(gain, reduce)
        group = self.origins.setdefault(origin, [])
        group.append(positions)
        self.requested.append((origin, len(group) - 1))
        if gain:
            self.together.extend((position,) for position in positions)
        return -len(self.requested)

    def constant(self, value: float) -> int:
        """Cell that never changes, or that a product fills."""
        self.fixed.append(value)
        return len(self.fixed) - 1

    def column(self, binding: Binding, stat: str, numerator: int, denominator: int, *, scaled: bool = True) -> int:
        """Add a column; returns its number."""
        source = binding.source
        scale, offset = (source.scale, source.offset) if scaled else (1.0, 0.0)
        key = SeriesKey(binding.entity, binding.signal, stat)
        self.columns.append(_Column(key, numerator, denominator, scale, offset, binding.how is How.CHANGES))
        return len(self.columns) - 1

    def bind(self, binding: Binding) -> None:
        """Add the cells and columns of one signal of one entity."""
        how, reduce = binding.how, binding.reduce
        stat = "mean" if SIGNALS[binding.signal].kind is Kind.DISTRIBUTION else ""
        if how in (How.HISTOGRAM, How.SUMMARY, How.MEAN):
            self._distribution(binding)
        elif how is How.COUNTER:
            events = SIGNALS[binding.signal].kind is Kind.EVENTS
            self.column(binding, stat, self.cell(binding.value, reduce, gain=True), ONE if events else STEP)
        elif how in (How.RATIO, How.QUOTIENT):
            gain = how is How.RATIO
            above = self.cell(binding.value, Reduce.SUM, gain=gain)
            self.column(binding, stat, above, self.cell(binding.over, Reduce.SUM, gain=gain))
        elif how is How.PRODUCT:
            factors = [self.cell(binding.value, reduce, gain=False)]
            factors += [self.cell(group, Reduce.MAX, gain=False) for group in binding.times]
            target = self.constant(float("nan"))
            self.products.append((target, tuple(factors)))
            self.column(binding, stat, target, ONE)
        elif how is How.DIFFERENCE:
            target = self.constant(float("nan"))
            whole = self.cell(binding.value, reduce, gain=False)
            self.differences.append((target, whole, self.cell(binding.over, Reduce.SUM, gain=False)))
            self.column(binding, stat, target, ONE)
        elif how is How.NEWEST:
            target = self.constant(float("nan"))
            self.newest.append((target, _positions(binding.value), np.array(binding.codes)))
            self.column(binding, stat, target, ONE)
        elif how in (How.INFO, How.COUNT):
            value = binding.constant if how is How.INFO else float(len(binding.value))
            self.column(binding, stat, self.constant(value), ONE)
        else:
            reduce = Reduce.MAX if how is How.CHANGES else reduce
            self.column(binding, stat, self.cell(binding.value, reduce, gain=False), ONE)

    def _distribution(self, binding: Binding) -> None:
        total = self.cell(binding.value, Reduce.SUM, gain=True) if binding.value else 0
        if binding.over:
            count = self.cell(binding.over, Reduce.SUM, gain=True)
            if total:
                self.column(binding, "mean", total, count)
            self.column(binding, "rate", count, STEP, scaled=False)
        for q, position in binding.quantiles:
            if q in QUANTILES:
                cell = self.cell((position,), Reduce.SUM, gain=False)
                self.column(binding, QUANTILE_STATS[QUANTILES.index(q)], cell, ONE)
        if binding.buckets:
            self.together.extend(binding.together)
            nothing = self.constant(float("nan"))
            first, *_ = [self.column(binding, stat, nothing, ONE) for stat in QUANTILE_STATS]
            cells = tuple(self.cell(positions, Reduce.SUM, gain=True) for _, positions in binding.buckets)
            bounds = tuple(bound * binding.source.scale for bound, _ in binding.buckets)
            key = SeriesKey(binding.entity, binding.signal)
            self.tables.append(_Table(key, cells, bounds, total, binding.source.scale, first))

    def averages(self, column: _Column) -> bool:
        """Tell whether a column is a rate, mean or ratio of counter gains."""
        number = column.numerator
        gained = number < 0 and self.requested[-number - 1][0].gain
        return gained and SIGNALS[column.key.signal].kind is not Kind.EVENTS

    def reset_groups(self) -> list[Indices]:
        """Counter positions, each once, in groups that reset together (larger groups take precedence)."""
        taken: set[int] = set()
        groups: list[Indices] = []
        for group in sorted(self.together, key=len, reverse=True):
            free = tuple(position for position in group if position not in taken)
            if free:
                taken.update(free)
                groups.append(free)
        return groups


def compile_plan(layout: Layout, resolution: Resolution) -> Plan:
    """Lay a resolution out as arrays."""
    compiler = _Compiler()
    for binding in resolution.bindings:
        compiler.bind(binding)
    resets = compiler.reset_groups()
    counters = [position for group in resets for position in group]
    place_of_counter = {position: place for place, position in enumerate(counters)}
    groups, first_of = _cell_groups(compiler, place_of_counter)

    def slot(number: int) -> int:
        if number >= 0:
            return number
        origin, place = compiler.requested[-number - 1]
        return first_of[origin] + place

    columns = compiler.columns
    limits = [SIGNALS[column.key.signal] for column in columns]
    return Plan(
        resolution=resolution,
        keys=tuple(column.key for column in columns),
        counters=_positions(counters),
        starts=_positions(_starts(len(group) for group in resets)),
        lengths=_positions(len(group) for group in resets),
        counter_samples=tuple(layout.samples[position] for position in counters),
        groups=groups,
        fixed=np.array(compiler.fixed),
        cell_count=len(compiler.fixed) + len(compiler.requested),
        products=tuple((target, tuple(slot(factor) for factor in factors)) for target, factors in compiler.products),
        differences=tuple((target, slot(whole), slot(part)) for target, whole, part in compiler.differences),
        newest=tuple(compiler.newest),
        from_zero=_from_zero(counters, resolution),
        numerator=_positions(slot(column.numerator) for column in columns),
        denominator=_positions(slot(column.denominator) for column in columns),
        scale=np.array([column.scale for column in columns]),
        offset=np.array([column.offset for column in columns]),
        low=np.array([0.0 if column.key.stat == "rate" else s.low for column, s in zip(columns, limits, strict=True)]),
        high=np.array(
            [np.inf if column.key.stat == "rate" else s.high for column, s in zip(columns, limits, strict=True)]
        ),
        sticky=_positions(place for place, column in enumerate(columns) if column.sticky),
        averaged=_positions(place for place, column in enumerate(columns) if compiler.averages(column)),
        start_time=_only_start_time(resolution),
        histograms=_table(
            [t._replace(cells=tuple(slot(c) for c in t.cells), total=slot(t.total)) for t in compiler.tables]
        ),
    )


def _cell_groups(
    compiler: _Compiler, place_of_counter: dict[int, int]
) -> tuple[tuple[CellGroup, ...], dict[_Origin, int]]:
    """Give every origin a contiguous run of cells after the fixed ones."""
    groups: list[CellGroup] = []
    first_of: dict[_Origin, int] = {}
    first = len(compiler.fixed)
    for origin, members in compiler.origins.items():
        flat = [place_of_counter[p] if origin.gain else p for member in members for p in member]
        lengths = [len(member) for member in members]
        first_of[origin] = first
        groups.append(CellGroup(origin, first, _positions(flat), _positions(_starts(lengths)), _positions(lengths)))
        first += len(members)
    return tuple(groups), first_of


def _from_zero(counters: list[int], resolution: Resolution) -> NDArray[np.bool_]:
    """Which counters began at 0, by the profiles that read them."""
    lazy = {profile.name for profile in resolution.profiles if profile.new_series is NewSeries.ZERO}
    born: set[int] = set()
    for binding in resolution.bindings:
        if binding.profile in lazy:
            born.update(binding.value, binding.over, *(positions for _, positions in binding.buckets))
    return np.array([position in born for position in counters], dtype=np.bool_)


def _only_start_time(resolution: Resolution) -> int:
    positions = {p for b in resolution.bindings if b.signal == "start_time" for p in b.value}
    return positions.pop() if len(positions) == 1 else -1


def _table(tables: list[_Table]) -> HistogramTable | None:
    if not tables:
        return None
    widest = max(len(table.cells) for table in tables)
    pad = [widest - len(table.cells) for table in tables]
    both = list(zip(tables, pad, strict=True))
    return HistogramTable(
        keys=tuple(table.key for table in tables),
        cells=np.array([table.cells + table.cells[-1:] * more for table, more in both], dtype=np.intp),
        bounds=np.array([table.bounds + (np.inf,) * more for table, more in both]),
        rows=tuple(_shared_bounds(table.bounds) for table in tables),
        totals=_positions(table.total or -1 for table in tables),
        scales=np.array([table.scale for table in tables]),
        columns=np.array([[table.column + i for i in range(len(QUANTILES))] for table in tables], dtype=np.intp),
    )


@lru_cache(maxsize=1024)
def _shared_bounds(bounds: tuple[float, ...]) -> Floats:
    """One array for all replicas of an engine, so that merging them compares identities, not numbers."""
    array = np.array(bounds)
    array.setflags(write=False)
    return array


def _starts(lengths: Iterable[int]) -> list[int]:
    starts, position = [], 0
    for length in lengths:
        starts.append(position)
        position += length
    return starts


def _positions(values: Iterable[int]) -> Positions:
    return np.fromiter(values, dtype=np.intp)
