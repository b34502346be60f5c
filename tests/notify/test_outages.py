"""Hours of trouble in virtual time: two daemons, two Alertmanagers with one notification log, and everything fails.

Alertmanagers are modelled at the level of HTTP: they forget alerts when they restart, share what was notified, and
judge ends by their clock, as the real program does in ``tests/real/test_cluster.py``. One thing is beyond any sender:
an Alertmanager that lives and cannot be reached while a fault ends still believes in it and may page once more, so at
that moment the only trouble here is death.
"""

import asyncio
import json
import random
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

import pytest

from aiops.incidents.alert import Alert, AlertState
from aiops.kit.clock import Clock
from aiops.kit.http import Answer, HttpClient
from aiops.kit.retry import Temporary
from aiops.notify.alertmanager import Alertmanager
from aiops.notify.dispatch import RESENDS_VALID, Dispatcher
from aiops.notify.settings import AlertmanagerSettings, NotifySettings
from tests.notify.alerts import START, alert_of

pytestmark = pytest.mark.looptime
FAULT_SECONDS = 1500.0
END_SECONDS = 30.0 + FAULT_SECONDS
GROUP_INTERVAL_SECONDS = 30
TROUBLES = ("down", "slow", "500", "400", "reset")


@dataclass
class Model:
    """One Alertmanager; stands in for the HTTP client that leads to it."""

    clock: Clock
    notified: dict[str, str]
    heard: list[str]
    trouble: str = ""
    alerts: dict[str, tuple[float, float]] = field(default_factory=dict)
    troubles_met: set[str] = field(default_factory=set)

    async def ask(self, method: str, url: str, *, timeout_seconds: float, body: bytes, **more: Any) -> Answer:
        trouble = self.trouble
        if trouble:
            self.troubles_met.add(trouble)
        if trouble == "down":
            raise Temporary("connection refused")
        if trouble == "slow":
            await asyncio.sleep(timeout_seconds)
            raise Temporary("no whole answer")
        if trouble == "500":
            return Answer(url, 500, {}, b"")
        for record in json.loads(body):
            self.take(record)
        if trouble == "reset":
            raise Temporary("connection reset")
        return Answer(url, 400 if trouble == "400" else 200, {}, b'"some were bad"')

    def take(self, record: dict[str, Any]) -> None:
        """The younger message wins, except that starts only move back."""
        name = json.dumps(record["labels"], sort_keys=True)
        starts, ends = (datetime.fromisoformat(record[key]).timestamp() for key in ("startsAt", "endsAt"))
        known = self.alerts.get(name, (starts, ends))
        self.alerts[name] = (min(starts, known[0]), ends)

    def restart(self) -> None:
        """Alerts are not kept; what was notified is."""
        self.alerts.clear()

    def look(self) -> None:
        """Tell people what they do not know."""
        if self.trouble == "down":
            return
        for name, (_, ends) in self.alerts.items():
            status = "firing" if ends > self.clock.now() else "resolved"
            if self.notified.get(name, "resolved") != status:
                self.notified[name] = status
                self.heard.append(status)


class Daemon:
    """The telling half of a daemon, with a tick and decisions that outlive it."""

    def __init__(self, models: list[Model], clock: Clock, rng: random.Random) -> None:
        self.models, self.clock, self.rng = models, clock, rng
        self.alerts: dict[Any, Alert] = {}
        self.dispatcher = self.started()

    def started(self) -> Dispatcher:
        settings = NotifySettings()
        valid = RESENDS_VALID * settings.resend_delay
        managers = [
            Alertmanager(
                AlertmanagerSettings(url=f"http://am-{number}:9093"),
                cast("HttpClient", model),
                valid_seconds=valid,
                clock=self.clock,
            )
            for number, model in enumerate(self.models)
        ]
        dispatcher = Dispatcher(settings, alertmanagers=managers, clock=self.clock, rng=self.rng)
        dispatcher.start()
        return dispatcher

    async def kill(self) -> None:
        """Without a word, at whatever moment."""
        dispatcher = self.dispatcher
        tasks = [dispatcher._resending, *(lane._task for lane in dispatcher._alert_lanes)]
        for task in tasks:
            assert task is not None
            task.cancel()
        await asyncio.gather(*(task for task in tasks if task), return_exceptions=True)
        self.dispatcher = self.started()

    def tick(self) -> None:
        self.dispatcher.submit(self.alerts)


def episodes(rng: random.Random, until: float) -> list[tuple[float, float, str]]:
    """Troubles of one Alertmanager, one after the other; each but a death is over before an alert would end."""
    found, at = [], rng.uniform(0.0, 120.0)
    while at < until:
        trouble = rng.choice(TROUBLES)
        lasts = rng.uniform(1.0, 300.0 if trouble == "down" else 100.0)
        if at < END_SECONDS + 30.0 and at + lasts > END_SECONDS - 30.0:
            trouble = "down"
        found.append((at, at + lasts, trouble))
        at += lasts + rng.uniform(130.0, 300.0)
    return found


@pytest.mark.parametrize("seed", range(10))
async def test_one_page_and_one_end_whatever_fails(seed: int, virtual_clock: Clock) -> None:
    rng = random.Random(seed)
    notified: dict[str, str] = {}
    heard: list[str] = []
    models = [Model(virtual_clock, notified, heard) for _ in range(2)]
    daemons = [Daemon(models, virtual_clock, rng) for _ in range(2)]
    plans = [episodes(rng, FAULT_SECONDS + 600.0) for _ in models]
    kills = {round(rng.uniform(20.0, FAULT_SECONDS + 500.0)) for _ in range(12)}
    began, ended = START + 30.0, START + END_SECONDS
    for second in range(int(FAULT_SECONDS) + 1800):
        for model, plan in zip(models, plans, strict=True):
            before, model.trouble = model.trouble, next((w for a, b, w in plan if a <= second < b), "")
            if before == "down" != model.trouble:
                model.restart()
        if second in kills:
            await rng.choice(daemons).kill()
        for number, daemon in enumerate(daemons):
            now = virtual_clock.now() - 0.7 * number  # two daemons are never at the same point
            if now >= ended:
                alert = alert_of(state=AlertState.RESOLVED, started_at=began + 0.3 * number, ended_at=ended)
            else:
                alert = alert_of(started_at=began + 0.3 * number)
            # Kept as long as the machine keeps what is resolved.
            daemon.alerts = {alert.key: alert} if began <= now < ended + 900.0 else {}
            if second % 5 == number:
                daemon.tick()
        models[second // (GROUP_INTERVAL_SECONDS // 2) % 2].look()  # the second waits for the first
        await asyncio.sleep(1.0)
    for daemon in daemons:
        await daemon.dispatcher.stop()
    assert heard == ["firing", "resolved"]
    assert all(len(model.troubles_met) >= 2 for model in models), "nothing was in the way"
