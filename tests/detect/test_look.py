"""What statistics saw, told without judging anew."""

import numpy as np
import pytest

from aiops.detect.base import AlertKey, Scores, Standing, Window
from aiops.detect.look import look_around, look_at
from aiops.signals.types import Entity, EntityKind, SeriesKey

REPLICA, OTHER = (Entity.of(EntityKind.REPLICA, instance=name) for name in "ab")
KEYS = tuple(SeriesKey(REPLICA, name) for name in ("running", "queue_len", "kv_use"))
NAN = float("nan")


def scores(*score: float) -> Scores:
    array = np.array(score, np.float32)
    return Scores(array, array * 0 + 5, array * 0 + 4, array * 0 + 6)


@pytest.mark.parametrize(
    ("value", "score", "broken", "note"),
    [(9.0, 4.0, True, ""), (5.0, 0.2, False, ""), (5.0, NAN, None, "too little was seen"), (NAN, NAN, None, "")],
)
def test_a_series_is_broken_fine_or_unknown(value: float, score: float, broken: bool | None, note: str) -> None:
    window = Window(0.0, 5.0, np.array([[value]], np.float32), KEYS[:1], np.ones(1, np.int64))
    look = look_at(AlertKey("R", KEYS[0]), 0, window, scores(score), "")
    assert look.broken is broken
    assert look.parts[0].holds is broken
    assert look.note.startswith(note)
    assert bool(look.note) is bool(note)
    assert set(look.values) == {"value", "score", "expected", "lower", "upper"}


def test_around_an_entity_only_what_may_raise_alerts_counts() -> None:
    of_entity = {REPLICA: np.array([0, 1, 2, 3])}
    score = np.array([2.0, 0.5, NAN, 3.0], np.float32)
    watched = np.array([True, True, True, False])
    assert look_around([REPLICA, OTHER], of_entity, score, watched) == {REPLICA: Standing(3, 1, 1)}
