"""Which detectors are left out while turns of the pipeline take too long, and when they come back.

The order is fixed: what advises goes first, then what has the least to say that nothing else sees. The z-score and the
rules are never left out. Two bounds apart keep it from swinging, and who comes back and has to go again waits twice as
long the next time. Pure: the times of turns in, a set of names out.
"""

from dataclasses import dataclass, replace

ORDER = ("iforest", "residual", "peers", "drift", "season", "shift", "arima")
"""Detectors that may be left out, first to go first."""
BUSY, IDLE = 0.8, 0.4
"""Shares of the interval that a turn takes: above the one a detector goes, below the other one may come back."""
BUSY_TURNS = 3
"""Long turns in a row before one goes: a single one is a collection of garbage, or a fleet that is new."""
IDLE_TURNS, MOST_IDLE_TURNS = 24, 768
"""Short turns in a row before one comes back: two minutes at the default tick, and at most an hour after attempts that
failed."""


@dataclass(frozen=True, slots=True)
class Shedding:
    """Where the decision stands.

    Attributes
    ----------
    count
        How many of ``ORDER`` are left out.
    busy, idle
        Turns in a row above and below the bounds; turns between them are neither.
    patience
        Short turns that are needed now until one comes back.
    waited
        How many were needed by the one that came back last; 0 when one has gone since.
    tried
        Turns since then. Who goes before it was there as long as it had waited waits twice as long the next time.
    """

    count: int = 0
    busy: int = 0
    idle: int = 0
    patience: int = IDLE_TURNS
    waited: int = 0
    tried: int = 0

    @property
    def left_out(self) -> frozenset[str]:
        """Names of the detectors that the next turn leaves out."""
        return frozenset(ORDER[: self.count])

    def after(self, seconds: float, interval_seconds: float) -> "Shedding":
        """What follows from one more turn that took ``seconds``."""
        share = seconds / interval_seconds
        busy = self.busy + 1 if share > BUSY else 0
        idle = self.idle + 1 if share < IDLE else 0
        tried = min(self.tried + 1, MOST_IDLE_TURNS + 1)
        if busy >= BUSY_TURNS and self.count < len(ORDER):
            patience = self.patience
            if self.waited:
                patience = min(2 * self.waited, MOST_IDLE_TURNS) if tried <= self.waited else IDLE_TURNS
            return Shedding(self.count + 1, patience=patience)
        if idle >= self.patience and self.count:
            return Shedding(self.count - 1, waited=self.patience)
        return replace(self, busy=min(busy, BUSY_TURNS), idle=min(idle, MOST_IDLE_TURNS), tried=tried)
