"""``aiops rca replay``: rank root causes of recorded cases, offline, and say how good that was."""

import json
from argparse import Namespace
from collections.abc import Sequence
from math import isfinite
from typing import Any

from aiops.app.output import Column, CommandFailedError, Exit, document, say, show, write
from aiops.app.output import Output as Form
from aiops.app.progress import Progress
from aiops.app.rca_case import Case, find
from aiops.app.rca_export import diagnosis_of
from aiops.app.rca_score import BASELINES, Answer, Score, chance, scored
from aiops.diagnose.correlate import Ranking, rank
from aiops.diagnose.record import Diagnosis
from aiops.kit.text import printable

_SHIFTS = (-1, 1)
"""Intervals by which the alert's time is moved to see whether the answer stands."""


def replay(args: Namespace) -> int:
    """``aiops rca replay``."""
    cases = list(find(args.cases))
    if len({case.id for case in cases}) < len(cases):
        raise CommandFailedError("two cases have the same id; their answers could not be told apart")
    rankings, documents = [], []
    with Progress("ranking causes") as progress:
        for case in progress.over(cases, len(cases)):
            rankings.append(ranking := rank(case.panel(), case.calls, case.alert))
            documents.append(to_dict(case, ranking, stability(case, ranking), diagnosis_of(case)))
    if args.output == "jsonl":
        write("".join(f"{printable(json.dumps(line, ensure_ascii=False))}\n" for line in documents))
    scores = _scores(cases, rankings) if args.score else {}
    if args.output == "json":
        write(document({"cases": documents, "scores": _plain(scores)} if args.score else documents, Form.JSON))
    elif args.output == "table":
        _table(documents, scores, headers=args.headers)
    elif scores:
        for group, found in scores.items():
            for score in found:
                say(" ".join([group, *_row(score)]))
    return Exit.OK


def stability(case: Case, ranking: Ranking) -> float | None:
    """Share of moved alert times that name the same entity or abstain as well; None when none can be looked at."""
    same = []
    for shift in _SHIFTS:
        try:
            moved = rank(case.panel(shift * case.interval_seconds), case.calls, case.alert)
        except CommandFailedError:
            continue  # the recording ends here: nothing to compare with
        agrees = moved.abstained == ranking.abstained
        same.append(agrees and (ranking.abstained or moved.candidates[0].entity == ranking.candidates[0].entity))
    return sum(same) / len(same) if same else None


def to_dict(case: Case, ranking: Ranking, stable: float | None, known: Diagnosis | None) -> dict[str, Any]:
    """The answer to one case; what is unknown is null. ``known`` is there for cases of our own signals."""
    cause = known.cause if known is not None else None
    return {
        "case": case.id,
        "ranker": known.ranker if known is not None else ranking.ranker,
        "candidates": [
            {
                "entity": one.entity,
                "metric": one.metric,
                "direction": one.direction.value,
                "score": round(one.score, 4),
                "onset": one.onset if isfinite(one.onset) else None,
            }
            for one in ranking.candidates
        ],
        "cause": cause.id if cause is not None else None,
        "abstained": known.abstained if known is not None else ranking.abstained,
        "reason": known.reason if known is not None else ranking.reason,
        "stability": stable,
    }


def _scores(cases: Sequence[Case], rankings: Sequence[Ranking]) -> dict[str, list[Score]]:
    ours = [
        Answer(tuple(one.entity for one in ranking.candidates), abstained=ranking.abstained) for ranking in rankings
    ]
    groups: dict[str, list[int]] = {}
    for number, case in enumerate(cases):
        groups.setdefault(case.group, []).append(number)
    found = {}
    for group, members in groups.items():
        chosen = [cases[number] for number in members]
        found[group] = [scored("aiops", chosen, [ours[number] for number in members])]
        found[group] += [scored(name, chosen, [run(case) for case in chosen]) for name, run in BASELINES.items()]
        found[group].append(chance(chosen))
    return found


_FIGURES = ("ac1", "ac3", "avg5", "mrr", "healthy_abstained", "faulty_abstained")
_HEADERS = ("AC@1", "AC@3", "AVG@5", "MRR", "HEALTHY ABSTAINED", "FAULTY ABSTAINED")


def _row(score: Score) -> list[str]:
    figures = [getattr(score, name) for name in _FIGURES]
    return [score.ranker, str(score.faulty), str(score.healthy), *(f"{x:.3f}" if isfinite(x) else "" for x in figures)]


def _plain(scores: dict[str, list[Score]]) -> list[dict[str, Any]]:
    return [
        {"set": group, "ranker": score.ranker, "faulty": score.faulty, "healthy": score.healthy}
        | {name: value if isfinite(value := getattr(score, name)) else None for name in _FIGURES}
        for group, found in scores.items()
        for score in found
    ]


def _table(documents: Sequence[dict[str, Any]], scores: dict[str, list[Score]], *, headers: bool) -> None:
    if scores:
        columns = [Column(name) for name in ("SET", "RANKER", "FAULTY", "HEALTHY", *_HEADERS)]
        rows = [[group, *_row(score)] for group, found in scores.items() for score in found]
    else:
        columns = [Column(name) for name in ("CASE", "RANKER", "ENTITY", "METRIC", "SCORE", "STABLE", "REASON")]
        rows = [_line(one) for one in documents]
    show(None, columns, rows, output=Form.TABLE, headers=headers)


def _line(one: dict[str, Any]) -> list[str]:
    top = one["candidates"][0] if one["candidates"] and not one["abstained"] else None
    who = [top["entity"], top["metric"], f"{top['score']:.3g}"] if top else ["", "", ""]
    stable = "" if one["stability"] is None else f"{one['stability']:.0%}"
    return [one["case"], one["ranker"], *who, stable, one["reason"]]
