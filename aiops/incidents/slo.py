"""Error budgets: how fast they burn, by the multi-window method, and what is left of them.

A long window says that it matters, a short one that it is still so. Counts are kept in three wheels (minutes for an
hour, ten minutes for three days, six hours for the period), so a budget costs some 10 KiB whatever happens. Time
comes in as seconds that passed: a clock that jumps moves nothing. No traffic is unknown, never good and never bad.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aiops.detect.base import AlertKey, Look, Part, RuleText, Severity, Timing, Verdict, Verdicts
from aiops.incidents.slo_events import Intake, Key, covers
from aiops.incidents.slo_settings import Indicator, Objective, SloSettings
from aiops.incidents.wheel import Floats, Wheel
from aiops.kit.settings import format_duration
from aiops.signals.types import Entity, EntityKind, Reading, SeriesKey

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86_400.0
LEAVE = 0.9
"""A burn that was told is over below this share of its factor: on the edge it must not come and go."""
VERSION = 1


class Burn(NamedTuple):
    """One pair of windows: burns when both lose the budget faster than ``factor``, for ``hold_seconds``."""

    long_seconds: float
    short_seconds: float
    factor: float
    hold_seconds: float
    fast: bool


BURNS = (
    Burn(_HOUR, 5 * _MINUTE, 14.4, 2 * _MINUTE, fast=True),
    Burn(6 * _HOUR, 30 * _MINUTE, 6.0, 15 * _MINUTE, fast=True),
    Burn(_DAY, 2 * _HOUR, 3.0, _HOUR, fast=False),
    Burn(3 * _DAY, 6 * _HOUR, 1.0, 3 * _HOUR, fast=False),
)
"""The pairs and waits of the rule pack."""
WINDOWS = tuple(sorted({window for burn in BURNS for window in (burn.long_seconds, burn.short_seconds)}))


class _Words(NamedTuple):
    alert: str
    summary: str
    bad: str
    runbook: str


_WORDS = {
    Indicator.TTFT: _Words("LLMTimeToFirstToken", "Too many requests wait too long for their first token",
                           "first tokens came too late", "llm-ttft-budget-burn"),
    Indicator.ITL: _Words("LLMInterTokenLatency", "Too many tokens come too slowly", "tokens came too slowly",
                          "llm-itl-budget-burn"),
    Indicator.E2E: _Words("LLMRequestLatency", "Too many requests take too long", "requests took too long",
                          "llm-e2e-budget-burn"),
    Indicator.ERRORS: _Words("LLMError", "Too many requests fail", "requests failed", "llm-error-budget-burn"),
    Indicator.REJECTIONS: _Words("LLMRejection", "Too many requests are refused at admission",
                                 "requests were refused", "llm-rejection-budget-burn"),
}  # fmt: skip
_TIMING = Timing(1, 1, 3, 3)
"""The windows are the damping; three points so that one odd tick ends nothing."""


@dataclass(frozen=True, slots=True)
class Budget:
    """One objective in one pool, now.

    Attributes
    ----------
    total, bad
        Events of the period.
    left_ratio
        Share of the period's budget that is left, negative when overspent; NaN without an event.
    burn
        Window in seconds → how many times as fast as it may the budget was spent; NaN without an event.
    burning
        Pairs of windows that say so, also those that do not hold long enough yet.
    told
        Pairs that held long enough: they are alerts.
    effective_seconds
        Bucket bound that decides for a latency; NaN where there is none.
    """

    objective: Objective
    pool: Entity
    total: float
    bad: float
    left_ratio: float
    burn: Mapping[float, float]
    burning: tuple[Burn, ...]
    told: tuple[Burn, ...]
    effective_seconds: float


class Ledger:
    """Keeps the budgets of all objectives and pools; owned by the pipeline."""

    def __init__(self, settings: SloSettings) -> None:
        self._settings = settings
        self._objectives = {one.title: one for one in settings.objectives}
        self._intake = Intake(settings.objectives)
        self._rows: dict[Key, int] = {}
        self._minutes = Wheel(_MINUTE, 60)
        self._tens = Wheel(10 * _MINUTE, 432)
        self._quarters = Wheel(6 * _HOUR, round(settings.period / (6 * _HOUR)))
        self._held: Floats = np.zeros((len(BURNS), 0))
        self._told: NDArray[np.bool_] = np.zeros((len(BURNS), 0), np.bool_)
        self._known: NDArray[np.bool_] = np.zeros((len(BURNS), 0), np.bool_)
        self._kept_at = float("nan")
        self.left_out = 0
        """Most budgets that were ever left out of one tick."""
        self._texts = {one.title: _texts(one) for one in settings.objectives}
        self.rules = {text.name: text for texts in self._texts.values() for text in texts}

    def step(
        self,
        now: float,
        readings: Sequence[Reading],
        *,
        elapsed_seconds: float,
        verdicts: Verdicts,
        watched: Collection[AlertKey],
    ) -> Verdicts:
        """Take in one tick, and add what burns to the judgements of the bank.

        Parameters
        ----------
        now
            UTC seconds; used once, to bridge the time that the process was not there.
        readings
            Those that arrived since the last tick.
        elapsed_seconds
            Monotonic time since then.
        watched
            Alerts that are not inactive.
        """
        if not isnan(self._kept_at):
            elapsed_seconds = max(elapsed_seconds, min(now - self._kept_at, self._settings.period))
            self._kept_at = float("nan")
        self._turn(now, elapsed_seconds)
        self._count(readings)
        self._judge(elapsed_seconds)
        own = {key for key in watched if key.rule in self.rules}
        breaches = dict(self._breaches())
        unknown = {key for key in own if key not in breaches and not self._fine(key)}
        return Verdicts({**verdicts.breaches, **breaches}, (verdicts.unknown - own) | unknown, verdicts.held - own)

    def budgets(self) -> Iterator[Budget]:
        """Every budget as it stands, in order of the objectives."""
        order = {title: place for place, title in enumerate(self._objectives)}
        yield from self._budgets(sorted(self._rows, key=lambda key: (order[key[0]], str(key[1]))))

    def _budgets(self, keys: Sequence[Key]) -> Iterator[Budget]:
        if not keys:
            return
        burns = self._burns()
        total, bad = self._quarters.sums(self._settings.period)
        for title, pool in keys:
            objective, row = self._objectives[title], self._rows[title, pool]
            left = 1.0 - bad[row] / (total[row] * (1.0 - objective.objective)) if total[row] > 0.0 else float("nan")
            yield Budget(
                objective, pool, float(total[row]), float(bad[row]), float(left),
                {window: float(values[row]) for window, values in burns.items()},
                tuple(burn for place, burn in enumerate(BURNS) if self._held[place, row] > 0.0),
                tuple(burn for place, burn in enumerate(BURNS) if self._told[place, row]),
                self._intake.effective_seconds.get((title, pool), float("nan")),
            )  # fmt: skip

    def course(self, budget: Budget) -> Floats:
        """float64 [bins of six hours]: how many times as fast as it may the budget was spent in each, the newest last;
        NaN without an event. The newest is still being filled."""
        total, bad = self._quarters.state()["counts"][:, self._rows[budget.objective.title, budget.pool]]
        with np.errstate(invalid="ignore", divide="ignore"):
            rates: Floats = bad / total / (1.0 - budget.objective.objective)
        return rates

    def looks(self, rule: str) -> Iterator[Look]:
        """What a rule about budgets saw in the last step."""
        burns = self._burns() if self._rows else {}
        for (title, pool), row in self._rows.items():
            names = [text.name for text in self._texts[title]]
            if rule not in names:
                continue
            places = [place for place, burn in enumerate(BURNS) if burn.fast is (rule == names[0])]
            known = all(self._known[place, row] for place in places)
            broken = any(self._told[place, row] and self._known[place, row] for place in places)
            parts = [Part(f"burn rate above {BURNS[place].factor:g} over {_window(BURNS[place].long_seconds)} and "
                          f"{_window(BURNS[place].short_seconds)} for {_window(BURNS[place].hold_seconds)}",
                          bool(self._told[place, row]) if self._known[place, row] else None)
                     for place in places]  # fmt: skip
            values = {f"burn_rate_{_window(window)}": float(rates[row]) for window, rates in burns.items()}
            values |= {
                f"held_seconds_{_window(BURNS[place].long_seconds)}": float(self._held[place, row]) for place in places
            }
            least = self._objectives[title].least_events
            note = "" if known else f"fewer than {least} requests in a long window, or none in a short one"
            key = AlertKey(rule, series_of(self._objectives[title], pool))
            yield Look(key, broken or (False if known else None), tuple(parts), values, note)

    def timing(self, rule: str) -> Timing | None:
        """K of N of a rule of ours; None for others."""
        text = self.rules.get(rule)
        return None if text is None else text.timing

    def _turn(self, now: float, seconds: float) -> None:
        self._minutes.turn(seconds)
        self._tens.turn(seconds)
        if self._quarters.turn(seconds) and self._rows:
            alive = np.flatnonzero(self._quarters.counts[0].any(axis=1))
            self._keep(alive)
            self._intake.forget(now - _HOUR)

    def _keep(self, rows: NDArray[np.intp]) -> None:
        place = {int(row): new for new, row in enumerate(rows)}
        self._rows = {key: place[row] for key, row in self._rows.items() if row in place}
        for wheel in self._wheels:
            wheel.keep(rows)
        self._held, self._told, self._known = self._held[:, rows], self._told[:, rows], self._known[:, rows]

    @property
    def _wheels(self) -> tuple[Wheel, ...]:
        return self._minutes, self._tens, self._quarters

    def _count(self, readings: Sequence[Reading]) -> None:
        found: dict[int, list[float]] = {}
        left_out = set()
        for key, gain in self._intake.gains(readings):
            if key not in self._rows and len(self._rows) >= self._settings.most_budgets:
                left_out.add(key)
                continue
            sums = found.setdefault(self._rows.setdefault(key, len(self._rows)), [0.0, 0.0])
            sums[0] += gain.total
            sums[1] += gain.bad
        self.left_out = max(self.left_out, len(left_out))
        self._grow()
        if found:
            gains = np.zeros((2, len(self._rows)))
            gains[:, list(found)] = np.array(list(found.values())).T
            for wheel in self._wheels:
                wheel.add(gains)

    def _grow(self) -> None:
        more = len(self._rows) - self._held.shape[1]
        if more > 0:
            for wheel in self._wheels:
                wheel.grow(len(self._rows))
            self._held = np.pad(self._held, ((0, 0), (0, more)))
            self._told = np.pad(self._told, ((0, 0), (0, more)))
            self._known = np.pad(self._known, ((0, 0), (0, more)))

    def _sums(self, seconds: float) -> Floats:
        return (self._minutes if seconds <= _HOUR else self._tens).sums(seconds)

    def _burns(self) -> dict[float, Floats]:
        """Window → burn rate, float64 [rows]; NaN where nothing happened."""
        allowed = np.array([1.0 - self._objectives[title].objective for title, _ in self._rows])
        found = {}
        with np.errstate(invalid="ignore", divide="ignore"):
            for window in WINDOWS:
                total, bad = self._sums(window)
                found[window] = np.where(total > 0.0, bad / total / allowed, np.nan)
        return found

    def _judge(self, elapsed_seconds: float) -> None:
        if not self._rows:
            return
        burns = self._burns()  # float64 [rows] per window
        least = np.array([self._objectives[title].least_events for title, _ in self._rows], np.float64)
        for place, burn in enumerate(BURNS):
            long, short = burns[burn.long_seconds], burns[burn.short_seconds]
            known = ~(np.isnan(long) | np.isnan(short)) & (self._sums(burn.long_seconds)[0] >= least)
            limit = np.where(self._told[place], LEAVE * burn.factor, burn.factor)
            over = known & (long > limit) & (short > limit)
            held = np.where(over, self._held[place] + elapsed_seconds, 0.0)
            self._held[place] = np.where(known, held, self._held[place])
            self._told[place] = np.where(known, over & (held >= burn.hold_seconds), self._told[place])
            self._known[place] = known

    def _breaches(self) -> Iterator[tuple[AlertKey, Verdict]]:
        burning = self._told & self._known
        told = np.atleast_1d(burning.any(axis=0))
        for budget in self._budgets([key for key, row in self._rows.items() if told[row]] if told.any() else ()):
            title, row = budget.objective.title, self._rows[budget.objective.title, budget.pool]
            for text, fast in zip(self._texts[title], (True, False), strict=True):
                pairs = [burn for place, burn in enumerate(BURNS) if burn.fast is fast and burning[place, row]]
                if pairs:
                    key = AlertKey(text.name, series_of(budget.objective, budget.pool))
                    yield key, _verdict(text, max(pairs, key=lambda burn: burn.factor), budget)

    def _fine(self, key: AlertKey) -> bool:
        """Every pair of this alert could be judged."""
        for (title, pool), row in self._rows.items():
            if series_of(self._objectives[title], pool) == key.series:
                fast = key.rule == self._texts[title][0].name
                return all(self._known[place, row] for place, burn in enumerate(BURNS) if burn.fast is fast)
        return False

    def state(self, now: float) -> dict[str, NDArray[np.generic]]:
        """What outlives the process (``now``: UTC seconds). Names begin with ``fixed_``: nothing is per column."""
        rows = [[title, self._objectives[title].events, list(pool.labels)] for title, pool in self._rows]
        head = json.dumps({"version": VERSION, "rows": rows, "at": now}).encode()
        arrays: dict[str, NDArray[np.generic]] = {"fixed_head": np.frombuffer(head, np.uint8)}
        for name, wheel in zip(("minutes", "tens", "quarters"), self._wheels, strict=True):
            arrays |= {f"fixed_{name}_{part}": array for part, array in wheel.state().items()}
        return arrays | {"fixed_held": self._held.copy(), "fixed_told": self._told.copy()}

    def restore(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Continue from :meth:`state`, as far as the same events are still counted in the same pools.

        Raises
        ------
        ValueError
            When the arrays are not what they say, or of another version or period; nothing is taken then.
        """
        head = json.loads(arrays["fixed_head"].tobytes())
        if head["version"] != VERSION:
            raise ValueError(f"budgets are of version {head['version']}; expected {VERSION}")
        fresh = Ledger(self._settings)
        for name, wheel in zip(("minutes", "tens", "quarters"), fresh._wheels, strict=True):
            wheel.restore({part: arrays[f"fixed_{name}_{part}"] for part in ("counts", "age")})
        held, told = np.asarray(arrays["fixed_held"], np.float64), np.asarray(arrays["fixed_told"], np.bool_)
        shapes = {held.shape, told.shape, *((len(BURNS), wheel.counts.shape[1]) for wheel in fresh._wheels)}
        if shapes != {(len(BURNS), len(head["rows"]))}:
            raise ValueError(f"budgets of {len(head['rows'])} rows have arrays of other sizes")
        for row, (title, events, labels) in enumerate(head["rows"]):
            objective = self._objectives.get(title)
            pool = Entity(EntityKind.POOL, tuple((str(name), str(value)) for name, value in labels))
            if objective is not None and objective.events == events and covers(objective, pool):
                fresh._rows[title, pool] = row
        fresh._held, fresh._told, fresh._known = held.copy(), told.copy(), np.zeros_like(told)
        fresh._keep(np.array(sorted(fresh._rows.values()), np.intp))
        self._rows, self._held, self._told, self._known = fresh._rows, fresh._held, fresh._told, fresh._known
        self._minutes, self._tens, self._quarters = fresh._wheels
        self._kept_at = float(head["at"])


def series_of(objective: Objective, pool: Entity) -> SeriesKey:
    """Series that an alert about a budget names; two objectives of one kind differ in ``stat``."""
    return SeriesKey(pool, str(objective.of), objective.name)


def _texts(objective: Objective) -> tuple[RuleText, RuleText]:
    """The fast rule and the slow one of an objective."""
    severities = (Severity.CRITICAL, Severity.WARNING) if objective.pages else (Severity.WARNING, Severity.INFO)
    return _text(objective, "Burn", severities[0], fast=True), _text(objective, "Drain", severities[1], fast=False)


def _text(objective: Objective, ending: str, severity: Severity, *, fast: bool) -> RuleText:
    words = _WORDS[objective.of]
    limits = (
        f"{burn.factor:g} times as fast as it may over {_window(burn.long_seconds)} and {_window(burn.short_seconds)}"
        for burn in BURNS
        if burn.fast is fast
    )
    about = f"The error budget of {objective.title} is spent {', or '.join(limits)}."
    return RuleText(f"{words.alert}Budget{ending}", severity, _TIMING, words.summary, about, words.runbook)


def _verdict(text: RuleText, pair: Burn, budget: Budget) -> Verdict:
    long, short = budget.burn[pair.long_seconds], budget.burn[pair.short_seconds]
    objective = budget.objective
    bad = long * (1.0 - objective.objective)
    than = f" (more than {budget.effective_seconds:g} s)" if not isnan(budget.effective_seconds) else ""
    reason = (
        f"{bad:.2%} of the last {_window(pair.long_seconds)} was bad: {_WORDS[objective.of].bad}{than}; allowed is "
        f"{1.0 - objective.objective:.3g}. The budget burns {long:.1f} times as fast as it may over "
        f"{_window(pair.long_seconds)} and {short:.1f} times over {_window(pair.short_seconds)} (limit "
        f"{pair.factor:g}); {f'{budget.left_ratio:.0%}' if budget.left_ratio > 0.0 else 'nothing'} of it is left"
    )
    score = max(min(long, short) / pair.factor, 1.0)
    return Verdict(text.name, text.severity, score, long, text.summary, reason, runbook=text.runbook)


def _window(seconds: float) -> str:
    return format_duration(seconds)
