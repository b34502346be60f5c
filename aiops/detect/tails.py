"""How wide the band of each detector must be on each series, so that the whole fleet keeps its budget of false alerts.

A detector's raw score r is its distance in half widths of a nominal band (``threshold_sigma``). What fires an alert is
not r but its K-of-N: the K-th largest of the last N. Time is cut into blocks of ``BLOCK`` points, at another moment for
each series, and M is the largest K-of-N of a block. Noise that is autocorrelated, heavy-tailed or counted shows in M as
it would in alerts, so M is all that is learnt:

* **per detector and series**: mean m and standard deviation s of M, starting from those of the pool or node if there
  are any, else from a usual s/m. They give a generalised
  extreme value distribution by moments, whose shape follows s/m: light tails below ``LIGHT``, heavier above.
* **per fleet**: the surprise x = −ln P(M at least as large) of the blocks of all series together, one histogram. It
  corrects what the moments get wrong, far beyond what one series can have shown.

The budget's share of one series and block, ``budget · block / week / series``, is a surprise by the fleet's histogram,
and that surprise is a width C by the series' own m and s. The calibrated band is::

    half width = max(C · nominal half width, minimum, minimum_relative · |expected|)

so 1.0 is still the edge of the band, and a deviation too small to matter stays below 1 whatever its rarity. A series
whose minimum is wider than its noise needs cannot raise a false alert: it takes no share of the budget.

Place: inside :mod:`aiops.detect.bank`. Invariants: a block is judged before it is learnt; what is out of bounds
where two blocks meet teaches neither of them, as noise comes back by itself; 4·(N + 6) bytes per detector and series,
and the cost of a tick does not depend on the past.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aiops.detect.base import Scores, Timing, Window
from aiops.detect.columns import ColumnState
from aiops.detect.groups import siblings
from aiops.detect.policy import PolicyColumns
from aiops.signals.types import Entity, SeriesKey

BLOCK = 64
"""Points of a block: 5 minutes at the default tick, longer than most noise remembers itself."""
WEEK_SECONDS = 7 * 86_400.0
USUAL_SPREAD = 0.3
"""s/m of a series of which little is known."""
PRIOR_BLOCKS = 6.0
"""Blocks that it stands for."""
MEMORY_BLOCKS = 600.0
"""2 days at the default tick, so that a day's cycle is part of the noise."""
UNSURE = 3.0
"""The scale of a series of n blocks is taken 1 + UNSURE / (n + PRIOR_BLOCKS) times as large: few tell too little."""
LIGHT, HEAVIER, HEAVIEST = 0.4, 1.0, 0.4
"""Shape of the tail: ``HEAVIER`` times what s/m exceeds ``LIGHT`` by, up to ``HEAVIEST``."""
NARROWEST, WIDEST = 1 / 3, 30.0
"""Bounds of C: 2 and 180 standard deviations at the default nominal band."""
LARGEST = 1e3
"""Raw score beyond which none is larger."""
MOST = 1.25
STRANGE = 4.0
"""A block in which any judge's band was left teaches as if it had reached ``MOST`` times the band at most, and no more
than ``STRANGE`` standard deviations above the mean, which one in 300 does: an incident is no yardstick."""
GRID = np.arange(0.0, 40.0, 0.25)
"""Surprises of the fleet's histogram."""
FLEET_PRIOR = 300.0
"""Blocks that the exponential tail stands for, which would be right if the moments were."""
FLEET_MEMORY_SECONDS = WEEK_SECONDS
TRUSTED_BLOCKS = 20.0
"""Blocks that a series must have shown to be counted in the fleet's histogram. Until then its band moves from the
nominal one to its own."""
INHERITED_BLOCKS = 10.0
"""Blocks of its own that the pool's experience is worth to a new replica."""
TAIL_BLOCKS = 30.0
"""Blocks beyond the surprise from which the fleet's tail is extrapolated."""
LONGEST_EXCESS = 4.0
"""Excess beyond it that counts at most: true incidents are few and huge."""
ALERTS_PER_BLOCK = 0.55
"""Alerts that come of a block beyond: one that still fires, or has not been quiet for long enough, is no second one.
Set on simulated fleets (``benchmarks/budget.py``), with 10 and 100 asked a week."""
EULER = 0.5772
GUMBEL_SCALE = 0.7797
"""√6/π: scale of a Gumbel distribution with standard deviation 1."""


_Floats = NDArray[np.floating[Any]]
_Mask = NDArray[np.bool_]


class Tails:
    """The calibration of all judges; see the module.

    Parameters
    ----------
    judges
        Detectors whose scores put a series out of bounds.
    timing
        K of N of the alerts; a rule that has another one spends another share.
    budget
        False alerts a week, all series together; may be set anew between ticks.
    block_seconds
        Length of a block; by default ``BLOCK`` points.
    """

    def __init__(
        self,
        judges: int,
        timing: Timing,
        budget: float,
        *,
        block_seconds: float | None = None,
    ) -> None:
        self._timing = timing
        self.budget = budget
        self._block_seconds = block_seconds
        recent = {f"recent_{back}": 0.0 for back in range(timing.window_points)}
        self._columns = ColumnState(
            judges, peak=0.0, mean=0.0, variance=0.0, blocks=0.0, width=1.0, surprise=0.0, **recent
        )
        # Blocks per surprise that they passed, and last how many blocks there were.
        self._fleet = np.zeros(len(GRID) + 1)
        self._exposed: _Mask = np.zeros((judges, 0), np.bool_)
        self._keys: tuple[SeriesKey | None, ...] | None = None
        self.series = 0
        """Series of the last tick that share the budget."""

    def judge(self, window: Window, policy: PolicyColumns, raw: Sequence[Scores]) -> list[Scores]:
        """Widen the bands of ``raw``, one :class:`Scores` per judge."""
        self._columns.follow(window)
        # The tuple is held, so its identity cannot be given to another one.
        if window.keys is not self._keys:
            self._keys = window.keys
            self._inherit(policy.of_entity, window.keys)
        self._exposed = np.zeros((len(raw), len(window.keys)), np.bool_)
        found = [self._widened(number, scores, policy) for number, scores in enumerate(raw)]
        self.series = int(np.count_nonzero(self._exposed.any(axis=0)))
        return found

    def _inherit(self, of_entity: Mapping[Entity, NDArray[np.intp]], keys: tuple[SeriesKey | None, ...]) -> None:
        """Give a series of which nothing is known the moments and width that its pool or node has in the middle."""
        state = self._columns
        trusted = state["blocks"] >= TRUSTED_BLOCKS
        if not trusted.any():
            return
        unknown = np.flatnonzero((state["blocks"] == 0).all(axis=0))
        for column, group in siblings(unknown.tolist(), keys, of_entity):
            for judge in np.flatnonzero(trusted[:, group].any(axis=1)):
                members = group[trusted[judge, group]]
                for name in ("mean", "variance", "width"):
                    state[name][judge, column] = np.median(state[name][judge, members])
                state["blocks"][judge, column] = INHERITED_BLOCKS

    def _widened(self, number: int, scores: Scores, policy: PolicyColumns) -> Scores:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            down, up = scores.expected - scores.lower, scores.upper - scores.expected
            least = np.maximum(policy.minimum, policy.minimum_relative * np.abs(scores.expected))
            least /= np.where(np.isinf(up), down, up)
            own = self._columns["width"][number]
            width = np.fmax(own, least)  # what has no band has no minimum either
            score = scores.score / width
            self._exposed[number] = (policy.watch >= 0) & np.isfinite(score) & ~(least > own)
            return Scores(score, scores.expected, scores.expected - width * down, scores.expected + width * up)

    def confidence(self, score: NDArray[np.float32]) -> NDArray[np.float32]:
        """How far bands rest on what was seen, 0 … 1, [capacity]; NaN where there is no ``score``."""
        blocks = self._columns["blocks"].max(axis=0, initial=0)
        return np.where(np.isnan(score), np.float32(np.nan), np.minimum(blocks / np.float32(TRUSTED_BLOCKS), 1))

    def learn(self, window: Window, raw: Sequence[Scores], taught: _Mask, outside: _Mask) -> None:
        """Take in the newest row after :meth:`judge`.

        Parameters
        ----------
        taught, outside
            bool [capacity]: columns that may teach, and those out of bounds now, whose block ends without teaching.
        """
        state = self._columns
        scores = np.minimum(np.stack([one.score for one in raw]), LARGEST)
        known = np.isfinite(scores) & taught
        recent = [state[f"recent_{back}"] for back in range(self._timing.window_points)]
        for older, newer in zip(recent[:0:-1], recent[-2::-1], strict=True):
            np.copyto(older, newer, where=known)
        np.copyto(recent[0], scores, where=known)
        largest = kth_largest(recent, self._timing.breach_points)
        np.maximum(state["peak"], largest, out=state["peak"], where=known)
        # By the wall clock, so that two daemons on the same series cut the same blocks.
        block = self._block(window.step_seconds)
        first = -round(window.now / window.step_seconds) % block
        self._fleet *= np.exp(-window.step_seconds / FLEET_MEMORY_SECONDS)
        due = slice(first, None, block)
        self._close(due, block * window.step_seconds, ~outside[due])

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Per judge and column the last raw scores, the block so far, moments and width; the fleet's histogram."""
        return {**self._columns.state(), "fixed_fleet": self._fleet.copy()}

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Continue from :meth:`state`; see :meth:`aiops.detect.columns.ColumnState.restore`.

        Raises
        ------
        ValueError
            Of another number of judges, or another grid of the fleet's table. Nothing is taken then.
        """
        fleet = np.array(state.get("fixed_fleet", np.zeros(0)), np.float64)
        rows = {array.shape[:-1] for name, array in state.items() if name != "fixed_fleet"}
        if rows != {judges := self._exposed.shape[:1]} or fleet.shape != self._fleet.shape:
            raise ValueError(f"expected arrays of {judges[0]} judges and fixed_fleet of {len(self._fleet)} places")
        self._columns.restore(state)
        self._fleet = fleet

    def _block(self, step_seconds: float) -> int:
        """Points of a block."""
        return BLOCK if self._block_seconds is None else max(round(self._block_seconds / step_seconds), 1)

    def _close(self, due: slice, block_seconds: float, inside: _Mask) -> None:
        """End the block of the columns that are due: judge it, learn it, and set their width until the next one."""
        peak, mean, variance, blocks, width, before = (
            self._columns[name][:, due] for name in ("peak", "mean", "variance", "blocks", "width", "surprise")
        )
        there = (peak > 0) & np.isfinite(peak)
        surprise = _surprise(np.where(there, peak, 0), mean, variance, blocks)
        trusted = self._exposed[:, due] & (blocks >= TRUSTED_BLOCKS) & there
        self._count(surprise, before, trusted)
        seen = there & inside
        first = seen & (blocks == 0)
        most = np.where(first, width, np.minimum(MOST * width, mean + STRANGE * np.sqrt(variance)))
        strange = (peak > width).any(axis=0)
        change = np.where(seen, np.where(strange, np.minimum(peak, most), peak) - mean, 0)
        points = np.minimum(blocks + 1, MEMORY_BLOCKS)
        mean += change / points
        # Of the first block only the size is known: how much blocks differ is still a guess.
        square = np.where(first, (USUAL_SPREAD * mean) ** 2, change * change)
        variance += np.where(first, square, np.where(seen, (square - variance) / (points + PRIOR_BLOCKS), 0))
        blocks += seen
        np.minimum(blocks, MEMORY_BLOCKS, out=blocks)
        own = _reach(self.surprise(block_seconds), mean, variance, blocks)
        young = np.maximum(1 - blocks / TRUSTED_BLOCKS, 0)
        width[:] = young + (1 - young) * np.clip(own, NARROWEST, WIDEST)
        # Of an incident no block is learnt of which it is a part, so neither the one in which it ends.
        peak[:] = np.where(inside, 0, np.inf)

    def _count(self, surprise: _Floats, before: _Floats, trusted: _Mask) -> None:
        """Note in the fleet's histogram which surprises were passed on the way up; one excursion is one alert."""
        rose = trusted.any(axis=0)
        newest = np.where(trusted, surprise, 0).max(axis=0, initial=0)
        oldest = np.minimum(before.max(axis=0, initial=0), newest)
        before[:] = newest
        for passed, sign in ((newest, 1), (oldest, -1)):
            places = np.clip((passed[rose] / GRID[1]).astype(np.intp), 0, len(GRID) - 1)
            self._fleet[:-1] += sign * np.bincount(places, minlength=len(GRID))
        self._fleet[-1] += np.count_nonzero(rose)

    def surprise(self, block_seconds: float) -> float:
        """By the series' own moments, the surprise of a block that the fleet may have as often as the budget says."""
        blocks_a_week = self.budget / ALERTS_PER_BLOCK
        share = blocks_a_week * block_seconds / (WEEK_SECONDS * max(self.series, 1))
        passed = np.maximum.accumulate(np.cumsum(self._fleet[-2::-1]))[::-1]
        beyond = np.maximum(passed, 0) + FLEET_PRIOR * np.exp(-GRID)
        total = self._fleet[-1] + FLEET_PRIOR
        wanted = total * min(share, 1.0)
        if wanted >= TAIL_BLOCKS:
            return float(np.interp(-np.log(wanted), -np.log(beyond), GRID))
        start = int(np.count_nonzero(beyond >= TAIL_BLOCKS)) - 1
        places = np.arange(start, start + round(LONGEST_EXCESS / GRID[1]))
        excess = float(
            np.minimum(beyond, beyond[start])[np.minimum(places, len(GRID) - 1)].sum() * GRID[1] / beyond[start]
        )
        return float(GRID[start] + _scale(excess) * np.log(beyond[start] / wanted))


def kth_largest(rows: Sequence[_Floats], which: int) -> _Floats:
    """The ``which``-th largest of each place over some arrays of one shape."""
    rows = [row.copy() for row in rows]
    last = len(rows) - 1
    # Bubbles from the side that is nearer: the largest to the front, or the smallest.
    passes, front = (which, np.maximum) if 2 * which <= len(rows) else (len(rows) - which + 1, np.minimum)
    back = np.minimum if front is np.maximum else np.maximum
    for done in range(passes):
        for place in range(last, done, -1):
            first, second = rows[place - 1], rows[place]
            rows[place - 1], rows[place] = front(first, second), back(first, second)
    return rows[passes - 1]


def _shape(mean: _Floats, variance: _Floats, blocks: _Floats) -> tuple[_Floats, _Floats, _Floats]:
    """Location, scale and shape (≥ 0) of the distribution of M by its moments."""
    deviation = np.sqrt(variance)
    shape = np.clip(HEAVIER * (deviation / np.maximum(mean, 1e-9) - LIGHT), 0, HEAVIEST)
    # Of the same standard deviation, a heavier tail has a smaller scale.
    scale = np.maximum(deviation * GUMBEL_SCALE * (1 - 1.7 * shape) * (1 + UNSURE / (blocks + PRIOR_BLOCKS)), 1e-9)
    return mean - scale * (EULER + shape), scale, shape


def _surprise(peak: _Floats, mean: _Floats, variance: _Floats, blocks: _Floats) -> _Floats:
    location, scale, shape = _shape(mean, variance, blocks)
    where = (peak - location) / scale
    bent = np.log1p(np.maximum(shape * where, -0.999)) / np.maximum(shape, 1e-6)
    return np.where(shape > 1e-3, bent, where)


def _reach(surprise: float, mean: _Floats, variance: _Floats, blocks: _Floats) -> _Floats:
    """The M of a surprise: the inverse of :func:`_surprise`."""
    location, scale, shape = _shape(mean, variance, blocks)
    bent = np.expm1(shape * surprise) / np.maximum(shape, 1e-6)
    return location + scale * np.where(shape > 1e-3, bent, surprise)


def _scale(excess: float) -> float:
    """Mean of an exponential distribution whose mean is ``excess`` when cut off at ``LONGEST_EXCESS``."""
    means = np.arange(0.05, 5.0, 0.05)
    return float(np.interp(excess, means * -np.expm1(-LONGEST_EXCESS / means), means))
