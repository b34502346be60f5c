"""Both languages have words for everything, and what is missing is named."""

import re

import pytest

from aiops.app import presets
from aiops.explain.words import Language, parse_signals, plain, words_of

CHINESE = re.compile(r"[\u3400-\u9fff]")


def test_every_cause_and_action_has_words_of_both_languages() -> None:
    words, book = presets.words(), presets.cause_book()
    assert set(words.causes) == {one.id for one in book.causes}
    assert len(words.causes) >= 30
    for texts in (*words.causes.values(), *words.fixes.values(), *words.actions.values()):
        assert CHINESE.search(texts[Language.ZH])
        assert not CHINESE.search(texts[Language.EN])
    titles = [texts[Language.ZH] for texts in words.causes.values()]
    assert len(titles) == len(set(titles))


def test_strangers_are_named_and_what_is_missing_stays_english() -> None:
    with pytest.raises(ValueError, match=r"x\.yaml: actions: .*there is no b"):
        words_of({}, {"a": ("A", "fix")}, {"a": "A"}, chinese={"actions": {"b": "乙"}}, where="x.yaml")
    words = words_of({}, {"a": ("A", "fix")}, {}, chinese={"causes": {"a": {"title": "甲"}}}, where="x.yaml")
    assert (words.cause("a", Language.ZH), words.fix("a", Language.ZH, "")) == ("甲", "fix")
    with pytest.raises(ValueError, match="expected exactly the signals of the catalogue"):
        parse_signals({"ttft": {}}, "x.yaml")


def test_two_signals_of_one_name_are_refused() -> None:
    document = {name: {language: [f"{name} {language}"] for language in Language} for name in presets.signal_names()}
    document["ttft"][Language.EN] = ["itl en"]
    with pytest.raises(ValueError, match="are both called 'itl en'"):
        parse_signals(document, "x.yaml")


def test_an_unknown_id_is_shown_as_it_is() -> None:
    words = presets.words()
    assert words.cause("new-fault", Language.ZH, "A new fault") == "A new fault"
    assert words.action("new-action", Language.EN) == "new-action"
    assert words.signal("queue_len", "p95", Language.EN) == "queue length (p95)"


def test_text_of_strangers_is_one_plain_line() -> None:
    assert plain("a\x1b[2J\nb\u202e\tc" + "x" * 400).startswith("a [2J b c")
    assert len(plain("x" * 400)) == 300
