"""Rival models of the same pool: which explains the waits that were seen, and what the twin makes of the load ahead.

Two models may decide, because only they begin at the queue that stands now: the transient birth–death process of
:mod:`aiops.capacity.sizing`, which counts requests, and the twin (:mod:`aiops.capacity.twin`), which follows each of
them through replicas with queues of their own. The stationary models are scored beside them, so that everybody can see
by how much a formula would have been wrong on this very pool.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from aiops.capacity.backtest import Stretch, without_draws
from aiops.capacity.batching import batching_engine
from aiops.capacity.curve import StepCurve
from aiops.capacity.models import WhatIf, learn_shape
from aiops.capacity.observed import NAN, History
from aiops.capacity.placement import Placement, learn_placement
from aiops.capacity.replay import Requests, Servers, draw
from aiops.capacity.sizing import JUDGED_SECONDS, Engine, Outlook, Present, log_factor, observed_wait
from aiops.capacity.twin import EngineProfile, engine_waits
from aiops.capacity.work import Counts, Floats, Intervals, peakedness

TRANSIENT, TWIN, BIRTH_DEATH = "transient", "twin", "birth_death"
_AGAIN_SECONDS = 600.0
_FEWEST_ROWS = 20
_MOST_JUDGED = 40_000  # requests; more than that average out, and the transient model is exact
_MOST_FOLLOWED = 60_000
_LOOKS = 3  # numbers of replicas that are usually looked at
_FEWEST_DRAWS = 6
_WORTH = 1.1  # the twin costs a hundred times as much: it must be this much better


@dataclass(slots=True)
class Judgement:
    """Which model to believe, and why; renewed every ten minutes, because following everybody takes long.

    Attributes
    ----------
    factors
        Errors of all models but the transient one, as factors ≥ 1; NaN = not observable.
    twin
        Whether the twin was clearly better than the transient model, on the same time.
    """

    at: float = float("-inf")
    factors: Mapping[str, float] = field(default_factory=dict)
    twin: bool = False

    def renew(self, engine: Engine, history: History, load: Floats, *, slo_seconds: float, transient: float) -> None:
        """Judge over the last hour, if the last time was long ago."""
        if 0.0 <= history.end - self.at < _AGAIN_SECONDS:
            return
        self.at, self.factors = history.end, rival_factors(engine, history, load, slo_seconds=slo_seconds)
        self.twin = self.factors.get(TWIN, NAN) * _WORTH < transient

    def chosen(self, ahead: float) -> str:
        """The model to decide by; ``ahead`` is the number of requests of one future, those in flight included."""
        return TWIN if self.twin and _affordable(ahead) >= _FEWEST_DRAWS else TRANSIENT


def _affordable(requests: float) -> int:
    """Futures of so many requests that may be followed one by one."""
    return int(_MOST_FOLLOWED / max(1.0, requests * _LOOKS))


def rival_factors(
    engine: Engine, history: History, load: Floats, *, slo_seconds: float, seconds: float = JUDGED_SECONDS
) -> dict[str, float]:
    """Hold the twin and the stationary models against the waits of the last hour; empty when none were seen."""
    step = history.step_seconds
    rows = min(len(history), round(seconds / step))
    wait, rate = (part[len(history) - rows :] for part in observed_wait(history))
    counts = _whole(np.nan_to_num(load[len(load) - rows :]) * step)
    if rows < _FEWEST_ROWS or np.isnan(wait).all() or not counts.sum():
        return {}
    ready = _last_known(history.column("ready")[-rows:])
    floor = slo_seconds / 10.0
    answer = {}
    if counts.sum() <= _MOST_JUDGED:
        answer[TWIN] = log_factor(_by_twin(engine, counts, ready, step), wait, rate, floor)
    for name, mean in _stationary(engine, history, counts, ready, slo_seconds).items():
        answer[name] = log_factor(mean, wait, rate, floor)
    return answer


def _by_twin(engine: Engine, counts: Counts, ready: Counts, step_seconds: float) -> Floats:
    """Mean wait by the twin, float64 [rows]; NaN where nobody came."""
    rows = len(counts)
    tokens = Intervals(step_seconds, rows * step_seconds, counts, np.asarray(counts * engine.units, dtype=np.float64))
    requests = draw(tokens, learn_placement(tokens), draws=1, seed=0)[0]
    number = np.minimum((requests.arrival_seconds // step_seconds).astype(np.int64), rows - 1)
    waits = twin_waits(engine, requests, ready[number])
    came = np.bincount(number, minlength=rows)
    with np.errstate(invalid="ignore"):
        return np.where(came > 0, np.bincount(number, waits, minlength=rows) / np.maximum(came, 1), np.nan)


def _stationary(
    engine: Engine, history: History, counts: Counts, ready: Counts, slo_seconds: float
) -> dict[str, Floats]:
    """Mean wait by each model without draws, float64 [rows], the same within a quarter."""
    rows, step = len(counts), history.step_seconds
    running, finished = (np.nansum(history.column(name)[-rows:]) for name in ("running", "finished"))
    if not finished > 0.0 or not running > 0.0:
        return {}
    stay = float(running / finished)  # Little: time in the batch
    intervals = Intervals(step, rows * step, counts, np.asarray(counts * stay, dtype=np.float64))
    held = history.column("running")[-rows:] + history.column("queue_len")[-rows:]
    shape = learn_shape(intervals, peakedness(held[~np.isnan(held)]), Placement())
    whatif = WhatIf(intervals, shape, (), slo_seconds, Servers(_slots(engine)))
    answer: dict[str, Floats] = {}
    for part in np.array_split(np.arange(rows), 4):
        if not counts[part].sum():
            continue
        stretch, servers = Stretch(int(part[0]), int(part[-1]) + 1), max(1, round(float(ready[part].mean())))
        for model, predicted in without_draws(whatif, stretch, servers).items():
            # Overloaded by its own reckoning: then the wait is as long as the quarter.
            mean = predicted.mean_seconds if np.isfinite(predicted.mean_seconds) else len(part) * step
            answer.setdefault(model.value, np.full(rows, np.nan))[part] = mean
        alone = float(counts[part].sum()) / (len(part) * step * servers)
        wait = batching_engine(
            alone, _curve(engine), slots=_slots(engine), prefill_seconds=0.0, output_tokens=engine.units
        )
        mean = len(part) * step if np.isnan(wait.waiting.mean_seconds) else wait.waiting.mean_seconds
        answer.setdefault(BIRTH_DEATH, np.full(rows, np.nan))[part] = mean
    return answer


def _curve(engine: Engine) -> StepCurve:
    return StepCurve.linear(engine.base_seconds, engine.slope_seconds)


def _slots(engine: Engine) -> int:
    return max(1, round(engine.slots))


def twin_waits(engine: Engine, requests: Requests, serving: Counts) -> Floats:
    """Wait of requests whose sizes are units of work (tokens); the pace of the engine contains its prefill.

    ``serving`` is the number of replicas at each arrival, int64 [n] ≥ 1.
    """
    return engine_waits(
        requests.arrival_seconds, np.zeros(len(serving)), requests.service_seconds,
        replicas=int(serving.max(initial=1)), profile=EngineProfile(_curve(engine), 0.0, _slots(engine)),
        serving=serving,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ahead:
    """The load ahead, person by person.

    Attributes
    ----------
    futures
        float64 [draws, horizon] requests per second.
    target
        Share that decides; numbers of replicas are looked at until one reaches it.
    """

    engine: Engine
    futures: Floats
    present: Present
    step_seconds: float
    lead_seconds: float
    slo_seconds: float
    target: float

    def outlook(self, rough: Outlook, from_seconds: Sequence[float]) -> Outlook:
        """Correct a rough outlook where the decision falls.

        Looks first where the rough one would decide, then up or down until the target is crossed. Beyond what was
        looked at the rough outlook stands, bounded by what was found.
        """
        drawn = self._drawn()
        share, stages = rough.share.copy(), rough.stages.copy()
        enough = np.flatnonzero(rough.probability >= self.target)
        place = int(enough[0]) if len(enough) else len(rough.replicas) - 1
        looked: dict[int, float] = {}
        while place not in looked and 0 <= place < len(rough.replicas):
            shares, by_stage = self._look(drawn, rough.replicas[place], from_seconds[place], rough.stages.shape[1])
            looked[place] = float(shares.mean())
            share[place], stages[place] = np.resize(shares, share.shape[1]), by_stage
            place += 1 if looked[place] < self.target else -1
        low, high = min(looked), max(looked)
        share[:low] = np.minimum(share[:low], looked[low])
        share[high + 1 :] = np.maximum(share[high + 1 :], looked[high])
        return Outlook(rough.replicas, share, stages)

    def _drawn(self) -> list[Requests]:
        """Some futures as requests, evenly over the light and the heavy ones; who is there now comes first."""
        each = float(self.futures.sum(axis=1).mean()) * self.step_seconds + self.present.in_flight
        draws = min(len(self.futures), max(_FEWEST_DRAWS, _affordable(each)))
        order = np.argsort(self.futures.sum(axis=1), kind="stable")
        picked = order[((np.arange(draws) + 0.5) * len(order) / draws).astype(np.intp)]
        rng = np.random.default_rng(0)
        return [self._requests(self.futures[place], rng) for place in picked]

    def _requests(self, future: Floats, rng: np.random.Generator) -> Requests:
        counts = np.floor(future * self.step_seconds + rng.random(len(future))).astype(np.int64)
        number = np.repeat(np.arange(len(counts)), counts)
        times = np.sort((number + rng.random(len(number))) * self.step_seconds)
        there = round(self.present.in_flight)
        return Requests(
            np.concatenate([np.zeros(there), times]), rng.exponential(self.engine.units, there + len(times))
        )

    def _look(
        self, drawn: Sequence[Requests], replicas: int, from_seconds: float, stages: int
    ) -> tuple[Floats, Floats]:
        """Share in time with one number of replicas: float64 [draws], and float64 [stages] over all of them."""
        there = round(self.present.in_flight)
        shares = np.empty(len(drawn))
        kept, came = np.zeros(stages), np.zeros(stages)
        for place, requests in enumerate(drawn):
            serving = self.present.schedule(replicas, self.lead_seconds, requests.arrival_seconds)
            waits = twin_waits(self.engine, requests, np.maximum(serving, 1))[there:]
            at = requests.arrival_seconds[there:]
            counted = at >= from_seconds
            met = waits[counted] <= self.slo_seconds
            shares[place] = met.mean() if len(met) else 1.0
            stage = np.minimum((at[counted] // 60.0).astype(np.intp), stages - 1)
            kept += np.bincount(stage, met, minlength=stages)
            came += np.bincount(stage, minlength=stages)
        with np.errstate(invalid="ignore"):
            return shares, np.where(came > 0.0, kept / np.maximum(came, 1.0), np.nan)


def _last_known(ready: Floats) -> Counts:
    """Replicas that served, int64 [n] ≥ 1; what is unknown is as it was before."""
    known = np.flatnonzero(ready >= 1.0)
    if not len(known):
        return np.ones(len(ready), dtype=np.int64)
    place = np.maximum(np.searchsorted(known, np.arange(len(ready)), side="right") - 1, 0)
    return ready[known[place]].astype(np.int64)


def _whole(values: Floats) -> Counts:
    """Whole numbers with the same running total."""
    total = np.floor(np.cumsum(values) + 1e-9)
    return np.diff(total, prepend=0.0).astype(np.int64)
