"""How far requests clump below the scrape interval: what the gauge of requests in flight says that counts do not.

Counts of an interval cannot tell thirty clients on the same second from thirty spread over fifteen. The number in
flight, read at each scrape, can: between two loads with the same counts it swings more the more they clump. Placements
are scaled until what they draw swings as much as what was seen. The comparison needs requests that are not much longer
than the interval; with longer ones draws differ so much among themselves that nothing is ever changed.
"""

from dataclasses import replace

import numpy as np

from aiops.capacity.placement import Placement
from aiops.capacity.replay import draw
from aiops.capacity.work import Floats, Intervals, in_flight

_DRAWS = 12
_SURE = 1.0  # standard deviations, found among the draws themselves
_FEWEST = 16
_LESS = (0.5, 0.0)
_MORE = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7)


def calibrated(intervals: Intervals, placement: Placement, at_seconds: Floats, seen: Floats, *, seed: int) -> Placement:
    """Change the clumping of a placement until its draws swing as the gauge did.

    Parameters
    ----------
    at_seconds, seen
        float64 [k]: times within the intervals, and requests in flight then; early ones, which still see the empty
        start of the draws, left out. Fewer than 16 change nothing.
    """
    if len(seen) < _FEWEST:
        return placement
    before, sure = _swing(intervals, placement, at_seconds, seen, seed)
    if not abs(before - 1.0) > sure:
        return placement
    # Only as far as is sure: an hour has few readings, and what is noise in them must not become clumps.
    target = max(0.05, 1.0 + np.copysign(sure, before - 1.0))
    kept = placement
    for step in _LESS if before < 1.0 else _MORE:
        tried = _scaled(placement, step) if before < 1.0 else replace(placement, fine=step)
        swing, _ = _swing(intervals, tried, at_seconds, seen, seed)
        if (swing < target) != (before < target):
            way = np.log(before / target) / np.log(before / swing)
            return _between(kept, tried, float(np.clip(way, 0.0, 1.0)))
        kept, before = tried, swing
    return kept


def _swing(
    intervals: Intervals, placement: Placement, at_seconds: Floats, seen: Floats, seed: int
) -> tuple[float, float]:
    """How the gauge swings about the mean of some draws, over what is usual among them; and what is too far.

    1 = the placement is right. Below it, requests clump less than in the draws.
    """
    drawn = draw(intervals, placement, draws=_DRAWS, seed=seed)
    held = np.stack([in_flight(one.arrival_seconds, one.service_seconds, at_seconds) for one in drawn])
    # Each draw is held against the others, as the gauge is held against all.
    others = (held.sum(axis=0) - held) / (_DRAWS - 1.0)
    usual = (held - others).var(axis=1)
    distance = float((seen - held.mean(axis=0)).var())
    if not usual.mean() > 0.0:
        return 1.0, 0.0
    return max(distance, 1e-9) / float(usual.mean()), _SURE * float(usual.std(ddof=1) / usual.mean())


def _scaled(placement: Placement, share: float) -> Placement:
    return replace(placement, steady=placement.steady * share, edge=placement.edge * share)


def _between(one: Placement, other: Placement, way: float) -> Placement:
    def mixed(first: float, second: float) -> float:
        return first + way * (second - first)

    return Placement(
        one.slope, mixed(one.steady, other.steady), mixed(one.edge, other.edge), mixed(one.fine, other.fine)
    )
