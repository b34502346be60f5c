"""References expand, secrets do not come out again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.kit.secrets import Redactor, UnsetVariableError, expand, is_secret_name

ENVIRON = {"NAME": "value", "EMPTY": "", "DOLLAR": "${NAME}"}


@pytest.mark.parametrize(
    ("text", "expected", "names"),
    [
        ("plain", "plain", ()),
        ("${NAME}", "value", ("NAME",)),
        ("a${NAME}b${NAME}", "avaluebvalue", ("NAME", "NAME")),
        ("$${NAME}", "${NAME}", ()),
        ("$$", "$", ()),
        ("^go_.*$", "^go_.*$", ()),  # a regular expression
        ("$1-${2}", "$1-${2}", ()),  # a replacement of relabelling
        ("${NOPE:-5s}", "5s", ("NOPE",)),
        ("${NOPE:-}", "", ("NOPE",)),
        ("${EMPTY:-x}", "x", ("EMPTY",)),
        ("${DOLLAR}", "${NAME}", ("DOLLAR",)),  # what a variable holds is not expanded again
    ],
)
def test_expand(text: str, expected: str, names: tuple[str, ...]) -> None:
    assert expand(text, ENVIRON) == (expected, names)


@pytest.mark.parametrize("text", ["${NOPE}", "${", "${NAME", "${a-b}", "${}"])
def test_expand_refuses(text: str) -> None:
    with pytest.raises(UnsetVariableError):
        expand(text, ENVIRON)


@given(st.text(alphabet="ab$ 1"))
def test_doubled_dollars_come_out_single(text: str) -> None:
    assert expand(text.replace("$", "$$"), {}) == (text, ())


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("GET http://user:hunter2@host:9090/x failed", "hunter2"),
        ("https://hunter2@host", "hunter2"),
        ("postgres://u:hun@ter2@host/db", "ter2"),
        ("/api?x=1&token=hunter2&y=2", "hunter2"),
        ("?api_key=hunter2", "hunter2"),
        ("Authorization: Bearer hunter2.abc", "hunter2"),
        ("{'authorization': 'Basic aHVudGVyMg=='}", "aHVudGVyMg"),
        ("the canary-value itself", "canary-value"),
        ("in a URL: canary%2Fvalue", "canary%2Fvalue"),
    ],
)
def test_redact(text: str, gone: str) -> None:
    redactor = Redactor()
    redactor.register("canary-value", "canary/value")
    assert gone not in redactor.redact(text)
    assert "<secret>" in redactor.redact(text)


@pytest.mark.parametrize("text", ["up", "a@b.example", "http://host/path@2", "x=1&y=2", "max_tokens=5", "basic idea"])
def test_innocent_text_stays(text: str) -> None:
    redactor = Redactor()
    redactor.register("up", "")  # too short to be told from words
    assert redactor.redact(text) == text


def test_a_long_secret_hides_the_shorter_one_inside() -> None:
    redactor = Redactor()
    redactor.register("secret-a", "secret-a-and-more")
    assert redactor.redact("secret-a-and-more") == "<secret>"


@pytest.mark.parametrize(
    "hostile", ["://" * 100_000, "://" + "a" * 300_000, "&token=" * 50_000, "authorization:" * 30_000]
)
def test_redaction_is_linear(hostile: str) -> None:
    # A pattern that backtracked would run into the test's time limit here.
    assert Redactor().redact(hostile)


def test_secret_names() -> None:
    assert all(map(is_secret_name, ["SLACK_TOKEN", "password", "X-Api-Key", "db_passwd", "clientSecret"]))
    assert not any(map(is_secret_name, ["max_tokens", "tokens_in", "interval", "password_file", "key"]))
