"""What people say about alerts, and what follows from it: opinions in, effects out.

Only opinions are kept; every effect is derived from all that stand, so that an undo is an opinion left out and a
restart ends where it was. Effects are bounded: statistical thresholds widen to at most
:data:`~aiops.detect.leniency.MOST_WIDER` times, priors of causes move by at most :data:`MOST_PRIOR` either way,
everything expires, and no deterministic rule and no error budget listens at all.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import isfinite

from aiops.detect.base import AlertKey, Scope, scope_of
from aiops.detect.leniency import MOST_WIDER

FALSE_FOR_ALL = 3
"""So many false alarms widen a threshold by all that they ask for; each before by its share."""
MARGIN = 1.25
"""A threshold widens to so many times the highest score that was a false alarm."""
TRUE_SHARE = 0.8
"""A threshold never widens beyond this share of a score that was true: that alarm must come again."""
LASTS_SECONDS = 90 * 86_400.0
"""How long an opinion counts: a quarter, as long as the archive reaches back by default."""
EXPECTED_LASTS_SECONDS = 28 * 86_400.0
"""How long a daily pattern is expected without being confirmed."""
EXPECTED_EDGE_SECONDS = 1800.0
LONGEST_EXPECTED_SECONDS = 6 * 3600.0
OPINIONS_FOR_PRIOR = 3
MOST_PRIOR = 2.0
_DAY_SECONDS = 86_400.0


class Judgement(StrEnum):
    """What an alert was."""

    TRUE = "true"
    FALSE = "false"
    EXPECTED = "expected"
    """It happened, and everybody knew that it would: a load test, a nightly batch."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """What somebody said about one alert.

    Attributes
    ----------
    id
        Names it for an undo.
    at, undone_at
        UTC seconds; ``undone_at`` is 0.0 while it stands.
    alert
        Fingerprint of the alert, with ``started_at`` one occurrence of it.
    ended_at
        UTC seconds; while the alert fired, the time of the opinion.
    score
        Highest score known of the occurrence; 1 is the threshold.
    statistical
        Whether a statistical rule raised it: only those listen.
    detectors
        Who was alarmed; ``rule`` for a deterministic rule.
    cause
        What it really was, ``""`` when not said; ``diagnosed`` is what we had said.
    by
        The door it came through: ``api``, ``link``.
    """

    id: str
    at: float
    judgement: Judgement
    key: AlertKey
    alert: str
    started_at: float
    ended_at: float
    score: float
    statistical: bool
    detectors: tuple[str, ...]
    incident: str = ""
    cause: str = ""
    diagnosed: str = ""
    note: str = ""
    by: str = ""
    undone_at: float = 0.0

    def stands(self, now: float) -> bool:
        """Neither undone nor too old."""
        lasts = EXPECTED_LASTS_SECONDS if self.judgement is Judgement.EXPECTED else LASTS_SECONDS
        return self.undone_at == 0.0 and now - self.at < lasts


@dataclass(frozen=True, slots=True)
class Pattern:
    """A time of day at which an alarm is expected: seconds after midnight UTC, and how long."""

    scope: Scope
    begins: float
    lasts: float

    def holds(self, now: float) -> bool:
        """Whether a time (UTC seconds) is within it, also over midnight."""
        return (now - self.begins) % _DAY_SECONDS < self.lasts

    def __str__(self) -> str:
        return f"{_clock(self.begins)} to {_clock(self.begins + self.lasts)} UTC"


@dataclass(slots=True)
class Effects:
    """What all standing opinions amount to.

    Attributes
    ----------
    wider
        Divisor of the scores of each scope.
    patterns
        When alarms are expected; the thresholds are then as wide as they may be.
    priors
        Factor on the prior of a cause, 1 when not named.
    """

    wider: Mapping[Scope, float] = field(default_factory=dict)
    patterns: Sequence[Pattern] = ()
    priors: Mapping[str, float] = field(default_factory=dict)
    _now: tuple[tuple[Pattern, ...], Mapping[Scope, float]] | None = None

    def thresholds(self, now: float) -> Mapping[Scope, float]:
        """Divisors at a time (UTC seconds); the same object while they are the same."""
        active = tuple(pattern for pattern in self.patterns if pattern.holds(now))
        if self._now is None or self._now[0] != active:
            merged = {**self.wider, **{pattern.scope: MOST_WIDER for pattern in active}}
            self._now = (active, merged)
        return self._now[1]


def effects_of(opinions: Iterable[Opinion], now: float) -> Effects:
    """Add up what stands at a time (UTC seconds)."""
    standing = [opinion for opinion in opinions if opinion.stands(now)]
    about: dict[Scope, list[Opinion]] = {}
    for opinion in standing:
        if opinion.statistical:
            about.setdefault(scope_of(opinion.key), []).append(opinion)
    wider = {scope: divisor for scope, some in about.items() if (divisor := _divisor(some)) > 1.0}
    patterns = dict.fromkeys(_pattern(one) for some in about.values() for one in some if _expected(one))
    return Effects(wider, tuple(patterns), _priors(standing))


def consequences(opinion: Opinion, effects: Effects, now: float) -> list[str]:
    """Say, one sentence each, what an opinion changed, as things stand now."""
    if opinion.undone_at:
        return ["undone: it changes nothing any more"]
    if not opinion.stands(now):
        return ["too old to change anything"]
    said = ["excluded from precision"] if _expected(opinion) else ["counted in the precision of its detectors"]
    scope = scope_of(opinion.key)
    if not opinion.statistical:
        said.append(f"{opinion.key.rule} is no statistical rule: its condition stays as it is")
    elif _expected(opinion):
        pattern, days = _pattern(opinion), EXPECTED_LASTS_SECONDS / _DAY_SECONDS
        said.append(f"pattern stored: for {days:.0f} days, daily from {pattern}, {scope} is told only beyond "
                    f"{MOST_WIDER:g} times its threshold")  # fmt: skip
    else:
        factor, days = effects.wider.get(scope, 1.0), LASTS_SECONDS / _DAY_SECONDS
        said.append(f"threshold of {scope}: {factor:.3g} times as wide, for {days:.0f} days (at most {MOST_WIDER:g})")
    for cause in dict.fromkeys(name for name in (opinion.cause, opinion.diagnosed) if name and opinion.cause):
        prior = effects.priors.get(cause, 1.0)
        said.append(f"prior of cause {cause}: {prior:.3g} times (moves from {OPINIONS_FOR_PRIOR} opinions on)")
    return said


@dataclass(frozen=True, slots=True)
class Tally:
    """Occurrences that people judged, of one detector."""

    true: int = 0
    false: int = 0

    @property
    def precision(self) -> float:
        """Share that was true; NaN when none was judged."""
        return self.true / (self.true + self.false) if self.true + self.false else float("nan")


def tallies(opinions: Iterable[Opinion]) -> dict[str, Tally]:
    """Judged occurrences by detector. Of two opinions on one occurrence the later one counts."""
    last: dict[tuple[str, float], Opinion] = {}
    for opinion in sorted(opinions, key=lambda one: one.at):
        if not opinion.undone_at:
            last[opinion.alert, opinion.started_at] = opinion
    counts: dict[str, Tally] = {}
    for opinion in last.values():
        for detector in opinion.detectors:
            tally = counts.get(detector, Tally())
            true, false = opinion.judgement is Judgement.TRUE, opinion.judgement is Judgement.FALSE
            counts[detector] = Tally(tally.true + true, tally.false + false)
    return counts


def _expected(opinion: Opinion) -> bool:
    return opinion.judgement is Judgement.EXPECTED


def _divisor(opinions: Sequence[Opinion]) -> float:
    false = [_known(one.score) for one in opinions if one.judgement is Judgement.FALSE]
    true = [_known(one.score) for one in opinions if one.judgement is Judgement.TRUE]
    if not false:
        return 1.0
    wanted = min(MARGIN * max(false), MOST_WIDER)
    divisor = 1.0 + (wanted - 1.0) * min(len(false) / FALSE_FOR_ALL, 1.0)
    return max(1.0, min([divisor, *(TRUE_SHARE * score for score in true)]))


def _known(score: float) -> float:
    """A score that an alert can have had: it was told, so it was at least 1."""
    return max(score, 1.0) if isfinite(score) else 1.0


def _pattern(opinion: Opinion) -> Pattern:
    lasted = min(max(opinion.ended_at - opinion.started_at, 0.0), LONGEST_EXPECTED_SECONDS)
    # Whole half hours, so that repeated opinions on one nightly job are one pattern.
    edge = EXPECTED_EDGE_SECONDS
    begins = (opinion.started_at - edge) // edge
    ends = (opinion.started_at + lasted + edge) // edge + 1.0
    return Pattern(scope_of(opinion.key), begins * edge % _DAY_SECONDS, (ends - begins) * edge)


def _priors(opinions: Iterable[Opinion]) -> dict[str, float]:
    """Causes that were right or wrong often enough."""
    votes: dict[str, int] = {}
    counts: dict[str, int] = {}
    for opinion in opinions:
        for cause, vote in {opinion.diagnosed: -1, opinion.cause: 1}.items():
            if cause and opinion.cause:
                votes[cause] = votes.get(cause, 0) + vote
                counts[cause] = counts.get(cause, 0) + 1
    return {
        cause: min(max(2.0 ** (vote / 4), 1.0 / MOST_PRIOR), MOST_PRIOR)
        for cause, vote in votes.items()
        if counts[cause] >= OPINIONS_FOR_PRIOR and vote
    }


def _clock(seconds: float) -> str:
    minutes = round(seconds / 60.0) % 1440
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
