"""Numbered facts: what was seen, before and now, when, and what to ask to see it again. One fact has one number."""

from math import isnan, nan

from aiops.diagnose.record import Evidence
from aiops.diagnose.scene import Fact
from aiops.signals.catalog import SIGNALS
from aiops.signals.telemetry import exported_name
from aiops.signals.types import Mark, SeriesKey


class Ledger:
    """Gives numbers to facts and marks in the order in which they are first cited.

    Parameters
    ----------
    start, end
        UTC seconds of the window that facts were seen in.
    """

    def __init__(self, start: float, end: float) -> None:
        self._start, self._end = start, end
        self._ids: dict[SeriesKey | Mark, str] = {}
        self.entries: list[Evidence] = []

    def series(self, fact: Fact) -> str:
        """Id of a series."""
        return self._cite(fact.key) or self._enter(
            fact.key,
            Evidence(
                id=self._next,
                series=fact.key,
                text=sentence(fact),
                value=_shown(fact),
                expected=fact.expected,
                unit=fact.unit,
                start=self._start,
                end=self._end,
                query=query(fact.key),
            ),
        )

    def mark(self, mark: Mark) -> str:
        """Id of an event."""
        text = f"{str(mark.kind).replace('_', ' ')} at {mark.entity}: {mark.detail}"
        return self._cite(mark) or self._enter(mark, Evidence(self._next, None, text, nan, nan, "", mark.at, mark.at))

    @property
    def _next(self) -> str:
        return f"E{len(self.entries) + 1}"

    def _cite(self, what: SeriesKey | Mark) -> str:
        return self._ids.get(what, "")

    def _enter(self, what: SeriesKey | Mark, evidence: Evidence) -> str:
        self._ids[what] = evidence.id
        self.entries.append(evidence)
        return evidence.id


def _shown(fact: Fact) -> float:
    """The number that tells the story: of an event that is over by now, its peak."""
    return fact.highest if fact.occurred and not fact.up and not fact.down and fact.expected == 0 else fact.value


def sentence(fact: Fact) -> str:
    """One fact in plain words."""
    name = f"{fact.key.signal}:{fact.key.stat}" if fact.key.stat else fact.key.signal
    what = f"{name} of {fact.key.entity}"
    value = _shown(fact)
    if not fact.lost:
        return f"{what} {_moved(fact, value)}"
    if isnan(value):
        return f"{what} is not reported any more; it was {_number(fact.expected, fact.unit)}"
    return f"{what} {_moved(fact, value)}, and is not reported any more"


def _moved(fact: Fact, value: float) -> str:
    if isnan(value) or isnan(fact.expected):
        return f"is {_number(value, fact.unit)}, before it was {_number(fact.expected, fact.unit)}"
    if value == fact.expected:
        return f"stayed at {_number(value, fact.unit)}"
    moved = "rose" if value > fact.expected else "fell"
    return f"{moved} from {_number(fact.expected, fact.unit)} to {_number(value, fact.unit)}"


def _number(value: float, unit: str) -> str:
    if isnan(value):
        return "unknown"
    return f"{value:.4g}" if unit in ("", "state", "ratio") else f"{value:.4g} {unit}"


def query(key: SeriesKey) -> str:
    """PromQL over our own ``/metrics``."""
    labels = {"kind": str(key.entity.kind), **dict(key.entity.labels)} | ({"stat": key.stat} if key.stat else {})
    inside = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{exported_name(SIGNALS[key.signal])}{{{inside}}}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
