"""Which known faults fit a scene, in which order, and why those that look alike do not.

A signature fits an entity when everything that it requires holds and nothing that it denies does. What is unknown
keeps it from fitting and rules nothing out. Of two that fit, the one that explains the other goes first, else the one
of which more was seen, weighed by what people said of it before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from aiops.diagnose.condition import Clause, Judged
from aiops.diagnose.scene import Fact, Scene
from aiops.diagnose.signature import CauseBook, Signature
from aiops.signals.types import Entity, Mark

_REQUIRED_WEIGHT = 2.0
_UNKNOWN_WEIGHT = 0.5
"""What a supporting sentence counts that nobody can judge, of one that speaks against."""
MOST_RULED_OUT = 6
NO_PRIORS: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Fit:
    """A signature that fits, and what speaks for it."""

    signature: Signature
    entity: Entity
    confidence: float
    strength: float
    facts: tuple[Fact, ...]
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class Misfit:
    """A signature that does not fit: the sentence that speaks against it, and the facts behind that."""

    signature: Signature
    entity: Entity
    reason: str
    held: int
    facts: tuple[Fact, ...]
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class Matches:
    """All signatures that were judged; ``fits`` in order."""

    fits: tuple[Fit, ...]
    misfits: Mapping[str, Misfit]


def match(book: CauseBook, scene: Scene, priors: Mapping[str, float] = NO_PRIORS) -> Matches:
    """Hold every signature against every entity of its kind.

    Parameters
    ----------
    priors
        Factor by which people's feedback moves a cause in the order, 1 when not named. It decides between causes that
        fit, and makes none fit.
    """
    fits: dict[str, Fit] = {}
    misfits: dict[str, Misfit] = {}
    for signature in book.causes:
        found = [_judge(signature, scene, entity) for entity in scene.of_kind(signature.at)]
        fitting = [one for one in found if isinstance(one, Fit)]
        failing = [one for one in found if isinstance(one, Misfit)]
        if fitting:
            fits[signature.id] = max(fitting, key=lambda one: (one.confidence, one.strength))
        elif failing:
            misfits[signature.id] = max(failing, key=lambda one: one.held)
    return Matches(_ordered(fits, priors), misfits)


def ruled_out(matches: Matches) -> list[Misfit]:
    """Look-alikes of what fits best, or where nothing fits whatever came near."""
    if matches.fits:
        names: Sequence[str] = matches.fits[0].signature.look_alikes
        found = [matches.misfits[name] for name in names if name in matches.misfits]
    else:
        near = [one for one in matches.misfits.values() if one.held]
        found = sorted(near, key=lambda one: -one.held)
    return found[:MOST_RULED_OUT]


def _judge(signature: Signature, scene: Scene, entity: Entity) -> Fit | Misfit | None:
    """None where too little is known."""
    required = [(clause, clause.judge(scene, entity)) for clause in signature.requires]
    held = sum(judged.truth is True for _, judged in required)
    against = next(((clause, judged) for clause, judged in required if judged.truth is False), None)
    if against is not None:
        return _misfit(signature, entity, f"it would need: {against[0].text}", held, against[1])
    if held < len(required):
        return None
    denied = [(clause, clause.judge(scene, entity)) for clause in signature.denies]
    against = next(((clause, judged) for clause, judged in denied if judged.truth), None)
    if against is not None:
        return _misfit(signature, entity, f"this speaks against it: {against[0].text}", held, against[1])
    supporting = [(clause, clause.judge(scene, entity)) for clause in signature.supports]
    return _fit(signature, entity, required, supporting)


def _misfit(signature: Signature, entity: Entity, reason: str, held: int, judged: Judged) -> Misfit:
    return Misfit(signature, entity, reason, held, judged.facts, judged.marks)


def _fit(
    signature: Signature,
    entity: Entity,
    required: Sequence[tuple[Clause, Judged]],
    supporting: Sequence[tuple[Clause, Judged]],
) -> Fit:
    seen = possible = _REQUIRED_WEIGHT * len(required)
    for _, judged in supporting:
        possible += _UNKNOWN_WEIGHT if judged.truth is None else 1.0
        seen += 1.0 if judged.truth else 0.0
    speaking = [judged for _, judged in (*required, *supporting) if judged.truth]
    return Fit(
        signature=signature,
        entity=entity,
        confidence=seen / possible,
        strength=max((max(fact.up, fact.down) for _, judged in required for fact in judged.facts), default=0.0),
        facts=tuple(dict.fromkeys(fact for judged in speaking for fact in judged.facts)),
        marks=tuple(dict.fromkeys(mark for judged in speaking for mark in judged.marks)),
    )


def _ordered(fits: Mapping[str, Fit], priors: Mapping[str, float]) -> tuple[Fit, ...]:
    """Best first, but nothing before what explains it."""

    def rank(fit: Fit) -> tuple[float, int, float]:
        return fit.confidence * priors.get(fit.signature.id, 1.0), len(fit.signature.requires), fit.strength

    waiting = dict(fits)
    ordered: list[Fit] = []
    while waiting:
        explained = {name for fit in waiting.values() for name in fit.signature.explains}
        free = [fit for name, fit in waiting.items() if name not in explained]
        best = max(free, key=rank)
        ordered.append(best)
        del waiting[best.signature.id]
    return tuple(ordered)
