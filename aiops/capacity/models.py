"""Five models of the same wait behind one question: what would c servers make of this load?

What a model may know is kept apart: :class:`Shape` is learnt (from the past), :class:`Intervals` are the load itself.
That is what lets a back-test teach on one stretch and judge on the next.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from aiops.capacity.fluid import fluid_tail, fluid_windows
from aiops.capacity.placement import Placement
from aiops.capacity.queueing import Waiting, gg_c, hayward, mmc
from aiops.capacity.replay import Pool, Requests, Servers, Waits
from aiops.capacity.work import NAN, Intervals

_SHAPE_SCALE_SECONDS = 60.0


class Model(StrEnum):
    """Names of the models, as they stand in answers and metrics."""

    MMC = "mmc"
    HAYWARD = "hayward"
    ALLEN_CUNNEEN = "allen_cunneen"
    FLUID = "fluid"
    REPLAY = "replay"


CLOSED_FORMS = (Model.MMC, Model.HAYWARD, Model.ALLEN_CUNNEEN)


@dataclass(frozen=True, slots=True)
class Shape:
    """What is learnt of a load besides its level.

    Attributes
    ----------
    arrival_cv2, service_cv2
        Squared variations for Allen-Cunneen; of arrivals it is what makes the dispersion of *work* right at 60 s.
    peakedness
        Of the number in flight; 1 = Poisson.
    placement
        Where inside an interval requests arrive.
    """

    arrival_cv2: float
    service_cv2: float
    peakedness: float
    placement: Placement


@dataclass(frozen=True, slots=True)
class Estimate:
    """Answer of one model for one number of servers.

    At rho ≥ 1 the waits and the probability are NaN and the backlog growth (requests per second) is known; below it
    is NaN. ``p_high`` is the upper end of the band of ``p_wait_over_slo``; closed forms have no band.
    """

    rho: float
    wait_mean_seconds: float
    wait_p95_seconds: float
    p_wait_over_slo: float
    backlog_growth_per_second: float = NAN
    mean_low_seconds: float = NAN
    mean_high_seconds: float = NAN
    p_high: float = NAN


def learn_shape(intervals: Intervals, peakedness: float, placement: Placement) -> Shape:
    """Learn from a stretch of load; what it is too short to tell is taken to be Poisson (a floor, not a guess)."""
    service_cv2 = intervals.service_cv2
    dispersion = intervals.work_dispersion(max(_SHAPE_SCALE_SECONDS, intervals.step_seconds))
    arrival_cv2 = max(0.0, dispersion * (1.0 + service_cv2) - service_cv2)
    return Shape(
        arrival_cv2 if np.isfinite(arrival_cv2) else 1.0,
        service_cv2 if np.isfinite(service_cv2) else 1.0,
        peakedness if np.isfinite(peakedness) and peakedness > 0.0 else 1.0,
        placement,
    )


def closed_form(model: Model, intervals: Intervals, shape: Shape, servers: int) -> Waiting:
    """Stationary answer for the mean load of ``intervals``, which hold at least one request with some work."""
    arrivals, service = intervals.arrivals_per_second, intervals.service_seconds
    if model is Model.HAYWARD:
        return hayward(servers, arrivals, service, peakedness=shape.peakedness)
    if model is Model.ALLEN_CUNNEEN:
        return gg_c(servers, arrivals, service, arrival_cv2=shape.arrival_cv2, service_cv2=shape.service_cv2)
    return mmc(servers, arrivals, service)


@dataclass(frozen=True, slots=True)
class WhatIf:
    """One load, ready to be asked about.

    Attributes
    ----------
    drawn
        What the replay runs; the other models do not look at it.
    slo_seconds
        Wait that counts as too long.
    pool
        What serves; the models without draws see its slots as so many servers.
    """

    intervals: Intervals
    shape: Shape
    drawn: Sequence[Requests]
    slo_seconds: float
    pool: Pool = field(default_factory=Servers)

    def ask(self, model: Model, servers: int) -> Estimate:
        """Wait with ``servers`` servers; the load must hold some work."""
        slots = servers * self.pool.slots
        rho = self.intervals.load / slots
        if rho >= 1.0:
            growth = self.intervals.arrivals_per_second - slots / self.intervals.service_seconds
            return Estimate(rho, NAN, NAN, NAN, growth)
        if model is Model.REPLAY:
            runs = [self.pool.waits(requests, servers) for requests in self.drawn]
            return _from_draws(rho, runs, self.slo_seconds)
        if model is Model.FLUID:
            waits = fluid_windows(self.intervals, slots)
            return Estimate(rho, waits.mean, waits.quantile(0.95), fluid_tail(waits, self.slo_seconds))
        waiting = closed_form(model, self.intervals, self.shape, slots)
        return Estimate(rho, waiting.mean_seconds, waiting.quantile(0.95), waiting.tail(self.slo_seconds))


def _from_draws(rho: float, runs: Sequence[Waits], slo_seconds: float) -> Estimate:
    means = np.array([run.mean for run in runs])
    over = np.array([run.tail(slo_seconds) for run in runs])
    low, high = np.quantile(means, [0.05, 0.95])
    return Estimate(
        rho,
        float(means.mean()),
        float(np.mean([run.quantile(0.95) for run in runs])),
        float(over.mean()),
        mean_low_seconds=float(low),
        mean_high_seconds=float(high),
        p_high=float(np.quantile(over, 0.95)),
    )
