"""Where inside a scrape interval its requests arrived: what the coarser intervals teach about the finer ones.

Scrapes hide everything below their interval. Two things can still be learnt by joining intervals in pairs and looking
at how each pair splits into halves: how much of the split follows from the neighbours (a load that rises, rises inside
an interval too), and how much more it varies than chance alone would make it. The same split is then applied downwards,
to halves, quarters … of an interval. Structure that appears only below the interval shows in the gauge of requests in
flight (:mod:`aiops.capacity.clumping`), unless it keeps step with the scrapes: the back-test finds that, and abstains.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aiops.capacity.work import Counts, Floats, Intervals

_LEVELS = 4  # an interval becomes 16 cells: below a second for scrapes of 15 s
_FEWEST_PAIRS = 6
_STEEPEST = 0.25  # slope 1/8 is a straight line through three intervals; more than twice that is noise
_LEAST_CLUMPED, MOST_CLUMPED = 1e-6, 0.95


@dataclass(frozen=True, slots=True)
class Placement:
    """How a stretch of time splits into halves.

    Attributes
    ----------
    slope
        Difference of the halves for each unit of difference of the neighbours, 0 – 0.25.
    steady, edge
        Intra-class correlation of two pieces of work to fall into the same half, 0 (chance) – 0.95: where both
        neighbours have at least half as much work, and where one has less (a burst begins or ends there).
    fine
        What is added to both in the finest cells, half of it in cells twice as long, and so on, as groups of requests
        that come together make it; no interval teaches it, only the gauge of requests in flight does.
    """

    slope: float = 0.0
    steady: float = 0.0
    edge: float = 0.0
    fine: float = 0.0


def learn_placement(intervals: Intervals) -> Placement:
    """Fit the split of pairs of intervals; chance alone when there are fewer than six inner pairs."""
    whole = len(intervals.counts) // 2 * 2
    first, second = intervals.work[0:whole:2], intervals.work[1:whole:2]
    chance = intervals.squared_work[0:whole:2] + intervals.squared_work[1:whole:2]
    if len(first) < _FEWEST_PAIRS + 2:
        return Placement()
    both = first + second
    edges = _edges(both)[1:-1]
    difference = (first - second)[1:-1]
    neighbours = _trend(both)[1:-1]
    both, chance = both[1:-1], chance[1:-1]
    spread = float(neighbours @ neighbours)
    slope = float(np.clip(difference @ neighbours / spread, 0.0, _STEEPEST)) if spread else 0.0
    excess, most = (difference - slope * neighbours) ** 2 - chance, both**2 - chance
    return Placement(slope, _clumping(excess[~edges], most[~edges]), _clumping(excess[edges], most[edges]))


def place(intervals: Intervals, placement: Placement, rng: np.random.Generator) -> Floats:
    """Draw arrival times, float64 [requests], ascending, each inside its own interval.

    Steady clumping is carried down as it is; that of edges halves with each level, as the chance that a burst begins
    or ends inside a cell does.
    """
    cells: Counts = intervals.counts
    mean = intervals.work / np.maximum(intervals.counts, 1)
    for level in range(1, _LEVELS + 1):
        work = cells * mean
        tilt = placement.slope * _trend(work) / np.maximum(2.0 * work, 1e-300)
        share = 0.5 + np.clip(tilt, -0.45, 0.45)
        clumping = np.where(_edges(work), placement.edge * 0.5**level, placement.steady)
        clumping = np.minimum(clumping + placement.fine * 0.5 ** (_LEVELS - level), MOST_CLUMPED)
        clumped = clumping > _LEAST_CLUMPED
        weight = 1.0 / clumping[clumped] - 1.0
        share[clumped] = rng.beta(share[clumped] * weight, (1.0 - share[clumped]) * weight)
        left = rng.binomial(cells, share)
        cells = np.stack([left, cells - left], axis=1).ravel()
        mean = np.repeat(mean, 2)
    return np.sort(_spread(cells, intervals, rng))


def _trend(work: Floats) -> Floats:
    """What both neighbours agree on: twice the smaller of the two falls from one to the next, 0 at a peak or a step.

    The limiter of finite-volume schemes (Roe's minmod): without it a step would make a slope on the plateau beside it.
    """
    falls = -np.diff(work, prepend=work[:1], append=work[-1:])
    into, out = falls[:-1], falls[1:]
    smaller = np.minimum(np.abs(into), np.abs(out))
    answer: Floats = 2.0 * np.where(into * out > 0.0, np.sign(into) * smaller, 0.0)
    return answer


def _edges(work: Floats) -> NDArray[np.bool_]:
    """Whether a neighbour has less than half the work."""
    padded = np.concatenate([work[:1], work, work[-1:]])
    answer: NDArray[np.bool_] = np.minimum(padded[:-2], padded[2:]) < work / 2.0
    return answer


def _clumping(excess: Floats, most: Floats) -> float:
    total = float(most.sum())
    return float(np.clip(excess.sum() / total, 0.0, MOST_CLUMPED)) if total > 0.0 else 0.0


def _spread(cells: Counts, intervals: Intervals, rng: np.random.Generator) -> Floats:
    """Uniform times inside the cells; cells of the last interval are as short as that interval was seen."""
    each = 2**_LEVELS
    starts = np.arange(len(cells)) // each * intervals.step_seconds
    widths = np.minimum(intervals.step_seconds, intervals.span_seconds - starts) / each
    starts = starts + np.arange(len(cells)) % each * widths
    answer: Floats = np.repeat(starts, cells) + np.repeat(widths, cells) * rng.random(int(cells.sum()))
    return answer
