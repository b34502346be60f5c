"""YAML as plain data with lines; what is hostile or ambiguous is refused without harm."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.app.config_file import LARGEST_FILE_BYTES, MOST_VALUES, Document, parse
from tests.conftest import effort


def read(text: str) -> Document:
    document = parse(text.encode(), "f")
    assert not document.problems
    return document


def test_every_key_and_item_knows_its_line() -> None:
    document = read("# comment\na: 1\nb:\n  - x\n  - c: 2\n    d: [3,\n      4]\n")
    assert document.data == {"a": 1, "b": ["x", {"c": 2, "d": [3, 4]}]}
    assert document.lines == {
        ("a",): 2,
        ("b",): 3,
        ("b", 0): 4,
        ("b", 1): 5,
        ("b", 1, "c"): 5,
        ("b", 1, "d"): 6,
        ("b", 1, "d", 0): 6,
        ("b", 1, "d", 1): 7,
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),  # YAML 1.1 says false: the country code of Norway
        ("1:30", "1:30"),  # YAML 1.1 says 90
        ("2024-01-01", "2024-01-01"),  # YAML 1.1 says a date
        ("010", 10),  # YAML 1.1 says 8
        ("true", True),
        ("~", None),
        ("", None),
        ("'5'", "5"),
        ("!!str 5", "5"),
        ("-3", -3),
        ("1e3", 1000.0),
        (".5", 0.5),
        (".nan", ".nan"),
        ("9" * 5000, "9" * 5000),  # int() refuses so many digits with an exception
    ],
)
def test_plain_words(text: str, value: object) -> None:
    assert read(f"a: {text}\n").data == {"a": value}


def test_aliases_and_merges_work() -> None:
    document = read("a: &x {p: 1, q: 2}\nb: {<<: *x, q: 3}\nc: *x\nd: {<<: [*x, {r: 4}]}\n")
    assert document.data["b"] == {"p": 1, "q": 3}
    assert document.data["c"] == {"p": 1, "q": 2}
    assert document.data["d"] == {"p": 1, "q": 2, "r": 4}


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "\ufeff", "~"])
def test_an_empty_file_is_an_empty_configuration(text: str) -> None:
    assert read(text).data == {}


def test_an_alias_bomb_costs_little() -> None:
    lines = ["a0: &a0 [" + ",".join("x" * 10) + "]"]
    lines += [f"a{n}: &a{n} [" + ",".join([f"*a{n - 1}"] * 10) + "]" for n in range(1, 30)]
    document = parse("\n".join(lines).encode(), "f")
    assert document.data == {}
    assert f"more than {MOST_VALUES} values" in document.problems[0].message
    assert len(document.lines) <= MOST_VALUES


@pytest.mark.parametrize("text", ["[" * 500_000, "{a: " * 200_000, "- " * 300_000, "a: &a [*a]", "a: &a {<<: *a}"])
def test_endless_nesting_is_refused(text: str) -> None:
    # libyaml's own tree builder overflows the C stack on the first of these.
    document = parse(text.encode(), "f")
    assert len(document.problems) == 1
    assert document.data == {}


@effort(100)
@given(st.binary(max_size=200) | st.text(alphabet="a:[]{}-&*!<>|#%@'\"\n\t 1", max_size=60).map(str.encode))
def test_nothing_makes_it_raise(content: bytes) -> None:
    assert parse(content, "f").name == "f"


_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.text(st.characters(exclude_categories=["C", "Z"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abcXYZ_", min_size=1), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text("abcXYZ_", min_size=1), _PLAIN, max_size=4))
def test_reads_json(data: dict[str, object]) -> None:
    assert read(json.dumps(data, ensure_ascii=False, indent=1)).data == data


def test_the_cap_is_a_cap() -> None:
    assert LARGEST_FILE_BYTES <= 4 * 1024 * 1024
