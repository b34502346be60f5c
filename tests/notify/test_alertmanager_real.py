"""Against a real Alertmanager: what people would hear, through restarts, kills and copies of us."""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import ClientSession

from aiops.incidents.alert import AlertState
from aiops.kit.clock import Clock
from aiops.kit.http import HttpClient, open_session
from aiops.notify.alertmanager import Alertmanager
from aiops.notify.dispatch import Dispatcher, dispatcher_of
from aiops.notify.notice import Letterhead, fingerprint, notice_of
from aiops.notify.settings import AlertmanagerSettings, NotifySettings
from tests.notify.alerts import alert_of
from tests.real.alertmanager import People, RealAlertmanager, alone
from tests.real.programs import until

pytestmark = pytest.mark.real
ROOT = Path(__file__).resolve().parents[2]
MakeDispatcher = Callable[..., Dispatcher]


@pytest_asyncio.fixture
async def people() -> People:
    return People()


@pytest_asyncio.fixture
async def manager(
    tmp_path: Path, free_port: Callable[[], int], real_program: Callable[[str], str], people: People
) -> AsyncIterator[RealAlertmanager]:
    async with alone(real_program("prometheus-alertmanager"), tmp_path, free_port(), people) as running:
        yield running


@pytest_asyncio.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with open_session() as opened:
        yield opened


@pytest.fixture
def dispatcher_to(manager: RealAlertmanager, session: ClientSession) -> MakeDispatcher:
    """Resend every second. Alerts hold far longer by default, so that a stalled test machine ends none."""

    def make(clock: Clock | None = None, valid_seconds: float = 40.0) -> Dispatcher:
        settings = NotifySettings(alertmanagers=(AlertmanagerSettings(url=manager.url),), resend_delay=1.0)
        return dispatcher_of(settings, session, interval_seconds=valid_seconds / 4, clock=clock or Clock())

    return make


async def test_people_hear_of_a_start_and_an_end_once_each(
    manager: RealAlertmanager, people: People, dispatcher_to: MakeDispatcher
) -> None:
    began = time.time() - 20
    firing = alert_of(started_at=began)
    dispatcher = dispatcher_to()
    dispatcher.start()
    dispatcher.submit({firing.key: firing})
    await until(lambda: people.heard, 15, "people heard of the start")
    (stands,) = await manager.alerts()
    labels = notice_of(firing, Letterhead()).labels
    assert stands["fingerprint"] == fingerprint(labels)
    assert stands["labels"] == dict(labels)
    await asyncio.sleep(1.5)  # resends go by
    ended = alert_of(state=AlertState.RESOLVED, started_at=began, ended_at=time.time())
    dispatcher.submit({firing.key: ended})
    await until(lambda: len(people.heard) > 1, 15, "people heard of the end")
    await asyncio.sleep(1.5)
    await dispatcher.stop()
    assert people.statuses() == ["firing", "resolved"]
    assert {alert["startsAt"][:19] for alert in people.heard} == {stands["startsAt"][:19]}
    assert dispatcher.status()[0].errors == 0


async def test_a_restarted_alertmanager_learns_again_and_a_silent_sender_ends(
    manager: RealAlertmanager, people: People, dispatcher_to: MakeDispatcher
) -> None:
    firing = alert_of(started_at=time.time())
    dispatcher = dispatcher_to(valid_seconds=4.0)
    dispatcher.start()
    dispatcher.submit({firing.key: firing})
    await until(lambda: people.heard, 15, "people heard of the start")
    await manager.stop()
    await until(lambda: not dispatcher.status()[0].healthy, 15, "nobody takes it")
    await manager.start()
    await until(manager.alerts, 15, "the new process knows the alert")
    assert people.statuses() == ["firing"], "its notification log says that people know"
    await dispatcher.stop()
    await until(lambda: len(people.heard) > 1, 15, "the alert that nobody tells any more ends")
    assert people.statuses() == ["firing", "resolved"]


@contextlib.asynccontextmanager
async def senders(manager: RealAlertmanager, *starts: float) -> AsyncIterator[None]:
    """Run copies of sender.py until each delivered, and kill them without warning at the end."""
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.notify.sender",
            manager.url,
            "killed",
            str(started_at),
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
        )
        for started_at in starts
    ]
    try:
        async with asyncio.timeout(60):
            for process in processes:
                assert process.stdout is not None
                assert await process.stdout.readline() == b"sent\n"
        yield
    finally:
        for process in processes:
            process.kill()
            await process.wait()


async def test_kills_and_copies_of_us_are_one_notification(manager: RealAlertmanager, people: People) -> None:
    started_at = time.time()
    async with senders(manager, started_at):
        await until(lambda: people.heard, 15, "people heard of the start")
    async with senders(manager, started_at, started_at + 0.3):
        await asyncio.sleep(1)
        (stands,) = await manager.alerts()
        assert people.statuses() == ["firing"]
        assert stands["status"]["state"] == "active"


@pytest.mark.parametrize("offset", [-3600.0, 3600.0])
async def test_clocks_an_hour_apart_neither_hide_nor_hold_an_alert(
    people: People, dispatcher_to: MakeDispatcher, offset: float
) -> None:
    clock = Clock(now=lambda: time.time() + offset)
    firing = alert_of(started_at=clock.now())
    dispatcher = dispatcher_to(clock)
    dispatcher.start()
    dispatcher.submit({firing.key: firing})
    await until(lambda: people.heard, 15, "people heard of the start")
    await asyncio.sleep(1.2)
    assert people.statuses() == ["firing"]
    dispatcher.submit({firing.key: alert_of(state=AlertState.RESOLVED, ended_at=clock.now())})
    await until(lambda: len(people.heard) > 1, 15, "people heard of the end")
    assert people.statuses() == ["firing", "resolved"]
    assert "60 min" in dispatcher.status()[0].warning
    await dispatcher.stop()


async def test_an_invalid_alert_in_a_batch_costs_only_itself(manager: RealAlertmanager, session: ClientSession) -> None:
    """Why alerts are judged before: the answer to a mixed batch is 400, and what was fine is taken all the same."""
    good = notice_of(alert_of(started_at=time.time()), Letterhead())
    records = [
        {"labels": dict(good.labels), "annotations": {}},
        {"labels": {"alertname": "Bad", "bad-label": "x"}, "annotations": {}},
    ]
    async with session.post(f"{manager.url}/api/v2/alerts", json=records) as answer:
        assert answer.status == 400
        assert isinstance(json.loads(await answer.read()), str)
    (stands,) = await manager.alerts()
    assert stands["fingerprint"] == fingerprint(good.labels)
    settings = AlertmanagerSettings(url=manager.url)
    ours = Alertmanager(settings, HttpClient(settings.client, session), valid_seconds=4.0, clock=Clock())
    assert ours.problem(good) == ""
    await ours.send([good])
