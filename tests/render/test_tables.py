"""Tables fit, align and never obey their cells."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.render.tables import NARROWEST, broken, column_widths, cut, display_width, table


def test_a_table() -> None:
    assert table(["A", "LONGER"], [["x", "y"], ["longer", "z"]]) == "A       LONGER\nx       y\nlonger  z\n"
    assert table(["A"], [], header=False) == ""
    assert table(["A"], [["b"]], header=False) == "b\n"


def test_the_widest_column_is_cut() -> None:
    text = table(["A", "B"], [["short", "x" * 100]], width=20)
    assert text.splitlines()[1] == "short  " + "x" * 12 + "…"


def test_wide_characters_take_two_cells() -> None:
    assert display_width("日本") == 4
    assert display_width("e\u0301") == 1
    assert cut("日本語", 4) == "日…"
    assert table(["A", "B"], [["日本", "x"], ["abcd", "y"]]) == "A     B\n日本  x\nabcd  y\n"


def test_only_whole_words_are_painted_and_alignment_stays() -> None:
    text = table(["S", "N"], [["up", "1"], ["upper", "2"]], colours={"up": "\x1b[32m"})
    assert text == "S      N\n\x1b[32mup\x1b[0m     1\nupper  2\n"


@given(st.lists(st.integers(0, 200), min_size=1, max_size=8), st.integers(20, 200))
def test_widths(natural: list[int], total: int) -> None:
    widths = column_widths(natural, total)
    used = sum(widths) + 2 * (len(widths) - 1)
    assert all(width <= wanted for width, wanted in zip(widths, natural, strict=True))
    assert used <= total or max(widths) <= NARROWEST
    if sum(natural) + 2 * (len(natural) - 1) <= total:
        assert widths == natural
    elif max(widths) > NARROWEST:
        assert used == total  # no cell is wasted
    shortened = [width for width, wanted in zip(widths, natural, strict=True) if width < wanted]
    assert not shortened or max(widths) - min(shortened) <= 1  # only the widest gave something


@given(st.lists(st.lists(st.text(st.characters(codec=None)), min_size=2, max_size=2), max_size=4))
@pytest.mark.parametrize("width", [None, 30])
def test_any_cell_is_one_harmless_line(width: int | None, rows: list[list[str]]) -> None:
    text = table(["A", "B"], rows, width=width)
    assert text.count("\n") == len(text.splitlines()) == len(rows) + 1
    assert "\x1b" not in text
    assert all(width is None or display_width(line) <= width for line in text.splitlines())


def test_sentences_of_the_last_column_go_on_below() -> None:
    text = table(["A", "WHY"], [["chat", "one two three four five six"], ["x", "short"]], width=30, wraps=True)
    assert text == "A     WHY\nchat  one two three four five\n      six\nx     short\n"
    assert table(["A", "WHY"], [["x", "y " * 50]], wraps=True).count("\n") == 2  # who pipes a table wants lines


@given(st.text(st.characters(codec=None)), st.integers(2, 40))
def test_breaking_loses_only_spaces_and_fits(text: str, width: int) -> None:
    lines = broken(text, width)
    assert all(display_width(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())
