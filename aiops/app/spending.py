"""What statistics say and cost, as metrics: scores and bands of watched series, and the budget asked against spent.

An alert is statistical when it has an expected value. Whether it was false nobody knows when it fires, so what is
counted is all of them: more than the budget is an answer only where nothing was wrong.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from math import isfinite, nan
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from aiops.app.telemetry import counter, gauge
from aiops.detect.bank import BankScores
from aiops.incidents.alert import Transition
from aiops.signals.telemetry import Family, FamilyKind
from aiops.signals.types import SeriesKey
from aiops.store.view import ArchiveView

WEEK_SECONDS = 7 * 86_400.0
MOST_KEPT = 10_000
"""Alerts of a week that are remembered; with more, the budget is not what is wrong."""
LEAST_SECONDS = 3600.0
"""Before an hour is over there is no rate."""


class Band(NamedTuple):
    """What the detectors say of one series; NaN = not known, ``votes`` only where there is one."""

    score: float = nan
    expected: float = nan
    lower: float = nan
    upper: float = nan
    confidence: float = nan
    learning: bool = False
    votes: Mapping[str, float] = MappingProxyType({})


def band_of(scores: BankScores | None, column: int, key: SeriesKey) -> Band:
    """The band of a column, as long as it still belongs to this series."""
    if scores is None or column >= len(scores.keys) or scores.keys[column] != key:
        return Band()
    score, expected, lower, upper, confidence = (
        float(part[column])
        for part in (
            scores.ensemble.score,
            scores.ensemble.expected,
            scores.ensemble.lower,
            scores.ensemble.upper,
            scores.confidence,
        )
    )
    votes = {name: float(vote[column]) for name, vote in scores.votes.items() if np.isfinite(vote[column])}
    return Band(score, expected, lower, upper, confidence, bool(scores.learning[column]), votes)


class Spending:
    """Counts statistical alerts that fired.

    Parameters
    ----------
    since
        UTC seconds from which on somebody watched.
    """

    def __init__(self, since: float) -> None:
        self._since = since
        self._fired: deque[float] = deque(maxlen=MOST_KEPT)
        self.total = 0

    def restore(self, archive: ArchiveView, now: float) -> None:
        """Remember what an earlier process decided. Blocks for the disk.

        The archive writes an alert and the transition that made it fire together, so however that process ended, an
        alert that stands was counted, and one whose firing is lost fires again and is counted then.
        """
        fired = sorted(move.at for move in archive.fired_since(now - WEEK_SECONDS, MOST_KEPT) if _statistical(move))
        self._fired.extendleft(reversed(fired))
        oldest = archive.oldest_transition_at()
        self._since = min(self._since, oldest) if isfinite(oldest) else self._since

    def take(self, transitions: Iterable[Transition]) -> None:
        """Note what one tick changed."""
        for move in transitions:
            if _statistical(move):
                self._fired.append(move.at)
                self.total += 1

    def per_week(self, now: float) -> float:
        """Alerts of the last week, or of as much of it as was watched; NaN in the first hour."""
        seconds = min(now - self._since, WEEK_SECONDS)
        if seconds < LEAST_SECONDS:
            return nan
        return sum(now - at <= WEEK_SECONDS for at in self._fired) / seconds * WEEK_SECONDS

    def families(self, now: float, asked: float, series: int) -> Iterator[Family]:
        """Asked and spent."""
        yield gauge(
            "aiops_alert_budget_asked_per_week", "False alerts a week that were asked for (detect.budget).", asked
        )
        spent = self.per_week(now)
        rows: list[tuple[Mapping[str, str], float]] = [({}, spent)] if isfinite(spent) else []
        text = "Statistical alerts that fired, true ones among them, per week over the last week."
        yield Family("aiops_alert_budget_fired_per_week", FamilyKind.GAUGE, text, rows)
        yield counter("aiops_alert_budget_fired", "Statistical alerts that began to fire since the start.", self.total)
        yield gauge("aiops_alert_budget_series", "Series whose band is set by the budget, not by a minimum.", series)


def score_families(scores: BankScores | None) -> Iterator[Family]:
    """Score and band of every series that may raise an alert; what is not known, or no bound, is left out."""
    rows: dict[str, list[tuple[Mapping[str, str], float]]] = {name: [] for name in _TEXTS}
    columns = () if scores is None else np.flatnonzero(scores.watched).tolist()
    for column in columns:
        key = None if scores is None else scores.keys[column]
        if key is None:
            continue
        labels = {**dict(key.entity.labels), "kind": str(key.entity.kind), "signal": key.signal, "stat": key.stat}
        band = band_of(scores, column, key)
        values = {**band._asdict(), "learning": float(band.learning)}
        del values["votes"]
        for name, value in values.items():
            if isfinite(value):
                rows[name].append((labels, value))
        rows["vote"] += [({**labels, "detector": name}, vote) for name, vote in band.votes.items()]
    for name, text in _TEXTS.items():
        yield Family(f"aiops_anomaly_{name}", FamilyKind.GAUGE, text, rows[name])


_TEXTS = {
    "score": "0 = as expected, 1 = edge of the band.",
    "expected": "Value that was expected, in the unit of the signal.",
    "lower": "Lower edge of the band; left out where too low does not hurt.",
    "upper": "Upper edge of the band; left out where too high does not hurt.",
    "confidence": "0 = the band is nominal, 1 = it rests on the series' own history.",
    "learning": "1 while the series is known but not judged yet.",
    "vote": "Score by detector.",
}


def _statistical(move: Transition) -> bool:
    return move.began and move.alert.verdict.statistical
