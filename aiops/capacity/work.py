"""What scrapes show of a load: requests and work per interval, and statistics of both.

The unit of work is the service-second: one request holding one server for one second. Dispersion is taken of *work*,
not of requests, because a busy minute of short requests is no burst (on real chat traffic requests per minute and mean
work correlate at −0.9).
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
NAN = float("nan")

SIZE_BOUNDS: Floats = np.array([digit * 10.0**power for power in range(-6, 9) for digit in (1.0, 2.0, 5.0)])
"""Upper bounds of size buckets, three to a decade as engines' length histograms have them; float64 [45]."""
_SCALES = (15.0, 60.0, 300.0)
_FEWEST = 4  # intervals below which a variance says nothing


@dataclass(frozen=True, eq=False)
class Intervals:
    """A load as a daemon sees it: totals per scrape interval, nothing of single requests.

    Attributes
    ----------
    step_seconds
        Length of an interval, > 0; the last one may be cut short by ``span_seconds``.
    span_seconds
        From the start of the first interval to the end of what was seen, in (n − 1, n] intervals.
    counts
        int64 [n], requests that arrived.
    work
        float64 [n], service-seconds they brought, ≥ 0.
    sizes
        int64 [n, 46], requests by size: bucket k holds sizes in (bounds[k − 1], bounds[k]], the last is open;
        None when only means are known, sizes are then taken to be exponential.
    prefill_work
        float64 [n], the part of ``work`` that goes into reading prompts; None where nobody asks.
    """

    step_seconds: float
    span_seconds: float
    counts: Counts
    work: Floats
    sizes: Counts | None = None
    prefill_work: Floats | None = None

    @classmethod
    def of(
        cls,
        arrival_seconds: Floats,
        service_seconds: Floats,
        step_seconds: float,
        *,
        prefill_share: Floats | None = None,
    ) -> Self:
        """Sum up a trace: float64 [requests] each, arrivals ascending, at least one; time starts at the first."""
        since = arrival_seconds - arrival_seconds[0]
        number = (since // step_seconds).astype(np.int64)
        n = int(number[-1]) + 1
        bucket = np.searchsorted(SIZE_BOUNDS, service_seconds)
        width = len(SIZE_BOUNDS) + 1
        sizes = np.bincount(number * width + bucket, minlength=n * width).reshape(n, width)
        counts = np.bincount(number, minlength=n).astype(np.int64)
        work = np.bincount(number, service_seconds, minlength=n).astype(np.float64)
        # Of a single interval the whole was watched; of the last of many, nothing says how much came after.
        span = max(float(since[-1]), (n - 1 + 1e-3) * step_seconds) if n > 1 else step_seconds
        prefill = None
        if prefill_share is not None:
            prefill = np.bincount(number, service_seconds * prefill_share, minlength=n).astype(np.float64)
        return cls(step_seconds, span, counts, work, sizes, prefill)

    def part(self, first: int, last: int) -> Self:
        """Intervals ``first`` … ``last`` − 1 by themselves."""
        span = min(last * self.step_seconds, self.span_seconds) - first * self.step_seconds
        return self._rows(np.arange(first, last), span)

    def resampled(self, block_seconds: float, rng: np.random.Generator) -> Self:
        """Another stretch of the same kind: whole blocks drawn with replacement, order kept inside a block."""
        n = len(self.counts)
        length = min(n, max(1, round(block_seconds / self.step_seconds)))
        starts = rng.integers(0, n - length + 1, size=-(-n // length))
        chosen = (starts[:, np.newaxis] + np.arange(length)).ravel()[:n]
        return self._rows(chosen, n * self.step_seconds)

    def _rows(self, chosen: Counts, span_seconds: float) -> Self:
        sizes = None if self.sizes is None else self.sizes[chosen]
        prefill = None if self.prefill_work is None else self.prefill_work[chosen]
        return type(self)(self.step_seconds, span_seconds, self.counts[chosen], self.work[chosen], sizes, prefill)

    @property
    def requests(self) -> int:
        """All requests."""
        return int(self.counts.sum())

    @property
    def arrivals_per_second(self) -> float:
        """Mean arrival rate."""
        return self.requests / self.span_seconds

    @property
    def service_seconds(self) -> float:
        """Mean work of a request; NaN without requests."""
        return float(self.work.sum()) / self.requests if self.requests else NAN

    @property
    def load(self) -> float:
        """Offered load in Erlang: work per second."""
        return float(self.work.sum()) / self.span_seconds

    @cached_property
    def squared_work(self) -> Floats:
        """float64 [n]: expected sum of squared sizes, from the buckets (log-uniform inside) or as if exponential."""
        mean = self.work / np.maximum(self.counts, 1)
        if self.sizes is None:
            return 2.0 * self.counts * mean**2
        low, high = bucket_edges()
        ratio = np.log(high / low)
        first = self.sizes @ ((high - low) / ratio)
        second: Floats = self.sizes @ ((high**2 - low**2) / (2.0 * ratio))
        return second * (self.work / np.maximum(first, 1e-300)) ** 2

    @property
    def service_cv2(self) -> float:
        """Squared coefficient of variation of the size of a request; NaN without work."""
        total = float(self.work.sum())
        return max(0.0, float(self.squared_work.sum()) * self.requests / total**2 - 1.0) if total else NAN

    def count_dispersion(self, scale_seconds: float) -> float:
        """IDC: variance over mean of requests per window of about ``scale_seconds``; 1 = Poisson, NaN = too short."""
        return _dispersion(self._summed(self.counts, scale_seconds), 1.0)

    def work_dispersion(self, scale_seconds: float) -> float:
        """IDW: variance over mean of work per window, in units of E[S²]/E[S], so that 1 = Poisson arrivals."""
        total = float(self.work.sum())
        unit = float(self.squared_work.sum()) / total if total else NAN
        return _dispersion(self._summed(self.work, scale_seconds), unit)

    def rate_work_correlation(self, scale_seconds: float) -> float:
        """Correlation between requests per window and their mean work; NaN when either does not vary."""
        counts, work = self._summed(self.counts, scale_seconds), self._summed(self.work, scale_seconds)
        busy = counts > 0
        counts, mean = counts[busy], work[busy] / counts[busy]
        if len(counts) < _FEWEST or not counts.std() or not mean.std() > 1e-12 * mean.mean():
            return NAN
        return float(np.corrcoef(counts, mean)[0, 1])

    def _summed(self, values: Counts | Floats, scale_seconds: float) -> Floats:
        """Totals of whole windows; what is cut short at the end is left out."""
        each = max(1, round(scale_seconds / self.step_seconds))
        whole = math.floor(self.span_seconds / self.step_seconds + 1e-9) // each
        answer: Floats = np.asarray(values[: whole * each], dtype=np.float64).reshape(whole, each).sum(axis=1)
        return answer


@dataclass(frozen=True, slots=True)
class WorkStatistics:
    """How bursty a load is; indices of dispersion by window length in seconds, 1 = Poisson, NaN = too short."""

    arrivals_per_second: float
    service_seconds: float
    service_cv2: float
    load: float
    count_dispersion: dict[float, float]
    work_dispersion: dict[float, float]
    rate_work_correlation: dict[float, float]


def statistics(intervals: Intervals) -> WorkStatistics:
    """Summarise a load at windows of 15, 60 and 300 s; a window shorter than an interval is left out."""
    scales = [scale for scale in _SCALES if scale >= intervals.step_seconds]
    return WorkStatistics(
        intervals.arrivals_per_second,
        intervals.service_seconds,
        intervals.service_cv2,
        intervals.load,
        {scale: intervals.count_dispersion(scale) for scale in scales},
        {scale: intervals.work_dispersion(scale) for scale in scales},
        {scale: intervals.rate_work_correlation(scale) for scale in scales},
    )


def peakedness(in_flight: Floats) -> float:
    """Variance over mean of samples of the number in flight (running and waiting); NaN when always empty."""
    return _dispersion(np.asarray(in_flight, dtype=np.float64), 1.0)


def in_flight(arrival_seconds: Floats, service_seconds: Floats, at_seconds: Floats) -> Floats:
    """Requests in service at some times if there were servers for all; arrivals ascending.

    Who arrives at that very time belongs to the interval that begins there, and is not seen yet.
    """
    begun = np.searchsorted(arrival_seconds, at_seconds, side="left")
    ended = np.searchsorted(np.sort(arrival_seconds + service_seconds), at_seconds, side="left")
    return (begun - ended).astype(np.float64)


def bucket_edges() -> tuple[Floats, Floats]:
    """Lower and upper size of every bucket, both > 0 and finite, float64 [46] each."""
    low = np.concatenate([[SIZE_BOUNDS[0] / 2.0], SIZE_BOUNDS])
    high = np.concatenate([SIZE_BOUNDS, [SIZE_BOUNDS[-1] * 2.0]])
    return low, high


def _dispersion(values: Floats, unit: float) -> float:
    mean = float(values.mean()) if len(values) >= _FEWEST else 0.0
    return float(values.var()) / mean / unit if mean > 0.0 else NAN
