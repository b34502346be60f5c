"""What a numbered fact says."""

from math import inf, nan

import pytest

from aiops.diagnose.evidence import sentence
from aiops.diagnose.scene import Fact
from aiops.signals.types import Entity, EntityKind, SeriesKey

KEY = SeriesKey(Entity.of(EntityKind.POOL, pool="chat"), "ttft", "p95")
NAME = 'ttft:p95 of pool{pool="chat"}'


@pytest.mark.parametrize(
    ("expected", "value", "lost", "words"),
    [
        (0.2, 3.0, False, "rose from 0.2 seconds to 3 seconds"),
        (3.0, 0.2, False, "fell from 3 seconds to 0.2 seconds"),
        (0.2, 0.2, False, "stayed at 0.2 seconds"),
        (nan, 0.2, False, "is 0.2 seconds, before it was unknown"),
        (0.2, nan, True, "is not reported any more; it was 0.2 seconds"),
        (0.2, 3.0, True, "rose from 0.2 seconds to 3 seconds, and is not reported any more"),
    ],
)
def test_a_fact_says_how_it_moved_and_whether_it_is_still_there(
    expected: float,
    value: float,
    lost: bool,
    words: str,
) -> None:
    fact = Fact(
        KEY,
        "seconds",
        expected,
        value,
        highest=value,
        last=value,
        up=inf,
        down=0.0,
        occurred=False,
        lost=lost,
        onset=nan,
    )
    assert sentence(fact) == f"{NAME} {words}"
