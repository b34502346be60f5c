"""Time as an argument: what the daemon schedules by and what it stamps with.

Monotonic time schedules, wall time only stamps: a wall-clock jump may neither fire nor suppress anything.
Tests inject a clock of their own and run hours of virtual time at once.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clock:
    """The two clocks of the process.

    Attributes
    ----------
    now
        Wall clock, UTC seconds since the epoch. For stamps only.
    monotonic
        Seconds that never jump. For intervals, deadlines and ages.
    """

    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic


SYSTEM_CLOCK = Clock()
