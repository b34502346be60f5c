"""What follows from opinions: by how much, for how long, and never beyond the bounds."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.detect.base import AlertKey, Scope, scope_of
from aiops.detect.leniency import MOST_WIDER
from aiops.incidents.feedback import (
    EXPECTED_LASTS_SECONDS,
    LASTS_SECONDS,
    MOST_PRIOR,
    Judgement,
    Opinion,
    consequences,
    effects_of,
    tallies,
)
from aiops.signals.types import Entity, EntityKind, SeriesKey

DAY = 86_400.0
NOW = 20_000 * DAY + 2 * 3600.0
KEY = AlertKey(
    "LLMQueueLengthAnomalous",
    SeriesKey(Entity.of(EntityKind.REPLICA, job="chat", instance="a:1", model_name="m"), "queue_len"),
)
SCOPE = scope_of(KEY)


def opinion(judgement: Judgement = Judgement.FALSE, score: float = 2.0, name: str = "1", **changes: object) -> Opinion:
    made = Opinion(name, NOW, judgement, KEY, "f" * 16, NOW - 600.0, NOW, score, True, ("zscore",))
    return replace(made, **changes)  # type: ignore[arg-type]


def widened(*opinions: Opinion, now: float = NOW) -> float:
    return effects_of(opinions, now).wider.get(SCOPE, 1.0)


def test_each_false_alarm_widens_by_its_share_and_the_third_by_all() -> None:
    false = [opinion(name=str(number), score=2.0) for number in range(4)]
    assert [widened(*false[:count]) for count in range(5)] == pytest.approx([1.0, 1.5, 2.0, 2.5, 2.5])
    assert 2.0 / widened(*false[:3]) < 1.0, "an alarm of that height is not told any more"


def test_a_true_alarm_must_come_again() -> None:
    false = [opinion(name=str(number), score=3.0) for number in range(3)]
    assert widened(*false, opinion(Judgement.TRUE, score=2.5, name="t")) == pytest.approx(2.0)
    assert widened(*false, opinion(Judgement.TRUE, score=1.0, name="t")) == 1.0


def test_an_undo_leaves_nothing() -> None:
    false = [opinion(name=str(number)) for number in range(3)]
    undone = [replace(one, undone_at=NOW) for one in false]
    assert widened(*undone) == 1.0
    assert widened(*undone[:2], false[2]) == pytest.approx(1.5)
    assert consequences(undone[0], effects_of(undone, NOW), NOW) == ["undone: it changes nothing any more"]
    assert tallies(undone) == {}


def test_opinions_grow_old() -> None:
    assert widened(opinion(), now=NOW + LASTS_SECONDS - 1.0) > 1.0
    assert widened(opinion(), now=NOW + LASTS_SECONDS) == 1.0
    expected = opinion(Judgement.EXPECTED)
    assert effects_of([expected], NOW + EXPECTED_LASTS_SECONDS - 1.0).patterns
    assert not effects_of([expected], NOW + EXPECTED_LASTS_SECONDS).patterns


def test_what_was_said_outlasts_a_rollout_and_stays_within_its_job() -> None:
    def of(**labels: str) -> Scope:
        return scope_of(AlertKey(KEY.rule, SeriesKey(Entity.of(EntityKind.REPLICA, **labels), "queue_len")))

    assert of(job="chat", instance="b:2", model_name="m") == SCOPE
    assert of(job="embed", instance="a:1", model_name="m") != SCOPE
    assert of(instance="a:1") != of(instance="b:2"), "an instance without a job is only itself"


def test_an_expected_alarm_is_expected_at_that_time_of_every_day() -> None:
    before_midnight = opinion(Judgement.EXPECTED, started_at=20_000 * DAY - 600.0, ended_at=20_000 * DAY + 1200.0)
    effects = effects_of([before_midnight], NOW)
    at = {
        clock: effects.thresholds(20_003 * DAY + clock).get(SCOPE, 1.0) for clock in (-5400.0, -600.0, 1200.0, 7200.0)
    }
    assert list(at.values()) == [1.0, MOST_WIDER, MOST_WIDER, 1.0]
    same = effects.thresholds(20_003 * DAY)
    assert effects.thresholds(20_003 * DAY + 5.0) is same, "the bank relies on the identity"
    (text,) = (line for line in consequences(before_midnight, effects, NOW) if "pattern" in line)
    assert "23:00 to 01:00 UTC" in text


def test_what_no_statistical_rule_raised_has_no_effect_but_is_counted() -> None:
    rule = opinion(statistical=False, detectors=("rule",))
    effects = effects_of([rule] * 9, NOW)
    assert (dict(effects.wider), effects.patterns) == ({}, ())
    assert "its condition stays" in " ".join(consequences(rule, effects, NOW))
    assert tallies([rule])["rule"].false == 1


def test_precision_is_of_occurrences_and_the_last_word_counts() -> None:
    first, second = opinion(name="1"), opinion(Judgement.TRUE, name="2", at=NOW + 5.0)
    other = opinion(Judgement.FALSE, name="3", started_at=NOW, detectors=("zscore", "arima"))
    planned = opinion(Judgement.EXPECTED, name="4", started_at=NOW + 1.0)
    counts = tallies([second, first, other, planned])
    assert counts["zscore"].precision == 0.5
    assert counts["arima"].precision == 0.0
    assert repr(tallies([planned])["zscore"].precision) == "nan"


def test_priors_move_only_after_enough_opinions_and_within_bounds() -> None:
    said = [opinion(Judgement.TRUE, name=str(n), cause="kv-exhausted", diagnosed="slow-gpu") for n in range(20)]
    assert effects_of(said[:2], NOW).priors == {}
    few, many = effects_of(said[:3], NOW).priors, effects_of(said, NOW).priors
    assert few["slow-gpu"] < 1.0 < few["kv-exhausted"] < MOST_PRIOR
    assert many == {"kv-exhausted": MOST_PRIOR, "slow-gpu": 1.0 / MOST_PRIOR}
    agreed = [replace(one, cause="slow-gpu") for one in said]
    assert effects_of(agreed, NOW).priors == {"slow-gpu": MOST_PRIOR}
    assert effects_of([replace(one, cause="") for one in said], NOW).priors == {}, "nobody said what it was"


opinions = st.builds(
    opinion,
    st.sampled_from(Judgement),
    st.floats(allow_nan=True),
    st.text(max_size=3),
    at=st.floats(0, 2 * NOW),
    started_at=st.floats(0, 2 * NOW),
    ended_at=st.floats(0, 2 * NOW),
    undone_at=st.sampled_from([0.0, 1.0]),
    cause=st.sampled_from(["", "a", "b"]),
    diagnosed=st.sampled_from(["", "a"]),
)


@given(st.lists(opinions, max_size=12), st.floats(0, 4e9))
def test_nobody_can_ask_for_more_than_the_bounds(said: list[Opinion], now: float) -> None:
    effects = effects_of(said, now)
    assert all(1.0 < divisor <= MOST_WIDER for divisor in effects.thresholds(now).values())
    assert all(1.0 / MOST_PRIOR <= factor <= MOST_PRIOR for factor in effects.priors.values())
    assert all(0.0 < pattern.lasts <= 8 * 3600.0 for pattern in effects.patterns)
    for one in said:
        assert consequences(one, effects, now)
