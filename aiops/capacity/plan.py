"""A plan from a trace: what each number of servers would make of it, which model to believe, how many to take.

The trace is seen as a daemon would see it: totals per scrape interval, and the number in flight at each scrape. Single
requests are used for one thing only, to know what a queue-time metric would have shown: each half of it is what the
models are judged by, with the shape they learnt from the other half. With an interval of 0 everything is seen.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from aiops.capacity.backtest import Choice, Observed, Stretch, Yardstick, choose, log_errors, observe
from aiops.capacity.clumping import calibrated
from aiops.capacity.models import Estimate, Model, WhatIf, learn_shape
from aiops.capacity.placement import learn_placement
from aiops.capacity.queueing import square_root_beta, square_root_servers
from aiops.capacity.replay import Pool, Requests, Servers, draw
from aiops.capacity.work import Floats, Intervals, in_flight, peakedness

_FEWEST_INTERVALS = 16  # 4 min of scrapes at 15 s; below it halves teach nothing
_FEWEST_REQUESTS = 50
_FINEST_SECONDS = 1.0  # intervals of the closed forms when everything is seen
_DRAWN_REQUESTS = 160_000
_TWIN_COST = 16  # times the cost of a plain queue for each request
_STRICTER = 5.0
_FEWEST_DRAWS, _MOST_DRAWS = 4, 16


@dataclass(frozen=True, slots=True)
class Goal:
    """At least ``target`` (0 < target < 1) of the requests wait no longer than ``slo_seconds`` > 0."""

    slo_seconds: float
    target: float


@dataclass(frozen=True, slots=True)
class Plan:
    """Answer of a plan.

    Attributes
    ----------
    estimates
        By model and number of servers.
    choice
        Which model the back-test trusts, and how far.
    recommended_servers
        None when nothing listed meets the goal, or nothing is believed.
    p_slo
        Share of requests within the SLO with that many; NaN without a recommendation.
    abstained
        No number is given because none can be trusted.
    """

    estimates: Mapping[Model, Mapping[int, Estimate]]
    choice: Choice
    recommended_servers: int | None
    p_slo: float
    abstained: bool
    reason: str


def plan(
    requests: Requests,
    servers: Sequence[int],
    goal: Goal,
    *,
    pool: Pool | None = None,
    step_seconds: float = 15.0,
    seed: int = 1,
    told: Callable[[int, int], None] = lambda *_: None,
) -> Plan:
    """Judge every number of servers.

    Parameters
    ----------
    requests
        The trace: at least one request; time starts at its first arrival; some work.
    servers
        Numbers to judge, each ≥ 1, ascending.
    pool
        What serves; default: servers with one request at a time.
    step_seconds
        Scrape interval; 0 = see every request.
    told
        Called with how many of all steps are done.
    """
    step = step_seconds or min(_FINEST_SECONDS, max(requests.arrival_seconds[-1] / _FEWEST_INTERVALS, 1e-3))
    intervals = Intervals.of(
        requests.arrival_seconds, requests.service_seconds, step, prefill_share=requests.prefill_share
    )
    past = _Past(requests, intervals, goal, pool or Servers(), seed, step_seconds == 0.0)
    whatif = past.learnt(Stretch(0, len(intervals.counts)))
    estimates: dict[Model, dict[int, Estimate]] = {model: {} for model in Model}
    for done, count in enumerate(servers):
        told(done, len(servers) + 2)
        for model, found in estimates.items():
            found[count] = whatif.ask(model, count)
    choice = _judge(past, estimates, lambda half: told(len(servers) + half, len(servers) + 2))
    doubt = _doubt(intervals, estimates, choice, step_seconds)
    if doubt:
        return Plan(estimates, choice, None, math.nan, True, doubt)
    return _recommend(whatif, estimates, choice, goal)


@dataclass(frozen=True, slots=True)
class _Past:
    """A trace, and how it is looked at."""

    requests: Requests
    intervals: Intervals
    goal: Goal
    pool: Pool
    seed: int
    exact: bool

    def learnt(self, known: Stretch) -> WhatIf:
        """Learn the shape from the known intervals, and draw the whole load with it."""
        begin = known.first * self.intervals.step_seconds
        at, held = self._scraped(known)
        part = self.intervals.part(known.first, known.last)
        placement = learn_placement(part)
        if not self.exact:  # else nothing is drawn
            placement = calibrated(part, placement, at - begin, held, seed=self.seed)
        shape = learn_shape(part, peakedness(held), placement)
        budget = _DRAWN_REQUESTS if self.pool.slots == 1 else _DRAWN_REQUESTS // _TWIN_COST
        draws = int(np.clip(budget // max(1, self.intervals.requests), _FEWEST_DRAWS, _MOST_DRAWS))
        seed = self.seed + known.first
        drawn = [self.requests] if self.exact else draw(self.intervals, shape.placement, draws=draws, seed=seed)
        return WhatIf(self.intervals, shape, drawn, self.goal.slo_seconds, self.pool)

    def _scraped(self, known: Stretch) -> tuple[Floats, Floats]:
        """Times and number in flight at each scrape of a stretch but the first few, which see an empty start."""
        step, n = self.intervals.step_seconds, known.last - known.first
        settled = min(math.ceil(2.0 * self.intervals.service_seconds / step), n // 4)
        at = np.arange(known.first + settled + 1, known.last + 1, dtype=np.float64) * step
        at = at[at <= self.intervals.span_seconds]
        return at, in_flight(self.requests.arrival_seconds, self.requests.service_seconds, at)


def _judge(past: _Past, estimates: Mapping[Model, Mapping[int, Estimate]], told: Callable[[int], None]) -> Choice:
    """Back-test each half with the shape of the other, at every number of servers on which a model would decide."""
    n = len(past.intervals.counts)
    errors: dict[Model, list[float]] = {model: [] for model in Model}
    if n < _FEWEST_INTERVALS or past.intervals.requests < _FEWEST_REQUESTS:
        return choose(errors, {})
    deciding = {model: _deciding(found, past.goal) for model, found in estimates.items()}
    counts = sorted({count for count in deciding.values() if count})
    yardstick = Yardstick(past.goal.slo_seconds, past.goal.target)
    halves = (Stretch(0, n // 2), Stretch(n // 2, n))
    seen: list[Observed] = []
    for half, (known, judged) in enumerate((halves, halves[::-1])):
        told(half)
        whatif = past.learnt(known)
        observed = [one for count in counts if (one := observe(whatif, past.requests, count, judged))]
        for model, found in log_errors(whatif, observed, yardstick).items():
            errors[model] += found
        seen += observed
    return choose(errors, {model: [one.servers == count for one in seen] for model, count in deciding.items()})


def _deciding(found: Mapping[int, Estimate], goal: Goal) -> int | None:
    """Number of servers, among the stable, at which a model sees the goal just met or just missed."""
    stable = [count for count, answer in found.items() if answer.rho < 1.0]
    allowed = 1.0 - goal.target

    def distance(count: int) -> float:
        return abs(math.log((found[count].p_wait_over_slo + 0.02 * allowed) / (1.02 * allowed)))

    return min(stable, key=distance, default=None)


def _doubt(
    intervals: Intervals, estimates: Mapping[Model, Mapping[int, Estimate]], choice: Choice, step_seconds: float
) -> str:
    """Why no number can be trusted; empty when one can, or when none is needed because all are overloaded."""
    if all(found.rho >= 1.0 for found in estimates[Model.REPLAY].values()):
        return ""
    seen, asked = len(intervals.counts), intervals.requests
    if not choice.judged:
        return (
            f"too little to judge the models by: {asked} requests in {seen} intervals of {intervals.step_seconds:g} s, "
            f"expected at least {_FEWEST_REQUESTS} in {_FEWEST_INTERVALS}"
        )
    if choice.believed:
        return ""
    shorter = (
        f"; intervals of {step_seconds:g} s may hide bursts, try a shorter --scrape-interval" if step_seconds else ""
    )
    return (
        f"the best model, {choice.model}, misses the waits of the other half by a factor of "
        f"{choice.decisive:.3g} (limit 2){shorter}"
    )


def _recommend(whatif: WhatIf, estimates: Mapping[Model, Mapping[int, Estimate]], choice: Choice, goal: Goal) -> Plan:
    """Least number that meets the goal with something in hand.

    Interval data hide a little of every burst: over real traces the replay's own answer is right or one too low. So it
    must also meet the goal with one server less, or meet a goal five times as strict.
    """
    chosen, allowed = estimates[choice.model], 1.0 - goal.target
    for count, found in chosen.items():
        spare = found.p_wait_over_slo <= allowed / _STRICTER
        if not spare and count > 1 and found.p_wait_over_slo <= allowed:
            lean = chosen.get(count - 1) or whatif.ask(choice.model, count - 1)
            spare = lean.p_wait_over_slo <= allowed
        if spare:
            reason = (
                f"least number that keeps {goal.target:.4g} of the requests within {goal.slo_seconds:g} s with one "
                f"server in hand; {choice.model} was off by a factor of {choice.decisive:.3g} in the back-test"
            )
            return Plan(estimates, choice, count, 1.0 - found.p_wait_over_slo, False, reason)
    load = whatif.intervals.load / whatif.pool.slots
    about = square_root_servers(load, square_root_beta(allowed), peakedness=whatif.shape.peakedness)
    reason = (
        f"none of the given numbers of servers keeps {goal.target:.4g} of the requests within {goal.slo_seconds:g} s; "
        f"the load is {load:.4g} servers' worth of work, the most given is {max(chosen)}; try numbers around {about}"
    )
    return Plan(estimates, choice, None, math.nan, False, reason)
