"""Histogram gains to quantiles, with what is known about their error.

A quantile from buckets is a guess inside one bucket: :func:`quantile_bounds` says how wide that bucket is. It is
also a guess about few requests: :func:`observations_needed` says from how many on it is given at all. The
invariant: a quantile lies within its bucket, and rises with q.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aiops.signals.types import Buckets

QUANTILES = (0.50, 0.95, 0.99)
QUANTILE_STATS = ("p50", "p95", "p99")
FEWEST_OBSERVATIONS = 5
_TINY = 1e-12


def observations_needed(q: float, tail_observations: float = 1.0) -> float:
    """Fewest observations from which quantile ``q`` is given.

    Formula: max(5, tail_observations / min(q, 1 − q)), i.e. at least ``tail_observations`` are expected beyond
    the quantile on either side. With 1.0: p50 from 5, p95 from 20, p99 from 100 observations. Below that the
    quantile is the maximum in disguise. Raise it for steadier quantiles (5.0: p95 from 100), at the price of
    knowing nothing on quiet replicas; the mean is always given.
    """
    return max(float(FEWEST_OBSERVATIONS), math.ceil(round(tail_observations / min(q, 1.0 - q), 9)))


def monotone(cumulative: NDArray[np.float64]) -> NDArray[np.float64]:
    """Raise cumulative counts [..., k] that fall along the buckets to the count before.

    A page is not read atomically: a request may enter a wide bucket and be seen before it enters the narrow
    one. Sums over replicas keep such a dent; Prometheus mends it the same way.
    """
    return np.maximum.accumulate(cumulative, axis=-1)


def quantiles(
    bounds: NDArray[np.float64],
    cumulative: NDArray[np.float64],
    q: Sequence[float] = QUANTILES,
    total: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Quantiles of many histograms of values ≥ 0 at once, linear inside the bucket as Prometheus does.

    Parameters
    ----------
    bounds
        float64 [h, k], ascending upper bounds, +Inf last (and as padding).
    cumulative
        float64 [h, k], observations ≤ bound, not falling (:func:`monotone`).
    q
        Quantiles in 0 … 1.
    total
        float64 [h], sum of the observed values; NaN or None = not known. Where interpolation says more than
        mean / (1 − q), which no quantile of values ≥ 0 can exceed (Markov's inequality), that limit is the
        answer: buckets whose first ends at 0.3 s would otherwise call every short wait 0.15 s.

    Returns
    -------
    float64 [h, len(q)]. NaN for an empty or unknown histogram. In the open last bucket it is that bucket's
    lower edge, the highest finite bound, which is what Prometheus users expect: it says "at least this". The
    first bucket begins at 0, or, where its bound is ≤ 0, the answer is that bound.
    """
    index, rank = _bucket_of(cumulative, q)
    rows = np.arange(len(bounds))[:, np.newaxis]
    below = np.maximum(index - 1, 0)
    first = index == 0
    upper = bounds[rows, index]
    lower = np.where(first, 0.0, bounds[rows, below])
    count_below = np.where(first, 0.0, cumulative[rows, below])
    count = cumulative[:, -1:]
    with np.errstate(invalid="ignore", divide="ignore"):
        inside = (rank - count_below) / (cumulative[rows, index] - count_below)
        answer = lower + (upper - lower) * inside
        if total is not None:
            limit = total[:, np.newaxis] / count / (1.0 - np.asarray(q))
            answer = np.where(limit < answer, np.maximum(limit, lower), answer)
    answer = np.where(first & (upper <= 0.0), upper, answer)
    answer = np.where(np.isinf(upper), np.where(first, np.nan, lower), answer)
    return np.where(count > 0.0, answer, np.nan)


def quantile_bounds(bounds: NDArray[np.float64], counts: NDArray[np.float64], q: float) -> tuple[float, float]:
    """Edges of the bucket in which a quantile lies: the true quantile is in (low, high].

    ``bounds`` and ``counts`` are float64 [k] of one histogram, counts not cumulative (as in :class:`Buckets`).
    (NaN, NaN) when it is empty; ``high`` is inf in the last bucket.
    """
    cumulative = np.cumsum(counts)[np.newaxis, :]
    if not cumulative[0, -1] > 0.0:
        return float("nan"), float("nan")
    index = int(_bucket_of(cumulative, (q,))[0][0, 0])
    low = float(bounds[index - 1]) if index else min(0.0, float(bounds[0]))
    return low, float(bounds[index])


def _bucket_of(cumulative: NDArray[np.float64], q: Sequence[float]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Index [h, m] of the first bucket that reaches the rank q·total, and the rank [h, m]."""
    rank = cumulative[:, -1:] * np.asarray(q, dtype=np.float64)
    # q = 0 would land in an empty first bucket: a tiny rank goes on to the first bucket that holds something.
    rank = np.maximum(rank, _TINY)
    short = cumulative[:, :, np.newaxis] < rank[:, np.newaxis, :]
    return np.minimum(np.count_nonzero(short, axis=1), cumulative.shape[1] - 1), rank


def merged(parts: Sequence[Buckets]) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Add the gains of several sources: bounds and counts float64 [k], or None when their bounds differ.

    Quantiles of replicas cannot be averaged; only the counts behind them can be added, and only bucket by
    bucket.
    """
    bounds = parts[0].bounds
    if any(part.bounds is not bounds and not np.array_equal(part.bounds, bounds) for part in parts[1:]):
        return None
    return bounds, np.sum([part.counts for part in parts], axis=0)
