"""What N replicas would make of the load ahead: the chance to keep the promise, for every N at once.

A replica is a batching engine: with m requests in its batch every request gets a token each ``a + b·m`` seconds, and at
most ``slots`` run. All three are learnt from what the pool showed (:func:`learn_engine`): requests in the batch over
tokens per second *is* the time per token, prefill and every overhead included. The pool is then followed from its
present state, request by request in number but not in person, through many drawn futures: a birth–death process with
the engine's own rates, in steps short against a request (Gillespie's tau-leaping, J. Chem. Phys. 115, 2001). Starting
at the present state is the point: a queue that stands there now is what the next minutes are about.

Known limits: lengths are taken as exponential and replicas as evenly filled; a pool of one or two slots in all is
described roughly. The back-test (:func:`judge`) measures all of that on the pool itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, exp, isnan, log

import numpy as np
from numpy.typing import NDArray

from aiops.capacity.forecast import Floats
from aiops.capacity.observed import NAN, History

Counts = NDArray[np.int64]

_BINS = 8
_SPREAD = 2.0  # the fullest batch seen must be this much fuller than the emptiest for a slope to mean something
_KV_FULL = 0.95
_GOOD = 1.3
_SHRUNK = np.array([1.0, 0.85, 0.7, 0.6, 0.5, 0.4, 0.3, 1.2])
_TRAILING_SECONDS = 120.0
JUDGED_SECONDS = 3600.0
_DRAWS = 8


@dataclass(frozen=True, slots=True)
class Engine:
    """One replica, as the pool has shown it.

    Attributes
    ----------
    base_seconds, slope_seconds
        Time per unit of work with m requests in the batch: base + slope·m.
    slots
        Requests that fit into the batch, by slots and KV cache together.
    units
        Units of work (tokens, or 1) of one request.
    bound
        What limits ``slots``: ``slots``, ``kv``, or ``seen`` when only the fullest batch so far is known.
    assumed
        What had to be assumed; empty when everything was learnt.
    """

    base_seconds: float
    slope_seconds: float
    slots: float
    units: float
    bound: str
    assumed: str = ""

    def rate(self, batch: Floats) -> Floats:
        """Requests per second that one replica finishes with ``batch`` in it."""
        answer: Floats = batch / ((self.base_seconds + self.slope_seconds * batch) * self.units)
        return answer

    @property
    def capacity(self) -> float:
        """Most requests per second of one replica."""
        return float(self.rate(np.array(self.slots)))


def load_of(history: History) -> tuple[Floats, float]:
    """Work that arrived: float64 [n] requests per second, each as heavy as a usual one, and units of a usual one.

    Work is tokens that will be generated, as far as lengths are known: a busy minute of short requests is no burst.
    Lengths are those of requests that finished in the two minutes before.
    """
    arrivals = history.column("arrivals")
    lengths = _trailing(history.column("gen_len"), history.column("finished"), history.step_seconds)
    if np.isnan(lengths).all():
        tokens, finished = history.column("tokens_out"), history.column("finished")
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = _trailing(tokens, np.ones_like(tokens), history.step_seconds)
            ratio = ratio / _trailing(finished, np.ones_like(finished), history.step_seconds)
        lengths = np.where(np.isfinite(ratio) & (ratio > 0.0), ratio, np.nan)
    known = ~np.isnan(lengths) & ~np.isnan(arrivals)
    if not known.any() or not arrivals[known].sum() > 0.0:
        return arrivals, 1.0
    usual = float((lengths[known] * arrivals[known]).sum() / arrivals[known].sum())
    weight = np.where(np.isnan(lengths), 1.0, lengths / usual)
    return arrivals * np.clip(weight, 0.2, 5.0), usual


def learn_engine(history: History, units: float) -> Engine | str:
    """Fit the pace of a replica and find its limit; a text says what is missing."""
    ready, running = history.column("ready"), history.column("running")
    tokens = history.column("tokens_out") if units != 1.0 else history.column("finished")
    with np.errstate(divide="ignore", invalid="ignore"):
        batch, rate = running / ready, tokens / ready
        seen = (batch >= 0.25) & (rate > 0.0)
    if np.count_nonzero(seen) < 12:
        return "too few intervals in which requests ran and work was done to learn the pace of a replica"
    batch, pace = batch[seen], batch[seen] / rate[seen]
    base, slope, assumed = _line(batch, pace)
    slots, bound = _slots(history, float(np.quantile(batch, 0.98)))
    if bound == "seen":
        assumed = " ".join(filter(None, (assumed, "the limit of a batch is not known; the fullest one seen stands in")))
    return Engine(base, slope, slots, units, bound, assumed)


def _line(batch: Floats, pace: Floats) -> tuple[float, float, str]:
    """Robust line through medians of equally large groups: base ≥ 0, slope ≥ 0."""
    order = np.argsort(batch, kind="stable")
    groups = [part for part in np.array_split(order, _BINS) if len(part)]
    x = np.array([np.median(batch[part]) for part in groups])
    y = np.array([np.median(pace[part]) for part in groups])
    if x[-1] < _SPREAD * x[0]:
        middle, level = float(np.median(batch)), float(np.median(pace))
        return (
            level / 2.0,
            level / 2.0 / middle,
            "batches were too alike to learn a slope; half of the pace is taken to grow.",
        )
    first, second = np.triu_indices(len(x), k=1)
    apart = x[second] - x[first] > 1e-9
    slope = max(0.0, float(np.median(((y[second] - y[first])[apart]) / (x[second] - x[first])[apart])))
    base = float(np.median(y - slope * x))
    if base <= 0.0:
        base, slope = 0.05 * float(y[0]), float(np.median(y / x))
    return base, slope, ""


def _slots(history: History, fullest: float) -> tuple[float, str]:
    """Requests that fit into one replica and what says so."""
    ready, running = history.column("ready"), history.column("running")
    with np.errstate(divide="ignore", invalid="ignore"):
        batch = running / ready
        slots = _median(history.column("max_running") / ready)
        each = history.column("kv_use") / batch
    if isnan(slots):
        slots = _plateau(batch[history.column("queue_len") >= 1.0])
    share = _median(each[batch >= 2.0])
    by_kv = _KV_FULL / share if share > 0.0 else NAN
    known = [(limit, name) for limit, name in ((slots, "slots"), (by_kv, "kv")) if not isnan(limit)]
    limit, bound = min(known, default=(fullest, "seen"))
    return max(1.0, limit), bound


def _plateau(batch: Floats) -> float:
    """Where batches stopped growing although requests waited; NaN when fewer than four of them ended there."""
    known = np.sort(batch[np.isfinite(batch)])
    return float(known[-4]) if len(known) >= 4 and known[-4] >= 0.95 * known[-1] else NAN


def in_flight(history: History) -> float:
    """Requests running and waiting in the newest interval; what is unknown counts as none."""
    newest = [history.recent(name, history.step_seconds) for name in ("running", "queue_len")]
    return float(np.nansum(newest))


@dataclass(frozen=True, slots=True)
class Present:
    """Where the pool stands: requests inside, replicas that serve, and (in how many seconds, how many) will."""

    in_flight: float
    ready: int
    coming: tuple[tuple[float, int], ...] = ()

    def schedule(self, replicas: int, lead_seconds: float, times: Floats) -> Counts:
        """int64 [times]: replicas that serve if ``replicas`` are asked for now; those too many leave at once."""
        serving = np.full(len(times), self.ready, dtype=np.int64)
        for seconds, count in self.coming:
            serving[times >= seconds] += count
        started = self.ready + sum(count for _, count in self.coming)
        if replicas > started:
            serving[times >= lead_seconds] += replicas - started
        return np.minimum(serving, replicas)


@dataclass(frozen=True, slots=True)
class Outlook:
    """How many requests keep the promise.

    Attributes
    ----------
    replicas
        Candidates, ascending.
    share
        float64 [candidates, draws]: share of requests that wait no longer than promised.
    stages
        float64 [candidates, stages]: the same over all draws, for each minute of the window.
    """

    replicas: tuple[int, ...]
    share: Floats
    stages: Floats

    @property
    def probability(self) -> Floats:
        """float64 [candidates], never falling."""
        answer: Floats = np.maximum.accumulate(self.share.mean(axis=1))
        return answer

    def band(self, share: float = 0.8) -> tuple[Floats, Floats]:
        """Central band over the draws, float64 [candidates] each."""
        low, high = np.quantile(self.share, [(1.0 - share) / 2.0, (1.0 + share) / 2.0], axis=1)
        return low, high


def outlook(
    engine: Engine, futures: Floats, present: Present, candidates: Sequence[int], *, step_seconds: float,
    lead_seconds: float, slo_seconds: float, rng: np.random.Generator, from_seconds: Sequence[float],
) -> Outlook:  # fmt: skip
    """Follow the pool through every future with every number of replicas.

    Parameters
    ----------
    futures
        float64 [draws, horizon] requests per second.
    from_seconds
        For each candidate the time from which requests count: before it nothing can be done about them.
    """
    cells = _cells(engine, step_seconds)
    cell = step_seconds / cells
    arriving = _arrivals(futures * step_seconds, cells, rng)  # [cells in all, draws]
    times: Floats = np.arange(len(arriving), dtype=np.float64) * cell
    serving = np.stack([present.schedule(count, lead_seconds, times) for count in candidates], axis=1)  # [cells, c]
    counted = times[:, np.newaxis] >= np.asarray(from_seconds)
    inside = np.full((len(candidates), futures.shape[0]), float(round(present.in_flight)))
    kept, all_ = np.zeros_like(inside), np.zeros_like(inside)
    stage = (times // 60.0).astype(np.intp)
    stages, stage_all = np.zeros((len(candidates), int(stage[-1]) + 1)), np.zeros((len(candidates), int(stage[-1]) + 1))
    for place in range(len(arriving)):
        count = np.maximum(serving[place], 1)[:, np.newaxis].astype(np.float64)
        came = arriving[place]
        # Who arrives finds, on average, half of those that arrive in the same cell before it.
        found = inside + came / 2.0 - count * engine.slots
        met = came * (found <= slo_seconds * count * engine.capacity)
        weigh = counted[place][:, np.newaxis]
        kept += met * weigh
        all_ += came * weigh
        stages[:, stage[place]] += (met * weigh).sum(axis=1)
        stage_all[:, stage[place]] += (came * weigh).sum(axis=1)
        leaving = count * engine.rate(np.minimum((inside + came / 2.0) / count, engine.slots)) * cell
        inside = np.maximum(0.0, inside + came - rng.poisson(leaving))
    with np.errstate(invalid="ignore"):
        share = np.where(all_ > 0.0, kept / np.maximum(all_, 1.0), 1.0)
        by_stage = np.where(stage_all > 0.0, stages / np.maximum(stage_all, 1.0), np.nan)
    return Outlook(tuple(candidates), share, by_stage)


def waits_over(engine: Engine, load: Floats, replicas: Floats, slots: Floats, *, step_seconds: float) -> Floats:
    """Mean wait per interval that the model sees for a load and replicas that were.

    Parameters
    ----------
    slots
        float64 [k]: sizes of the batch to try instead of the engine's own.

    Returns
    -------
    float64 [k, n], NaN where nothing arrived. Starts empty; unknown load counts as none and stays unknown.
    """
    rng = np.random.default_rng(0)
    cells = _cells(engine, step_seconds)
    arriving = _arrivals(np.tile(np.nan_to_num(load) * step_seconds, (_DRAWS, 1)), cells, rng)
    count = np.repeat(np.maximum(1.0, np.nan_to_num(replicas, nan=1.0)), cells)
    limit = slots[:, np.newaxis]
    best = engine.rate(limit)
    inside = np.zeros((len(slots), _DRAWS))
    waited, came_all = np.zeros((len(slots), len(load))), np.zeros(len(load))
    for place, came in enumerate(arriving):
        servers = count[place]
        found = inside + came / 2.0
        queue = np.maximum(0.0, found - servers * limit)
        waited[:, place // cells] += (came * queue / (servers * best)).sum(axis=1)
        came_all[place // cells] += float(came.sum())
        leaving = servers * engine.rate(np.minimum(found / servers, limit)) * step_seconds / cells
        inside = np.maximum(0.0, inside + came - rng.poisson(leaving))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(np.isnan(load) | (came_all == 0.0), np.nan, waited / came_all)


def judge(
    engine: Engine, history: History, load: Floats, *, slo_seconds: float, seconds: float = JUDGED_SECONDS
) -> tuple[Engine, float]:
    """Hold the model against the waits of the last hour, in quarters; let it learn its batch size from them.

    Long prompts that block the head of the queue, or replicas that are filled unevenly, make waits begin before the
    batch is full. If the engine as it is misses by more than 1.3, the batch size that explains the waits best is taken.

    Returns
    -------
    The engine, and the factor ≥ 1 by which it misses; NaN = not observable. Both sides get a tenth of the promise
    added first: whether nobody waits 1 ms or 10 ms decides nothing.
    """
    rows = min(len(history), round(seconds / history.step_seconds))
    if rows < 12:
        return engine, NAN
    wait, rate = (part[-rows:] for part in observed_wait(history))
    tried = engine.slots * _SHRUNK
    modelled = waits_over(
        engine, load[-rows:], history.column("ready")[-rows:], tried, step_seconds=history.step_seconds
    )
    factors = [log_factor(one, wait, rate, slo_seconds / 10.0) for one in modelled]
    if isnan(factors[0]) or factors[0] <= _GOOD:
        return engine, factors[0]
    best = int(np.argmin(factors))
    return replace(engine, slots=max(1.0, float(tried[best]))), factors[best]


def log_factor(modelled: Floats, wait: Floats, rate: Floats, floor: float) -> float:
    """Geometric mean over quarters of the factor between modelled and observed mean wait."""
    errors = []
    for part in np.array_split(np.arange(len(wait)), 4):
        known = part[~np.isnan(wait[part]) & ~np.isnan(modelled[part]) & (rate[part] > 0.0)]
        if len(known):
            weight = rate[known] / rate[known].sum()
            errors.append(abs(log((float(weight @ modelled[known]) + floor) / (float(weight @ wait[known]) + floor))))
    return exp(float(np.mean(errors))) if errors else NAN


def _cells(engine: Engine, step_seconds: float) -> int:
    """Parts of an interval, each short against the stay of a request."""
    return max(1, ceil(step_seconds / min(3.0, max(0.25, engine.base_seconds * engine.units / 2.0))))


def observed_wait(history: History) -> tuple[Floats, Floats]:
    """Mean wait per interval and how many per second it speaks for, float64 [n] each.

    From the queue times; where an engine exports none, by Little's law from the queue and the arrivals.
    """
    wait, rate = history.column("queue_wait"), history.column("queue_rate")
    if not np.isnan(wait).all():
        return np.where(rate > 0.0, wait, np.nan), rate
    arrivals = history.column("arrivals")
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(arrivals > 0.0, history.column("queue_len") / arrivals, np.nan), arrivals


def _arrivals(expected: Floats, cells: int, rng: np.random.Generator) -> Floats:
    """Spread float64 [draws, steps] requests over cells: float64 [steps · cells, draws], whole numbers."""
    whole = np.floor(expected + rng.random(expected.shape)).astype(np.int64)
    spread = rng.multinomial(whole, np.full(cells, 1.0 / cells))
    answer: Floats = spread.reshape(len(expected), -1).T.astype(np.float64)
    return answer


def _trailing(values: Floats, weights: Floats, step_seconds: float) -> Floats:
    """Weighted mean of what is known of the two minutes up to each interval."""
    width = max(1, round(_TRAILING_SECONDS / step_seconds))
    known = ~np.isnan(values) & (weights > 0.0)
    weight = np.where(known, np.nan_to_num(weights), 0.0)
    total = np.cumsum(np.where(known, np.nan_to_num(values), 0.0) * weight)
    mass = np.cumsum(weight)
    total[width:], mass[width:] = total[width:] - total[:-width], mass[width:] - mass[:-width]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(mass > 1e-12, total / mass, np.nan)


def _median(values: Floats) -> float:
    known = values[np.isfinite(values) & (values > 0.0)]
    return float(np.median(known)) if len(known) else NAN
