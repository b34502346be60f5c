"""Reads the metrics page of one target: fetch, parse, normalise.

Whatever the target does, a read ends within its timeout and answers a reading or nothing; the reason stands in
the status. Targets share a session but no state, so a bad one costs the others nothing.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from aiohttp import ClientSession

from aiops.collect.exposition import Limits, PageParser, PageTooLarge
from aiops.collect.settings import LimitSettings
from aiops.collect.targets import Target
from aiops.kit.clock import SYSTEM_CLOCK, Clock
from aiops.kit.http import Answer, HttpClient
from aiops.kit.retry import Failure
from aiops.signals.page import Page
from aiops.signals.types import Entity, EntityKind, Reading, SourceStatus

SHOWN_BYTES = 64 * 1024
ACCEPT = (
    "application/openmetrics-text;version=1.0.0,"
    "application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)


class Normaliser(Protocol):
    """Gives a page's numbers their canonical names; keeps what it needs from page to page."""

    def normalise(self, page: Page, at: float) -> Reading:
        """Turn the page that arrived at ``at`` (UTC seconds) into a reading."""
        ...

    def facts(self) -> dict[str, str | float]:
        """What a person wants to know: engine, version …"""
        ...


class Scraper:
    """Collector of one target.

    Parameters
    ----------
    session
        Shared; opened with the target's ``reach``. The owner closes it.
    normaliser
        This target's own.

    Attributes
    ----------
    last_page
        First 64 KiB of the last answer, also of a bad one, to show to a person. Untrusted text.
    """

    def __init__(
        self, target: Target, *, session: ClientSession, normaliser: Normaliser, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self.target = target
        self.interval_seconds = target.interval_seconds
        self.last_page = b""
        self._client = HttpClient(target.client, session)
        self._parser = PageParser(_limits(target.limits))
        self._normaliser = normaliser
        self._clock = clock
        self._page: Page | None = None
        self._page_facts: dict[str, str | float] = {"url": target.url}
        self._headers = {
            "Accept": ACCEPT,
            "X-Prometheus-Scrape-Timeout-Seconds": f"{target.timeout_seconds:g}",
        }
        self._status = SourceStatus(
            target.source, "scrape", Entity(EntityKind.TARGET, target.labels), target.interval_seconds
        )

    @property
    def page(self) -> Page | None:
        """The last page that could be read; None before the first."""
        return self._page

    async def read(self) -> Sequence[Reading]:
        """Scrape once."""
        self._status = replace(self._status, last_attempt=self._clock.now())
        began = self._clock.monotonic()
        try:
            answer = await self._fetch()
            page = self._parse(answer)
        except (Failure, ValueError) as error:
            self._failed(str(error))
            return ()
        finally:
            self._page_facts["duration_seconds"] = self._clock.monotonic() - began
        try:
            reading = self._normaliser.normalise(page, self._clock.now())
        except Exception as error:  # ours to repair, so it goes on to the supervisor; but the target is not "up"
            self._failed(f"page cannot be normalised: {type(error).__name__}: {error}")
            raise
        self._succeeded(page, answer, reading.at)
        return (reading,)

    def status(self) -> SourceStatus:
        """How the target is, as of the last :meth:`read`."""
        return replace(self._status, facts={**self._normaliser.facts(), **self._page_facts})

    async def close(self) -> None:
        """Nothing to let go of: the session is shared."""

    async def _fetch(self) -> Answer:
        answer = await self._client.ask(
            "GET",
            self.target.url,
            headers=self._headers,
            timeout_seconds=self.target.timeout_seconds,
            limit_bytes=self.target.limits.body,
        )
        self.last_page = answer.body[:SHOWN_BYTES]
        return answer.require_ok()

    def _parse(self, answer: Answer) -> Page:
        kind = answer.headers.get("Content-Type", "")
        try:
            page = self._parser.parse(answer.body, kind)
        except PageTooLarge as error:
            raise ValueError(f"{answer.url} sent a page that is too large: {error}") from error
        if not page.layout.samples:
            # Prometheus calls an empty page up. We would be blind, so we say so.
            raise ValueError(f"{answer.url} has no samples ({kind[:60]!r}); {page.first_error or 'the page is empty'}")
        return page

    def _succeeded(self, page: Page, answer: Answer, at: float) -> None:
        changed = self._page is None or not self._page.same_as(page)
        self._page = page
        self._page_facts |= {
            "samples": float(len(page.layout.samples)),
            "size_bytes": float(len(answer.body)),
            "bad_lines": float(page.bad_lines),
            "first_bad_line": page.first_error,
        }
        self._status = replace(
            self._status,
            last_success=at,
            last_change=at if changed else self._status.last_change,
            failures=0,
            error="",
        )

    def _failed(self, why: str) -> None:
        self._status = replace(self._status, failures=self._status.failures + 1, error=why)


def _limits(settings: LimitSettings) -> Limits:
    return Limits(
        max_samples=settings.samples,
        max_labels=settings.labels,
        max_name_bytes=settings.name_bytes,
        max_value_bytes=settings.value_bytes,
    )
