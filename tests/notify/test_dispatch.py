"""What is told, when, and how often."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, cast

import pytest

from aiops.detect.base import AlertKey
from aiops.incidents.alert import Alert, AlertState, Incident
from aiops.kit.clock import Clock
from aiops.kit.retry import Temporary
from aiops.notify.dispatch import Dispatcher, Listener, letterhead_of
from aiops.notify.notice import IncidentNotice, Notice, incident_notice_of
from aiops.notify.settings import NotifySettings
from aiops.signals.tenancy import NO_TENANCY, Pod, Tenancy, Tenant
from aiops.signals.types import Entity, EntityKind, SeriesKey
from tests.notify.alerts import START, alert_of

pytestmark = pytest.mark.looptime


def told(notifier: Any) -> list[tuple[float, str]]:
    """When which status arrived."""
    return [(at, cast("Notice", item).status) for at, item in notifier.delivered]


class Desk:
    """A receiver, and a dispatcher that begins with the first tick, by the clock of the test."""

    def __init__(self, notifier: Any, clock: Clock) -> None:
        self.notifier, self._clock = notifier, clock
        self._dispatcher: Dispatcher | None = None

    def tell(
        self, *alerts: Alert, causes: Mapping[str, str] = MappingProxyType({}), tenancy: Tenancy = NO_TENANCY
    ) -> None:
        """One tick in which these stand."""
        if self._dispatcher is None:
            self._dispatcher = Dispatcher(NotifySettings(), alertmanagers=[self.notifier], clock=self._clock)
            self._dispatcher.start()
        self._dispatcher.submit({alert.key: alert for alert in alerts}, causes=causes, tenancy=tenancy)

    async def stop(self) -> None:
        assert self._dispatcher is not None
        await self._dispatcher.stop()


@pytest.fixture
def desk(fake_notifier: Any, virtual_clock: Clock) -> Desk:
    return Desk(fake_notifier(), virtual_clock)


async def settle() -> None:
    await asyncio.sleep(0.1)


async def test_a_firing_alert_is_told_at_once_and_again_every_minute(desk: Desk) -> None:
    alert = alert_of()
    for tick in range(61):
        # The numbers change with every tick; that is no news.
        changed = replace(alert, verdict=replace(alert.verdict, value=float(tick)))
        desk.tell(changed)
        await asyncio.sleep(5)
    assert told(desk.notifier) == [(minute * 60.0, "firing") for minute in range(6)]
    values = [dict(cast("Notice", item).annotations)["value"] for item in desk.notifier.items()]
    assert values == ["0", "11", "23", "35", "47", "59"], "each resend tells the latest numbers"
    assert {cast("Notice", item).starts_at for item in desk.notifier.items()} == {START}
    await desk.stop()


async def test_what_is_held_back_is_told_when_it_is_let_go(desk: Desk) -> None:
    alert = alert_of()
    for muted in ("maintenance: upgrade", ""):
        desk.tell(replace(alert, muted=muted))
        await asyncio.sleep(300)
        assert bool(desk.notifier.delivered) is not bool(muted)
    await desk.stop()


async def test_the_end_of_what_nobody_heard_of_is_not_told(desk: Desk) -> None:
    desk.tell(replace(alert_of(state=AlertState.RESOLVED, ended_at=START + 10), muted="maintenance: upgrade"))
    await settle()
    await desk.stop()
    assert not desk.notifier.delivered


async def test_resolved_is_told_at_once_and_until_the_machine_forgets(desk: Desk) -> None:
    firing = alert_of()
    resolved = alert_of(state=AlertState.RESOLVED, ended_at=START + 10)
    desk.tell(firing)
    await asyncio.sleep(10)
    for _ in range(180):
        desk.tell(resolved)
        await asyncio.sleep(5)
    desk.tell()
    await asyncio.sleep(300)
    ends = [at for at, status in told(desk.notifier) if status == "resolved"]
    assert ends[0] == 10.0
    assert ends[1:] == [minute * 60.0 for minute in range(1, 16)]
    assert {cast("Notice", item).ends_at for item in desk.notifier.items()} == {None, START + 10}
    await desk.stop()


async def test_resolving_and_breaching_again_is_no_news(desk: Desk) -> None:
    for state in (AlertState.FIRING, AlertState.RESOLVING, AlertState.FIRING):
        alert = alert_of(state=state)
        desk.tell(alert)
        await asyncio.sleep(5)
    assert told(desk.notifier) == [(0.0, "firing")]
    await desk.stop()


async def test_pending_is_never_told_and_a_relapse_is_a_new_start(desk: Desk) -> None:
    for alert in (
        alert_of(state=AlertState.PENDING),
        alert_of(),
        alert_of(state=AlertState.RESOLVED, ended_at=START + 10),
        alert_of(state=AlertState.PENDING, started_at=START + 15, ended_at=START + 10),
        alert_of(started_at=START + 15),
    ):
        desk.tell(alert)
        await asyncio.sleep(5)
    notices = [cast("Notice", item) for item in desk.notifier.items()]
    assert [(notice.status, notice.starts_at) for notice in notices] == [
        ("firing", START),
        ("resolved", START),
        ("firing", START + 15),
    ]
    assert len({notice.labels for notice in notices}) == 1
    await desk.stop()


async def test_a_new_start_is_told_at_once_also_when_the_end_was_missed(desk: Desk) -> None:
    for started_at in (START, START + 5):
        alert = alert_of(started_at=started_at)
        desk.tell(alert)
        await asyncio.sleep(5)
    assert told(desk.notifier) == [(0.0, "firing"), (5.0, "firing")]
    await desk.stop()


@pytest.mark.parametrize("pending", [True, False])
async def test_an_alert_that_vanished_without_an_end_is_told_as_resolved(desk: Desk, pending: bool) -> None:
    firing = alert_of()
    desk.tell(firing)
    await asyncio.sleep(5)
    desk.tell(*([alert_of(state=AlertState.PENDING)] if pending else []))
    await settle()
    assert told(desk.notifier) == [(0.0, "firing"), (5.0, "resolved")]
    await desk.stop()


async def test_a_dead_receiver_delays_no_other_and_no_tick(fake_notifier: Any, virtual_clock: Clock) -> None:
    dead = fake_notifier(name="dead", call_seconds=10.0, behave=lambda now: Temporary("timeout"))
    alive = fake_notifier(name="alive")
    dispatcher = Dispatcher(NotifySettings(), alertmanagers=[dead, alive], clock=virtual_clock)
    dispatcher.start()
    alerts = {alert.key: alert for alert in (alert_of(f"i{i}:8000") for i in range(1000))}
    dispatcher.submit(alerts)
    assert asyncio.get_running_loop().time() == 0.0
    await asyncio.sleep(600)
    assert [status.healthy for status in dispatcher.status()] == [False, True]
    assert len(alive.delivered) == 1000 * 10
    assert dispatcher.status()[0].queue_length == 1000, "one place per alert, however often it is told"
    await dispatcher.stop()
    assert dispatcher.status()[0].dropped == 1000


async def test_a_cause_goes_out_at_once_or_with_the_next_resend(desk: Desk) -> None:
    alert = alert_of()
    for causes in ({}, {alert.incident: "heat"}):
        desk.tell(alert, causes=causes)
        await asyncio.sleep(NotifySettings().resend_delay * 1.5)
    texts = [dict(cast("Notice", item).annotations).get("cause") for item in desk.notifier.items()]
    assert texts == [None, None, "heat"]
    assert len({cast("Notice", item).labels for item in desk.notifier.items()}) == 1
    await desk.stop()


async def test_an_alert_of_a_gpu_says_whose_it_is(desk: Desk) -> None:
    gpu = SeriesKey(Entity.of(EntityKind.GPU, gpu="GPU-1", node="n1"), "gpu_xid")
    alert = replace(alert_of(), key=AlertKey("GpuXid", gpu))
    given = Tenancy("n1", {"GPU-1": (Tenant(Pod("llm", "chat-0"), "vllm"),)})
    for tenancy in (NO_TENANCY, given):
        desk.tell(alert, tenancy=tenancy)
        await asyncio.sleep(NotifySettings().resend_delay * 1.5)
    texts = [dict(cast("Notice", item).annotations).get("pods") for item in desk.notifier.items()]
    assert texts == [None, None, "llm/chat-0"]
    assert len({cast("Notice", item).labels for item in desk.notifier.items()}) == 1
    await desk.stop()


async def test_incidents_go_to_webhooks_once_per_change(fake_notifier: Any, virtual_clock: Clock) -> None:
    hook = fake_notifier(batch_size=1)
    head = letterhead_of(NotifySettings(), "http://aiops:9600/")
    dispatcher = Dispatcher(NotifySettings(), listeners=[Listener(hook)], clock=virtual_clock)
    dispatcher.start()
    alert = alert_of()
    incident = Incident("abc", "Queue grows", alert.severity, START, START, 0.0, (alert.key,))
    dispatcher.submit({alert.key: alert}, [incident_notice_of(incident, {alert.key: alert}, head, "why")])
    await asyncio.sleep(300)
    dispatcher.submit({}, [incident_notice_of(replace(incident, ended_at=START + 300), {}, head)])
    await asyncio.sleep(300)
    items = [cast("IncidentNotice", item) for item in hook.items()]
    assert [(item.incident.open, len(item.alerts), item.url) for item in items] == [
        (True, 1, "http://aiops:9600/incidents/abc"),
        (False, 0, "http://aiops:9600/incidents/abc"),
    ]
    await dispatcher.stop()


async def test_a_stop_drains_and_leaves_no_task(fake_notifier: Any, virtual_clock: Clock) -> None:
    notifier = fake_notifier(call_seconds=2.0)
    dispatcher = Dispatcher(NotifySettings(drain_timeout=5.0), alertmanagers=[notifier], clock=virtual_clock)
    dispatcher.start()
    alert = alert_of()
    dispatcher.submit({alert.key: alert})
    await dispatcher.stop()
    assert told(notifier) == [(2.0, "firing")]
    assert asyncio.all_tasks() == {asyncio.current_task()}
