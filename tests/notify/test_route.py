"""What a receiver of incidents hears: loud enough, new, not too often, and nothing twice after a restart."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from aiops.detect.base import Severity
from aiops.incidents.alert import Incident, Notified
from aiops.kit.clock import Clock
from aiops.kit.retry import Temporary
from aiops.notify.dispatch import Dispatcher, Listener
from aiops.notify.notice import IncidentNotice
from aiops.notify.route import milestones
from aiops.notify.settings import NotifySettings
from tests.notify.alerts import START

pytestmark = pytest.mark.looptime


def incident(
    name: str = "i1", severity: Severity = Severity.WARNING, *, updated: float = 0.0, ended: float = 0.0
) -> IncidentNotice:
    ended_at = START + ended if ended else 0.0
    return IncidentNotice(Incident(name, "Queue grows", severity, START, START + updated, ended_at, ()), ())


def told(notifier: Any) -> list[tuple[float, str, str]]:
    return [(at, item.incident.id, milestones(item)) for at, item in notifier.delivered]


class Desk:
    """One receiver behind a dispatcher, and what was recorded."""

    def __init__(self, notifier: Any, clock: Clock, recorded: list[Notified] | None = None, **wants: Any) -> None:
        self.recorded = recorded if recorded is not None else []
        self.dispatcher = Dispatcher(
            NotifySettings(),
            listeners=[Listener(notifier, **{"news": milestones, **wants})],
            notified=list(self.recorded),
            on_notified=self.recorded.append,
            clock=clock,
        )
        self.dispatcher.start()

    def tell(self, *items: IncidentNotice) -> None:
        self.dispatcher.submit({}, items)


async def test_people_hear_that_it_began_got_worse_and_ended(fake_notifier: Any, virtual_clock: Clock) -> None:
    chat = fake_notifier(batch_size=1)
    desk = Desk(chat, virtual_clock)
    for second in range(20):
        desk.tell(incident(updated=float(second)))
        await asyncio.sleep(1)
    desk.tell(incident(severity=Severity.CRITICAL, updated=20.0))
    await asyncio.sleep(1)
    desk.tell(incident(severity=Severity.CRITICAL, updated=30.0, ended=30.0))
    await asyncio.sleep(1)
    assert told(chat) == [(0.0, "i1", "warning"), (20.0, "i1", "critical"), (21.0, "i1", "resolved")]
    assert desk.dispatcher.status()[0].deduped == 19
    await desk.dispatcher.stop()


async def test_a_cause_that_is_found_later_is_told_once(fake_notifier: Any, virtual_clock: Clock) -> None:
    chat, hook = fake_notifier(batch_size=1), fake_notifier(name="hook", batch_size=1)
    desks = [Desk(chat, virtual_clock), Desk(hook, virtual_clock, news=Listener(hook).news)]
    for cause in ("", "", "slow-gpu", "slow-gpu"):
        for desk in desks:
            desk.tell(replace(incident(), cause=cause))
        await asyncio.sleep(1)
    assert [item.cause for item in chat.items()] == [item.cause for item in hook.items()] == ["", "slow-gpu"]
    for desk in desks:
        await desk.dispatcher.stop()


async def test_what_is_below_its_severity_is_muted(fake_notifier: Any, virtual_clock: Clock) -> None:
    pager = fake_notifier(batch_size=1)
    desk = Desk(pager, virtual_clock, least=Severity.CRITICAL)
    desk.tell(incident("a"), incident("b", Severity.CRITICAL), incident("c", Severity.INFO))
    await asyncio.sleep(1)
    desk.tell(incident("a", ended=1.0), incident("b", Severity.CRITICAL, ended=1.0))
    await asyncio.sleep(1)
    assert [what[1:] for what in told(pager)] == [("b", "critical"), ("b", "resolved")]
    assert desk.dispatcher.status()[0].muted == 3
    await desk.dispatcher.stop()


async def test_a_storm_is_slowed_and_nothing_is_lost(fake_notifier: Any, virtual_clock: Clock) -> None:
    chat = fake_notifier(batch_size=1)
    desk = Desk(chat, virtual_clock, per_minute=12.0)
    desk.tell(*(incident(str(number)) for number in range(20)))
    await asyncio.sleep(12)
    assert len(chat.delivered) == 3 + 2, "three at once, then one in five seconds"
    desk.tell(*(incident(str(number), ended=12.0) for number in range(20)))
    await asyncio.sleep(300)
    last = {name: what for _, name, what in told(chat)}
    assert last == {str(number): "resolved" for number in range(20)}
    per_minute = [sum(minute * 60 <= at < (minute + 1) * 60 for at, *_ in told(chat)) for minute in range(5)]
    assert max(per_minute) <= 12 + 3
    assert desk.dispatcher.status()[0].dropped == 0
    await desk.dispatcher.stop()


async def test_the_first_message_never_waits_and_a_stop_does_not_either(
    fake_notifier: Any, virtual_clock: Clock
) -> None:
    chat = fake_notifier(batch_size=1)
    desk = Desk(chat, virtual_clock, per_minute=0.5)
    desk.tell(incident("a"), incident("b"))
    await asyncio.sleep(1)
    assert [at for at, *_ in told(chat)] == [0.0]
    await desk.dispatcher.stop()
    assert [name for _, name, _ in told(chat)] == ["a", "b"]


async def test_a_restart_repeats_nothing_that_was_taken_and_loses_nothing_that_was_not(
    fake_notifier: Any, virtual_clock: Clock
) -> None:
    down = fake_notifier(batch_size=1, behave=lambda now: Temporary("down") if now < 5.0 else None)
    desk = Desk(down, virtual_clock)
    desk.tell(incident("a"))
    await asyncio.sleep(60)
    assert [one.incident for one in desk.recorded] == ["a"]
    down.behave = lambda now: Temporary("down again")
    desk.tell(incident("b"))
    await asyncio.sleep(5)
    desk.dispatcher._resending.cancel()  # killed: no drain, and nobody hears of b
    up = fake_notifier(batch_size=1)
    after = Desk(up, virtual_clock, desk.recorded)
    after.tell(incident("a"), incident("b"))
    await asyncio.sleep(5)
    assert [name for _, name, _ in told(up)] == ["b"]
    after.tell(incident("a", ended=70.0))
    await asyncio.sleep(5)
    assert told(up)[-1][1:] == ("a", "resolved")
    await after.dispatcher.stop()
    await desk.dispatcher._routes[0].lane.stop(0.0)


async def test_programs_hear_every_change(fake_notifier: Any, virtual_clock: Clock) -> None:
    hook = fake_notifier(batch_size=1)
    desk = Desk(hook, virtual_clock, news=Listener(hook).news)
    for item in (incident(updated=1.0), incident(updated=1.0), incident(updated=2.0)):
        desk.tell(replace(item))
        await asyncio.sleep(1)
    assert len(hook.delivered) == 2
    await desk.dispatcher.stop()
