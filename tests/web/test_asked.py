"""What is asked wrongly is told where, what was there, and what was expected."""

import re

import pytest
from pydantic import ValidationError

from aiops.kit.settings import Section
from aiops.web.api import said
from aiops.web.asked import Change, LabelsTried, Plan


@pytest.mark.parametrize(
    ("model", "body", "reason"),
    [
        (Plan, {"lasts": 60}, "name is missing"),
        (Plan, {"name": "x", "lasts": "soon"}, "lasts is 'soon': .*'soon' is not a duration"),
        (Plan, {"name": "x", "lasts": 0}, "lasts is 0: .*greater than 0"),
        (Plan, {"name": "x", "lasts": 60, "begins": "2030-01-01T00:00:00"}, "begins is .*timezone"),
        (Plan, {"name": "x", "lasts": 60, "matches": {"pool": ""}}, "matches is .*expected a value"),
        (Plan, {"name": "x", "lasts": 60, "skip": ["sleep"]}, "skip.0 is 'sleep': .*'alert' or 'learning'"),
        (Plan, {"name": "x", "lasts": 60, "who": "me"}, "'who' is unknown"),
        (Change, {"text": ""}, "text is '': .*at least 1 character"),
        (LabelsTried, {"labels": "{"}, "labels is '{': expected a JSON object of texts"),
        (LabelsTried, {"labels": "x" * 10_000}, "labels is 'x{199}…: expected"),
    ],
)
def test_what_is_wrong_is_said(model: type[Section], body: dict[str, object], reason: str) -> None:
    with pytest.raises(ValidationError) as wrong:
        model.model_validate(body)
    assert re.match(reason, said(wrong.value)), said(wrong.value)
