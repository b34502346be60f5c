"""The seam of every collector."""

from collections.abc import Sequence
from typing import Protocol

from aiops.signals.types import Reading, SourceStatus


class Collector(Protocol):
    """Brings numbers in. One loop owns it and never calls :meth:`read` concurrently with itself."""

    interval_seconds: float

    async def read(self) -> Sequence[Reading]:
        """Ask once. An expected failure (refused, timeout, bad page) is not an exception: the answer is
        empty and :meth:`status` says why. The constructor never touches the network."""
        ...

    def status(self) -> SourceStatus:
        """How the source is, as of the last :meth:`read`."""
        ...

    async def close(self) -> None:
        """Let go of sockets and threads; may be called twice."""
        ...
