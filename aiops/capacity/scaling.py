"""How many replicas, with what probability, and how sure: the recommendation, or the reason why there is none.

The number is the least N with which the promise is kept over the time that matters: from when a new replica could serve
until one asked for after it could. For a cut it is from now on, with half of the allowed misses, and the futures are
drawn from everything that followed such a moment in the kept past (some hours at most): that is the replay with one
replica less. Then come limits that do not argue: steps, floor, ceiling, budget, power.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import ceil, isnan
from typing import NamedTuple

import numpy as np

from aiops.capacity.arima import Arima
from aiops.capacity.constraint import Binding, Limit, binding_constraint
from aiops.capacity.forecast import Forecast, forecast
from aiops.capacity.observed import NAN, History
from aiops.capacity.queueing import mmc
from aiops.capacity.rivals import TRANSIENT, TWIN, Ahead, Judgement
from aiops.capacity.settings import CapacitySettings, PoolLimits
from aiops.capacity.sizing import (
    JUDGED_SECONDS,
    Engine,
    Outlook,
    Present,
    in_flight,
    judge,
    learn_engine,
    load_of,
    outlook,
)

_ROLES = ("arrivals", "running", "queue_len", "ready")
_DAY_SECONDS = 86_400.0
_NEARLY_BEST = 0.01


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One number of replicas: the chance that a request waits no longer than promised, with its band over futures."""

    replicas: int
    probability: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Recommendation:
    """Advice for one pool at one time.

    Attributes
    ----------
    at
        UTC seconds.
    replicas, ready
        Replicas that exist and those that serve.
    desired
        Replicas to have; None = no advice, and ``reason`` says why.
    reason
        One sentence: why this number, or why none.
    held
        What kept ``desired`` from the number that the model alone would give, one sentence each.
    probability, probability_now
        Share of requests expected to keep the promise with ``desired`` and with the present replicas.
    curve
        Cost curve, ascending.
    ahead
        (seconds from now, replicas needed then).
    floor
        Replicas by M/M/c: what a calm, memoryless load of the same size would need. NaN = not known.
    burst_premium
        ``desired`` − ``floor``.
    model, errors
        The model that decided, and by which factor each missed the waits of the last hour.
    error_ratio
        The factor of the one that decided; NaN = not observable.
    """

    at: float
    replicas: int
    ready: int
    desired: int | None
    reason: str
    held: tuple[str, ...] = ()
    binding: Binding = field(default_factory=lambda: Binding(Limit.NONE))
    probability: float = NAN
    probability_now: float = NAN
    curve: tuple[CurvePoint, ...] = ()
    ahead: tuple[tuple[float, int], ...] = ()
    floor: float = NAN
    error_ratio: float = NAN
    model: str = ""
    errors: Mapping[str, float] = field(default_factory=dict)
    method: str = ""
    load_now: float = NAN
    load_high: float = NAN
    lead_seconds: float = NAN
    assumed: str = ""

    @property
    def burst_premium(self) -> float:
        """Replicas that real traffic needs beyond the optimistic floor."""
        return NAN if self.desired is None else self.desired - self.floor


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known of a pool beside its history.

    Attributes
    ----------
    now
        UTC seconds.
    replicas
        That exist, whether they serve or not.
    coming
        (seconds until it serves, how many) of replicas that exist and do not serve yet.
    lead_seconds
        From asking for a replica until it serves.
    doubts
        Numbers that are not believed (:func:`aiops.capacity.observed.believable`).
    unresolved
        Roles that no metric fills; nothing is recommended without them.
    arima
        Models of the load that the fit worker made.
    throttled, gateway_queue, stuck
        As in :func:`aiops.capacity.constraint.binding_constraint`.
    """

    now: float
    replicas: int
    lead_seconds: float
    coming: tuple[tuple[float, int], ...] = ()
    doubts: tuple[str, ...] = ()
    unresolved: tuple[str, ...] = ()
    throttled: float = NAN
    gateway_queue: float = NAN
    stuck: tuple[str, ...] = ()
    arima: tuple[Arima, ...] = ()


@dataclass(slots=True)
class Memory:
    """What one decision leaves to the next.

    Attributes
    ----------
    wishes
        (UTC seconds, number that the model gave), for the stabilisation.
    judgement
        How the models that take long to judge did.
    uneven
        (UTC seconds, limit) of when requests last waited although others had room.
    """

    wishes: deque[tuple[float, int]] = field(default_factory=deque)
    judgement: Judgement = field(default_factory=Judgement)
    uneven: tuple[float, Binding] = (float("-inf"), Binding(Limit.NONE))

    def behind(self, now: float, binding: Binding) -> Binding:
        """The limit behind the waits that the models learn from: that of now, or, while nothing limits, of the hour
        that they still look at. What a gateway holds back does not wait in engines, and teaches nothing."""
        if not binding.relieved_by_replicas and binding.limit is not Limit.GATEWAY:
            self.uneven = (now, binding)
        at, last = self.uneven
        return last if binding.limit is Limit.NONE and now - at < JUDGED_SECONDS else binding

    def highest(self, now: float, wish: int, window_seconds: float) -> int:
        """Remember a wish and return the highest of the window."""
        while self.wishes and self.wishes[0][0] <= now - window_seconds:
            self.wishes.popleft()
        self.wishes.append((now, wish))
        return max(count for _, count in self.wishes)


def recommend(
    history: History, situation: Situation, memory: Memory, settings: CapacitySettings, limits: PoolLimits
) -> Recommendation:
    """Advise on one pool. Deterministic: equal arguments give equal advice."""
    ready = history.standing("ready")
    base = Recommendation(situation.now, situation.replicas, 0 if isnan(ready) else int(ready), None, "")
    silent = _silence(history, situation, settings)
    if silent:
        return replace(base, reason=silent, binding=binding_constraint(history, None))
    load, units = load_of(history)
    engine = learn_engine(history, units)
    binding = binding_constraint(
        history, None if isinstance(engine, str) else engine,
        throttled=situation.throttled, gateway_queue=situation.gateway_queue, stuck=situation.stuck,
    )  # fmt: skip
    limit = memory.behind(situation.now, binding)
    if isinstance(engine, str):
        return replace(base, reason=engine, binding=binding)
    plain, (engine, error) = engine, judge(engine, history, load, slo_seconds=limits.wait_slo)
    memory.judgement.renew(plain, history, load, slo_seconds=limits.wait_slo, transient=error)
    errors = {TRANSIENT: error, **memory.judgement.factors}
    step = history.step_seconds
    first = ceil(situation.lead_seconds / step)
    horizon, day = first + max(first, ceil(60.0 / step)), round(_DAY_SECONDS / step)
    ahead = forecast(load, horizon, first=first, period=day, arima=situation.arima)
    coming = NAN if ahead is None else float(ahead.path.sum()) * step + in_flight(history)
    model = memory.judgement.chosen(coming)
    engine = plain if model == TWIN else engine
    base = replace(base, binding=binding, model=model, errors=errors, error_ratio=errors[model])
    if ahead is None:
        return replace(base, reason="too little of the load is known to forecast it")
    if base.error_ratio > settings.abstain_error:
        text = f"the best model, {model}, misses the waits of the last hour by a factor of {base.error_ratio:.1f}"
        return replace(base, reason=f"{text}; {settings.abstain_error:g} is the limit")
    waiting = float(np.nan_to_num(history.recent("queue_len", step)))
    look = _Look(history, situation, engine, plain, waiting, ahead, settings, limits)
    return look.advice(base, memory, limit)


def _silence(history: History, situation: Situation, settings: CapacitySettings) -> str:
    """Why nothing can be said, before anything is computed; empty when something can."""
    if situation.unresolved:
        return f"no metric gives {', '.join(situation.unresolved)}"
    if len(history) * history.step_seconds < settings.warm_up:
        return f"{len(history) * history.step_seconds:.0f} s of load seen; {settings.warm_up:.0f} s are needed"
    age = situation.now - history.end
    if age > settings.stale_after:
        return f"the newest numbers are {age:.0f} s old"
    unknown = [name for name in _ROLES if isnan(history.recent(name, 3.0 * history.step_seconds))]
    if unknown:
        return f"not known now: {', '.join(unknown)}"
    if not history.standing("ready") >= 1.0:
        return "no replica serves"
    return ""


class _Advised(NamedTuple):
    """A number before the limits of the settings: why, what each minute needs, and what kept it down."""

    wish: int
    why: str
    stages: tuple[tuple[float, int], ...]
    held: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Look:
    """Everything that one decision looks at.

    Attributes
    ----------
    even
        The engine before it learnt from waits.
    waiting
        Requests in queues that replicas are to work off.
    """

    history: History
    situation: Situation
    engine: Engine
    even: Engine
    waiting: float
    ahead: Forecast
    settings: CapacitySettings
    limits: PoolLimits

    def advice(self, base: Recommendation, memory: Memory, limit: Binding) -> Recommendation:
        """Look ahead, choose, and keep within the limits."""
        seen = self._outlook(base.model)
        chance = _chance(seen)
        found = _Advised(*self._wish(chance), self._stages(seen))
        if not limit.relieved_by_replicas:
            found = self._unrelieved(found, limit, lasts=limit is base.binding)
        desired, held = self._limited(found.wish, memory)
        low, high = seen.band()
        points = zip(seen.replicas, seen.probability.tolist(), low.tolist(), high.tolist(), strict=True)
        return replace(
            base, desired=desired, reason=found.why, held=(*found.held, *held),
            probability=chance.get(desired, NAN), probability_now=chance.get(self.situation.replicas, NAN),
            curve=tuple(CurvePoint(*point) for point in points), ahead=found.stages, floor=self._floor(),
            method=self.ahead.method, load_now=float(self.ahead.path[0]), load_high=float(self.ahead.band(0.9).max()),
            lead_seconds=self.situation.lead_seconds, assumed=self.engine.assumed,
        )  # fmt: skip

    def need(self) -> tuple[int, tuple[tuple[float, int], ...]]:
        """Replicas that this look finds needed, in all and for each minute."""
        seen = self._outlook(TRANSIENT)
        return self._wish(_chance(seen))[0], self._stages(seen)

    @property
    def _ready(self) -> int:
        return int(self.history.standing("ready"))

    def _outlook(self, model: str) -> Outlook:
        """Every number from 1 to the ceiling; first only those near, because the far ones are rarely needed."""
        near = min(self.limits.ceiling, max(2 * self.situation.replicas + 4, self.limits.min_replicas))
        seen = self._followed(near, model)
        if near < self.limits.ceiling and seen.probability[-1] < self.limits.slo_target:
            seen = self._followed(self.limits.ceiling, model)
        return seen

    def _followed(self, most: int, model: str) -> Outlook:
        candidates = range(1, most + 1)
        lead, step, slo = self.situation.lead_seconds, self.history.step_seconds, self.limits.wait_slo
        rng = np.random.default_rng(0)
        running = float(np.nan_to_num(self._newest("running")))
        present = Present(running + self.waiting, self._ready, self.situation.coming)
        futures = self.ahead.futures(self.settings.draws, rng)
        started = self._ready + sum(count for _, count in self.situation.coming)
        counted = [0.0 if count < started else lead for count in candidates]
        rough = outlook(
            self.engine, futures, present, candidates, step_seconds=step, lead_seconds=lead, slo_seconds=slo, rng=rng,
            from_seconds=counted,
        )  # fmt: skip
        if model != TWIN:
            return rough
        people = Ahead(self.engine, futures, present, step, lead, slo, self._sure)
        return people.outlook(rough, counted)

    @property
    def _sure(self) -> float:
        """Share that is enough for a cut: half of the misses that the target allows."""
        return 1.0 - (1.0 - self.limits.slo_target) / 2.0

    def _newest(self, name: str) -> float:
        return self.history.recent(name, self.history.step_seconds)

    def _wish(self, chance: Mapping[int, float]) -> tuple[int, str]:
        """Least number that keeps the promise, or the least of those that keep it nearly as well as any."""
        target, now = self.limits.slo_target, self.situation.replicas
        for count, share in chance.items():
            if share >= (self._sure if count < now else target):
                return count, f"{share:.1%} of requests wait at most {self.limits.wait_slo:g} s with {count}"
        best = max(chance.values())
        count = min(count for count, share in chance.items() if share >= best - _NEARLY_BEST)
        # All are near 0 behind a long queue, and then the least is no answer: work the queue off within the horizon.
        horizon = len(self.ahead.path) * self.history.step_seconds
        work = float(self.ahead.band(0.9).mean()) + self.waiting / horizon
        count = min(max(count, now, ceil(work / self.engine.capacity)), self.limits.ceiling)
        share = chance.get(count, best)
        return count, f"no number of replicas keeps the promise in time; with {count} {share:.1%} of requests do"

    def _unrelieved(self, found: _Advised, limit: Binding, *, lasts: bool) -> _Advised:
        """Against a limit that replicas do not relieve: no growth beyond what the load needs on evenly filled replicas.

        What waits behind such a limit waits there whatever is added.
        """
        need, stages = replace(self, engine=self.even, waiting=0.0).need()
        enough = max(need, self.situation.replicas)
        if found.wish <= enough:
            return found._replace(stages=stages)
        name = str(limit.limit).replace("_", " ")
        if not lasts:
            why = f"{enough} are enough for the load; the waits of the last hour had another reason ({name})"
            return _Advised(enough, why, stages)
        why = f"{enough} are enough for the load; more do not relieve what limits the pool ({name})"
        return _Advised(enough, f"{why}: {limit.advice}", stages, (f"{found.wish} would be needed if that stays",))

    def _limited(self, wish: int, memory: Memory) -> tuple[int, list[str]]:
        """Apply doubts, confirmation, stabilisation, tolerance, steps and bounds, in this order."""
        now, settings, limits = self.situation.replicas, self.settings, self.limits
        held: list[str] = []
        if wish > now and self.situation.doubts:
            return now, [f"held, because not all numbers are believed: {self.situation.doubts[0]}"]
        if wish > now and not self._confirmed():
            return now, ["held, because only the arrival rate speaks for more replicas"]
        calm = memory.highest(self.situation.now, wish, settings.stabilisation)
        if wish < now and calm > wish:
            held.append(f"{wish} would do, but {min(calm, now)} was needed in the last {settings.stabilisation:.0f} s")
            wish = min(calm, now)
        if now < wish <= now * (1.0 + settings.up_tolerance) or now > wish >= now * (1.0 - settings.down_tolerance):
            held.append(f"{wish} is within the tolerance of {now}")
            wish = now
        most, least = now + max(4, int(now * settings.max_step_up)), now - max(1, int(now * settings.max_step_down))
        if not least <= wish <= most:
            held.append(f"{wish} is more than one step away")
            wish = min(max(wish, least), most)
        if wish < limits.min_replicas:
            held.append(f"min_replicas is {limits.min_replicas}")
        elif wish > limits.ceiling:
            held.append(f"limits, budget and power allow {limits.ceiling}")
        return min(max(wish, limits.min_replicas), limits.ceiling), held

    def _confirmed(self) -> bool:
        """Whether anything beside the arrivals says that there is load: batches, waits, or tokens that came."""
        each = self._newest("running") / max(1, self._ready)
        if each >= 0.5 * self.engine.slots or self._newest("queue_wait") > self.limits.wait_slo / 2.0:
            return True
        arrivals, length = self.history.recent("arrivals", 120.0), self.history.recent("prompt_len", 600.0)
        if 3.0 * self.history.recent("tokens_in", 120.0) >= arrivals * length:
            return True
        return 3.0 * self.history.recent("finished", 120.0) >= arrivals

    def _stages(self, seen: Outlook) -> tuple[tuple[float, int], ...]:
        """Least number for each minute of the horizon; what no number can keep gets the last one."""
        answer = []
        for stage in range(seen.stages.shape[1]):
            share = seen.stages[:, stage]
            enough = [
                n for n, part in zip(seen.replicas, share.tolist(), strict=True) if part >= self.limits.slo_target
            ]
            if not np.isnan(share).all():
                answer.append((60.0 * stage, min(enough, default=seen.replicas[-1])))
        return tuple(answer)

    def _floor(self) -> float:
        """Least number by M/M/c over all slots, for the mean of the load ahead."""
        rate = float(self.ahead.path.mean())
        slots = max(1, round(self.engine.slots))
        if rate <= 0.0:
            return float(self.limits.min_replicas)
        for count in range(max(1, ceil(rate / self.engine.capacity)), self.limits.ceiling + 1):
            waiting = mmc(count * slots, rate, slots / self.engine.capacity)
            if waiting.tail(self.limits.wait_slo) <= 1.0 - self.limits.slo_target:
                return float(count)
        return float(self.limits.ceiling)


def _chance(seen: Outlook) -> dict[int, float]:
    """Replicas → share of requests that keep the promise."""
    return dict(zip(seen.replicas, seen.probability.tolist(), strict=True))
