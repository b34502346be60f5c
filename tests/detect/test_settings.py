"""Settings of the detect room."""

import pytest
from pydantic import ValidationError

from aiops.detect.settings import DetectSettings


def test_defaults_are_the_documented_ones_and_units_are_parsed() -> None:
    assert DetectSettings().relearn_after == 1800
    assert DetectSettings(relearn_after="1h").relearn_after == 3600  # type: ignore[arg-type]
    assert DetectSettings(severity={"TargetDown": "info"}).severity["TargetDown"] == "info"  # type: ignore[dict-item]


def test_nonsense_is_refused() -> None:
    for wrong in ({"threshold_sigma": 0}, {"minimum_samples": 1}, {"estimator": "magic"}, {"sigma": 3}):
        with pytest.raises(ValidationError):
            DetectSettings(**wrong)  # type: ignore[arg-type]


def test_every_field_is_explained() -> None:
    for name, field in DetectSettings.model_fields.items():
        assert field.description, name
