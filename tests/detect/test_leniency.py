"""Wider thresholds in the columns that they are meant for, and in no others."""

import numpy as np

from aiops.detect.base import AlertKey, Scores, Window, scope_of
from aiops.detect.leniency import MOST_WIDER, Leniency
from aiops.signals.types import Entity, EntityKind, SeriesKey

KEYS = tuple(
    SeriesKey(Entity.of(EntityKind.REPLICA, job=job, instance=f"{job}:{number}"), "queue_len")
    for job in ("chat", "embed")
    for number in range(2)
)
WATCH = np.array([0, 0, 0, -1, -1])
RULES = ["QueueLong"]
CHAT = scope_of(AlertKey("QueueLong", KEYS[0]))


def window(keys: tuple[SeriesKey | None, ...] = (*KEYS, None)) -> Window:
    return Window(0.0, 5.0, np.zeros((1, len(keys)), np.float32), keys, np.zeros(len(keys), np.int64))


def scores() -> Scores:
    def row(*values: float) -> np.ndarray:
        return np.array(values, np.float32)

    nothing = np.nan
    return Scores(
        score=row(2, 3, 3, nothing, nothing),
        expected=row(10, 10, 10, nothing, nothing),
        lower=row(-np.inf, 5, 5, nothing, nothing),
        upper=row(20, 15, 15, nothing, nothing),
    )


def test_the_columns_of_a_scope_are_judged_more_leniently() -> None:
    found = Leniency(RULES).applied(scores(), window(), WATCH, {CHAT: 2.0})
    np.testing.assert_array_equal(found.score, np.array([1.0, 1.5, 3.0, np.nan, np.nan], np.float32))
    np.testing.assert_array_equal(found.lower, np.array([-np.inf, 0, 5, np.nan, np.nan], np.float32))
    np.testing.assert_array_equal(found.upper, np.array([30, 20, 15, np.nan, np.nan], np.float32))


def test_no_divisor_leaves_its_bounds() -> None:
    leniency = Leniency(RULES)
    assert leniency.applied(scores(), window(), WATCH, {CHAT: 1e9}).score[0] == 2.0 / MOST_WIDER
    assert leniency.divisor(0) == MOST_WIDER
    assert leniency.applied(scores(), window(), WATCH, {CHAT: 0.1}).score[0] == 2.0


def test_without_wider_thresholds_nothing_is_copied() -> None:
    leniency, plain = Leniency(RULES), scores()
    assert leniency.applied(plain, window(), WATCH, {CHAT: 2.0}) is not plain
    assert leniency.applied(plain, window(), WATCH, {}) is plain
    assert leniency.divisor(0) == 1.0
    assert leniency.applied(plain, window(), WATCH, {scope_of(AlertKey("Other", KEYS[0])): 2.0}) is plain


def test_it_follows_the_columns_and_the_wishes() -> None:
    leniency, wishes = Leniency(RULES), {CHAT: 2.0}
    assert leniency.applied(scores(), window(), WATCH, wishes).score[0] == 1.0
    turned = window((KEYS[2], KEYS[1], KEYS[0], KEYS[3], None))
    found = leniency.applied(scores(), turned, WATCH, wishes)
    assert [found.score[0], found.score[2]] == [2.0, 1.5]
    assert leniency.applied(scores(), turned, WATCH, {CHAT: 3.0}).score[2] == 1.0
