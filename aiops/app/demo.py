"""``aiops demo``: a simulated fleet over real HTTP, one fault, and the daemon that finds it.

Nothing but the fleet is simulated: the daemon is the one of ``aiops run``, scrapes real pages and serves its own.
"""

import asyncio
import logging
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

from aiops.app.config import Config
from aiops.app.daemon import Daemon
from aiops.app.output import write
from aiops.collect.nvml_watch import Enabled, NvmlSettings
from aiops.collect.settings import JobSettings, ScrapeSettings, TargetSettings
from aiops.lab.fleet import Fleet
from aiops.store.settings import StoreSettings
from aiops.web.settings import WebSettings, split_address

FAULT_AFTER_SECONDS = 8.0
DETECTED_WITHIN_SECONDS = 45.0
USUAL_ADDRESS = "127.0.0.1:9797"
_STRUCK = 1
_WINDOW_SECONDS = 600.0  # charts of a demo should not be an hour wide


def _config(fleet: Fleet, listen_address: str, folder: Path) -> Config:
    targets = tuple(TargetSettings(url=replica.url) for replica in fleet.replicas)
    return Config(
        interval=1.0,
        scrape=ScrapeSettings(jobs=(JobSettings(name="demo", targets=targets, interval=1.0),)),
        nvml=NvmlSettings(enabled=Enabled.OFF),
        store=StoreSettings(directory=folder, window=_WINDOW_SECONDS),
        web=WebSettings(listen_address=listen_address),
    )


class _Story:
    """Prints what happens, with the seconds since the start."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()

    def tell(self, text: str) -> None:
        seconds = int(self._loop.time() - self._began)
        lines = text.splitlines()
        write(f"{seconds // 60:02d}:{seconds % 60:02d}  {lines[0]}\n")
        for line in lines[1:]:
            write(f"       {line}\n")


async def _until(ready: Callable[[], bool], seconds: float) -> bool:
    """Look ten times a second until something is so; False when it did not come in time."""
    for _ in range(int(seconds * 10)):
        if ready():
            return True
        await asyncio.sleep(0.1)
    return ready()


async def _play(daemon: Daemon, fleet: Fleet, serve_seconds: float) -> bool:
    story = _Story()
    url = f"http://127.0.0.1:{daemon.server.port}"
    story.tell(f"{len(fleet.replicas)} simulated vLLM replicas, read every second\npage: {url}/")
    if not await _until(lambda: all(s.up for s in daemon.collectors.statuses()), 10.0):
        story.tell("the replicas cannot be read")
        return False
    await asyncio.sleep(FAULT_AFTER_SECONDS)
    await fleet.strike(_STRUCK, "stuck")
    struck = asyncio.get_running_loop().time()
    story.tell(f"fault: the scheduler of {fleet.replicas[_STRUCK].url} hangs\nits requests run, but no token comes")
    if not await _until(lambda: bool(daemon.pipeline.grouping.incidents), DETECTED_WITHIN_SECONDS):
        story.tell(f"not detected within {DETECTED_WITHIN_SECONDS:.0f} s")
        return False
    incident = next(iter(daemon.pipeline.grouping.incidents.values()))
    alert = daemon.pipeline.machine.alerts[incident.members[0]]
    labels = dict(alert.key.series.entity.labels)
    after = asyncio.get_running_loop().time() - struck
    story.tell(
        f"incident {incident.id} ({incident.severity}), {after:.1f} s after the fault\n"
        f"{incident.title}\n"
        f"where: {', '.join(f'{name} {value}' for name, value in labels.items())}\n"
        f"alert: {alert.key.rule}"
    )
    write(
        f"\nLook at it:  {url}/\n             aiops incidents --url {url}\n"
        f"             curl -s {url}/api/v1/incidents\n"
    )
    if serve_seconds > 0:
        write(f"Serving for {serve_seconds:.0f} s; Ctrl-C ends it.\n")
        await asyncio.sleep(serve_seconds)
    return True


def _free_address() -> str:
    """The usual address, or one that is free when a daemon has it already."""
    with socket.socket() as probe:
        try:
            probe.bind(split_address(USUAL_ADDRESS))
        except OSError:
            return "127.0.0.1:0"
    return USUAL_ADDRESS


async def _demo(listen_address: str, seed: int, serve_seconds: float) -> bool:
    with tempfile.TemporaryDirectory(prefix="aiops-demo-") as folder:
        fleet = Fleet(seed=seed)
        await fleet.start()
        daemon = Daemon(_config(fleet, listen_address or _free_address(), Path(folder)))
        running = asyncio.create_task(daemon.run())
        try:
            await _until(lambda: daemon.server.port > 0 or running.done(), 10.0)
            if running.done():
                await running  # says why it did not start
            return await _play(daemon, fleet, serve_seconds)
        finally:
            daemon.stop()
            await asyncio.gather(running, return_exceptions=True)
            await fleet.stop()


def run(*, listen_address: str, seed: int, serve_seconds: float) -> int:
    """Play the demo; return 0 when the incident was found. An empty address takes the usual one, or a free one."""
    logging.getLogger("aiops").setLevel(logging.ERROR)
    try:
        return 0 if asyncio.run(_demo(listen_address, seed, serve_seconds)) else 1
    except KeyboardInterrupt:
        return 0
    except OSError as error:
        write(f"aiops demo: {error.strerror or error}; another port: aiops demo --web.listen-address 127.0.0.1:0\n")
        return 1
