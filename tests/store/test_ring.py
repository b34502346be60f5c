"""The ring against a naive model of dicts and lists, and its promises one by one."""

import math
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from aiops.signals.types import Columns, Entity, EntityKind, Reading, SeriesKey
from aiops.store import ring as ring_module
from aiops.store.ring import Ring

NAN = float("nan")


def key(name: int | str) -> SeriesKey:
    return SeriesKey(Entity.of(EntityKind.REPLICA, replica=str(name)), "queue_len")


def columns(*names: int | str) -> Columns:
    return Columns(tuple(key(name) for name in names))


def reading(layout: Columns, *values: float) -> Reading:
    return Reading("test", 0.0, layout, np.array(values, np.float64))


def small_ring(rows: int = 4, *, max_series: int = 100, ttl_seconds: float = 50.0) -> Ring:
    return Ring(rows, 5.0, max_series=max_series, ttl_seconds=ttl_seconds)


def rows_of(ring: Ring, name: int | str) -> list[float]:
    column = ring.column_of(key(name))
    assert column is not None
    return [float(value) for value in ring.window().values[:, column]]


def same(left: object, right: object) -> bool:
    return bool(np.array_equal(np.asarray(left, np.float64), np.asarray(right, np.float64), equal_nan=True))


class TestAppend:
    def test_one_row_per_tick_oldest_first(self) -> None:
        ring, layout = small_ring(3), columns("a", "b")
        for tick in range(5):
            ring.append(5.0 * tick, [reading(layout, tick, -tick)])
        assert same(rows_of(ring, "a"), [2, 3, 4])
        assert same(rows_of(ring, "b"), [-2, -3, -4])
        assert ring.window().now == 20.0

    def test_what_nobody_read_is_unknown(self) -> None:
        ring, both, one = small_ring(2), columns("a", "b"), columns("a")
        ring.append(0.0, [reading(both, 1, 2)])
        ring.append(5.0, [reading(one, 3)])
        assert same(rows_of(ring, "b"), [2, NAN])

    def test_the_last_reading_of_a_tick_wins(self) -> None:
        ring = small_ring()
        ring.append(0.0, [reading(columns("a"), 1), reading(columns("b", "a"), 2, 3), reading(columns("c", "c"), 4, 5)])
        assert rows_of(ring, "a")[-1] == 3
        assert rows_of(ring, "c")[-1] == 5

    @pytest.mark.parametrize("value", [math.inf, -math.inf, 1e300, NAN])
    def test_what_is_not_a_finite_float32_is_unknown_and_does_not_replace_the_latest(self, value: float) -> None:
        ring, layout = small_ring(), columns("a")
        ring.append(0.0, [reading(layout, 7)])
        ring.append(5.0, [reading(layout, value)])
        assert same(rows_of(ring, "a")[-2:], [7, NAN])
        assert ring.latest().values[0] == 7
        assert ring.latest().at[0] == 0.0
        assert ring.last_seen[0] == 5.0

    def test_latest_keeps_the_digits_that_float32_loses(self) -> None:
        ring = small_ring()
        ring.append(0.0, [reading(columns("a"), 1_790_000_001.0)])
        assert ring.latest().values[0] == 1_790_000_001.0

    def test_a_reading_of_the_wrong_length_is_named(self) -> None:
        with pytest.raises(ValueError, match="reading of test: 1 values for 2 series"):
            small_ring().append(0.0, [reading(columns("a", "b"), 1)])

    def test_wrong_sizes_are_refused(self) -> None:
        with pytest.raises(ValueError, match="rows=1"):
            small_ring(1)


class TestGaps:
    def test_missed_ticks_become_unknown_rows(self) -> None:
        ring, layout = small_ring(5), columns("a")
        ring.append(0.0, [reading(layout, 1)])
        ring.append(15.0, [reading(layout, 2)])
        assert same(rows_of(ring, "a"), [NAN, 1, NAN, NAN, 2])

    def test_a_long_gap_empties_the_window(self) -> None:
        ring, layout = small_ring(5), columns("a")
        for tick in range(7):
            ring.append(5.0 * tick, [reading(layout, tick)])
        ring.append(1e9, [reading(layout, 9)])
        assert same(rows_of(ring, "a"), [NAN, NAN, NAN, NAN, 9])

    def test_jitter_and_a_clock_that_goes_back_are_no_gap(self) -> None:
        ring, layout = small_ring(4), columns("a")
        for tick, now in enumerate([100.0, 107.0, 110.5, 40.0]):
            ring.append(now, [reading(layout, tick)])
        assert same(rows_of(ring, "a"), [0, 1, 2, 3])

    def test_monotonic_time_decides_when_it_is_given(self) -> None:
        ring, layout = small_ring(4), columns("a")
        ring.append(0.0, [reading(layout, 1)])
        ring.append(3600.0, [reading(layout, 2)], elapsed_seconds=5.0)
        ring.append(3605.0, [reading(layout, 3)], elapsed_seconds=10.0)
        assert same(rows_of(ring, "a"), [1, 2, NAN, 3])

    def test_series_do_not_age_while_the_daemon_sleeps(self) -> None:
        ring, fast, slow = small_ring(ttl_seconds=20.0), columns("fast"), columns("slow")
        ring.append(0.0, [reading(fast, 1), reading(slow, 1)])
        ring.append(36_000.0, [reading(fast, 1)])
        assert ring.column_of(key("slow")) is not None


class TestColumns:
    def test_a_series_that_nobody_mentions_loses_its_column(self) -> None:
        ring, a, b = small_ring(ttl_seconds=10.0), columns("a"), columns("b")
        ring.append(0.0, [reading(a, 1), reading(b, 1)])
        column = ring.column_of(key("a"))
        assert column is not None
        for tick in range(1, 3):
            ring.append(5.0 * tick, [reading(b, 1)])
        assert ring.column_of(key("a")) == column
        ring.append(15.0, [reading(b, 1)])
        window = ring.window()
        assert ring.column_of(key("a")) is None
        assert window.keys[column] is None
        assert np.isnan(window.values[:, column]).all()
        assert np.isnan(ring.latest().values[column])
        assert np.isnan(ring.last_seen[column])

    def test_a_series_read_as_unknown_is_still_alive(self) -> None:
        ring, a = small_ring(ttl_seconds=10.0), columns("a")
        for tick in range(20):
            ring.append(5.0 * tick, [reading(a, NAN)])
        assert ring.series == 1

    def test_the_same_layout_finds_a_new_column_after_its_old_one_went_to_another(self) -> None:
        ring, a, b = small_ring(max_series=1, ttl_seconds=10.0), columns("a"), columns("b")
        ring.append(0.0, [reading(a, 1)])
        for tick in range(1, 5):
            ring.append(5.0 * tick, [reading(b, 2)])
        assert ring.window().keys == (key("b"),)
        ring.append(25.0, [reading(a, 3)])
        assert same(rows_of(ring, "b"), [NAN, 2, 2, NAN])
        assert ring.dropped_series == 1
        ring.append(30.0, [])
        ring.append(35.0, [reading(a, 4)])
        assert same(rows_of(ring, "a"), [NAN, NAN, NAN, 4])

    def test_over_the_cap_the_newest_are_dropped_and_counted(self) -> None:
        ring, layout = small_ring(max_series=3), columns(*range(5))
        ring.append(0.0, [reading(layout, *range(5))])
        ring.append(5.0, [reading(layout, *range(5))])
        assert [ring.column_of(key(name)) for name in range(5)] == [0, 1, 2, None, None]
        assert (ring.dropped_series, ring.dropped_values_total) == (2, 4)
        assert same(ring.window().values[-1], [0, 1, 2])

    def test_dropped_series_get_the_columns_of_those_that_leave(self) -> None:
        ring, old, new = small_ring(max_series=2, ttl_seconds=10.0), columns("a", "b"), columns("c", "d")
        ring.append(0.0, [reading(old, 1, 2), reading(new, 3, 4)])
        assert ring.dropped_series == 2
        for tick in range(1, 4):
            ring.append(5.0 * tick, [reading(new, 3, 4)])
        assert ring.dropped_series == 0
        assert rows_of(ring, "c")[-1] == 3
        assert rows_of(ring, "d")[-1] == 4

    def test_growth_keeps_values_columns_and_generations(self) -> None:
        ring, few = Ring(6, 5.0, max_series=10_000, ttl_seconds=1e6), columns("a", "b")
        ring.append(0.0, [reading(few, 1, 2)])
        before = ring.window()
        many = columns(*range(1000))
        ring.append(5.0, [reading(few, 3, 4), reading(many, *range(1000))])
        after = ring.window()
        assert ring.capacity == 1024
        assert same(after.values[-2:, :2], [[1, 2], [3, 4]])
        assert (after.generation[:2] == before.generation[:2]).all()
        assert len(after.keys) == len(after.generation) == after.values.shape[1] == 1024

    def test_freed_columns_are_reused_longest_free_first(self) -> None:
        ring = small_ring(max_series=3, ttl_seconds=10.0)
        a, b, c = columns("a"), columns("b"), columns("c")
        ring.append(0.0, [reading(a, 1), reading(b, 1), reading(c, 1)])
        ring.append(5.0, [reading(a, 1), reading(c, 1)])
        for tick in range(2, 6):
            ring.append(5.0 * tick, [reading(c, 1)])
        assert ring.series == 1
        ring.append(30.0, [reading(c, 1), reading(columns("d"), 1), reading(columns("e"), 1)])
        assert ring.column_of(key("d")) == 1
        assert ring.column_of(key("e")) == 0


class TestViews:
    def test_the_window_is_a_read_only_view(self) -> None:
        ring, layout = small_ring(), columns("a")
        for tick in range(9):
            ring.append(5.0 * tick, [reading(layout, 1)])
            window = ring.window()
            assert np.shares_memory(window.values, ring._buffer)
            assert window.values.flags.c_contiguous
            assert window.values.shape == (4, ring.capacity)
        for array in (window.values, window.generation, ring.latest().values, ring.latest().at, ring.last_seen):
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0

    def test_a_kept_generation_array_shows_who_changed(self) -> None:
        ring, a, b = small_ring(max_series=1, ttl_seconds=5.0), columns("a"), columns("b")
        ring.append(0.0, [reading(a, 1)])
        kept = ring.window().generation
        value = int(kept[0])
        for tick in range(1, 4):
            ring.append(5.0 * tick, [reading(b, 1)])
        assert kept[0] == value
        assert ring.window().generation[0] != value

    def test_history_since(self) -> None:
        ring, layout = small_ring(4), columns("a")
        for tick in range(6):
            ring.append(100.0 + 5.0 * tick, [reading(layout, tick)])
        history = ring.history(key("a"), 115.0)
        assert same(history.at, [115, 120, 125])
        assert same(history.values, [3, 4, 5])
        assert len(ring.history(key("nobody")).at) == 0
        assert len(ring.history(key("a")).at) == 4


class TestMemory:
    def test_a_storm_of_series_neither_grows_the_ring_nor_its_routes(self) -> None:
        ring = Ring(16, 5.0, max_series=600, ttl_seconds=20.0)
        bound = (16 + 2) * 600 * 4 + 600 * 60
        for tick in range(200):
            ring.append(5.0 * tick, [reading(columns(*(f"{tick}-{n}" for n in range(300))), *range(300))])
            assert ring.memory_bytes <= bound
            assert ring.series <= 600
        assert ring.capacity == 600
        assert len(ring._routes) <= 1
        assert len(ring._column) + len(ring._free) == 600
        assert ring.dropped_values_total > 0

    def test_a_layout_is_looked_up_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        ring, layout = small_ring(), columns("a", "b")
        ring.append(0.0, [reading(layout, 1, 2)])
        monkeypatch.setattr(ring, "_column", None)  # the steady path must not look keys up
        for tick in range(1, 50):
            ring.append(5.0 * tick, [reading(layout, 1, 2)])


class TestRestore:
    def restored(self, ring: Ring, **options: float) -> Ring:
        other = Ring(
            int(options.get("rows", ring.rows)),
            options.get("step_seconds", ring.step_seconds),
            max_series=int(options.get("max_series", ring.max_series)),
            ttl_seconds=ring.ttl_seconds,
        )
        other.restore(ring.export())
        return other

    def test_restored_ring_continues(self) -> None:
        ring, layout = small_ring(6, ttl_seconds=20.0), columns("a", "b")
        for tick in range(4):
            ring.append(5.0 * tick, [reading(layout, tick, -tick)])
        other = self.restored(ring)
        for twin in (ring, other):
            twin.append(30.0, [reading(layout, 7, NAN)])
        assert same(ring.window().values, other.window().values)
        assert ring.window().keys == other.window().keys
        assert (ring.window().generation == other.window().generation).all()
        assert same(ring.latest().values, other.latest().values)
        assert same(ring.latest().at, other.latest().at)
        assert same(ring.last_seen, other.last_seen)
        assert same(rows_of(other, "a"), [1, 2, 3, NAN, NAN, 7])

    def test_a_clock_set_back_over_a_restart_is_no_gap(self) -> None:
        ring, layout = small_ring(3), columns("a")
        for tick in range(3):
            ring.append(1000.0 + 5.0 * tick, [reading(layout, tick)])
        other = self.restored(ring)
        other.append(3.0, [reading(layout, 3)])
        assert same(rows_of(other, "a"), [1, 2, 3])

    def test_new_owners_never_reuse_a_restored_generation(self) -> None:
        ring = small_ring()
        for tick in range(5):
            ring.append(5.0 * tick, [reading(columns(f"{tick}"), 1)])
        other = self.restored(ring)
        other.append(25.0, [reading(columns("new"), 1)])
        generation = other.window().generation
        owned = generation[generation > 0]
        assert len(set(owned.tolist())) == len(owned) == 6

    @pytest.mark.parametrize(
        ("rows", "step_seconds", "expected"),
        [
            (3, 5.0, [3, 4, 5]),
            (8, 5.0, [NAN, NAN, 0, 1, 2, 3, 4, 5]),
            (3, 10.0, [1, 3, 5]),
            (5, 2.5, [3, NAN, 4, NAN, 5]),
        ],
    )
    def test_another_window_length_or_step(self, rows: int, step_seconds: float, expected: list[float]) -> None:
        ring, layout = small_ring(6), columns("a")
        for tick in range(6):
            ring.append(5.0 * tick, [reading(layout, tick)])
        assert same(rows_of(self.restored(ring, rows=rows, step_seconds=step_seconds), "a"), expected)

    def test_a_smaller_cap_keeps_the_series_seen_last(self) -> None:
        ring = small_ring()
        ring.append(0.0, [reading(columns("old"), 1)])
        ring.append(5.0, [reading(columns("x", "y"), 1, 1)])
        other = self.restored(ring, max_series=2)
        assert set(other.window().keys) == {key("x"), key("y")}

    def test_a_used_ring_refuses(self) -> None:
        ring = small_ring()
        ring.append(0.0, [])
        with pytest.raises(ValueError, match="before its first append"):
            ring.restore(ring.export())


@dataclass
class Naive:
    """The same promises with dicts and lists: one dict per tick, one clock per series."""

    rows: int
    step: float
    cap: int
    ttl: float
    ticks: list[dict[SeriesKey, float]] = field(default_factory=list)
    alive: dict[SeriesKey, float] = field(default_factory=dict)
    latest: dict[SeriesKey, tuple[float, float]] = field(default_factory=dict)
    now: float = 0.0
    awake: float = 0.0

    def append(self, now: float, readings: list[Reading]) -> None:
        if self.ticks:
            missed = min(max(round((now - self.now) / self.step) - 1, 0), self.rows)
            self.ticks += [{} for _ in range(missed)]
        self.now, self.awake = now, self.awake + self.step
        for gone in [key for key, seen in self.alive.items() if self.awake - seen > self.ttl]:
            del self.alive[gone]
            self.latest.pop(gone, None)
            for row in self.ticks:
                row.pop(gone, None)
        tick: dict[SeriesKey, float] = {}
        for answer in readings:
            for series, value in zip(answer.columns.keys, answer.values.tolist(), strict=True):
                if series in self.alive or len(self.alive) < self.cap:
                    self.alive[series] = self.awake
                    tick[series] = value
        self.ticks = [*self.ticks, tick][-self.rows :]
        self.latest.update({series: (value, now) for series, value in tick.items() if not math.isnan(value)})

    def restart(self) -> None:
        """Nobody leaves at the first tick after a restart."""
        oldest = self.awake - max(0.0, self.ttl - self.step)
        self.alive = {series: max(seen, oldest) for series, seen in self.alive.items()}

    def column(self, series: SeriesKey) -> list[float]:
        rows = [row.get(series, NAN) for row in self.ticks]
        return [NAN] * (self.rows - len(rows)) + rows


class RingMachine(RuleBasedStateMachine):
    """Random ticks, gaps, clock jumps, churn, growth, restarts; the ring and the naive model must agree."""

    @initialize(rows=st.integers(2, 12), cap=st.integers(1, 9), ttl=st.sampled_from([5.0, 15.0, 60.0]))
    def start(self, rows: int, cap: int, ttl: float) -> None:
        self.ring = Ring(rows, 5.0, max_series=cap, ttl_seconds=ttl)
        self.naive = Naive(rows, 5.0, cap, ttl)
        self.layouts = [columns(*range(start, start + width)) for start in range(8) for width in (1, 3)]
        self.owners: dict[int, SeriesKey] = {}

    @rule(
        elapsed=st.sampled_from([5.0, 5.0, 5.0, 6.5, 12.0, 40.0, 500.0, -100.0]),
        picks=st.lists(st.tuples(st.integers(0, 15), st.booleans()), max_size=4),
        values=st.lists(st.floats(width=32, allow_infinity=False), min_size=3, max_size=3),
    )
    def tick(self, elapsed: float, picks: list[tuple[int, bool]], values: list[float]) -> None:
        now = self.naive.now + elapsed
        readings = []
        for pick, changed_layout in picks:
            layout = self.layouts[pick]
            if changed_layout:
                layout = Columns(layout.keys)
            readings.append(reading(layout, *values[: len(layout.keys)]))
        self.ring.append(now, readings)
        self.naive.append(now, readings)

    @rule()
    def restart(self) -> None:
        if self.naive.ticks:
            fresh = Ring(self.ring.rows, 5.0, max_series=self.ring.max_series, ttl_seconds=self.ring.ttl_seconds)
            fresh.restore(self.ring.export())
            self.ring = fresh
            self.naive.restart()

    @invariant()
    def agree(self) -> None:
        if not hasattr(self, "ring"):
            return
        window = self.ring.window()
        assert {owner for owner in window.keys if owner} == set(self.naive.alive)
        for column, owner in enumerate(window.keys):
            if owner is None:
                assert np.isnan(window.values[:, column]).all()
                continue
            assert self.ring.column_of(owner) == column
            assert same(window.values[:, column], self.naive.column(owner)), owner
            value, at = self.naive.latest.get(owner, (NAN, NAN))
            assert same(self.ring.latest().values[column], value)
            assert same(self.ring.latest().at[column], at)
            number = int(window.generation[column])
            assert number > 0
            assert self.owners.setdefault(number, owner) == owner, "a generation had two owners"


TestAgainstNaive = RingMachine.TestCase
TestAgainstNaive.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Growth happens within a few series in the model test."""
    if "AgainstNaive" in request.node.nodeid:
        monkeypatch.setattr(ring_module, "BLOCK", 2)
