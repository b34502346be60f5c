"""Against a real Alertmanager: what people would hear, through restarts, kills and copies of us."""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientError, ClientSession, web
from aiohttp.test_utils import TestServer

from aiops.incidents.alert import Alert, AlertState
from aiops.kit.clock import Clock
from aiops.kit.http import HttpClient, open_session
from aiops.notify.alertmanager import Alertmanager
from aiops.notify.dispatch import Dispatcher, dispatcher_of
from aiops.notify.notice import Letterhead, fingerprint, notice_of
from aiops.notify.settings import AlertmanagerSettings, NotifySettings

pytestmark = pytest.mark.real
MakeAlert = Callable[..., Alert]
SENDER = Path(__file__).with_name("sender.py")
CONFIG = """
route:
  receiver: people
  group_by: ["..."]
  group_wait: 0s
  group_interval: 500ms
  repeat_interval: 1h
receivers:
- name: people
  webhook_configs:
  - url: {url}
    send_resolved: true
"""


@dataclass
class People:
    """Who Alertmanager tells."""

    heard: list[dict[str, Any]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        self.heard += (await request.json())["alerts"]
        return web.Response()

    def statuses(self) -> list[str]:
        return [alert["status"] for alert in self.heard]


@dataclass
class RealAlertmanager:
    """The program, its files, and whom it tells."""

    program: str
    folder: Path
    port: int
    people: People
    session: ClientSession
    process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            self.program,
            f"--config.file={self.folder / 'am.yml'}",
            f"--storage.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--cluster.listen-address=",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        await until(self._ready, "Alertmanager is ready")

    async def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            await self.process.wait()
            self.process = None

    async def alerts(self) -> list[dict[str, Any]]:
        async with self.session.get(f"{self.url}/api/v2/alerts") as answer:
            found: list[dict[str, Any]] = await answer.json()
            return found

    async def _ready(self) -> bool:
        with contextlib.suppress(ClientError):
            async with self.session.get(f"{self.url}/-/ready") as answer:
                return answer.status == 200
        return False


async def until(done: Callable[[], Any], what: str) -> None:
    """Wait for a condition of a real program; fail after 15 s."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        result = done()
        if await result if asyncio.iscoroutine(result) else result:
            return
        await asyncio.sleep(0.05)
    pytest.fail(f"waited 15 s in vain until {what}")


@pytest_asyncio.fixture
async def manager(
    tmp_path: Path, free_port: Callable[[], int], real_program: Callable[[str], str]
) -> AsyncIterator[RealAlertmanager]:
    program, people, app = real_program("prometheus-alertmanager"), People(), web.Application()
    app.router.add_post("/", people.handle)
    async with TestServer(app) as server, open_session() as session:
        (tmp_path / "am.yml").write_text(CONFIG.format(url=server.make_url("/")))
        running = RealAlertmanager(program, tmp_path, free_port(), people, session)
        await running.start()
        try:
            yield running
        finally:
            await running.stop()


def dispatcher_to(manager: RealAlertmanager, clock: Clock | None = None, valid_seconds: float = 40.0) -> Dispatcher:
    """Resend every second. Alerts hold far longer by default, so that a stalled test machine ends none."""
    settings = NotifySettings(alertmanagers=(AlertmanagerSettings(url=manager.url),), resend_delay=1.0)
    return dispatcher_of(settings, manager.session, interval_seconds=valid_seconds / 4, clock=clock or Clock())


async def test_people_hear_of_a_start_and_an_end_once_each(manager: RealAlertmanager, make_alert: MakeAlert) -> None:
    began = time.time() - 20
    firing = make_alert(started_at=began)
    dispatcher = dispatcher_to(manager)
    dispatcher.start()
    dispatcher.submit({firing.key: firing})
    await until(lambda: manager.people.heard, "people heard of the start")
    (stands,) = await manager.alerts()
    labels = notice_of(firing, Letterhead()).labels
    assert stands["fingerprint"] == fingerprint(labels)
    assert stands["labels"] == dict(labels)
    await asyncio.sleep(1.5)  # resends go by
    ended = make_alert(state=AlertState.RESOLVED, started_at=began, ended_at=time.time())
    dispatcher.submit({firing.key: ended})
    await until(lambda: len(manager.people.heard) > 1, "people heard of the end")
    await asyncio.sleep(1.5)
    await dispatcher.stop()
    assert manager.people.statuses() == ["firing", "resolved"]
    assert {alert["startsAt"][:19] for alert in manager.people.heard} == {stands["startsAt"][:19]}
    assert dispatcher.status()[0].errors == 0


async def test_a_restarted_alertmanager_learns_again_and_a_silent_sender_ends(
    manager: RealAlertmanager, make_alert: MakeAlert
) -> None:
    firing = make_alert(started_at=time.time())
    dispatcher = dispatcher_to(manager, valid_seconds=4.0)
    dispatcher.start()
    dispatcher.submit({firing.key: firing})
    await until(lambda: manager.people.heard, "people heard of the start")
    await manager.stop()
    await asyncio.sleep(1.2)
    assert not dispatcher.status()[0].healthy
    await manager.start()
    await until(manager.alerts, "the new process knows the alert")
    assert manager.people.statuses() == ["firing"], "its notification log says that people know"
    await dispatcher.stop()
    await until(lambda: len(manager.people.heard) > 1, "the alert that nobody tells any more ends")
    assert manager.people.statuses() == ["firing", "resolved"]


@contextlib.asynccontextmanager
async def senders(manager: RealAlertmanager, *starts: float) -> AsyncIterator[None]:
    """Run copies of sender.py until each delivered, and kill them without warning at the end."""
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, str(SENDER), manager.url, "killed", str(started_at), stdout=asyncio.subprocess.PIPE
        )
        for started_at in starts
    ]
    try:
        async with asyncio.timeout(20):
            for process in processes:
                assert process.stdout is not None
                assert await process.stdout.readline() == b"sent\n"
        yield
    finally:
        for process in processes:
            process.kill()
            await process.wait()


async def test_kills_and_copies_of_us_are_one_notification(manager: RealAlertmanager) -> None:
    started_at = time.time()
    async with senders(manager, started_at):
        await until(lambda: manager.people.heard, "people heard of the start")
    async with senders(manager, started_at, started_at + 0.3):
        await asyncio.sleep(1)
        (stands,) = await manager.alerts()
        assert manager.people.statuses() == ["firing"]
        assert stands["status"]["state"] == "active"


@pytest.mark.parametrize("offset", [-3600.0, 3600.0])
async def test_clocks_an_hour_apart_neither_hide_nor_hold_an_alert(
    manager: RealAlertmanager, make_alert: MakeAlert, offset: float
) -> None:
    clock = Clock(now=lambda: time.time() + offset)
    firing = make_alert(started_at=clock.now())
    dispatcher = dispatcher_to(manager, clock)
    dispatcher.start()
    dispatcher.submit({firing.key: firing})
    await until(lambda: manager.people.heard, "people heard of the start")
    await asyncio.sleep(1.2)
    assert manager.people.statuses() == ["firing"]
    dispatcher.submit({firing.key: make_alert(state=AlertState.RESOLVED, ended_at=clock.now())})
    await until(lambda: len(manager.people.heard) > 1, "people heard of the end")
    assert manager.people.statuses() == ["firing", "resolved"]
    assert "60 min" in dispatcher.status()[0].warning
    await dispatcher.stop()


async def test_an_invalid_alert_in_a_batch_costs_only_itself(manager: RealAlertmanager, make_alert: MakeAlert) -> None:
    """Why alerts are judged before: the answer to a mixed batch is 400, and what was fine is taken all the same."""
    good = notice_of(make_alert(started_at=time.time()), Letterhead())
    records = [
        {"labels": dict(good.labels), "annotations": {}},
        {"labels": {"alertname": "Bad", "bad-label": "x"}, "annotations": {}},
    ]
    async with manager.session.post(f"{manager.url}/api/v2/alerts", json=records) as answer:
        assert answer.status == 400
        assert isinstance(json.loads(await answer.read()), str)
    (stands,) = await manager.alerts()
    assert stands["fingerprint"] == fingerprint(good.labels)
    settings = AlertmanagerSettings(url=manager.url)
    ours = Alertmanager(settings, HttpClient(settings.client, manager.session), valid_seconds=4.0, clock=Clock())
    assert ours.problem(good) == ""
    await ours.send([good])
