"""The summary is complete, true to its records, and fit to be printed, in both languages."""

import dataclasses
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.explain.narrator import Narrator, Part, Summary, called, moment
from aiops.explain.phrases import PHRASES
from aiops.explain.quantities import quantities
from aiops.explain.words import Language, plain
from aiops.kit.text import UNSAFE
from tests.explain.cases import CAUSES, Case, case, words

LANGUAGES = pytest.mark.parametrize("language", Language)


def places(template: str) -> list[str]:
    return sorted(name for _, name, _, _ in string.Formatter().parse(template) if name)


def told(one: Case, language: Language = Language.EN) -> Summary:
    return Narrator(words(), language).tell(one.incident, one.alerts, one.diagnosis)


def test_both_languages_say_the_same() -> None:
    english, chinese = PHRASES[Language.EN], PHRASES[Language.ZH]
    assert english.keys() == chinese.keys()
    assert {key: places(text) for key, text in english.items()} == {key: places(text) for key, text in chinese.items()}


@LANGUAGES
def test_every_part_is_told_in_order(language: Language) -> None:
    for one in (case(1), case(2, abstained=True), case(3, ended=True)):
        parts = [sentence.part for sentence in told(one, language).sentences]
        assert list(dict.fromkeys(parts)) == list(Part)
    bare = Narrator(words(), language).tell(case(1).incident, {}, None)
    assert list(dict.fromkeys(sentence.part for sentence in bare.sentences)) == list(Part)


@LANGUAGES
def test_the_languages_tell_the_same_numbers_and_evidence(language: Language) -> None:
    for seed in range(20):
        english, other = told(case(seed)), told(case(seed), language)
        assert [sentence.evidence for sentence in english.sentences] == [s.evidence for s in other.sentences]
        for one, two in zip(english.sentences, other.sentences, strict=True):
            values = [sorted(q.value for q in quantities(sentence.text)) for sentence in (one, two)]
            assert values[0] == values[1], (one.text, two.text)


def test_a_diagnosis_in_words() -> None:
    one = case(7)
    text = told(one).text
    cause = one.diagnosis.causes[0]
    assert f"Most likely cause: {CAUSES[cause.id][0]}, at {called(cause.entity)}." in text
    assert f"It began at {moment(one.incident.started_at)} and goes on." in text
    assert f"Ruled out: {CAUSES[one.diagnosis.ruled_out[0].cause][0]}; its temperature is as expected [E2]." in text
    assert "deploy, “image v1.4 to v1.5”" in text
    assert "Action: Drain the node." in text
    assert "Runbook: gpu-clock. Runbook: queue-saturated." in text
    assert "Confidence: 90 % of the signature was seen; ranked by floored-median." in text


def test_what_is_not_known_is_not_zero() -> None:
    one = case(7)
    first = one.diagnosis.evidence[0]
    blind = dataclasses.replace(first, value=float("nan"), expected=float("nan"))
    diagnosis = dataclasses.replace(one.diagnosis, evidence=(blind, *one.diagnosis.evidence[1:]))
    summary = Narrator(words()).tell(one.incident, one.alerts, diagnosis)
    (sentence,) = [s for s in summary.sentences if s.part is Part.CAUSE and s.evidence == ("E1",)]
    assert sentence.text.endswith("is unknown [E1].")


def test_an_abstention_names_no_cause() -> None:
    for seed in range(10):
        summary = told(case(seed, abstained=True))
        text = " ".join(s.text for s in summary.sentences if s.part is not Part.RULED_OUT)
        assert "two causes fit equally well." in text
        assert not [title for title, _ in CAUSES.values() if title in text]
        assert "No action is proposed." in text


@given(st.text(max_size=400))
def test_text_of_strangers_stays_on_its_line(hostile: str) -> None:
    one = case(4)
    incident = dataclasses.replace(one.incident, title=hostile)
    mark = dataclasses.replace(one.diagnosis.changes[0], detail=hostile)
    diagnosis = dataclasses.replace(one.diagnosis, changes=(mark,))
    summary = Narrator(words()).tell(incident, one.alerts, diagnosis)
    assert len(summary.text.splitlines()) == len(Part)
    assert not UNSAFE.search(summary.text.replace("\n", ""))
    assert len(plain(hostile)) <= 300


@LANGUAGES
def test_every_signal_has_a_name_and_no_name_has_two(language: Language) -> None:
    names = [name for signal in words().signals.values() for name in signal[language]]
    assert len(names) == len({name.lower() for name in names})
