"""What is kept elsewhere: the numbers of a tick, to every receiver of remote write."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from aiohttp import ClientSession

from aiops.app import telemetry
from aiops.kit.clock import Clock
from aiops.kit.tasks import Supervisor, every
from aiops.notify.remote_write import RemoteWrite, RemoteWriteSettings, Written
from aiops.signals.telemetry import Family


class Writing:
    """Owns the writers.

    Parameters
    ----------
    scores, signals
        Families ``aiops_anomaly_*`` and ``aiops_signal_*``, as ``/metrics`` shows them.
    at
        UTC seconds of the tick that they are of; 0 before the first.
    """

    def __init__(
        self,
        scores: Callable[[], Iterable[Family]],
        signals: Callable[[], Iterable[Family]],
        at: Callable[[], float],
        clock: Clock,
    ) -> None:
        self._scores, self._signals, self._at, self._clock = scores, signals, at, clock
        self.writers: tuple[RemoteWrite, ...] = ()

    def begin(self, settings: Iterable[RemoteWriteSettings], session: ClientSession, supervisor: Supervisor) -> None:
        """Write from now on."""
        self.writers = tuple(RemoteWrite(one, session, clock=self._clock) for one in settings)
        for writer in self.writers:
            supervisor.spawn(f"remote write {writer.settings.title}", writer.run)
            supervisor.spawn(f"remote write {writer.settings.title} queue", partial(self._feed, writer))

    async def _feed(self, writer: RemoteWrite) -> None:
        async def take() -> None:
            if at := self._at():
                await writer.take(at, list(self._wanted(writer.settings)))

        await every(writer.settings.interval, take, clock=self._clock)

    def _wanted(self, settings: RemoteWriteSettings) -> Iterator[Family]:
        names = {f"aiops_anomaly_{one}" for one in settings.write}
        yield from (family for family in self._scores() if family.name in names)
        if Written.SIGNALS in settings.write:
            yield from self._signals()

    async def stop(self, within_seconds: float) -> None:
        """Deliver what waits; the tasks have ended."""
        for writer in self.writers:
            await writer.flush(within_seconds)

    def families(self) -> Iterator[Family]:
        """What became of the samples."""
        return telemetry.remote_write_families(
            {writer.settings.title: (writer.counts, writer.waiting_samples) for writer in self.writers}
        )
