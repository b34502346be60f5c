"""Histories keep time, and a lie of one replica stays a lie."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.capacity.observed import History, believable


def test_rows_follow_time_and_gaps_are_unknown() -> None:
    kept = History(15.0).extended({"arrivals": 1.0}, 100.0, most=10).extended({"arrivals": 2.0}, 145.0, most=10)
    np.testing.assert_array_equal(kept.column("arrivals"), [1.0, np.nan, np.nan, 2.0])
    assert kept.recent("arrivals", 60.0) == 1.5
    assert np.isnan(kept.now("running"))
    assert len(kept.extended({}, 145.0 + 15.0 * 1000, most=10)) == 10
    assert len(kept.extended({"arrivals": 3.0}, 90.0, most=10)) == 5  # a clock that went back is no gap


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(KeyError):
        History(15.0).extended({"nonsense": 1.0}, 0.0, most=10)


def test_a_forged_queue_is_taken_off_and_stays_off() -> None:
    before = {"a": 3.0, "b": 4.0}
    found = believable({"a": 1e9, "b": 5.0}, before, fastest=10.0, elapsed_seconds=15.0)
    assert found.level == {"a": 3.0, "b": 5.0}
    assert found.excess["queue_len"] == pytest.approx(1e9 - 3.0)
    assert "a claims 1e+09" in found.doubts[0]
    again = believable({"a": 1e9, "b": 5.0}, found.level, fastest=10.0, elapsed_seconds=15.0)
    assert again.doubts
    assert not believable({"a": 2.0, "b": 5.0}, again.level, fastest=10.0, elapsed_seconds=15.0).doubts


def test_a_surge_of_twelve_times_is_believed() -> None:
    level: dict[str, float] = {"a": 0.0}
    for step in range(1, 20):
        found = believable({"a": 120.0 * 15.0 * step}, level, fastest=10.0, elapsed_seconds=15.0)
        assert not found.doubts
        level = dict(found.level)


@given(st.dictionaries(st.sampled_from("abc"), st.one_of(st.just(float("nan")), st.floats(0.0, 1e12))))
def test_what_is_believed_is_known_and_never_more_than_claimed(queues: dict[str, float]) -> None:
    found = believable(queues, {}, fastest=float("nan"), elapsed_seconds=15.0)
    assert all(level <= 100.0 for level in found.level.values())
    assert found.excess["queue_len"] >= 0.0
