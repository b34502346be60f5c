"""Forecasts of an ARIMA model whose coefficients came from elsewhere: a recursion that is a few lines long.

With w the load, or its steps where it is differenced, and e the errors of one step::

    w[t] − m = φ1·(w[t−1] − m) + φ2·(w[t−2] − m) + e[t] + θ1·e[t−1] + θ2·e[t−2]

An unknown point is taken to be what was expected. After some dozen points this forecasts what an exact filter does
(Box and Jenkins, Time Series Analysis, chapter 5).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Places = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Arima:
    """Coefficients: φ and θ float64 [2] each, the mean m, and whether the load is differenced."""

    phi: Floats
    theta: Floats
    mean: float
    differenced: bool

    def paths(self, values: Floats, places: Places, horizon: int) -> Floats:
        """float64 [places, horizon] ≥ 0: what was expected after the points ``places``."""
        recent, errors, levels = (part[places] for part in self._states(values))
        answer = np.empty((len(places), horizon))
        level = levels
        for step in range(horizon):
            deviation = recent @ self.phi + errors @ self.theta
            level = self.mean + deviation + (level if self.differenced else 0.0)
            answer[:, step] = level
            recent = np.stack([deviation, recent[:, 0]], axis=1)
            errors = np.stack([np.zeros(len(places)), errors[:, 0]], axis=1)
        return np.maximum(0.0, answer)

    def _states(self, values: Floats) -> tuple[Floats, Floats, Floats]:
        """After each point: the last two deviations of w from its mean, the last two errors, and the load itself."""
        known = np.flatnonzero(~np.isnan(values))
        level = float(values[known[0]]) if len(known) else float("nan")
        (phi1, phi2), (theta1, theta2) = self.phi.tolist(), self.theta.tolist()
        a = b = error = before = 0.0
        recent, errors, levels = np.empty((len(values), 2)), np.empty((len(values), 2)), np.empty(len(values))
        for place, value in enumerate(values.tolist()):
            deviation = phi1 * a + phi2 * b + theta1 * error + theta2 * before
            base = self.mean + (level if self.differenced else 0.0)
            expected = base + deviation
            error, before = 0.0 if value != value else value - expected, error  # noqa: PLR0124 - NaN is not itself
            level = expected + error
            a, b = level - base, a
            recent[place], errors[place], levels[place] = (a, b), (error, before), level
        return recent, errors, levels
