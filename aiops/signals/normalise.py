"""From a page to a reading: the engine's numbers under canonical names, in base units, as rates and quantiles.

One :class:`Normaliser` per scrape target. It remembers the counters of the page before; all decisions about names
are made once per layout. Invariants: the columns are the same object while the series stay; a signal whose metric
is absent has no column; a value that cannot be (outside the catalogue's bounds) is NaN.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from aiops.signals.catalog import SIGNALS
from aiops.signals.derive import Derivation
from aiops.signals.histograms import QUANTILES, monotone, observations_needed, quantiles
from aiops.signals.page import Layout, Page, Sample
from aiops.signals.plan import STEP, Plan, compile_plan
from aiops.signals.profile import Profile
from aiops.signals.rates import increases, reset_share, step_seconds
from aiops.signals.resolve import Resolution, resolve
from aiops.signals.settings import NormaliseSettings
from aiops.signals.types import Buckets, Columns, Entity, EntityKind, Labels, Mark, MarkKind, Reading, SeriesKey

Floats = NDArray[np.float64]

# Clocks of the page and of the reader differ a little, so a share of time may come out above 1.
_OVERSHOOT = 1.1
_MOST = 0.5


@dataclass(frozen=True, slots=True)
class _Before:
    """What is kept of the page before, in the order of its plan."""

    plan: Plan
    counters: Floats
    sticky: Floats
    start_time: float


class Normaliser:
    """Turns the pages of one target into readings.

    Parameters
    ----------
    profiles
        Profiles to try; all that match a page are used.
    target
        Labels of the target: job, instance, pool, … They become part of the entities as the profile says.
    source
        Name of the source, as in its status.
    """

    def __init__(
        self, profiles: Sequence[Profile], target: Labels, source: str, settings: NormaliseSettings | None = None
    ) -> None:
        self._profiles = tuple(profiles)
        self._target = target
        self._source = source
        self._settings = settings or NormaliseSettings()
        self._needed = np.array([observations_needed(q, self._settings.tail_observations) for q in QUANTILES])
        self._plans: WeakKeyDictionary[Layout, Plan] = WeakKeyDictionary()
        self._before: _Before | None = None
        self._derivation = Derivation((), self._settings)
        self._columns = Columns(())
        self._at = float("nan")
        self._skipped = 0

    def normalise(self, page: Page, at: float) -> Reading:
        """Read one page that arrived at ``at`` (UTC seconds).

        A page that comes twice or out of order keeps its levels and gives no rates; it is not remembered.
        """
        plan = self._plan(page.layout)
        settings = self._settings
        late = at <= self._at
        step = step_seconds(at, self._at, settings.longest_gap_seconds)
        self._skipped += late
        counters = page.values[plan.counters]
        before = self._counters_before(plan)
        start_time = float(page.values[plan.start_time]) if plan.start_time >= 0 else float("nan")
        restarted = "" if late else self._restarted(counters, before, start_time)
        if restarted or late:
            before = np.full_like(before, np.nan)
        gain = increases(counters, before, plan.starts, plan.lengths)
        cells = self._cells(plan, page.values, gain, step)
        values = _columns_of(plan, cells)
        if np.isnan(step):
            values[plan.averaged] = np.nan
        buckets = self._quantiles(plan, cells, values)
        codes = values[plan.sticky]
        values[plan.sticky] = self._changes(plan, codes)
        marks = () if late else self._marks(plan, values, codes, restarted, at)
        derived = self._derived(plan, values, step, restarted=bool(restarted), late=late)
        if not late:
            self._before = _Before(plan, counters, codes, start_time)
            self._at = at
        return Reading(self._source, at, self._columns, np.concatenate((values, derived)), buckets, marks)

    def facts(self) -> dict[str, str | float]:
        """What a person wants to know of the target: engine, version, how many signals were found."""
        if self._before is None:
            return {}
        resolution = self._before.plan.resolution
        facts: dict[str, str | float] = {
            "engine": resolution.engine,
            "version": resolution.version,
            "signals": float(len({key.signal for key in self._columns.keys})),
            "series": float(len(self._columns.keys)),
            "pages_out_of_order": float(self._skipped),
        }
        if resolution.engine:
            facts["title"] = resolution.profiles[0].title
        return facts

    @property
    def resolution(self) -> Resolution | None:
        """How the last page was read; None before the first."""
        return self._before.plan.resolution if self._before else None

    def _plan(self, layout: Layout) -> Plan:
        plan = self._plans.get(layout)
        if plan is None:
            plan = compile_plan(layout, resolve(layout, self._profiles, self._target))
            self._plans[layout] = plan
        if self._before is None or self._before.plan is not plan:
            self._derivation = Derivation(plan.keys, self._settings, self._derivation)
            keys = (*plan.keys, *self._derivation.keys)
            if keys != self._columns.keys:
                self._columns = Columns(keys)
        return plan

    def _counters_before(self, plan: Plan) -> Floats:
        """Counters of the page before in the order of this plan; NaN, or a known 0, where the series is new."""
        if self._before is None:
            return np.full(len(plan.counters), np.nan)
        if self._before.plan is plan:
            return self._before.counters
        # Before there was any such counter the page may have been another's, or not complete: then 0 is a guess.
        born = plan.from_zero & bool(self._before.plan.from_zero.any())
        first = np.where(born, 0.0, np.nan).tolist()
        old: dict[Sample, float] = dict(
            zip(self._before.plan.counter_samples, self._before.counters.tolist(), strict=True)
        )
        return np.array([old.get(sample, start) for sample, start in zip(plan.counter_samples, first, strict=True)])

    def _changes(self, plan: Plan, codes: Floats) -> Floats:
        """Count 1 where a code that stays (a last Xid) took a new value that is not 0.

        An entity that was known without such a code had no event; only a new entity's past is unknown.
        """
        if not len(codes) or self._before is None:
            return np.full_like(codes, np.nan)
        before = self._before.sticky
        if self._before.plan is not plan:
            earlier = self._before.plan
            old = {earlier.keys[column]: before[place] for place, column in enumerate(earlier.sticky.tolist())}
            known = {key.entity for key in earlier.keys}
            keys = [plan.keys[column] for column in plan.sticky.tolist()]
            before = np.array([old.get(key, 0.0 if key.entity in known else np.nan) for key in keys])
        changed = ((codes != before) & (codes != 0.0)).astype(np.float64)
        return np.where(np.isnan(codes) | np.isnan(before), np.nan, changed)

    @staticmethod
    def _cells(plan: Plan, values: Floats, gain: Floats, step: float) -> Floats:
        cells = np.empty(plan.cell_count)
        cells[: len(plan.fixed)] = plan.fixed
        cells[STEP] = step
        for group in plan.groups:
            group.fill(cells, values, gain)
        for target, factors in plan.products:
            cells[target] = np.prod(cells[list(factors)])
        for target, whole, part in plan.differences:
            cells[target] = np.maximum(cells[whole] - cells[part], 0.0)
        for target, positions, newest_codes in plan.newest:
            stamps = values[positions]
            if not np.isnan(stamps).all():
                cells[target] = newest_codes[np.nanargmax(stamps)]
        return cells

    def _quantiles(self, plan: Plan, cells: Floats, values: Floats) -> tuple[Buckets, ...]:
        """Fill the quantile columns, and return the gains behind them."""
        table = plan.histograms
        if table is None or np.isnan(cells[STEP]):
            return ()
        cumulative = monotone(cells[table.cells])
        totals = np.where(table.totals >= 0, cells[table.totals], np.nan) * table.scales
        enough = cumulative[:, -1:] >= self._needed
        values[table.columns] = np.where(enough, quantiles(table.bounds, cumulative, total=totals), np.nan)
        counts = cumulative.copy()
        counts[:, 1:] -= cumulative[:, :-1]
        rows = zip(table.keys, table.rows, counts, totals.tolist(), strict=True)
        return tuple(
            Buckets(key, bounds, gained[: len(bounds)], total)
            for key, bounds, gained, total in rows
            if gained[0] >= 0.0
        )

    def _derived(self, plan: Plan, values: Floats, step: float, *, restarted: bool, late: bool) -> Floats:
        if late:
            return np.full(len(self._columns.keys) - len(plan.keys), np.nan)
        if restarted:
            self._derivation.forget()
        return self._derivation.step(values, step)

    def _restarted(self, counters: Floats, before: Floats, start_time: float) -> str:
        """Why the process must have been restarted since the page before; empty when it was not."""
        if self._before is None:
            return ""
        if start_time > self._before.start_time + 1.0:
            return f"process start moved by {start_time - self._before.start_time:.0f} s"
        share = reset_share(counters, before)
        return f"{share:.0%} of the counters began again" if share > _MOST else ""

    def _marks(self, plan: Plan, values: Floats, codes: Floats, restarted: str, at: float) -> tuple[Mark, ...]:
        if self._before is None:
            return ()
        marks: list[Mark] = []
        if restarted:
            marks += [Mark(MarkKind.RESTARTED, entity, at, restarted) for entity in _served(plan)]
        old, new = self._before.plan.resolution, plan.resolution
        # A version judged by which metrics are there is only believed when the process restarted as well.
        if old.version != new.version and old.version and new.version and (new.version_stated or restarted):
            detail = f"{new.engine} {old.version} became {new.version}"
            marks += [Mark(MarkKind.VERSION_CHANGED, entity, at, detail) for entity in _served(plan)]
        for place in np.flatnonzero(values[plan.sticky] > 0.0).tolist():
            key = plan.keys[int(plan.sticky[place])]
            if key.signal == "gpu_xid":
                # Where the event is seen by its time, the code stands beside it.
                last = SeriesKey(key.entity, "gpu_xid_last")
                code = values[plan.keys.index(last)] if last in plan.keys else codes[place]
                marks.append(Mark(MarkKind.XID, key.entity, at, f"Xid {code:.0f}"))
        return tuple(marks)


def _served(plan: Plan) -> list[Entity]:
    """Entities that are a process or part of one: all but GPUs and nodes."""
    hardware = (EntityKind.GPU, EntityKind.NODE)
    return list(dict.fromkeys(key.entity for key in plan.keys if key.entity.kind not in hardware))


def _columns_of(plan: Plan, cells: Floats) -> Floats:
    """Columns from cells; NaN for a zero denominator and for what the catalogue calls impossible."""
    below = cells[plan.denominator]
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.where(below != 0.0, cells[plan.numerator] / below, np.nan) * plan.scale + plan.offset
    slightly = (values > plan.high) & (values <= plan.high * _OVERSHOOT) & (plan.high == 1.0)
    values = np.where(slightly, plan.high, values)
    possible = (values >= plan.low) & (values <= plan.high) & np.isfinite(values)
    answer: Floats = np.where(possible, values, np.nan)
    return answer


def unit_of(key: SeriesKey) -> str:
    """Base unit of a series: that of its signal, or per second for the rate of a distribution."""
    return "events/s" if key.stat == "rate" else SIGNALS[key.signal].unit
