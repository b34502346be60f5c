"""What every detector must keep to, as checks that its author runs: :func:`check_detector` in a test is enough.

Each check drives fresh detectors through made-up ticks and compares what they say; nothing looks inside them. They
hold for detectors of single series and for those that compare series. A detector that needs a fit is only judged
with models when ``fit`` is given; without one it says nothing, and silence breaks no rule.
"""

import gc
import inspect
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aiops.detect.base import Detector, Scores, Window
from aiops.detect.columns import misfit
from aiops.detect.fitting import Arrays, Fitted, pack, part, prefixed, unpack
from aiops.detect.policy import OBSERVATIONS, AnomalyPolicy, Compiler, Floor, TimingSpec
from aiops.detect.settings import DetectSettings
from aiops.signals.catalog import SIGNALS
from aiops.signals.types import Entity, EntityKind, SeriesKey

Build = Callable[[DetectSettings, Compiler], Detector]
Fit = Callable[[Arrays], Mapping[str, NDArray[Any]]]
_FEATURES = (("running", ""), ("queue_len", ""), ("tokens_out", ""), ("ttft", "p95"))
_BEGIN = 1e6
_FIT_AFTER = 80
_FAR = 1000.0
_NEAR_THRESHOLD = 1e-3
_CHANGES = 60
_SLACK, _SLACK_BYTES = 1.25, 8192


class Violation(AssertionError):
    """A detector broke a rule; the text says which, where, and what was expected."""


@dataclass(frozen=True, slots=True)
class Case:
    """Made-up series to check on; draw several.

    Attributes
    ----------
    seed
        Of the noise.
    entities
        Replicas of one pool, at least 2, each with four series; one series of a pool comes beside them.
    ticks
        How long it goes on, ≥ 100. The fit, if any, comes after 80.
    level, noise
        Mean of the series and standard deviation, in any unit.
    missing
        Share of values that are unknown.
    minimum_samples
        Setting of that name.
    """

    seed: int = 0
    entities: int = 4
    ticks: int = 120
    level: float = 10.0
    noise: float = 1.0
    missing: float = 0.05
    minimum_samples: int = 20
    step_seconds: float = 5.0

    def settings(self) -> DetectSettings:
        """What the detector is built with."""
        return DetectSettings(minimum_samples=self.minimum_samples)


def check_detector(build: Build, case: Case | None = None, *, fit: Fit | None = None) -> None:
    """Run every check.

    Parameters
    ----------
    build
        Makes a detector that has seen nothing, as the entry point does.
    fit
        What the worker runs, :func:`aiops.detect.fit.solve` for ours: ``<detector>.<array>`` in and out.

    Raises
    ------
    Violation
        At the first rule that is broken; also when the detector raises or warns.
    """
    trial = _Trial(build, case or Case(), fit)
    for check in CHECKS:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                check(trial)
        except Violation as violation:
            raise Violation(f"{check.__name__}: {violation}") from None
        except Exception as error:
            raise Violation(f"{check.__name__}: raised {type(error).__name__}: {error}") from error


@dataclass(frozen=True, slots=True)
class _Feed:
    """Series over time: ``table`` float32 [ticks, columns]; windows look 120 rows back."""

    table: NDArray[np.float32]
    keys: tuple[SeriesKey | None, ...]
    generation: NDArray[np.int64]
    step_seconds: float
    rows: int = 120

    def window(self, tick: int) -> Window:
        """The window whose newest row is that of ``tick``; read only, as the real one."""
        values = np.full((self.rows, len(self.keys)), np.nan, np.float32)
        seen = self.table[max(0, tick + 1 - self.rows) : tick + 1]
        values[self.rows - len(seen) :] = seen
        values.flags.writeable = False
        return Window(_BEGIN + tick * self.step_seconds, self.step_seconds, values, self.keys, self.generation)


class _Trial:
    def __init__(self, build: Build, case: Case, fit: Fit | None) -> None:
        self.case = case
        self._build = build
        self._fit = fit

    def fresh(self) -> Detector:
        units = {signal.unit for signal in SIGNALS.values()} | {OBSERVATIONS}
        timing = TimingSpec(breach_points=3, window_points=4, clear_points=3, clear_window=4)
        floors = {unit: Floor(noise=1e-6, relative_noise=0.01) for unit in units}
        return self._build(self.case.settings(), Compiler(AnomalyPolicy(timing=timing, units=floors, watch=())))

    def feed(self) -> _Feed:
        case, rng = self.case, np.random.default_rng(self.case.seed)
        members = [
            Entity.of(EntityKind.REPLICA, job="j", instance=f"i{n:05}", model_name="m") for n in range(case.entities)
        ]
        keys = [SeriesKey(entity, signal, stat) for entity in members for signal, stat in _FEATURES]
        keys.append(SeriesKey(Entity.of(EntityKind.POOL, pool="p"), "queue_len"))
        table = case.level + case.noise * rng.standard_normal((case.ticks, len(keys)))
        table[rng.random(table.shape) < case.missing] = np.nan
        return _Feed(table.astype(np.float32), tuple(keys), np.arange(1, len(keys) + 1), case.step_seconds)

    def lived(self, feed: _Feed, detector: Detector | None = None, first: int = 0, last: int | None = None) -> Detector:
        """A detector that lived through a feed."""
        detector = detector or self.fresh()
        for _ in self.life(detector, feed, first, last):
            pass
        return detector

    def life(
        self, detector: Detector, feed: _Feed, first: int = 0, last: int | None = None, *, looks: int = 1
    ) -> Iterator[Scores]:
        """Score, decide, learn; fit once. Gives the scores of each tick, before it is learnt."""
        for tick in range(first, self.case.ticks if last is None else last):
            window = feed.window(tick)
            for _ in range(looks):
                scores = detector.score(window)
            _well_formed(scores, window)
            yield scores
            detector.learn(window, ~(scores.score >= 1))
            if tick == _FIT_AFTER:
                self._fitted(detector, window)

    def _fitted(self, detector: Detector, window: Window) -> None:
        if self._fit is None or not isinstance(detector, Fitted):
            return
        if (ask := detector.ask(window, 1000)) is not None:
            answer = part(self._fit(prefixed(ask, detector.name)), detector.name)
            if "error" in answer:
                raise Violation(f"the fit failed: {answer['error'].tobytes().decode()}")
            detector.accept(window, answer)


def _well_formed(scores: Scores, window: Window) -> None:
    for name in ("score", "expected", "lower", "upper"):
        array = getattr(scores, name)
        _demand(array.dtype == np.float32, f"{name} is {array.dtype}, expected float32")
        _demand(
            array.shape == (len(window.keys),), f"{name} has the shape {array.shape}, expected [{len(window.keys)}]"
        )
    known = np.isfinite(scores.score)
    _demand(not np.isinf(scores.score).any(), "a score is infinite; expected a number or NaN")
    _demand(bool((scores.score[known] >= 0).all()), "a score is negative; 0 means as expected")
    _demand(not known[np.isnan(window.values[-1])].any(), "an unknown value has a score; missing is not anomalous")
    _demand(not known[[key is None for key in window.keys]].any(), "a free column has a score")


def _demand(holds: bool, text: str) -> None:  # noqa: FBT001 - reads as an assertion
    if not holds:
        raise Violation(text)


def _same(ours: Sequence[Scores], theirs: Sequence[Scores], what: str, *, columns: Any = slice(None)) -> None:
    for tick, (our, their) in enumerate(zip(ours, theirs, strict=True)):
        for name in ("score", "expected", "lower", "upper"):
            one, other = getattr(our, name), getattr(their, name)[columns]
            if not np.allclose(one[: len(other)], other, rtol=1e-4, atol=1e-6, equal_nan=True):
                raise Violation(f"{what}: {name} differs at step {tick}")


def _equal(ours: Mapping[str, NDArray[Any]], theirs: Mapping[str, NDArray[Any]], what: str) -> None:
    _demand(set(ours) == set(theirs), f"{what}: arrays {sorted(set(ours) ^ set(theirs))} are on one side only")
    for name, array in ours.items():
        _demand(not array.dtype.hasobject, f"the array {name} holds Python objects, expected plain numbers")
        _demand(array.tobytes() == theirs[name].tobytes(), f"{what}: the array {name} differs")


def looking_changes_nothing(trial: _Trial) -> None:
    """``score`` is pure: any number of calls, any copy of the window, the same answer and the same learning."""
    feed, once, often = trial.feed(), trial.fresh(), trial.fresh()
    for tick, (one, other) in enumerate(zip(trial.life(once, feed), trial.life(often, feed, looks=3), strict=True)):
        _same([one], [other], "scored once and three times")
        _same([one], [often.score(replace(feed.window(tick)))], "scored on a copy of the window")
    _equal(once.state(), often.state(), "state after scoring once and several times a tick")


def same_input_same_output(trial: _Trial) -> None:
    """Two detectors that saw the same say and know the same, to the bit."""
    feed, one, other = trial.feed(), trial.fresh(), trial.fresh()
    for ours, theirs in zip(trial.life(one, feed), trial.life(other, feed), strict=True):
        _demand(ours.score.tobytes() == theirs.score.tobytes(), "the same input gave two scores")
    _equal(one.state(), other.state(), "state after the same input")


def one_is_the_edge_of_the_band(trial: _Trial) -> None:
    """Where there is a band, 1.0 is its edge, and further out is never a smaller score."""
    feed = trial.feed()
    detector = trial.lived(feed)
    window, sizes = feed.window(trial.case.ticks - 1), np.array([0.0, 0.5, 2, 5, 10, 100, _FAR])
    before = None
    for size in (*sizes, *-sizes):
        values = window.values.copy()
        values[-1] = trial.case.level + size * trial.case.noise
        scores = detector.score(replace(window, values=values))
        band = np.isfinite(scores.expected) & np.isfinite(scores.score)
        outside = (values[-1] > scores.upper) | (values[-1] < scores.lower)
        wrong = band & (outside != (scores.score >= 1)) & (np.abs(scores.score - 1) > _NEAR_THRESHOLD)
        _demand(not wrong.any(), "a score of 1 is not the edge of the band that was given with it")
        if before is not None and abs(size) >= 10:
            _demand(not (scores.score < before)[band].any(), "a value further out has a smaller score")
        before = scores.score if abs(size) >= 5 else None


def odd_series_are_borne(trial: _Trial) -> None:
    """Constants, zeros, gaps, silence and huge values: no fault, no breach by a constant."""
    feed = trial.feed()
    table = feed.table.copy()
    table[:, 0], table[:, 1], table[:, 2], table[:, 3] = trial.case.level, 0.0, np.nan, 1e15
    table[90:, 4], table[20 : trial.case.ticks - 5, 5] = np.nan, np.nan
    table[::2, 6], table[95, 7] = np.nan, 1e15
    feed = replace(feed, table=table)
    detector = trial.fresh()
    for scores in trial.life(detector, feed):
        # Where one series is compared with others, a constant may well be the odd one out.
        quiet = np.isnan(scores.expected) | (np.abs(scores.expected - table[0]) > 1e-3 * np.abs(table[0]) + 1e-3)
        _demand(bool((quiet | ~(scores.score >= 1))[:2].all()), "a constant series is out of bounds")


def first_sight_is_borne(trial: _Trial) -> None:
    """Scoring before learning, learning nothing, relearning what was never known; an empty window."""
    feed = trial.feed()
    window = feed.window(trial.case.ticks - 1)
    nothing = np.zeros(len(window.keys), np.bool_)
    for values in (window.values, np.full_like(window.values, np.nan)):
        seen = replace(window, values=values)
        detector = trial.fresh()
        _well_formed(detector.score(seen), seen)
        detector.learn(seen, nothing)
        detector.relearn(seen, ~nothing)
        detector.state()
        _well_formed(detector.score(seen), seen)


def state_survives_a_restart(trial: _Trial) -> None:
    """What ``state`` gives, packed, moved to other columns and restored, goes on as if nothing had happened."""
    feed, half = trial.feed(), _FIT_AFTER + 10
    old = trial.lived(feed, last=half)
    state = old.state()
    places = np.random.default_rng(trial.case.seed).permutation(len(feed.keys))
    packed = unpack(pack(state))
    fixed = {
        name for name, a in packed.items() if name.startswith("fixed_") or not a.ndim or a.shape[-1] != len(places)
    }
    moved = {name: array if name in fixed else array[..., places] for name, array in packed.items()}
    new, elsewhere = trial.fresh(), _moved(feed, places)
    problem = misfit(new.state(), moved, len(places))
    _demand(not problem, f"state has another form than that of a fresh detector: {problem}")
    new.restore(moved)
    ours = list(trial.life(new, elsewhere, half))
    _same(ours, list(trial.life(old, feed, half)), "after a restart", columns=places)
    for name, array in old.state().items():
        if name not in fixed:
            array[...] = 0
    _same([new.score(elsewhere.window(trial.case.ticks - 1))],
          [old.score(feed.window(trial.case.ticks - 1))], "writing to what state gave", columns=places)  # fmt: skip


def _moved(feed: _Feed, places: NDArray[np.intp]) -> _Feed:
    keys = tuple(feed.keys[place] for place in places)
    return replace(feed, table=feed.table[:, places], keys=keys, generation=feed.generation[places])


def a_new_owner_starts_anew(trial: _Trial) -> None:
    """Of a column's last owner nothing is left: two pasts of it make no difference to the next owner."""
    feed, half, last = trial.feed(), _FIT_AFTER + 5, len(trial.feed().keys) - 1
    generation = feed.generation.copy()
    generation[last] = 1000
    heir = SeriesKey(Entity.of(EntityKind.POOL, pool="heir"), "queue_len")
    each = []
    for factor in (1.0, 50.0):
        table = feed.table.copy()
        table[:half, last] *= factor
        detector = trial.lived(replace(feed, table=table), last=half)
        table[:half, last] = np.nan  # the ring wipes what the last owner left
        after = replace(feed, table=table, keys=(*feed.keys[:last], heir), generation=generation)
        each.append(list(trial.life(detector, after, half)))
    _same(each[0], each[1], "two pasts of the column's last owner")


def more_columns_change_nothing(trial: _Trial) -> None:
    """The window may grow; free columns do not disturb the others, and their first owners are borne."""
    feed, half, wide = trial.feed(), _FIT_AFTER + 5, len(trial.feed().keys)
    grown = replace(
        feed,
        table=np.hstack([feed.table, np.full((trial.case.ticks, 3), np.nan, np.float32)]),
        keys=(*feed.keys, None, None, None),
        generation=np.append(feed.generation, [0, 0, 0]),
    )
    one, other = trial.lived(feed, last=half), trial.lived(feed, last=half)
    ours = list(trial.life(one, grown, half))
    _same(ours, list(trial.life(other, feed, half)), "with free columns beside", columns=slice(wide))
    newcomers = tuple(SeriesKey(Entity.of(EntityKind.POOL, pool=f"n{n}"), "queue_len") for n in range(3))
    table = grown.table.copy()
    table[-5:, wide:] = trial.case.level
    owned = replace(grown, table=table, keys=(*feed.keys, *newcomers), generation=np.arange(1, wide + 4))
    trial.lived(owned, one, trial.case.ticks - 5)


def an_incident_is_not_learnt(trial: _Trial) -> None:
    """What ``quiet`` leaves out stays out of bounds, until the bank says that it is the new normal."""
    feed = trial.feed()
    table = feed.table.copy()
    begin = _FIT_AFTER + 10
    table[begin:, 0] = trial.case.level + _FAR * (trial.case.noise + 0.01 * abs(trial.case.level))
    feed = replace(feed, table=table)
    detector, unspoiled = trial.lived(feed, last=begin), trial.lived(feed, last=begin)
    for tick in range(begin, trial.case.ticks):
        window = feed.window(tick)
        after = detector.score(window).score[0]
        quiet = np.ones(len(window.keys), np.bool_)
        quiet[0] = False
        detector.learn(window, quiet)
    # The same row, at the first moment of the incident.
    values = feed.window(begin).values.copy()
    values[-1] = table[-1]
    first = unspoiled.score(replace(feed.window(begin), values=values)).score[0]
    points = trial.case.ticks - begin
    _demand(not (first >= 1 and after < 1), f"{points} points of an incident, none of them quiet, made it normal")
    detector.relearn(feed.window(trial.case.ticks - 1), np.arange(len(feed.keys)) == 0)
    _well_formed(detector.score(feed.window(trial.case.ticks - 1)), feed.window(trial.case.ticks - 1))


def memory_is_bounded(trial: _Trial) -> None:
    """Series that come and go leave nothing behind."""
    feed, detector = trial.feed(), trial.fresh()
    weights = []
    for change in range(3 * _CHANGES):
        names = [f"i{(change * 100 + place):08}" for place in range(len(feed.keys))]
        keys = tuple(
            SeriesKey(Entity.of(EntityKind.REPLICA, job="j", instance=name, model_name="m"), *_FEATURES[place % 4])
            for place, name in enumerate(names)
        )
        owners = replace(feed, keys=keys, generation=feed.generation + change * len(keys))
        window = owners.window(change % trial.case.ticks)
        detector.learn(window, ~(detector.score(window).score >= 1))
        if change % _CHANGES == _CHANGES - 1:
            weights.append(_weight(detector))
    text = f"grew from {weights[0]} to {weights[-1]} bytes while series came and went"
    _demand(weights[-1] <= _SLACK * weights[0] + _SLACK_BYTES, text)


def _weight(root: object) -> int:
    """Bytes of all objects that belong to one; code and types are not counted."""
    seen: set[int] = set()
    found, total = [root], 0
    while found:
        item = found.pop()
        if id(item) in seen or isinstance(item, type | ModuleType | FunctionType | BuiltinFunctionType):
            continue
        seen.add(id(item))
        total += sys.getsizeof(item)
        found += gc.get_referents(item)
    return total


def the_scale_is_documented(trial: _Trial) -> None:
    """Somebody who reads the detector's documentation learns what its score means."""
    detector = trial.fresh()
    _demand(isinstance(detector.name, str) and detector.name.isidentifier(), "name is no identifier")
    module = sys.modules.get(type(detector).__module__)
    text = f"{inspect.getdoc(type(detector)) or ''} {'' if module is None else module.__doc__ or ''}"
    _demand("score" in text.lower(), "neither the class nor its module says in its docstring what the score means")


CHECKS: tuple[Callable[[_Trial], None], ...] = (
    the_scale_is_documented,
    first_sight_is_borne,
    looking_changes_nothing,
    same_input_same_output,
    one_is_the_edge_of_the_band,
    odd_series_are_borne,
    an_incident_is_not_learnt,
    a_new_owner_starts_anew,
    more_columns_change_nothing,
    state_survives_a_restart,
    memory_is_bounded,
)
"""In the order in which they run: the plainest first."""
