"""What people hear of a storm and of a target that flaps: our decisions, real Alertmanagers, a chat.

Decisions have a clock of their own, so that half an hour of flapping takes seconds; Alertmanager lives in real time.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest
from aiohttp import ClientSession

from aiops.detect.base import AlertKey, Severity, Timing, Verdict, Verdicts
from aiops.incidents.alert import Notified
from aiops.incidents.grouping import Grouping
from aiops.incidents.machine import Machine
from aiops.incidents.settings import IncidentSettings
from aiops.kit.clock import SYSTEM_CLOCK
from aiops.kit.http import HttpClient, open_session
from aiops.notify.alertmanager import Alertmanager
from aiops.notify.base import ReceiverStatus
from aiops.notify.dispatch import Dispatcher, Listener
from aiops.notify.notice import IncidentNotice, Letterhead, incident_notice_of
from aiops.notify.route import milestones
from aiops.notify.settings import AlertmanagerSettings, NotifySettings
from aiops.signals.types import Entity, EntityKind, SeriesKey
from tests.real.alertmanager import People, RealAlertmanager, alone, pair
from tests.real.programs import until

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]
SETTINGS = IncidentSettings()
STEP = 5.0


def down(number: int) -> AlertKey:
    entity = Entity.of(EntityKind.TARGET, job="vllm", pool="chat", instance=f"n{number}:8000")
    return AlertKey("TargetDown", SeriesKey(entity, "up"))


class Chat:
    """A receiver of incidents that takes everything."""

    name, kind, batch_size = "chat", "chat", 1

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []

    def problem(self, _: IncidentNotice) -> str:
        return ""

    def warning(self) -> str:
        return ""

    async def send(self, items: Sequence[IncidentNotice]) -> None:
        self.heard += [(item.incident.id, milestones(item)) for item in items]


class Daemon:
    """From verdicts to receivers, and what outlives a kill."""

    def __init__(self, managers: Iterable[RealAlertmanager], session: ClientSession, now: float) -> None:
        self.now = now
        self.chat = Chat()
        self._managers, self._session = tuple(managers), session
        self._notified: list[Notified] = []
        self._machine, self._grouping = self._decisions()
        self._dispatcher = self._started()

    def _decisions(self) -> tuple[Machine, Grouping]:
        return Machine(lambda rule: Timing(2, 3, 2, 3), SETTINGS), Grouping(SETTINGS)

    def _started(self) -> Dispatcher:
        dispatcher = Dispatcher(
            NotifySettings(resend_delay=5.0),
            alertmanagers=[
                Alertmanager(settings, HttpClient(settings.client, self._session), valid_seconds=240.0,
                             clock=SYSTEM_CLOCK)
                for settings in (AlertmanagerSettings(url=manager.url) for manager in self._managers)
            ],
            listeners=[Listener(self.chat, news=milestones)],
            notified=self._notified,
            on_notified=self._notified.append,
        )  # fmt: skip
        dispatcher.start()
        return dispatcher

    async def tick(self, breaching: Iterable[AlertKey]) -> None:
        self.now += STEP
        verdicts = {key: Verdict(key.rule, Severity.CRITICAL, 1.0, 0.0, "down", "it is down") for key in breaching}
        self._machine.step(self.now, Verdicts(verdicts))
        changed = self._grouping.step(self.now, self._machine.alerts)
        self._machine.assign(changed)
        notices = [incident_notice_of(one, self._machine.alerts, Letterhead()) for one in changed]
        self._dispatcher.submit(self._machine.alerts, notices)
        await asyncio.sleep(0.005)

    async def kill(self) -> None:
        """Without a word: what was decided and what receivers took is known, and nothing that waited."""
        for task in (self._dispatcher._resending, *(lane._task for lane in self._dispatcher._lanes())):
            assert task is not None
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        alerts, incidents = self._machine.alerts.values(), self._grouping.incidents.values()
        self._machine, self._grouping = self._decisions()
        self._machine.restore(alerts, self.now)
        self._grouping.restore(incidents)
        self._dispatcher = self._started()
        standing = [incident_notice_of(one, self._machine.alerts, Letterhead()) for one in incidents]
        self._dispatcher.submit(self._machine.alerts, standing)

    def status(self) -> tuple[ReceiverStatus, ...]:
        return self._dispatcher.status()

    async def stop(self) -> None:
        await self._dispatcher.stop()


@pytest.fixture
def people() -> People:
    return People()


def heard_of_each(people: People) -> Counter[tuple[str, ...]]:
    """How many alerts people heard so of."""
    stories: dict[str, list[str]] = {}
    for alert in people.heard:
        stories.setdefault(alert["labels"]["instance"], []).append(alert["status"])
    return Counter(map(tuple, stories.values()))


async def test_a_storm_of_a_thousand_is_one_incident_and_no_alert_is_lost_or_told_twice(
    tmp_path: Path, free_port: Callable[[], int], real_program: Callable[[str], str], people: People
) -> None:
    """One Alertmanager is down when it begins, the other one when it ends, and the daemon is killed at both moments."""
    storm, program = [down(number) for number in range(1000)], real_program("prometheus-alertmanager")
    async with open_session() as session, pair(program, tmp_path, free_port, people) as managers:
        daemon = Daemon(managers, session, time.time() - 600.0)
        await managers[1].stop()
        for _ in range(3):
            await daemon.tick(storm)
        await daemon.kill()
        await until(lambda: heard_of_each(people) == {("firing",): 1000}, 40, "a page for each")
        await managers[1].start()
        await until(lambda: _knows(managers[1], 1000), 40, "the one that was down knows them all")
        await managers[0].stop()
        for left in (storm[500:], storm[500:], (), ()):
            await daemon.tick(left)
        await daemon.kill()
        for _ in range(2):
            await daemon.tick(())
        await until(lambda: heard_of_each(people) == {("firing", "resolved"): 1000}, 40, "the end of each")
        await managers[0].start()
        await until(lambda: _healthy(daemon), 20, "both are told again")
        await asyncio.sleep(2)
        await daemon.stop()
    assert heard_of_each(people) == {("firing", "resolved"): 1000}
    assert [news for _, news in daemon.chat.heard] == ["critical", "resolved"]
    assert len({name for name, _ in daemon.chat.heard}) == 1


def _healthy(daemon: Daemon) -> bool:
    return all(status.healthy and not status.queue_length for status in daemon.status())


async def _knows(manager: RealAlertmanager, count: int) -> bool:
    return len(await manager.alerts()) == count


async def test_a_target_that_flaps_is_one_incident_and_few_pages(
    tmp_path: Path, free_port: Callable[[], int], real_program: Callable[[str], str], people: People
) -> None:
    """A minute up, a minute down, for half an hour; then it stays up."""
    program = real_program("prometheus-alertmanager")
    async with open_session() as session, alone(program, tmp_path, free_port(), people) as manager:
        daemon = Daemon([manager], session, time.time() - 2 * 3600.0)
        for tick in range(360):
            await daemon.tick([down(1)] if tick // 12 % 2 else [])
        for _ in range(round(SETTINGS.flap_calm / STEP) + 3):
            await daemon.tick([])
        await until(lambda: people.heard and people.statuses()[-1] == "resolved", 20, "the end")
        await asyncio.sleep(1)
        await daemon.stop()
    pages = people.statuses().count("firing")
    assert 1 <= pages <= SETTINGS.flap_limit
    assert people.statuses() == ["firing", "resolved"] * pages
    assert len({name for name, _ in daemon.chat.heard}) == 1
    assert [news for _, news in daemon.chat.heard] == ["critical", "resolved"] * SETTINGS.flap_limit
