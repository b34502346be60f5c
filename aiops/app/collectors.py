"""The running collectors: one supervised loop each, what they brought since the last tick, how they are."""

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aiohttp import ClientSession

from aiops.collect.base import Collector
from aiops.collect.discovery import Discovery
from aiops.collect.gpu_model import NvidiaModel
from aiops.collect.hub import Hub, HubSettings
from aiops.collect.integrity import IntegrityCollector, IntegritySettings
from aiops.collect.look_around import Sighting, look_around
from aiops.collect.nvml_watch import Enabled, NvmlCollector, NvmlSettings
from aiops.collect.pod_resources import PodResourcesCollector, PodResourcesSettings
from aiops.collect.probe import ProbeCollector, ProbeSettings
from aiops.collect.scrape import Scraper
from aiops.collect.settings import JobSettings, ScrapeSettings, TargetSettings, parse_shard
from aiops.collect.targets import Found, Known, Rollouts, Target, reconcile
from aiops.kit.clock import Clock
from aiops.kit.host import node_name
from aiops.kit.http import open_session
from aiops.kit.log import OnChange
from aiops.kit.reach import Reach
from aiops.kit.tasks import Beat, Supervisor, every
from aiops.signals.normalise import Normaliser
from aiops.signals.profile import Profile
from aiops.signals.settings import NormaliseSettings
from aiops.signals.tenancy import NO_TENANCY, Pod, Tenancy, placed
from aiops.signals.types import Reading, SourceStatus

_LOG = logging.getLogger("aiops.app.collectors")
_INBOX = 50_000
_MOST_DEPLOYS = 1000
_LOOK_SECONDS = 2.0
_LOOK_AROUND_SECONDS = 30.0
_STOP_SECONDS = 2.0


@dataclass(slots=True)
class _Running:
    collector: Collector
    beat: Beat


class Collectors:
    """Owns every collector and the sessions they share. All methods belong to one event loop."""

    def __init__(
        self, profiles: Sequence[Profile], signals: NormaliseSettings, *, supervisor: Supervisor, clock: Clock
    ) -> None:
        self.profiles = profiles
        self._signals = signals
        self._supervisor = supervisor
        self._clock = clock
        self._rollouts = Rollouts()
        self._deploys: deque[tuple[str, str]] = deque(maxlen=_MOST_DEPLOYS)
        self._inbox: deque[Reading] = deque(maxlen=_INBOX)
        self._running: dict[str, _Running] = {}
        self._targets: dict[str, Target] = {}
        self._sessions: dict[Reach, ClientSession] = {}
        self._discovery: Discovery | None = None
        self._look_around = False
        self._looked_at = float("-inf")
        self._told_nothing_found = False
        self._faults = OnChange(_LOG, clock.monotonic)
        self._kubelet: PodResourcesCollector | None = None
        self._nvml: NvmlCollector | None = None
        self.found = Found()
        self._tenancy: tuple[Tenancy, tuple[object, object, object]] = (NO_TENANCY, (None, None, None))
        self.sightings: tuple[Sighting, ...] = ()
        self.hubs: dict[str, Hub] = {}

    def _session(self, reach: Reach) -> ClientSession:
        if reach not in self._sessions:
            self._sessions[reach] = open_session(reach=reach)
        return self._sessions[reach]

    async def start(self, scrape: ScrapeSettings, nvml: NvmlSettings, model: NvidiaModel, folder: Path) -> None:
        """Begin to discover and to read. The first look at the targets is done before this returns."""
        if nvml.enabled is not Enabled.OFF:
            self._nvml = NvmlCollector(nvml, model, node=node_name(), clock=self._clock)
            self._add(self._nvml, offset_seconds=0.0)
        await self.configure(scrape, folder)
        self._supervisor.spawn("discovery", lambda: every(_LOOK_SECONDS, self._look, clock=self._clock))

    def read_from(self, hub: HubSettings, shard: str) -> None:
        """Begin to read what others scrape; before :meth:`start`, which else looks around for engines."""
        for place, server in enumerate(hub.servers):
            source = Hub(server, self.profiles, self._signals, shard=parse_shard(shard), clock=self._clock)
            self.hubs[server.name] = source
            self._add(source, offset_seconds=server.interval * place / len(hub.servers))

    def watch(self, probe: ProbeSettings, integrity: IntegritySettings, pods: PodResourcesSettings) -> None:
        """Begin to ask models, to check their files, and to learn who has which GPU."""
        if pods.enabled:
            self._kubelet = PodResourcesCollector(pods, node=node_name(), clock=self._clock)
            self._add(self._kubelet, offset_seconds=0.0)
        for place, endpoint in enumerate(probe.endpoints):
            spread = endpoint.interval * place / len(probe.endpoints)
            self._add(ProbeCollector(endpoint, self._clock), offset_seconds=spread)
        for model in integrity.models:
            self._add(IntegrityCollector(model, self._clock), offset_seconds=0.0)

    async def configure(self, scrape: ScrapeSettings, folder: Path) -> None:
        """Take other scrape settings; targets that stay equal keep their state."""
        self._look_around = scrape.look_around and not scrape.all_jobs and not self.hubs
        if self._discovery is not None:
            self._discovery.close()
        self._discovery = Discovery(
            scrape.all_jobs,
            session=self._session(Reach.ANYWHERE),
            folder=folder,
            shard=parse_shard(scrape.shard),
            clock=self._clock,
        )
        await self._look()

    async def _look(self) -> None:
        """Let the running targets be those that discovery names."""
        if self._discovery is None:
            return
        if self._look_around and not self._targets:
            await self._look_at_loopback()
        found = await self._discovery.look()
        self._faults.report("discovery", "; ".join(found.problems))
        if found is not self.found:
            self.found = found
            self._deploys.extend(self._rollouts.step(found.targets))
            await self._become(found.targets)

    async def _look_at_loopback(self) -> None:
        """Try the well-known ports; engines often start after their sidecar, so ask again until one is there."""
        if self._clock.monotonic() - self._looked_at < _LOOK_AROUND_SECONDS:
            return
        self._looked_at = self._clock.monotonic()
        self.sightings = await look_around(self._session(Reach.ANYWHERE))
        urls = tuple(sighting.url for sighting in self.sightings if sighting.found)
        if not urls and not self._told_nothing_found:
            ports = sorted({sighting.candidate.port for sighting in self.sightings})
            tried = {"ports": ", ".join(map(str, ports)), "again_seconds": _LOOK_AROUND_SECONDS}
            _LOG.info("no engine found on this machine, will look again; or name one with --target", extra=tried)
            self._told_nothing_found = True
        if urls:
            _LOG.info("found metrics pages on this machine", extra={"urls": ", ".join(urls)})
            job = JobSettings(name="llm", targets=tuple(TargetSettings(url=url) for url in urls))
            self._discovery = Discovery((job,), session=self._session(Reach.ANYWHERE), clock=self._clock)

    async def _become(self, wanted: Sequence[Target]) -> None:
        changes = reconcile(self._targets.values(), wanted)
        for target in changes.removed:
            del self._targets[target.source]
            await self._remove(target.source)
        for target in changes.added:
            self._targets[target.source] = target
            normaliser = Normaliser(self.profiles, target.labels, target.source, self._signals)
            scraper = Scraper(target, session=self._session(target.reach), normaliser=normaliser, clock=self._clock)
            self._add(scraper, offset_seconds=target.offset_seconds)
        if changes.added or changes.removed:
            counts = {"added": len(changes.added), "removed": len(changes.removed), "targets": len(self._targets)}
            _LOG.info("targets changed", extra=counts)

    def _add(self, collector: Collector, *, offset_seconds: float) -> None:
        name = collector.status().source
        running = self._running[name] = _Running(collector, Beat())

        async def read() -> None:
            self._inbox.extend(await collector.read())
            status = collector.status()
            self._faults.report(name, status.error if status.failures else "")
            if running.beat.ticks == 1 and status.error and not status.failures:  # absent, and that is fine
                _LOG.info("nothing to read", extra={"source": name, "reason": status.error})

        async def loop() -> None:
            await every(
                collector.interval_seconds,
                read,
                offset_seconds=offset_seconds,
                clock=self._clock,
                beat=running.beat,
            )

        self._supervisor.spawn(f"read {name}", loop)

    async def _remove(self, name: str) -> None:
        running = self._running.pop(name)
        await self._supervisor.stop(f"read {name}", within_seconds=_STOP_SECONDS)
        await running.collector.close()
        self._faults.forget(name)

    def drain(self) -> list[Reading]:
        """Everything that arrived since the last call, oldest first."""
        readings = list(self._inbox)
        self._inbox.clear()
        return readings

    def deploys(self) -> list[tuple[str, str]]:
        """Pools that got another revision since the last call, and what is known of it."""
        deploys = list(self._deploys)
        self._deploys.clear()
        return deploys

    def tenancy(self) -> Tenancy:
        """Who has which GPU of this machine; the same object while neither the answer nor the targets change."""
        if self._kubelet is None:
            return NO_TENANCY
        known, basis = self._tenancy
        given, targets = self._kubelet.tenants, self.found.targets
        devices = {} if self._nvml is None else self._nvml.devices()
        if given is not basis[0] or targets is not basis[1] or devices != basis[2]:
            pods = {
                (labels["job"], labels["instance"]): Pod(labels["namespace"], labels["pod"])
                for labels in (dict(target.labels) for target in targets)
                if {"job", "instance", "namespace", "pod"} <= labels.keys()
            }
            known = Tenancy(self._kubelet.node, placed(given, devices), pods)
            self._tenancy = (known, (given, targets, devices))
        return known

    def statuses(self) -> tuple[SourceStatus, ...]:
        """Health of every source."""
        direct = tuple(running.collector.status() for running in self._running.values())
        return (*direct, *(status for hub in self.hubs.values() for status in hub.statuses()))

    def targets(self) -> Sequence[Known]:
        """Everything that is scraped, by us or by others for us."""
        return (*self.found.targets, *(target for hub in self.hubs.values() for target in hub.targets()))

    def scraper(self, source: str) -> Scraper | None:
        """The collector of a target; None when there is no such target."""
        running = self._running.get(source)
        return running.collector if running is not None and isinstance(running.collector, Scraper) else None

    def dns_counts(self) -> tuple[int, int]:
        """Look-ups of DNS for targets, and those of them without an answer."""
        return self._discovery.dns_counts() if self._discovery is not None else (0, 0)

    def beats(self) -> dict[str, Beat]:
        """Reads done and skipped of every source."""
        return {name: running.beat for name, running in self._running.items()}

    async def close(self) -> None:
        """Let go of threads and sockets; the supervisor has stopped the loops before."""
        if self._discovery is not None:
            self._discovery.close()
        for running in self._running.values():
            await running.collector.close()
        for session in self._sessions.values():
            await session.close()
