"""One calibrated score per row of a recording: several views of surprise, combined so that 1.0 keeps a budget.

Per channel, with r the residual of :mod:`aiops.detect.autoregress` and every scale taken from before the row:

============ ================================================================== ================================
statistic    is                                                                 sees
============ ================================================================== ================================
forecast     abs(r) / its root mean square over 5000 rows                       a value nobody expected
onset        abs(r) / its root mean square over 20, 200, 1000 and 5000 rows     the same, once per disturbance
drift        abs(sum of the last 3 r) / its root mean square                    a step spread over rows
level        abs(x − mean over 20 rows) / its root mean square                  a jump the forecast follows
extreme      distance beyond the range of 2500 to 5000 rows / deviation         what never was before
transition   −ln of how often this followed the last two values                 a usual value in an unusual order
turbulence   root mean square of the last 10 r / its root mean square           long disturbances
============ ================================================================== ================================

Channels are pooled by the cube of the mean cube root of the four largest: what befalls several channels counts for more
than one channel that is far out. A fixed pooled curve (:mod:`aiops.detect.pooled`) turns each statistic into a
surprise. The weighted mean of the surprises is ranked within the series' own history (:mod:`aiops.detect.calibrate`),
which gives the tail probability of this row in this series; the score is its logarithm in units of the budget's
logarithm.

Two storeys: from 0.75 up the score says how rare the row is, and 1.0 is the alert threshold; below 0.75 it only ranks,
and a disturbance glows on there for some time, so that a long incident stays above the calm around it without alerting
again and again. For the same end an alert is remembered for some rows: what stays below its fading height counts half
of what lies above 0.75.

Invariant: the score of a row depends on rows up to it, and on nothing else; rows that follow change no bit of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from aiops.detect.autoregress import Autoregression
from aiops.detect.averages import Array, Average, Extremes, Mask, Peak
from aiops.detect.calibrate import LARGEST, TailSketch
from aiops.detect.pooled import CURVES
from aiops.detect.transitions import Transitions

VOTES = ("forecast", "onset", "drift", "level", "extreme", "transition", "turbulence")
"""Names of the statistics; each is a column of ``--votes``."""
WEIGHTS = {"forecast": 1.0, "onset": 1.0, "drift": 0.5, "level": 0.5, "extreme": 0.5, "transition": 1.0}
"""Weight of each surprise. The optimum is flat, so round numbers: weights tuned on one half of the development series
ranged from 0.2 to 1 for ``onset`` against ``forecast``, and differed by a few points of recall on the other half."""
GLOW = "turbulence"
WARM_UP_ROWS = 30
"""Rows without a score at the start."""
COMMIT_ROWS = 100
SCALE_MEMORY = 5000.0
POOLED_CHANNELS = 4
RANGE_HALF_MEMORY = 2500
PRIOR_POINTS = 1500.0
RANK_MEMORY = 20_000.0
ALARMING = 0.9
"""From this score on, at the default budget, a row teaches the final rank little: it may be what is looked for."""
ALARMING_WEIGHT = 0.1
ALERT_STOREY = 0.75
GLOW_FACTOR = 0.98
REPEATED = 0.5
ALERT_FACTOR = 0.8 ** (1 / 150)
"""The height of an alert fades by a fifth in 150 rows."""
FARTHEST = 1e100
"""Values are clipped here, so that their squares are numbers."""
WEEK_SECONDS = 7 * 86400.0


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores of some rows.

    Attributes
    ----------
    score
        float64 [rows]; 1.0 = threshold, NaN = not known or not ready.
    votes
        Statistic → its own surprise by the pooled curve in the same unit, float64 [rows].
    """

    score: Array
    votes: Mapping[str, Array]


class Ensemble:
    """Scores one recording of one or several channels, block by block.

    Parameters
    ----------
    channels
        Values per row.
    interval_seconds
        Time between rows.
    alerts_per_week
        False alerts asked for, per recording and week.
    """

    def __init__(self, channels: int, interval_seconds: float, alerts_per_week: float = 1.0) -> None:
        self._unit = _threshold(interval_seconds, alerts_per_week)
        self._usual_unit = _threshold(interval_seconds, 1.0)
        self._statistics = Statistics(channels, interval_seconds)
        self._rank = TailSketch((CURVES["combined"],), prior_points=PRIOR_POINTS, memory_points=RANK_MEMORY)
        self._glow = Peak(GLOW_FACTOR)
        self._alert = Peak(ALERT_FACTOR)
        self._alerted = 0.0
        self._row = 0

    def push(self, rows: Array) -> Scored:
        """Score ``rows`` [rows, channels], NaN = unknown; any number at a time."""
        parts = []
        done = 0
        while done < len(rows):
            count = min(self._statistics.rows_to_fit(), COMMIT_ROWS - self._row % COMMIT_ROWS, len(rows) - done)
            parts.append(self._block(rows[done : done + count]))
            done += count
        if not parts:
            return Scored(np.empty(0), {name: np.empty(0) for name in VOTES})
        score = np.concatenate([part.score for part in parts])
        return Scored(score, {name: np.concatenate([part.votes[name] for part in parts]) for name in VOTES})

    def _block(self, rows: Array) -> Scored:
        statistics = self._statistics.push(rows)
        surprise = {name: CURVES[name].surprise(statistics[name]) for name in VOTES}
        weighted = [weight * surprise[name] for name, weight in WEIGHTS.items()]
        combined = np.sum(weighted, axis=0)[:, None] / sum(WEIGHTS.values())
        rank = self._rank.surprise(combined)[:, 0]
        known = np.isfinite(rows).any(axis=1)
        weight = np.where(rank >= ALARMING * self._usual_unit, ALARMING_WEIGHT, 1.0) * known
        self._rank.learn(combined, weight[:, None])
        ready = known & (self._row + np.arange(len(rows)) >= WARM_UP_ROWS)
        self._row += len(rows)
        if self._row % COMMIT_ROWS == 0:
            self._rank.commit(COMMIT_ROWS)
        score = self._first_of_many(np.where(ready, rank / self._unit, 0.0))
        glow = self._glow.push(np.where(known, surprise[GLOW], 0.0) / self._unit)
        score = np.where(score >= ALERT_STOREY, score, ALERT_STOREY * -np.expm1(-glow))
        votes = {name: np.where(ready, surprise[name] / self._unit, np.nan) for name in VOTES}
        return Scored(np.where(ready, score, np.nan), votes)

    def _first_of_many(self, score: Array) -> Array:
        """Score with what only goes on, or comes again soon, brought nearer to the threshold or below it."""
        peak = self._alert.push(score)
        before = ALERT_FACTOR * np.concatenate([[self._alerted], peak[:-1]])
        self._alerted = float(peak[-1])
        again = (score >= ALERT_STOREY) & (before >= np.maximum(score, 1.0))
        return np.where(again, ALERT_STOREY + REPEATED * (score - ALERT_STOREY), score)


class Statistics:
    """The statistics of the table above, pooled over channels.

    Parameters
    ----------
    channels
        Values per row.
    interval_seconds
        Time between rows.
    """

    def __init__(self, channels: int, interval_seconds: float) -> None:
        self._forecaster = Autoregression(channels, interval_seconds)
        self._last: Array = np.zeros(channels)
        self._residuals: Array = np.zeros((9, channels))
        # Averages of one stage are columns of one, side by side: a third of the calls.
        self._means = Average(np.repeat([SCALE_MEMORY, SCALE_MEMORY, 20.0], channels), 3 * channels)
        memories = [SCALE_MEMORY, 1000.0, 200.0, 20.0, *[SCALE_MEMORY] * 4]
        self._powers = Average(np.repeat(memories, channels), len(memories) * channels)
        self._range = Extremes(RANGE_HALF_MEMORY, channels)
        self._transitions = Transitions(channels)
        self._pooled = Average(SCALE_MEMORY, len(VOTES)) if channels > 1 else None

    def rows_to_fit(self) -> int:
        """Most rows that one :meth:`push` may hold."""
        return self._forecaster.rows_to_fit()

    def push(self, rows: Array) -> dict[str, Array]:
        """Statistics [rows] by name of ``rows`` [rows, channels]; 0 where nothing is known."""
        known = np.isfinite(rows)
        rows = self._filled(np.clip(rows, -FARTHEST, FARTHEST), known)
        size, centre, level = _side_by_side(self._means, [np.abs(rows), rows, rows], known)
        floor = 1e-9 * size + 1e-300
        residual = self._forecaster.push(rows, known)
        recent = np.concatenate([self._residuals, residual])
        self._residuals = recent[-9:]
        count = len(rows)
        drift = sum((recent[9 - back : 9 - back + count] for back in range(3)), np.zeros(1))
        turbulence = sum((recent[9 - back : 9 - back + count] ** 2 for back in range(10)), np.zeros(1)) / 10
        power, from_level = residual**2, rows - level
        powers = _side_by_side(
            self._powers, [power] * 4 + [drift**2, from_level**2, (rows - centre) ** 2, turbulence], known
        )
        local = (powers[0] + powers[1] + powers[2] + powers[3]) / 4
        deviation = np.sqrt(powers[6]) + floor
        each = {
            "forecast": np.abs(residual) / (np.sqrt(powers[0]) + floor),
            "onset": np.abs(residual) / (np.sqrt(local) + floor),
            "drift": np.abs(drift) / (np.sqrt(powers[4]) + floor),
            "level": np.abs(from_level) / (np.sqrt(powers[5]) + floor),
            "extreme": self._range.push(rows, known) / deviation,
            "transition": self._transitions.push((rows - centre) / deviation, known),
            "turbulence": np.sqrt(turbulence) / (np.sqrt(powers[7]) + floor),
        }
        return self._pool(each, known)

    def _filled(self, rows: Array, known: Mask) -> Array:
        """Unknown values replaced by the last known one, 0 before the first."""
        index = np.where(known, np.arange(1, len(rows) + 1)[:, None], 0)
        filled: Array = np.take_along_axis(
            np.concatenate([self._last[None], rows]), np.maximum.accumulate(index, axis=0), axis=0
        )
        self._last = filled[-1]
        return filled

    def _pool(self, each: dict[str, Array], known: Mask) -> dict[str, Array]:
        stacked = np.stack([np.where(known, np.minimum(each[name], LARGEST), 0.0) for name in VOTES])
        if self._pooled is None:
            return dict(zip(VOTES, stacked[:, :, 0], strict=True))
        most = min(POOLED_CHANNELS, stacked.shape[2])
        largest = np.partition(stacked, -most, axis=2)[:, :, -most:]
        together = (np.cbrt(largest).mean(axis=2) ** 3).T
        some = np.repeat(known.any(axis=1, keepdims=True), len(VOTES), axis=1)
        power = self._pooled.push(np.minimum(together, 30.0) ** 2, some)
        scaled = np.minimum(together / np.maximum(np.sqrt(power), 0.3), LARGEST)
        return dict(zip(VOTES, scaled.T, strict=True))


def _side_by_side(average: Average, parts: list[Array], known: Mask) -> list[Array]:
    """Push ``parts``, each [rows, columns], through one average; its means in the same order."""
    return np.split(average.push(np.concatenate(parts, axis=1), np.tile(known, len(parts))), len(parts), axis=1)


def _threshold(interval_seconds: float, alerts_per_week: float) -> float:
    """Surprise that scores 1.0: that of one row in as many as come per alert asked for.

    Rows out of bounds cluster, so one in so many makes fewer alerts; alarming rows teach little, which makes more. On
    public series (``benchmarks/detection.py``) the two cancel, within a factor of two.
    """
    rows_per_alert = WEEK_SECONDS / interval_seconds / alerts_per_week
    return float(np.log(max(rows_per_alert, np.e)))
