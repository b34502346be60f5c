"""A scraped page as columns: the series once, the values each time."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aiops.signals.types import Labels


class MetricType(StrEnum):
    """Type that the page declares for a family."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    SUMMARY = "summary"
    INFO = "info"
    STATESET = "stateset"
    UNKNOWN = "unknown"


class Sample(NamedTuple):
    """Identity of one line: exposed name (with ``_bucket``, ``_total`` …), sorted labels (with ``le``,
    ``quantile``), and the declared type of its family."""

    name: str
    labels: Labels
    type: MetricType


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Layout:
    """Series of a page in order of appearance; the same object for as long as the page's series stay."""

    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """One parsed page.

    Attributes
    ----------
    values
        float64 [len(layout.samples)]; NaN where the page says NaN.
    timestamps
        float64 [n] UTC seconds where lines carry their own, NaN elsewhere; None when no line does.
    bad_lines
        Lines that could not be read, or repeated a series; they cost themselves, never the page.
    first_error
        What the first of them was: line number, text (clipped), what was expected.
    """

    layout: Layout
    values: NDArray[np.float64]
    timestamps: NDArray[np.float64] | None = None
    bad_lines: int = 0
    first_error: str = ""

    def same_as(self, other: "Page") -> bool:
        """Whether both show the same series with the same values (NaN equals NaN)."""
        return self.layout is other.layout and np.array_equal(self.values, other.values, equal_nan=True)
