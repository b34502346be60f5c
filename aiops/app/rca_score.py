"""How good a ranking of root causes is, beside what chance and two well-known simple rankers reach on the same cases.

A rank is the place of the first candidate whose entity is right, counting every entity once. An abstention on a faulty
case is a miss. The simple rankers are here to be compared with, faults included; nothing else uses them.
"""

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, inf, nan

import numpy as np
from numpy.typing import NDArray

from aiops.app.output import CommandFailedError
from aiops.app.rca_case import Case
from aiops.diagnose.deviation import Panel, quantiles

_SIGMAS = 3.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a ranker said of one case: entities in order, and whether it abstained."""

    entities: tuple[str, ...]
    abstained: bool


@dataclass(frozen=True, slots=True)
class Score:
    """Figures of one ranker on one set; NaN where there was nothing to judge."""

    ranker: str
    faulty: int
    healthy: int
    ac1: float
    ac3: float
    avg5: float
    mrr: float
    healthy_abstained: float
    faulty_abstained: float


def scored(ranker: str, cases: Sequence[Case], answers: Sequence[Answer]) -> Score:
    """Judge ``answers``, one per case, by the cases' truth."""
    ranks: list[float] = []
    abstained: dict[bool, list[bool]] = {True: [], False: []}
    for case, answer in zip(cases, answers, strict=True):
        truth = _truth(case)
        abstained[bool(truth)].append(answer.abstained or not answer.entities)
        if truth:
            ranks.append(inf if answer.abstained else _first(answer.entities, truth))
    return _score(ranker, len(abstained[False]), [[rank <= k for k in range(1, 6)] for rank in ranks],
                  [1 / rank for rank in ranks], abstained)  # fmt: skip


def chance(cases: Sequence[Case]) -> Score:
    """What a random order of all entities reaches on average."""
    within, reciprocal = [], []
    for case in cases:
        n, right = len(case.entities), len(_truth(case) & case.entities)
        if _truth(case):
            miss = [comb(n - right, k) / comb(n, k) if k <= n else 0.0 for k in range(n + 1)]
            within.append([1 - miss[min(k, n)] for k in range(1, 6)])
            reciprocal.append(sum((miss[k - 1] - miss[k]) / k for k in range(1, n + 1)))
    healthy = sum(not _truth(case) for case in cases)
    return _score("chance", healthy, within, reciprocal, {True: [False] * len(within), False: [False] * healthy})


def _score(
    ranker: str,
    healthy: int,
    within: Sequence[Sequence[float]],
    reciprocal: Sequence[float],
    abstained: dict[bool, list[bool]],
) -> Score:
    hits = np.mean(within, axis=0) if within else np.full(5, nan)
    return Score(
        ranker, len(within), healthy, float(hits[0]), float(hits[2]), float(np.mean(hits)), _mean(reciprocal),
        _mean(abstained[False]), _mean(abstained[True]),
    )  # fmt: skip


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else nan


def _truth(case: Case) -> frozenset[str]:
    if case.truth is None:
        raise CommandFailedError(f"{case.folder}: no truth.json, so there is nothing to score against")
    return case.truth.entities


def _first(entities: Sequence[str], right: frozenset[str]) -> float:
    distinct = dict.fromkeys(entities)
    return next((place for place, entity in enumerate(distinct, 1) if entity in right), inf)


def n_sigma(case: Case) -> Answer:
    """Largest absolute z-score of every series by mean and standard deviation of the reference."""
    panel = case.panel()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        deviation = np.nanstd(panel.reference, axis=0)
        deviation[deviation == 0] = nan
        scores = np.nanmax(np.abs((panel.window - np.nanmean(panel.reference, axis=0)) / deviation), axis=0)
    entities = _ordered(case, panel, scores)
    return Answer(entities, abstained=not entities or bool(np.nanmax(scores) < _SIGMAS))


def baro_style(case: Case) -> Answer:
    """Largest signed distance by median and inter-quartile range, without floors, as that method is found in the wild:
    a series that is constant in either period is left out, a range of zero counts as one."""
    panel = case.panel()
    first, level, third = quantiles(panel.reference, (0.25, 0.5, 0.75))
    scale = np.where(third > first, third - first, 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        scores = np.nanmax((panel.window - level) / scale, axis=0)
    varies = np.array([_varies(panel.reference[:, k]) and _varies(panel.window[:, k]) for k in range(len(scores))])
    return Answer(_ordered(case, panel, np.where(varies, scores, nan)), abstained=False)


BASELINES = {"n-sigma": n_sigma, "BARO-style": baro_style}


def _varies(values: NDArray[np.float64]) -> bool:
    return len(np.unique(values[np.isfinite(values)])) > 1


def _ordered(case: Case, panel: Panel, scores: NDArray[np.float64]) -> tuple[str, ...]:
    """Entities by score; equals in an order that neither the names nor the columns suggest."""

    def place(column: int) -> tuple[float, str]:
        name = f"{case.id}/{panel.entities[column]}|{panel.metrics[column]}"
        return -round(float(scores[column]), 9), hashlib.sha256(name.encode()).hexdigest()

    return tuple(panel.entities[k] for k in sorted(np.flatnonzero(np.isfinite(scores)).tolist(), key=place))
