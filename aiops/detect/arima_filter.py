"""One-step forecasts of many ARIMA models at once: an exact Kalman filter that is a few array operations long.

A table holds one model per column. With δ = 1 for a differenced series (else 0), the state is the last value
before differencing and the three numbers of an ARMA process in Harvey's form::

    x[t] = δ·level + s1        level' = δ·(level + s1)
    s1' = φ1·s1 + s2 + ε       s2' = φ2·s1 + s3 + θ1·ε       s3' = φ3·s1 + θ2·ε

Variances are in units of that of ε. There is no measurement noise, so soon after a start or a gap the uncertainty
of the state is that of ε alone; such a column is *settled* and needs only the innovation recursion. The others go
through the full filter, which is what makes forecasts after missing values right: their variance grows, and what
arrives after the gap corrects what was guessed within it.

Same forecasts and variances as statsmodels' ``SARIMAX`` (tested). See Durbin and Koopman, Time Series Analysis by
State Space Methods, 2nd ed., sections 3.4, 4.3 and 4.10.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float64]
"""float64 [ROWS or more, n]: the rows are named below, a column is one model and its state."""

MAX_AR, MAX_MA = 3, 2
PHI, THETA = slice(0, 3), slice(3, 5)
DELTA = 5
"""1 for a differenced series."""
STATE = slice(6, 10)
COVARIANCE = slice(10, 26)
"""Of the state before the next value, 4 × 4."""
SETTLED = 26
FACTOR = 27
"""Variance of the next one-step forecast, ≥ 1; 1 while settled."""
ROWS = 28
UNKNOWN_VARIANCE = 1e6
"""Of a level of which nothing is known: statsmodels' default for approximate diffuse starts."""
_SETTLED_BELOW = 1e-7
_STATES = 4
_BLOCK = 1024
"""Columns filtered at a time: their covariances stay in the cache, which makes it some five times faster."""


class Forecast(NamedTuple):
    """What is expected 1 … h steps ahead: float64 [h, n] means, and variances in units of the innovation's."""

    mean: NDArray[np.float64]
    variance: NDArray[np.float64]


def blank(columns: int) -> Table:
    """Models that forecast 0 with a settled state."""
    table = np.zeros((ROWS, columns))
    table[SETTLED] = table[FACTOR] = 1
    table[COVARIANCE.start + _STATES + 1] = 1  # of ε, which is s1
    return table


def start(table: Table) -> None:
    """Forget what was seen: the stationary state, around an unknown level where the series is differenced."""
    shift = np.zeros((table.shape[1], 3, 3))
    shift[:, :, 0] = table[PHI].T
    shift[:, 0, 1] = shift[:, 1, 2] = 1
    loading = np.stack([np.ones(table.shape[1]), *table[THETA]], axis=1)
    noise = (loading[:, :, np.newaxis] * loading[:, np.newaxis, :]).reshape(-1, 9, 1)
    # vec P = (I − T⊗T)⁻¹ vec RR'
    kronecker = np.einsum("nij,nkl->nikjl", shift, shift).reshape(-1, 9, 9)
    stationary = np.linalg.solve(np.eye(9) - kronecker, noise).reshape(-1, 3, 3)
    covariance = np.zeros((_STATES, _STATES, table.shape[1]))
    covariance[1:, 1:] = stationary.transpose(1, 2, 0)
    covariance[0, 0] = UNKNOWN_VARIANCE * table[DELTA]
    table[STATE] = 0
    table[COVARIANCE] = covariance.reshape(_STATES**2, -1)
    table[SETTLED] = 0
    seen = _seen(covariance, table[DELTA])
    table[FACTOR] = table[DELTA] * seen[0] + seen[1]


def expected(table: Table) -> NDArray[np.float64]:
    """Forecast of the next value, float64 [n]."""
    return np.asarray(table[DELTA] * table[STATE.start] + table[STATE.start + 1])


def advance(table: Table, values: NDArray[np.float64], active: NDArray[np.bool_] | None = None) -> None:
    """Take in the next value of each column, in place.

    Parameters
    ----------
    values
        float64 [n]; NaN = missing: the forecast stands in its place and the uncertainty grows.
    active
        bool [n], columns that hold a model; the others need not be right. None = all.
    """
    plain = np.isfinite(values)
    plain &= table[SETTLED] > 0
    np.logical_not(plain, out=plain)
    if active is not None:
        plain &= active
    slow = np.flatnonzero(plain)
    filtered = []
    for begin in range(0, len(slow), _BLOCK):
        part = np.take(table[:ROWS], slow[begin : begin + _BLOCK], axis=1)  # contiguous, unlike indexing
        _filter(part, values[slow[begin : begin + _BLOCK]])
        filtered.append(part)
    if len(slow) < len(values):
        _innovate(table, values)
    if filtered:
        table[:ROWS, slow] = np.concatenate(filtered, axis=1)


def run(table: Table, values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Take in float64 [steps, n]; return the one-step errors (NaN = missing) and variances, float64 [steps, n]."""
    errors, factors = np.empty_like(values), np.empty_like(values)
    for step, row in enumerate(values):
        errors[step] = row - expected(table)
        factors[step] = table[FACTOR]
        advance(table, row)
    return errors, factors


def ahead(table: Table, steps: int) -> Forecast:
    """Forecast 1 … ``steps`` steps ahead; the table stays as it is."""
    table = table[:ROWS].copy()
    forecast = Forecast(np.empty((steps, table.shape[1])), np.empty((steps, table.shape[1])))
    nothing = np.full(table.shape[1], np.nan)
    for step in range(steps):
        forecast.mean[step], forecast.variance[step] = expected(table), table[FACTOR]
        advance(table, nothing)
    return forecast


def _innovate(table: Table, values: NDArray[np.float64]) -> None:
    """Settled columns: the gain of the filter is (0, 1, θ1, θ2)."""
    phi, theta, state = table[PHI], table[THETA], table[STATE]
    change = values - table[DELTA] * state[0]
    error = change - state[1]
    correction = theta * error
    correction += state[2:]
    np.multiply(phi, change, out=state[1:])
    state[1:3] += correction
    np.multiply(table[DELTA], values, out=state[0])


def _filter(table: Table, values: NDArray[np.float64]) -> None:
    """Any column: update with the value where there is one, then predict."""
    count = len(values)
    delta, phi, state = table[DELTA], table[PHI], table[STATE]
    covariance = table[COVARIANCE].reshape(_STATES, _STATES, count)
    known = np.isfinite(values)
    seen = _seen(covariance, delta)
    gain = seen * (known / table[FACTOR])
    state += gain * np.where(known, values - expected(table), 0.0)
    covariance -= gain[:, np.newaxis] * seen
    # Small against ε only where ε is all that is left: the next covariance is then RR', as it stays while settled.
    table[SETTLED] = known & (table[COVARIANCE][:: _STATES + 1].sum(axis=0) < _SETTLED_BELOW)
    # Transition of the state, and of both axes of its covariance.
    state[:] = _moved(state, delta, phi)
    half = _moved(covariance, delta, phi[:, np.newaxis])
    covariance[:] = _moved(half.swapaxes(0, 1), delta, phi[:, np.newaxis])
    loading = np.concatenate([np.ones((1, count)), table[THETA]])
    covariance[1:, 1:] += loading[:, np.newaxis] * loading
    seen = _seen(covariance, delta)
    table[FACTOR] = np.where(table[SETTLED] > 0, 1.0, delta * seen[0] + seen[1])


def _seen(covariance: NDArray[np.float64], delta: NDArray[np.float64]) -> NDArray[np.float64]:
    """Covariance of the state with the value, [4, n]."""
    return np.asarray(delta * covariance[0] + covariance[1])


def _moved(array: NDArray[np.float64], delta: NDArray[np.float64], phi: NDArray[np.float64]) -> NDArray[np.float64]:
    """Transition applied to the first axis of [4, …, n]."""
    moved = np.empty_like(array)
    np.add(array[0], array[1], out=moved[0])
    moved[0] *= delta
    np.multiply(phi, array[1], out=moved[1:])
    moved[1:3] += array[2:]
    return moved
