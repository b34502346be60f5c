"""A twin of a pool of batching engines: what tokens cost when they share a step.

N replicas, each request to the one with the fewest (ties to the first). A replica runs at most ``slots`` requests and
at most what its KV cache holds; the others wait in order. Prefill goes first come, first served in chunks; every step
gives each decoding request one token and takes T(n) plus the chunk's prefill. Between two events the step time does not
change, so whole stretches of steps are one move of the clock: the work is per request, not per token.

Left out: preemption, prefix caches, clients that give up, the first token's own step.
"""

from collections import deque
from dataclasses import dataclass, field
from heapq import heappop, heappush

import numpy as np

from aiops.capacity.curve import StepCurve
from aiops.capacity.replay import Requests, Waits
from aiops.capacity.work import Counts, Floats

_NEVER = float("inf")
_ROUNDING = 1e-6  # of a token


@dataclass(frozen=True, eq=False)
class EngineProfile:
    """One replica.

    Attributes
    ----------
    curve
        T(n), seconds of a decode step.
    prefill_seconds_per_token
        Time a prompt token adds to the step that it is in, ≥ 0.
    slots
        Most requests at once, ≥ 1.
    chunk_tokens
        Most prompt tokens in a step, ≥ 1.
    kv_tokens
        What the KV cache holds; infinite when unknown.
    """

    curve: StepCurve
    prefill_seconds_per_token: float
    slots: int
    chunk_tokens: int = 2048
    kv_tokens: float = float("inf")

    @property
    def token_seconds(self) -> float:
        """Engine time of one output token with all slots in use: T(slots) / slots."""
        return float(self.curve.table(self.slots)[-1]) / self.slots


@dataclass(slots=True, eq=False)
class _Replica:
    """State of one engine; between two events ``prompt_speed`` and ``step_speed`` hold (tokens per second)."""

    step_seconds: list[float]
    profile: EngineProfile
    waits: list[float]  # of all requests: minus the arrival, until the prefill starts
    clock: float = 0.0
    generated: float = 0.0  # tokens that a request which decoded since the start would have
    decoding: list[tuple[float, float]] = field(default_factory=list)  # heap: finish at `generated`, KV tokens
    prefill: deque[tuple[float, float, int, float]] = field(default_factory=deque)  # prompt, output, number, KV tokens
    prompt_left: float = 0.0  # of the first in `prefill`
    waiting: deque[tuple[float, float, int]] = field(default_factory=deque)
    kv_used: float = 0.0
    prompt_speed: float = 0.0
    step_speed: float = 0.0
    next_event: float = _NEVER

    @property
    def present(self) -> int:
        return len(self.decoding) + len(self.prefill) + len(self.waiting)

    def advance(self, until: float) -> None:
        """Move the clock through all events up to ``until``."""
        decoding, prefill = self.decoding, self.prefill
        while (event := self.next_event) <= until and event < _NEVER:
            passed = event - self.clock
            self.clock = event
            if decoding:
                self.generated += passed * self.step_speed
            if prefill:
                self.prompt_left -= passed * self.prompt_speed
                if self.prompt_left <= _ROUNDING:
                    _, output, _, kv = prefill.popleft()
                    heappush(decoding, (self.generated + output, kv))
                    self._start()
            enough = self.generated + _ROUNDING
            while decoding and decoding[0][0] <= enough:
                self.kv_used -= heappop(decoding)[1]
            if self.waiting:
                self._admit()
            self._plan()
        if until < _NEVER:
            self._move(until)

    def take(self, prompt: float, output: float, number: int) -> None:
        """Receive a request now."""
        self.waiting.append((prompt, output, number))
        self._admit()
        self._plan()

    def _admit(self) -> None:
        while self.waiting and len(self.decoding) + len(self.prefill) < self.profile.slots:
            prompt, output, number = self.waiting[0]
            need = prompt + output
            if self.kv_used + need > self.profile.kv_tokens and self.kv_used > 0.0:
                return
            self.waiting.popleft()
            self.kv_used += need
            self.prefill.append((prompt, output, number, need))
            if len(self.prefill) == 1:
                self._start()

    def _start(self) -> None:
        """The first in the line of prompts begins to be read."""
        if self.prefill:
            prompt, _, number, _ = self.prefill[0]
            self.prompt_left = max(prompt, _ROUNDING)
            self.waits[number] += self.clock

    def _plan(self) -> None:
        """Note the speeds that hold until the next event, and when that is."""
        decoding = self.decoding
        step, event = self.step_seconds[len(decoding)], _NEVER
        if self.prefill:
            # Short prompts share a chunk: a prompt of a tenth of a chunk takes a tenth of such a step.
            chunk = self.profile.chunk_tokens
            step += chunk * self.profile.prefill_seconds_per_token
            self.prompt_speed = chunk / step
            event = self.clock + self.prompt_left / self.prompt_speed
        self.step_speed = 1.0 / step
        if decoding:
            finish = self.clock + (decoding[0][0] - self.generated) * step
            if finish < event:  # noqa: PLR1730 - min() is slow, and this is the innermost line
                event = finish
        self.next_event = event

    def _move(self, until: float) -> None:
        passed = until - self.clock
        if self.prefill:
            self.prompt_left -= passed * self.prompt_speed
        if self.decoding:
            self.generated += passed * self.step_speed
        self.clock = until


def engine_waits(
    arrival_seconds: Floats,
    input_tokens: Floats,
    output_tokens: Floats,
    *,
    replicas: int,
    profile: EngineProfile,
    serving: Counts | None = None,
) -> Floats:
    """Seconds from arrival to the start of the own prefill, float64 [n]; arrivals ascending, an empty pool at first.

    A request longer than the whole KV cache runs alone.

    Parameters
    ----------
    serving
        int64 [n], 1 … ``replicas``: how many of them each request may choose from; the others finish what they have.
    """
    if replicas < 1:
        raise ValueError(f"expected at least 1 replica, got {replicas}")
    steps = profile.curve.table(profile.slots).tolist()
    waits = (-arrival_seconds).tolist()
    pool = [_Replica(steps, profile, waits) for _ in range(replicas)]
    # What decides about every arrival costs as much with many replicas as with few, nearly.
    due: list[tuple[float, int]] = []  # heap: next event, replica; what a replica no longer awaits stays until its turn
    present, fewest = [0] * replicas, 0  # of each, and at least that many of all
    open_to = [replicas] * len(waits) if serving is None else serving.tolist()
    rows = zip(arrival_seconds.tolist(), input_tokens.tolist(), output_tokens.tolist(), strict=True)
    for number, (now, prompt, output) in enumerate(rows):
        while due and due[0][0] <= now:
            event, place = heappop(due)
            replica = pool[place]
            if event == replica.next_event:
                replica.advance(now)
                present[place] = left = replica.present
                fewest = min(fewest, left)
                if left:
                    heappush(due, (replica.next_event, place))
        if open_to[number] < replicas:
            offered = present[: open_to[number]]
            place = offered.index(min(offered))
        else:
            while fewest not in present:
                fewest += 1
            place = present.index(fewest)
        replica = pool[place]
        replica.advance(now)
        replica.take(prompt, output, number)
        heappush(due, (replica.next_event, place))
        present[place] += 1
    for replica in pool:
        replica.advance(_NEVER)
    answer: Floats = np.maximum(np.array(waits), 0.0)
    return answer


@dataclass(frozen=True, slots=True)
class Engines:
    """A pool of replicas as :class:`aiops.capacity.replay.Pool`; a slot-second is 1 / slots of an engine's second."""

    profile: EngineProfile

    @property
    def slots(self) -> int:
        """Requests that a replica runs at once."""
        return self.profile.slots

    def requests(self, arrival_seconds: Floats, input_tokens: Floats, output_tokens: Floats) -> Requests:
        """Tokens as work: what they cost an engine with all slots in use."""
        prefill = input_tokens * self.profile.prefill_seconds_per_token
        engine = prefill + output_tokens * self.profile.token_seconds
        return Requests(arrival_seconds, engine * self.slots, prefill / np.maximum(engine, 1e-300))

    def waits(self, requests: Requests, servers: int) -> Waits:
        """Wait until the own prefill starts."""
        engine = requests.service_seconds / self.slots
        share = np.zeros(len(engine)) if requests.prefill_share is None else requests.prefill_share
        output = engine * (1.0 - share) / self.profile.token_seconds
        prompt = engine * share / max(self.profile.prefill_seconds_per_token, 1e-300)
        return Waits(engine_waits(requests.arrival_seconds, prompt, output, replicas=servers, profile=self.profile))
