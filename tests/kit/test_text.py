"""Nothing printable leaves as more than one line or as a command to a terminal."""

import json
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from aiops.kit.text import clipped, printable


def test_escapes_are_visible() -> None:
    assert printable("a\nb\tc\x1b[31mred\x9b\u202e\u2028") == "a\\nb\\tc\\u001b[31mred\\u009b\\u202e\\u2028"
    assert printable("71 °C × 2 – fine …") == "71 °C × 2 – fine …"


@given(st.text(st.characters(codec=None)))
def test_no_control_character_survives(text: str) -> None:
    result = printable(text)
    assert len(result.splitlines()) <= 1
    assert not any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in result)


@given(st.text())
def test_json_keeps_its_meaning(text: str) -> None:
    assert json.loads(printable(json.dumps(text, ensure_ascii=False))) == text


def test_clipped() -> None:
    assert clipped("abcdef", 6) == "abcdef"
    assert clipped("abcdefg", 6) == "abcde…"
    assert clipped("abc", 0) == "…"
