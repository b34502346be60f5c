"""How the tests of the page parser look at a page."""

from collections.abc import Iterable

import numpy as np

from aiops.collect.exposition import parse
from aiops.signals.page import Page

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"

Row = tuple[str, tuple[tuple[str, str], ...], str, float, float]
"""Name, labels, type, value, timestamp in seconds."""


def rows(page: Page) -> list[Row]:
    stamps = page.timestamps if page.timestamps is not None else np.full(len(page.values), np.nan)
    return [
        (name, labels, kind.value, float(value), float(stamp))
        for (name, labels, kind), value, stamp in zip(page.layout.samples, page.values, stamps, strict=True)
    ]


def comparable(found: Iterable[Row]) -> list[tuple[str, ...]]:
    """Make NaN equal to NaN and keep every bit of the other numbers."""
    return [(name, str(labels), kind, repr(value), repr(stamp)) for name, labels, kind, value, stamp in found]


def same(left: Page, right: Page) -> bool:
    return (
        comparable(rows(left)) == comparable(rows(right))
        and (left.timestamps is None) == (right.timestamps is None)
        and (left.bad_lines, left.first_error) == (right.bad_lines, right.first_error)
    )


def one(line: str, content_type: str = TEXT) -> Row:
    """The only sample of a page of one good line."""
    page = parse(line.encode() + b"\n", content_type)
    assert page.bad_lines == 0, page.first_error
    (row,) = rows(page)
    return row
