"""What became of a recommendation: was it followed, was the promise kept, and was the stated chance right?

Advice that nobody scores cannot be trusted. Every change of mind is remembered with the chance that it gave to every
number of replicas; once the time it spoke of is over, it is held against the waits that came with the replicas that
were really there, followed or not.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import isnan

import numpy as np

from aiops.capacity.observed import NAN, History
from aiops.capacity.scaling import Recommendation
from aiops.capacity.sizing import observed_wait

_AGAIN_SECONDS = 600.0
_MOST_OPEN = 64


class Followed(StrEnum):
    """What was done with a recommendation."""

    FOLLOWED = "followed"
    KEPT = "kept"
    """It was to stay, and the number stayed."""
    NOT_FOLLOWED = "not_followed"


@dataclass(frozen=True, slots=True)
class Issued:
    """A recommendation that waits for its time."""

    at: float
    before: int
    desired: int
    due: float
    chance: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Scored:
    """What became of it.

    Attributes
    ----------
    replicas
        That there were when its time had come.
    predicted
        Chance that was given for that number; NaN when the curve did not reach it.
    kept_share
        Share of requests, by interval, whose mean wait kept the promise; NaN when no wait was seen.
    """

    issued: Issued
    followed: Followed
    replicas: int
    predicted: float
    kept_share: float

    def __str__(self) -> str:
        advised = f"advised {self.issued.before} → {self.issued.desired} replicas"
        text = f"{advised}: {self.followed}, there were {self.replicas}"
        if isnan(self.kept_share):
            return f"{text}; no waits seen"
        return f"{text}; {self.kept_share:.1%} of requests in time, {self.predicted:.1%} predicted"


@dataclass(slots=True)
class Track:
    """Record of one pool.

    Attributes
    ----------
    counts
        How many were followed, kept, not followed.
    error
        Sum of |predicted − kept| over ``judged`` recommendations.
    """

    open: list[Issued] = field(default_factory=list)
    counts: dict[Followed, int] = field(default_factory=lambda: dict.fromkeys(Followed, 0))
    judged: int = 0
    error: float = 0.0

    @property
    def mean_error(self) -> float:
        """Mean distance between the stated chance and the share that came; NaN before the first."""
        return self.error / self.judged if self.judged else NAN

    def remember(self, advice: Recommendation) -> Issued | None:
        """Take up a recommendation that says something new, or repeats itself after ten minutes."""
        if advice.desired is None:
            return None
        last = self.open[-1] if self.open else None
        if last is not None and last.desired == advice.desired and advice.at - last.at < _AGAIN_SECONDS:
            return None
        chance = {point.replicas: point.probability for point in advice.curve}
        issued = Issued(advice.at, advice.replicas, advice.desired, advice.at + 2.0 * advice.lead_seconds, chance)
        self.open = [*self.open, issued][-_MOST_OPEN:]
        return issued

    def score(self, history: History, now: float, *, slo_seconds: float) -> list[Scored]:
        """Judge what is due. Of a time that nobody saw, such as that between two processes, nothing is said."""
        due = [one for one in self.open if one.due <= now]
        self.open = [one for one in self.open if one.due > now]
        scored = [found for one in due if (found := _scored(one, history, slo_seconds)) is not None]
        for one in scored:
            self.counts[one.followed] += 1
            if not isnan(one.predicted) and not isnan(one.kept_share):
                self.judged += 1
                self.error += abs(one.predicted - one.kept_share)
        return scored


def _scored(issued: Issued, history: History, slo_seconds: float) -> Scored | None:
    half = (issued.due - issued.at) / 2.0
    at = history.end - history.step_seconds * np.arange(len(history) - 1, -1, -1)
    inside = (at > issued.due - half) & (at <= issued.due)
    wait, rate = observed_wait(history)
    seen = inside & ~np.isnan(wait) & (rate > 0.0)
    kept = float((wait[seen] <= slo_seconds) @ rate[seen] / rate[seen].sum()) if seen.any() else NAN
    there = history.column("replicas")[inside]
    there = there[~np.isnan(there)]
    if not len(there):
        return None
    replicas = int(np.median(there))
    return Scored(issued, _followed(issued, replicas), replicas, issued.chance.get(replicas, NAN), kept)


def _followed(issued: Issued, replicas: int) -> Followed:
    """Followed is at least half of the way; staying where one was told to stay is kept."""
    if issued.desired == issued.before:
        return Followed.KEPT if replicas == issued.before else Followed.NOT_FOLLOWED
    way = (replicas - issued.before) / (issued.desired - issued.before)
    return Followed.FOLLOWED if way >= 0.5 else Followed.NOT_FOLLOWED
