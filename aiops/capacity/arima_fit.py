"""Coefficients of ARIMA models of loads, by statsmodels in the fit worker; the daemon never imports this.

Estimated by Hannan and Rissanen's regressions: milliseconds for each order, where the full likelihood takes seconds. Of
each kind, plain and differenced, the order with the least corrected AIC is handed back. Which of the two is any good,
and whether either beats what costs nothing, is decided by back-test where forecasts are made.
"""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from statsmodels.tsa.arima.estimators.hannan_rissanen import hannan_rissanen

from aiops.capacity.arima import Arima

ORDERS = (((1, 0), (2, 0), (1, 1), (2, 1)), ((0, 1), (1, 1), (0, 2)))
"""Candidates (p, q): plain, differenced."""
_LARGEST_ROOT = 0.98
"""Closer to 1 a plain series is better differenced, and a moving average forgets its start too late."""
_BURN_IN = 20
_FEWEST = 60

Floats = NDArray[np.float64]


def fit(ask: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Fit loads.

    Parameters
    ----------
    ask
        ``values`` float64 [n, k], a load in each column; NaN = unknown. ``names`` is handed back as it is.

    Returns
    -------
    dict
        ``models`` float64 [k, 2, 5]: φ1, φ2, θ1, θ2 and the mean, plain and differenced; NaN where a fit failed.
    """
    values = np.asarray(ask["values"], np.float64)
    models = np.full((values.shape[1], len(ORDERS), 5), np.nan)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # estimators warn of what the back-test settles anyway
        for column, series in enumerate(values.T):
            known = np.flatnonzero(~np.isnan(series))
            if len(known) >= _FEWEST and np.ptp(series[known]) > 0.0:
                filled = np.interp(np.arange(known[0], known[-1] + 1), known, series[known])
                models[column] = [_best(filled, differenced=bool(kind)) for kind in range(len(ORDERS))]
    return {"models": models, "names": ask["names"]}


def _best(series: Floats, *, differenced: bool) -> Floats:
    steps = np.diff(series) if differenced else series
    mean = 0.0 if differenced else float(series.mean())
    best, least = np.full(5, np.nan), np.inf
    for ar, ma in ORDERS[differenced]:
        try:
            found = hannan_rissanen((steps - mean) / steps.std(), ar, ma, demean=False, unbiased=False)[0]
        except (ValueError, np.linalg.LinAlgError):
            continue
        model = np.zeros(5)
        model[:ar], model[2 : 2 + ma], model[4] = found.ar_params, found.ma_params, mean
        if not np.isfinite(model).all() or max(_largest_root(-model[:2]), _largest_root(model[2:4])) > _LARGEST_ROOT:
            continue
        criterion = _criterion(series, model, ar + ma + 2 - differenced, differenced=differenced)
        if criterion < least:
            best, least = model, criterion
    return best


def _criterion(series: Floats, model: Floats, size: int, *, differenced: bool) -> float:
    """Corrected AIC, up to a constant."""
    made = Arima(model[:2], model[2:4], float(model[4]), differenced)
    expected = made.paths(series, np.arange(_BURN_IN, len(series) - 1), 1)[:, 0]
    n = len(expected)
    return n * float(np.log(np.mean((series[_BURN_IN + 1 :] - expected) ** 2))) + 2.0 * size * n / (n - size - 1)


def _largest_root(coefficients: Floats) -> float:
    """Of 1 + c1·z⁻¹ + c2·z⁻²; below 1 = what happened once is forgotten."""
    return float(np.abs(np.roots(np.concatenate([[1.0], coefficients]))).max(initial=0.0))
