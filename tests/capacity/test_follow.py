"""Recommendations are held against what came."""

import numpy as np
import pytest

from aiops.capacity.follow import Followed, Track
from aiops.capacity.scaling import CurvePoint, Recommendation
from tests.capacity.pool_histories import history


def advice(at: float, now: int, desired: int | None) -> Recommendation:
    curve = tuple(CurvePoint(count, 0.5 + count / 20.0, 0.0, 1.0) for count in range(1, 9))
    return Recommendation(at, now, now, desired, "", curve=curve, lead_seconds=150.0)


@pytest.mark.parametrize(
    ("before", "desired", "there", "followed"),
    [
        (2, 4, 4.0, Followed.FOLLOWED),
        (2, 4, 3.0, Followed.FOLLOWED),
        (2, 4, 2.0, Followed.NOT_FOLLOWED),
        (4, 2, 2.0, Followed.FOLLOWED),
        (4, 2, 5.0, Followed.NOT_FOLLOWED),
        (3, 3, 3.0, Followed.KEPT),
        (3, 3, 4.0, Followed.NOT_FOLLOWED),
    ],
)
def test_what_was_done(before: int, desired: int, there: float, followed: Followed) -> None:
    track = Track()
    assert track.remember(advice(9_700.0, before, desired)) is not None
    seen = history(60, replicas=there, queue_wait=np.where(np.arange(60) % 2, 0.2, 3.0), queue_rate=1.0)
    assert track.score(seen, 9_999.0, slo_seconds=1.0) == []
    [scored] = track.score(seen, 10_000.0, slo_seconds=1.0)
    assert scored.followed is followed
    assert scored.kept_share == pytest.approx(0.5)
    assert scored.predicted == pytest.approx(0.5 + there / 20.0)
    assert track.mean_error == pytest.approx(there / 20.0)
    assert f"{before} → {desired}" in str(scored)
    assert track.open == []


def test_what_nobody_saw_is_not_judged() -> None:
    track = Track()
    track.remember(advice(9_700.0, 2, 4))
    assert track.score(history(60, end=9_700.0, replicas=2.0), 20_000.0, slo_seconds=1.0) == []
    assert (track.open, track.judged, set(track.counts.values())) == ([], 0, {0})


def test_only_news_is_remembered_and_silence_is_not_scored() -> None:
    track = Track()
    assert track.remember(advice(0.0, 2, None)) is None
    assert track.remember(advice(0.0, 2, 3)) is not None
    assert track.remember(advice(30.0, 2, 3)) is None
    assert track.remember(advice(60.0, 2, 4)) is not None
    assert track.remember(advice(700.0, 2, 4)) is not None
    [first, *_] = track.score(history(4, end=400.0, replicas=2.0), 400.0, slo_seconds=1.0)
    assert np.isnan(first.kept_share)
    assert "no waits" in str(first)
    assert np.isnan(track.mean_error)
