"""How far every series left its reference, in a distance without a unit.

The distance is robust (medians and quantiles), floored (a constant series is not infinitely precise), aware of how many
requests stand behind a number, and capped, so that no single series outshouts all others. Multiplying a series by a
positive constant changes nothing. All series are judged in one call.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aiops.signals.catalog import Bad

Floats = NDArray[np.float64]

CAP = 1000.0
"""No distance counts for more; beyond it the order says nothing."""
EVENT = 12.0
"""Distance of a series that was constantly zero and moved: an event, whatever its size and unit."""
MOVED = 2.0
"""Distance at which a series has left its reference."""
_LEAST_REFERENCE, _LEAST_SHARE = 3, 0.2
"""Known rows and share of known rows that a reference must have: a series that is mostly absent does not compete."""
_RARE = 0.04
"""Share of the reference that may lie as far out as the window: durations of single requests have heavy tails."""
_FOLLOW = 0.4
"""Weight of demand, throughput and moves the harmless way: they follow what happens elsewhere."""


@dataclass(frozen=True, slots=True)
class Trait:
    """What is known of the numbers of one series beside the numbers.

    Attributes
    ----------
    bad
        Which way hurts. ``BOTH`` and ``NONE`` are demand and throughput.
    relative
        Least scale as a share of the reference level.
    minimum
        Least scale in the unit of the series; 0 where the unit is not known.
    averaged
        The number is taken over requests, so few requests make it uncertain: ``"duration"`` or ``"share"`` (of
        requests that succeeded); ``""`` for what is measured without requests.
    tail
        Share of the requests that the number rests on: 0.05 for a p95, 1 for a mean.
    traffic
        It counts requests.
    """

    bad: Bad
    relative: float
    minimum: float = 0.0
    averaged: str = ""
    tail: float = 1.0
    traffic: bool = False

    @property
    def additive(self) -> bool:
        """Times the number of requests it adds up along calls: a mean duration, a share of failures."""
        return bool(self.averaged) and self.tail == 1.0

    @property
    def follows(self) -> bool:
        """It moves with demand."""
        return self.bad in (Bad.BOTH, Bad.NONE)


@dataclass(frozen=True, slots=True)
class Panel:
    """The series of one case side by side.

    Attributes
    ----------
    entities, metrics, traits
        [n], what column k is.
    reference, window
        float64 [rows, n]; NaN = unknown.
    times
        float64 [rows of window], UTC seconds.
    """

    entities: tuple[str, ...]
    metrics: tuple[str, ...]
    traits: tuple[Trait, ...]
    reference: Floats
    window: Floats
    times: Floats

    def flags(self, test: Callable[[Trait], bool]) -> NDArray[np.bool_]:
        """[n], which traits pass."""
        return np.array([test(trait) for trait in self.traits], dtype=bool)


@dataclass(frozen=True, slots=True)
class Deviation:
    """Distance of every series from its reference.

    Attributes
    ----------
    level, scale
        float64 [n], what was expected, and one step away from it; NaN when not known.
    rows
        float64 [rows, n], signed distance of every row of the window; NaN when not known.
    up, down
        float64 [n] ≥ 0, how far the middle of the window was above and below; 0 when not known.
    harm
        float64 [n] ≥ 0, how far it went the way that hurts; moves that follow demand count less, and what the
        reference did now and then counts as little more than :data:`MOVED`.
    suspected
        float64 [n] ≥ 0, the same by the outer third of the window: for series that an alert points at, where there is
        one question and not one per series.
    """

    level: Floats
    scale: Floats
    rows: Floats
    up: Floats
    down: Floats
    harm: Floats
    suspected: Floats


def deviation(panel: Panel) -> Deviation:
    """Judge all series of ``panel``, which may be empty of series but not of rows."""
    reference = panel.reference
    seen = np.isfinite(reference).sum(axis=0)
    known = seen >= max(min(_LEAST_REFERENCE, len(reference)), _LEAST_SHARE * len(reference))
    low, first, level, third, high = quantiles(reference, (0.05, 0.25, 0.5, 0.75, 0.95))
    with np.errstate(invalid="ignore", divide="ignore"):  # what is unknown stays NaN
        # Few rows do not show how wide a series wanders; the factor is about that of Student's t.
        spread = np.fmax((third - first) / 1.349, (high - low) / 3.29) * (1.0 + 2.0 / np.maximum(seen, 1))
        scale = np.fmax(spread, _floors(panel, np.abs(level)))
        moved = panel.window - level
        rows = np.where(scale > 0, moved / np.where(scale > 0, scale, 1.0), np.sign(moved) * EVENT)
        rows = np.where(known & np.isfinite(moved), np.clip(rows, -CAP, CAP), np.nan)
    middle, upper, lower = np.nan_to_num(quantiles(rows, (0.5, 0.7, 0.3)))
    up, down = np.maximum(middle, 0.0), np.maximum(-middle, 0.0)
    harm = np.maximum(_hurts(panel, up, down), _FOLLOW * np.maximum(up, down))
    edge = level + middle * np.where(scale > 0, scale, 0.0)
    as_far = np.where(middle >= 0, reference >= edge, reference <= edge).sum(axis=0) / np.maximum(seen, 1)
    usual = (as_far > _RARE) & panel.flags(lambda trait: trait.averaged == "duration")
    harm = np.where(usual, np.minimum(harm, MOVED), harm)
    suspected = np.maximum(_hurts(panel, np.maximum(upper, 0.0), np.maximum(-lower, 0.0)), harm)
    return Deviation(level, scale, rows, up, down, harm, suspected)


def quantiles(values: Floats, shares: Sequence[float]) -> Floats:
    """Quantiles of the known values of every column, interpolated; NaN where nothing is known.

    ``numpy.nanquantile`` gives the same, column by column and some fifty times slower.

    Returns
    -------
    Floats
        float64 [shares, columns].
    """
    ordered = np.sort(values, axis=0)  # NaN last
    last = np.isfinite(values).sum(axis=0) - 1
    columns = np.arange(values.shape[1])
    found = np.full((len(shares), values.shape[1]), np.nan)
    for k, share in enumerate(shares):
        place = share * np.maximum(last, 0)
        below = np.floor(place).astype(np.intp)
        above = np.minimum(below + 1, np.maximum(last, 0))
        low, high = ordered[below, columns], ordered[above, columns]
        found[k] = np.where(last >= 0, low + (place - below) * (high - low), np.nan)
    return found


def _hurts(panel: Panel, up: Floats, down: Floats) -> Floats:
    high = panel.flags(lambda trait: trait.bad is Bad.HIGH)
    low = panel.flags(lambda trait: trait.bad is Bad.LOW)
    hurts: Floats = np.where(high, up, np.where(low, down, 0.0))
    return hurts


def _floors(panel: Panel, level: Floats) -> Floats:
    """Least scale of every series: what its kind can resolve, and what its number of requests can."""
    relative = np.array([trait.relative for trait in panel.traits])
    minimum = np.array([trait.minimum for trait in panel.traits])
    duration = panel.flags(lambda trait: trait.averaged == "duration")
    share = panel.flags(lambda trait: trait.averaged == "share")
    behind = _requests(panel) * np.array([trait.tail for trait in panel.traits])
    # A mean of n durations wanders by about its level over sqrt(n); a share of n requests moves by steps of 1/n.
    few = np.where(duration, level / np.sqrt(behind), np.where(share, level / behind, 0.0))
    floors: Floats = np.fmax(np.fmax(relative * level, minimum), np.where(behind > 0, few, 0.0))
    return floors


def traffic_of(panel: Panel) -> dict[str, int]:
    """The column that counts an entity's requests, for entities that have one."""
    found: dict[str, int] = {}
    for column, (entity, trait) in enumerate(zip(panel.entities, panel.traits, strict=True)):
        if trait.traffic:
            found.setdefault(entity, column)
    return found


def _requests(panel: Panel) -> Floats:
    """float64 [n], how many requests stand behind a typical number; NaN when not known.

    A count, or a count divided by a fixed time, moves in whole steps whatever its unit: value ÷ step is the count.
    """
    numbers: dict[str, float] = {}
    for entity, column in traffic_of(panel).items():
        values = np.concatenate([panel.reference[:, column], panel.window[:, column]])
        values = values[np.isfinite(values)]
        gaps = np.diff(np.unique(values))
        gaps = gaps[gaps > 1e-4 * np.max(np.abs(values), initial=0.0)]
        if len(gaps):
            numbers[entity] = float(np.median(values) / np.quantile(gaps, 0.25))
    return np.array([numbers.get(entity, np.nan) for entity in panel.entities])


def onset(rows: Floats, times: Floats) -> float:
    """First of ``times`` [rows] from which ``rows`` stayed outside for two rows; NaN when they never did."""
    outside = np.abs(rows) >= MOVED
    lasting = outside & np.append(outside[1:], outside[-1:])
    return float(times[np.argmax(lasting)]) if lasting.any() else float("nan")
