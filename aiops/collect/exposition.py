"""From the bytes of a metrics page to columns: Prometheus text 0.0.4 and OpenMetrics 1.0.

A target prints the same lines in the same order, with other numbers. So :class:`PageParser` remembers, per
target, how the last page was laid out, and reads a page at the first of three speeds that fits:

1. *Same layout.* Every sample line starts with the bytes remembered for its place and every other line is
   unchanged: only the numbers are converted, in bulk, and the very same ``Layout`` object is returned.
2. *Same families.* Lines came, went or moved: names and label sets are looked up by their raw text; only new
   ones go through the grammar (:mod:`aiops.collect.exposition_grammar`).
3. *Cold.* First page, other format, or other ``# TYPE`` lines: everything is new once.

Invariant: the three give the same page. Speed 1 may only be taken where speed 3 would answer the same, and
whatever is odd falls through to the next one. This module does no I/O and knows no clock; a parser belongs to
one target and holds the last layout only, so churn cannot make it grow.

Decisions where formats and programs disagree:

* ``# TYPE`` lines hold for the whole page, wherever they stand; of two that disagree the first wins.
* A line is lost when it cannot be read or is not UTF-8, and when it repeats a series; each is counted.
* Nothing may follow the ``# EOF`` of OpenMetrics, and a page without it was cut: one more bad line.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from aiops.collect.exposition_grammar import (
    ABOVE_COMMENTS,
    BLANKS,
    BadLine,
    Family,
    Limits,
    PageTooLarge,
    SeriesReader,
    check_comment,
    clip,
    declared_families,
    is_comment,
    read_tail,
)
from aiops.signals.page import Layout, Page, Sample

__all__ = ["Limits", "PageParser", "PageTooLarge", "parse"]

_OPENMETRICS = "application/openmetrics-text"
_EOF = b"# EOF"

_LINES_PER_SAMPLE = 5
"""HELP, TYPE, UNIT, a blank, the sample. More lines than that are junk, and junk needs a limit too."""


def parse(body: bytes, content_type: str = "", *, limits: Limits | None = None) -> Page:
    """Read one page once; see :meth:`PageParser.parse`."""
    return PageParser(limits).parse(body, content_type)


class PageParser:
    """Reads the pages of one target and remembers the layout of the last one.

    Parameters
    ----------
    limits
        Most that a page may hold.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._memory: _Memory | None = None

    def parse(self, body: bytes, content_type: str = "") -> Page:
        """Read one page.

        Parameters
        ----------
        body
            The decompressed page.
        content_type
            The header of that name; ``application/openmetrics-text`` selects OpenMetrics, anything else the text
            format. Without one, a page that ends in ``# EOF`` is taken for OpenMetrics.

        Returns
        -------
        Page
            ``page.layout`` is the object of the previous call when series, order and types are the same.

        Raises
        ------
        PageTooLarge
            The page passes a limit. Malformed lines never raise.
        """
        openmetrics = _is_openmetrics(body, content_type)
        if body.count(b"\n") > (most := _LINES_PER_SAMPLE * self._limits.max_samples):
            raise PageTooLarge(
                f"more than {most} lines; that is {_LINES_PER_SAMPLE} per allowed sample (limits.samples)"
            )
        lines = body.split(b"\n")
        memory = self._memory
        if memory is not None and memory.openmetrics == openmetrics:
            page = _read_same_layout(memory, lines, len(body))
            if page is not None:
                return page
        self._memory = None  # should a limit stop this page, what it taught the reader is not kept
        self._memory, page = _read_lines(lines, memory, self._limits, openmetrics=openmetrics)
        return page


def _is_openmetrics(body: bytes, content_type: str) -> bool:
    if not content_type:
        return body[-16:].rstrip().endswith(_EOF)
    return content_type.partition(";")[0].strip().lower() == _OPENMETRICS


# --- what is remembered ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Memory:
    """The layout of the last page, in the form that the next page is compared with.

    A line is either a *sample* or *other*: a comment, a blank, or bad.

    Attributes
    ----------
    is_sample
        One byte per line: 1 for a sample, 0 for any other.
    other_at, others
        Index of every other line, and the whole line.
    prefixes
        Raw series text of each sample line, in order, up to where its value begins.
    fixed_bytes
        Bytes of the page that do not belong to values: series texts, other lines, line ends.
    reader
        What the grammar has learned about these families.
    """

    openmetrics: bool
    is_sample: bytearray
    other_at: list[int]
    others: list[bytes]
    prefixes: list[bytes]
    fixed_bytes: int
    reader: SeriesReader
    layout: Layout
    bad_lines: int
    first_error: str

    def page(self, values: NDArray[np.float64], stamps: NDArray[np.float64] | None) -> Page:
        if stamps is not None and not self.openmetrics:
            stamps = stamps / 1000.0  # the text format counts milliseconds, OpenMetrics seconds
        return Page(self.layout, values, stamps, self.bad_lines, self.first_error)


# --- speed 1: only the numbers ---------------------------------------------------------------------------

_Columns = tuple[NDArray[np.float64], NDArray[np.float64] | None]
"""Values and timestamps (in the unit of the page; None when no line has one), each float64 [n]."""


def _read_same_layout(memory: _Memory, lines: Sequence[bytes], body_bytes: int) -> Page | None:
    """Read a page laid out like the last one; None when it is not, or when any line needs a closer look."""
    if len(lines) != len(memory.is_sample) or [lines[at] for at in memory.other_at] != memory.others:
        return None
    # removeprefix leaves a line whole when it starts otherwise. Then more bytes are left over than a page of this
    # layout can have, so one comparison of lengths proves all prefixes at once.
    tails = list(map(bytes.removeprefix, compress(lines, memory.is_sample), memory.prefixes))
    if sum(map(len, tails)) != body_bytes - memory.fixed_bytes:
        return None
    columns = _values(tails)
    return None if columns is None else memory.page(*columns)


def _values(tails: list[bytes]) -> _Columns | None:
    """Read what follows the series of every line, in bulk where that is possible; None when any of it is bad."""
    if b" # " in b"".join(tails):
        tails = [tail.partition(b" # ")[0] for tail in tails]  # exemplars
    underscore = b"_" in b"".join(tails)  # float() takes 1_000 for a number
    for read in (_mixed_values,) if underscore else (_plain_values, _stamped_values, _mixed_values):
        with suppress(ValueError):
            return read(tails)
    return None


def _plain_values(tails: list[bytes]) -> _Columns:
    """Read a page where only values follow the series, as on nearly all pages."""
    return np.fromiter(map(float, tails), np.float64, len(tails)), None


def _stamped_values(tails: list[bytes]) -> _Columns:
    """Read a page where a value and a timestamp follow every series."""
    values, stamps = zip(*map(bytes.split, tails), strict=True)
    times = np.fromiter(map(float, stamps), np.float64, len(stamps))
    if not np.isfinite(times).all():
        raise BadLine("expected finite timestamps")
    return np.fromiter(map(float, values), np.float64, len(values)), times


def _mixed_values(tails: list[bytes]) -> _Columns:
    """Read any page: some lines with timestamps, some with exemplars."""
    pairs = list(map(read_tail, tails))
    times = np.array([stamp for _, stamp in pairs], np.float64)
    return np.array([value for value, _ in pairs], np.float64), None if np.isnan(times).all() else times


# --- speeds 2 and 3: line by line ------------------------------------------------------------------------


def _read_lines(
    lines: Sequence[bytes], previous: _Memory | None, limits: Limits, *, openmetrics: bool
) -> tuple[_Memory, Page]:
    """Read every line, with what the previous page taught if its families are the same."""
    content = lines[: _end_of_page(lines)] if openmetrics else lines
    comments = {at for at, line in enumerate(content) if line < ABOVE_COMMENTS and is_comment(line)}
    families = declared_families(content[at] for at in sorted(comments))
    reader = previous.reader if previous is not None else None
    if reader is None or reader.families != families:
        reader = SeriesReader(families, limits)
    walk = _Walk(reader, limits.max_samples)
    walk.read(content, comments)
    columns = _values(walk.tails)
    if columns is None:
        # A line with a bad value must not claim its series: a later line may have a good one. So walk again without.
        bad_values = walk.bad_values(len(content), comments)
        walk = _Walk(reader, limits.max_samples)
        walk.read(content, comments | bad_values.keys())
        walk.errors.update(bad_values)
        columns = _mixed_values(walk.tails)
    is_sample = bytearray(b"\1") * len(content) + bytes(len(lines) - len(content))
    for at in comments | walk.errors.keys():
        is_sample[at] = 0
    walk.errors.update(_comment_errors(content, comments, families))
    if openmetrics:
        walk.errors.update(_end_errors(lines, len(content)))
    memory = _remember(lines, walk, is_sample, previous, openmetrics=openmetrics)
    return memory, memory.page(*columns)


class _Walk:
    """One pass over the sample lines of a page: splits each into series and tail.

    Attributes
    ----------
    prefixes
        Every series of the page, in order, with the raw text that named it.
    tails
        What followed each.
    repeats
        Index of each line that repeats a series → what followed it.
    errors
        Index of each bad line, the repeats among them → what was expected.
    """

    def __init__(self, reader: SeriesReader, max_samples: int) -> None:
        self.reader = reader
        self.prefixes: dict[Sample, bytes] = {}
        self.tails: list[bytes] = []
        self.repeats: dict[int, bytes] = {}
        self.errors: dict[int, str] = {}
        self._max_samples = max_samples

    def read(self, lines: Sequence[bytes], skip: set[int]) -> None:
        """Read all lines but those at the indices in ``skip``."""
        reader, names, label_sets = self.reader, self.reader.names, self.reader.label_sets
        prefixes, tails = self.prefixes, self.tails
        new_tuple = tuple.__new__  # a NamedTuple's own __new__ is Python code, three times as slow
        for at, line in enumerate(lines):
            if at in skip:
                continue
            # Guess that it is `name{labels} value`. A wrong guess at the end of the labels (a quoted brace, an
            # exemplar) finds nothing familiar; what is found is whole, and the grammar would end at the same byte.
            head, end, tail = line.partition(b"} ")
            raw_name, brace, raw_labels = head.partition(b"{")
            name, labels = names.get(raw_name), label_sets.get(raw_labels)
            if labels is None and name is not None:
                labels = reader.plain_labels(raw_labels)
            if name is not None and labels is not None and brace and end:
                prefix = head + end
                sample = new_tuple(Sample, (name[0], labels, name[1]))
            else:
                try:
                    prefix, sample = reader.read(line)
                except BadLine as error:
                    self.errors[at] = str(error)
                    continue
                except PageTooLarge as error:
                    raise PageTooLarge(f"line {at + 1}: {error}") from None
                tail = line[len(prefix) :]
            if prefixes.setdefault(sample, prefix) is prefix:
                tails.append(tail)
            else:
                self.repeats[at] = tail
                self.errors[at] = "expected each series once; the first one counts"
        if len(tails) > self._max_samples:
            raise PageTooLarge(f"{len(tails)} samples; at most {self._max_samples} (limits.samples)")

    def bad_values(self, lines: int, comments: set[int]) -> dict[int, str]:
        """Find the lines whose tail cannot be read, repeats too: index → what was expected."""
        sample_at = [at for at in range(lines) if at not in comments and at not in self.errors]
        found = {}
        for at, tail in (*zip(sample_at, self.tails, strict=True), *self.repeats.items()):
            try:
                read_tail(tail)
            except BadLine as error:
                found[at] = str(error)
        return found


def _comment_errors(lines: Sequence[bytes], comments: set[int], families: Mapping[str, Family]) -> dict[int, str]:
    errors = {}
    for at in comments:
        try:
            check_comment(lines[at], families)
        except BadLine as error:
            errors[at] = str(error)
    return errors


def _end_of_page(lines: Sequence[bytes]) -> int:
    """Index of the ``# EOF`` line; the number of lines without one."""
    return next((at for at, line in enumerate(lines) if line[:5] == _EOF and line.rstrip() == _EOF), len(lines))


def _end_errors(lines: Sequence[bytes], end: int) -> dict[int, str]:
    """Judge ``# EOF``, expected at line ``end``, and what follows it."""
    if end == len(lines):
        return {end: "expected # EOF; the page was cut"}
    return {at: "expected nothing after # EOF" for at in range(end + 1, len(lines)) if lines[at].strip(BLANKS)}


def _remember(
    lines: Sequence[bytes], walk: _Walk, is_sample: bytearray, previous: _Memory | None, *, openmetrics: bool
) -> _Memory:
    """Derive what speed 1 compares, and keep the previous layout object when it says the same."""
    samples = tuple(walk.prefixes)
    prefixes = list(walk.prefixes.values())
    other_at = [at for at, flag in enumerate(is_sample) if not flag]
    others = [lines[at] for at in other_at]
    unchanged = previous is not None and previous.layout.samples == samples
    return _Memory(
        openmetrics=openmetrics,
        is_sample=is_sample,
        other_at=other_at,
        others=others,
        prefixes=prefixes,
        fixed_bytes=sum(map(len, prefixes)) + sum(map(len, others)) + len(lines) - 1,
        reader=walk.reader.pruned(len(samples)),
        layout=previous.layout if previous is not None and unchanged else Layout(samples),
        bad_lines=len(walk.errors),
        first_error=_first_error(lines, walk.errors),
    )


def _first_error(lines: Sequence[bytes], errors: Mapping[int, str]) -> str:
    if not errors:
        return ""
    at = min(errors)
    found = f", found {clip(lines[at])}" if at < len(lines) else ""
    return f"line {at + 1}: {errors[at]}{found}"
