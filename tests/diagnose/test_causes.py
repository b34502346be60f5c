"""The order of causes that fit: what was seen, what explains what, and what people said before."""

import pytest

from aiops.diagnose.causes import match
from aiops.diagnose.signature import CauseBook
from tests.diagnose.windows import GPU, look

BOOK = CauseBook.parse(
    {
        "actions.yaml": "actions: {look: Look at it}",
        "gpu.yaml": """
causes:
  - {id: a, title: A, at: gpu, requires: [gpu_temp rises], fix: Cool it, actions: [look], runbook: x}
  - {id: b, title: B, at: gpu, requires: [gpu_temp rises], fix: Cool it, actions: [look], runbook: x}
  - {id: c, title: C, at: gpu, requires: [gpu_temp falls], fix: Cool it, actions: [look], runbook: x}
""",
    }
)
HOT = look({(GPU, "gpu_temp"): (60.0, 90.0)})


@pytest.mark.parametrize(
    ("priors", "order"),
    [({}, ["a", "b"]), ({"b": 1.4}, ["b", "a"]), ({"a": 0.7}, ["b", "a"]), ({"c": 2.0}, ["a", "b"])],
)
def test_feedback_decides_between_causes_that_fit_and_makes_none_fit(
    priors: dict[str, float], order: list[str]
) -> None:
    found = match(BOOK, HOT, priors)
    assert [fit.signature.id for fit in found.fits] == order
    assert {fit.confidence for fit in found.fits} == {1.0}, "the share of its signs that was seen is no opinion"
    assert set(found.misfits) == {"c"}
