"""Ranks entities by how likely the disturbance began there: deviation, then the calls between entities.

Two rankers, and the answer names which one ran. ``flow`` follows the alerted number down the calls: every entity
carries as much of the disturbance as its requests times their deviation explain, and is blamed for what its own callees
do not.
``deviation`` is for numbers that do not add up along calls: the entity that left its reference furthest comes first,
where an alert counts only as a symptom. Names carry no information: renaming all entities renames the answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aiops.diagnose.deviation import MOVED, Deviation, Panel, deviation, onset, traffic_of
from aiops.diagnose.record import Direction
from aiops.signals.catalog import Bad

ALARM = 2.3
"""Distance from which an entity may be blamed."""
_DISTURBED = 1.0
"""Distance from which an alerted series is taken to be disturbed at all."""
_CALM_FACTOR, _CALM_SHARE = 2.0, 0.1
"""While the alerted number itself is calm: how much more than :data:`ALARM` it takes, and the share of the alerted
entity's requests that another must see, to be blamed."""


@dataclass(frozen=True, slots=True)
class Alert:
    """What was noticed: a metric of an entity."""

    entity: str
    metric: str


@dataclass(frozen=True, slots=True)
class Ranked:
    """One candidate; see :class:`~aiops.diagnose.record.Candidate`. ``column`` is its column of the panel."""

    entity: str
    metric: str
    direction: Direction
    score: float
    onset: float
    column: int


@dataclass(frozen=True, slots=True)
class Ranking:
    """Candidates, best first: one per entity, then the other series that left their reference.

    Attributes
    ----------
    ranker
        ``flow`` or ``deviation``.
    abstained, reason
        Nobody is blamed, and why, in one sentence; else what the first candidate rests on.
    """

    ranker: str
    candidates: tuple[Ranked, ...]
    abstained: bool
    reason: str


def rank(panel: Panel, calls: Sequence[tuple[str, str]], alert: Alert) -> Ranking:
    """Order the entities of ``panel``.

    Parameters
    ----------
    calls
        (caller, callee): a disturbance travels from the callee to the caller.
    """
    found = deviation(panel)
    columns = {key: k for k, key in enumerate(zip(panel.entities, panel.metrics, strict=True))}
    alerted = columns.get((alert.entity, alert.metric))
    blame, best = _blame(panel, found, calls, alert)
    flow = {} if alerted is None else _flow(panel, found, calls, alert)
    if len(flow) > 1:
        head = sorted(flow, key=lambda entity: (-round(flow[entity].own, 3), -flow[entity].carried, -flow[entity].far))
        best |= {entity: columns[entity, alert.metric] for entity in head}
        reached = max(flow[entity].far for entity in head if entity != alert.entity)
        evidence = found.suspected[columns[alert.entity, alert.metric]] + reached
        needed, ranker = ALARM, "flow"
    else:
        head, ranker = [], "deviation"
        evidence, needed = _loudest(panel, found, blame, alerted)
    # Between equals the one decides that has more that moved, never the order in which they came.
    more = dict.fromkeys(blame, 0.0)
    for k, entity in enumerate(panel.entities):
        more[entity] += float(found.harm[k])
    rest = sorted(blame.keys() - set(head), key=lambda entity: (-blame[entity], -more[entity]))
    first = [(entity, best[entity], flow[entity].far if head else blame[entity]) for entity in head]
    first += [(entity, best[entity], blame[entity]) for entity in rest]
    taken = {column for _, column, _ in first}
    others = [int(k) for k in np.argsort(-found.harm, kind="stable") if found.harm[k] >= MOVED and k not in taken]
    first += [(panel.entities[k], k, float(found.harm[k])) for k in others]
    candidates = tuple(_candidate(panel, found, entity, column, score) for entity, column, score in first)
    if evidence < needed:
        reason = f"nothing left its reference far enough to be blamed: {evidence:.2g} of {needed:.2g} needed"
        return Ranking(ranker, candidates, abstained=True, reason=reason)
    top = candidates[0]
    reason = f"{top.metric} of {top.entity} went {top.direction}, {top.score:.3g} times its usual range"
    return Ranking(ranker, candidates, abstained=False, reason=reason)


def _candidate(panel: Panel, found: Deviation, entity: str, column: int, score: float) -> Ranked:
    rows = found.rows[:, column]
    falls = panel.traits[column].bad is Bad.LOW if found.up[column] == found.down[column] else None
    direction = Direction.DOWN if falls or (falls is None and found.down[column] > found.up[column]) else Direction.UP
    return Ranked(entity, panel.metrics[column], direction, score, onset(rows, panel.times), column)


def _blame(
    panel: Panel, found: Deviation, calls: Sequence[tuple[str, str]], alert: Alert
) -> tuple[dict[str, float], dict[str, int]]:
    """How strongly each entity is suspected without following the alert, and the series that says so."""
    blame: dict[str, float] = {}
    best: dict[str, int] = {}
    demand: dict[str, float] = {}
    for k, (entity, trait) in enumerate(zip(panel.entities, panel.traits, strict=True)):
        symptom = (entity, panel.metrics[k]) == (alert.entity, alert.metric)
        hurt = float(max(found.harm[k], found.suspected[k]) if panel.metrics[k] == alert.metric else found.harm[k])
        # That something alerted says that something is wrong, not that it is wrong here.
        hurt = min(hurt, ALARM) if symptom else hurt
        if hurt > blame.get(entity, -1.0):
            blame[entity], best[entity] = hurt, k
        if trait.follows:
            demand[entity] = max(demand.get(entity, 0.0), float(found.down[k]))
    callers: dict[str, set[str]] = {}
    for caller, callee in calls:
        callers.setdefault(callee, set()).add(caller)
    # Requests that come in and are not passed on: the callees starve and the caller does not.
    for callee, above in callers.items():
        for caller in above & blame.keys():
            starved = (demand.get(callee, 0.0) - demand.get(caller, 0.0)) / len(above)
            blame[caller] = max(blame[caller], starved)
    return blame, best


def _loudest(panel: Panel, found: Deviation, blame: dict[str, float], alerted: int | None) -> tuple[float, float]:
    """The strongest blame that counts, and how much is needed."""
    exact = alerted is not None and panel.traits[alerted].additive
    if alerted is None or not exact or found.suspected[alerted] >= _DISTURBED:
        return max(blame.values(), default=0.0), ALARM
    # A number over all requests of the alerted entity is calm, so whoever disturbs it cannot be a side track.
    traffic = traffic_of(panel)
    typical = {entity: float(np.nanmedian(panel.window[:, k])) for entity, k in traffic.items()}
    least = _CALM_SHARE * typical.get(panel.entities[alerted], 0.0)
    heard = [value for entity, value in blame.items() if not typical or typical.get(entity, 0.0) >= least]
    return max(heard, default=0.0), _CALM_FACTOR * ALARM


@dataclass(slots=True)
class _Share:
    """Part of the alerted disturbance, 0 to 1: what runs through an entity, and what its callees leave to it."""

    carried: float
    far: float
    own: float = 0.0


def _flow(panel: Panel, found: Deviation, calls: Sequence[tuple[str, str]], alert: Alert) -> dict[str, _Share]:
    """Shares of the entities that the alerted disturbance is followed to; empty when it cannot be followed."""
    excess, far = _excess(panel, found, alert)
    total = excess.get(alert.entity, 0.0)
    if total <= 0 or far[alert.entity] < _DISTURBED:
        return {}
    below: dict[str, set[str]] = {}
    for caller, callee in calls:
        if caller != callee and far.get(callee, 0.0) >= MOVED:
            below.setdefault(caller, set()).add(callee)
    shares = {alert.entity: _Share(1.0, far[alert.entity])}
    waiting = [alert.entity]
    while waiting:
        caller = waiting.pop()
        for callee in below.get(caller, ()):
            carried = min(shares[caller].carried, excess[callee] / total)
            if callee not in shares or carried > shares[callee].carried:
                shares[callee] = _Share(carried, far[callee])
                waiting.append(callee)
    for entity, share in shares.items():
        explained = max((shares[callee].carried for callee in below.get(entity, ())), default=0.0)
        share.own = max(0.0, share.carried - explained)
    return shares


def _excess(panel: Panel, found: Deviation, alert: Alert) -> tuple[dict[str, float], dict[str, float]]:
    """Requests × deviation of the alerted metric, summed over the window, and its distance, by entity."""
    traffic = traffic_of(panel)
    excess: dict[str, float] = {}
    far: dict[str, float] = {}
    for k, (entity, metric, trait) in enumerate(zip(panel.entities, panel.metrics, panel.traits, strict=True)):
        if metric != alert.metric or entity not in traffic or not trait.additive:
            continue
        worse = (panel.window[:, k] - found.level[k]) * (-1.0 if trait.bad is Bad.LOW else 1.0)
        excess[entity] = max(0.0, float(np.nansum(worse * panel.window[:, traffic[entity]])))
        far[entity] = float(found.suspected[k])
    return excess, far
