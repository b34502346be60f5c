"""Every other service, e-mail among them, through the library apprise (extra ``notify``).

It is synchronous and imported only when a receiver asks for it: in a thread, one call at a time, with a deadline. Of a
failure it says only that there was one, so the HTTP status is read from what it logs; without one, another try is worth
it.
"""

import asyncio
import logging
import re
import threading
from collections.abc import Sequence
from typing import Any

from aiops.kit.http_settings import secret_text
from aiops.kit.retry import Permanent, Temporary
from aiops.notify.notice import IncidentNotice, message_of
from aiops.notify.settings import ReceiverSettings

_STATUS = re.compile(r"error=([45]\d\d)\b")
_WORTH_ANOTHER_TRY = frozenset({"408", "425", "429"})


class ByApprise:
    """One receiver behind an apprise URL."""

    kind = "apprise"
    batch_size = 1

    def __init__(self, settings: ReceiverSettings) -> None:
        self.name = settings.name
        self._settings = settings
        self._thread: threading.Thread | None = None

    def problem(self, item: IncidentNotice) -> str:  # noqa: ARG002 - the seam asks
        """Nothing that a text could not carry."""
        return ""

    def warning(self) -> str:
        """Nothing is known of the receiver but its answers."""
        return ""

    async def send(self, items: Sequence[IncidentNotice]) -> None:
        """Hand one message per incident over."""
        url = secret_text(self._settings.url, self._settings.url_file)
        for item in items:
            message = message_of(item)
            body = "\n".join(part for part in (message.text, message.url) if part)
            kind = "success" if not item.incident.open else "failure"
            await self._in_thread(url, message.title, body or message.title, kind)

    async def _in_thread(self, url: str, title: str, body: str, kind: str) -> None:
        if self._thread is not None and self._thread.is_alive():
            raise Temporary(f"{self.name} is still busy with the message before")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Exception | None] = loop.create_future()

        def settle(outcome: Exception | None) -> None:
            if not done.done():
                done.set_result(outcome)

        def work() -> None:
            outcome: Exception | None = None
            try:
                self._notify(url, title, body, kind)
            except Exception as error:  # noqa: BLE001 - whatever a plug-in raises is an answer, not a crash
                outcome = error
            if not loop.is_closed():
                loop.call_soon_threadsafe(settle, outcome)

        # A daemon thread: one that hangs may neither hold up the loop nor the end of the process.
        self._thread = threading.Thread(target=work, name=f"apprise {self.name}", daemon=True)
        self._thread.start()
        try:
            failure = await asyncio.wait_for(done, self._settings.timeout)
        except TimeoutError:
            raise Temporary(f"{self.name} took longer than {self._settings.timeout:g} s") from None
        if isinstance(failure, Temporary | Permanent):
            raise failure
        if failure is not None:
            raise Temporary(f"{self.name} failed: {type(failure).__name__}")

    def _notify(self, url: str, title: str, body: str, kind: str) -> None:
        import apprise  # noqa: PLC0415 - 0.25 s of CPU and 20 MiB, so only where a receiver asks for it

        # Its debug lines hold whole URLs and bodies: they reach nobody but the call-back.
        log = logging.getLogger("apprise")
        log.propagate = False
        if not log.handlers:
            log.addHandler(logging.NullHandler())
        statuses: list[str] = []

        def listen(entry: Any, *_: object) -> None:
            statuses.extend(_STATUS.findall(str(getattr(entry, "message", entry))))

        target = apprise.Apprise(asset=apprise.AppriseAsset(app_id="aiops", app_desc="aiops", async_mode=False))
        if not target.add(url):
            raise Permanent(f"{self.name}: its URL is none that apprise knows")
        if target.notify(body, title=title, notify_type=kind, log_callback=listen, log_level=logging.WARNING):
            return
        status = statuses[-1] if statuses else ""
        if status.startswith("4") and status not in _WORTH_ANOTHER_TRY:
            raise Permanent(f"{self.name} answered {status}")
        raise Temporary(f"{self.name} answered {status}" if status else f"{self.name} did not take the message")
