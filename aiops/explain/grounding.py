"""The claim checker: what a language model wrote is published only as far as it can be shown to be true.

A sentence stands or falls as a whole. Its names, times, titles and numbers are looked up one kind after the other and
struck out; each must be known, and each number must be that of a fact which the sentence cites, within rounding, with
its unit, on the right side of "expected". Words that claim (a direction, a negation, a cause, a state) must agree with
the facts. Whatever word is then left must be one of :mod:`aiops.explain.lexicon`. Nothing here decides anything: the
incident, its severity and the ranking are made before and stay as they are.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import isfinite, isnan

from aiops.explain.claims import Reading, read
from aiops.explain.known import Known
from aiops.explain.lexicon import (
    BEGIN,
    CAUSAL,
    CHANGE,
    DOWN,
    EXCLUDING,
    NEGATIVE,
    OPEN,
    OVER,
    PRIMARY,
    SAME,
    SECONDARY,
    SEVERITY,
    UP,
    is_known,
)  # fmt: skip
from aiops.explain.narrator import felt_by_users
from aiops.explain.numbers import unfounded
from aiops.explain.words import plain

LONGEST_SENTENCE = 400
_LINK = re.compile(r"://|www\.|\]\(|!\[|<\w|&\w+;", re.IGNORECASE)
_MARKUP = re.compile(r"[<>`*|\\{}$~^]")
_SAME_MINUTE_SECONDS = 60.0
_SAME_SHARE = 0.02


@dataclass(frozen=True, slots=True)
class Claim:
    """One sentence and the ids of the evidence that it cites."""

    text: str
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Dropped:
    """A sentence that is not published, and why."""

    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class Checked:
    """What is left of a text."""

    kept: tuple[Claim, ...]
    dropped: tuple[Dropped, ...]


class Checker:
    """Checks sentences about one incident."""

    def __init__(self, known: Known) -> None:
        self._known = known

    def check(self, claims: Iterable[Claim]) -> Checked:
        """Split a text into what may be published and what may not."""
        kept: list[Claim] = []
        dropped: list[Dropped] = []
        for claim in claims:
            clean = Claim(plain(unicodedata.normalize("NFKC", claim.text), LONGEST_SENTENCE), claim.evidence)
            reason = self.problem(clean)
            if reason:
                dropped.append(Dropped(clean.text, reason))
            elif clean not in kept:
                kept.append(clean)
        return Checked(tuple(kept), tuple(dropped))

    def problem(self, claim: Claim) -> str:
        """Why a sentence may not be published; ``""`` when it may."""
        if _LINK.search(claim.text):
            return "it has a link"
        if claim.text.endswith("…") and len(claim.text) >= LONGEST_SENTENCE:
            return "it is too long"
        reading = read(claim.text, claim.evidence, self._known)
        if _MARKUP.search(reading.rest):
            return "it has markup"
        checks: Sequence[Callable[[Reading], str]] = (
            self._cites, self._codes, self._times, self._signals, self._entities, self._causes, self._direction,
            self._negation, self._state, self._change, self._numbers, self._words,
        )  # fmt: skip
        return next((reason for check in checks if (reason := check(reading))), "")

    def _cites(self, reading: Reading) -> str:
        unknown = [name for name in reading.cited if name not in self._known.facts]
        return f"it cites {unknown[0]}, which does not exist" if unknown else ""

    def _codes(self, reading: Reading) -> str:
        known = {int(code) for fact in reading.facts for code in re.findall(r"(?i)\bxid\s*#?(\d+)", fact.text)}
        known |= {
            int(fact.value)
            for fact in reading.facts
            if fact.series is not None and fact.series.signal == "gpu_xid_last" and isfinite(fact.value)
        }
        return next((f"Xid {code} is not in what it cites" for code in reading.codes if code not in known), "")

    def _times(self, reading: Reading) -> str:
        known = self._known
        allowed = known.times
        if reading.says(CHANGE):
            allowed = known.changed_at
        elif reading.says(OVER) and not known.incident.open and not reading.says(BEGIN):
            allowed = (known.incident.ended_at,)
        elif reading.says(BEGIN) and not reading.says(OVER):
            allowed = known.begins
        return next((f"{time.text} is not a known time" for time in reading.times if not time.among(allowed)), "")

    def _signals(self, reading: Reading) -> str:
        for mention in reading.signals:
            series = [fact.series for fact in reading.facts if fact.series and fact.series.signal in mention.signals]
            if not series:
                return f"nothing that it cites is about {mention.text}"
            if mention.stat and mention.stat not in {one.stat for one in series}:
                return f"nothing that it cites is the {mention.stat} of {mention.text}"
        return ""

    def _entities(self, reading: Reading) -> str:
        spoken = {fact.series.entity for fact in reading.facts if fact.series is not None}
        spoken |= {self._known.ranked[cause].entity for cause in reading.causes if cause in self._known.ranked}
        if reading.says(CHANGE):
            spoken |= {mark.entity for mark in self._known.diagnosis.changes}
        if not reading.cited and not reading.causes and not reading.says(CHANGE):
            spoken |= {key.series.entity for key in self._known.incident.members}
        for mention in reading.entities:
            if not mention.entities & spoken:
                return f"nothing that it cites is about {mention.text}"
        return ""

    def _causes(self, reading: Reading) -> str:
        excluding = reading.says(EXCLUDING) or reading.says(NEGATIVE)
        wrong = next((reason for cause in reading.causes if (reason := self._cause(cause, reading, excluding))), "")
        if wrong or reading.causes:
            return wrong
        if reading.says(EXCLUDING):
            nothing = reading.says(NEGATIVE) and not self._known.excluded
            return "" if nothing else "it excludes something that is not a known cause"
        if reading.says(CAUSAL) and not self._abstains(reading):
            return "it claims a cause that is none of the ranked ones"
        return ""

    def _cause(self, cause: str, reading: Reading, excluding: bool) -> str:  # noqa: FBT001 - found once for all causes
        ranked = list(self._known.ranked)
        if cause in self._known.excluded:
            told = excluding and not reading.says(PRIMARY)
            return "" if told else f"{cause} was ruled out"
        if cause not in ranked:
            return f"{cause} is not among the causes"
        if excluding:
            return f"{cause} was not ruled out"
        first = ranked.index(cause) == 0
        told = first != reading.says(SECONDARY) and (first or not reading.says(PRIMARY))
        return "" if told else f"{cause} has another rank"

    def _abstains(self, reading: Reading) -> bool:
        """``No cause is named``, and none is."""
        return self._known.diagnosis.cause is None and reading.says(NEGATIVE) and not reading.causes

    def _direction(self, reading: Reading) -> str:
        for word, place in reading.claims(UP | DOWN | SAME):
            facts = reading.facts_at(place) or [fact for fact in reading.facts if fact.series is not None]
            if word in SECONDARY and reading.causes:
                continue
            if not facts:
                return f"{word!r} is said of nothing that was measured"
            moves = {_way(fact.value, fact.expected) for fact in facts}
            claimed = 1 if word in UP else -1 if word in DOWN else 0
            if moves != {claimed}:
                return f"{word!r} is not what the facts say"
        return ""

    def _negation(self, reading: Reading) -> str:
        if not reading.says(NEGATIVE):
            return ""
        diagnosis = self._known.diagnosis
        words = {word for word, _ in reading.words}
        told = (
            self._abstains(reading) and bool(words & {"cause", "原因", "confidence", "置信度"}),
            bool(reading.causes) and set(reading.causes) <= self._known.excluded,
            bool(words & CHANGE) and not diagnosis.changes and not reading.causes,
            bool(words & {"ruled", "排除"}) and not self._known.excluded and not reading.causes,
            bool(words & {"notice", "感知"}) and not felt_by_users(diagnosis.evidence) and not reading.causes,
            bool(words & {"action", "actions", "操作"}) and not (diagnosis.cause and diagnosis.cause.actions),
        )
        return "" if any(told) else "it denies something that is not known to be false"

    def _state(self, reading: Reading) -> str:
        incident = self._known.incident
        wrong = [word for word, _ in reading.claims(frozenset(SEVERITY)) if SEVERITY[word] != str(incident.severity)]
        if wrong:
            return f"the incident is {incident.severity}, not {wrong[0]}"
        if incident.open and reading.says(OVER):
            return "the incident is not over"
        if not incident.open and reading.says(OPEN):
            return "the incident is over"
        return ""

    def _change(self, reading: Reading) -> str:
        if not reading.says(CHANGE) or reading.says(NEGATIVE):
            return ""
        kinds = {str(mark.kind) for mark in self._known.diagnosis.changes}
        if not kinds:
            return "no change is known"
        said = {word for word, _ in reading.claims(CHANGE)}
        if said & {"deployed", "deploy", "deployment", "部署"} and "deploy" not in kinds:
            return "no deploy is known"
        if said & {"restarted", "restart", "重启"} and "restarted" not in kinds:
            return "no restart is known"
        if said & {"upgraded", "升级"} and not kinds & {"version_changed", "deploy"}:
            return "no new version is known"
        return ""

    def _numbers(self, reading: Reading) -> str:
        return next((reason for number in reading.numbers if (reason := unfounded(number, reading, self._known))), "")

    def _words(self, reading: Reading) -> str:
        for word, _ in reading.words:
            if not is_known(word):
                return f"{word!r} is not a word that can be checked"
        anchored = reading.numbers or reading.signals or reading.causes or reading.times or reading.named
        return "" if anchored or reading.says(NEGATIVE) else "it says nothing that can be checked"


def _way(value: float, expected: float) -> int:
    """1 above what was expected, -1 below, 0 the same within rounding; 2 when one of the two is not known."""
    if isnan(value) or isnan(expected):
        return 2
    if abs(value - expected) <= _SAME_SHARE * max(abs(value), abs(expected)):
        return 0
    return 1 if value > expected else -1
