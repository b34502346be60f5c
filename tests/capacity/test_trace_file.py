"""Trace files: what is read, and that every mistake names file, line and what was expected."""

import numpy as np
import pytest

from aiops.capacity.trace_file import TraceError, parse_trace


def read(text: str) -> object:
    return parse_trace(text.splitlines(keepends=True), "day.csv")


def test_service_and_tokens_are_read_whatever_the_order_of_columns() -> None:
    trace = parse_trace(["service_seconds,who,arrival_seconds\n", "2,a,10\n", "\n", "3.5,b,12.25\n"], "day.csv")
    assert trace.arrival_seconds.tolist() == [0.0, 2.25]
    assert trace.service_seconds is not None
    assert trace.service_seconds.tolist() == [2.0, 3.5]
    tokens = parse_trace(["arrival_seconds,input_tokens,output_tokens", "0,5,7"], "day.csv")
    assert tokens.service_seconds is None
    assert tokens.input_tokens is not None
    assert np.concatenate([tokens.input_tokens, tokens.output_tokens]).tolist() == [5.0, 7.0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"day\.csv: the file is empty; expected a header with the columns arrival_seconds,service_seconds or"),
        ("arrival_seconds,service_seconds\n", r"day\.csv: no requests below the header; expected at least one"),
        ("time,service_seconds\n1,2\n", r"day\.csv:1: the header lacks arrival_seconds; expected the columns"),
        ("arrival_seconds,input_tokens\n1,2\n", r"day\.csv:1: the header lacks output_tokens; expected"),
        ("1,2\n3,4\n", r"day\.csv:1: the header lacks arrival_seconds"),
        ("arrival_seconds,service_seconds\n5,1\n4,1\n", r"day\.csv:3: arrival_seconds 4 is before 5 .* sorted"),
        (
            "arrival_seconds,service_seconds\n-5,1\n",
            r"day\.csv:2: arrival_seconds is '-5'; expected a finite number ≥ 0",
        ),
        ("arrival_seconds,service_seconds\n5,nan\n", r"day\.csv:2: service_seconds is 'nan'; expected a finite"),
        ("arrival_seconds,service_seconds\n5,inf\n", r"day\.csv:2: service_seconds is 'inf'"),
        ("arrival_seconds,service_seconds\n5,-1\n", r"day\.csv:2: service_seconds is '-1'"),
        ("arrival_seconds,service_seconds\n5,many\n", r"day\.csv:2: service_seconds is 'many'"),
        ("arrival_seconds,service_seconds\n5,1\n\n6\n", r"day\.csv:4: 1 column\(s\); expected at least 2"),
        ("arrival_seconds,service_seconds\n1,2\n2,\n", r"day\.csv:3: service_seconds is ''"),
    ],
)
def test_mistakes_are_named(text: str, said: str) -> None:
    with pytest.raises(TraceError, match=said):
        read(text)
