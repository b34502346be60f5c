"""A past that comes late: what backfilling may and may not change."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.signals.types import Columns, Entity, EntityKind, Reading, SeriesKey
from aiops.store.ring import Ring

NAN = float("nan")
STEP = 5.0


def key(name: str) -> SeriesKey:
    return SeriesKey(Entity.of(EntityKind.REPLICA, replica=name), "queue_len")


def layout(*names: str) -> Columns:
    return Columns(tuple(key(name) for name in names))


def ring_of(rows: int = 6, *, max_series: int = 100) -> Ring:
    return Ring(rows, STEP, max_series=max_series, ttl_seconds=1000.0)


def fed(columns: Columns, until: float, *rows: list[float]) -> Ring:
    """Rows a step apart, the last at ``until``."""
    ring = ring_of()
    for age, row in zip(range(len(rows) - 1, -1, -1), rows, strict=True):
        ring.append(until - STEP * age, [Reading("test", until, columns, np.array(row))])
    return ring


def rows_of(ring: Ring, name: str) -> list[float]:
    column = ring.column_of(key(name))
    assert column is not None
    return [float(value) for value in ring.window().values[:, column]]


def same(left: object, right: object) -> bool:
    return bool(np.array_equal(np.asarray(left, np.float64), np.asarray(right, np.float64), equal_nan=True))


def test_the_past_stands_behind_the_present() -> None:
    past = fed(layout("a"), 100.0, [1.0], [2.0], [3.0])
    live = fed(layout("a"), 110.0, [8.0], [9.0])  # its rows are of 105 and 110 s
    live.backfill(past.export())
    assert same(rows_of(live, "a"), [NAN, 1, 2, 3, 8, 9])


def test_what_is_known_is_not_overwritten() -> None:
    past = fed(layout("a", "b"), 110.0, [1.0, 5.0], [2.0, 6.0], [3.0, NAN])
    live = fed(layout("a", "b"), 110.0, [NAN, NAN], [9.0, NAN])
    live.backfill(past.export())
    assert same(rows_of(live, "a"), [NAN, NAN, NAN, 1, 2, 9])
    assert same(rows_of(live, "b"), [NAN, NAN, NAN, 5, 6, NAN])
    assert same(live.history(key("b"), 0.0).values, [NAN, NAN, NAN, 5, 6, NAN])
    latest = live.latest()
    a, b = live.column_of(key("a")), live.column_of(key("b"))
    assert a is not None
    assert b is not None
    assert same([latest.values[a], latest.at[a]], [9, 110])
    assert same([latest.values[b], latest.at[b]], [6, 105])


def test_a_series_that_the_present_lacks_gets_a_column_of_its_own() -> None:
    live = fed(layout("a"), 110.0, [9.0])
    before = live.window().generation.copy()
    live.backfill(fed(layout("new"), 110.0, [1.0], [2.0]).export())
    assert same(rows_of(live, "new"), [NAN, NAN, NAN, NAN, 1, 2])
    assert same(rows_of(live, "a"), [NAN, NAN, NAN, NAN, NAN, 9])
    column = live.column_of(key("new"))
    assert live.window().generation[column] > before.max()
    assert live.last_seen[column] == 110.0


def test_the_limit_of_series_holds() -> None:
    live = ring_of(max_series=2)
    live.append(110.0, [Reading("test", 110.0, layout("a"), np.array([9.0]))])
    live.backfill(fed(layout("b", "c", "d"), 110.0, [1.0, 2.0, 3.0]).export())
    assert live.series == 2
    assert same(rows_of(live, "b"), [NAN, NAN, NAN, NAN, NAN, 1])
    assert live.column_of(key("c")) is None


def test_an_empty_ring_is_restored() -> None:
    live = ring_of()
    live.backfill(fed(layout("a"), 100.0, [1.0], [2.0]).export())
    live.append(105.0, [Reading("test", 105.0, layout("a"), np.array([3.0]))])
    assert same(rows_of(live, "a"), [NAN, NAN, NAN, 1, 2, 3])
    with pytest.raises(ValueError, match="before its first append"):
        live.restore(fed(layout("a"), 100.0, [1.0]).export())


def test_a_past_that_is_too_old_or_of_tomorrow_changes_no_row() -> None:
    live = fed(layout("a"), 1000.0, [9.0])
    live.backfill(fed(layout("a"), 100.0, [1.0], [2.0]).export())
    live.backfill(fed(layout("a"), 2000.0, [1.0], [2.0]).export())
    assert same(rows_of(live, "a"), [NAN, NAN, NAN, NAN, NAN, 9])


values = st.lists(st.one_of(st.just(NAN), st.floats(0, 9, width=32)), min_size=1, max_size=6)


@given(past=values, present=values, late=st.integers(0, 8), appended=st.integers(0, 8))
def test_against_writing_each_row_at_its_time(
    past: list[float], present: list[float], late: int, appended: int
) -> None:
    now = 1000.0
    live = fed(layout("a"), now, *([value] for value in present))
    live.backfill(fed(layout("a"), now - STEP * late, *([value] for value in past)).export())
    expected = [NAN] * 6
    for age, value in enumerate(reversed(past)):
        if age + late < 6:
            expected[5 - age - late] = value
    for age, value in enumerate(reversed(present)):
        if not np.isnan(value):
            expected[5 - age] = value
    for _ in range(appended):  # the buffer is moved to its start in between
        now += STEP
        live.append(now, [Reading("test", now, layout("a"), np.array([7.0]))])
        expected = [*expected[1:], 7.0]
    assert same(rows_of(live, "a"), expected)
