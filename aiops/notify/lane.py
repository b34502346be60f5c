"""The way to one receiver: a bounded queue, one task, patience.

A receiver is told how things *are*, so an item that waits is replaced by a newer one of the same identity: after an
outage the receiver learns the present, not the history. A slow or dead receiver costs nobody else anything.
"""

import asyncio
import contextlib
import logging
import math
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

from aiops.kit.clock import Clock
from aiops.kit.retry import Failure, Permanent, Temporary, backoff_seconds
from aiops.notify.base import Notifier, ReceiverStatus

Item = TypeVar("Item")
_FIRST_RETRY_SECONDS = 1.0
_RETRY_WHILE_STOPPING_SECONDS = 0.2
_log = logging.getLogger(__name__)


async def no_wait() -> None:
    """Nothing is kept."""


class _Waiting(NamedTuple, Generic[Item]):
    item: Item
    since: float
    """Monotonic seconds."""


class Lane(Generic[Item]):
    """Owns one notifier. Construct anywhere, :meth:`start` inside a running loop, :meth:`stop` once.

    Parameters
    ----------
    identity
        Items of equal identity replace each other while they wait.
    capacity
        Most items that wait; beyond it the oldest are dropped.
    longest_retry_seconds
        Cap of the exponential back-off between tries.
    give_up_seconds
        An item that failed is dropped once it waited so long.
    per_minute
        Most calls a minute, a few at once; what waits for its turn is not lost, only replaced by something newer.
    on_sent
        Hears of each item that was taken.
    kept
        Waits until what is told is on the disk, for a bounded time: who tells, dies and does not know it any more tells
        it twice.
    """

    def __init__(
        self,
        notifier: Notifier[Item],
        identity: Callable[[Item], Hashable],
        *,
        capacity: int,
        longest_retry_seconds: float,
        give_up_seconds: float,
        clock: Clock,
        rng: random.Random,
        per_minute: float = math.inf,
        on_sent: Callable[[Item], None] = lambda _: None,
        kept: Callable[[], Awaitable[None]] = no_wait,
    ) -> None:
        self._notifier = notifier
        self._identity = identity
        self._capacity = capacity
        self._longest_retry_seconds = longest_retry_seconds
        self._give_up_seconds = give_up_seconds
        self._clock = clock
        self._rng = rng
        self._turns = _Turns(per_minute, clock)
        self._on_sent = on_sent
        self._kept = kept
        self._queue: OrderedDict[Hashable, _Waiting[Item]] = OrderedDict()
        self._work = asyncio.Event()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._sent = self._dropped = self._refused = self._invalid = self._errors = 0
        self._latency_seconds = float("nan")
        self._last_success_at = self._last_error_at = 0.0
        self._error = self._last_error = self._last_invalid = self._warning = ""

    @property
    def name(self) -> str:
        """Name of the receiver."""
        return self._notifier.name

    def offer(self, item: Item) -> None:
        """Queue one item; never blocks. What can never be valid is counted and left out."""
        problem = self._notifier.problem(item)
        if problem:
            self._invalid += 1
            if problem != self._last_invalid:
                _log.error("an item for %s is left out: %s", self._notifier.name, problem)
            self._last_invalid = problem
            return
        self._queue[self._identity(item)] = _Waiting(item, self._clock.monotonic())
        if len(self._queue) > self._capacity:
            self._queue.popitem(last=False)
            self._dropped += 1
        self._work.set()

    def start(self) -> None:
        """Begin to deliver."""
        self._task = asyncio.create_task(self._run(), name=f"notify {self._notifier.name}")

    async def stop(self, deadline_seconds: float) -> None:
        """Deliver what waits, for so long at most; count the rest as dropped."""
        self._stopping.set()
        self._work.set()
        if self._task is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._task, deadline_seconds)
        if self._queue:
            _log.error("%d items for %s were not delivered before the stop", len(self._queue), self._notifier.name)
        self._dropped += len(self._queue)
        self._queue.clear()

    def status(self, *, muted: int = 0, deduped: int = 0) -> ReceiverStatus:
        """How the receiver is, with what was counted before the lane."""
        return ReceiverStatus(
            muted=muted,
            deduped=deduped,
            name=self._notifier.name,
            kind=self._notifier.kind,
            queue_length=len(self._queue),
            queue_capacity=self._capacity,
            sent=self._sent,
            dropped=self._dropped,
            refused=self._refused,
            invalid=self._invalid,
            errors=self._errors,
            latency_seconds=self._latency_seconds,
            last_success_at=self._last_success_at,
            last_error_at=self._last_error_at,
            error=self._error,
            last_error=self._last_error,
            last_invalid=self._last_invalid,
            warning=self._warning,
        )

    async def _run(self) -> None:
        failures = 0
        while True:
            if not self._queue:
                if self._stopping.is_set():
                    return
                self._work.clear()
                await self._work.wait()
                continue
            wait = 0.0 if self._stopping.is_set() else self._turns.wait_seconds()
            if wait:
                await self._sleep(wait)
                continue
            failure = await self._send_batch()
            if not isinstance(failure, Temporary):
                failures = 0
                continue
            await self._pause(failure, failures)
            failures += 1

    async def _send_batch(self) -> Failure | None:
        """Try the oldest items once. They stay queued meanwhile, so newer ones can replace them."""
        batch = list(islice(self._queue.items(), self._notifier.batch_size))
        await self._kept()
        self._turns.take()
        began = self._clock.monotonic()
        failure: Failure | None = None
        try:
            await self._notifier.send([waiting.item for _, waiting in batch])
        except Failure as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - supervision: a bug of one notifier must not silence it for good
            _log.exception("the notifier of %s is broken", self._notifier.name)
            failure = Permanent(f"{type(error).__name__}: {error}")
        self._latency_seconds = self._clock.monotonic() - began
        self._settle(batch, failure)
        self._note(failure)
        return failure

    def _settle(self, batch: list[tuple[Hashable, _Waiting[Item]]], failure: Failure | None) -> None:
        now = self._clock.monotonic()
        for key, waiting in batch:
            if isinstance(failure, Temporary) and now - waiting.since < self._give_up_seconds:
                if key in self._queue:
                    self._queue.move_to_end(key)  # whatever made this batch fail, the others get their turn
                continue
            if failure is None:
                self._sent += 1
                self._on_sent(waiting.item)
            elif isinstance(failure, Temporary):
                self._dropped += 1
            else:
                self._refused += 1
            if self._queue.get(key) is waiting:
                del self._queue[key]

    def _note(self, failure: Failure | None) -> None:
        """Keep and log what happened; a fault that lasts is logged once."""
        error, name = str(failure) if failure else "", self._notifier.name
        if failure is None:
            self._last_success_at = self._clock.now()
        else:
            self._errors += 1
            self._last_error, self._last_error_at = error, self._clock.now()
        if error and error != self._error:
            _log.warning("cannot notify %s: %s", name, error)
        elif self._error and not error:
            _log.info("%s can be notified again", name)
        self._error = error
        warning = self._notifier.warning()
        if warning and warning != self._warning:
            _log.warning("%s: %s", name, warning)
        self._warning = warning

    async def _pause(self, failure: Temporary, failures: int) -> None:
        """Wait before the next try; a stop cuts it short."""
        cap = self._longest_retry_seconds
        seconds = backoff_seconds(failures, base=_FIRST_RETRY_SECONDS, cap=cap, rng=self._rng)
        # The receiver may ask for more, but a page must not wait longer than the cap for anybody's sake.
        seconds = min(max(seconds, failure.delay_seconds or 0.0), cap)
        if self._stopping.is_set():
            await asyncio.sleep(_RETRY_WHILE_STOPPING_SECONDS)
            return
        await self._sleep(seconds)

    async def _sleep(self, seconds: float) -> None:
        """Wait; a stop cuts it short."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)


class _Turns:
    """Token bucket: a few calls at once, then so many a minute."""

    def __init__(self, per_minute: float, clock: Clock) -> None:
        self._per_second = per_minute / 60.0
        self._most = max(1.0, per_minute / 4.0)
        self._clock = clock
        self._left = self._most
        self._at = clock.monotonic()

    def wait_seconds(self) -> float:
        """How long until the next call may be made; 0.0 = now."""
        if math.isinf(self._per_second):
            return 0.0
        now = self._clock.monotonic()
        self._left = min(self._most, self._left + (now - self._at) * self._per_second)
        self._at = now
        return max(0.0, (1.0 - self._left) / self._per_second)

    def take(self) -> None:
        """A call is made."""
        self._left -= 1.0
