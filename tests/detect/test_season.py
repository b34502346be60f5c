"""Rhythms of day and week against a plain oracle, and who gets one: causally proved, bounded, safe at odd clocks."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from aiops.detect.base import Scores, Window
from aiops.detect.policy import AnomalyPolicy, Compiler
from aiops.detect.season import DAY, SHRINK, WEEK, Season
from aiops.detect.settings import DetectSettings
from aiops.signals.types import Entity, EntityKind, SeriesKey

STEP_SECONDS = 1200.0
IN_HOUR, IN_DAY = 3, 72
NAN = float("nan")
Rows = NDArray[np.float64]


class Weeks:
    """Lets a detector live through rows as the bank does: nothing is quiet where it says 1 or more."""

    def __init__(self, policy: AnomalyPolicy, columns: int, **settings: Any) -> None:
        self.keys: tuple[SeriesKey, ...] = tuple(
            SeriesKey(Entity.of(EntityKind.POOL, pool=f"p{n}"), "arrivals") for n in range(columns)
        )
        self.generation = np.arange(1, columns + 1)
        self.season, self.tick = Season(DetectSettings(**settings), Compiler(policy)), 0

    def window(self, row: Rows) -> Window:
        values = np.asarray(row, np.float32)[np.newaxis]
        return Window(self.tick * STEP_SECONDS, STEP_SECONDS, values, self.keys, self.generation)

    def live(self, rows: Rows) -> list[Scores]:
        found = []
        for row in rows:
            window = self.window(row)
            found.append(self.season.score(window))
            self.season.learn(window, ~(found[-1].score >= 1))
            self.tick += 1
        return found

    def look(self, *row: float) -> Scores:
        return self.season.score(self.window(np.array(row)))


def waves(days: float, columns: int = 1, *, noise: float = 3.0, first: float = 0, seed: int = 1) -> Rows:
    """Requests per second: 20 at night, 180 at noon."""
    at = first + np.arange(round(days * IN_DAY))[:, np.newaxis] / IN_DAY
    rng = np.random.default_rng(seed)
    return 100 - 80 * np.cos(2 * np.pi * at) + rng.normal(0, noise, (len(at), columns))


def calm(days: float, columns: int, seed: int = 2) -> Rows:
    return np.random.default_rng(seed).normal(100, 3, (round(days * IN_DAY), columns))


def scored(found: list[Scores]) -> NDArray[np.float32]:
    return np.array([one.score for one in found])


def test_a_fault_at_the_wrong_hour_is_out_of_bounds_and_the_wave_is_not(policy: AnomalyPolicy) -> None:
    weeks = Weeks(policy, 2)
    found = scored(weeks.live(np.hstack([waves(15), calm(15, 1)])))
    assert np.isnan(found[: 8 * IN_DAY]).all(), "a week and a day must be seen"
    assert np.isfinite(found[10 * IN_DAY :, 0]).all()
    assert (found[10 * IN_DAY :, 0] < 1).all()
    assert np.isnan(found[:, 1]).all(), "without a rhythm there is nothing to say"
    midnight = weeks.look(180, 180)
    assert midnight.score[0] > 3
    assert midnight.upper[0] < 100
    window = weeks.window(np.array([180.0, 180.0]))
    weeks.season.score(window)
    assert weeks.season.explain(0).startswith("at this hour it usually is ")
    assert weeks.season.explain(1) == ""
    weeks.live(waves(0.5, 2, first=15))
    assert weeks.look(180, 180).score[0] < 1
    assert weeks.look(20, 180).score[0] > 3


def test_expectations_are_those_of_an_oracle(policy: AnomalyPolicy) -> None:
    weeks, days = Weeks(policy, 1), 12
    rows = waves(days)
    weeks.live(np.append(rows, rows[:1], axis=0))
    hourly = [float(hour.mean()) for hour in rows.reshape(-1, IN_HOUR)]
    level, count = 0.0, 0
    of_day: dict[int, tuple[int, float]] = {}
    of_week: dict[int, tuple[int, float]] = {}
    for number, mean in enumerate(hourly):
        count = min(count + 1, WEEK)
        level += (mean - level) / count
        for table, key, most in ((of_day, number % DAY, 8), (of_week, number % WEEK, 4)):
            seen, kept = table.get(key, (0, 0.0))
            table[key] = (seen + 1, kept + (mean - kept) / min(seen + 1, most))
    for hour in (0, 5, 13):
        seen, kept = of_day[hour]
        day = level + seen / (seen + SHRINK) * (kept - level)
        seen, kept = of_week[(days * DAY + hour) % WEEK]
        week = day + seen / (seen + SHRINK) * (kept - day)
        ours = weeks.season._profile(days * DAY + hour, np.array([0]))
        np.testing.assert_allclose(np.ravel(ours), [level, day, week], rtol=1e-4)


def test_few_observations_have_little_weight(policy: AnomalyPolicy) -> None:
    weeks = Weeks(policy, 1)
    weights = []
    for _ in range(4):
        weeks.live(waves(1, noise=0))
        level, day, _ = weeks.season._profile(12, np.array([0]))
        weights.append(float(day[0] - level[0]) / 80)
    # The mean of an hour around noon is nearly that of noon itself; the level is that of the whole day.
    np.testing.assert_allclose(weights, [1 / 2, 2 / 3, 3 / 4, 4 / 5], atol=0.08)


def test_the_weekend_is_expected_from_the_third_one_on(policy: AnomalyPolicy) -> None:
    rows = waves(28, noise=2)
    day = np.arange(len(rows)) // IN_DAY
    rows[day % 7 >= 5] *= 0.5
    weeks = Weeks(policy, 1)
    found = weeks.live(rows)
    noon = 26 * IN_DAY + IN_DAY // 2
    last = found[noon]
    assert day[noon] % 7 == 5
    assert rows[noon, 0] == pytest.approx(90, abs=10)
    assert last.score[0] < 0.5
    assert (scored(found)[21 * IN_DAY :] < 1).all()
    weeks.tick = noon
    assert weeks.look(180).score[0] > 1, "a working day's load on a Saturday"


def test_a_clock_that_is_put_forward_or_back_is_no_anomaly(policy: AnomalyPolicy) -> None:
    weeks = Weeks(policy, 1)
    weeks.live(waves(10))
    for shift in (1, -1):
        assert (scored(weeks.live(waves(3, first=shift / 24))) < 1).all()
        weeks.live(waves(2))


def test_an_incident_of_hours_is_not_learnt_and_a_new_rhythm_is(policy: AnomalyPolicy) -> None:
    weeks = Weeks(policy, 1)
    weeks.live(waves(14))
    before = weeks.look(100).expected[0], weeks.look(100).upper[0]
    assert (scored(weeks.live(waves(0.25) + 160))[3:] >= 1).all()
    weeks.live(waves(0.75, first=0.25))
    after = weeks.look(100).expected[0], weeks.look(100).upper[0]
    np.testing.assert_allclose(after, before, rtol=0.3)
    told = scored(weeks.live(waves(20, first=0.5)))[:, 0] >= 1
    assert told[:IN_DAY].mean() > 0.3
    assert not told[-7 * IN_DAY :].any()


def test_seats_are_bounded_and_rhythms_find_one(policy: AnomalyPolicy) -> None:
    weeks = Weeks(policy, 9, seasonal_series=2)
    weeks.live(np.hstack([calm(30, 8), waves(30)]))
    state = weeks.season.state()
    assert state["fixed_day"].shape == (DAY, 2)
    assert np.flatnonzero(np.isfinite(weeks.look(*[100] * 9).score)).tolist() == [8]
    assert np.count_nonzero(state["tried"][:8]) >= 6, "the others had their turn"
    none = Weeks(policy, 2, seasonal_series=0)
    assert np.isnan(scored(none.live(waves(10, 2)))).all()


def test_who_may_not_raise_an_alert_has_no_profile(policy: AnomalyPolicy) -> None:
    weeks = Weeks(policy, 2)
    weeks.keys = (weeks.keys[0], weeks.keys[1]._replace(signal="max_running"))
    weeks.live(waves(1, 2))
    assert weeks.season.state()["fixed_owner"].shape == (1,)


def test_it_goes_on_from_its_state_in_other_columns(policy: AnomalyPolicy) -> None:
    weeks = Weeks(policy, 3)
    weeks.live(waves(14, 3) * [1, 2, 3])
    state = weeks.season.state()
    again = Weeks(policy, 3)
    again.keys, again.tick = (weeks.keys[2], again.keys[0]._replace(stat="x"), weeks.keys[0]), weeks.tick
    again.season.restore({**state, "tried": state["tried"][[2, 1, 0]]})
    again.season.restore(again.season.state())
    one, other = weeks.look(180, 360, 540), again.look(540, 360, 180)
    np.testing.assert_array_equal(one.score[[2, 0]], other.score[[0, 2]])
    assert np.isnan(other.score[1])
    assert again.season.state()["fixed_owner"].shape == (2,), "an owner that is gone has no seat"
    with pytest.raises(ValueError, match="lacks the arrays fixed_day"):
        again.season.restore({name: array for name, array in state.items() if name != "fixed_day"})


def test_a_new_owner_of_a_column_starts_anew(policy: AnomalyPolicy) -> None:
    weeks = Weeks(policy, 1)
    weeks.live(waves(14))
    weeks.keys, weeks.generation = (weeks.keys[0]._replace(signal="tokens_out"),), np.array([9])
    assert np.isnan(weeks.look(180).score[0])
    weeks.live(waves(1))
    assert weeks.season.state()["fixed_judged"].tolist() == [0]


def test_hours_with_gaps_teach_nothing(policy: AnomalyPolicy) -> None:
    weeks = Weeks(policy, 1)
    weeks.live(waves(14))
    weeks.live(np.full((1, 1), NAN))
    before = weeks.season.state()
    gap = weeks.live(np.full((IN_HOUR - 2, 1), NAN))
    weeks.live(np.full((1, 1), 500.0))  # a third of the hour
    weeks.live(np.full((IN_HOUR, 1), NAN))
    after = weeks.season.state()
    assert np.isnan(scored(gap)).all()
    for name in ("level", "day", "week", "judged"):
        np.testing.assert_array_equal(before[f"fixed_{name}"], after[f"fixed_{name}"], err_msg=name)


def test_an_accepted_level_moves_the_profile(policy: AnomalyPolicy) -> None:
    weeks = Weeks(policy, 2)
    weeks.live(waves(14, 2))
    assert (weeks.look(520, 520).score > 1).all()
    weeks.season.relearn(weeks.window(np.array([520.0, 520.0])), np.array([True, False]))
    found = weeks.look(520, 520)
    assert found.score[0] < 0.1
    assert found.score[1] > 1
    weeks.live(waves(0.5) + np.array([500, 0]))
    assert weeks.look(680, 180).score[0] < 1, "the shape stays"


def test_the_past_does_not_know_the_future(policy: AnomalyPolicy) -> None:
    rows = waves(10)
    one, other = Weeks(policy, 1), Weeks(policy, 1)
    cut = 9 * IN_DAY + 7
    ours = scored(one.live(rows[:cut]))
    theirs = scored(other.live(np.concatenate([rows[:cut], rows[cut:] * 5])))[:cut]
    assert ours.tobytes() == theirs.tobytes()
