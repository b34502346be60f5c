"""How long a new replica takes until it serves: what people say, else what was observed, else an assumption."""

from collections.abc import Sequence
from typing import NamedTuple

ASSUMED_SECONDS = 120.0
"""Two minutes: the quick end of what large models take."""
LEAST_STARTS = 2


class Lead(NamedTuple):
    """Seconds from asking for a replica until it serves, and how that is known."""

    seconds: float
    why: str


def lead_of(told: float | None, starts: Sequence[float], scrape_seconds: float) -> Lead:
    """Lead time of a pool.

    Parameters
    ----------
    told
        The setting; None where nobody set it.
    starts
        Seconds that observed starts took. The longest but one counts: one start on a node that had to fetch the image
        is not what to plan with, and the usual one is too short half of the time.
    scrape_seconds
        How much later than it happens a start is seen.
    """
    if told is not None:
        return Lead(told, "set")
    if len(starts) < LEAST_STARTS:
        return Lead(ASSUMED_SECONDS, f"assumed: {len(starts)} starts observed, needs {LEAST_STARTS}")
    return Lead(sorted(starts)[-2] + scrape_seconds, f"longest but one of {len(starts)} observed starts")
