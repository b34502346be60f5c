"""``aiops demo``: a simulated fleet over real HTTP, three faults one after the other, and the daemon that finds them.

Nothing but the fleet is simulated: the daemon is the one of ``aiops run``, scrapes real pages and serves its own.
"""

import asyncio
import logging
import shutil
import socket
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from aiops.app.config import Config
from aiops.app.daemon import Daemon
from aiops.app.output import tell, write
from aiops.collect.nvml_watch import Enabled, NvmlSettings
from aiops.collect.settings import JobSettings, ScrapeSettings, TargetSettings
from aiops.explain.narrator import Part, called
from aiops.incidents.alert import Incident
from aiops.lab.exporter import Gpu, GpuExporter
from aiops.lab.fleet import Fleet, Replica
from aiops.store.settings import StoreSettings
from aiops.web.settings import WebSettings, split_address

CALM_SECONDS = 8.0
DETECTED_WITHIN_SECONDS = 30.0
EXPLAINED_WITHIN_SECONDS = 8.0
USUAL_ADDRESS = "127.0.0.1:9797"
_SIZE = 3
_STRUCK = 1
_WINDOW_SECONDS = 600.0  # charts of a demo should not be an hour wide


class House:
    """Three pools of a model each, so that every fault has a place of its own; each replica has a node and a GPU."""

    def __init__(self, seed: int) -> None:
        self.pools = {
            pool: Fleet(_SIZE, model=model, seed=seed + 10 * index)
            for index, (pool, model) in enumerate((("chat", "chat-7b"), ("code", "code-14b"), ("agent", "agent-32b")))
        }
        self._at = [(pool, index) for pool, fleet in self.pools.items() for index in range(len(fleet.replicas))]
        self.exporter = GpuExporter(
            [
                Gpu(f"{pool}-{index}", f"GPU-{number}aa7f1c2", self.replica(pool, index).engine)
                for number, (pool, index) in enumerate(self._at)
            ],
            seed=seed,
        )

    def replica(self, pool: str, index: int) -> Replica:
        """One replica of a pool."""
        return self.pools[pool].replicas[index]

    @property
    def targets(self) -> tuple[TargetSettings, ...]:
        """Every metrics page, with the labels that discovery would bring: each engine on a machine of its own."""
        engines = [
            TargetSettings(url=self.replica(pool, index).url, labels={"pool": pool, "instance": f"{pool}-{index}:8000"})
            for pool, index in self._at
        ]
        return (*engines, TargetSettings(url=self.exporter.url, labels={"instance": "gpu-exporter:9400"}))

    async def start(self) -> None:
        """Start everything."""
        for fleet in self.pools.values():
            await fleet.start()
        await self.exporter.start()

    async def stop(self) -> None:
        """Stop everything."""
        await self.exporter.stop()
        for fleet in self.pools.values():
            await fleet.stop()

    async def surge(self) -> None:
        """Twelve times the requests for a whole pool."""
        for index in range(_SIZE):
            await self.pools["chat"].strike(index, "surge")

    async def overheat(self) -> None:
        """One GPU loses its cooling."""
        self.exporter.overheat(_SIZE + _STRUCK)

    async def hang(self) -> None:
        """One engine stops to make steps."""
        await self.pools["agent"].strike(_STRUCK, "stuck")


@dataclass(frozen=True, slots=True)
class _Act:
    """One fault: what is done, in words, and where it is to be found."""

    pool: str
    told: str
    strike: Callable[[], Awaitable[None]]


def _acts(house: House) -> tuple[_Act, ...]:
    return (
        _Act("chat", "twelve times the usual requests arrive at the pool chat", house.surge),
        _Act(
            "code", f"the GPU of node code-{_STRUCK} loses its cooling; too hot, it lowers its clocks", house.overheat
        ),
        _Act("agent", f"the engine on node agent-{_STRUCK} hangs: its requests run, but no token comes", house.hang),
    )


def _config(house: House, listen_address: str, folder: Path) -> Config:
    return Config(
        interval=1.0,
        scrape=ScrapeSettings(jobs=(JobSettings(name="demo", targets=house.targets, interval=1.0),)),
        nvml=NvmlSettings(enabled=Enabled.OFF),
        store=StoreSettings(directory=folder, window=_WINDOW_SECONDS),
        web=WebSettings(listen_address=listen_address),
    )


class _Story:
    """Prints what happens, with the seconds since the start."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()

    def tell(self, *lines: str) -> None:
        seconds = int(self._loop.time() - self._began)
        first, *rest = lines
        tell([f"{seconds // 60:02d}:{seconds % 60:02d}  {first}"], hang=7)
        tell(f"       {line}" for line in rest)


async def _until(ready: Callable[[], bool], seconds: float) -> bool:
    """Look ten times a second until something is so; False when it did not come in time."""
    for _ in range(int(seconds * 10)):
        if ready():
            return True
        await asyncio.sleep(0.1)
    return ready()


def _of_pool(daemon: Daemon, pool: str) -> Incident | None:
    """The first incident with an alert about a pool, its replicas or its nodes."""
    for incident in daemon.pipeline.grouping.incidents.values():
        for key in incident.members:
            labels = dict(key.series.entity.labels)
            if labels.get("pool") == pool or labels.get("node", "").startswith(f"{pool}-"):
                return incident
    return None


def _explained(daemon: Daemon, incident: Incident) -> list[str]:
    """The cause in a sentence, how much speaks for it, and the strongest of that."""
    made = daemon.why.of(incident.id)
    if not made or made[-1].abstained or not made[-1].causes:
        return []
    cause = made[-1].causes[0]
    sentences = [one for one in daemon.explain.summary(incident).sentences if one.part is Part.CAUSE]
    shown = [f"- {one.text.partition(': ')[2]}" for one in sentences[1:3]]
    seen = f"{cause.confidence:.0%} of its signs were seen. Of {len(cause.evidence)} pieces of evidence the first:"
    return [sentences[0].text, seen, *shown, f"What to do: {cause.fix}."]


async def _play_act(story: _Story, daemon: Daemon, act: _Act, number: int) -> Incident | None:
    loop = asyncio.get_running_loop()
    await act.strike()
    struck = loop.time()
    story.tell(f"fault {number} of 3: {act.told}")
    await _until(lambda: _of_pool(daemon, act.pool) is not None, DETECTED_WITHIN_SECONDS)
    after = loop.time() - struck
    if (incident := _of_pool(daemon, act.pool)) is None:
        story.tell(f"not detected within {DETECTED_WITHIN_SECONDS:.0f} s")
        return None
    alert = daemon.pipeline.alerts[incident.members[0]]
    story.tell(
        f"incident {incident.id} ({incident.severity}), {after:.0f} s after the fault: {incident.title}",
        f"the alert {alert.key.rule} of {called(alert.key.series.entity)}",
    )
    await _until(lambda: bool(_explained(daemon, incident)), EXPLAINED_WITHIN_SECONDS)
    story.tell(*(_explained(daemon, incident) or ["no cause is named yet: the evidence is too thin"]))
    write("\n")
    return incident


async def _play(daemon: Daemon, house: House, serve_seconds: float) -> bool:
    story = _Story()
    url = f"http://127.0.0.1:{daemon.server.port}"
    replicas = sum(len(fleet.replicas) for fleet in house.pools.values())
    story.tell(
        f"the page: {url}/",
        f"{replicas} simulated vLLM replicas in {len(house.pools)} pools, and their GPUs, read every second;",
        f"{CALM_SECONDS:.0f} s of calm first, so that there is something to compare with",
    )
    if not await _until(lambda: all(s.up for s in daemon.collectors.statuses()), 10.0):
        story.tell("the replicas cannot be read")
        return False
    await asyncio.sleep(CALM_SECONDS)
    found = [await _play_act(story, daemon, act, number) for number, act in enumerate(_acts(house), 1)]
    shown = next((incident.id for incident in reversed(found) if incident is not None), "ID")
    program, show = _program(), f"incident show {shown}"
    address = "" if url == f"http://{USUAL_ADDRESS}" else f"  export AIOPS_URL={url}\n"
    write(
        f"Look at {url}/ in a browser.\n"
        f"Or type, in another terminal, in this folder:\n{address}"
        f"  {program} {'top --once':<{len(show)}}  # the fleet\n"
        f"  {program} {show}  # what, why, and the evidence\n"
        f"  {program} ask why is TTFT high\n"
        f"An engine of your own:\n  {program} run --target http://HOST:8000/metrics\n"
    )
    if serve_seconds > 0:
        write(f"Serving for {serve_seconds:.0f} s; Ctrl-C ends it.\n")
        await asyncio.sleep(serve_seconds)
    return None not in found


def _program() -> str:
    """How the person at the terminal can call this program again."""
    if shutil.which("aiops"):
        return "aiops"
    called = sys.argv[0]
    return called if Path(called).name == "aiops" else f"{sys.executable} -m aiops"


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
        house = House(seed)
        await house.start()
        daemon = Daemon(_config(house, listen_address or _free_address(), Path(folder)))
        running = asyncio.create_task(daemon.run())
        try:
            await _until(lambda: daemon.server.port > 0 or running.done(), 10.0)
            if running.done():
                await running  # says why it did not start
            return await _play(daemon, house, serve_seconds)
        finally:
            daemon.stop()
            await asyncio.gather(running, return_exceptions=True)
            await house.stop()


def run(*, listen_address: str, seed: int, serve_seconds: float) -> int:
    """Play the demo; return 0 when every fault was found. An empty address takes the usual one, or a free one."""
    logging.getLogger("aiops").setLevel(logging.ERROR)
    try:
        return 0 if asyncio.run(_demo(listen_address, seed, serve_seconds)) else 1
    except KeyboardInterrupt:
        return 0
    except OSError as error:
        write(f"aiops demo: {error.strerror or error}; another port: aiops demo --web.listen-address 127.0.0.1:0\n")
        return 1
