"""What goes out: every tick's alerts and incidents, in the words of now, to the receivers of the configuration."""

from collections.abc import Callable, Iterable, Sequence

from aiohttp import ClientSession

from aiops.app.config import Config
from aiops.app.explain import Explain
from aiops.app.pipeline import Outcome, Pipeline
from aiops.app.state import State
from aiops.app.why import Why
from aiops.diagnose.record import Diagnosis
from aiops.incidents.alert import Incident
from aiops.kit.clock import Clock
from aiops.notify.base import ReceiverStatus
from aiops.notify.dispatch import Dispatcher, dispatcher_of
from aiops.notify.notice import IncidentNotice, Letterhead, incident_notice_of
from aiops.notify.silences import Silences


class Telling:
    """The way from the pipeline to the receivers.

    Parameters
    ----------
    head
        What stands on every notice now.

    Attributes
    ----------
    silences
        What is silenced in Alertmanager; None before :meth:`begin`.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        state: State,
        why: Why,
        explain: Explain,
        *,
        head: Callable[[], Letterhead],
        clock: Clock,
    ) -> None:
        self._pipeline, self._state, self._why, self._explain = pipeline, state, why, explain
        self._head = head
        self._clock = clock
        self._dispatcher: Dispatcher | None = None
        self._all_is_news = True
        self.silences: Silences | None = None

    async def begin(self, config: Config, session: ClientSession) -> None:
        """Tell the receivers of a configuration from now on; those of the one before hear first what waits."""
        await self.stop()
        head = self._head()
        self._dispatcher = dispatcher_of(
            config.notify,
            session,
            interval_seconds=config.interval,
            external_url=head.external_url,
            link_key=head.link_key,
            notified=self._state.notified.values(),
            on_notified=self._state.note_notified,
            kept=self._state.kept,
            clock=self._clock,
        )
        self._dispatcher.start()
        self._all_is_news = True
        self.silences = Silences(config.notify.alertmanagers, session)

    async def stop(self) -> None:
        """Deliver what waits, within its bound."""
        if self._dispatcher is not None:
            await self._dispatcher.stop()

    def status(self) -> Sequence[ReceiverStatus]:
        """Every receiver."""
        return self._dispatcher.status() if self._dispatcher is not None else ()

    async def read_silences(self) -> None:
        """See again what is silenced in Alertmanager."""
        if self.silences is not None:
            await self.silences.refresh()

    def step(self, outcome: Outcome, diagnoses: Sequence[Diagnosis]) -> None:
        """Take in one tick and what was found about it; never waits."""
        if self._dispatcher is None:
            return
        # A new dispatcher hears of all that stands; what its receivers know already ends there.
        standing = self._pipeline.grouping.incidents
        changed = {one.id: one for one in (standing.values() if self._all_is_news else outcome.incidents)}
        changed |= {one.incident: standing[one.incident] for one in diagnoses if one.incident in standing}
        self._all_is_news = False
        notices = self.notices(changed.values())
        self._dispatcher.submit(
            self._pipeline.machine.alerts, notices, causes=self._why.causes(), tenancy=self._pipeline.tenancy
        )

    def notices(self, incidents: Iterable[Incident]) -> list[IncidentNotice]:
        """Incidents as receivers get them, with what is known of the cause."""
        alerts, head = self._pipeline.alerts, self._head()
        return [
            incident_notice_of(one, alerts, head, self._explain.summary(one).text, self._why.cause(one.id))
            for one in incidents
        ]
