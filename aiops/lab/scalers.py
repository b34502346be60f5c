"""Autoscalers to be compared with: the decision rules of the usual ones, with their defaults, as small state machines.

Each sees the same samples, one per scrape, and says how many replicas it wants. Formulas and defaults are those of the
projects' documentation: Kubernetes' horizontal pod autoscaler (ratio with 10 % tolerance, highest wish of 300 s
downwards), Knative's (stable window of 60 s and panic window of 6 s), KEDA on a queue length of 5 (by way of the same
horizontal pod autoscaler), and the saturation rule of llm-d's variant autoscaler (KV 0.8 or queue 5).
"""

from collections import deque
from dataclasses import dataclass, field
from math import ceil
from typing import Protocol

import numpy as np

from aiops.capacity.observed import History
from aiops.capacity.scaling import Memory, Recommendation, Situation, recommend
from aiops.capacity.settings import CapacitySettings


@dataclass(frozen=True, slots=True)
class Sample:
    """What a scraper saw of the pool at one time; rates are means since the sample before.

    Attributes
    ----------
    at
        Seconds.
    replicas, ready
        That exist, that serve.
    queues, running
        Requests waiting and running in each replica that serves.
    kv_use
        Share of the KV cache in use in each replica that serves.
    slots
        Size of one replica's batch.
    arrivals, finished, tokens_in, tokens_out
        Per second, for the pool.
    prompt_tokens, output_tokens
        Mean lengths of what finished; NaN when nothing did.
    wait_seconds, waits
        Mean wait and number per second of what began to run.
    """

    at: float
    replicas: int
    ready: int
    queues: tuple[float, ...]
    running: tuple[float, ...]
    kv_use: tuple[float, ...]
    slots: int
    arrivals: float
    finished: float
    tokens_in: float
    tokens_out: float
    prompt_tokens: float
    output_tokens: float
    wait_seconds: float
    waits: float

    @property
    def in_flight(self) -> float:
        """Requests waiting or running."""
        return sum(self.queues) + sum(self.running)


class Scaler(Protocol):
    """Decides after each sample."""

    def decide(self, sample: Sample) -> int:
        """Replicas wanted from now on."""
        ...


@dataclass(slots=True)
class Stabiliser:
    """The pod autoscaler's way down: the highest wish of the window; up at most doubling or 4 in 15 s."""

    window_seconds: float = 300.0
    wishes: deque[tuple[float, int]] = field(default_factory=deque)

    def limited(self, at: float, now: int, wish: int) -> int:
        """Number to set."""
        self.wishes.append((at, wish))
        while self.wishes[0][0] < at - self.window_seconds:
            self.wishes.popleft()
        if wish > now:
            return min(wish, max(2 * now, now + 4))
        return min(now, max(count for _, count in self.wishes))


@dataclass(slots=True)
class Hpa:
    """Horizontal pod autoscaler on requests in flight per replica.

    Attributes
    ----------
    target
        Share of the slots that should be busy.
    """

    target: float = 0.7
    tolerance: float = 0.1
    sync_seconds: float = 15.0
    stabiliser: Stabiliser = field(default_factory=Stabiliser)
    due: float = 0.0

    def decide(self, sample: Sample) -> int:
        """See :class:`Scaler`."""
        if sample.at < self.due or not sample.ready:
            return sample.replicas
        self.due = sample.at + self.sync_seconds
        ratio = sample.in_flight / (sample.ready * self.target * sample.slots)
        if abs(ratio - 1.0) <= self.tolerance:
            return self.stabiliser.limited(sample.at, sample.replicas, sample.replicas)
        return self.stabiliser.limited(sample.at, sample.replicas, max(1, ceil(ratio * sample.ready)))


@dataclass(slots=True)
class Knative:
    """Knative's pod autoscaler on concurrency: 60 s stable, 6 s panic at twice the capacity."""

    target: float = 0.7
    stable_seconds: float = 60.0
    panic_seconds: float = 6.0
    panic_threshold: float = 2.0
    seen: deque[tuple[float, float]] = field(default_factory=deque)
    panic_until: float = -1.0
    panic_most: int = 0

    def decide(self, sample: Sample) -> int:
        """See :class:`Scaler`."""
        self.seen.append((sample.at, sample.in_flight))
        while self.seen[0][0] <= sample.at - self.stable_seconds:
            self.seen.popleft()
        each = self.target * sample.slots
        stable = ceil(self._mean(sample.at - self.stable_seconds) / each)
        panic = ceil(self._mean(sample.at - self.panic_seconds) / each)
        if panic >= self.panic_threshold * max(1, sample.ready):
            self.panic_until = sample.at + self.stable_seconds
        if sample.at < self.panic_until:
            self.panic_most = max(self.panic_most, panic, stable, sample.replicas)
            return self.panic_most
        self.panic_most = 0
        return max(1, stable, ceil(sample.replicas / 2))

    def _mean(self, since: float) -> float:
        values = [value for at, value in self.seen if at > since]
        return sum(values) / len(values) if values else 0.0


@dataclass(slots=True)
class KedaQueue:
    """KEDA with a threshold of 5 on the number of waiting requests: one replica per five, by the pod autoscaler."""

    threshold: float = 5.0
    poll_seconds: float = 30.0
    stabiliser: Stabiliser = field(default_factory=Stabiliser)
    due: float = 0.0

    def decide(self, sample: Sample) -> int:
        """See :class:`Scaler`."""
        if sample.at < self.due:
            return sample.replicas
        self.due = sample.at + self.poll_seconds
        ratio = sum(sample.queues) / (self.threshold * max(1, sample.replicas))
        wish = sample.replicas if abs(ratio - 1.0) <= 0.1 else ceil(sum(sample.queues) / self.threshold)
        return self.stabiliser.limited(sample.at, sample.replicas, max(1, wish))


@dataclass(slots=True)
class Saturation:
    """One more when spare KV or queue runs out, one less when the others could take it; waits for pending ones."""

    kv_limit: float = 0.8
    queue_limit: float = 5.0
    spare_kv: float = 0.1
    spare_queue: float = 3.0
    sync_seconds: float = 30.0
    due: float = 0.0

    def decide(self, sample: Sample) -> int:
        """See :class:`Scaler`."""
        if sample.at < self.due or not sample.ready or sample.ready < sample.replicas:
            return sample.replicas
        self.due = sample.at + self.sync_seconds
        free = [
            (self.kv_limit - kv, self.queue_limit - queue)
            for kv, queue in zip(sample.kv_use, sample.queues, strict=True)
            if kv < self.kv_limit and queue < self.queue_limit
        ]
        count = len(free)
        kv = sum(part for part, _ in free) / count if count else 0.0
        queue = sum(part for _, part in free) / count if count else 0.0
        if kv < self.spare_kv or queue < self.spare_queue:
            return sample.replicas + 1
        if count < 2:
            return sample.replicas
        grown = count / (count - 1)
        kv_after = self.kv_limit - (self.kv_limit - kv) * grown
        queue_after = self.queue_limit - (self.queue_limit - queue) * grown
        enough = kv_after >= self.spare_kv and queue_after >= self.spare_queue
        return sample.replicas - 1 if enough else sample.replicas


@dataclass(slots=True)
class Advised:
    """Our own recommendation, followed to the letter; without one the pool stays as it is.

    Attributes
    ----------
    given
        Every recommendation, oldest first.
    """

    settings: CapacitySettings
    lead_seconds: float
    history: History = field(default_factory=lambda: History(15.0))
    memory: Memory = field(default_factory=Memory)
    given: list[Recommendation] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    pending: list[float] = field(default_factory=list)
    due: float = 0.0
    wish: int = 0

    def decide(self, sample: Sample) -> int:
        """See :class:`Scaler`."""
        self._remember(sample)
        if sample.at < self.due or not len(self.history):
            return sample.replicas
        self.due = sample.at + self.settings.interval
        missing = sample.replicas - sample.ready
        self.pending = self.pending[-missing:] if missing else []
        self.pending += [sample.at + self.lead_seconds] * (missing - len(self.pending))
        coming = tuple((max(0.0, at - sample.at), 1) for at in self.pending)
        situation = Situation(sample.at, sample.replicas, self.lead_seconds, coming)
        advice = recommend(self.history, situation, self.memory, self.settings, self.settings)
        self.given.append(advice)
        return sample.replicas if advice.desired is None else advice.desired

    def _remember(self, sample: Sample) -> None:
        self.samples.append(sample)
        if len(self.samples) * 5.0 >= self.history.step_seconds:
            most = round(self.settings.history / self.settings.step)
            self.history = self.history.extended(_row(self.samples), sample.at, most=most)
            self.samples = []


def _row(samples: list[Sample]) -> dict[str, float]:
    """Means over an interval, as the daemon keeps them."""
    ready = max(1, samples[-1].ready)
    names = ("arrivals", "finished", "tokens_in", "tokens_out")
    row = {name: float(np.mean([getattr(sample, name) for sample in samples])) for name in names}
    row |= {
        "running": float(np.mean([sum(sample.running) for sample in samples])),
        "queue_len": float(np.mean([sum(sample.queues) for sample in samples])),
        "kv_use": float(np.mean([np.mean(sample.kv_use or (0.0,)) for sample in samples])),
        "max_running": float(samples[-1].slots * ready),
        "replicas": float(samples[-1].replicas),
        "ready": float(samples[-1].ready),
    }
    for name, value, weight in (
        ("prompt_len", "prompt_tokens", "finished"),
        ("gen_len", "output_tokens", "finished"),
        ("queue_wait", "wait_seconds", "waits"),
    ):
        weights = np.array([getattr(sample, weight) for sample in samples])
        values = np.nan_to_num([getattr(sample, value) for sample in samples])
        row[name] = float(values @ weights / weights.sum()) if weights.sum() > 0.0 else float("nan")
    row["queue_rate"] = float(np.mean([sample.waits for sample in samples]))
    return row
