"""Alertmanager, as Prometheus talks to it: ``POST /api/v2/alerts`` to every peer.

A firing alert goes out with an end a few resends ahead, so a crash of ours ends it; a resolved one with the end it
had. Alertmanager judges both by *its* clock. Ours may jump, so its clock is followed through the ``Date`` header
and our monotonic clock: a firing alert never ends early and a resolved one never late by either clock.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from email.utils import parsedate_to_datetime

from aiops.kit.clock import Clock
from aiops.kit.http import Answer, HttpClient, public_url
from aiops.kit.retry import Permanent
from aiops.notify.notice import Notice, problem_of, record_of
from aiops.notify.settings import AlertmanagerSettings

_ANSWER_BYTES = 64 * 1024
_QUOTED_CHARACTERS = 300
_BELIEVED_OFFSET_SECONDS = 86_400.0
_WORTH_A_WARNING_SECONDS = 60.0


class Alertmanager:
    """One Alertmanager.

    Parameters
    ----------
    client
        With this receiver's credentials.
    valid_seconds
        How long a firing alert holds without being sent again: four times the resend delay.
    """

    kind = "alertmanager"
    batch_size = 256

    def __init__(
        self, settings: AlertmanagerSettings, client: HttpClient, *, valid_seconds: float, clock: Clock
    ) -> None:
        self.name = public_url(settings.url)
        self._url = f"{settings.url}/api/v2/alerts"
        self._timeout_seconds = settings.timeout
        self._client = client
        self._valid_seconds = valid_seconds
        self._clock = clock
        self._ahead_of_monotonic: float | None = None
        """Its clock minus our monotonic clock."""

    def problem(self, item: Notice) -> str:
        """Why it would refuse this notice."""
        return problem_of(item)

    def warning(self) -> str:
        """Tell when its clock differs from ours."""
        minutes = round((self._its_now() - self._clock.now()) / 60.0)
        if abs(minutes) * 60.0 < _WORTH_A_WARNING_SECONDS:
            return ""
        return f"its clock is {abs(minutes)} min {'ahead of' if minutes > 0 else 'behind'} ours"

    async def send(self, items: Sequence[Notice]) -> None:
        """POST one batch.

        Raises
        ------
        Temporary
            Timeout, broken connection, 5xx, 408, 429.
        Permanent
            Any other answer than 2xx. After 400 some of the batch may have been taken all the same, so it must
            not be sent again as it is; the next resend brings what still holds.
        """
        answer = await self._post(items)
        if self._follow_clock(answer):
            # What we sent may have been over by its clock; only now do we know.
            answer = await self._post(items)
        if answer.status == 400:
            text = answer.body.decode("utf-8", "replace")[:_QUOTED_CHARACTERS]
            raise Permanent(f"{answer.url} refused some alerts of a batch: {text!r}")
        answer.require_ok()

    async def _post(self, items: Sequence[Notice]) -> Answer:
        return await self._client.ask(
            "POST",
            self._url,
            timeout_seconds=self._timeout_seconds,
            limit_bytes=_ANSWER_BYTES,
            headers={"Content-Type": "application/json"},
            body=json.dumps([self._record(notice) for notice in items]).encode(),
        )

    def _record(self, notice: Notice) -> dict[str, object]:
        ours, its = self._clock.now(), self._its_now()
        if notice.ends_at is None:
            ends_at = max(ours, its) + self._valid_seconds
            starts_at = min(notice.starts_at, max(ours, its))
        else:
            ends_at = min(notice.ends_at, ours, its)
            starts_at = min(notice.starts_at, ends_at)  # a clock set back would make it end before its start
        return record_of(replace(notice, starts_at=starts_at, ends_at=ends_at))

    def _its_now(self) -> float:
        """UTC seconds by its clock; ours until it answered."""
        if self._ahead_of_monotonic is None:
            return self._clock.now()
        return self._clock.monotonic() + self._ahead_of_monotonic

    def _follow_clock(self, answer: Answer) -> bool:
        """Read its clock, and tell whether it is another than we thought. Nonsense is not believed."""
        try:
            # The header is cut to whole seconds; a second or two of error do not matter.
            its_now = parsedate_to_datetime(answer.headers["Date"]).timestamp()
        except (KeyError, ValueError):
            return False
        thought = self._its_now()
        if abs(its_now - self._clock.now()) > _BELIEVED_OFFSET_SECONDS:
            return False
        self._ahead_of_monotonic = its_now - self._clock.monotonic()
        return abs(its_now - thought) >= _WORTH_A_WARNING_SECONDS
