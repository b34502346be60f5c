"""What a signature asks of a scene: small sentences about series, marks and their order.

============================  ================================================================================
``ttft.mean rises``           the window's median lies well above the reference; ``falls`` likewise
``itl.mean steady``           it neither rose nor fell
``gpu_ecc_uncorrected occurs``  some value since the guard gap exceeds everything in the reference
``gpu_temp lost``             known before, unknown now
``kv_use > 0.9``              the window's median; ``< <= > >= ==``
``gpu_power > 0.9 gpu_power_limit``  the same with a share of another signal
``xid 48 94 95``              one of these Xid errors happened
``mark deploy restarted``     a mark of one of these kinds
``errors before arrivals``    both left their reference, the first one earlier
``peers: …``                  of the others of the group: more than half (a number: their median)
``replica: …``                of any entity of that kind that belongs to this one; also ``gpu node pool``
``… or …``                    either
============================  ================================================================================

Truth has three values. What is not measured is unknown, and speaks neither for nor against anything.
"""

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from aiops.diagnose.scene import FAR, Fact, Scene
from aiops.signals.catalog import SIGNALS, stats_of
from aiops.signals.types import Entity, EntityKind, Mark, MarkKind

_SERIES = r"([a-z0-9_]+)(?:\.([a-z0-9]+))?"
_STATE = re.compile(rf"{_SERIES} (rises|falls|steady|occurs|lost)")
_COMPARED = re.compile(rf"{_SERIES} (<=|>=|==|<|>) (-?[0-9.e]+)(?: {_SERIES})?")
_ORDER = re.compile(rf"{_SERIES} before {_SERIES}")
_XID = re.compile(r"xid((?: [0-9]+)+)")
_MARK = re.compile(r"mark((?: [a-z_]+)+)")
_SCOPE = re.compile(r"(peers|gpu|node|replica|pool): (.+)")
_XID_NUMBER = re.compile(r"Xid (\d+)")
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq,
}  # fmt: skip
_EXPECTED = "SIGNAL rises|falls|steady|occurs|lost, SIGNAL > NUMBER [SIGNAL], xid N…, mark KIND…, SIGNAL before SIGNAL"


@dataclass(frozen=True, slots=True)
class Judged:
    """Truth (None = unknown) and what it rests on."""

    truth: bool | None
    facts: tuple[Fact, ...] = ()
    marks: tuple[Mark, ...] = ()


Series = tuple[str, str]
_Test = Callable[[Scene, Entity], Judged]


@dataclass(frozen=True, slots=True)
class Clause:
    """One sentence of a signature.

    Attributes
    ----------
    series
        What it reads, as (signal, statistic).
    """

    text: str
    series: tuple[Series, ...]
    _parts: tuple[_Test, ...]

    @classmethod
    def parse(cls, text: str) -> "Clause":
        """Read a sentence; raises ValueError that quotes what is not understood."""
        series: list[Series] = []
        parts = tuple(_part(part.strip(), series) for part in " ".join(text.split()).split(" or "))
        return cls(" ".join(text.split()), tuple(series), parts)

    def judge(self, scene: Scene, entity: Entity) -> Judged:
        """Truth for one entity: of the parts that hold the first, else unknown if one is."""
        found = [part(scene, entity) for part in self._parts]
        return next((one for one in found if one.truth), None) or next(
            (one for one in found if one.truth is None), found[0]
        )


def _part(text: str, series: list[Series]) -> _Test:
    scoped = _SCOPE.fullmatch(text)
    test = _plain(scoped.group(2) if scoped else text, series)
    if scoped is None:
        return test
    if scoped.group(1) == "peers":
        return lambda scene, entity: _most([test(scene, one) for one in scene.peers(entity)])
    kind = EntityKind(scoped.group(1))
    return lambda scene, entity: _any([test(scene, one) for one in scene.near(entity, kind)])


def _plain(text: str, series: list[Series]) -> _Test:
    if found := _STATE.fullmatch(text):
        return _state(_series(found, 1, series, text), found.group(3))
    if found := _COMPARED.fullmatch(text):
        other = _series(found, 5, series, text) if found.group(5) else None
        return _compared(_series(found, 1, series, text), found.group(3), float(found.group(4)), other)
    if found := _ORDER.fullmatch(text):
        return _ordered(_series(found, 1, series, text), _series(found, 3, series, text))
    if found := _XID.fullmatch(text):
        return _xid(frozenset(map(int, found.group(1).split())))
    if found := _MARK.fullmatch(text):
        try:
            return _marked(frozenset(map(MarkKind, found.group(1).split())))
        except ValueError as error:
            raise ValueError(f"{text!r}: {error}; there are: {', '.join(MarkKind)}") from None
    raise ValueError(f"{text!r} is not understood; expected {_EXPECTED}")


def _series(found: re.Match[str], group: int, series: list[Series], text: str) -> Series:
    signal, stat = found.group(group), found.group(group + 1) or ""
    if signal not in SIGNALS:
        raise ValueError(f"{text!r}: no signal of the catalogue is called {signal!r}")
    if stat not in stats_of(SIGNALS[signal]):
        possible = ", ".join(stat or "none" for stat in stats_of(SIGNALS[signal]))
        raise ValueError(f"{text!r}: {signal} has these statistics: {possible}")
    series.append((signal, stat))
    return signal, stat


def _state(of: Series, state: str) -> _Test:
    def test(scene: Scene, entity: Entity) -> Judged:
        fact = scene.fact(entity, *of)
        if fact is None or (state in ("rises", "falls", "steady") and not fact.known):
            return Judged(None)
        truth = {
            "rises": fact.up >= FAR,
            "falls": fact.down >= FAR,
            "steady": max(fact.up, fact.down) < FAR,
            "occurs": fact.occurred,
            "lost": fact.lost,
        }[state]
        return Judged(truth, (fact,))

    return test


def _compared(of: Series, sign: str, number: float, other: Series | None) -> _Test:
    def test(scene: Scene, entity: Entity) -> Judged:
        fact = scene.fact(entity, *of)
        limit = scene.fact(entity, *other) if other else None
        right = number * limit.value if limit is not None else np.nan if other else number
        if fact is None or np.isnan(fact.value) or np.isnan(right):
            return Judged(None)
        return Judged(bool(_COMPARE[sign](fact.value, right)), (fact, limit) if limit is not None else (fact,))

    return test


def _ordered(first: Series, second: Series) -> _Test:
    def test(scene: Scene, entity: Entity) -> Judged:
        facts = [scene.fact(entity, *one) for one in (first, second)]
        known = tuple(fact for fact in facts if fact is not None)
        if len(known) < len(facts):
            return Judged(None)
        earlier, later = known
        return Judged(earlier.onset < later.onset, known)  # NaN, no onset, is not earlier

    return test


def _xid(numbers: frozenset[int]) -> _Test:
    def test(scene: Scene, entity: Entity) -> Judged:
        marks = tuple(
            mark
            for mark in scene.marks_of([entity])
            if mark.kind is MarkKind.XID and numbers & set(map(int, _XID_NUMBER.findall(mark.detail)[:1]))
        )
        if marks:
            return Judged(True, (), marks)
        errors, last = scene.fact(entity, "gpu_xid", ""), scene.fact(entity, "gpu_xid_last", "")
        if errors is None and last is None:
            return Judged(None)
        # The number alone is sticky: it counts together with an error that is new.
        new = (errors is not None and errors.occurred) or (last is not None and last.occurred)
        return Judged(bool(new and last is not None and last.last in numbers), (last,) if last is not None else ())

    return test


def _marked(kinds: frozenset[MarkKind]) -> _Test:
    def test(scene: Scene, entity: Entity) -> Judged:
        marks = tuple(mark for mark in scene.marks_of([entity]) if mark.kind in kinds)
        return Judged(bool(marks), (), marks)

    return test


def _any(found: Sequence[Judged]) -> Judged:
    known = [one for one in found if one.truth is not None]
    return next((one for one in known if one.truth), known[0] if known else Judged(None))


def _most(found: Sequence[Judged]) -> Judged:
    known = [one for one in found if one.truth is not None]
    if not known:
        return Judged(None)
    hold = [one for one in known if one.truth]
    return hold[0] if 2 * len(hold) > len(known) else Judged(False, known[0].facts)
