"""Slow leaks: by how much a series moved from day to day, for signals that do not follow the load.

The mean of every two hours is kept for two days. With d the differences of the last twelve to those a day before::

    move     = median(d)                     robust slope per day; the daily wave is in both and cancels out
    variance = max(π/2 · spread(d)² / EFFECTIVE, (USUAL / threshold · usual move)²)
    expected = x − move                      what the newest value x would be, had it not moved since yesterday
    score    = |move| / half width, on the side that hurts; 0 where the differences do not agree on the direction

where spread(d) is 1.4826 · median |d − move|. So 1 is a move per day that is both unusual for the series and larger
than the minimum of its unit. Hours are of UTC: a clock that is put forward shifts the wave by an hour for a day, which
a median does not see.

What left its band and came to rest elsewhere is a step, not a drift: :meth:`Drift.relearn` forgets what was before it.
The usual move is learnt from moves within the band and hardly from others, so that a leak is told for days.

Blind to a leak faster than a day, which the z-score's band and forecasts of exhaustion see, and to series that are
younger than a day and a half.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from aiops.detect.band import Floats, banded, distance, half_width
from aiops.detect.base import Scores, Window
from aiops.detect.columns import ColumnState
from aiops.detect.policy import Compiler
from aiops.detect.settings import DetectSettings
from aiops.signals.catalog import SIGNALS
from aiops.signals.types import SeriesKey

STEADY = frozenset(
    {
        "gpu_mem_used", "gpu_mem_free", "gpu_temp", "gpu_mem_temp", "gpu_sm_clock", "memory_available",
        "disk_available", "memory_pressure", "probe_ttft", "probe_itl", "probe_e2e",
    }
)  # fmt: skip
"""Signals whose day-to-day change means something by itself. Traffic differs between days for good reasons."""
BUCKET_SECONDS = 7200.0
DAY = 12
"""Buckets of a day."""
LEAST_KNOWN = 9
"""Differences that must be known, and agree on the direction."""
LEAST_POINTS = 0.5
"""Share of a bucket's points that must be known."""
EFFECTIVE = 4.0
"""Independent ones of twelve differences: neighbouring hours err together."""
USUAL = 3.0
"""Times the root mean square of earlier moves that a move must exceed."""
USUAL_PRIOR, USUAL_MEMORY = 84.0, 168.0
"""Buckets without a move that were as if seen before a series was watched, a week; and most that are averaged over."""
MAD_TO_SIGMA = 1.4826
MEDIAN_VARIANCE = 1.5708

_Array = NDArray[np.float32]


class Drift:
    """The detector; see the module.

    Parameters
    ----------
    settings
        Threshold.
    policy
        Floors and directions of the columns; shared with the other detectors.
    """

    name = "drift"

    def __init__(self, settings: DetectSettings, policy: Compiler) -> None:
        self._sigmas = settings.threshold_sigma
        self._policy = policy
        # Of the steady columns only, which are few: [2 · DAY, steady].
        self._table: _Array = np.empty((2 * DAY, 0), np.float32)
        self._generation: NDArray[np.int64] = np.empty(0, np.int64)
        self._restored: _Array | None = None
        self._columns = ColumnState(mean=0.0, points=0.0, move=np.nan, variance=0.0, usual=0.0, moves=0.0)
        self._number = -1
        self._keys: tuple[SeriesKey | None, ...] | None = None
        self._steady = np.zeros(0, np.intp)

    def score(self, window: Window) -> Scores:
        """Judge the newest row; the side that does not hurt has an infinite bound."""
        self._follow(window)
        policy, move = self._policy.columns(window), self._columns["move"]
        expected = window.values[-1] - move
        half = self._half(expected, window)
        score = distance(np.where(np.isfinite(expected), move, np.float32(np.nan)), half, policy)
        return banded(score, expected, half, policy)

    def learn(self, window: Window, quiet: NDArray[np.bool_]) -> None:
        """Take the newest row into its bucket: where ``quiet``, and where it is this detector that is not."""
        own = self.score(window).score >= 1
        number = int(window.now // BUCKET_SECONDS)
        if number != self._number:
            self._close(window, number)
        mean, points, value = self._columns["mean"], self._columns["points"], window.values[-1]
        taken = np.isfinite(value) & (quiet | own)
        points += taken
        np.add(mean, (value - mean) / np.maximum(points, 1), out=mean, where=taken)

    def relearn(self, window: Window, columns: NDArray[np.bool_]) -> None:
        """Forget what ``columns`` (bool [capacity]) showed before: they stepped, and a step is no drift."""
        self._follow(window)
        self._table[:, columns[self._steady]] = np.nan
        for name in ("mean", "points"):
            self._columns[name][columns] = 0
        self._columns["move"][columns] = np.nan

    def state(self) -> dict[str, NDArray[np.generic]]:
        """``bucket`` [2 · DAY, capacity] by number modulo that, the bucket so far, the move and what is usual."""
        kept = self._columns.state()
        table = np.full((2 * DAY, len(kept["mean"])), np.nan, np.float32)
        if self._restored is not None:
            table[:] = self._restored
        else:
            table[:, self._steady] = self._table
        return {**kept, "bucket": table, "fixed_number": np.asarray(self._number)}

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Continue from :meth:`state`; see :meth:`aiops.detect.columns.ColumnState.restore`."""
        self._columns.restore(state)
        table = np.array(state.get("bucket"), np.float32)
        if table.shape != (expected := (2 * DAY, len(self._columns["mean"]))):
            raise ValueError(f"expected an array bucket of {expected[0]} × {expected[1]}, got the shape {table.shape}")
        self._number, self._keys, self._restored = int(state.get("fixed_number", np.asarray(-1))), None, table

    def explain(self, column: int) -> str:
        """Say how much a column moved; empty where it is not known."""
        move = float(self._columns["move"][column])
        key = None if self._keys is None else self._keys[column]
        if key is None or not np.isfinite(move):
            return ""
        return (
            f"{abs(move):.4g} {SIGNALS[key.signal].unit} {'more' if move > 0 else 'less'} than a day before, steadily"
        )

    def _follow(self, window: Window) -> None:
        self._columns.follow(window)
        # The tuple is held, so its identity cannot be given to another one.
        if window.keys is self._keys:
            return
        self._keys = window.keys
        steady = np.fromiter(
            (column for column, key in enumerate(window.keys) if key is not None and key.signal in STEADY), np.intp
        )
        table, generation = np.full((2 * DAY, len(steady)), np.nan, np.float32), window.generation[steady]
        if self._restored is None:
            _, new, old = np.intersect1d(generation, self._generation, return_indices=True)
            table[:, new] = self._table[:, old]
        else:
            there = steady < self._restored.shape[1]
            table[:, there] = self._restored[:, steady[there]]
        self._steady, self._table, self._generation, self._restored = steady, table, generation, None

    def _half(self, expected: Floats, window: Window) -> Floats:
        usual = self._columns["usual"] * np.float32((USUAL / self._sigmas) ** 2)
        variance = np.maximum(self._columns["variance"], usual)
        return half_width(expected, variance, self._policy.columns(window), self._sigmas)

    def _close(self, window: Window, number: int) -> None:
        """End the bucket, and say by how much each series moved."""
        state, table = self._columns, self._table
        whole = BUCKET_SECONDS / window.step_seconds
        if 0 <= self._number < number:
            enough = state["points"][self._steady] >= LEAST_POINTS * whole
            table[self._number % len(table)] = np.where(enough, state["mean"][self._steady], np.nan)
            for missed in range(self._number + 1, min(number, self._number + 1 + len(table))):
                table[missed % len(table)] = np.nan
            self._measure(window, number)
        state["mean"][:] = 0
        state["points"][:] = 0
        self._number = number

    def _measure(self, window: Window, number: int) -> None:
        state, columns = self._columns, self._steady
        rows = self._table[(number - 1 - np.arange(2 * DAY)) % (2 * DAY)]
        differences = rows[:DAY] - rows[DAY:]
        known = np.isfinite(differences)
        judged = known.sum(axis=0) >= LEAST_KNOWN
        columns, differences = columns[judged], differences[:, judged]
        state["move"][:] = np.nan
        if not len(columns):
            return
        move = np.nanmedian(differences, axis=0)
        spread = np.nanmedian(np.abs(differences - move), axis=0) * MAD_TO_SIGMA
        agree = (np.sign(differences) == np.sign(move)).sum(axis=0) >= LEAST_KNOWN
        state["variance"][columns] = MEDIAN_VARIANCE * spread**2 / EFFECTIVE
        level = np.full(len(window.keys), np.nan, np.float32)
        level[columns] = np.nanmedian(rows[DAY:][:, judged], axis=0)
        half = self._half(level, window)[columns]
        # A move out of bounds counts as one at the edge would: it cannot become its own excuse.
        square = np.where(np.abs(move) < half, move, half / USUAL) ** 2
        gain = 1 / (np.minimum(state["moves"][columns], USUAL_MEMORY) + USUAL_PRIOR)
        state["usual"][columns] += gain * (square - state["usual"][columns])
        state["moves"][columns] += 1
        state["move"][columns] = np.where(agree, move, 0)
