"""What one line of a metrics page says: the grammar of Prometheus text 0.0.4 and OpenMetrics 1.0.

:mod:`aiops.collect.exposition` walks the page and remembers its layout; this module judges single lines.
Every function is pure, and a line is read from left to right: whatever starts with the bytes that
:meth:`SeriesReader.read` consumed is the same series, on every page and whatever follows. The memory of
the page parser rests on that invariant.

One grammar serves both formats, because they differ in little: the unit of timestamps, ``# EOF``, and the
family name of counters. Where a strict reader would lose a sound number, this one keeps it: blanks around
every token, a trailing comma, a missing blank after ``}``, an exemplar on a text page.

References: the Prometheus documentation, "Exposition formats"; the OpenMetrics 1.0 specification, section
"Text format"; the Prometheus proposal for UTF-8 names (``{"my.metric","my label"="x"}``).
"""

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite, nan

from aiops.signals.page import MetricType, Sample
from aiops.signals.types import Labels

_CLIP = 80

BLANKS = b" \t\r"
"""What may surround a line or its parts; the carriage return comes with Windows line ends."""

ABOVE_COMMENTS = b"$"
"""Sorts after every line for which :func:`is_comment` holds (``#`` comes just before ``$``, blanks and the empty line
far before), so that one comparison tells most samples apart."""


class BadLine(ValueError):
    """This line cannot be used; it costs itself. The text says what was expected."""


class PageTooLarge(ValueError):
    """The page passes a limit; the whole scrape fails, because a cut page would read as missing series."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Most that one page may hold. Counted in UTF-8 bytes where the name says bytes; each at least 1.

    Attributes
    ----------
    max_samples
        Sample lines of a page.
    max_labels
        Labels of one sample, without its name.
    max_name_bytes
        Length of a metric name or a label name.
    max_value_bytes
        Length of a label value, after escapes are resolved.
    """

    max_samples: int = 50_000
    max_labels: int = 64
    max_name_bytes: int = 256
    max_value_bytes: int = 1024


def clip(line: bytes) -> str:
    """Quote a piece of input for a message: at most 80 bytes, no control characters (they could forge log lines)."""
    text = repr(line[:_CLIP].decode("utf-8", "backslashreplace"))
    return text if len(line) <= _CLIP else text + "…"


def is_comment(line: bytes) -> bool:
    """Whether the line holds no sample by its looks: it is blank, or its first visible byte is ``#``."""
    visible = line.strip(BLANKS)
    return not visible or visible.startswith(b"#")


# --- types -----------------------------------------------------------------------------------------------

_TYPE_LINE = re.compile(
    rb'[ \t]*+#[ \t]++TYPE[ \t]++(?:([a-zA-Z_:][a-zA-Z0-9_:]*+)|"((?:[^"\\]|\\.)++)")[ \t]++(\w++)[ \t\r]*+'
)
_ANY_TYPE_LINE = re.compile(rb"[ \t]*+#[ \t]++TYPE(?:[ \t\r]|$)")

# Buckets of a gauge histogram go down as well as up, so they are gauges and never feed a rate.
_TYPE_WORDS = {kind.value: kind for kind in MetricType} | {
    "untyped": MetricType.UNKNOWN,
    "gaugehistogram": MetricType.GAUGE,
}

_SUFFIXES = {
    MetricType.HISTOGRAM: ("_bucket", "_sum", "_count", "_created"),
    MetricType.SUMMARY: ("_sum", "_count", "_created"),
    MetricType.COUNTER: ("_total", "_created"),
    MetricType.INFO: ("_info",),
    MetricType.GAUGE: (),
}
_GAUGE_HISTOGRAM_SUFFIXES = ("_bucket", "_gsum", "_gcount")


@dataclass(frozen=True, slots=True)
class Family:
    """What a ``# TYPE`` line declares; ``suffixes`` are those that its samples may add to the family's name."""

    name: str
    type: MetricType
    suffixes: tuple[str, ...]


def read_type_line(line: bytes) -> Family | None:
    """Read a line that starts with ``#``; None when it is any other comment (``# HELP``, ``# UNIT``, prose).

    Raises
    ------
    BadLine
        It is a ``# TYPE`` line, but not a sound one.
    """
    match = _TYPE_LINE.fullmatch(line)
    if match is None:
        if _ANY_TYPE_LINE.match(line):
            raise BadLine("expected '# TYPE name type'")
        return None
    plain, quoted, word = match.groups()
    kind = _TYPE_WORDS.get(word.decode("ascii"))
    if kind is None:
        raise BadLine(f"expected one of the types {', '.join(_TYPE_WORDS)}")
    suffixes = _GAUGE_HISTOGRAM_SUFFIXES if word == b"gaugehistogram" else _SUFFIXES.get(kind, ())
    name = _text(plain) if quoted is None else _unescape(_text(quoted))
    return Family(name, kind, suffixes)


def declared_families(comments: Iterable[bytes]) -> dict[str, Family]:
    """Collect what the ``# TYPE`` lines of a page declare, wherever they stand; the first one for a name wins.

    Bad ones are passed over: :func:`check_comment` says what is wrong with them.
    """
    families: dict[str, Family] = {}
    for line in comments:
        with suppress(BadLine):
            family = read_type_line(line)
            if family is not None:
                families.setdefault(family.name, family)
    return families


def check_comment(line: bytes, families: Mapping[str, Family]) -> None:
    """Raise BadLine for a ``# TYPE`` line that cannot be read or that contradicts an earlier one."""
    family = read_type_line(line)
    if family is not None and families[family.name] != family:
        raise BadLine(f"expected one type per family; it is declared as {families[family.name].type} before")


def declared_type(sample_name: str, families: Mapping[str, Family]) -> MetricType:
    """Find the type of the family that a sample belongs to; UNKNOWN when no line declares it.

    A family of exactly that name wins. Else the last ``_word`` is taken for a suffix, once only: the samples of
    the histogram ``iteration_tokens_total`` end in ``_total_bucket``, and nothing else is cut off them.
    """
    family = families.get(sample_name)
    if family is not None:
        return family.type
    stem, underscore, word = sample_name.rpartition("_")
    family = families.get(stem)
    return family.type if family is not None and underscore + word in family.suffixes else MetricType.UNKNOWN


# --- series ----------------------------------------------------------------------------------------------

# Name, then either a label set (quoted strings may hold braces) or a blank. The blank belongs to the series:
# without it `foo` would swallow `foo1`. Possessive quantifiers (`*+`) keep every search linear on hostile lines.
_SERIES = re.compile(
    rb"[ \t]*+([a-zA-Z_:][a-zA-Z0-9_:]*+)?+"
    rb'(?:[ \t]*+\{([^"}]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"}]*+)*+)\}[ \t]?|(?<=[a-zA-Z0-9_:])[ \t])'
)
# One label or one quoted metric name, with its comma.
_LABEL = re.compile(
    r'[ \t]*+(?:([a-zA-Z_][a-zA-Z0-9_]*+)|"([^"\\]*+(?:\\.[^"\\]*+)*+)")'
    r'[ \t]*+(?:=[ \t]*+"([^"\\]*+(?:\\.[^"\\]*+)*+)"[ \t]*+)?(?:,[ \t]*+|$)'
)
_PLAIN_LABEL = re.compile(rb'([a-zA-Z_][a-zA-Z0-9_]*+)="([^"\\]*+)')
_ESCAPE = re.compile(r'\\([\\"n])')


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadLine(f"expected UTF-8; {error.reason} at byte {error.start + 1} of {clip(raw)}") from None


def _unescape(text: str) -> str:
    r"""Resolve ``\\``, ``\"`` and ``\n``; any other backslash stands for itself, as Prometheus reads it."""
    if "\\" not in text:
        return text
    return _ESCAPE.sub(lambda match: "\n" if match[1] == "n" else match[1], text)


class SeriesReader:
    """Reads the left part of sample lines, each piece of text only once.

    Programs repeat themselves: the same label sets under many names, the same names over many label sets, the same
    labels in many sets. Each is looked up by its raw bytes before the grammar is asked. What was read
    stays true for as long as the families are the same.

    Parameters
    ----------
    families
        Every declared family of the page, by name.

    Attributes
    ----------
    families
        As given.
    names
        Raw metric name → name and type. Unquoted names only.
    label_sets
        What stood between the braces → labels. Only where no metric name was among them.
    """

    def __init__(self, families: Mapping[str, Family], limits: Limits) -> None:
        self.names: dict[bytes, tuple[str, MetricType]] = {}
        self.label_sets: dict[bytes, Labels] = {b"": ()}
        self.families = families
        self._limits = limits
        self._plain: dict[bytes, tuple[str, str]] = {}

    def read(self, line: bytes) -> tuple[bytes, Sample]:
        """Read name and labels.

        Returns
        -------
        prefix
            The start of the line up to where value, timestamp and exemplar begin.
        sample
            The series that it names.

        Raises
        ------
        BadLine
            There is no series at the start of the line.
        PageTooLarge
            A name, a value or the number of labels passes a limit.
        """
        if b"{" not in line:
            raw_name, blank, _ = line.partition(b" ")
            name = self.names.get(raw_name)
            if name is not None and blank:
                return raw_name + blank, Sample(name[0], (), name[1])
        return self._parse(line)

    def plain_labels(self, raw: bytes) -> Labels | None:
        """Read a label set in the form that programs write, ``a="b",c="d"``; None when there is more to it.

        Split at ``",`` it falls into labels that repeat far more than whole sets do. Pieces of this form, put together
        again, are a label set and nothing else: what this reads, the grammar would read too, and so.
        """
        if raw[-1:] != b'"':
            return None
        pairs = []
        for piece in raw[:-1].split(b'",'):
            pair = self._plain.get(piece) or self._new_plain(piece)
            if pair is None:
                return None
            pairs.append(pair)
        pairs.sort()
        if len(dict(pairs)) < len(pairs) or len(pairs) > self._limits.max_labels:
            return None
        labels = self.label_sets[raw] = tuple(pairs)
        return labels

    def _new_plain(self, piece: bytes) -> tuple[str, str] | None:
        match = _PLAIN_LABEL.fullmatch(piece)
        if match is None or match[1] == b"__name__":
            return None
        try:
            pair = (match[1].decode("ascii"), match[2].decode("utf-8"))
        except UnicodeDecodeError:
            return None
        self._check_lengths(*pair)
        self._plain[piece] = pair
        return pair

    def pruned(self, samples: int) -> "SeriesReader":
        """Return itself, or a fresh reader when churn has filled this one far beyond what a page needs."""
        needed = 2 * samples + 100
        if max(len(self.label_sets), len(self.names), len(self._plain) // 8) <= needed:
            return self
        return SeriesReader(self.families, self._limits)

    def _parse(self, line: bytes) -> tuple[bytes, Sample]:
        """Read any line by the grammar, and remember its pieces."""
        match = _SERIES.match(line)
        if match is None:
            raise BadLine("expected a metric name, labels in closed braces, and a value")
        raw_name, raw_labels = match.groups(b"")
        quoted_name, labels = self._labels(raw_labels)
        if bool(raw_name) == bool(quoted_name):
            raise BadLine("expected one metric name, before the braces or quoted inside them")
        name = self.names.get(raw_name)
        if name is None:
            name = self._typed(quoted_name or raw_name.decode("ascii"))
            if raw_name:
                self.names[raw_name] = name
        return match[0], Sample(name[0], labels, name[1])

    def _typed(self, name: str) -> tuple[str, MetricType]:
        self._check_length("name", name, self._limits.max_name_bytes)
        return name, declared_type(name, self.families)

    def _labels(self, raw: bytes) -> tuple[str, Labels]:
        """Read any label set; the name is that of a metric, if one is quoted among the labels."""
        known = self.label_sets.get(raw)
        if known is None:
            known = self.plain_labels(raw)
        if known is not None:
            return "", known
        metric_name, labels = self._parse_labels(_text(raw))
        if not metric_name:
            self.label_sets[raw] = labels
        return metric_name, labels

    def _parse_labels(self, text: str) -> tuple[str, Labels]:
        """Read what stands between the braces: a quoted metric name, if any, and the labels sorted by name."""
        metric_name = ""
        labels: dict[str, str] = {}
        at = 0
        while at < len(text):
            match = _LABEL.match(text, at)
            if match is None:
                raise BadLine(f'expected name="value" at {clip(text[at:].encode())}')
            plain, quoted, value = match.groups()
            at = match.end()
            name = plain or _unescape(quoted)
            if value is None:
                if plain is not None or metric_name:
                    raise BadLine(f'expected ="value" after {clip(name.encode())}')
                metric_name = name
            elif name in labels or name in {"", "__name__"}:
                raise BadLine(f"expected each label once, and none empty or __name__; found {clip(name.encode())}")
            else:
                labels[name] = _unescape(value)
        self._check_labels(labels)
        return metric_name, tuple(sorted(labels.items()))

    def _check_labels(self, labels: Mapping[str, str]) -> None:
        if len(labels) > self._limits.max_labels:
            raise PageTooLarge(f"{len(labels)} labels on one sample; at most {self._limits.max_labels} (max_labels)")
        for pair in labels.items():
            self._check_lengths(*pair)

    def _check_lengths(self, name: str, value: str) -> None:
        self._check_length("name", name, self._limits.max_name_bytes)
        self._check_length("value", value, self._limits.max_value_bytes)

    @staticmethod
    def _check_length(what: str, text: str, limit: int) -> None:
        # A character has at most four bytes, so most texts need no encoding to be known as short enough.
        if len(text) * 4 > limit and (length := len(text.encode())) > limit:
            raise PageTooLarge(f"a {what} of {length} bytes, {clip(text.encode())}; at most {limit} (max_{what}_bytes)")


# --- values ----------------------------------------------------------------------------------------------


def number(text: bytes) -> float:
    """Read one number.

    ``float`` also reads ``1_000``, which no exposition format knows; hexadecimal floats it refuses, as Prometheus does.
    """
    if b"_" not in text:
        try:
            return float(text)
        except ValueError:
            pass
    raise BadLine(f"expected a number, found {clip(text)}")


def read_tail(tail: bytes) -> tuple[float, float]:
    """Read what follows the series: a value, perhaps a timestamp, perhaps an exemplar.

    The exemplar (`` # {…} value timestamp``) is not read at all. It must not be mistaken for a timestamp, and it
    may stand on text pages too, where only OpenMetrics has it.

    Returns
    -------
    value, timestamp
        The timestamp in the unit of the page, NaN when there is none.
    """
    fields = tail.split(None, 2)
    if not fields:
        raise BadLine("expected a value after the series")
    value = number(fields[0])
    if len(fields) == 1 or fields[1].startswith(b"#"):
        return value, nan
    if len(fields) == 3 and not fields[2].startswith(b"#"):
        raise BadLine(f"expected nothing but an exemplar after value and timestamp, found {clip(fields[2])}")
    timestamp = number(fields[1])
    if not isfinite(timestamp):
        raise BadLine(f"expected a finite timestamp, found {clip(fields[1])}")
    return value, timestamp
