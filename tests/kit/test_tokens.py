"""Signed text: nobody else's, and nothing that only looks like it."""

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.kit.tokens import key_in, payload_of, signed

KEY = b"k" * 32


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=100))
def test_what_was_signed_comes_back_and_fits_a_path(payload: str) -> None:
    token = signed(KEY, payload)
    assert payload_of(KEY, token) == payload
    assert payload_of(b"other" * 8, token) is None
    assert set(token) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


@given(st.text(max_size=60))
def test_nothing_else_is_taken(text: str) -> None:
    assert payload_of(KEY, text) is None


@pytest.mark.parametrize("change", [lambda t: t[1:], lambda t: t + "A", lambda t: t.replace(".", ""), str.lower])
def test_a_changed_token_is_no_token(change: object) -> None:
    token = signed(KEY, "alert Incident 1.000 2")
    assert payload_of(KEY, change(token)) is None  # type: ignore[operator]


def test_what_is_longer_than_any_token_of_ours_is_not_taken() -> None:
    assert payload_of(KEY, signed(KEY, "x" * 5000)) is None


def test_the_key_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "link.key"
    key = key_in(path)
    assert (len(key), key_in(path)) == (32, key)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_bytes(b"short")
    assert len(key_in(path)) == 32
    with pytest.raises(OSError, match="No such file"):
        key_in(tmp_path / "nowhere" / "link.key")
