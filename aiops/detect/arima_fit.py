"""Orders and coefficients of ARIMA models, found by statsmodels in the fit worker; the daemon never imports this.

For each series: remove the season where it helps, estimate every candidate order by Hannan and Rissanen's regressions
(a few milliseconds each), run all candidates over the data with the exact filter, and keep the one of least corrected
AIC. All candidates forecast the same values, differenced or not, so their likelihoods can be compared. Series that
matter get their coefficients from the full likelihood afterwards.

Outliers, judged by the winner's own errors, are taken out and the winner is estimated again: an incident in the window
must not become the model.
"""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from statsmodels.tsa.arima.estimators.hannan_rissanen import hannan_rissanen
from statsmodels.tsa.statespace.sarimax import SARIMAX

from aiops.detect import arima_filter as af
from aiops.detect.arima import MODEL_ROWS
from aiops.detect.arima_season import chosen_shares, lagged, lags
from aiops.detect.fitting import Arrays

ORDERS = (
    (0, 0, 0), (1, 0, 0), (2, 0, 0), (3, 0, 0), (1, 0, 1), (2, 0, 1), (0, 1, 0), (0, 1, 1), (1, 1, 1), (0, 1, 2),
)  # fmt: skip
"""Candidates (p, d, q), small on purpose: each costs as much as any other, and an hour of data bears no more."""
LEAST_POINTS = 30
LEAST_KNOWN = 0.5
"""Share of the rows since the first known one that must be known; gappier series are left alone."""
LARGEST_AR, LARGEST_MA = 0.97, 0.98
"""Largest inverse root that is believed. Closer to 1, a series is better differenced: that costs next to nothing in
accuracy and needs no mean, which an hour cannot tell; and a moving average forgets its start too late."""
OUTLIER_SIGMA = 8.0
MOST_OUTLIERS = 0.05
MOST_THOROUGH = 16
"""Full likelihoods per call; each takes as long as some twenty others."""
_BURN_IN = 8
_MAD_SIGMA = 0.6745
_CHUNK = 64

Order = tuple[int, int, int]
Floats = NDArray[np.float64]


class _Model(NamedTuple):
    """One candidate of one series; ``owner`` is the place of that series in its chunk."""

    owner: int
    order: Order
    phi: Floats
    theta: Floats


class _Pass(NamedTuple):
    """All candidates over the data: table afterwards, standardised errors [rows, candidates], AICc [candidates]."""

    table: af.Table
    errors: Floats
    criterion: Floats

    def best_of(self, models: Sequence[_Model], owner: int) -> int:
        """Candidate of least AICc of one series."""
        mine = [index for index, model in enumerate(models) if model.owner == owner]
        return min(mine, key=lambda index: float(self.criterion[index]))


def fit(ask: Arrays) -> dict[str, NDArray[Any]]:
    """Answer :meth:`aiops.detect.arima.Arima.ask`.

    Returns
    -------
    dict
        ``fitted`` bool [n], ``model`` float64 [MODEL_ROWS, n] (coefficients, and the state after the last row),
        ``variance`` of the innovations, ``points`` seen, ``orders`` int8 [3, n]; and what identifies the series.
    """
    values = np.asarray(ask["values"], np.float64)
    count = values.shape[1]
    thorough = np.asarray(ask["thorough"], np.bool_)
    thorough = thorough & (np.cumsum(thorough) <= MOST_THOROUGH)
    answer: dict[str, NDArray[Any]] = {
        "fitted": np.zeros(count, np.bool_),
        "model": np.zeros((MODEL_ROWS, count)),
        "variance": np.zeros(count),
        "orders": np.zeros((3, count), np.int8),
    }
    usable = np.flatnonzero([_usable(series) for series in values.T])
    for begin in range(0, len(usable), _CHUNK):
        columns = usable[begin : begin + _CHUNK]
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # estimators warn of what the comparison of candidates settles anyway
            found = _fit_chunk(values[:, columns], float(ask["step_seconds"]), thorough[columns])
        for name, part in found.items():
            answer[name][..., columns] = part
    kept = {name: np.asarray(ask[name]) for name in ("columns", "generation", "now")}
    return {**answer, "points": np.isfinite(values).sum(axis=0), **kept}


def _fit_chunk(values: Floats, step_seconds: float, thorough: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    """Fit some series together."""
    mean = np.nanmean(values, axis=0)
    shares = np.stack([chosen_shares(series, step_seconds) for series in values.T], axis=1)
    values = values - mean - _season(values, shares, mean, step_seconds)
    every = range(values.shape[1])
    models = [model for owner in every for model in _candidates(owner, values[:, owner])]
    trial = _passed(values, models)
    winners = [trial.best_of(models, owner) for owner in every]
    rivals: list[_Model] = []
    far = [_outliers(trial.errors[:, winner]) for winner in winners]
    for owner, winner in enumerate(winners):
        values[far[owner], owner] = np.nan
        rivals.append(models[winner])
        rivals += _again(models[winner], values[:, owner], thorough=bool(thorough[owner]))
    final = _passed(values, rivals)
    chosen = [final.best_of(rivals, owner) for owner in every]
    model = np.concatenate([final.table[:, chosen], mean[np.newaxis], shares])
    variance = np.array([_variance(final.errors[:, index], far[owner].sum()) for owner, index in enumerate(chosen)])
    return {
        "fitted": np.isfinite(model).all(axis=0) & np.isfinite(variance),
        "model": model,
        "variance": variance,
        "orders": np.array([rivals[index].order for index in chosen], np.int8).T,
    }


def _usable(series: Floats) -> bool:
    known = np.flatnonzero(np.isfinite(series))
    return len(known) >= LEAST_POINTS and len(known) >= LEAST_KNOWN * (len(series) - known[0])


def _season(values: Floats, shares: Floats, mean: Floats, step_seconds: float) -> Floats:
    """Seasonal part of every row; NaN where a lagged value that is used is unknown."""
    total = np.zeros_like(values)
    for share, (lag, blur) in zip(shares, lags(step_seconds), strict=True):
        used = np.flatnonzero(share)
        if len(used):
            past = np.stack([lagged(values, row, lag, blur, used) for row in range(len(values))])
            total[:, used] += share[used] * (past - mean[used])
    return total


def _candidates(owner: int, series: Floats) -> list[_Model]:
    """Every order that can be estimated and is stable; the constant level always is."""
    filled = _filled(series)
    found = [_Model(owner, ORDERS[0], np.zeros(0), np.zeros(0))]
    if not np.ptp(filled) > 0:
        return found
    return found + [model for order in ORDERS[1:] if (model := _estimated(owner, order, filled)) is not None]


def _estimated(owner: int, order: Order, filled: Floats) -> _Model | None:
    ar, difference, ma = order
    series = np.diff(filled) if difference else filled
    if not ar + ma:
        return _Model(owner, order, np.zeros(0), np.zeros(0))
    scale = series.std()
    if not scale > 0:
        return None
    try:
        result = hannan_rissanen(series / scale, ar, ma, demean=False, unbiased=False)[0]
    except (ValueError, np.linalg.LinAlgError):
        return None
    return _stable(_Model(owner, order, np.atleast_1d(result.ar_params), np.atleast_1d(result.ma_params)))


def _again(winner: _Model, series: Floats, *, thorough: bool) -> list[_Model]:
    """Estimate the winner anew on a series without its outliers; by the full likelihood where it matters."""
    if winner.order == ORDERS[0]:
        return []
    filled = _filled(series)
    again = _estimated(winner.owner, winner.order, filled)
    found = [] if again is None else [again]
    if thorough and filled.std() > 0:
        ar, _, ma = winner.order
        begin = np.concatenate([winner.phi, winner.theta, [1.0]])
        estimator = SARIMAX(series / filled.std(), order=winner.order)
        try:
            parameters = estimator.fit(start_params=begin, disp=False, maxiter=30).params
        except (ValueError, np.linalg.LinAlgError):
            return found
        best = _stable(_Model(winner.owner, winner.order, parameters[:ar], parameters[ar : ar + ma]))
        found += [] if best is None else [best]
    return found


def _stable(model: _Model) -> _Model | None:
    finite = np.isfinite(model.phi).all() and np.isfinite(model.theta).all()
    if not finite or _largest_root(-model.phi) > LARGEST_AR or _largest_root(model.theta) > LARGEST_MA:
        return None
    return model


def _largest_root(coefficients: Floats) -> float:
    """Of 1 + c1·z⁻¹ + c2·z⁻² …: below 1 = what happened once is forgotten."""
    return float(np.abs(np.roots(np.concatenate([[1.0], coefficients]))).max(initial=0.0))


def _passed(values: Floats, models: Sequence[_Model]) -> _Pass:
    table = af.blank(len(models))
    for column, model in enumerate(models):
        table[: len(model.phi), column] = model.phi
        table[af.THETA.start : af.THETA.start + len(model.theta), column] = model.theta
        table[af.DELTA, column] = model.order[1]
    af.start(table)
    errors, factors = af.run(table, values[:, [model.owner for model in models]])
    errors /= np.sqrt(factors)
    errors[:_BURN_IN] = np.nan  # a start is no merit: the same rows are compared
    known = np.isfinite(errors)
    points = known.sum(axis=0)
    square = np.where(known, errors, 0) ** 2
    size = np.array([1 + sum(model.order) for model in models])
    penalty = 2 * size * (1 + (size + 1) / np.maximum(points - size - 1, 1))
    criterion = points * np.log(square.sum(axis=0) / points + np.finfo(float).tiny)
    criterion += np.where(known, np.log(factors), 0).sum(axis=0) + penalty
    return _Pass(table, errors, np.where(np.isfinite(criterion), criterion, np.inf))


def _filled(series: Floats) -> Floats:
    """Gaps bridged by straight lines, for estimators that know no gaps."""
    known = np.flatnonzero(np.isfinite(series))
    inside = np.arange(known[0], known[-1] + 1)
    return np.interp(inside, known, series[known])


def _spread(errors: Floats) -> float:
    """Robust standard deviation; 0 where most errors are equal."""
    return float(np.nanmedian(np.abs(errors))) / _MAD_SIGMA


def _outliers(errors: Floats) -> NDArray[np.bool_]:
    """Few rows far out, or none at all: many are no outliers but the nature of the series."""
    spread = _spread(errors)
    far = np.abs(errors) > OUTLIER_SIGMA * spread
    few = spread > 0 and far.sum() <= MOST_OUTLIERS * np.isfinite(errors).sum()
    return far if few else np.zeros(len(errors), np.bool_)


def _variance(errors: Floats, outliers: int) -> float:
    """Mean square, with the outliers at the distance from which on they are some: the tail belongs to the noise."""
    inside = np.nansum(errors**2)
    tail = outliers * (OUTLIER_SIGMA * _spread(errors)) ** 2
    return float((inside + tail) / (np.isfinite(errors).sum() + outliers))
