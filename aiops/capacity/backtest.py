"""Which model to believe: each explains waits that were observed, with a shape learnt at another time.

A pool's queue time (sum and count) says what its requests waited. Every model is told the load of that time and the
shape of the load at another time, and answers for the servers that were there. The lowest log-error wins, where the
replay is only left for a model that is clearly better. If even the winner is off by more than a factor of two, or
nothing could be judged, there is no recommendation.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aiops.capacity.fluid import fluid_tail, fluid_windows
from aiops.capacity.models import CLOSED_FORMS, Model, WhatIf, closed_form
from aiops.capacity.replay import Requests, Waits

WORST_FACTOR = 2.0
"""Geometric mean of the factor between observed and predicted beyond which a model is not believed."""
_CLEARLY_BETTER = 1.25
"""A closed form can win one back-test by luck and knows nothing of bursts: it must beat the replay by this factor."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Intervals ``first`` … ``last`` − 1 of a load."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Observed(Stretch):
    """What the queue time of a pool with some number of servers showed in one stretch.

    Its mean, its 95th percentile, and the share of requests that waited longer than the SLO.
    """

    servers: int
    wait_mean_seconds: float
    wait_p95_seconds: float
    p_wait_over_slo: float


@dataclass(frozen=True, slots=True)
class Choice:
    """Outcome of a back-test.

    Attributes
    ----------
    model
        The one with the lowest error; the replay when nothing could be judged.
    factors
        Error of each model as a factor ≥ 1 between predicted and observed; empty when nothing could be judged.
    decisive
        Error of the chosen one where it would decide; NaN when nothing could be judged.
    judged
        Observations behind it.
    """

    model: Model
    factors: Mapping[Model, float]
    decisive: float
    judged: int

    @property
    def believed(self) -> bool:
        """The chosen model explains what was observed to within a factor of two."""
        return self.decisive <= WORST_FACTOR


class Wait(NamedTuple):
    """A prediction: mean wait, its 95th percentile, and share of requests later than the SLO; NaN = no answer."""

    mean_seconds: float
    p95_seconds: float
    p_over_slo: float


@dataclass(frozen=True, slots=True)
class Yardstick:
    """What counts as the same: both sides of a comparison get a floor, because errors far below do not matter.

    Means are compared on a floor of 1 % of the SLO, 95th percentiles on 10 %, shares of late requests on a fifth of
    what the target allows.
    """

    slo_seconds: float
    target: float

    def factor(self, predicted: Wait, seen: Observed) -> float:
        """Log of the worst factor, ≥ 0, of the three; infinite where a model has no answer (rho ≥ 1)."""
        floor, coarse = 0.01 * self.slo_seconds, 0.1 * self.slo_seconds
        mean = _log_error(predicted.mean_seconds, seen.wait_mean_seconds, floor)
        high = _log_error(predicted.p95_seconds, seen.wait_p95_seconds, coarse)
        late = _log_error(predicted.p_over_slo, seen.p_wait_over_slo, 0.2 * (1.0 - self.target))
        return max(mean, high, late)


def observe(whatif: WhatIf, requests: Requests, servers: int, stretch: Stretch) -> Observed | None:
    """What the queue time of the pool with ``servers`` servers would have shown; None when nobody came."""
    part = whatif.pool.waits(requests, servers).seconds[_inside(requests, stretch, whatif.intervals.step_seconds)]
    if not len(part):
        return None
    waits = Waits(part)
    return Observed(
        stretch.first, stretch.last, servers, waits.mean, waits.quantile(0.95), waits.tail(whatif.slo_seconds)
    )


def log_errors(whatif: WhatIf, observed: Sequence[Observed], yardstick: Yardstick) -> dict[Model, list[float]]:
    """Error of every model, one for each observation.

    ``whatif`` holds the whole load from an empty system on, with a shape learnt outside the observed stretches.
    """
    replayed = {
        servers: [whatif.pool.waits(requests, servers).seconds for requests in whatif.drawn]
        for servers in {seen.servers for seen in observed}
    }
    errors: dict[Model, list[float]] = {model: [] for model in Model}
    for seen in observed:
        inside = [_inside(requests, seen, whatif.intervals.step_seconds) for requests in whatif.drawn]
        parts = [Waits(waits[mask]) for waits, mask in zip(replayed[seen.servers], inside, strict=True)]
        predicted = without_draws(whatif, seen, seen.servers)
        predicted[Model.REPLAY] = Wait(
            float(np.mean([part.mean for part in parts])),
            float(np.mean([part.quantile(0.95) for part in parts])),
            float(np.mean([part.tail(whatif.slo_seconds) for part in parts])),
        )
        for model, wait in predicted.items():
            errors[model].append(yardstick.factor(wait, seen))
    return errors


def choose(errors: Mapping[Model, Sequence[float]], deciding: Mapping[Model, Sequence[bool]]) -> Choice:
    """Pick a model by the mean of its log-errors.

    Parameters
    ----------
    errors
        Of :func:`log_errors`, joined over all back-tests.
    deciding
        For each model, which of its errors are at the number of servers that it would recommend from.
    """
    judged = len(errors[Model.REPLAY])
    if not judged:
        return Choice(Model.REPLAY, {}, math.nan, 0)
    factors = {model: _geometric(found) for model, found in errors.items()}
    best = min(factors, key=lambda model: factors[model])
    clearly = factors[best] * _CLEARLY_BETTER < factors[Model.REPLAY]
    model = best if clearly else Model.REPLAY
    decisive = [error for error, there in zip(errors[model], deciding[model], strict=True) if there]
    return Choice(model, factors, _geometric(decisive), judged)


def _geometric(log_errors: Sequence[float]) -> float:
    """Geometric mean of factors given as logs, at most e^700; NaN of none."""
    return math.exp(min(700.0, float(np.mean(log_errors)))) if log_errors else math.nan


def without_draws(whatif: WhatIf, seen: Stretch, servers: int) -> dict[Model, Wait]:
    """Wait in one stretch, which holds some work, according to the models that need no draws."""
    intervals, slo = whatif.intervals, whatif.slo_seconds
    step = intervals.step_seconds
    part, slots = intervals.part(seen.first, seen.last), servers * whatif.pool.slots
    fluid = fluid_windows(intervals, slots).between(seen.first * step, seen.last * step)
    waits = {Model.FLUID: Wait(fluid.mean, fluid.quantile(0.95), fluid_tail(fluid, slo))}
    for model in CLOSED_FORMS:
        waiting = closed_form(model, part, whatif.shape, slots)
        waits[model] = Wait(waiting.mean_seconds, waiting.quantile(0.95), waiting.tail(slo))
    return waits


def _inside(requests: Requests, stretch: Stretch, step_seconds: float) -> NDArray[np.bool_]:
    number = requests.arrival_seconds // step_seconds
    return (number >= stretch.first) & (number < stretch.last)


def _log_error(predicted: float, truth: float, floor_seconds: float) -> float:
    if not math.isfinite(predicted):
        return math.inf
    return abs(math.log((predicted + floor_seconds) / (truth + floor_seconds)))
