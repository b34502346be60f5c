import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.kit.regex import MOST_VALUE_CHARACTERS, BoundedRegex, ValueTooLong, bounded


@pytest.mark.parametrize(
    "text",
    [
        "(a+)+$",
        "(a*)*",
        "(a|a)*b",
        "(a|ab)*c",
        "(.*a){20}",
        "(a?){40}a{40}",
        "a?" * 40 + "a" * 40,
        ".*a.*b.*c.*d.*e.*f",
        "((ab)*c?)+",
        "(x+x+)+y",
        "([a-z]+){10}",
        "(?:(?:a|b)|(?:c|d)+){30}",
    ],
)
def test_what_could_take_exponential_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="exponential"):
        BoundedRegex(text)


@pytest.mark.parametrize(
    "text",
    [
        "(.*)",
        ".+",
        "",
        "([^:]+)(?::\\d+)?;(\\d+)",
        "(.+)-(.+)-(.+)",
        "__meta_kubernetes_pod_label_(.+)",
        "vllm|sglang|llama-cpp",
        "(?i)true",
        "(?P<host>[^:]+):\\d{1,5}",
        "gpu-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
        "(ab)*",
        "10\\.0\\.\\d{1,3}\\.\\d{1,3}:(80|8000|8080)",
        "(https?)",
    ],
)
def test_what_people_write_is_taken(text: str) -> None:
    assert 64 <= BoundedRegex(text).longest_value <= MOST_VALUE_CHARACTERS


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("(a", "cannot be read"),
        ("a" * 1001, "1001 characters"),
        ("(" * 400 + ")" * 400 + "(", "cannot be read"),
        ("(a)\\1", "back reference"),
        ("(?=a)a", "look-around"),
        ("a(?<!b)", "look-around"),
        ("(?>a+)b", "atomic"),
        ("a++", "possessive"),
        ("(a)?(?(1)b|c)", "conditional"),
        ("[[:alpha:]]+", "POSIX"),
        ("a{99999999999999999999}", "cannot be read"),
    ],
)
def test_what_cannot_be_used_is_explained(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        BoundedRegex(text)


def test_the_worst_value_for_the_worst_accepted_regex_ends() -> None:
    """The test is that it returns: without the bound this is 2**64 steps or n**4."""
    for text in (".*a.*a.*b", "(.*)a(.*)a(.*)b", "a?" * 12 + "a+b", "(a|a|a|a){8}b"):
        regex = BoundedRegex(text)
        assert regex.fullmatch("a" * regex.longest_value) is None


def test_anchored_dot_and_ascii() -> None:
    assert bounded("b").fullmatch("abc") is None
    assert bounded("a|b").fullmatch("ac") is None
    assert bounded("a.b").fullmatch("a\nb")
    assert bounded("\\d").fullmatch("٣") is None


def test_a_longer_value_is_an_error_not_a_mismatch() -> None:
    regex = BoundedRegex("(.+)-(.+)-(.+)")
    assert regex.longest_value < MOST_VALUE_CHARACTERS
    with pytest.raises(ValueTooLong, match="characters"):
        regex.fullmatch("a" * (regex.longest_value + 1))


@given(st.text("ab|()*+?.", max_size=12), st.text("ab", max_size=64))
def test_accepted_means_the_same_as_python_says(text: str, value: str) -> None:
    try:
        regex = BoundedRegex(text)
    except ValueError:
        return
    assert bool(regex.fullmatch(value)) == bool(re.compile(text, re.ASCII | re.DOTALL).fullmatch(value))
