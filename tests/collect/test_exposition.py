"""The page parser against the reference library, against itself cold, and against every trap we know of."""

import math
import random
import string
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as library_openmetrics
from prometheus_client.parser import text_string_to_metric_families as library_text

from aiops.collect.exposition import Limits, PageParser, PageTooLarge, parse
from aiops.signals.page import MetricType
from tests.collect.exposition_pages import OPENMETRICS, TEXT, Row, comparable, one, rows, same
from tests.conftest import effort

DATA = Path(__file__).parent / "data" / "exposition"

# --- against the reference library -----------------------------------------------------------------------


def library_rows(text: str, content_type: str) -> list[Row]:
    """What the library reads, with its renaming of counters undone.

    The text parser appends ``_total`` to counters that lack it, because it thinks in OpenMetrics.
    """
    reader: Callable = library_openmetrics if content_type == OPENMETRICS else library_text
    names = {line.split(" ")[2] for line in text.split("\n") if line.startswith("# TYPE ")}
    found = []
    for family in reader(text):
        kind = {"untyped": "unknown", "gaugehistogram": "gauge"}.get(family.type, family.type)
        for sample in family.samples:
            name = sample.name
            if content_type == TEXT and family.type == "counter" and name not in names:
                name = name.removesuffix("_total")
            # The library adds nanoseconds to seconds, which rounds once more than reading the number does.
            stamp = math.nan if sample.timestamp is None else round(float(sample.timestamp), 6)
            found.append((name, tuple(sorted(sample.labels.items())), kind, float(sample.value), stamp))
    return found


def test_recordings_read_as_the_library_reads_them(captures: Path) -> None:
    pages = [path for path in sorted(captures.rglob("*")) if path.suffix in {".prom", ".openmetrics", ".txt"}]
    assert len(pages) >= 20
    total = 0
    for path in pages:
        # Not by the name of the file: an old Prometheus answers in text when asked for OpenMetrics.
        content_type = OPENMETRICS if path.read_bytes().endswith(b"# EOF\n") else TEXT
        page = parse(path.read_bytes(), content_type)
        assert (page.bad_lines, page.first_error) == (0, ""), path
        assert comparable(rows(page)) == comparable(library_rows(path.read_text(), content_type)), path
        total += len(page.values)
    assert total > 6000


NAMES = st.text("abXY_:09", max_size=6).map(lambda name: f"m{name}")
LABEL_NAMES = st.text("abXY_09", max_size=5).map(lambda name: f"l{name}")
LABEL_VALUES = st.text('abc \t\\"\n{}=,#é漢🙂_019', max_size=10)
VALUES = st.text(st.sampled_from('abc \t\\"\n{}=,#é漢🙂_019') | st.characters(categories=["L", "N", "P"]), max_size=12)
VALUES = st.floats() | st.integers(-(10**15), 10**15).map(float)
SUFFIXES = {"histogram": ["_bucket", "_sum", "_count"], "summary": ["", "_sum", "_count"]}
SERIES = st.dictionaries(LABEL_NAMES, LABEL_VALUES, max_size=4)


def escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def formatted(value: float) -> str:
    return {math.inf: "+Inf", -math.inf: "-Inf"}.get(value, "NaN" if math.isnan(value) else repr(value))


@st.composite
def families(draw: st.DrawFn) -> list[Row]:
    """Families whose names cannot be mistaken for one another's suffixes."""
    found: list[Row] = []
    stems = draw(st.lists(NAMES.map(lambda name: f"{name}_x"), unique=True, max_size=4))
    for stem in stems:
        kind = draw(st.sampled_from(["counter", "gauge", "histogram", "summary", "unknown"]))
        for suffix in SUFFIXES.get(kind, [""]):
            for labels in draw(st.lists(SERIES, max_size=3, unique_by=lambda labels: tuple(sorted(labels.items())))):
                stamp = draw(st.none() | st.integers(0, 4_000_000_000_000))
                seconds = math.nan if stamp is None else stamp / 1000
                found.append((stem + suffix, tuple(sorted(labels.items())), kind, draw(VALUES), seconds))
    return found


def page_text(found: list[Row], order: random.Random) -> str:
    lines = []
    declared = set()
    for name, labels, kind, value, stamp in found:
        stem = name[: name.rindex("_x") + 2]
        if stem not in declared:
            declared.add(stem)
            word = "untyped" if kind == "unknown" else kind
            lines += [f'# HELP {stem} Some \\\\ help \\n with "quotes" and {{braces}} 5', f"# TYPE {stem} {word}"]
        shuffled = order.sample(labels, len(labels))
        inside = ",".join(f'{key}="{escaped(text)}"' for key, text in shuffled) + (
            "," if labels and order.random() < 0.2 else ""
        )
        braces = f"{{{inside}}}" if labels or order.random() < 0.2 else ""
        tail = "" if math.isnan(stamp) else f" {round(stamp * 1000)}"
        lines.append(f"{name}{braces} {formatted(value)}{tail}")
    return "\n".join(lines) + "\n"


@given(families(), st.randoms(use_true_random=False))
def test_what_is_written_is_read_back_and_the_library_agrees(found: list[Row], order: random.Random) -> None:
    text = page_text(found, order)
    page = parse(text.encode(), TEXT)
    assert (page.bad_lines, page.first_error) == (0, "")
    assert comparable(rows(page)) == comparable(found)
    assert comparable(library_rows(text, TEXT)) == comparable(found)


@given(families(), st.randoms(use_true_random=False))
def test_openmetrics_is_read_as_the_library_reads_it(found: list[Row], order: random.Random) -> None:
    # Only the types that OpenMetrics lets carry any number; it also wants a timestamp on all lines of a group or none.
    lines = []
    for stem, kind in dict.fromkeys((row[0], row[2]) for row in found if row[2] in {"gauge", "unknown"}):
        lines += [f"# TYPE {stem} {kind}", f'# HELP {stem} Some \\\\ help \\n with "quotes"']
        for name, labels, _, value, stamp in found:
            if name == stem:
                inside = ",".join(f'{key}="{escaped(text)}"' for key, text in order.sample(labels, len(labels)))
                tail = "" if math.isnan(stamp) else f" {stamp:.3f}"
                lines.append(f"{name}{{{inside}}} {formatted(value)}{tail}")
    text = "\n".join([*lines, "# EOF"]) + "\n"
    page = parse(text.encode(), OPENMETRICS)
    assert (page.bad_lines, page.first_error) == (0, "")
    assert comparable(rows(page)) == comparable(library_rows(text, OPENMETRICS))


# --- the three speeds give the same page -----------------------------------------------------------------

PIECES = [
    "# TYPE a histogram",
    "# TYPE a gauge",
    "# TYPE b_total counter",
    "# TYPE b counter",
    "# TYPE nonsense",
    "# HELP a text",
    "# EOF",
    "",
    "  ",
    'a_bucket{le="1"} 1',
    'a_bucket{le="1"} 2 # {trace="x} "} 0.5',
    'a_bucket{le="+Inf",} 3 1700000000000',
    'a_bucket{x="y",le="1"} 4',
    'a_bucket{le="1",x="y"} 5',
    'a_bucket{le="} "} 6',
    'a_bucket{le="\\"} "} 6',
    "a_bucket 7",
    "a_bucket  8",
    "a_bucket\t9 17",
    'a_bucket {le="2"} 10',
    'a_bucket {le="2"}10',
    'a{le="3"}11',
    '{"a",le="4"} 12',
    '{"a b",le="4"} 12',
    'a{"l e"="5"} 13',
    "b_total 14\r",
    "b_total 1_4",
    "b_total 0x14",
    "b_total",
    "b_total ",
    "nan 5",
    "nan",
    "inf inf",
    "b_total} 5",
    "b_total } 5",
    "b_total{ 5",
    'b_total{a="1" 5',
    'b_total{a="1"} 5 6 7',
    'b_total{a="1"} 5 nan',
    'b_total{a="1"} NaN',
    'b_total{a="1",a="1"} 5',
    'b_total{a="é"} 5',
    "é 5",
]
LINES = st.sampled_from(PIECES) | st.text(st.sampled_from('ab{}="\\ ,#1\t\r_'), max_size=14)


@st.composite
def page_sequences(draw: st.DrawFn) -> list[tuple[bytes, str]]:
    """A page and what becomes of it: other values, lines changed, added, removed, moved."""
    lines = draw(st.lists(LINES, max_size=12))
    pages = []
    for _ in range(draw(st.integers(2, 5))):
        if lines and draw(st.booleans()):
            at = draw(st.integers(0, len(lines) - 1))
            change = draw(st.sampled_from(["replace", "remove", "swap", "value"]))
            if change == "replace":
                lines[at] = draw(LINES)
            elif change == "remove":
                del lines[at]
            elif change == "swap":
                lines[0], lines[at] = lines[at], lines[0]
            else:
                lines[at] = lines[at].rpartition(" ")[0] + f" {draw(VALUES)}"
        elif draw(st.booleans()):
            lines.insert(draw(st.integers(0, len(lines))), draw(LINES))
        body = "\n".join(lines).encode() + draw(st.sampled_from([b"", b"\n", b"\n# EOF\n", b"\na\xff 5"]))
        pages.append((body, draw(st.sampled_from([TEXT, TEXT, TEXT, OPENMETRICS, ""]))))
    return pages


@effort(300)
@given(page_sequences())
def test_a_parser_with_a_memory_reads_as_one_without(pages: list[tuple[bytes, str]]) -> None:
    parser = PageParser()
    for body, content_type in pages:
        warm = parser.parse(body, content_type)
        again = parser.parse(body, content_type)
        cold = parse(body, content_type)
        assert same(warm, cold)
        assert same(again, cold)
        assert again.layout is warm.layout


def vllm_like(values: random.Random, engines: int = 3) -> bytes:
    """A page with histograms and other values at each call."""
    lines = []
    for family in ("vllm:iteration_tokens_total", "vllm:time_to_first_token_seconds"):
        lines += [f"# HELP {family} Words.", f"# TYPE {family} histogram"]
        for engine in range(engines):
            labels = f'engine="{engine}",model_name="m"'
            lines += [f'{family}_bucket{{{labels},le="{le}"}} {values.random()}' for le in (1.0, 8.0, "+Inf")]
            lines += [f"{family}_sum{{{labels}}} {values.random()}", f"{family}_count{{{labels}}} {values.random()}"]
    lines += ["# TYPE vllm:num_requests_running gauge", f"vllm:num_requests_running {values.random()}"]
    return "\n".join(lines).encode() + b"\n"


def test_unchanged_layout_is_the_same_object_and_reads_only_values(monkeypatch: pytest.MonkeyPatch) -> None:
    values = random.Random(1)
    parser = PageParser()
    first = parser.parse(vllm_like(values))
    monkeypatch.setattr("aiops.collect.exposition._read_lines", None)  # speeds 2 and 3 would fail from here on
    second = parser.parse(vllm_like(values))
    assert second.layout is first.layout
    assert not np.array_equal(second.values, first.values)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a 1\nb 2\n", "a 1\nnan\n"),  # float() would read the whole line
        ("a 1\nb 2\n", "5\ninf\n"),
        ("a 1\nb 2\n", "a 1\nbc 2\n"),
        ("a 1\nb 2\n", "a 1\nb 2_0\n"),
        ("a 1\n# x\n", "a 1\n# TYPE a gauge\n"),
        ("a 1\n# x\n", "a 1\nb 2\n"),
        ("a 1 5\nb 2 6\n", "a 1 nan\nb 2 nan\n"),
        ("a 1 5\nb 2 6\n", "a 1 5\nb 2 6 7\n"),
        ("a 1 # {} 1\nb 2\n", "a 1 # {} 1\nb 1#2\n"),
        ("a 1\na 2\n", "a 1\na x\n"),
    ],
)
def test_what_looks_like_the_same_layout_and_is_not(before: str, after: str) -> None:
    parser = PageParser()
    first = parser.parse(before.encode(), TEXT)
    changed = parser.parse(after.encode(), TEXT)
    assert same(changed, parse(after.encode(), TEXT))
    assert comparable(rows(changed)) != comparable(rows(first)) or changed.first_error != first.first_error


@pytest.mark.parametrize("suffix", [" 1700000000000", ' # {trace_id="a b",x="} "} 0.5 1700000000.5'])
def test_stamps_and_exemplars_stay_on_the_steady_path(suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values = random.Random(1)
    parser = PageParser()

    def page() -> bytes:
        lines = vllm_like(values).decode().splitlines()
        return "\n".join(line if line.startswith("#") else line + suffix for line in lines).encode()

    first = parser.parse(page(), TEXT)
    body = page()
    cold = parse(body, TEXT)
    monkeypatch.setattr("aiops.collect.exposition._read_lines", None)
    second = parser.parse(body, TEXT)
    assert second.layout is first.layout
    assert same(second, cold)
    assert (second.timestamps is None) == ("#" in suffix)


def test_churn_reads_only_new_series_by_the_grammar(monkeypatch: pytest.MonkeyPatch) -> None:
    values = random.Random(1)
    parser = PageParser()
    first = parser.parse(vllm_like(values, engines=3))
    parsed: list[bytes] = []
    real = PageParser.parse.__globals__["SeriesReader"]._parse
    monkeypatch.setattr(
        "aiops.collect.exposition_grammar.SeriesReader._parse",
        lambda self, line: (parsed.append(line), real(self, line))[1],
    )
    grown = parser.parse(vllm_like(values, engines=4) + b"new_series 5\n")
    assert grown.layout is not first.layout
    assert len(grown.layout.samples) == len(first.layout.samples) + 11
    assert parsed == [b"new_series 5"]  # a known name with plain labels needs no grammar


def test_comments_may_change_without_a_new_layout() -> None:
    parser = PageParser()
    first = parser.parse(b"# HELP a one\na 1\nb 2\n")
    second = parser.parse(b"# HELP a two\n# more\na 1\n\nb 2\n")
    assert second.layout is first.layout


def test_moved_series_make_a_new_layout() -> None:
    parser = PageParser()
    first = parser.parse(b"a 1\nb 2\n")
    second = parser.parse(b"b 2\na 1\n")
    assert second.layout is not first.layout
    assert [sample.name for sample in second.layout.samples] == ["b", "a"]


def test_a_changed_type_line_is_not_missed() -> None:
    parser = PageParser()
    kinds = [parser.parse(b"# TYPE a %s\na 1\n" % word).layout.samples[0].type for word in (b"counter", b"gauge")]
    assert kinds == [MetricType.COUNTER, MetricType.GAUGE]
    assert parser.parse(b"# TYPE ab gauge\na 1\n").layout.samples[0].type is MetricType.UNKNOWN


def test_memory_does_not_grow_with_churn() -> None:
    parser = PageParser(Limits(max_samples=100))
    for turn in range(300):
        body = "".join(f'a{{pod="{turn}-{pod}"}} 1\nb_{turn}_{pod} 2\n' for pod in range(20))
        parser.parse(body.encode())
        with pytest.raises(PageTooLarge):
            parser.parse(body.encode() + "".join(f'a{{x="{turn}-{x}"}} 1\n' for x in range(100)).encode())
        parser.parse(body.encode())
    memory = parser._memory
    assert memory is not None
    assert len(memory.prefixes) == len(memory.layout.samples) == 40
    assert len(memory.reader.label_sets) < 200
    assert len(memory.reader.names) < 200


# --- limits ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "good", "bad", "names"),
    [
        (Limits(max_samples=2), "a 1\nb 2\na 3\n", "a 1\nb 2\nc 3\n", "limits.samples"),
        (Limits(max_samples=2), "\n" * 10, "\n" * 11, "limits.samples"),
        (Limits(max_labels=1), 'a{b="1"} 1', 'a{b="1",c="2"} 1', "max_labels"),
        (Limits(max_name_bytes=3), 'abc{def="1"} 1', "abcd 1", "max_name_bytes"),
        (Limits(max_name_bytes=3), '{"é.",b="1"} 1', '{"é..",b="1"} 1', "max_name_bytes"),
        (Limits(max_name_bytes=3), 'a{bcd="1"} 1', 'a{bcde="1"} 1', "max_name_bytes"),
        (Limits(max_value_bytes=4), 'a{b="éé"} 1', 'a{b="ééx"} 1', "max_value_bytes"),
        (Limits(max_value_bytes=4), r'a{b="\\\\\\\\"} 1', 'a{b="1234"} 1\na{b="12345"} 1', "max_value_bytes"),
    ],
)
def test_a_limit_fails_the_whole_page(limits: Limits, good: str, bad: str, names: str) -> None:
    parse(good.encode(), limits=limits)
    parser = PageParser(limits)
    for _ in range(2):
        with pytest.raises(PageTooLarge, match=names):
            parser.parse(bad.encode())
        parser.parse(good.encode())


def test_default_limits_hold_a_large_page() -> None:
    body = "".join(f'a{{i="{i}"}} 1\n' for i in range(50_000)).encode()
    assert len(parse(body).values) == 50_000
    with pytest.raises(PageTooLarge, match="50001 samples; at most 50000"):
        parse(body + b"b 1\n")


# --- anything at all -------------------------------------------------------------------------------------


def check_any(body: bytes) -> None:
    """Whatever comes in: no exception, the counts add up, nothing is invented, and the memory gives the same."""
    for content_type in (TEXT, OPENMETRICS):
        try:
            page = parse(body, content_type)
        except PageTooLarge:
            continue
        visible = [line for line in body.split(b"\n") if line.strip(b" \t\r")]
        assert len(page.values) == len(page.layout.samples) == len(set(page.layout.samples))
        assert len(page.values) + page.bad_lines <= len(visible) + (content_type == OPENMETRICS)
        assert bool(page.first_error) == bool(page.bad_lines)
        assert len(page.first_error) < 600
        parser = PageParser()
        parser.parse(body, content_type)
        assert same(parser.parse(body, content_type), page)


CORPUS = sorted(DATA.iterdir())


@pytest.mark.parametrize("path", CORPUS, ids=[path.stem for path in CORPUS])
def test_corpus(path: Path) -> None:
    body = path.read_bytes()
    check_any(body)
    for cut in range(0, len(body), max(1, len(body) // 40)):
        check_any(body[:cut])


def test_corpus_is_there() -> None:
    assert len(CORPUS) >= 6


@effort(300)
@given(st.binary(max_size=200) | st.text(string.printable, max_size=200).map(str.encode))
def test_any_bytes(body: bytes) -> None:
    check_any(body)


@effort(200)
@given(st.sampled_from(CORPUS), st.integers(0, 10**6), st.binary(max_size=4))
def test_damaged_corpus(path: Path, at: int, junk: bytes) -> None:
    body = path.read_bytes()[:2000]
    at %= len(body) + 1
    check_any(body[:at] + junk + body[at + len(junk) :])


@pytest.mark.parametrize(
    "piece", [b" ", b"\t", b"{", b"}", b'"', b"\\", b'\\"', b'a="', b'a="",', b"#", b"a", b"a{", b", "]
)
def test_long_lines_of_one_piece_take_linear_work(piece: bytes) -> None:
    # A quadratic search would take hours here, and run into the time limit of the suite.
    for head in (b"", b"a", b'a{b="', b"a{", b"# TYPE "):
        page = parse(head + piece * 300_000 + b" x", TEXT, limits=Limits(max_name_bytes=2**30, max_value_bytes=2**30))
        assert len(page.values) == 0


def test_library_and_ours_differ_only_where_we_mean_it() -> None:
    """Three habits of the library that we do not share; should it change, we want to know."""
    exemplar = 'a_bucket{le="1"} 1 # {trace_id="x"} 0.5\n'
    assert library_rows(exemplar, TEXT)[0][4] == 0.0005
    assert math.isnan(one(exemplar.strip())[4])
    with pytest.raises(ValueError, match="could not convert"):
        library_rows("a 1\nb nonsense\n", TEXT)
    assert Counter(row[0] for row in library_rows("# TYPE a gauge\na 1\na 2\n", TEXT)) == {"a": 2}
