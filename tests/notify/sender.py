"""A sender in a process of its own, to be killed: tells one alert to one Alertmanager until it dies.

Usage: python -m tests.notify.sender URL INSTANCE STARTED_AT. Prints ``sent`` once the Alertmanager took the alert.
"""

import asyncio
import sys

from aiops.kit.http import open_session
from aiops.notify.dispatch import dispatcher_of
from aiops.notify.settings import AlertmanagerSettings, NotifySettings
from tests.notify.alerts import alert_of


async def main(url: str, instance: str, started_at: float) -> None:
    alert = alert_of(instance, started_at=started_at)
    settings = NotifySettings(alertmanagers=(AlertmanagerSettings(url=url),), resend_delay=10.0)  # holds 40 s
    async with open_session() as session:
        dispatcher = dispatcher_of(settings, session, interval_seconds=1.0)
        dispatcher.start()
        told = False
        while True:
            dispatcher.submit({alert.key: alert})
            await asyncio.sleep(0.05)
            if dispatcher.status()[0].sent and not told:
                print("sent", flush=True)  # noqa: T201 - the parent waits for it
                told = True


asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
