"""Rhythm of the day and the week: how far a series is from what it usually shows at this hour.

The z-score follows a wave, so what is usual at noon is usual to it at three in the morning, if only it comes slowly.
Here each hour of the day, and of the week, has a mean of its own, shrunk towards what is known of more hours::

    day(h)  = level  + n / (n + SHRINK) · (mean of this hour of the day   − level)      n: days that were seen
    week(h) = day(h) + n / (n + SHRINK) · (mean of this hour of the week  − day(h))     n: weeks that were seen
    score   = distance of x from what lies between the expectations of an hour before and an hour after / half width

Whether a rhythm helps is tested per series and causally: of every hour the squared errors of ``level``, ``day`` and
``week``, each as it was before the hour, are averaged over a week. The rhythm is used while it takes away half of the
error, the week beside the day while it takes away a fifth of what is left. A series without one is not judged here.

Profiles are large, so they stand in a bounded table of ``seasonal_series`` seats, for series that may raise alerts. Who
did not prove a rhythm in three days gives the seat up when another waits.

Hours are of UTC and those beside count as the same: neither a clock that is put forward nor a zone of half hours
matters. What is far off teaches as if it were at 3 standard deviations, so a rhythm that changes for good is followed
within days, and an incident of hours hardly shows.

Place: a detector of what takes days (``detect.bank.SLOW``). Invariant: memory is bounded by the number of seats.
"""

from collections.abc import Mapping
from hashlib import blake2b
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from aiops.detect.band import Floats, banded, distance, half_width
from aiops.detect.base import Scores, Window
from aiops.detect.columns import ColumnState
from aiops.detect.policy import Compiler
from aiops.detect.settings import DetectSettings
from aiops.signals.catalog import SIGNALS
from aiops.signals.types import SeriesKey

HOUR_SECONDS = 3600.0
DAY, WEEK = 24, 168
SHRINK = 1.0
DAYS, WEEKS = 8.0, 4.0
"""Most that the mean of an hour of the day, and of the week, remembers."""
MOST_SEEN = 255.0
"""Days and weeks are counted up to here."""
MEMORY_HOURS = 168.0
"""Of the level, the errors and the noise."""
LEAST_JUDGED = 168.0
"""Hours whose errors must be known before a series is judged, a week: its weekend too."""
AUDITION_HOURS = 48.0
"""The same before a rhythm can be proved; the day before them has no error yet."""
DAILY_SHARE, WEEKLY_SHARE = 0.5, 0.8
"""Share of the error that may be left: of the level's by the day, and of the day's by the week."""
LEAST_POINTS = 0.5
"""Share of an hour's points that must be known."""
HUBER_SIGMA = 3.0
"""A point farther off teaches as if it were this far off."""
KNOTS = 4
"""Hours whose means are needed for what lies between an hour ago and in an hour."""
FIRST_SEATS = 64

_NUMBERS = ("level", "hours", "judged", "plain", "daily", "weekly", "variance", "points", "mean", "known")
_TABLES = {"day": DAY, "week": WEEK}
_Seats = NDArray[np.intp]
_Number = TypeVar("_Number", np.float32, np.uint8)


class _View(NamedTuple):
    """The newest row of the seats that are judged: ``seats`` and ``columns`` intp [n]; float32 [capacity] the rest."""

    seats: _Seats
    columns: _Seats
    expected: NDArray[np.float32]
    half: Floats
    score: Floats


class Season:
    """The detector; see the module.

    Parameters
    ----------
    settings
        Threshold, and how many series may have a profile.
    policy
        Floors, directions and watches of the columns; shared with the other detectors.
    """

    name = "season"

    def __init__(self, settings: DetectSettings, policy: Compiler) -> None:
        self._settings = settings
        self._policy = policy
        self._columns = ColumnState(tried=0.0)
        # Per seat: its column and that column's generation, −1 where it is free; numbers and tables.
        self._column: _Seats = np.empty(0, np.intp)
        self._generation: NDArray[np.int64] = np.empty(0, np.int64)
        self._of: dict[str, NDArray[np.float32]] = {name: np.empty(0, np.float32) for name in _NUMBERS}
        self._of |= {name: np.empty((hours, 0), np.float32) for name, hours in _TABLES.items()}
        self._seen = {name: np.empty((hours, 0), np.uint8) for name, hours in _TABLES.items()}
        self._number = -1
        self._knots: tuple[int, Floats] | None = None
        self._awaited: dict[int, int] = {}
        """Owners of restored seats and their seats, until a window tells the columns."""
        self._keys: tuple[SeriesKey | None, ...] | None = None
        self._latest: tuple[Window, _View] | None = None

    def score(self, window: Window) -> Scores:
        """Judge the newest row; the side that does not hurt has an infinite bound."""
        view, policy = self._view(window), self._policy.columns(window)
        return banded(view.score, view.expected, view.half, policy)

    def learn(self, window: Window, quiet: NDArray[np.bool_]) -> None:
        """Take the newest row into its hour: where ``quiet``, and where it is this detector that is not."""
        view = self._view(window)
        self._latest = None
        number = int(window.now // HOUR_SECONDS)
        if number != self._number:
            self._close(window, number)
            view = self._computed(window)
        seats = np.flatnonzero(self._column >= 0)
        columns, of = self._column[seats], self._of
        value, expected = window.values[-1, columns], view.expected[columns]
        taken = np.isfinite(value) & (quiet[columns] | (view.score[columns] >= 1))
        reach = self._reach(view, columns)
        value = np.where(np.isfinite(expected), np.clip(value, expected - reach, expected + reach), value)
        known = of["known"][seats] + taken
        of["known"][seats] = known
        of["mean"][seats] += np.where(taken, value - of["mean"][seats], 0) / np.maximum(known, 1)
        self._learn_noise(view, window, taken)

    def relearn(self, window: Window, columns: NDArray[np.bool_]) -> None:
        """Move the profiles of ``columns`` (bool [capacity]) to the level they show lately; their shape stays."""
        view = self._view(window)
        self._latest = None
        chosen = columns[view.columns]
        seats, places = view.seats[chosen], view.columns[chosen]
        rows = window.values[-self._settings.level_memory_points :, places]
        known = np.isfinite(rows)
        seen = known.sum(axis=0)
        there = np.where(known, rows, 0).sum(axis=0) / np.maximum(seen, 1)
        shift = np.where(seen > 0, there - self._expected(window, seats)[0], 0)
        for name in ("level", "day", "week"):
            self._of[name][..., seats] += shift
        for name in ("mean", "known"):
            self._of[name][seats] = 0
        self._knots = None

    def state(self) -> dict[str, NDArray[np.generic]]:
        """``tried`` per column (hour in which it last gave up a seat); per seat in use its owner, numbers, tables."""
        if self._keys is None:
            seats, owners = np.array(list(self._awaited.values()), np.intp), list(self._awaited)
        else:
            seats = np.flatnonzero(self._column >= 0)
            owners = [_identity(self._keys[column]) for column in self._column[seats]]
        tables: dict[str, NDArray[np.generic]] = {
            f"fixed_{name}": array[..., seats] for name, array in self._of.items()
        }
        tables |= {f"fixed_{name}_seen": array[:, seats] for name, array in self._seen.items()}
        head = {"fixed_owner": np.array(owners, np.uint64), "fixed_number": np.asarray(self._number)}
        return {**self._columns.state(), **head, **tables}

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Continue from :meth:`state`; see :meth:`aiops.detect.columns.ColumnState.restore`."""
        seen = (f"{name}_seen" for name in self._seen)
        if missing := sorted({f"fixed_{name}" for name in ("owner", "number", *self._of, *seen)} - set(state)):
            raise ValueError(f"saved state lacks the arrays {', '.join(missing)}; it has {', '.join(sorted(state))}")
        self._columns.restore(state)
        owners = [int(owner) for owner in state["fixed_owner"]][: self._settings.seasonal_series]
        self._of = {name: np.array(state[f"fixed_{name}"], np.float32)[..., : len(owners)] for name in self._of}
        for name in self._seen:
            self._seen[name] = np.array(state[f"fixed_{name}_seen"], np.uint8)[:, : len(owners)]
        self._column, self._generation = (np.full(len(owners), -1) for _ in range(2))
        self._awaited = {owner: seat for seat, owner in enumerate(owners)}
        self._number, self._keys, self._latest, self._knots = int(state["fixed_number"]), None, None, None

    def explain(self, column: int) -> str:
        """Say what this hour usually shows; empty where it is not known."""
        if self._latest is None or not np.isfinite(expected := self._latest[1].expected[column]):
            return ""
        key = self._latest[0].keys[column]
        unit = "" if key is None or key.signal not in SIGNALS else f" {SIGNALS[key.signal].unit}"
        return f"at this hour it usually is {expected:.4g}{unit}"

    def _view(self, window: Window) -> _View:
        # Score and learn see the same window: the second of them need not compute it again.
        if self._latest is None or self._latest[0] is not window:
            self._latest = (window, self._computed(window))
        return self._latest[1]

    def _follow(self, window: Window) -> None:
        self._columns.follow(window)
        # The tuple is held, so its identity cannot be given to another one.
        if window.keys is self._keys:
            return
        self._keys = window.keys
        if self._awaited:
            for column in np.flatnonzero(self._policy.columns(window).watch >= 0).tolist():
                if (seat := self._awaited.get(_identity(window.keys[column]))) is not None:
                    self._column[seat], self._generation[seat] = column, window.generation[column]
            self._awaited = {}
        held = np.flatnonzero(self._column >= 0)
        gone = held[(self._column[held] >= len(window.generation))]
        self._column[gone] = -1
        held = np.setdiff1d(held, gone)
        self._column[held[window.generation[self._column[held]] != self._generation[held]]] = -1

    def _computed(self, window: Window) -> _View:
        self._follow(window)
        capacity, of = len(window.keys), self._of
        seats = np.flatnonzero((self._column >= 0) & (of["judged"] >= LEAST_JUDGED) & self._proved())
        columns = self._column[seats]
        expected, variance = (np.full(capacity, np.nan, np.float32) for _ in range(2))
        if not len(seats):
            return _View(seats, columns, expected, expected, expected)
        _, low, high = self._expected(window, seats)
        expected[columns] = np.clip(window.values[-1, columns], low, high)
        variance[columns] = of["variance"][seats]
        policy = self._policy.columns(window)
        half = half_width(expected, variance, policy, self._settings.threshold_sigma)
        return _View(seats, columns, expected, half, distance(window.values[-1] - expected, half, policy))

    def _proved(self) -> NDArray[np.bool_]:
        of = self._of
        left = np.minimum(of["daily"], of["weekly"])
        proved: NDArray[np.bool_] = (of["judged"] >= AUDITION_HOURS) & (left < DAILY_SHARE * of["plain"])
        return proved

    def _profile(self, hour: int, seats: _Seats) -> tuple[Floats, Floats, Floats]:
        """Expectations of a whole hour (number since 1970) by the level, the day, and the week, [seats] each."""
        level = guess = self._of["level"][seats]
        guesses = [level]
        for name, hours in _TABLES.items():
            seen = self._seen[name][hour % hours, seats].astype(np.float32)
            guess = guess + seen / (seen + SHRINK) * (self._of[name][hour % hours, seats] - guess)
            guesses.append(guess)
        return guesses[0], guesses[1], guesses[2]

    def _expected(self, window: Window, seats: _Seats) -> tuple[Floats, Floats, Floats]:
        """What is expected now, and the least and most within an hour before and after, [seats] each."""
        at = window.now / HOUR_SECONDS - 0.5  # the mean of an hour stands for its middle
        first = int(at // 1) - 1
        if self._knots is None or self._knots[0] != first:
            self._knots = (first, np.stack([self._used(first + place) for place in range(KNOTS)]))
        knots = self._knots[1][:, seats]
        early, now, late = knots[:-1] + np.float32(at % 1) * np.diff(knots, axis=0)
        around = np.stack([early, now, late, knots[1], knots[2]])
        return now, around.min(axis=0), around.max(axis=0)

    def _used(self, hour: int) -> Floats:
        """Expectation of a whole hour of all seats, by the week where that helps."""
        _, day, week = self._profile(hour, np.arange(len(self._column)))
        return np.where(self._of["weekly"] < WEEKLY_SHARE * self._of["daily"], week, day)

    def _reach(self, view: _View, columns: _Seats) -> Floats:
        """How far off the expectation a point may teach, [columns]; NaN where nothing is expected yet."""
        return HUBER_SIGMA / self._settings.threshold_sigma * view.half[columns]

    def _learn_noise(self, view: _View, window: Window, taken: NDArray[np.bool_]) -> None:
        """Let the squared distance from the expectation into the noise; ``taken`` is per seat in use."""
        seats = np.flatnonzero(self._column >= 0)
        own = taken & (self._of["judged"][seats] >= 1)
        seats, columns = seats[own], self._column[seats[own]]
        value = window.values[-1, columns]
        _, low, high = self._expected(window, seats)
        off = value - np.clip(value, low, high)
        reach = self._reach(view, columns)
        off = np.where(np.isfinite(reach), np.clip(off, -reach, reach), off)
        points = np.minimum(self._of["points"][seats] + 1, MEMORY_HOURS * HOUR_SECONDS / window.step_seconds)
        self._of["points"][seats] = points
        self._of["variance"][seats] += (off * off - self._of["variance"][seats]) / points

    def _close(self, window: Window, number: int) -> None:
        """End the hour: learn its means, and let series take seats."""
        of = self._of
        whole = HOUR_SECONDS / window.step_seconds
        seats = np.flatnonzero((self._column >= 0) & (of["known"] >= LEAST_POINTS * whole))
        if 0 <= self._number < number and len(seats):
            self._learn_hour(self._number, seats, of["mean"][seats])
        of["mean"][:] = 0
        of["known"][:] = 0
        self._number, self._knots = number, None
        self._seat(window, number)

    def _learn_hour(self, hour: int, seats: _Seats, mean: Floats) -> None:
        of = self._of
        level, day, week = self._profile(hour, seats)
        chosen = self._seen["day"][hour % DAY, seats] > 0
        judged = seats[chosen]
        of["judged"][judged] = count = np.minimum(of["judged"][judged] + 1, 2 * LEAST_JUDGED)
        for name, guess in (("plain", level), ("daily", day), ("weekly", week)):
            error = (mean - guess)[chosen] ** 2
            of[name][judged] += (error - of[name][judged]) / np.minimum(count, MEMORY_HOURS)
        of["hours"][seats] = hours = np.minimum(of["hours"][seats] + 1, MEMORY_HOURS)
        of["level"][seats] += (mean - level) / hours
        for name, most in (("day", DAYS), ("week", WEEKS)):
            place, seen = hour % _TABLES[name], self._seen[name]
            seen[place, seats] = count = np.minimum(seen[place, seats].astype(np.float32) + 1, MOST_SEEN)
            of[name][place, seats] += (mean - of[name][place, seats]) / np.minimum(count, most)

    def _seat(self, window: Window, number: int) -> None:
        """Give free seats to series that may raise alerts, those that waited longest first."""
        standing = (self._policy.columns(window).watch >= 0) & np.isfinite(window.values[-1])
        standing[self._column[self._column >= 0]] = False
        waiting = np.flatnonzero(standing)
        if not len(waiting):
            return
        tried = self._columns["tried"]
        taken = int(np.count_nonzero(self._column >= 0))
        if taken + len(waiting) > self._settings.seasonal_series:
            failed = np.flatnonzero((self._column >= 0) & (self._of["judged"] >= AUDITION_HOURS) & ~self._proved())
            tried[self._column[failed]] = number
            self._column[failed] = -1
            taken -= len(failed)
        waiting = waiting[np.argsort(tried[waiting], kind="stable")][: max(self._settings.seasonal_series - taken, 0)]
        self._grow(taken + len(waiting))
        seats = np.flatnonzero(self._column < 0)[: len(waiting)]
        for numbers in self._of.values():
            numbers[..., seats] = 0
        for counts in self._seen.values():
            counts[:, seats] = 0
        self._column[seats], self._generation[seats] = waiting, window.generation[waiting]

    def _grow(self, seats: int) -> None:
        """Have at least so many seats; twice as many as before, so that it rarely happens."""
        more = min(max(2 * len(self._column), FIRST_SEATS, seats), self._settings.seasonal_series) - len(self._column)
        if seats > len(self._column):
            free = np.full(more, -1)
            self._column, self._generation = np.append(self._column, free), np.append(self._generation, free)
            self._of = {name: _wider(array, more) for name, array in self._of.items()}
            self._seen = {name: _wider(array, more) for name, array in self._seen.items()}


def _wider(array: NDArray[_Number], more: int) -> NDArray[_Number]:
    """With ``more`` zeros at the end of the last axis."""
    return np.concatenate([array, np.zeros((*array.shape[:-1], more), array.dtype)], axis=-1)


def _identity(key: SeriesKey | None) -> int:
    """A number that stays the same over restarts."""
    return int.from_bytes(blake2b(str(key).encode(), digest_size=8).digest(), "little")
