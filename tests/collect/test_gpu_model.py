"""The table of clock-limit bits and Xid errors that is shipped."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from aiops.collect.gpu_model import ClockLimit, NvidiaModel

TABLE = Path(__file__).resolve().parents[2] / "models" / "gpus" / "nvidia.yaml"


@pytest.fixture(scope="module")
def model() -> NvidiaModel:
    return NvidiaModel.parse(TABLE.read_text())


def test_each_limit_has_its_bits(model: NvidiaModel) -> None:
    assert model.mask(ClockLimit.POWER) == 0x4
    assert model.mask(ClockLimit.THERMAL) == 0x20 | 0x40
    assert model.mask(ClockLimit.BRAKE) == 0x80
    assert model.mask(ClockLimit.OTHER) == 0x8


def test_bits_are_single_and_not_told_twice(model: NvidiaModel) -> None:
    bits = [reason.bit for reason in model.clock_reasons]
    assert all(bit.bit_count() == 1 for bit in bits)
    assert len(set(bits)) == len(bits)


@pytest.mark.parametrize(
    ("code", "severity", "family"),
    [
        (79, "critical", "bus"),
        (48, "critical", "memory"),
        (31, "warning", "application"),
        (45, "info", "application"),
        (119, "critical", "firmware"),
        (74, "critical", "link"),
    ],
)
def test_known_errors_have_their_class(model: NvidiaModel, code: int, severity: str, family: str) -> None:
    assert (model.xids[code].severity, model.xids[code].family) == (severity, family)
    assert model.describe_xid(code).startswith(f"Xid {code} ({severity}, {family}): ")


def test_an_unknown_error_is_still_named(model: NvidiaModel) -> None:
    assert "Xid 4711" in model.describe_xid(4711)


def test_every_sentence_ends(model: NvidiaModel) -> None:
    texts = [text for xid in model.xids.values() for text in (xid.meaning, xid.action)]
    assert all(text.endswith(".") for text in (*texts, *(reason.meaning for reason in model.clock_reasons)))


def test_a_bad_entry_is_named() -> None:
    with pytest.raises(ValidationError, match=r"xids\.79\.severity"):
        NvidiaModel.parse("clock_reasons: []\nxids: {79: {family: bus, severity: awful, meaning: a, action: b}}")
