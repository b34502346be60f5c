"""Two ways to fail, and how long to wait before trying again.

``Failure`` ── ``Temporary`` (worth another try, maybe after ``delay_seconds``)
           └─ ``Permanent`` (the same request can never succeed: do not retry)
"""

import random
from collections.abc import Mapping


class Failure(Exception):
    """A call to the outside did not succeed."""


class Temporary(Failure):
    """The call may succeed later.

    Parameters
    ----------
    message
        What failed, where, and what was expected.
    delay_seconds
        Wait that the other side asked for (``Retry-After``), or None.
    """

    def __init__(self, message: str, delay_seconds: float | None = None) -> None:
        super().__init__(message)
        self.delay_seconds = delay_seconds


class Permanent(Failure):
    """The call can never succeed as it is."""


def backoff_seconds(attempt: int, *, base: float, cap: float, rng: random.Random) -> float:
    """Wait before retry number ``attempt`` (0, 1, …): exponential with full jitter.

    Full jitter (uniform in 0 … min(cap, base·2^attempt)) spreads a crowd of clients best.

    References
    ----------
    Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    return rng.uniform(0.0, min(cap, base * 2.0 ** min(attempt, 32)))


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """``Retry-After`` in seconds; its date form is rare and depends on the peer's clock, so it is not read."""
    text = headers.get("Retry-After", "").strip()
    return float(text) if text.isascii() and text.isdigit() and len(text) < 7 else None
