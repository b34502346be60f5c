"""Wider thresholds that people asked for, within a bound: divisors of statistical scores.

Deterministic rules never come here, and no divisor exceeds :data:`MOST_WIDER`: whatever is said about false alarms,
a deviation of that many thresholds is told.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from aiops.detect.base import AlertKey, Scope, Scores, Window, scope_of

MOST_WIDER = 4.0
"""Largest divisor of a score."""


class Leniency:
    """Lines wider thresholds up with the columns of a window, once per change of either.

    Parameters
    ----------
    rules
        Names of the statistical rules, in the order of the policy's watches.
    """

    def __init__(self, rules: Sequence[str]) -> None:
        self._rules = rules
        self._about: tuple[object, object] = (None, None)
        self._divisors: NDArray[np.float32] | None = None

    def applied(self, scores: Scores, window: Window, watch: NDArray[np.intp], wider: Mapping[Scope, float]) -> Scores:
        """Scores and bands under wider thresholds; the same object where nothing is wider.

        Parameters
        ----------
        watch
            intp [capacity]: index of each column's rule, −1 where there is none.
        wider
            Divisor by scope; the same object while nothing changes. Held within 1 … :data:`MOST_WIDER`.
        """
        if not wider:
            self._about, self._divisors = (None, None), None
            return scores
        # Both are held, so that their identity cannot be given to others.
        if self._about[0] is not window.keys or self._about[1] is not wider:
            self._divisors = self._lined_up(window, watch, wider)
            self._about = (window.keys, wider)
        divisors = self._divisors
        if divisors is None:
            return scores
        return widened(scores, divisors)

    def divisor(self, column: int) -> float:
        """By how much the last scores of a column were divided."""
        return 1.0 if self._divisors is None else float(self._divisors[column])

    def _lined_up(
        self, window: Window, watch: NDArray[np.intp], wider: Mapping[Scope, float]
    ) -> NDArray[np.float32] | None:
        divisors = np.ones(len(window.keys), np.float32)
        named = {scope.rule for scope in wider}
        for column in np.flatnonzero(watch >= 0):
            key, rule = window.keys[column], self._rules[watch[column]]
            if key is not None and rule in named:
                divisors[column] = wider.get(scope_of(AlertKey(rule, key)), 1.0)
        np.clip(divisors, 1.0, MOST_WIDER, out=divisors)
        return divisors if (divisors > 1.0).any() else None


def widened(scores: Scores, divisors: NDArray[np.float32]) -> Scores:
    """Scores and bands under thresholds that are wider by a factor, [capacity]."""
    return Scores(
        score=scores.score / divisors,
        expected=scores.expected,
        lower=_moved(scores.expected, scores.lower, divisors),
        upper=_moved(scores.expected, scores.upper, divisors),
    )


def _moved(
    expected: NDArray[np.float32], edge: NDArray[np.float32], divisors: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Edge of a band that is wider by a factor; infinite and unknown edges stay."""
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(edge), expected + (edge - expected) * divisors, edge).astype(np.float32)
