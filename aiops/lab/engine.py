"""A continuous-batching engine in small: requests queue, run together, and each step costs T(n).

The model is the one that measured engines follow: a step of the whole batch takes ``T(n) = base + slope · n``
seconds and gives every running request one token; a request joins when a slot and KV room for its prompt are
free; without KV room for the next token the youngest request is thrown out and queues again. Time is an argument,
randomness is seeded: the same seed and the same faults give the same page, byte for byte.
"""

from collections import deque
from dataclasses import dataclass, field

import numpy as np

LATENCY_BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
STEP_BOUNDS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
TOKEN_BOUNDS = (10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0)


@dataclass(slots=True)
class Histogram:
    """Cumulative buckets, as an engine keeps them."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0
    number: int = 0

    def __post_init__(self) -> None:
        self.counts = [0] * len(self.bounds)

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value ``times`` times."""
        self.total += value * times
        self.number += times
        for index in range(len(self.bounds) - 1, -1, -1):
            if value > self.bounds[index]:
                break
            self.counts[index] += times


@dataclass(frozen=True, slots=True)
class Shape:
    """What the engine can do and what it is asked to.

    Attributes
    ----------
    slots
        Requests that may run together.
    kv_tokens
        Tokens that the KV cache holds.
    base_seconds, slope_seconds
        Step time ``T(n) = base + slope · n``.
    arrivals_per_second
        Mean of the Poisson arrivals.
    prompt_tokens, output_tokens
        Mean lengths; prompts are log-normal, outputs geometric.
    """

    slots: int = 16
    kv_tokens: int = 40_000
    base_seconds: float = 0.020
    slope_seconds: float = 0.0006
    arrivals_per_second: float = 3.0
    prompt_tokens: float = 300.0
    output_tokens: float = 80.0


@dataclass(slots=True)
class Request:
    """One request on its way through the engine."""

    arrived: float
    prompt: int
    output: int
    started: float = 0.0
    first_token: float = 0.0
    produced: int = 0

    @property
    def kv(self) -> int:
        """Tokens that it holds in the KV cache."""
        return self.prompt + self.produced


@dataclass(slots=True)
class Engine:
    """State of one replica. :meth:`advance` moves it to a time; faults are plain attributes.

    Attributes
    ----------
    slowdown
        Factor on the step time; 1 = healthy.
    stuck
        The scheduler hangs: requests arrive and wait, nothing moves.
    surge
        Factor on the arrivals.
    prefill_factor
        Factor on the time that prompts cost.
    blocked
        Nothing is admitted any more; what runs comes to its end.
    """

    seed: int
    shape: Shape = field(default_factory=Shape)
    slowdown: float = 1.0
    stuck: bool = False
    surge: float = 1.0
    prefill_factor: float = 1.0
    blocked: bool = False
    now: float = 0.0
    queue: deque[Request] = field(default_factory=deque)
    running: list[Request] = field(default_factory=list)
    prompt_tokens: int = 0
    generated_tokens: int = 0
    preemptions: int = 0
    arrived: int = 0
    finished: int = 0
    ttft: Histogram = field(default_factory=lambda: Histogram(LATENCY_BOUNDS))
    itl: Histogram = field(default_factory=lambda: Histogram(STEP_BOUNDS))
    e2e: Histogram = field(default_factory=lambda: Histogram(LATENCY_BOUNDS))
    queue_time: Histogram = field(default_factory=lambda: Histogram(LATENCY_BOUNDS))
    prompt_len: Histogram = field(default_factory=lambda: Histogram(TOKEN_BOUNDS))
    gen_len: Histogram = field(default_factory=lambda: Histogram(TOKEN_BOUNDS))
    _rng: np.random.Generator = field(init=False)
    _next_arrival: float = field(init=False)

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)
        self._next_arrival = self.now

    @property
    def kv_used(self) -> int:
        """Tokens in the KV cache."""
        return sum(request.kv for request in self.running)

    def advance(self, now: float) -> None:
        """Simulate up to ``now`` (seconds on the same scale as before; going back does nothing)."""
        while self.now < now:
            self._admit_arrivals()
            if self.stuck or (not self.running and (self.blocked or not self.queue)):
                self.now = min(now, max(self._next_arrival, self.now + 1e-3))
                continue
            if not self.blocked:
                self._fill_batch()
            self._step()

    def _admit_arrivals(self) -> None:
        while self._next_arrival <= self.now:
            prompt = int(np.clip(self._rng.lognormal(np.log(self.shape.prompt_tokens), 0.6), 8, 4_000))
            output = int(np.clip(self._rng.geometric(1.0 / self.shape.output_tokens), 1, 1_000))
            self.arrived += 1
            self.queue.append(Request(self._next_arrival, prompt, output))
            rate = max(self.shape.arrivals_per_second * self.surge, 1e-6)
            self._next_arrival += float(self._rng.exponential(1.0 / rate))

    def _fill_batch(self) -> None:
        used = self.kv_used
        while self.queue and len(self.running) < self.shape.slots:
            request = self.queue[0]
            if self.running and used + request.kv + 1 > self.shape.kv_tokens:
                return
            self.queue.popleft()
            if request.started == 0.0:
                request.started = self.now
                self.queue_time.observe(self.now - request.arrived)
                self.prompt_tokens += request.prompt
            self.running.append(request)
            used += request.kv

    def _step(self) -> None:
        prefill = sum(request.prompt for request in self.running if request.first_token == 0.0)
        seconds = (self.shape.base_seconds + self.shape.slope_seconds * len(self.running)) * self.slowdown
        seconds += prefill * 2e-5 * self.slowdown * self.prefill_factor
        self.now += seconds
        while len(self.running) > 1 and self.kv_used + len(self.running) > self.shape.kv_tokens:
            self.queue.appendleft(self.running.pop())
            self.preemptions += 1
        decoding = sum(1 for request in self.running if request.first_token > 0.0)
        if decoding:
            self.itl.observe(seconds, decoding)
        for request in self.running:
            request.produced += 1
            if request.first_token == 0.0:
                request.first_token = self.now
                self.ttft.observe(self.now - request.arrived)
        self.generated_tokens += len(self.running)
        self._retire()

    def _retire(self) -> None:
        for request in self.running:
            if request.produced >= request.output:
                self.finished += 1
                self.e2e.observe(self.now - request.arrived)
                self.prompt_len.observe(request.prompt)
                self.gen_len.observe(request.produced)
        self.running = [request for request in self.running if request.produced < request.output]
