"""T(n): how long one step of a batching engine takes with n requests in the batch, and where more of them stop helping.

A batch slot is no server of M/M/c: each request more slows all others. Below the knee that costs little and throughput
grows; beyond it throughput is flat, and admitting more adds latency only.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from aiops.capacity.work import NAN, Floats

_PER_DOUBLING = 2  # bins for each doubling of n
_FEWEST = 3  # samples for a bin to count
_FLAT = 0.9  # share of the best throughput from which on it counts as reached
_GROWING = 1.25


@dataclass(frozen=True, eq=False)
class StepCurve:
    """Seconds of one step by requests in the batch: straight between points, and beyond them by the last slope.

    Attributes
    ----------
    batch
        float64 [k], ascending, ≥ 1.
    seconds
        float64 [k], > 0, not descending.
    """

    batch: Floats
    seconds: Floats

    @classmethod
    def linear(cls, base_seconds: float, per_request_seconds: float) -> Self:
        """T(n) = base + per_request · n."""
        batch = np.array([1.0, 2.0])
        return cls(batch, base_seconds + per_request_seconds * batch)

    def table(self, most: int) -> Floats:
        """Seconds for n = 0 … ``most``; float64 [most + 1]. An empty batch counts as one."""
        n = np.maximum(np.arange(most + 1), 1.0)
        inside = np.interp(n, self.batch, self.seconds)
        if len(self.batch) > 1:
            slope = (self.seconds[-1] - self.seconds[-2]) / (self.batch[-1] - self.batch[-2])
            inside = inside + np.maximum(n - self.batch[-1], 0.0) * slope
        answer: Floats = inside
        return answer


@dataclass(frozen=True, eq=False)
class FittedCurve:
    """A curve learnt from samples.

    Attributes
    ----------
    curve
        Medians of bins of n, made monotone.
    knee
        Least n that gives 90 % of the best throughput; NaN while throughput still grows at the largest n seen.
    best_per_second
        Highest throughput, requests times steps (that is: tokens) per second; NaN without a knee.
    samples
        Points behind the curve.
    """

    curve: StepCurve
    knee: float
    best_per_second: float
    samples: int


def fit_curve(running: Floats, step_seconds: Floats) -> FittedCurve | None:
    """Fit T(n) to pairs of requests in the batch (≥ 1) and step time, float64 [n] each; NaN pairs are left out.

    Robust: medians of logarithmic bins, then the monotone regression of them (pool adjacent violators), so that
    stalls and odd samples move nothing. None when fewer than two bins hold three samples.
    """
    known = np.isfinite(running) & np.isfinite(step_seconds) & (running >= 1.0) & (step_seconds > 0.0)
    running, step_seconds = running[known], step_seconds[known]
    number = np.floor(np.log2(running) * _PER_DOUBLING).astype(np.int64) if len(running) else np.empty(0, np.int64)
    bins = [number == value for value in np.unique(number)]
    bins = [inside for inside in bins if inside.sum() >= _FEWEST]
    if len(bins) < 2:
        return None
    batch = np.array([np.median(running[inside]) for inside in bins])
    medians = np.array([np.median(step_seconds[inside]) for inside in bins])
    seconds = monotone(medians, np.array([float(inside.sum()) for inside in bins]))
    curve = StepCurve(batch, seconds)
    knee, best = _knee(curve)
    return FittedCurve(curve, knee, best, len(running))


def monotone(values: Floats, weights: Floats) -> Floats:
    """Closest non-descending sequence in weighted least squares; float64 [n]."""
    blocks: list[tuple[float, float, int]] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        blocks.append((value, weight, 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (a, u, k), (b, v, m) = blocks[-2:]
            blocks[-2:] = [((a * u + b * v) / (u + v), u + v, k + m)]
    return np.concatenate([np.full(count, value) for value, _, count in blocks])


def _knee(curve: StepCurve) -> tuple[float, float]:
    """Knee, and the highest throughput; NaN while doubling n to the largest seen still brought a quarter more."""
    most = int(curve.batch[-1])
    throughput = np.arange(1, most + 1) / curve.table(most)[1:]
    if most < 4 or throughput[-1] > _GROWING * throughput[most // 2 - 1]:
        return NAN, NAN
    best = float(throughput.max())
    return float(1 + np.argmax(throughput >= _FLAT * best)), best
