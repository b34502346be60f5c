"""A pool of simulated engines that is scaled while it runs: what an autoscaler costs, and what it spares its users.

The physics is not that of :mod:`aiops.capacity.sizing`, which it judges: every request is followed in person. A
replica runs up to ``slots`` requests within its KV cache; a step of the batch takes T(n) = base + slope·n seconds,
longer by the chunk of prompt tokens that it carries; whoever arrives goes to the replica with the fewest requests and
stays there. New replicas serve after the lead time; those that are let go finish what they have. Time advances in fixed
short steps over all replicas at once (arrays [replicas, slots]), which keeps an hour of traffic within some seconds.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from aiops.lab.scalers import Sample, Scaler

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Traffic:
    """Requests: float64 [n] each; arrivals ascending, in seconds from 0."""

    arrival_seconds: Floats
    prompt_tokens: Floats
    output_tokens: Floats


@dataclass(frozen=True, slots=True)
class Machine:
    """One replica, and how long a new one takes.

    Attributes
    ----------
    chunk_tokens, prefill_seconds
        Most prompt tokens in one step of the batch, and the time that each adds to it.
    """

    slots: int = 32
    kv_tokens: float = 60_000.0
    base_seconds: float = 0.015
    slope_seconds: float = 0.0008
    chunk_tokens: float = 2048.0
    prefill_seconds: float = 0.00004
    lead_seconds: float = 90.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run came to.

    Attributes
    ----------
    violation_seconds
        Seconds, counted in windows of ten, in which more than the allowed share of arriving requests waited too long.
    replica_hours
        Of replicas that existed, serving or not.
    late_share
        Share of all requests that waited too long.
    moves
        Changes of the wanted number.
    """

    violation_seconds: float
    replica_hours: float
    late_share: float
    wait_mean_seconds: float
    wait_p95_seconds: float
    most_replicas: int
    moves: int


@dataclass(slots=True)
class _Replica:
    queue: deque[int] = field(default_factory=deque)
    ready_at: float = 0.0
    leaving: bool = False
    held: int = 0


@dataclass
class Loop:
    """One run of one scaler over one traffic."""

    traffic: Traffic
    machine: Machine
    scaler: Scaler
    start_replicas: int
    most_replicas: int = 64
    scrape_seconds: float = 5.0
    step_seconds: float = 0.25
    slo_seconds: float = 1.0
    allowed: float = 0.05
    on_sample: Callable[[Sample, int], None] | None = None
    now: float = 0.0
    _replicas: dict[int, _Replica] = field(default_factory=dict)

    def run(self) -> Verdict:
        """Play the traffic to its end and judge."""
        machine, n = self.machine, len(self.traffic.arrival_seconds)
        shape = (self.most_replicas, machine.slots)
        self._who = np.full(shape, -1, dtype=np.int64)
        self._prefill, self._decode = np.zeros(shape), np.zeros(shape)
        self._kv = np.zeros(shape)
        self._started = np.full(n, np.nan)
        self._counts = dict.fromkeys(("arrived", "finished", "in", "out", "lengths", "prompts", "waits", "waited"), 0.0)
        self._moves, self._hours, self._most = 0, 0.0, self.start_replicas
        self._replicas = {row: _Replica() for row in range(self.start_replicas)}
        following, scrape = 0, self.scrape_seconds
        end = float(self.traffic.arrival_seconds[-1])
        while self.now < end:
            self.now += self.step_seconds
            following = self._arrive(following)
            self._admit()
            self._compute()
            self._hours += len(self._replicas) * self.step_seconds / 3600.0
            if self.now >= scrape:
                self._scale()
                scrape += self.scrape_seconds
        return self._verdict()

    def _arrive(self, following: int) -> int:
        """Send what has arrived to the replica with the fewest requests."""
        serving = [one for one in self._replicas.values() if one.ready_at <= self.now and not one.leaving]
        last = int(np.searchsorted(self.traffic.arrival_seconds, self.now, side="right"))
        for request in range(following, last):
            chosen = min(serving, key=lambda one: one.held)
            chosen.queue.append(request)
            chosen.held += 1
        self._counts["arrived"] += last - following
        return last

    def _admit(self) -> None:
        for row, replica in self._replicas.items():
            while replica.queue:
                request = replica.queue[0]
                free = np.flatnonzero(self._who[row] < 0)
                prompt = float(self.traffic.prompt_tokens[request])
                if not len(free) or (self._kv[row].any() and self._kv[row].sum() + prompt > self.machine.kv_tokens):
                    break
                slot = free[0]
                replica.queue.popleft()
                self._who[row, slot] = request
                self._prefill[row, slot], self._decode[row, slot] = prompt, self.traffic.output_tokens[request]
                self._kv[row, slot] = prompt
                self._started[request] = self.now
                self._counts["waits"] += 1
                self._counts["waited"] += max(0.0, self.now - self.traffic.arrival_seconds[request] - self.step_seconds)
                self._counts["in"] += prompt

    def _compute(self) -> None:
        """Advance every batch by one step of time; prompts are read in a share of each iteration."""
        machine = self.machine
        busy = self._who >= 0
        count = busy.sum(axis=1)
        if not count.any():
            return
        waiting = np.where(busy, self._prefill, 0.0)
        prompt = waiting.sum(axis=1)
        pace = machine.base_seconds + machine.slope_seconds * count
        chunk = np.minimum(machine.chunk_tokens, prompt)
        # Iterations: those with a chunk of prompt first, then without.
        heavy = np.minimum(self.step_seconds / (pace + machine.prefill_seconds * chunk), prompt / machine.chunk_tokens)
        light = (
            np.maximum(0.0, self.step_seconds - heavy * (pace + machine.prefill_seconds * machine.chunk_tokens)) / pace
        )
        read = np.minimum(prompt, heavy * machine.chunk_tokens)
        share = np.divide(read, prompt, out=np.zeros_like(read), where=prompt > 0.0)
        self._prefill -= waiting * share[:, np.newaxis]
        decoding = busy & (self._prefill <= 1.0)
        tokens = np.where(decoding, np.minimum((heavy + light)[:, np.newaxis], self._decode), 0.0)
        self._decode -= tokens
        self._kv += tokens
        self._counts["out"] += float(tokens.sum())
        self._finish(decoding & (self._decode <= 1e-9))

    def _finish(self, done: NDArray[np.bool_]) -> None:
        rows, slots = np.nonzero(done)
        for row, slot in zip(rows.tolist(), slots.tolist(), strict=True):
            request = self._who[row, slot]
            self._replicas[row].held -= 1
            self._counts["finished"] += 1
            self._counts["lengths"] += float(self.traffic.output_tokens[request])
            self._counts["prompts"] += float(self.traffic.prompt_tokens[request])
        self._who[rows, slots], self._kv[rows, slots] = -1, 0.0
        for row in [row for row, one in self._replicas.items() if one.leaving and not one.held]:
            del self._replicas[row]

    def _scale(self) -> None:
        wanted = [row for row, one in self._replicas.items() if not one.leaving]
        sample = self._sample(wanted)
        wish = min(max(1, self.scaler.decide(sample)), self.most_replicas)
        if self.on_sample is not None:
            self.on_sample(sample, wish)
        self._moves += wish != len(wanted)
        free = iter(row for row in range(self.most_replicas) if row not in self._replicas)
        for row in list(free)[: max(0, wish - len(wanted))]:
            self._replicas[row] = _Replica(ready_at=self.now + self.machine.lead_seconds)
        # Those that do not serve yet go first, then the emptiest; one that serves always stays.
        order = sorted(wanted, key=lambda row: (-self._replicas[row].ready_at, self._replicas[row].held))
        for row in order[: max(0, len(wanted) - wish)]:
            if self._replicas[row].held:
                self._replicas[row].leaving = True
            else:
                del self._replicas[row]
        self._most = max(self._most, wish)

    def _sample(self, wanted: list[int]) -> Sample:
        serving = [row for row in wanted if self._replicas[row].ready_at <= self.now]
        # Replicas on their way out still finish requests and still show them.
        shown = [row for row, one in self._replicas.items() if one.ready_at <= self.now]
        counts, per = self._counts, self.scrape_seconds
        done, begun = counts["finished"], counts["waits"]
        answer = Sample(
            self.now, len(wanted), len(serving),
            tuple(float(len(self._replicas[row].queue)) for row in shown),
            tuple(float((self._who[row] >= 0).sum()) for row in shown),
            tuple(float(self._kv[row].sum() / self.machine.kv_tokens) for row in shown),
            self.machine.slots, counts["arrived"] / per, done / per, counts["in"] / per, counts["out"] / per,
            counts["prompts"] / done if done else np.nan, counts["lengths"] / done if done else np.nan,
            counts["waited"] / begun if begun else np.nan, begun / per,
        )  # fmt: skip
        self._counts = dict.fromkeys(counts, 0.0)
        return answer

    def _verdict(self) -> Verdict:
        arrived = self.traffic.arrival_seconds
        waits = np.where(np.isnan(self._started), np.inf, self._started - arrived - self.step_seconds)
        waits = np.maximum(0.0, waits)
        # Who still waits at the end has waited at least until then.
        waits = np.minimum(waits, np.maximum(0.0, self.now - arrived))
        late = waits > self.slo_seconds
        window = (arrived // 10.0).astype(np.int64)
        came, failed = np.bincount(window), np.bincount(window, weights=late)
        violated = 10.0 * np.count_nonzero(failed > self.allowed * came)
        return Verdict(
            float(violated), self._hours, float(late.mean()), float(waits.mean()), float(np.quantile(waits, 0.95)),
            self._most, self._moves,
        )  # fmt: skip
