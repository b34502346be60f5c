"""How sure an incident is: rules and error budgets say that something is wrong, statistics raise that or lower it.

Each kind of evidence counts once, as chances that all are wrong at the same time: 1 − Π (1 − weight). What else is
unusual about the entities of a rule raises it; where much is watched and nothing is unusual, it is lowered.
"""

from collections.abc import Collection, Iterable, Mapping
from math import prod
from typing import NamedTuple

from aiops.detect.base import Severity, Standing
from aiops.incidents.alert import Alert
from aiops.signals.types import Entity

_RULE = {Severity.CRITICAL: 0.9, Severity.WARNING: 0.6, Severity.INFO: 0.3}
_BUDGET = 0.95
"""Users are hurt: counted, not guessed."""
_ANOMALY = 0.3
_COMPANY = 0.2
_ALONE = 0.8
_LEAST_WATCHED = 3


class Confidence(NamedTuple):
    """0 … 1, NaN without a member; and why, a sentence each."""

    ratio: float
    reasons: tuple[str, ...]


UNSURE = Confidence(float("nan"), ())


def confidence(alerts: Iterable[Alert], budgets: Collection[str], spreads: Mapping[Entity, Standing]) -> Confidence:
    """Weigh the members of an incident.

    Parameters
    ----------
    alerts
        Those that are still known, also when they are resolved by now.
    budgets
        Names of the rules about error budgets.
    spreads
        What statistics say of each entity.
    """
    weights: dict[str, tuple[float, str]] = {}
    ruled: dict[Entity, None] = {}
    for alert in alerts:
        name, votes = alert.key.rule, alert.verdict.votes
        if votes:
            agree = sum(vote >= 1.0 for vote in votes.values())
            weight, said = _ANOMALY * max(agree, 1) / len(votes), f"{agree} of {len(votes)} detectors are alarmed"
        else:
            weight, said = (
                (_BUDGET, "users are hurt") if name in budgets else (_RULE[alert.severity], "a rule is broken")
            )
            ruled[alert.key.series.entity] = None
        if weight > weights.get(name, (0.0, ""))[0]:
            weights[name] = weight, f"{name}: {said}"
    reasons = [said for _, said in sorted(weights.values(), reverse=True)]
    wrong = prod(1.0 - weight for weight, _ in weights.values())
    judged = [(entity, spreads[entity]) for entity in ruled if entity in spreads]
    outside = sum(spread.outside for _, spread in judged)
    watched = outside + sum(spread.fine for _, spread in judged)
    if outside:
        wrong *= 1.0 - _COMPANY
        reasons.append(f"{outside} of {watched} series there are outside their bands: raised")
    if not weights:
        return UNSURE
    ratio = 1.0 - wrong
    if not outside and watched >= _LEAST_WATCHED:
        ratio *= _ALONE
        reasons.append(f"none of {watched} series there is outside its band: lowered")
    return Confidence(ratio, tuple(reasons))
