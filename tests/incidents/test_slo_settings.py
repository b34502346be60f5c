"""A promise that cannot be kept track of is refused, with the reason."""

from typing import Any

import pytest
from pydantic import ValidationError

from aiops.incidents.slo_settings import Indicator, Objective, SloSettings


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"of": "ttft", "objective": 0.95}, "threshold belongs to latencies"),
        ({"of": "errors", "objective": 0.95, "threshold": "2s"}, "threshold belongs to latencies"),
        ({"of": "errors", "objective": 1.0}, "less than 1"),
        ({"of": "patience", "objective": 0.9}, "ttft"),
    ],
)
def test_a_bad_objective_is_refused(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Objective.model_validate(settings)


def test_two_objectives_of_one_kind_need_names() -> None:
    one = Objective(of=Indicator.ERRORS, objective=0.9)
    with pytest.raises(ValidationError, match="two objectives are called errors"):
        SloSettings(objectives=(one, one))
    named = SloSettings(objectives=(one, one.model_copy(update={"name": "strict"})))
    assert [each.title for each in named.objectives] == ["errors", "strict"]


def test_nobody_is_paged_for_a_latency_that_nobody_promised() -> None:
    assert {one.title: one.pages for one in SloSettings().objectives} == {
        "ttft": False, "itl": False, "e2e": False, "errors": True, "rejections": True,
    }  # fmt: skip
