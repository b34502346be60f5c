"""Tells open pages that the fleet was looked at again, by server-sent events.

An event says only *that* there is news and how much; the page then asks for what it shows. So a listener holds no
queue: whoever is slow gets the newest event when it is ready, and whoever cannot take one for ``_PATIENCE_SECONDS``
is let go. Memory is bounded by the number of listeners, and that by a setting.
"""

import asyncio
import json
from collections.abc import Mapping

from aiohttp import web

_HEARTBEAT_SECONDS = 15.0
_PATIENCE_SECONDS = 10.0


class Events:
    """The listeners and the newest event.

    Attributes
    ----------
    refused, dropped
        Listeners that were one too many; that were let go because they did not read.
    """

    def __init__(self, limit: int, *, heartbeat_seconds: float = _HEARTBEAT_SECONDS) -> None:
        self._limit = limit
        self._heartbeat_seconds = heartbeat_seconds
        self._listeners: set[asyncio.Event] = set()
        self._newest = b""
        self._closed = False
        self.refused = 0
        self.dropped = 0

    @property
    def listeners(self) -> int:
        """Pages that listen now."""
        return len(self._listeners)

    def publish(self, record: Mapping[str, object]) -> None:
        """Tell every listener. Costs nothing when there is none."""
        if self._listeners:
            self._newest = f"event: tick\ndata: {json.dumps(dict(record), allow_nan=False)}\n\n".encode()
            self._wake()

    async def close(self) -> None:
        """Let every listener go; the server is about to stop."""
        self._closed = True
        self._wake()

    def full(self) -> bool:
        """Whether one more listener is one too many; counts it then."""
        full = len(self._listeners) >= self._limit
        self.refused += full
        return full

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Serve one listener until it leaves."""
        news = asyncio.Event()
        self._listeners.add(news)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        try:
            await response.prepare(request)
            await self._write(response, b"retry: 3000\n\n")
            while not self._closed:
                await self._write(response, await self._next(news))
        except TimeoutError:
            self.dropped += 1
            if request.transport is not None:
                request.transport.abort()
        except ConnectionError:
            pass  # it left
        finally:
            self._listeners.discard(news)
        return response

    async def _next(self, news: asyncio.Event) -> bytes:
        """The newest event, or a comment that keeps proxies from hanging up."""
        try:
            async with asyncio.timeout(self._heartbeat_seconds):
                await news.wait()
        except TimeoutError:
            return b": still here\n\n"
        news.clear()
        return b"" if self._closed else self._newest

    @staticmethod
    async def _write(response: web.StreamResponse, data: bytes) -> None:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await response.write(data)

    def _wake(self) -> None:
        for news in self._listeners:
            news.set()
