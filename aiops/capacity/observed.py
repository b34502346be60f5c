"""What a pool has shown: one row per interval, oldest first, of the few numbers that sizing needs.

Rows are means over an interval of what the pool's signals said; NaN = unknown. Before a row is kept, numbers that one
replica alone claims and that nothing else can carry are taken out (:func:`believable`): a single forged or broken
gauge must not buy a rack of GPUs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
NAN = float("nan")

COLUMNS = (
    "arrivals", "finished", "rejected", "running", "queue_len", "max_running", "tokens_in", "tokens_out", "kv_use",
    "kv_capacity", "preemptions", "prompt_len", "gen_len", "queue_wait", "queue_rate", "itl", "ttft", "prefill",
    "service", "replicas", "ready", "idle", "busiest",
)  # fmt: skip
"""Signals of the pool under their own names, and: ``queue_wait`` and ``queue_rate`` (mean and number per second of the
queue times), ``prefill`` and ``service`` (means), ``idle`` (ready replicas without a request), ``busiest`` (requests in
the fullest replica)."""
_PLACE = {name: place for place, name in enumerate(COLUMNS)}


@dataclass(frozen=True, eq=False, slots=True)
class History:
    """Rows of a pool.

    Attributes
    ----------
    step_seconds
        Length of an interval.
    end
        UTC seconds at which the newest one ended.
    values
        float64 [n, columns], oldest first.
    """

    step_seconds: float
    end: float = 0.0
    values: Floats = field(default_factory=lambda: np.empty((0, len(COLUMNS))))

    def __len__(self) -> int:
        return len(self.values)

    def column(self, name: str, seconds: float = float("inf")) -> Floats:
        """float64 [≤ n] of one column, of the newest ``seconds`` only."""
        count = (
            len(self.values) if seconds == float("inf") else min(len(self.values), round(seconds / self.step_seconds))
        )
        return self.values[len(self.values) - count :, _PLACE[name]]

    def now(self, name: str) -> float:
        """Newest value of a column, however unknown."""
        return float(self.values[-1, _PLACE[name]]) if len(self.values) else NAN

    def standing(self, name: str) -> float:
        """A count as it stands: the newest that is known of the last three intervals; NaN when none is."""
        found = self.column(name, 3.0 * self.step_seconds)
        found = found[~np.isnan(found)]
        return float(found[-1]) if len(found) else NAN

    def recent(self, name: str, seconds: float) -> float:
        """Mean of what is known of the newest ``seconds``; NaN when nothing is."""
        found = self.column(name, seconds)
        found = found[~np.isnan(found)]
        return float(found.mean()) if len(found) else NAN

    def extended(self, row: Mapping[str, float], end: float, *, most: int) -> Self:
        """With one more interval; those that were missed become unknown rows. At most ``most`` rows stay."""
        new = np.full((1, len(COLUMNS)), NAN)
        for name, value in row.items():
            new[0, _PLACE[name]] = value
        missed = round((end - self.end) / self.step_seconds) - 1 if len(self.values) else 0
        gap = np.full((min(max(missed, 0), most), len(COLUMNS)), NAN)
        return replace(self, end=end, values=np.concatenate([self.values, gap, new])[-most:])


@dataclass(frozen=True, slots=True)
class Belief:
    """What is believed of the replicas of a pool.

    Attributes
    ----------
    excess
        Signal → what has to be taken off the pool's sum.
    level
        Replica → number in its queue that was last believed.
    doubts
        One sentence for each number that is not believed.
    """

    excess: Mapping[str, float]
    level: Mapping[str, float]
    doubts: tuple[str, ...]


_GENEROUS = 20.0  # a surge of twelve times the usual load is a lab fault; of twenty, a lie
_FREE = 100.0  # requests that may appear out of nothing


def believable(
    queues: Mapping[str, float], before: Mapping[str, float], *, fastest: float, elapsed_seconds: float
) -> Belief:
    """Hold each replica's queue against what can have arrived since it was last believed.

    Parameters
    ----------
    queues
        Replica → requests waiting; NaN = unknown.
    before
        Replica → what was believed the last time (:attr:`Belief.level`).
    fastest
        Most requests per second that the whole pool has ever been seen to take in; NaN = not known yet.
    elapsed_seconds
        Time since the last time.

    Notes
    -----
    The second witness is the arrival rate of the time before: a queue may grow by 20 times that, and 100. A number
    beyond it counts as the last believed one. Over hours even an absurd constant would be reached; the limits on
    steps and replicas stand behind this.
    """
    pace = fastest if fastest == fastest else 0.0  # noqa: PLR0124 - NaN is not itself
    level: dict[str, float] = {}
    doubts = []
    excess = 0.0
    for name, queue in queues.items():
        last = before.get(name, 0.0)
        most = last + _FREE + _GENEROUS * pace * elapsed_seconds
        if queue > most:
            doubts.append(f"{name} claims {queue:.6g} waiting requests; no more than {most:.0f} can have come")
            excess += queue - last
            level[name] = last
        else:
            level[name] = queue if queue == queue else last  # noqa: PLR0124 - NaN is not itself
    return Belief({"queue_len": excess}, level, tuple(doubts))
