"""Every trap of the two formats that we know of, one line or a few at a time."""

import math

import pytest

from aiops.collect.exposition import parse
from aiops.signals.page import MetricType
from tests.collect.exposition_pages import OPENMETRICS, TEXT, comparable, one, rows

# --- one line --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "name", "labels", "value"),
    [
        ("a 1", "a", {}, 1.0),
        ("vllm:num_requests_running 2", "vllm:num_requests_running", {}, 2.0),
        ("a{} 3", "a", {}, 3.0),
        ('a{b="c"} 4', "a", {"b": "c"}, 4.0),
        ('a{b="c",} 5', "a", {"b": "c"}, 5.0),
        ('a{ b = "c" , d = "e" , } 6', "a", {"b": "c", "d": "e"}, 6.0),
        ('a\t{b="c"}\t \t7 \t', "a", {"b": "c"}, 7.0),
        ('  a{b="c"}8', "a", {"b": "c"}, 8.0),
        (r'a{b="x\\y\"z\nw"} 9', "a", {"b": 'x\\y"z\nw'}, 9.0),
        (r'a{b="C:\dir\\n"} 10', "a", {"b": "C:\\dir\\n"}, 10.0),
        (r'a{b="\\"} 11', "a", {"b": "\\"}, 11.0),
        ('a{b="} # , = { x"} 12', "a", {"b": "} # , = { x"}, 12.0),
        ('a{b="漢字 🙂"} 13', "a", {"b": "漢字 🙂"}, 13.0),
        ('a{b=""} 14', "a", {"b": ""}, 14.0),
        ('{"my.metric",b="c"} 15', "my.metric", {"b": "c"}, 15.0),
        ('{"my.metric"} 16', "my.metric", {}, 16.0),
        ('{b="c","é \\" {}"} 17', 'é " {}', {"b": "c"}, 17.0),
        ('a{"my label"="c","d.e"="f"} 18', "a", {"my label": "c", "d.e": "f"}, 18.0),
        ("a 1e3\r", "a", {}, 1000.0),
        ("a +Inf", "a", {}, math.inf),
        ("a -Inf", "a", {}, -math.inf),
        ("a -0.5e-3", "a", {}, -0.0005),
        ("nan 1", "nan", {}, 1.0),
    ],
)
def test_line(line: str, name: str, labels: dict[str, str], value: float) -> None:
    expected = (name, tuple(sorted(labels.items())), "unknown", value, math.nan)
    assert comparable([one(line)]) == comparable([expected])


def test_nan_is_kept() -> None:
    assert math.isnan(one("a NaN")[3])


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a", "expected a metric name"),
        ("a ", "expected a value"),
        ("a-b 1", "expected a metric name"),
        ("a 1_000", "expected a number, found '1_000'"),
        ("a 0x10", "expected a number"),
        ("a 1,5", "expected a number"),
        ("a 1 2 3", "expected nothing but an exemplar"),
        ("a 1 x", "expected a number, found 'x'"),
        ("a 1 NaN", "expected a finite timestamp"),
        ("1a 1", "expected a metric name"),
        ("é 1", "expected a metric name"),
        ('a{b="c" 1', "expected a metric name, labels in closed braces"),
        ("a{b=c} 1", 'expected name="value"'),
        ("a{b} 1", 'expected ="value" after'),
        ('a{="c"} 1', 'expected name="value"'),
        ('a{,b="c"} 1', 'expected name="value"'),
        ('a{b="c",,d="e"} 1', 'expected name="value"'),
        ('a{b="c" d="e"} 1', 'expected name="value"'),
        ('a{b:c="d"} 1', 'expected name="value"'),
        ('a{b="c",b="d"} 1', "expected each label once"),
        ('a{__name__="b"} 1', "or __name__"),
        ('a{"b"} 1', "expected one metric name"),
        ('{"a","b"} 1', 'expected ="value" after'),
        ('{b="c"} 1', "expected one metric name"),
        ('{""} 1', "expected one metric name"),
        ('a{""="b"} 1', "none empty"),
        ("{} 1", "expected one metric name"),
        ("a} 1", "expected a metric name"),
        ("# TYPE a", "expected '# TYPE name type'"),
        ("# TYPE a b c", "expected '# TYPE name type'"),
        ("# TYPE é gauge", "expected '# TYPE name type'"),
        ("# TYPE a Gauge", "expected one of the types counter"),
        ("<html><body>Not a page</body></html>", "expected a metric name"),
    ],
)
def test_bad_line_costs_itself_and_says_why(line: str, expected: str) -> None:
    page = parse(b"before 1\n" + line.encode() + b"\nafter 2\n", TEXT)
    assert [row[:4:3] for row in rows(page)] == [("before", 1.0), ("after", 2.0)]
    assert page.bad_lines == 1
    assert page.first_error.startswith("line 2: expected")
    assert expected in page.first_error


@pytest.mark.parametrize("body", ["a 1 nan\n", "a 1 nan\nb 2 inf\n", "a 1#2\n", "nan\n", "a 1_0\n", "# TYPE\n"])
def test_bad_lines_with_no_good_line_beside_them(body: str) -> None:
    page = parse(body.encode(), TEXT)
    assert (len(page.values), page.bad_lines) == (0, body.count("\n"))


def test_only_a_hash_after_a_blank_begins_an_exemplar() -> None:
    page = parse(b"a 1 # {} 1\nb 1#2\nc 1 #2\n", TEXT)
    assert [row[0] for row in rows(page)] == ["a", "c"]


def test_the_first_error_is_told_and_all_are_counted() -> None:
    page = parse(b"good 1\n# TYPE x wrong\nbad\nbad bad\n")
    assert page.bad_lines == 3
    assert page.first_error.startswith("line 2: expected one of the types")


def test_error_text_is_clipped_and_has_no_control_characters() -> None:
    error = parse(b"a\x1b[31m\x00\xff" + b"x" * 10_000).first_error
    assert len(error) < 400
    assert error.isprintable()


def test_invalid_utf8_costs_its_line() -> None:
    page = parse(b'a{b="\xff"} 1\na{b="c"} 2\na{b="\xfe"} 3\n# HELP a \xff\n')
    assert [row[3] for row in rows(page)] == [2.0]
    assert page.bad_lines == 2
    assert "expected UTF-8" in page.first_error


def test_repeated_series_first_wins_whatever_the_label_order() -> None:
    page = parse(b'a{b="1",c="2"} 1\na{c="2",b="1"} 2\na{b="1",c="2"} 3\n{"a",b="1",c="2"} 4\n')
    assert [row[3] for row in rows(page)] == [1.0]
    assert page.bad_lines == 3
    assert page.first_error.startswith("line 2: expected each series once")


def test_a_bad_value_does_not_claim_the_series() -> None:
    page = parse(b"a x\na y\na 1\na z\na 2\nb 3\n")
    assert [row[:4:3] for row in rows(page)] == [("a", 1.0), ("b", 3.0)]
    assert page.bad_lines == 4


@pytest.mark.parametrize("body", [b"", b"\n", b"\n\n \t\n", b"# just words\n#\n#TYPE a gauge\n"])
def test_pages_without_samples(body: bytes) -> None:
    page = parse(body)
    assert (len(page.values), page.bad_lines, page.timestamps) == (0, 0, None)


def test_line_ends_do_not_matter() -> None:
    body = b'# TYPE a counter\na{b="c"} 1\n\nd 2\n'
    expected = comparable(rows(parse(body)))
    assert comparable(rows(parse(body.replace(b"\n", b"\r\n")))) == expected
    assert comparable(rows(parse(body.rstrip()))) == expected


# --- types -----------------------------------------------------------------------------------------------


def kinds(body: str, content_type: str = TEXT) -> dict[str, str]:
    page = parse(body.encode(), content_type)
    assert page.bad_lines == 0, page.first_error
    return {sample.name: sample.type.value for sample in page.layout.samples}


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ("x histogram", {"x_bucket": "histogram", "x_sum": "histogram", "x_count": "histogram", "x_total": "unknown"}),
        ("x summary", {"x": "summary", "x_sum": "summary", "x_count": "summary", "x_bucket": "unknown"}),
        ("x counter", {"x_total": "counter", "x_created": "counter", "x_sum": "unknown"}),
        ("x_total counter", {"x_total": "counter", "x_total_total": "counter", "x": "unknown"}),
        ("x gauge", {"x": "gauge", "x_sum": "unknown", "x_total": "unknown"}),
        ("x info", {"x_info": "info"}),
        ("x stateset", {"x": "stateset"}),
        ("x gaugehistogram", {"x_bucket": "gauge", "x_gsum": "gauge", "x_gcount": "gauge"}),
        ("x unknown", {"x": "unknown"}),
        ("x untyped", {"x": "unknown"}),
        ('"x" gauge', {"x": "gauge"}),
        ("y gauge", {"x": "unknown"}),
    ],
)
def test_type_of_a_sample_is_that_of_its_family(declared: str, expected: dict[str, str]) -> None:
    body = f"# TYPE {declared}\n" + "".join(f"{name} 1\n" for name in expected)
    assert kinds(body) == expected


def test_a_histogram_may_be_named_like_a_counter() -> None:
    body = "# TYPE vllm:iteration_tokens_total histogram\nvllm:iteration_tokens_total_bucket 1\n"
    assert kinds(body) == {"vllm:iteration_tokens_total_bucket": "histogram"}


def test_an_exact_family_wins_over_a_suffix() -> None:
    body = "# TYPE x histogram\n# TYPE x_created gauge\nx_created 1\nx_sum 1\n"
    assert kinds(body) == {"x_created": "gauge", "x_sum": "histogram"}


def test_type_lines_hold_for_the_whole_page_and_the_first_wins() -> None:
    page = parse(b"x 1\n# TYPE x gauge\n# TYPE x gauge\n# TYPE x counter\n")
    assert page.layout.samples[0].type is MetricType.GAUGE
    assert page.bad_lines == 1
    assert page.first_error.startswith("line 4: expected one type per family; it is declared as gauge before")


# --- timestamps, exemplars, end of page ------------------------------------------------------------------


@pytest.mark.parametrize("exemplar", ['# {trace_id="x"} 0.5', '# {trace_id="x"} 0.5 1700000000.5', "# {} 1"])
@pytest.mark.parametrize("content_type", [TEXT, OPENMETRICS])
def test_exemplars_are_not_timestamps(exemplar: str, content_type: str) -> None:
    page = parse(f'a_bucket{{le="1"}} 1 {exemplar}\nb_total 2 {exemplar}\n# EOF\n'.encode(), content_type)
    assert page.timestamps is None
    assert [row[3] for row in rows(page)] == [1.0, 2.0]
    assert page.bad_lines == 0
    stamped = parse(f"a 1 1500 {exemplar}\n# EOF\n".encode(), content_type)
    assert rows(stamped)[0][4] == (1.5 if content_type == TEXT else 1500.0)


def test_timestamps_are_milliseconds_in_text_and_seconds_in_openmetrics() -> None:
    body = b"a 1 1700000000500\nb 2\n"
    page = parse(body, TEXT)
    assert page.timestamps is not None
    assert page.timestamps[0] == 1_700_000_000.5
    assert math.isnan(page.timestamps[1])
    page = parse(b"a 1 1700000000.5\n# EOF\n", OPENMETRICS)
    assert page.timestamps is not None
    assert page.timestamps.tolist() == [1_700_000_000.5]


def test_the_end_of_an_openmetrics_page_is_judged() -> None:
    whole = parse(b"a 1\n# EOF\n", OPENMETRICS)
    assert (len(whole.values), whole.bad_lines) == (1, 0)
    cut = parse(b"a 1\n", OPENMETRICS)
    assert (len(cut.values), cut.bad_lines) == (1, 1)
    assert "the page was cut" in cut.first_error
    more = parse(b"a 1\n# EOF\nb 2\n\n# TYPE a gauge\n", OPENMETRICS)
    assert (len(more.values), more.bad_lines) == (1, 2)
    assert more.first_error == "line 3: expected nothing after # EOF, found 'b 2'"
    assert parse(b"a 1\n# EOF\nb 2\n", TEXT).bad_lines == 0


def test_without_a_content_type_the_last_line_tells_the_format() -> None:
    for body, stamp in ((b"a 1 1500\n# EOF\n", 1500.0), (b"a 1 1500\n", 1.5)):
        page = parse(body)
        assert page.timestamps is not None
        assert page.timestamps.tolist() == [stamp]
