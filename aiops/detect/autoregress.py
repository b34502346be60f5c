"""One-step forecast of each series from its last points and from the same time yesterday and last week.

Everything is expressed relative to the last value, x[t−1], so that a model that knows nothing forecasts a random walk
and no unit matters. The regressors of column c at row t are::

    x[t−k] − x[t−1]                      k = 2 … 12
    m[t−1] − x[t−1]                      m: mean that remembers 200 rows
    S(t) − x[t−1],  S(t) − S(t−1)        S: mean of 5 rows around the same time one day ago, and one week ago

What is not there (the first day, a missing value) counts as 0. The weights are those of a ridge regression with
exponential forgetting, refitted every 100 rows; a row far from its forecast counts less, so that an incident does not
become the model. Place: the ensemble's forecaster for whole recordings; the daemon's ARIMA detector is another one.
"""

import numpy as np
from numpy.typing import NDArray

from aiops.detect.averages import Array, Average, Mask

LAGS = 12
LEVEL_MEMORY = 200
FIT_MEMORY = 3000
RIDGE = 1e-3
FIRST_FITS = (25, 50, 75)
FIT_ROWS = 100
OUTLIER_SIGMA = 3.0
"""Residual, in standard deviations, beyond which a row's weight in the fit falls."""
LONGEST_SEASON_ROWS = 12_000
"""A longer season is left out: it would have to be remembered row by row."""
SHORTEST_SEASON_ROWS = 24


class Autoregression:
    """Forecaster of ``columns`` series; see the module.

    Parameters
    ----------
    columns
        Independent series.
    interval_seconds
        Time between rows; only finds the rows of a day and a week ago.
    """

    def __init__(self, columns: int, interval_seconds: float) -> None:
        days = (round(days * 86400 / interval_seconds) for days in (1, 7))
        self._seasons = [rows for rows in days if SHORTEST_SEASON_ROWS <= rows <= LONGEST_SEASON_ROWS]
        self._reach = max([LAGS, *(season + 3 for season in self._seasons)])
        features = LAGS + 2 * len(self._seasons)
        self._past: Array = np.zeros((2 * self._reach, columns))
        self._end = self._reach
        self._row = 0
        self._level = Average(LEVEL_MEMORY, columns)
        self._weights: Array = np.zeros((columns, features))
        self._gram: Array = np.zeros((columns, features, features))
        self._cross: Array = np.zeros((columns, features))
        self._variance: Array = np.zeros(columns)
        self._pending: list[tuple[Array, Array, Mask]] = []

    def rows_to_fit(self) -> int:
        """Most rows that one :meth:`push` may hold: those up to the next fit."""
        following = [row for row in FIRST_FITS if row > self._row]
        return (following[0] if following else (self._row // FIT_ROWS + 1) * FIT_ROWS) - self._row

    def push(self, rows: Array, known: Mask) -> Array:
        """Give x − forecast of ``rows`` [rows, columns], 0 where not ``known``, then learn.

        Unknown values must be filled with the last known one.
        """
        regressors, target = self._design(rows, known)
        forecast = np.zeros_like(rows)
        # One regressor after the other, not a matrix product: how that rounds depends on the number of rows.
        for feature in range(regressors.shape[0]):
            forecast += regressors[feature] * self._weights[:, feature]
        residual: Array = np.where(known, target - forecast, 0.0)
        residual[: max(1 - self._row, 0)] = 0.0
        self._pending.append((regressors, residual, known))
        fit = len(rows) == self.rows_to_fit()
        self._row += len(rows)
        if fit:
            self._fit()
        return residual

    def _design(self, rows: Array, known: Mask) -> tuple[Array, Array]:
        """Regressors [features, rows, columns] and what they are to explain [rows, columns]."""
        count = len(rows)
        if self._end + count > len(self._past):
            kept = self._past[self._end - self._reach : self._end].copy()
            self._past = np.concatenate([kept, np.zeros((max(self._reach, count), rows.shape[1]))])
            self._end = self._reach
        self._past[self._end : self._end + count] = rows
        last = self._lag(1, count)
        regressors = [self._lag(lag, count) - last for lag in range(2, LAGS + 1)]
        regressors.append(self._level.push(rows, known) - last)
        for season in self._seasons:
            around = sum((self._lag(season + shift, count + 1, early=1) for shift in range(-2, 3)), np.zeros(1)) / 5
            regressors += [around[1:] - last, around[1:] - around[:-1]]
        self._end += count
        row = self._row + np.arange(count)
        needs = [*range(2, LAGS + 1), 1, *(season + 3 for season in self._seasons for _ in range(2))]
        there = row >= np.array(needs)[:, None]
        design = np.where(there[:, :, None], np.stack(regressors), 0.0)
        return design, rows - last

    def _lag(self, lag: int, count: int, *, early: int = 0) -> Array:
        begin = self._end - lag - early
        return self._past[begin : begin + count]

    def _fit(self) -> None:
        regressors = np.concatenate([part[0] for part in self._pending], axis=1)
        residual = np.concatenate([part[1] for part in self._pending])
        known = np.concatenate([part[2] for part in self._pending])
        self._pending = []
        count = len(residual)
        self._variance = np.where(self._variance > 0, self._variance, np.mean(residual**2, axis=0))
        size = np.abs(residual)
        limit = OUTLIER_SIGMA * np.sqrt(self._variance)
        weight = known * limit / np.maximum(np.maximum(size, limit), 1e-300)
        target = residual + np.einsum("ftc,cf->tc", regressors, self._weights)
        weighted = (regressors * weight).transpose(2, 0, 1)
        kept = np.exp(-count / FIT_MEMORY)
        self._gram = kept * self._gram + weighted @ regressors.transpose(2, 1, 0)
        self._cross = kept * self._cross + (weighted @ target.T[:, :, None])[:, :, 0]
        surprise = np.mean(np.minimum(size, 2 * limit) ** 2, axis=0)
        self._variance = kept * self._variance + (1 - kept) * surprise
        self._solve()

    def _solve(self) -> None:
        power = np.einsum("cff->cf", self._gram).mean(axis=1)
        moving: NDArray[np.intp] = np.flatnonzero(power > 1e-200)
        if len(moving) == 0:
            return
        scaled = self._gram[moving] / power[moving, None, None]
        scaled += RIDGE * np.eye(scaled.shape[1])
        cross = self._cross[moving] / power[moving, None]
        self._weights[moving] = np.linalg.solve(scaled, cross[:, :, None])[:, :, 0]
