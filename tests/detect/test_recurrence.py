"""Jobs by the clock: learnt in two mornings, weekly over Friday and Monday, through a change of the clock, bounded."""

from collections.abc import Callable, Collection, Sequence

import numpy as np
import pytest

from aiops.detect.base import Window
from aiops.detect.recurrence import HEADROOM, MOST, Recurrence
from aiops.signals.types import SeriesKey

STEP_SECONDS = 600.0
IN_HOUR = 6
MONDAY = 4 * 86_400.0
"""1970-01-05, midnight."""


class Weeks:
    """One series with a job at some hours; everything else is calm."""

    def __init__(self, make_window: Callable[..., Window], keys: Sequence[SeriesKey]) -> None:
        self.recurrence, self._make, self._keys = Recurrence(points=3), make_window, tuple(keys)
        self.hour = 0

    def hours(self, count: int, job: Collection[int] = (), score: float = 3.0, *, taught: bool = True) -> list[float]:
        """Live through hours; ``job`` are hours of the day. Gives the divisor of each hour."""
        found = []
        for _ in range(count):
            busy = self.hour % 24 in job
            for point in range(IN_HOUR):
                now = MONDAY + self.hour * 3600.0 + point * STEP_SECONDS
                divisors = self.recurrence.divisors(self._make([[1.0]], self._keys, now=now))
                # The job takes half an hour.
                value = score if busy and point < 3 else 0.5
                self.recurrence.learn(np.array([value], np.float32), np.array([taught]))
            found.append(1.0 if divisors is None else float(divisors[0]))
            self.hour += 1
        return found

    def days(self, count: int, job: Collection[int] = (), score: float = 3.0) -> list[float]:
        """Divisor at 6 o'clock of each day."""
        return [self.hours(24, job, score)[6] for _ in range(count)]


@pytest.fixture
def weeks(make_window: Callable[..., Window], make_keys: Callable[..., tuple[SeriesKey, ...]]) -> Weeks:
    return Weeks(make_window, make_keys(1))


def test_a_daily_job_is_expected_from_the_third_morning_on(weeks: Weeks) -> None:
    assert weeks.days(4, {6}) == [1, 1, 3 * HEADROOM, 3 * HEADROOM]


def test_the_hours_beside_are_wide_as_well_and_no_others(weeks: Weeks) -> None:
    weeks.days(3, {6})
    wide = [hour for hour, divisor in enumerate(weeks.hours(24, {6})) if divisor > 1]
    assert wide == [5, 6, 7]


def test_a_clock_put_forward_does_not_matter(weeks: Weeks) -> None:
    weeks.days(3, {6})
    assert weeks.hours(24, {5})[5] > 1
    assert weeks.hours(24, {5})[5] > 1


def test_friday_and_last_monday_speak_for_monday(weeks: Weeks) -> None:
    weeks.days(5, {6})
    weekend = weeks.days(2)
    assert weeks.days(2, {6}) == [3 * HEADROOM] * 2
    assert weekend[1] > 1, "Friday and Thursday are one, two and three days ago"


def test_what_stopped_is_forgotten(weeks: Weeks) -> None:
    weeks.days(7, {6})
    assert weeks.days(9)[-2:] == [1, 1]


def test_once_is_no_habit_and_a_spike_no_job(weeks: Weeks) -> None:
    weeks.days(1, {6})
    assert weeks.days(3)[:3] == [1, 1, 1]
    for _ in range(3):
        weeks.hours(24)
        weeks.recurrence.learn(np.array([9], np.float32), np.array([True]))
    assert weeks.hours(24) == [1] * 24


def test_there_is_a_most(weeks: Weeks) -> None:
    assert weeks.days(3, {6}, 500.0)[-1] == MOST


def test_what_may_not_teach_does_not(weeks: Weeks) -> None:
    for _ in range(3):
        weeks.hours(24, {6}, taught=False)
    assert weeks.hours(24) == [1] * 24


def test_it_goes_on_from_its_state(weeks: Weeks, make_window: Callable[..., Window], make_keys: Callable) -> None:
    weeks.days(2, {6})
    again = Weeks(make_window, make_keys(1))
    again.recurrence.restore(weeks.recurrence.state())
    again.hour = weeks.hour
    assert again.days(1, {6}) == weeks.days(1, {6}) == [3 * HEADROOM]
