"""Series over time and what watches them, as plain records."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from aiops.app.pipeline import Pipeline
from aiops.app.view import entity_record
from aiops.detect.bank import ADVISORS
from aiops.detect.base import RuleText, Standing
from aiops.detect.condition import Operand
from aiops.signals.catalog import SIGNALS
from aiops.signals.normalise import unit_of
from aiops.signals.types import SeriesKey
from aiops.web.asked import SeriesFilter
from aiops.web.records_fleet import DetectorRecords, HistoryRecord, NameRecord, NameRecords, PastRecord, RuleRecord


def history_record(pipeline: Pipeline, wanted: SeriesFilter) -> HistoryRecord:
    """The window of the series that fit, on one time axis (UTC seconds), with the band and score of each time."""
    ring = pipeline.ring
    keys = enumerate(ring.window().keys)
    fitting = [(key, column) for column, key in keys if key is not None and fits(key, wanted)]
    shown = sorted(fitting, key=lambda one: one[0].entity.labels)[: wanted.limit]
    known = [ring.history(key) for key, _ in shown]
    first = min((_first_known(past.values) for past in known), default=0)
    at = known[0].at[first:] if known else np.empty(0)
    return {
        "step": ring.step_seconds,
        "at": at.round(3).tolist(),
        "series": [
            _series(pipeline, *place, past.values[first:], at) for place, past in zip(shown, known, strict=True)
        ],
        "more": len(fitting) - len(shown),
    }


def names_record(pipeline: Pipeline) -> NameRecords:
    """Every signal that there is a series of, with its statistics and how many series."""
    stats: dict[str, dict[str, None]] = {}
    counts: dict[str, int] = {}
    for key in pipeline.ring.window().keys:
        if key is not None:
            stats.setdefault(key.signal, {})[key.stat] = None
            counts[key.signal] = counts.get(key.signal, 0) + 1
    names: list[NameRecord] = [
        {"signal": name, "stats": list(stats[name]), "unit": signal.unit, "meaning": signal.meaning,
         "series": counts[name]}
        for name, signal in SIGNALS.items()
        if name in stats
    ]  # fmt: skip
    return {"names": names}


def fits(key: SeriesKey, wanted: SeriesFilter) -> bool:
    """Whether a series is one of those that are asked for."""
    return key.signal == wanted.signal and key.stat == wanted.stat and wanted.entity in str(key.entity)


def _first_known(values: NDArray[np.float32]) -> int:
    known = np.isfinite(values)
    return int(np.argmax(known)) if known.any() else len(values)


def _series(
    pipeline: Pipeline, key: SeriesKey, column: int, values: NDArray[np.float32], at: NDArray[np.float64]
) -> PastRecord:
    scores = pipeline.bank.scores()
    votes: dict[str, float] = {}
    if scores is not None and column < len(scores.keys):
        votes = {name: float(vote[column]) for name, vote in scores.votes.items() if np.isfinite(vote[column])}
    band = pipeline.bands.history(column, at)
    signal = SIGNALS[key.signal]
    return {
        "signal": key.signal,
        "stat": key.stat,
        "unit": unit_of(key),
        "meaning": signal.meaning,
        "entity": entity_record(key.entity),
        "values": _short(values),
        # What cannot be is not expected; an open side stays open.
        "lower": _short(np.where(np.isfinite(band.lower), np.maximum(band.lower, signal.low), band.lower)),
        "upper": _short(np.where(np.isfinite(band.upper), np.minimum(band.upper, signal.high), band.upper)),
        "score": _short(band.score),
        "votes": votes,
        "learning": bool(scores is not None and column < len(scores.keys) and scores.learning[column]),
    }


def _short(values: NDArray[np.float32]) -> list[float]:
    """As Python numbers with six digits, about what float32 has, so that the answer stays small."""
    exact = values.astype(np.float64)
    with np.errstate(all="ignore"):
        size = np.floor(np.log10(np.abs(exact)))
        scale = 10.0 ** np.where(np.isfinite(size), 5.0 - size, 0.0)
        rounded = np.where(np.isfinite(exact), np.rint(exact * scale) / scale, exact)
    return rounded.tolist()  # type: ignore[no-any-return]


def detectors_record(pipeline: Pipeline) -> DetectorRecords:
    """Every detector with how much it judges, every rule with what it saw and why it may say nothing."""
    bank, window = pipeline.bank, pipeline.ring.window()
    scores, standing = bank.scores(), bank.standing(window)
    votes: Mapping[str, NDArray[np.float32]] = {} if scores is None else scores.votes
    present = {str(Operand(key.signal, key.stat)) for key in window.keys if key is not None}
    active: dict[str, int] = {}
    for alert in pipeline.machine.alerts.values():
        active[alert.key.rule] = active.get(alert.key.rule, 0) + alert.active
    return {
        "series": pipeline.ring.series,
        "learning": 0 if scores is None else int(scores.learning.sum()),
        "detectors": [
            {"name": name, "adviser": name in ADVISORS, "judged": int(np.isfinite(vote).sum()),
             "outside": int((vote >= 1).sum())}
            for name, vote in votes.items()
        ],
        "rules": [
            _rule(text, standing.get(name), sorted(set(text.signals) - present), active.get(name, 0))
            for name, text in bank.rules().items()
        ],
    }  # fmt: skip


def _rule(text: RuleText, standing: Standing | None, missing: list[str], active: int) -> RuleRecord:
    timing = text.timing
    return {
        "name": text.name,
        "severity": str(text.severity),
        "summary": text.summary,
        "description": text.description,
        "condition": text.condition,
        "lookAlikes": list(text.look_alikes),
        "runbook": text.runbook,
        "fires": f"{timing.breach_points} of {timing.window_points} points",
        "resolves": f"{timing.clear_points} of {timing.clear_window} points",
        "active": active,
        "watched": None if standing is None else standing.watched,
        "outside": None if standing is None else standing.outside,
        "fine": None if standing is None else standing.fine,
        "missing": missing,
    }
