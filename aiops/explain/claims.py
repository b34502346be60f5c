"""One sentence taken apart: what it names, cites, counts and claims, each with its place.

What was understood is struck out, so that the next, more general pattern cannot take it for something else.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from aiops.diagnose.record import Evidence
from aiops.explain.known import Known
from aiops.explain.lexicon import FACTORS, KNOWN_WORDS, words_in
from aiops.explain.quantities import Quantity, quantities
from aiops.explain.words import Language
from aiops.signals.types import Entity

_Mention = TypeVar("_Mention", "SignalMention", "EntityMention")
_STRUCK = "\x00"
_CITATION = re.compile(r"\[\s*(E\d+(?:\s*[,，、]\s*E\d+)*)\s*\]|\(\s*(E\d+(?:\s*[,，、]\s*E\d+)*)\s*\)|\b(E\d+)\b")
_QUOTED = re.compile('“([^“”]*)”|(?<![=\\w])"([^"]*)"|「([^「」]*)」|《([^《》]*)》')
"""Straight marks count only where no label stands before them: ``pool{name=\"m\"}`` quotes nobody."""
_TIME = re.compile(r"(?:(\d{4})-(\d\d)-(\d\d)[T ])?(\d{1,2}):(\d\d)(?::(\d\d)(?:\.\d+)?)?Z?(?![\d:])")
_XID = re.compile(r"(?i)\bxids?(?:\s+(?:code|error|number))?\s*#?(\d+)\b")
_GPU = re.compile(r"(?i)\bgpu\s*#?(\d+)\b")
_STAT = re.compile(
    r"(?i)\(?\b(p50|p95|p99|mean|median|average|95th percentile|99th percentile)\b\)?|(平均|中位数|均值)"
)
_STATS = {"median": "p50", "average": "mean", "95th percentile": "p95", "99th percentile": "p99",
          "平均": "mean", "均值": "mean", "中位数": "p50"}  # fmt: skip
_KINDS = r"(?:pool|model|job|node|instance|replica|gpu|target|service)s?[ =]|(?:池|模型|节点|副本|服务) ?"
_LOOSE = {
    "latency": ("ttft", "itl", "tpot", "e2e", "probe_ttft", "probe_itl", "probe_e2e", "prefill_time", "decode_time"),
    "时延": ("ttft", "itl", "tpot", "e2e", "probe_ttft", "probe_itl", "probe_e2e", "prefill_time", "decode_time"),
    "queue": ("queue_len", "queue_time"),
    "排队": ("queue_len", "queue_time"),
    "temperature": ("gpu_temp", "gpu_mem_temp"),
    "温度": ("gpu_temp", "gpu_mem_temp"),
}
"""Names that people use for more than one signal."""


@dataclass(frozen=True, slots=True)
class SignalMention:
    """A name that stands for one of some signals, perhaps with a statistic (``""``: none is named)."""

    text: str
    signals: frozenset[str]
    stat: str
    start: int


@dataclass(frozen=True, slots=True)
class EntityMention:
    """A name that some entities carry; none when nobody does."""

    text: str
    entities: frozenset[Entity]
    start: int


@dataclass(frozen=True, slots=True)
class TimeMention:
    """A time of day, perhaps with its date (None: any day), in UTC; ``seconds`` is None when only minutes are told."""

    text: str
    date: tuple[int, int, int] | None
    hour: int
    minute: int
    seconds: int | None

    def among(self, known: Iterable[float]) -> bool:
        """Whether one of some UTC seconds is meant: to the second, or the same minute where no seconds are told."""
        return any(self._is(datetime.fromtimestamp(at, UTC)) for at in known)

    def _is(self, at: datetime) -> bool:
        if self.date is not None and (at.year, at.month, at.day) != self.date:
            return False
        if (at.hour, at.minute) != (self.hour, self.minute):
            return False
        return self.seconds is None or abs(at.second + at.microsecond / 1e6 - self.seconds) <= 1.0


@dataclass(slots=True)
class Reading:
    """What was found in a sentence.

    Attributes
    ----------
    rest
        The sentence with everything struck out that was found; as long as the sentence.
    facts
        Evidence that it cites and that exists.
    named
        It repeats a name, an alert or a quotation.
    """

    text: str
    rest: str
    cited: tuple[str, ...] = ()
    facts: tuple[Evidence, ...] = ()
    causes: list[str] = field(default_factory=list)
    entities: list[EntityMention] = field(default_factory=list)
    signals: list[SignalMention] = field(default_factory=list)
    times: list[TimeMention] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    numbers: list[Quantity] = field(default_factory=list)
    words: list[tuple[str, int]] = field(default_factory=list)
    named: bool = False

    def says(self, claiming: frozenset[str]) -> bool:
        """Whether any of some words is there."""
        return any(word in claiming for word, _ in self.words)

    def claims(self, claiming: frozenset[str]) -> list[tuple[str, int]]:
        """The words of some that are there, with their places."""
        return [(word, place) for word, place in self.words if word in claiming]

    def facts_at(self, place: int) -> list[Evidence]:
        """Cited facts that a word or number at a place is about: those of the signal and the entity named last before
        it, else of the ones named first after it; all that are measured when none is named."""
        measured = [fact for fact in self.facts if fact.series is not None]
        signal, entity = _nearest(self.signals, place), _nearest(self.entities, place)
        if signal is not None:
            measured = [fact for fact in measured if fact.series and fact.series.signal in signal.signals
                        and signal.stat in ("", fact.series.stat)]  # fmt: skip
        if entity is not None and any(fact.series and fact.series.entity in entity.entities for fact in self.facts):
            measured = [fact for fact in measured if fact.series and fact.series.entity in entity.entities]
        return measured

    def strike(self, start: int, end: int) -> None:
        """Take a part out of the sentence."""
        self.rest = self.rest[:start] + _STRUCK * (end - start) + self.rest[end:]


def _nearest(mentions: Sequence[_Mention], place: int) -> _Mention | None:
    before = [mention for mention in mentions if mention.start <= place]
    return max(before, key=_start) if before else min(mentions, key=_start, default=None)


def _start(mention: SignalMention | EntityMention) -> int:
    return mention.start


def read(text: str, cited: Sequence[str], known: Known) -> Reading:
    """Take one sentence apart."""
    reading = Reading(text, text)
    names = list(cited)
    for match in _CITATION.finditer(text):
        names += re.findall(r"E\d+", match.group())
        reading.strike(*match.span())
    reading.cited = tuple(dict.fromkeys(names))
    reading.facts = tuple(known.facts[name] for name in reading.cited if name in known.facts)
    _quotations(reading, known)
    for _, (start, end) in _spans(reading, known.phrases):  # before the titles: a remedy may name a cause
        reading.named = True
        reading.strike(start, end)
    for title, (start, end) in _spans(reading, known.titles):
        reading.causes.append(known.titles[title])
        reading.strike(start, end)
    _names(reading, known)
    _codes_and_times(reading)
    for number in quantities(reading.rest):  # before the signals: "3 replicas" is a number with its unit
        reading.numbers.append(number)
        reading.strike(number.start, number.end)
    _signals(reading, known)
    reading.words = words_in(reading.rest)
    reading.numbers += [
        Quantity(FACTORS[word], "times", 0.0, place, place + len(word))
        for word, place in reading.words
        if word in FACTORS
    ]
    return reading


def _quotations(reading: Reading, known: Known) -> None:
    """Strike out what is quoted and was really said; other quotation marks are only marks."""
    for match in _QUOTED.finditer(reading.rest):
        said = next(group for group in match.groups() if group is not None)
        if said.strip().lower().rstrip(".。") in known.quotes:
            reading.named = True
            reading.strike(*match.span())


def _spans(reading: Reading, phrases: Iterable[str]) -> list[tuple[str, tuple[int, int]]]:
    """Where phrases stand as whole words, the longest first; none overlaps another."""
    found: list[tuple[str, tuple[int, int]]] = []
    rest = reading.rest.lower()
    for phrase in sorted(phrases, key=lambda text: (-len(text), text)):
        start = rest.find(phrase)
        while start >= 0:
            end = start + len(phrase)
            if _whole(rest, start, end):
                found.append((phrase, (start, end)))
                rest = rest[:start] + _STRUCK * (end - start) + rest[end:]
            start = rest.find(phrase, end)
    return sorted(found, key=lambda one: one[1])


def _whole(text: str, start: int, end: int) -> bool:
    """Latin letters and digits must not go on to either side."""
    before, after = text[max(0, start - 1) : start], text[end : end + 1]
    glued = [
        edge.isascii() and edge.isalnum() and neighbour.isascii() and (neighbour.isalnum() or neighbour in "_")
        for edge, neighbour in ((text[start], before), (text[end - 1], after))
        if neighbour
    ]
    return not any(glued)


def _names(reading: Reading, known: Known) -> None:
    """Names of entities. One of letters only might be an ordinary word: it counts after the kind of thing it names."""
    for name, (start, end) in _spans(reading, known.names):
        if name.isalpha() and not re.search(rf"(?i){_KINDS}$", reading.rest[:start]):
            continue
        # "10.0.0.7:8000" must not be found in "10.0.0.7:8000.example": the dot goes on.
        if re.match(r"[.:/-]\w", reading.rest[end:]) or re.search(r"\w[.:/-]$", reading.rest[:start]):
            continue
        reading.entities.append(EntityMention(name, known.names[name], start))
        reading.strike(start, end)
    for match in _GPU.finditer(reading.rest):
        carriers = frozenset(entity for entity in known.entities if entity.label("gpu") == match[1])
        reading.entities.append(EntityMention(match.group(), carriers, match.start()))
        reading.strike(*match.span())
    reading.named |= bool(reading.entities)


def _codes_and_times(reading: Reading) -> None:
    for match in _XID.finditer(reading.rest):
        reading.codes.append(int(match[1]))
        reading.named = True
        reading.strike(*match.span())
    for match in _TIME.finditer(reading.rest):
        year, month, day, hour, minute, second = (None if part is None else int(part) for part in match.groups())
        date = None if year is None or month is None or day is None else (year, month, day)
        reading.times.append(TimeMention(match.group(), date, hour or 0, minute or 0, second))
        reading.strike(*match.span())


def _signals(reading: Reading, known: Known) -> None:
    called: dict[str, frozenset[str]] = {}
    for signal, names in known.words.signals.items():
        for name in (signal, *(name for language in Language for name in names[language])):
            called[name.lower()] = frozenset(_LOOSE.get(name.lower(), (signal,)))
    for name, (start, end) in _spans(reading, called):
        if name in KNOWN_WORDS and not name.isascii():
            continue
        reading.strike(start, end)
        stat = ""
        near = _STAT.match(reading.rest[end:].lstrip(), 0)
        if near is not None:
            gap = len(reading.rest[end:]) - len(reading.rest[end:].lstrip())
            stat = _stat(near)
            reading.strike(end + gap, end + gap + near.end())
        else:
            before = re.search(rf"(?i)(?:{_STAT.pattern.removeprefix('(?i)')})\s*$", reading.rest[:start])
            if before is not None:
                stat = _stat(before)
                reading.strike(*before.span())
        reading.signals.append(SignalMention(name, called[name], stat, start))


def _stat(match: re.Match[str]) -> str:
    found = next(group for group in match.groups() if group is not None).lower()
    return _STATS.get(found, found)
