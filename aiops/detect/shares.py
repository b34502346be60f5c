"""Who shares the budget of false alerts: detectors of minutes and detectors of days, each calibrated by its own blocks.

Blocks of a few minutes cannot tell how often something happens that takes days, so detectors of days
(``detect.bank.SLOW``) are calibrated by blocks of an hour, with ``SLOW_SHARE`` of the budget while any of them judges
a series. The rest is for the others.

Place: inside :mod:`aiops.detect.bank`, around two :class:`aiops.detect.tails.Tails`.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from aiops.detect.base import Detector, Scores, Timing, Window
from aiops.detect.policy import PolicyColumns
from aiops.detect.tails import Tails

SLOW_SHARE = 0.2
"""What takes days is rarely a fault that somebody must see at night."""
SLOW_BLOCK_SECONDS = 3600.0


class Shares:
    """The calibration of all judges; see the module.

    Parameters
    ----------
    judges
        Detectors whose scores put a series out of bounds.
    slow
        Names of those that take days.
    timing, budget
        As for :class:`aiops.detect.tails.Tails`.
    """

    def __init__(self, judges: Sequence[Detector], slow: Collection[str], timing: Timing, budget: float) -> None:
        self._budget = budget
        self.quick = [one.name for one in judges if one.name not in slow]
        self.slow = [one.name for one in judges if one.name in slow]
        self._tails = Tails(len(self.quick), timing, budget)
        self._slow_tails = Tails(len(self.slow), timing, SLOW_SHARE * budget, block_seconds=SLOW_BLOCK_SECONDS)

    @property
    def series(self) -> int:
        """Series that share the budget now."""
        return self._tails.series

    def judge(self, window: Window, policy: PolicyColumns, said: Mapping[str, Scores]) -> dict[str, Scores]:
        """What the judges ``said``, with bands that keep the budget."""
        found: dict[str, Scores] = {}
        for names, tails in self._parts():
            found.update(zip(names, tails.judge(window, policy, [said[name] for name in names]), strict=True))
        self._tails.budget = self._budget * (1 - SLOW_SHARE if self._slow_tails.series else 1)
        return found

    def learn(
        self, window: Window, said: Mapping[str, Scores], taught: NDArray[np.bool_], outside: NDArray[np.bool_]
    ) -> None:
        """Take in the newest row as the judges ``said`` it; see :meth:`aiops.detect.tails.Tails.learn`."""
        for names, tails in self._parts():
            if names:
                tails.learn(window, [said[name] for name in names], taught, outside)

    def confidence(self, score: NDArray[np.float32]) -> NDArray[np.float32]:
        """See :meth:`aiops.detect.tails.Tails.confidence`."""
        return self._tails.confidence(score)

    def parts(self) -> dict[str, Tails]:
        """What is learnt, by the name under which it is kept."""
        return {"tails": self._tails, "slow_tails": self._slow_tails}

    def _parts(self) -> tuple[tuple[list[str], Tails], ...]:
        """Each calibration and whose it is."""
        return (self.quick, self._tails), (self.slow, self._slow_tails)
