"""Distance of each series from what its own ARIMA model expected of it one step ahead.

Orders and coefficients come from the fit worker (:mod:`aiops.detect.arima_fit`) and are plain numbers here; scoring is
one pass of :mod:`aiops.detect.arima_filter` over all series. With x the newest value, m its forecast, F the variance of
that forecast in units of the innovation's, and v the long-remembered variance of the innovations::

    variance = max(v·F, floors of the policy)    score = |x − m| / half width, on the side that hurts

A value that is missing, or was judged out of bounds, is not shown to the model: its forecast stands in for it, and F
grows until the model has seen enough again. So an incident does not become the expectation by being looked at, and the
first value after a gap meets a wide band. What the noise was taught by a fault that came slowly is taken back when it
is seen (:meth:`Arima.unlearn`), as for the z-score. After ``MAX_GAP`` missing values the model starts over, and does
not judge the first value that it sees then.

Where the window is long enough for it and it helped on a hold-out, the model is of the difference to a share of the
value of a day and a week ago; where that value is unknown, so is the forecast.

Works for series that a person would call autocorrelated noise around a level or a wandering level. Blind to slow drift
(the model follows) and to a series without a fit: it says nothing, and the other detectors speak.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aiops.detect import arima_filter as af
from aiops.detect.arima_season import seasonal
from aiops.detect.band import Floats, banded, distance, half_width
from aiops.detect.base import Scores, Window
from aiops.detect.columns import Kept
from aiops.detect.fitting import Arrays
from aiops.detect.policy import Compiler
from aiops.detect.settings import DetectSettings
from aiops.signals.types import EntityKind

MEAN = af.ROWS
"""Taken off the values: their mean, or for a differenced series some value of it, for the sake of precision."""
SEASON = slice(MEAN + 1, MEAN + 3)
"""Share of the value of a day and of a week ago that is expected today; 0 = not used."""
MODEL_ROWS = SEASON.stop
"""Rows that the fit worker fills in; the rest is the detector's."""
VARIANCE, COUNT, RUN, ACTIVE, ASKED_AT, POINTS, LAST_AT, GAP = range(MODEL_ROWS, MODEL_ROWS + 8)
ROWS = GAP + 1
MAX_GAP = 64
"""Missing values in a row after which the state is forgotten; also the most rows that are made up for at once."""
LARGEST_FACTOR = 1e5
"""Forecast variance above which nothing is claimed: the level is not known yet."""
ONSET_POINTS, ONSET_PARDON, WIDEN = 3, 1 / 16, 0.5
"""What a point out of bounds may teach the noise; as for the z-score: the onset of a run, slowly, and bounded."""

_Floats = NDArray[np.float64]
_Columns = NDArray[np.intp]


class _View(NamedTuple):
    """The newest row against the band; float64 [capacity] each. ``score`` is NaN where not ready or not known."""

    base: _Floats
    expected: _Floats
    half: Floats
    score: _Floats
    ready: NDArray[np.bool_]


class Arima:
    """The detector; see the module.

    Parameters
    ----------
    settings
        Threshold, scale memory, how often models are fitted.
    policy
        Floors and directions of the columns; shared with the other detectors.
    """

    name = "arima"

    def __init__(self, settings: DetectSettings, policy: Compiler) -> None:
        self._settings = settings
        self._policy = policy
        self._table = np.zeros((ROWS, 0))
        self._generation: NDArray[np.int64] | None = None
        self._kept = Kept("variance")
        self._latest: tuple[Window, _View] | None = None

    def score(self, window: Window) -> Scores:
        """Judge the newest row; the side that does not hurt has an infinite bound."""
        view, policy = self._view(window), self._policy.columns(window)
        expected = np.where(view.ready, view.expected, np.nan)
        with np.errstate(over="ignore"):  # beyond float32 there is no bound
            return banded(view.score, expected, view.half, policy)

    def learn(self, window: Window, quiet: NDArray[np.bool_]) -> None:
        """Show the newest row to the models where ``quiet``; elsewhere their forecast stands in."""
        view, table = self._view(window), self._table
        self._latest = None
        value = window.values[-1]
        taken = np.isfinite(value) & quiet
        self._learn_noise(view, value - view.expected, taken)
        silent = table[GAP] >= MAX_GAP
        self._restart(np.flatnonzero(silent & np.isfinite(value)))
        table[GAP] = np.where(np.isnan(value), table[GAP] + 1, 0)
        active = (table[ACTIVE] > 0) & (table[GAP] < MAX_GAP)
        # What the others are shown does not matter, but it must leave them finite.
        af.advance(table, np.where(active, np.where(taken, value - view.base, np.nan), 0.0), active)
        table[LAST_AT] = window.now
        if self._kept.due(window.step_seconds):
            self._kept.take({"variance": table[VARIANCE]}, table[ACTIVE] > 0)

    def relearn(self, window: Window, columns: NDArray[np.bool_]) -> None:
        """Move the models of ``columns`` (bool [capacity]) to the level they show lately, and have them fitted soon."""
        self._follow(window)
        self._latest = None
        chosen = np.flatnonzero(columns & (self._table[ACTIVE] > 0))
        rows = window.values[-self._settings.level_memory_points :, chosen].astype(np.float64)
        known = np.isfinite(rows)
        there = known.any(axis=0)
        chosen, rows, known = chosen[there], rows[:, there], known[:, there]
        part = self._table[:, chosen]
        part[MEAN] = np.where(known, rows, 0).sum(axis=0) / known.sum(axis=0)
        af.start(part)
        errors, factors = af.run(part, rows - part[MEAN] - self._seasons(window, part, chosen, len(rows)))
        settling = factors > LARGEST_FACTOR
        square = np.where(np.isfinite(errors) & ~settling, errors**2 / factors, 0)
        part[VARIANCE] = np.maximum(part[VARIANCE], square.sum(axis=0) / known.sum(axis=0))
        part[RUN] = part[ASKED_AT] = 0
        self._kept.forget(chosen)
        part[LAST_AT] = window.now
        self._table[:, chosen] = part

    def unlearn(self, window: Window, columns: NDArray[np.bool_]) -> None:
        """Take back how far the beginning of an incident widened the noise of ``columns`` (bool [capacity])."""
        self._follow(window)
        self._latest = None
        before = self._kept.before(columns)["variance"]
        self._table[VARIANCE, columns] = np.fmin(self._table[VARIANCE, columns], before)

    def state(self) -> dict[str, NDArray[np.generic]]:
        """``table``: float64 [ROWS, capacity], the rows named in this module and in ``arima_filter``."""
        return {"table": self._table.copy()}

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Continue from :meth:`state`; a column that is not finite throughout starts without a model.

        Raises
        ------
        ValueError
            When the table is missing or of another shape.
        """
        table = np.array(state.get("table", np.zeros(0)), np.float64)
        if table.ndim != 2 or len(table) != ROWS:
            raise ValueError(f"expected an array 'table' of {ROWS} rows, got the shape {table.shape}")
        broken = ~np.isfinite(table).all(axis=0)
        table[:, broken] = _blank(int(broken.sum()))
        self._table, self._generation, self._latest = table, None, None
        self._kept = Kept("variance")

    def ask(self, window: Window, most: int) -> Arrays | None:
        """Choose up to ``most`` series whose fit is due, those that waited longest first, and copy their windows.

        A series is due when it has ``minimum_samples`` known points and its last fit is older than ``refit_after``,
        or saw less than half of the points that there are now.
        """
        self._follow(window)
        table = self._table
        patience = np.minimum(self._settings.fit.refit_after, table[POINTS] * window.step_seconds)
        due = np.flatnonzero(window.now - table[ASKED_AT] >= patience)
        due = due[np.isin(due, list(self._policy.columns(window).of_series.values()))]
        points = np.isfinite(window.values[:, due]).sum(axis=0)
        due, points = (array[points >= self._settings.minimum_samples] for array in (due, points))
        first = np.argsort(table[ASKED_AT, due], kind="stable")[:most]
        chosen = due[first]
        if not len(chosen):
            return None
        # Also when the fit fails: a series that cannot be fitted must not take the turn of the others.
        table[ASKED_AT, chosen], table[POINTS, chosen] = window.now, points[first]
        return {
            "values": window.values[:, chosen],
            "columns": chosen,
            "generation": window.generation[chosen],
            "now": np.float64(window.now),
            "step_seconds": np.float64(window.step_seconds),
            "thorough": self._matters(window, chosen),
        }

    def accept(self, window: Window, answer: Arrays) -> int:
        """Use the models of an answer where the column still belongs to the series they were fitted on.

        Returns how many that are. Where a fit failed, the model before goes on.
        """
        self._follow(window)
        self._latest = None
        columns = np.asarray(answer["columns"], np.intp)
        there = columns < len(window.generation)
        there[there] &= window.generation[columns[there]] == answer["generation"][there]
        there &= np.asarray(answer["fitted"], np.bool_)
        chosen, model = columns[there], np.asarray(answer["model"], np.float64)[:, there]
        part = self._table[:, chosen]
        fresh = part[ACTIVE] == 0
        variance, points = (np.asarray(answer[name], np.float64)[there] for name in ("variance", "points"))
        part[:MODEL_ROWS] = model
        # The long memory of the noise outlives the model; it grows at once and shrinks by what is seen.
        part[VARIANCE] = np.where(fresh, variance, np.maximum(variance, part[VARIANCE]))
        part[COUNT] = np.maximum(part[COUNT], points)
        part[ACTIVE] = 1
        part[GAP] = 0
        part[LAST_AT] = answer["now"]
        self._table[:, chosen] = part
        return len(chosen)

    def forecast(self, window: Window, columns: _Columns, steps: int) -> af.Forecast:
        """Means and variances 1 … ``steps`` ticks after the newest row, in the unit of the series.

        Call after :meth:`learn`. float64 [steps, len(columns)]; NaN for a series without a model. The band of a
        Gaussian series is mean ± z·√variance.
        """
        self._follow(window)
        part = self._table[:, columns]
        forecast = af.ahead(part, steps)
        season = np.stack([seasonal(window, part[SEASON], part[MEAN], columns, 1 + step) for step in range(steps)])
        unknown = np.where(part[ACTIVE] > 0, 0.0, np.nan)
        return af.Forecast(forecast.mean + part[MEAN] + season + unknown, forecast.variance * part[VARIANCE] + unknown)

    def _view(self, window: Window) -> _View:
        # Score and learn see the same window: the second of them need not compute it again.
        if self._latest is None or self._latest[0] is not window:
            self._follow(window)
            self._catch_up(window)
            self._latest = (window, self._computed(window))
        return self._latest[1]

    def _computed(self, window: Window) -> _View:
        table, policy = self._table, self._policy.columns(window)
        base = table[MEAN].copy()
        cyclic = np.flatnonzero(table[SEASON].any(axis=0))
        if len(cyclic):
            base[cyclic] += seasonal(window, table[SEASON][:, cyclic], base[cyclic], cyclic)
        expected = af.expected(table) + base
        variance = table[VARIANCE] * table[af.FACTOR]
        half = half_width(expected, variance, policy, self._settings.threshold_sigma)
        ready = (table[ACTIVE] > 0) & (table[COUNT] >= self._settings.minimum_samples)
        ready &= (table[af.FACTOR] < LARGEST_FACTOR) & (table[GAP] < MAX_GAP)
        score = distance(window.values[-1] - expected, half, policy)
        return _View(base, expected, half, np.where(ready, score, np.nan), ready)

    def _learn_noise(self, view: _View, residual: _Floats, taken: NDArray[np.bool_]) -> None:
        table = self._table
        outside = view.score >= 1
        taught = taken | (outside & (table[RUN] < ONSET_POINTS))
        taught &= table[ACTIVE] > 0
        taught &= np.isfinite(residual)  # a lagged value may be missing where the newest is not
        recovered = np.maximum(table[RUN] - ONSET_PARDON, 0)
        np.copyto(table[RUN], np.where(outside, table[RUN] + 1, recovered), where=np.isfinite(residual))
        memory = self._settings.scale_memory_points
        change = np.where(taught, residual, 0) ** 2 / table[af.FACTOR]
        change -= table[VARIANCE]
        change *= taught / np.clip(table[COUNT], 1, memory)
        table[VARIANCE] += np.minimum(change, WIDEN * (view.half / self._settings.threshold_sigma) ** 2)
        table[COUNT] = np.minimum(table[COUNT] + (taken & taught), 2 * memory)

    def _catch_up(self, window: Window) -> None:
        """Show the models the rows that came while they were fitted, or while the daemon was away."""
        table = self._table
        missed = np.rint((window.now - table[LAST_AT]) / window.step_seconds) - 1
        behind = np.flatnonzero((missed > 0) & (table[ACTIVE] > 0))
        for count in np.unique(missed[behind]):
            chosen = behind[missed[behind] == count]
            if count > MAX_GAP:
                self._restart(chosen)
            steps = int(min(count, MAX_GAP, len(window.values) - 1))
            part = table[:, chosen]
            rows = window.values[len(window.values) - 1 - steps : -1, chosen] - part[MEAN]
            af.run(part, rows - self._seasons(window, part, chosen, steps, newest=1))
            table[:, chosen] = part
        table[LAST_AT, behind] = window.now - window.step_seconds

    def _seasons(self, window: Window, part: _Floats, columns: _Columns, rows: int, newest: int = 0) -> _Floats:
        """Seasonal part of the ``rows`` rows that end ``newest`` rows before the newest, [rows, len(columns)]."""
        if not part[SEASON].any():
            return np.zeros((rows, len(columns)))
        ages = range(newest + rows - 1, newest - 1, -1)
        return np.stack([seasonal(window, part[SEASON], part[MEAN], columns, -age) for age in ages])

    def _restart(self, columns: _Columns) -> None:
        if len(columns):
            part = self._table[:, columns]
            af.start(part)
            self._table[:, columns] = part

    def _matters(self, window: Window, columns: _Columns) -> NDArray[np.bool_]:
        """Series worth a full likelihood: those of a pool that raise an alert. They are few."""
        watch = self._policy.columns(window).watch
        keys = (window.keys[column] for column in columns)
        pool = [key is not None and key.entity.kind is EntityKind.POOL for key in keys]
        return np.array(pool, np.bool_) & (watch[columns] >= 0)

    def _follow(self, window: Window) -> None:
        """Grow to the window's capacity and blank the columns that have another owner now; idempotent."""
        self._kept.follow(window)
        known, wanted = self._generation, window.generation
        if known is not None and np.array_equal(known, wanted):
            return
        table = _blank(len(wanted))
        kept = min(self._table.shape[1], len(wanted))
        table[:, :kept] = self._table[:, :kept]
        if known is not None:
            changed = np.flatnonzero(known[:kept] != wanted[:kept])
            table[:, changed] = _blank(len(changed))
        self._table, self._generation = table, wanted.copy()


def _blank(columns: int) -> _Floats:
    table = np.zeros((ROWS, columns))
    table[: af.ROWS] = af.blank(columns)
    return table
