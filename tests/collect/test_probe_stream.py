import json
import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.collect.probe_stream import Insane, Measured, Transcript, repeated_unit

DONE = b"data: [DONE]\n\n"


def event(**fields: object) -> bytes:
    return b"data: " + json.dumps(fields, ensure_ascii=False).encode() + b"\n\n"


def chat(text: str, **more: object) -> bytes:
    return event(choices=[{"delta": {"content": text}, **more}])


def completion(text: str, **more: object) -> bytes:
    return event(choices=[{"text": text, **more}])


def heard(*pieces: bytes, began: float = 0.0) -> Transcript:
    """Pieces arrive a second apart, the first one second after the request."""
    transcript = Transcript(began)
    for number, piece in enumerate(pieces, start=1):
        if transcript.hear(piece, began + number):
            break
    return transcript


def test_times_count_from_the_request_and_tokens_as_the_server_counts() -> None:
    role = event(choices=[{"delta": {"role": "assistant"}}])
    usage = event(choices=[], usage={"completion_tokens": 5})
    transcript = heard(role, chat("red, "), chat("green, "), chat("blue"), usage, DONE, began=100.0)
    assert transcript.text == "red, green, blue"
    # The role alone is no token: the first text came after 2 s, the last after 4 s, 5 tokens have 4 gaps.
    assert transcript.judged(106.0) == Measured(2.0, 0.5, 6.0, 5.0)


def test_without_usage_pieces_are_tokens() -> None:
    assert heard(completion("a"), completion("b"), completion("c"), DONE).judged(4.0) == Measured(1.0, 1.0, 4.0, 3.0)


def test_one_piece_has_no_time_between_tokens() -> None:
    measured = heard(event(choices=[{"text": "all at once"}], usage={"completion_tokens": 3}), DONE).judged(2.0)
    assert math.isnan(measured.itl_seconds)
    assert (measured.ttft_seconds, measured.tokens) == (1.0, 3.0)


def test_thoughts_are_text_too() -> None:
    thought = event(choices=[{"delta": {"reasoning_content": "Let me see", "content": None}}])
    assert heard(thought, chat("", finish_reason="length")).judged(2.0).tokens == 1.0


@given(st.lists(st.integers(0, 400), max_size=12), st.booleans())
def test_how_the_network_cuts_the_stream_does_not_matter(cuts: list[int], carriage_returns: bool) -> None:
    stream = b": comment\n\nevent: message\nid: 1\n" + chat("ré") + chat("d", finish_reason="stop") + DONE
    if carriage_returns:
        stream = stream.replace(b"\n", b"\r\n")
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    transcript = heard(*(stream[a:b] for a, b in pairwise(places)))
    assert transcript.text == "réd"
    assert transcript.ended


def test_data_of_several_lines_is_one_event() -> None:
    assert heard(b'data: {"choices":\ndata: [{"text": "two lines"}]}\n\n', DONE).text == "two lines"


def test_nothing_counts_after_the_end() -> None:
    transcript = Transcript(0.0)
    assert transcript.hear(chat("red") + DONE + b"data: rubbish\n\n", 1.0)
    assert transcript.judged(1.0).tokens == 1.0


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        (
            event(error={"message": "KV cache\nis full", "code": 500}),
            r"error inside its answer: 'KV cache\\\\nis full'",
        ),
        (event(error="boom"), "'boom'"),
        (event(object="error", message="old style", code=400), "'old style'"),
        (b"event: error\n" + event(error={"code": 1}), "error inside"),
        (b"data: {not json\n\n", "expected JSON, got '{not json'"),
        (b"data: [1]\n\n", "expected a JSON object"),
        (b"data: " + b"[" * 100_000 + b"\n\n", "expected JSON"),
        (b"data: \xff\xfe\n\n", "expected JSON"),
    ],
)
def test_an_error_inside_the_stream_is_a_failure(stream: bytes, why: str) -> None:
    with pytest.raises(Insane, match=why):
        Transcript(0.0).hear(chat("fine so far") + stream, 1.0)


@pytest.mark.parametrize(
    ("pieces", "why"),
    [
        ((chat("red"),), "broke off"),
        ((), "broke off"),
        ((DONE,), "empty"),
        ((chat(" \n"), chat("", finish_reason="stop"), DONE), "empty"),
        ((*[chat("!")] * 16, DONE), "repeats '!' over and over"),
        ((*[chat(" w7")] * 9, DONE), "repeats 'w7 ' over and over"),
        ((event(choices="none", usage=7), event(choices=[1, {"delta": 3}, {"text": 4}]), DONE), "empty"),
    ],
)
def test_what_is_no_sane_answer(pieces: tuple[bytes, ...], why: str) -> None:
    with pytest.raises(Insane, match=why):
        heard(*pieces).judged(9.0)


def test_a_stream_that_says_its_reason_to_finish_needs_no_done() -> None:
    assert heard(chat("red"), chat("", finish_reason="stop")).judged(2.0).tokens == 1.0


def test_counts_that_cannot_be_are_not_believed() -> None:
    for count in (-1, 0, 10**400, "7", None):
        usage = event(choices=[{"text": "red"}], usage={"completion_tokens": count})
        assert heard(usage, DONE).judged(2.0).tokens == 1.0


def test_an_answer_may_be_expected() -> None:
    transcript = heard(chat("The capital is Paris."), DONE)
    assert transcript.judged(2.0, "(?i).*paris.*").tokens == 1.0
    with pytest.raises(Insane, match="does not match 'Rome'"):
        transcript.judged(2.0, "Rome")


def test_a_long_answer_is_matched_as_far_as_the_expression_may_see() -> None:
    long = "Paris " + "".join(map(str, range(5000)))
    assert heard(chat(long), DONE).judged(2.0, "Paris.*").tokens == 1.0


def test_a_whole_answer_has_no_time_to_first_token() -> None:
    transcript = Transcript(0.0)
    transcript.read_whole(
        json.dumps({"choices": [{"message": {"content": "red"}}], "usage": {"completion_tokens": 2}}).encode(), 3.0
    )
    measured = transcript.judged(3.0)
    assert math.isnan(measured.ttft_seconds)
    assert math.isnan(measured.itl_seconds)
    assert (measured.e2e_seconds, measured.tokens) == (3.0, 2.0)


@pytest.mark.parametrize("body", [b"<html>", b"", b'{"error": "boom"}'])
def test_a_whole_answer_may_be_a_failure_too(body: bytes) -> None:
    with pytest.raises(Insane):
        Transcript(0.0).read_whole(body, 1.0)


def naive_unit(text: str) -> str:
    for length in range(1, 17):
        unit = text[:length]
        if len(text) // length >= 8 and all(text[i] == unit[i % length] for i in range(len(text))):
            return unit
    return ""


@given(st.text("ab ", max_size=4), st.integers(0, 12), st.text("ab ", max_size=3))
def test_repetition_against_the_slow_way(unit: str, times: int, rest: str) -> None:
    text = unit * times + rest
    assert repeated_unit(text) == naive_unit(text)


@pytest.mark.parametrize("text", ["red, green, blue", "1 2 3 4 5 6 7 8 9", "aaaaaaa", "no no no no no yes", ""])
def test_ordinary_text_is_no_repetition(text: str) -> None:
    assert repeated_unit(text) == ""
