"""Durations and sizes: what is read, what is refused, and that printing and reading are inverse."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from aiops.kit.settings import Duration, Secret, Section, Size, format_duration, format_size, parse_duration, parse_size


class Sample(Section):
    """A section for these tests."""

    wait: Duration = 5.0
    """A wait."""
    room: Size = 1024
    """A size."""
    token: Secret = SecretStr("")
    """A secret."""


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("5s", 5),
        ("1m", 60),
        ("1h30m", 5400),
        ("2d", 172_800),
        ("1m500ms", 60.5),
        ("7", 7),
        (" 3s ", 3),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds
    assert Sample.model_validate({"wait": text}).wait == seconds


@pytest.mark.parametrize("wrong", ["5x", "", "s", "1s1m", "-5s", -1, "nan", "inf", float("inf"), None, [5]])
def test_what_is_no_duration(wrong: object) -> None:
    with pytest.raises(ValidationError):
        Sample.model_validate({"wait": wrong})


@pytest.mark.parametrize(
    ("text", "size"), [("16MiB", 2**24), ("1GB", 10**9), ("512Ki", 2**19), ("1.5K", 1500), ("7", 7)]
)
def test_sizes(text: str, size: int) -> None:
    assert Sample.model_validate({"room": text}).room == size


@pytest.mark.parametrize("wrong", ["16XB", "", -1, "-1MiB", 1.5])
def test_what_is_no_size(wrong: object) -> None:
    with pytest.raises(ValidationError):
        Sample.model_validate({"room": wrong})


@given(st.integers(0, 10**10).map(lambda milliseconds: milliseconds / 1000) | st.floats(0, 1e7))
def test_a_printed_duration_reads_back(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, abs=1e-9)


@given(st.integers(0, 2**50))
def test_a_printed_size_reads_back(size: int) -> None:
    assert parse_size(format_size(size)) == size


def test_dumps_read_like_a_file_and_keep_the_secret() -> None:
    sample = Sample(wait=5400.0, room=2**20, token=SecretStr("canary"))
    assert sample.model_dump(mode="json") == {"wait": "1h30m", "room": "1MiB", "token": "<secret>"}
    assert "canary" not in f"{sample!r} {sample} {sample.model_dump()}"
