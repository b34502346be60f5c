"""From the alerts as they stand to every receiver, without ever making the tick wait.

The dispatcher compares what stands with what it told, so a restart needs no care: whatever is active is told at
the first tick, with the start it had, and the receivers recognise it. Active and recently resolved alerts are told
again every ``resend_delay``, because Alertmanager forgets them when it restarts.
"""

import asyncio
import contextlib
import math
import random
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from aiohttp import ClientSession

from aiops.detect.base import AlertKey, Severity
from aiops.incidents.alert import Alert, AlertState, Notified
from aiops.kit.clock import SYSTEM_CLOCK, Clock
from aiops.kit.http import HttpClient
from aiops.notify.alertmanager import Alertmanager
from aiops.notify.base import Notifier, ReceiverStatus
from aiops.notify.by_apprise import ByApprise
from aiops.notify.chat import Chat
from aiops.notify.lane import Item, Lane, no_wait
from aiops.notify.notice import IncidentNotice, Letterhead, Notice, notice_of
from aiops.notify.route import News, Route, every_change, milestones
from aiops.notify.settings import NotifySettings, ReceiverKind, ReceiverSettings
from aiops.notify.webhook import Webhook
from aiops.signals.tenancy import NO_TENANCY, Tenancy

RESENDS_VALID = 4
"""A firing alert holds for so many resends: three may be lost before a receiver takes it as resolved."""
_WORDED_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Listener:
    """A receiver of incidents, and what it wants to hear."""

    notifier: Notifier[IncidentNotice]
    least: Severity = Severity.INFO
    news: News = every_change
    per_minute: float = math.inf


class Dispatcher:
    """Tells all receivers. Construct and :meth:`start` inside a running loop; :meth:`stop` once.

    Parameters
    ----------
    external_url
        Base URL under which people reach this daemon; ``""`` = no links.
    link_key
        Signs links for feedback; empty = there are none.
    alertmanagers
        Receivers of alerts; told again and again.
    listeners
        Receivers of incidents, and what each wants to hear.
    notified
        What they have heard already, from before a restart.
    on_notified
        Hears of each message that was taken.
    kept
        Waits until what was decided is on the disk, for a bounded time.
    """

    def __init__(
        self,
        settings: NotifySettings,
        *,
        external_url: str = "",
        link_key: bytes = b"",
        alertmanagers: Sequence[Notifier[Notice]] = (),
        listeners: Sequence[Listener] = (),
        notified: Iterable[Notified] = (),
        on_notified: Callable[[Notified], None] = lambda _: None,
        kept: Callable[[], Awaitable[None]] = no_wait,
        clock: Clock = SYSTEM_CLOCK,
        rng: random.Random | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._head = letterhead_of(settings, external_url, link_key)
        self._told: dict[AlertKey, Alert] = {}
        self._rng = rng or random.Random()  # noqa: S311 - spreads retries, protects nothing
        self._kept = kept
        self._alert_lanes = [self._lane(each, lambda notice: notice.labels) for each in alertmanagers]
        self._on_notified = on_notified
        heard = list(notified)
        self._routes = [self._route(each, heard) for each in listeners]
        self._causes: Mapping[str, str] = MappingProxyType({})
        self._tenancy = NO_TENANCY
        self._resending: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to deliver and to resend."""
        for lane in self._lanes():
            lane.start()
        self._resending = asyncio.create_task(self._resend(), name="notify resend")

    def submit(
        self,
        alerts: Mapping[AlertKey, Alert],
        incidents: Iterable[IncidentNotice] = (),
        *,
        causes: Mapping[str, str] = MappingProxyType({}),
        tenancy: Tenancy = NO_TENANCY,
    ) -> None:
        """Take in one tick; never blocks.

        Parameters
        ----------
        alerts
            All of ours that are not inactive: ``machine.alerts`` after ``machine.assign``.
        incidents
            Those that changed in this tick.
        causes
            Incident → its cause in one line. One that is known later goes out with the next resend.
        tenancy
            Who was given which GPU, where that is known.
        """
        self._causes, self._tenancy = causes, tenancy
        for key, alert in alerts.items():
            if alert.muted:
                continue  # held back; if it still stands when that is over, it is told then
            told = self._told.get(key)
            if alert.state is AlertState.PENDING:
                # Its earlier life, if any, is over, and is told until the machine forgets it.
                if told is not None and told.active:
                    self._tell(self._ended(told))
                continue
            if told is None or (told.active, told.started_at) != (alert.active, alert.started_at):
                self._tell(alert)
            self._told[key] = alert
        for key in [key for key in self._told if key not in alerts]:
            if self._told[key].active:
                self._tell(self._ended(self._told[key]))
            del self._told[key]
        for incident in incidents:
            for route in self._routes:
                route.offer(incident)

    async def stop(self) -> None:
        """Stop to resend, and deliver what waits within ``drain_timeout``."""
        if self._resending is not None:
            self._resending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._resending
        await asyncio.gather(*(lane.stop(self._settings.drain_timeout) for lane in self._lanes()))

    def status(self) -> tuple[ReceiverStatus, ...]:
        """Every receiver, in the order of the configuration."""
        return (*(lane.status() for lane in self._alert_lanes), *(route.status() for route in self._routes))

    def _route(self, listener: Listener, heard: Sequence[Notified]) -> Route:
        def sent(item: IncidentNotice) -> None:
            self._on_notified(route.notified(item, self._clock.now()))

        notifier = listener.notifier
        lane = self._lane(notifier, lambda notice: notice.incident.id, per_minute=listener.per_minute, on_sent=sent)
        route = Route(lane, least=listener.least, news=listener.news)
        route.remember(one for one in heard if one.receiver == notifier.name)
        return route

    def _lane(
        self,
        notifier: Notifier[Item],
        identity: Callable[[Item], Hashable],
        *,
        per_minute: float = math.inf,
        on_sent: Callable[[Item], None] = lambda _: None,
    ) -> Lane[Item]:
        return Lane(
            notifier,
            identity,
            capacity=self._settings.queue_capacity,
            # A failed try and the wait before the next one end well before two resends are over.
            longest_retry_seconds=self._settings.resend_delay / 2,
            give_up_seconds=self._settings.give_up_after,
            clock=self._clock,
            rng=self._rng,
            per_minute=per_minute,
            on_sent=on_sent,
            kept=self._kept,
        )

    def _lanes(self) -> list[Lane[Notice] | Lane[IncidentNotice]]:
        return [*self._alert_lanes, *(route.lane for route in self._routes)]

    def _ended(self, told: Alert) -> Alert:
        """What was told as firing and no longer is, without a word about its end."""
        return replace(told, state=AlertState.RESOLVED, ended_at=self._clock.now())

    def _tell(self, alert: Alert) -> None:
        self._told[alert.key] = alert
        notice = notice_of(
            alert,
            self._head,
            self._causes.get(alert.incident, ""),
            self._tenancy.pods_of(alert.key.series.entity),
        )
        for lane in self._alert_lanes:
            lane.offer(notice)

    async def _resend(self) -> None:
        while True:
            await asyncio.sleep(self._settings.resend_delay)
            for count, key in enumerate(list(self._told)):
                alert = self._told.get(key)  # look again: a tick may have come between
                if alert is not None:
                    self._tell(alert)
                if count % _WORDED_AT_ONCE == _WORDED_AT_ONCE - 1:
                    await asyncio.sleep(0)


def letterhead_of(settings: NotifySettings, external_url: str, link_key: bytes = b"") -> Letterhead:
    """What stands on every notice; without another place for runbooks, the daemon serves them itself."""
    labels = tuple(sorted(settings.external_labels.items()))
    runbooks = settings.runbook_url or (f"{external_url.rstrip('/')}/runbooks" if external_url else "")
    return Letterhead(labels, external_url, runbooks, link_key)


def dispatcher_of(
    settings: NotifySettings,
    session: ClientSession,
    *,
    interval_seconds: float,
    external_url: str = "",
    link_key: bytes = b"",
    notified: Iterable[Notified] = (),
    on_notified: Callable[[Notified], None] = lambda _: None,
    kept: Callable[[], Awaitable[None]] = no_wait,
    clock: Clock = SYSTEM_CLOCK,
) -> Dispatcher:
    """Build the dispatcher that the settings describe.

    Parameters
    ----------
    session
        Shared; its owner closes it after :meth:`Dispatcher.stop`.
    interval_seconds
        Time between two ticks.
    external_url
        Base URL under which people reach this daemon; ``""`` = no links.
    link_key
        Signs links for feedback; empty = there are none.
    notified, on_notified, kept
        As :class:`Dispatcher` has them.
    """
    valid_seconds = RESENDS_VALID * max(settings.resend_delay, interval_seconds)
    return Dispatcher(
        settings,
        external_url=external_url,
        link_key=link_key,
        alertmanagers=[
            Alertmanager(each, HttpClient(each.client, session), valid_seconds=valid_seconds, clock=clock)
            for each in settings.alertmanagers
        ],
        listeners=[
            *(
                Listener(Webhook(each, HttpClient(each.client, session)), each.min_severity)
                for each in settings.webhooks
            ),
            *(
                Listener(_receiver_of(each, session, clock), each.min_severity, milestones, each.per_minute)
                for each in settings.receivers
            ),
        ],
        notified=notified,
        on_notified=on_notified,
        kept=kept,
        clock=clock,
    )


def _receiver_of(settings: ReceiverSettings, session: ClientSession, clock: Clock) -> Notifier[IncidentNotice]:
    if settings.kind is ReceiverKind.APPRISE:
        return ByApprise(settings)
    return Chat(settings, HttpClient(settings.client, session), clock)
