"""The value of a day and of a week ago, as far as the window reaches: what detector and fit worker must agree on."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aiops.detect.base import Window

PERIODS_SECONDS = (86_400.0, 604_800.0)
"""A day and a week."""
_SMOOTHED_SHARE = 144
"""A lag is blurred by this share of itself on either side: ten minutes for a day."""
_MOST_BLUR = 5
"""Rows; more would cost more than it calms."""
LEAST_PERIODS = 2.5
LEAST_ROWS = 40
TRAIN_SHARE = 0.7
LEAST_GAIN = 0.95
"""Share of the error without seasons that must not be exceeded with them."""


def lags(step_seconds: float) -> tuple[tuple[int, int], ...]:
    """Rows back and rows of blur on either side, for each period."""
    rows = (max(1, round(period / step_seconds)) for period in PERIODS_SECONDS)
    return tuple((lag, min(lag // _SMOOTHED_SHARE, _MOST_BLUR)) for lag in rows)


def lagged(
    values: NDArray[np.floating[Any]], row: int, lag: int, blur: int, columns: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Mean of the known values around ``lag`` rows before ``row``; NaN where there are none, or it is out of reach."""
    first, last = row - lag - blur, row - lag + blur
    if first < 0 or last >= len(values):
        return np.full(len(columns), np.nan)
    rows = values[first : last + 1, columns].astype(np.float64)
    known = np.isfinite(rows)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, rows, 0).sum(axis=0) / known.sum(axis=0))


def seasonal(
    window: Window,
    share: NDArray[np.float64],
    mean: NDArray[np.float64],
    columns: NDArray[np.intp],
    ahead: int = 0,
) -> NDArray[np.float64]:
    """Sum of share × (lagged value − mean) for the row ``ahead`` of the newest (negative = before it).

    Parameters
    ----------
    share
        float64 [2, n], a day and a week; 0 = not used.
    mean
        float64 [n].
    columns
        intp [n] columns of the window.
    """
    total = np.zeros(len(columns))
    for weight, (lag, blur) in zip(share, lags(window.step_seconds), strict=True):
        used = np.flatnonzero(weight)
        if len(used):
            past = lagged(window.values, len(window.values) - 1 + ahead, lag, blur, columns[used])
            total[used] += weight[used] * (past - mean[used])
    return total


def chosen_shares(values: NDArray[np.float64], step_seconds: float) -> NDArray[np.float64]:
    """Shares of a day and a week ago for one series, float64 [2]; 0 where they do not help.

    ``values`` float64 [rows]. Each choice of periods is compared by the one-step errors of an autoregression on the
    last part of the rows, with everything estimated on the rows before. Not even tried on less than two and a half
    periods.
    """
    none: tuple[int, ...] = ()
    available = [k for k, (lag, _) in enumerate(lags(step_seconds)) if len(values) >= LEAST_PERIODS * lag]
    if not available:
        return np.zeros(2)
    past = np.full((2, len(values)), np.nan)
    for k in available:
        lag, blur = lags(step_seconds)[k]
        column = np.zeros(1, np.intp)
        past[k] = [lagged(values[:, np.newaxis], row, lag, blur, column)[0] for row in range(len(values))]
    known = np.isfinite(values) & np.isfinite(past[available]).all(axis=0)
    series, past = values[known], past[:, known]
    if len(series) < LEAST_ROWS:
        return np.zeros(2)
    train = round(TRAIN_SHARE * len(series))
    center = series[:train].mean()
    series, past = series - center, past - center
    choices = [none, *((k,) for k in available), *([tuple(available)] if len(available) > 1 else [])]
    errors = [_holdout_error(series, past[list(choice)], train) for choice in choices]
    best = int(np.argmin(errors))
    share = np.zeros(2)
    if best and errors[best] < LEAST_GAIN * errors[0]:
        share[list(choices[best])] = _shares(series, past[list(choices[best])])
    return share


def _shares(series: NDArray[np.float64], past: NDArray[np.float64]) -> NDArray[np.float64]:
    found = np.linalg.lstsq(past.T, series, rcond=None)[0]
    return np.asarray(np.clip(found, 0.0, 1.0))


def _holdout_error(series: NDArray[np.float64], past: NDArray[np.float64], train: int) -> float:
    rest = series - _shares(series[:train], past[:, :train]) @ past if len(past) else series
    recent = np.stack([rest[2:-1], rest[1:-2], rest[:-3], np.ones(len(rest) - 3)], axis=1)
    target = rest[3:]
    weights = np.linalg.lstsq(recent[: train - 3], target[: train - 3], rcond=None)[0]
    return float(np.mean((target[train - 3 :] - recent[train - 3 :] @ weights) ** 2))
