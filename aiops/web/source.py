"""What the web room needs to know; the daemon provides it. All answers are plain JSON-able records."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from aiops.signals.telemetry import Family

Record = Mapping[str, object]


class ReloadFailed(Exception):
    """The new configuration was refused; the old one stays."""


class Source(Protocol):
    """The daemon as the web room sees it."""

    def families(self) -> Iterable[Family]:
        """Own telemetry and the current signals."""
        ...

    def not_ready(self) -> str:
        """Why the daemon cannot serve yet; empty when it can."""
        ...

    def targets(self) -> Sequence[Record]:
        """Every source with its health."""
        ...

    def signals(self, *, signal: str, entity: str) -> Sequence[Record]:
        """Latest value of each series, filtered by exact signal name and by a substring of the entity."""
        ...

    def alerts(self) -> Sequence[Record]:
        """Alerts that are not inactive."""
        ...

    def incidents(self) -> Sequence[Record]:
        """Incidents, newest first."""
        ...

    def incident(self, name: str) -> Record | None:
        """One incident by its id; None when there is none."""
        ...

    def slo(self) -> Sequence[Record]:
        """Every error budget."""
        ...

    def runbook(self, slug: str) -> str | None:
        """Markdown text of a runbook by its slug; None when there is none."""
        ...

    def recommendations(self) -> Sequence[Record]:
        """Replica advice on every pool, also where there is none and why."""
        ...

    def recommendation(self, pool: str) -> tuple[Record | None, str]:
        """Advice on one pool (None: no such pool), and why its number must not be used; empty when it may."""
        ...

    def status(self) -> Record:
        """Version, configuration, load and limits of the daemon."""
        ...

    async def reload(self) -> None:
        """Read the configuration again; raise :class:`ReloadFailed` and keep the old one if it is bad."""
        ...
