"""Scores and bands to a Prometheus, Mimir, Thanos or VictoriaMetrics by remote write, so that they outlive the daemon.

What waits is kept in memory, in order, within a bound; beyond it the oldest is dropped and counted, so that an outage
costs a known amount and never the daemon. Batches are repeated as they are: their samples carry their own time, so one
that was stored although its answer was lost is the same sample again.
"""

import asyncio
import logging
import math
import random
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from aiohttp import ClientSession
from pydantic import AfterValidator, Field, StringConstraints
from yarl import URL

from aiops.kit.clock import SYSTEM_CLOCK, Clock
from aiops.kit.http import HttpClient
from aiops.kit.http_settings import ExtraHeaders, HttpClientSettings
from aiops.kit.log import OnChange
from aiops.kit.retry import Failure, Permanent, Temporary, backoff_seconds
from aiops.kit.settings import Duration, Section, Size
from aiops.kit.text import clipped, printable
from aiops.notify.settings import HttpUrl, LabelName
from aiops.notify.write_request import STALE, number, packed, series_head, write_request
from aiops.signals.telemetry import Family, FamilyKind

_LOG = logging.getLogger("aiops.notify.remote_write")
_HEADERS = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}
_ANSWER_BYTES = 64 * 1024
_FIRST_RETRY_SECONDS = 1.0


class Written(StrEnum):
    """What may be written."""

    SCORE = "score"
    EXPECTED = "expected"
    LOWER = "lower"
    UPPER = "upper"
    CONFIDENCE = "confidence"
    LEARNING = "learning"
    VOTE = "vote"
    SIGNALS = "signals"


def _without_credentials(url: str) -> str:
    if URL(url).user is not None:
        raise ValueError("credentials do not belong into the URL, which is shown; use client")
    return url


class RemoteWriteSettings(Section):
    """One receiver of samples, as an entry of ``remote_write`` of Prometheus. Needs the extra ``write``."""

    url: Annotated[HttpUrl, AfterValidator(_without_credentials)]
    """Where to: ``http://prometheus:9090/api/v1/write`` (a Prometheus with ``--web.enable-remote-write-receiver``)."""
    name: Annotated[str, StringConstraints(max_length=64)] = ""
    """Its name in metrics and logs; empty: the URL."""
    client: HttpClientSettings = HttpClientSettings()
    """Credentials and TLS."""
    headers: ExtraHeaders = Field(default_factory=dict)
    """Sent along, such as ``X-Scope-OrgID`` for a tenant of Mimir."""
    write: tuple[Written, ...] = (
        Written.SCORE, Written.EXPECTED, Written.LOWER, Written.UPPER, Written.CONFIDENCE,
    )  # fmt: skip
    """Families ``aiops_anomaly_…`` to write, under the names and labels of ``/metrics``; ``signals`` stands for all
    ``aiops_signal_*``."""
    external_labels: dict[LabelName, str] = Field(default_factory=dict)
    """Labels of every series that has none of the name. Two daemons that watch the same need one that differs."""
    interval: Annotated[Duration, Field(ge=0.2, le=300)] = 15.0
    """Time between two writes; each holds the numbers of the newest tick."""
    timeout: Annotated[Duration, Field(gt=0)] = 10.0
    """Longest time for one request."""
    max_samples: Annotated[int, Field(ge=1, le=100_000)] = 2000
    """Most samples of one request."""
    queue: Annotated[Size, Field(ge=65_536)] = 16 * 1024 * 1024
    """Memory for what waits, packed. An hour of 1000 series at the defaults takes about 24 MiB."""
    longest_retry: Annotated[Duration, Field(gt=0)] = 30.0
    """The wait between tries grows up to this, unless the receiver asks for more."""

    @property
    def title(self) -> str:
        """Name for people."""
        return self.name or self.url


def _distinct(settings: tuple[RemoteWriteSettings, ...]) -> tuple[RemoteWriteSettings, ...]:
    titles = [one.title for one in settings]
    if double := sorted({title for title in titles if titles.count(title) > 1}):
        raise ValueError(f"names (URLs without one) must differ; used twice: {', '.join(double)}")
    return settings


RemoteWrites = Annotated[tuple[RemoteWriteSettings, ...], AfterValidator(_distinct)]


@dataclass(slots=True)
class WriteCounts:
    """What became of samples."""

    sent: int = 0
    refused: int = 0
    dropped: int = 0
    retries: int = 0
    sent_until: float = math.nan


@dataclass(frozen=True, slots=True)
class _Batch:
    body: bytes
    samples: int
    at: float


class RemoteWrite:
    """Writes to one receiver: :meth:`take` at every interval, :meth:`run` as a task, :meth:`flush` at the end."""

    def __init__(
        self,
        settings: RemoteWriteSettings,
        session: ClientSession,
        *,
        clock: Clock = SYSTEM_CLOCK,
        rng: random.Random | None = None,
    ) -> None:
        self.settings = settings
        self.counts = WriteCounts()
        self._client = HttpClient(settings.client, session)
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311 - spreads clients, guards nothing
        self._queue: deque[_Batch] = deque()
        self._sending: _Batch | None = None
        self._bytes = 0
        self._heads: dict[tuple[str, frozenset[tuple[str, str]]], bytes] = {}
        self._milliseconds = 0
        self._work = asyncio.Event()
        self._faults = OnChange(_LOG, clock.monotonic)

    @property
    def waiting_samples(self) -> int:
        """Samples that are not delivered yet."""
        return sum(batch.samples for batch in self._queue) + (self._sending.samples if self._sending else 0)

    async def take(self, at: float, families: Sequence[Family]) -> None:
        """Queue the numbers of a tick; one that was taken before is left out.

        Parameters
        ----------
        at
            UTC seconds of the tick.
        families
            What it said. A series that is not there any more is told to end.
        """
        milliseconds = round(at * 1000.0)
        if milliseconds <= self._milliseconds:
            return
        self._milliseconds = milliseconds
        heads: dict[tuple[str, frozenset[tuple[str, str]]], bytes] = {}
        rows: list[tuple[bytes, bytes]] = []
        for family in families:
            name = f"{family.name}_total" if family.kind is FamilyKind.COUNTER else family.name
            for labels, value in family.samples:
                key = name, frozenset(labels.items())
                head = self._heads.get(key) or series_head(name, {**self.settings.external_labels, **_full(labels)})
                heads[key] = head
                rows.append((head, number(value)))
            await asyncio.sleep(0)  # a large fleet must not hold up the loop
        rows += [(head, STALE) for key, head in self._heads.items() if key not in heads]
        self._heads = heads
        for first in range(0, len(rows), self.settings.max_samples):
            part = rows[first : first + self.settings.max_samples]
            self._offer(_Batch(packed(write_request(part, milliseconds)), len(part), at))
            await asyncio.sleep(0)

    def _offer(self, batch: _Batch) -> None:
        self._queue.append(batch)
        self._bytes += len(batch.body)
        while self._bytes > self.settings.queue and self._queue:
            oldest = self._queue.popleft()
            self._bytes -= len(oldest.body)
            self.counts.dropped += oldest.samples
        self._work.set()

    async def run(self) -> None:
        """Deliver what is queued, one request at a time, so that every series stays in order."""
        attempt = 0
        while True:
            if self._sending is None and not self._next():
                self._work.clear()
                await self._work.wait()
                continue
            try:
                await self._send()
                attempt = 0
            except Temporary as error:
                self.counts.retries += 1
                wait = backoff_seconds(
                    attempt, base=_FIRST_RETRY_SECONDS, cap=self.settings.longest_retry, rng=self._rng
                )
                attempt += 1
                await asyncio.sleep(max(wait, error.delay_seconds or 0.0))

    async def flush(self, within_seconds: float) -> None:
        """Try once to deliver what waits; what is left is dropped and counted. :meth:`run` has ended."""
        with suppress(TimeoutError, Temporary):
            async with asyncio.timeout(within_seconds):
                while self._sending is not None or self._next():
                    await self._send()
        if left := self.waiting_samples:
            self.counts.dropped += left
            _LOG.warning("samples were not written before the end",
                         extra={"receiver": self.settings.title, "samples": left})  # fmt: skip
        self._queue.clear()
        self._sending = None

    def _next(self) -> bool:
        """Make the oldest batch the one that is being sent."""
        if not self._queue:
            return False
        self._sending = self._queue.popleft()
        self._bytes -= len(self._sending.body)
        return True

    async def _send(self) -> None:
        """Send the current batch; it stays the current one when Temporary is raised or the task is cancelled."""
        batch = self._sending
        if batch is None:
            return
        try:
            answer = await self._client.ask(
                "POST",
                self.settings.url,
                headers={**self.settings.headers, **_HEADERS},
                body=batch.body,
                timeout_seconds=self.settings.timeout,
                limit_bytes=_ANSWER_BYTES,
                shown=self.settings.title,
            )
            try:
                answer.require_ok()
            except Permanent as error:
                said = clipped(printable(answer.body.decode(errors="replace")), 200)
                raise Permanent(f"{error}: {said}" if said else str(error)) from None
        except Permanent as error:
            self.counts.refused += batch.samples
            self._faults.report(self.settings.title, str(error), samples=batch.samples)
        except Failure as error:
            self._faults.report(self.settings.title, str(error))
            raise
        else:
            self.counts.sent += batch.samples
            self.counts.sent_until = batch.at
            self._faults.report(self.settings.title, "")
        self._sending = None


def _full(labels: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in labels.items() if value}
