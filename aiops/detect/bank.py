"""All detectors and rules of a tick, in order: score, decide, then learn.

The order is the invariant: a point is judged before anything is learnt from it, and nothing is learnt from a
column that is out of bounds or whose entity has a critical alert, so that an incident cannot teach itself as
normal. What stays out of bounds for ``relearn_after`` with no such alert is accepted as the new level, and so is
what an entity shows after a deploy (:mod:`aiops.detect.settling`).

Detectors judge by nominal bands. Here they are fitted to the budget of false alerts (:mod:`aiops.detect.tails`), and
widened where something comes back by the clock (:mod:`aiops.detect.recurrence`) or people asked for it
(:mod:`aiops.detect.leniency`).
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from aiops.detect.acceptance import Acceptance
from aiops.detect.arima import Arima
from aiops.detect.base import (
    AlertKey,
    Detector,
    Explains,
    Guidance,
    Look,
    RuleText,
    Scores,
    Severity,
    Standing,
    Timing,
    Unlearns,
    Verdict,
    Verdicts,
    Window,
)
from aiops.detect.columns import misfit
from aiops.detect.drift import Drift
from aiops.detect.fitting import Fitted
from aiops.detect.iforest import IForest
from aiops.detect.leniency import Leniency, widened
from aiops.detect.liveness import Liveness
from aiops.detect.look import look_around, look_at
from aiops.detect.overrides import check_overrides, overridden
from aiops.detect.peers import Peers
from aiops.detect.policy import AnomalyPolicy, Compiler, PolicyColumns
from aiops.detect.recurrence import Recurrence
from aiops.detect.residual import Residual
from aiops.detect.rules import Conditions, RuleBook
from aiops.detect.season import Season
from aiops.detect.settings import DetectSettings
from aiops.detect.settling import Settling, columns_of
from aiops.detect.shares import Shares
from aiops.detect.shift import Shift
from aiops.detect.tails import Tails
from aiops.detect.texts import reason, text_of_rule, text_of_watch
from aiops.detect.zscore import ZScore
from aiops.signals.types import Entity, Mark, SeriesKey, SourceStatus

Builder = Callable[[DetectSettings, Compiler], Detector]
"""Makes a detector that has seen nothing, from the settings and the policy that all detectors share."""
DETECTORS: Mapping[str, Builder] = {
    "zscore": ZScore,
    "shift": Shift,
    "arima": Arima,
    "iforest": IForest,
    "peers": Peers,
    "residual": Residual,
    "drift": Drift,
    "season": Season,
}
"""Every statistical detector. The name prefixes its arrays in snapshots."""
ADVISORS = frozenset({"iforest"})
"""Detectors whose scores are votes and rank entities, but put no series out of bounds."""
SLOW = frozenset({"drift", "season"})
"""Detectors of what takes days. Blocks of minutes cannot calibrate them, and what they tell is no new level: it is not
accepted by staying."""
LEAVE = 0.8
"""A score from here to 1 keeps an alert that is active: what swings around the edge must not come and go."""
NO_GUIDANCE = Guidance()


@dataclass(frozen=True, slots=True)
class BankScores:
    """What the detectors said about the newest row.

    Attributes
    ----------
    keys
        Series of each column, None where it is free.
    ensemble
        The combined view, float32 [capacity] each.
    votes
        Detector → its scores, float32 [capacity].
    learning
        bool [capacity]: the value is known, but the series is not judged: no detector has seen enough of it, or it
        has just changed on purpose.
    confidence
        float32 [capacity]: how far the band rests on the series' own history, 0 … 1.
    watched
        bool [capacity]: the series may raise an alert.
    """

    now: float
    keys: tuple[SeriesKey | None, ...]
    ensemble: Scores
    votes: Mapping[str, NDArray[np.float32]]
    learning: NDArray[np.bool_]
    confidence: NDArray[np.float32]
    watched: NDArray[np.bool_]


class Bank:
    """Judges one tick after the other; owns what the detectors have learnt.

    Parameters
    ----------
    settings
        Thresholds and overrides.
    policy, rulebook
        The two documents of ``models/detectors``.
    plugins
        Further detectors by name; they judge beside ours.

    Raises
    ------
    ValueError
        When an override names a rule that does not exist, or makes a statistical rule critical.
    """

    def __init__(
        self,
        settings: DetectSettings,
        policy: AnomalyPolicy,
        rulebook: RuleBook,
        plugins: Mapping[str, Builder] = MappingProxyType({}),
    ) -> None:
        check_overrides(settings, policy, rulebook)
        off = frozenset(settings.disable)
        self._settings = settings
        self._watch = [overridden(watch, watch.rule, settings) for watch in policy.watch]
        rules = [overridden(rule, rule.name, settings) for rule in rulebook.rules if rule.name not in off]
        self._policy = Compiler(policy, off)
        self._conditions = Conditions(rules, rulebook.lead_time)
        self._liveness = Liveness(rules)
        self._default_timing = policy.timing.timing()
        statistical = (text_of_watch(watch, self._default_timing) for watch in self._watch if watch.rule not in off)
        self._rules = {text.name: text for text in (*map(text_of_rule, rules), *statistical)}
        self._detectors: tuple[Detector, ...] = ()
        if settings.enabled:
            self._detectors = tuple(build(settings, self._policy) for build in {**plugins, **DETECTORS}.values())
        for level, shift in product(self._detectors, repeat=2):
            if isinstance(level, ZScore) and isinstance(shift, Shift):
                shift.stand_on(level)
        judges = [one for one in self._detectors if one.name not in ADVISORS]
        self._shares = Shares(judges, SLOW, self._default_timing, settings.budget)
        self._acceptance = Acceptance(self._default_timing.breach_points, settings.relearn_after)
        self._settling = Settling(settings.minimum_samples)
        self._recurrence = Recurrence(self._default_timing.breach_points)
        self._leniency = Leniency([watch.rule for watch in self._watch])
        self._scores: BankScores | None = None
        self._critical = np.zeros(0, np.bool_)
        self._keys: tuple[SeriesKey | None, ...] | None = None

    def step(
        self,
        window: Window,
        now: float,
        sources: Sequence[SourceStatus],
        marks: Sequence[Mark],
        watched: Collection[AlertKey],
        *,
        guidance: Guidance = NO_GUIDANCE,
    ) -> Verdicts:
        """Judge the newest row, then learn from it; call once per tick.

        Parameters
        ----------
        now
            UTC seconds of this tick.
        sources
            Health of every source.
        marks
            Events since the tick before.
        watched
            Alerts that are not inactive; those without data now come back in ``unknown``.
        guidance
            Whose learning pauses, who changed on purpose, and whose thresholds are wider.
        """
        columns = self._policy.columns(window)
        settling = self._settling.step(window, columns.of_entity, marks, guidance.changed)
        said = self._said(window, guidance.left_out)
        judged = self._shares.judge(window, columns, said)
        quick = undivided = combine([judged[name] for name in self._shares.quick], len(window.keys))
        if (divisors := self._recurrence.divisors(window)) is not None:
            quick = widened(quick, divisors)
        ensemble = combine([quick, *(judged[name] for name in self._shares.slow)], len(window.keys))
        ensemble = self._leniency.applied(ensemble, window, columns.watch, guidance.wider)
        ensemble = replace(ensemble, score=np.where(settling, np.float32(np.nan), ensemble.score))
        votes = {name: scores.score for name, scores in {**said, **judged}.items()}
        learning = np.isfinite(window.values[-1]) & np.isnan(ensemble.score) & bool(said)
        confidence, alerting = self._shares.confidence(ensemble.score), columns.watch >= 0
        self._scores = scores = BankScores(now, window.keys, ensemble, votes, learning, confidence, alerting)
        breaches = dict(self._conditions.evaluate(window, guidance.leads))
        breaches.update(self._liveness.evaluate(window, sources, marks, columns.of_entity))
        breaches.update(self._statistics(window, columns, scores))
        critical = self._of_critical(columns, {*breaches, *watched})
        frozen = critical | self._frozen(columns, guidance) | settling
        self._shares.learn(window, said, ~frozen, ensemble.score >= 1)
        self._recurrence.learn(undivided.score, ~frozen)
        self._unlearn(window, self._newly(critical))
        self._learn(window, ensemble, quick.score, frozen, guidance.left_out)
        open_ = [key for key in watched if key not in breaches]
        awaited = frozenset(key for key in open_ if key in guidance.awaited and self._seen(key, window, columns))
        unknown = frozenset(key for key in open_ if not self._known(key, columns)) | awaited
        held = frozenset(key for key in open_ if self._between(key, columns))
        return Verdicts(breaches, unknown, (held - unknown) | awaited)

    def _said(self, window: Window, left_out: Collection[str]) -> dict[str, Scores]:
        """Scores by detector; one that is left out is asked only when the series change, so that its arrays follow."""
        moved, self._keys = window.keys is not self._keys, window.keys
        silent = combine((), len(window.keys)) if left_out else None
        said = {}
        for detector in self._detectors:
            if silent is None or detector.name not in left_out:
                said[detector.name] = detector.score(window)
            else:
                said[detector.name] = silent
                if moved:
                    detector.score(window)
        return said

    def accept(self, series: Iterable[SeriesKey], window: Window) -> None:
        """Take what these series show lately as their normal; right after :meth:`step`."""
        places = self._policy.columns(window).of_series
        chosen = np.zeros(len(window.keys), np.bool_)
        chosen[[places[key] for key in series if key in places]] = True
        self._relearn(window, chosen)

    def scores(self) -> BankScores | None:
        """The last tick's scores; None before the first."""
        return self._scores

    @property
    def sharers(self) -> int:
        """Series that share the budget of false alerts now."""
        return self._shares.series

    def fitted(self) -> tuple[Fitted, ...]:
        """Detectors whose models are fitted elsewhere."""
        return tuple(one for one in self._detectors if isinstance(one, Fitted))

    def timing(self, rule: str) -> Timing:
        """K of N of a rule; for one that is gone from the configuration, that of the statistical rules."""
        text = self._rules.get(rule)
        return self._default_timing if text is None else text.timing

    def rules(self) -> Mapping[str, RuleText]:
        """Every rule that is judged, by name, with its texts."""
        return self._rules

    def around(self, entities: Iterable[Entity], window: Window) -> dict[Entity, Standing]:
        """What statistics say of all series of some entities that may raise alerts, in the last step."""
        scores = self._scores
        if scores is None or len(window.keys) != len(scores.keys):
            return {}
        return look_around(entities, self._policy.columns(window).of_entity, scores.ensemble.score, scores.watched)

    def looks(self, rule: str, window: Window) -> Iterator[Look]:
        """What a rule saw in the last step of every series, entity or source that it is about."""
        yield from self._conditions.looks(rule)
        yield from self._liveness.looks(rule)
        scores, columns = self._scores, self._policy.columns(window)
        index = next((place for place, watch in enumerate(self._watch) if watch.rule == rule), -1)
        if index < 0 or scores is None or len(window.keys) != len(scores.keys) or rule not in self._rules:
            return
        for column in np.flatnonzero(columns.watch == index).tolist():
            key = window.keys[column]
            if key is not None:
                explained = self._explained(column, scores)
                yield look_at(AlertKey(rule, key), column, window, scores.ensemble, explained)

    def standing(self, window: Window) -> Mapping[str, Standing]:
        """What each rule saw in the last step; rules about sources, and those that nothing feeds, are left out."""
        found = dict(self._conditions.standing())
        if self._scores is not None and len(window.keys) == len(self._scores.keys):
            watch, score = self._policy.columns(window).watch, self._scores.ensemble.score
            every, outside, fine = (
                np.bincount(watch[(watch >= 0) & chosen], minlength=len(self._watch))
                for chosen in (watch >= 0, score >= 1, score < 1)
            )
            for index, one in enumerate(self._watch):
                if every[index] and one.rule in self._rules:
                    now = Standing(int(every[index]), int(outside[index]), int(fine[index]))
                    found[one.rule] = found[one.rule] + now if one.rule in found else now
        return found

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Everything learnt, as ``detector.array`` → array [capacity]."""
        own = {name: part.state() for name, part in self._own().items()}
        parts = {**own, **{one.name: one.state() for one in self._detectors}}
        return {f"{part}.{name}": array for part, arrays in parts.items() for name, array in arrays.items()}

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> tuple[str, ...]:
        """Continue from :meth:`state` with columns moved to today's places (NaN where a series is new).

        A detector that the state does not know goes on with what it has, which is nothing in a new bank; and so does
        one whose arrays had another form.

        Returns
        -------
        tuple of str
            Who takes nothing although the state knows it, and why.
        """
        saved: dict[str, dict[str, NDArray[np.generic]]] = {}
        for key, array in state.items():
            part, _, name = key.partition(".")
            saved.setdefault(part, {})[name] = array
        problems = []
        lengths = Counter(array.shape[-1] for key, array in state.items() if array.ndim and ".fixed_" not in key)
        capacity = max(lengths, key=lambda length: lengths[length], default=0)
        others = self._other_judges(saved)
        for part, owner in {**self._own(), **{one.name: one for one in self._detectors}}.items():
            if part not in saved:
                continue
            fresh = owner.state()
            problem = others.get(part) or misfit(fresh, saved[part], capacity)
            try:
                owner.restore(fresh if problem else saved[part])
            except (ValueError, TypeError, LookupError) as error:
                problem = str(error)
                owner.restore(fresh)
            if problem:
                problems.append(f"{part}: {problem}")
        return tuple(problems)

    def _other_judges(self, saved: Iterable[str]) -> dict[str, str]:
        """Calibrations whose rows were of other judges than ours, by place, and whose."""
        silent = {one.name for one in self._detectors if not one.state()}
        beside = ADVISORS | self._own().keys() | silent
        found = {}
        for part, judges in zip(self._shares.parts(), (self._shares.quick, self._shares.slow), strict=True):
            of_part = [one for one in saved if one not in beside and (one in SLOW) == (judges is self._shares.slow)]
            ours = [one for one in judges if one not in silent]
            if of_part != ours:
                found[part] = f"judges were {', '.join(of_part)}; they are {', '.join(ours)}"
        return found

    def _own(self) -> dict[str, Acceptance | Settling | Tails | Recurrence]:
        """What the bank learns beside its detectors."""
        beside = self._shares.parts()
        return {"bank": self._acceptance, "settling": self._settling, "recurrence": self._recurrence, **beside}

    def _statistics(
        self, window: Window, columns: PolicyColumns, scores: BankScores
    ) -> Iterator[tuple[AlertKey, Verdict]]:
        ensemble = scores.ensemble
        for column in np.flatnonzero(ensemble.score >= 1):
            key, index = window.keys[column], columns.watch[column]
            if key is None or index < 0:
                continue
            watch = self._watch[index]
            value, score, expected, lower, upper = (
                float(array[column])
                for array in (window.values[-1], ensemble.score, ensemble.expected, ensemble.lower, ensemble.upper)
            )
            yield (
                AlertKey(watch.rule, key),
                Verdict(
                    rule=watch.rule,
                    severity=watch.severity,
                    score=score,
                    value=value,
                    summary=watch.summary,
                    reason=reason(key, value, (expected, lower, upper), score) + self._explained(int(column), scores),
                    expected=expected,
                    lower=lower,
                    upper=upper,
                    votes={
                        name: float(vote[column]) for name, vote in scores.votes.items() if np.isfinite(vote[column])
                    },
                    runbook=watch.runbook,
                    wider=self._leniency.divisor(int(column)),
                ),
            )

    def _explained(self, column: int, scores: BankScores) -> str:
        wider = self._leniency.divisor(column)
        feedback = f"; the threshold is {wider:.3g} times as wide by feedback" if wider > 1.0 else ""
        alarmed = (one for one in self._detectors if scores.votes[one.name][column] >= 1)
        texts = (one.explain(column) for one in alarmed if isinstance(one, Explains))
        return feedback + "".join(f"; {text}" for text in texts if text)

    def _of_critical(self, columns: PolicyColumns, alerts: Collection[AlertKey]) -> NDArray[np.bool_]:
        """Columns of entities with a critical alert, bool [capacity]."""
        found = np.zeros(len(columns.watch), np.bool_)
        for key in alerts:
            if (text := self._rules.get(key.rule)) is not None and text.severity is Severity.CRITICAL:
                found[columns.of_entity.get(key.series.entity, [])] = True
        return found

    def _frozen(self, columns: PolicyColumns, guidance: Guidance) -> NDArray[np.bool_]:
        """Columns of which people say that nothing may be learnt now, bool [capacity]."""
        frozen = np.zeros(len(columns.watch), np.bool_)
        for entity in guidance.frozen:
            frozen[columns_of(entity, columns.of_entity)] = True
        return frozen

    def _learn(
        self,
        window: Window,
        ensemble: Scores,
        quick: NDArray[np.float32],
        frozen: NDArray[np.bool_],
        left_out: Collection[str],
    ) -> None:
        """``quick`` are the scores without those of what takes days: a leak is followed, and told."""
        outside = (ensemble.score >= 1) & (quick >= 1) & ~frozen
        quiet = ~(frozen | outside)
        for detector in self._detectors:
            if detector.name not in left_out:
                detector.learn(window, quiet)
        # Of the window only what was seen since the change.
        since = replace(window, values=window.values[-self._settings.minimum_samples :])
        self._relearn(since, self._settling.learn(window))
        opened, shifted = self._acceptance.step(window, ensemble, outside, np.isfinite(ensemble.score) & quiet)
        self._unlearn(window, opened)
        self._relearn(window, shifted)

    def _newly(self, critical: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Columns whose entity has a critical alert since this tick."""
        before, self._critical = self._critical, critical
        return critical & ~before if len(before) == len(critical) else np.zeros_like(critical)

    def _unlearn(self, window: Window, columns: NDArray[np.bool_]) -> None:
        """Take back what these columns (bool [capacity]) were taught lately: an incident opens, and it began before."""
        if columns.any():
            for detector in self._detectors:
                if isinstance(detector, Unlearns):
                    detector.unlearn(window, columns)

    def _relearn(self, window: Window, columns: NDArray[np.bool_]) -> None:
        """Accept what these columns (bool [capacity]) show lately as their normal."""
        if columns.any():
            for detector in self._detectors:
                detector.relearn(window, columns)
            self._acceptance.begin_anew(columns)

    def _known(self, key: AlertKey, columns: PolicyColumns) -> bool:
        column = columns.of_series.get(key.series)
        if self._of_watch(key, columns) and column is not None and self._scores is not None:
            return bool(np.isfinite(self._scores.ensemble.score[column]))
        return self._conditions.known(key) or self._liveness.known(key)

    def _seen(self, key: AlertKey, window: Window, columns: PolicyColumns) -> bool:
        """Whether there is a value now, of a series that statistics judge."""
        column = columns.of_series.get(key.series)
        return column is not None and self._of_watch(key, columns) and bool(np.isfinite(window.values[-1, column]))

    def _of_watch(self, key: AlertKey, columns: PolicyColumns) -> bool:
        """Whether statistics judge this series under this rule."""
        column = columns.of_series.get(key.series)
        index = -1 if column is None else columns.watch[column]
        return bool(index >= 0) and self._watch[index].rule == key.rule

    def _between(self, key: AlertKey, columns: PolicyColumns) -> bool:
        """Not out of bounds, and not well within them."""
        column = columns.of_series.get(key.series)
        if self._of_watch(key, columns) and column is not None and self._scores is not None:
            return bool(self._scores.ensemble.score[column] >= LEAVE)
        return self._conditions.between(key)


def combine(each: Sequence[Scores], capacity: int) -> Scores:
    """The most alarmed detector speaks, with its band; NaN where none can."""
    if not each:
        nothing = np.full(capacity, np.nan, np.float32)
        return Scores(nothing, nothing, nothing, nothing)
    best = each[0]
    for other in each[1:]:
        louder = (other.score > best.score) | np.isnan(best.score)
        best = Scores(
            np.where(louder, other.score, best.score),
            np.where(louder, other.expected, best.expected),
            np.where(louder, other.lower, best.lower),
            np.where(louder, other.upper, best.upper),
        )
    return best
