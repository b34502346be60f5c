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
COVARIANCE = slice(10, 20)
"""Of the state before the next value: the upper triangle of 4 × 4, row by row."""
SETTLED = 20
FACTOR = 21
"""Variance of the next one-step forecast, ≥ 1; 1 while settled."""
ROWS = 22
UNKNOWN_VARIANCE = 1e6
"""Of a level of which nothing is known: statsmodels' default for approximate diffuse starts."""
_SETTLED_BELOW = 1e-7
_TRIANGLE = (slice(0, 4), slice(4, 7), slice(7, 9), slice(9, 10))
"""Rows of the triangle within ``COVARIANCE``: row i begins with the variance of the i-th state."""
_BLOCK = 2048
"""Columns filtered at a time: their covariances stay in the cache."""


class Forecast(NamedTuple):
    """What is expected 1 … h steps ahead: float64 [h, n] means, and variances in units of the innovation's."""

    mean: NDArray[np.float64]
    variance: NDArray[np.float64]


def blank(columns: int) -> Table:
    """Models that forecast 0 with a settled state."""
    table = np.zeros((ROWS, columns))
    table[SETTLED] = table[FACTOR] = 1
    table[COVARIANCE.start + _TRIANGLE[1].start] = 1  # of ε, which is s1
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
    table[STATE], table[COVARIANCE], table[SETTLED] = 0, 0, 0
    covariance = _rows(table)
    covariance[0][0] = UNKNOWN_VARIANCE * table[DELTA]
    for row in range(3):
        covariance[1 + row][:] = stationary[:, row, row:].T
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
        filtered.append(part[STATE.start :])
    if len(slow) < len(values):
        _innovate(table, values)
    if filtered:
        table[STATE.start : ROWS, slow] = np.concatenate(filtered, axis=1)


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
    delta, phi, state, covariance = table[DELTA], table[PHI], table[STATE], _rows(table)
    loading = np.concatenate([np.ones((1, len(values))), table[THETA]])
    known = np.isfinite(values)
    seen = _seen(covariance, delta)
    gain = seen * (known / table[FACTOR])
    state += gain * np.where(known, values - expected(table), 0.0)
    for row in range(4):
        covariance[row] -= gain[row] * seen[row:]
    # Small against ε only where ε is all that is left: the next covariance is then RR', as it stays while settled.
    table[SETTLED] = known & (sum(entries[0] for entries in covariance) < _SETTLED_BELOW)
    state[:] = _moved(state, delta, phi)
    # Transition of the covariance P to T·P·T' + RR'. The value itself is now known, or as uncertain as before.
    seen *= ~known
    covariance[0][:] = _moved(seen, delta, phi)
    covariance[0][1:] *= delta
    first = covariance[1].copy()
    across = phi * first[0]
    across[:2] += first[1:]
    for row in range(3):
        moved = phi[row] * across[row:]
        moved += loading[row] * loading[row:]
        if row < 2:
            moved += first[row + 1] * phi[row:]
            moved[: 2 - row] += covariance[row + 2]
        covariance[row + 1][:] = moved
    seen = _seen(covariance, delta)
    table[FACTOR] = np.where(table[SETTLED] > 0, 1.0, delta * seen[0] + seen[1])


def _rows(table: Table) -> list[Table]:
    """Views of the rows of the covariance's triangle: [4, n], [3, n], [2, n], [1, n]."""
    return [table[COVARIANCE][row] for row in _TRIANGLE]


def _seen(covariance: list[Table], delta: NDArray[np.float64]) -> NDArray[np.float64]:
    """Covariance of the state with the value, [4, n]."""
    seen = delta * covariance[0]
    seen[0] += covariance[0][1]
    seen[1:] += covariance[1]
    return seen


def _moved(array: NDArray[np.float64], delta: NDArray[np.float64], phi: NDArray[np.float64]) -> NDArray[np.float64]:
    """Transition of a state, or of its covariance with something, [4, n]."""
    moved = np.empty_like(array)
    np.add(array[0], array[1], out=moved[0])
    moved[0] *= delta
    np.multiply(phi, array[1], out=moved[1:])
    moved[1:3] += array[2:]
    return moved
