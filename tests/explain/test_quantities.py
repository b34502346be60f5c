"""Numbers go out in words and come back the same."""

from math import inf, isclose

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.explain.quantities import quantities, worded
from aiops.signals.catalog import SIGNALS

UNITS = sorted({signal.unit for signal in SIGNALS.values()})


@given(st.sampled_from(UNITS), st.floats(1e-6, 1e13))
def test_what_is_worded_reads_back(unit: str, value: float) -> None:
    (read,) = quantities(f"It was {worded(value, unit)}, so.")
    assert abs(read.value - value) <= max(read.slack * 1.001, 0.006 * value)
    assert read.unit == ("" if unit == "state" else unit)


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("4.2 s", 4.2, "seconds"),
        ("420ms", 0.42, "seconds"),
        ("1,250 requests", 1250.0, "requests"),
        ("1.2 GHz", 1.2e9, "hertz"),
        ("93%", 0.93, "ratio"),
        ("83 °C", 83.0, "celsius"),
        ("-3 °C", -3.0, "celsius"),
        ("2.5 分钟", 150.0, "seconds"),
        ("为 83 度", 83.0, "celsius"),
        ("10x", 10.0, "times"),
        ("1.5e3 W", 1500.0, "watts"),
        ("79", 79.0, ""),
    ],
)
def test_forms(text: str, value: float, unit: str) -> None:
    (read,) = quantities(text)
    assert isclose(read.value, value)
    assert read.unit == unit


def test_names_are_no_numbers() -> None:
    assert quantities("gpu3 v1 p95 h100 E7") == ()


def test_what_is_too_large_is_infinite() -> None:
    assert [(q.value, q.slack) for q in quantities("1e999 s, -1e999")] == [(inf, 0.0), (-inf, 0.0)]


def test_unknown_is_a_word() -> None:
    assert (worded(float("nan"), "seconds"), worded(0.0, "seconds")) == ("unknown", "0 s")
