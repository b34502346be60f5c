"""Whether a number in a sentence is that of a fact: unit, rounding, and the side of "expected" on which it stands."""

import re
from collections.abc import Iterator

from aiops.diagnose.record import Evidence
from aiops.explain.claims import Reading
from aiops.explain.known import Known
from aiops.explain.quantities import Quantity

_SHARE = 0.02
_COARSEST_SHARE = 0.12
"""What was rounded to one digit may be off by this share of the truth, and no more."""
_EXPECTED_BEFORE = re.compile(
    r"(?i)(?:\bexpected|\busual(?:ly)?|\bnormal(?:ly)?|\binstead of|\bfrom|\brather than|\bcompared (?:to|with)"
    r"|\bagainst|\bbaseline(?: of)?|\breference(?: of)?|\bversus|\bvs\.?|\bthan"
    r"|(?:预期|正常|基线|参考)值?|通常|平时|而非|从)"
    r"(?:\s+(?:value|level|the|an|a|of|was|were|is|to be|around|about|approximately))*\s*(?:为|是|约)?\s*[:：(]?\s*$"
)
_EXPECTED_AFTER = re.compile(
    r"(?i)^\)?,?\s*(?:(?:was|were|is|are|(?:would|should) (?:be|have been))\s+)?"
    r"(?:the\s+)?(?:expected|usual|normal|baseline|reference)\b|^\s*(?:是|为)?(?:预期|正常|基线)"
)
_CHANGE_AROUND = re.compile(
    r"(?i)\b(?:by|up|down|more|less|higher|lower|above|below|increase|decrease|rise|drop)\b|高出|增加|下降|上升|减少"
)
_SPAN_AROUND = re.compile(
    r"(?i)\b(?:for|after|before|later|earlier|lasted|lasts|within|minutes? ago|long)\b|持续|之后|之前|后|前"
)
_CONFIDENCE = re.compile(r"(?i)\bconfidence\b|\bsignature\b|置信度|特征")
_STRICT_UNITS = frozenset({"seconds", "bytes", "bytes/s", "hertz", "watts"})
_AROUND = 24


def unfounded(number: Quantity, reading: Reading, known: Known) -> str:
    """Why a number may not stand in its sentence; ``""`` when it is that of a fact."""
    said = reading.text[number.start : number.end]
    before = reading.text[max(0, number.start - 40) : number.start]
    after = reading.text[number.end : number.end + 40]
    facts = reading.facts_at(number.start)
    expected = bool(_EXPECTED_BEFORE.search(before) or _EXPECTED_AFTER.match(after)) and number.unit != "times"
    around = before[-_AROUND:] + " " + after[:_AROUND]
    if _CONFIDENCE.search(reading.text) and number.unit == "ratio" and not reading.signals:
        return "" if _is_confidence(number, reading, known) else f"{said.strip()} is not the confidence"
    if any(_is(number, value, unit) for fact in facts for value, unit in _said_of(fact, around, expected=expected)):
        return ""
    if not expected and _is_counted(number, reading, known, around):
        return ""
    return f"{said.strip()} is not in what it cites"


def _said_of(fact: Evidence, around: str, *, expected: bool) -> Iterator[tuple[float, str]]:
    """The numbers that follow from one fact."""
    if expected:
        yield fact.expected, fact.unit
        return
    yield fact.value, fact.unit
    if fact.expected:
        yield fact.value / fact.expected, "times"
    if fact.value:
        yield fact.expected / fact.value, "times"
    if _CHANGE_AROUND.search(around):
        yield abs(fact.value - fact.expected), fact.unit
        if fact.expected and fact.unit != "ratio":
            yield abs(fact.value - fact.expected) / abs(fact.expected), "ratio"


def _is_counted(number: Quantity, reading: Reading, known: Known, around: str) -> bool:
    """Numbers of the incident itself: lengths of time, and codes that a fact without a series tells."""
    if number.unit == "seconds" and _SPAN_AROUND.search(around):
        return any(_is(number, span, "seconds") for span in known.spans)
    loose = [fact for fact in reading.facts if fact.series is None]
    return any(_is(number, fact.value, fact.unit) for fact in loose)


def _is_confidence(number: Quantity, reading: Reading, known: Known) -> bool:
    """Whether it is the confidence of a cause that the sentence names; of the first when it names none."""
    causes = [known.ranked[cause] for cause in reading.causes if cause in known.ranked] or list(known.ranked.values())[
        :1
    ]
    return any(_is(number, cause.confidence, "ratio") for cause in causes)


def _is(number: Quantity, value: float, unit: str) -> bool:
    """Whether a number that was written means a value; a bare number only where the unit goes without saying."""
    if number.unit != unit and (number.unit or unit in _STRICT_UNITS or unit == "times"):
        return False
    allowed = max(_SHARE * abs(value), min(number.slack, _COARSEST_SHARE * abs(value)))
    return abs(number.value - value) <= allowed * 1.0001  # NaN is never equal
