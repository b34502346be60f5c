"""The daemon's life: start, tick, reload, drain. The order of :meth:`Daemon.run` is the order of the flow, backwards
at the end."""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

from aiohttp import ClientSession

from aiops import __version__
from aiops.app import presets
from aiops.app.actuator import Actuator
from aiops.app.ask import Ask
from aiops.app.assembly import build_bank, build_calendar, build_pipeline, load_gpu_model, take_over
from aiops.app.capacity import Capacity
from aiops.app.collectors import Collectors
from aiops.app.config import Config
from aiops.app.config_load import ConfigError, Loaded
from aiops.app.config_print import to_yaml
from aiops.app.explain import Explain
from aiops.app.fits import Fits
from aiops.app.flags import RunOptions
from aiops.app.inbound import Inbound
from aiops.app.opinions import Opinions
from aiops.app.shedding import Overload
from aiops.app.source import DaemonSource
from aiops.app.spending import Spending
from aiops.app.state import State
from aiops.app.telling import Telling
from aiops.app.upkeep import Upkeep
from aiops.app.warmup import warm_up
from aiops.app.web_file import WebFileReader
from aiops.app.why import Why
from aiops.app.writing import Writing
from aiops.explain.knowledge import SHIPPED
from aiops.incidents.alert import AlertState
from aiops.kit import log
from aiops.kit.clock import SYSTEM_CLOCK, Clock
from aiops.kit.host import tell_manager, watchdog_seconds
from aiops.kit.http import open_session
from aiops.kit.memory import give_back
from aiops.kit.retry import Permanent
from aiops.kit.tasks import Beat, Supervisor, Work, every
from aiops.notify.dispatch import letterhead_of
from aiops.notify.notice import Letterhead, rfc3339
from aiops.signals.types import Mark
from aiops.web.server import Server
from aiops.web.source import ReloadFailed

_LOG = logging.getLogger("aiops.app.daemon")
_STOP_SECONDS = 2.0
_EXPLAIN_SECONDS = 1.0
_KNOWLEDGE_SECONDS = 60.0
_GIVE_BACK_SECONDS = 30.0
_BUDGETS_SECONDS = 60.0
_SILENCES_SECONDS = 30.0
_WEB_FILE_SECONDS = 5.0
_TOLD = (AlertState.FIRING, AlertState.RESOLVED)  # what comes and goes between is for debugging
_NEED_RESTART = (
    "interval",
    "store",
    "web",
    "nvml",
    "probe",
    "integrity",
    "prometheus",
    "hub",
    "remote_write",
    "signals",
    "actuator",
    "explain",
)


class Daemon:
    """Everything that runs in one process.

    Parameters
    ----------
    options
        Where the configuration came from; None when it cannot be read again.
    """

    def __init__(self, config: Config, options: RunOptions | None = None, clock: Clock = SYSTEM_CLOCK) -> None:
        self.config = config
        self.clock = clock
        self.pipeline = build_pipeline(config)
        self.state = State(config, clock)
        self.why = Why(self.pipeline)
        self.opinions = Opinions(
            self.pipeline,
            self.state.journal,
            self.state.view,
            head=self.letterhead,
            diagnosed=self.why.cause,
            key_path=config.store.directory / "link.key",
            clock=clock,
        )
        self.inbound = Inbound(self.pipeline, self.state.journal, base_url=lambda: self.server.base_url, clock=clock)
        self.upkeep = Upkeep(self.pipeline, self.state.journal, self.state.view, clock)
        self.capacity = Capacity(config.capacity, clock)
        self.fits = Fits(self.pipeline, config.detect.fit, clock=clock, others=(self.capacity.loads,))
        self.supervisor = Supervisor()
        self.collectors = Collectors(presets.engine_profiles(), config.signals, supervisor=self.supervisor, clock=clock)
        self.explain = Explain(
            self.pipeline,
            config.explain,
            clock,
            fleet=lambda: [status.entity for status in self.collectors.statuses()],
            keep=self.state.keep,
        )
        own = [("runbook", folder) for folder in config.explain.runbooks]
        self.ask = Ask(
            self.pipeline,
            self.explain,
            self.state.view,
            clock,
            folders=[*own, (SHIPPED, presets.shipped(presets.Folder.ALERT_RULES) / "runbooks")],
            advice=self.capacity.records,
            opinions=self.opinions.records,
            run_outs=self.capacity.run_outs,
        )
        self.telling = Telling(self.pipeline, self.state, self.why, self.explain, head=self.letterhead, clock=clock)
        self.actuator: Actuator | None = None
        self.beat = Beat()
        self.started_at = clock.now()
        self.spending = Spending(self.started_at)
        self.overload = Overload()
        self.last_tick_at = 0.0
        self.tick_seconds = 0.0
        self.tick_seconds_total = 0.0
        self.transitions_total = 0
        self.reload_successful = True
        self.reloaded_at = clock.now()
        self._options = options
        self._session: ClientSession | None = None
        self._last_tick = clock.monotonic()
        self._stopping = asyncio.Event()
        self._reloading = asyncio.Lock()
        self._web_file = WebFileReader(config.web.config_file)
        source = DaemonSource(self)
        self.writing = Writing(source.scores, source.signal_values, lambda: self.last_tick_at, clock)
        self.server = Server(source, config.web, self._web_file.read(), clock)

    @property
    def config_file(self) -> str:
        """The configuration file; empty without one."""
        return self._options.loaded.file_name if self._options is not None else ""

    def letterhead(self) -> Letterhead:
        """What stands on every notice now."""
        return letterhead_of(self.config.notify, self.server.base_url, self.opinions.link_key)

    @property
    def config_text(self) -> str:
        """The configuration in effect as YAML, each value with its origin; secrets are masked."""
        loaded = self._options.loaded if self._options is not None else Loaded(self.config, "", {}, {})
        return to_yaml(loaded)

    async def run(self) -> None:
        """Start, serve until :meth:`stop`, drain.

        Raises
        ------
        OSError
            When the listen address cannot be had. Everything that was started is stopped again.
        """
        try:
            await self._start()
            await self._stopping.wait()
        finally:
            await self._drain()

    def stop(self) -> None:
        """Ask :meth:`run` to drain and return."""
        self._stopping.set()

    async def _start(self) -> None:
        await self.server.start()
        await asyncio.to_thread(self.state.open, self.pipeline, self.capacity)
        await asyncio.to_thread(self.spending.restore, self.state.view, self.clock.now())
        await asyncio.to_thread(self.opinions.open)
        await asyncio.to_thread(self.upkeep.restore)
        self._session = open_session()
        self.explain.take(await asyncio.to_thread(self.why.restore, self.state.view, self.clock.now()))
        self.explain.restore(await asyncio.to_thread(lambda: list(self.state.worded())))
        await self.telling.begin(self.config, self._session)
        self.collectors.read_from(self.config.hub, self.config.scrape.shard)
        await self.collectors.start(self.config.scrape, self.config.nvml, load_gpu_model(), self._folder())
        self.collectors.watch(self.config.probe, self.config.integrity, self.config.pod_resources)
        if self.config.prometheus.url:
            self.supervisor.spawn("warm-up", self._warm_up)
        self.writing.begin(self.config.remote_write, self._session, self.supervisor)
        self._last_tick = self.clock.monotonic()
        self._every("tick", self.config.interval, self.tick, self.beat)
        self._every("snapshot", self.config.store.snapshot_interval, self._save)
        self._every("budgets", _BUDGETS_SECONDS, lambda: self.state.save_budgets(self.pipeline.slo))
        self._every("silences", _SILENCES_SECONDS, self.telling.read_silences)
        self._every("memory", _GIVE_BACK_SECONDS, self._give_memory_back)
        if self.config.capacity.enabled:
            self._every("capacity", self.config.capacity.interval, self._advise)
        if self.config.actuator.enabled:
            try:
                self.actuator = Actuator(self.config.actuator, self.capacity, self._session, self.clock)
            except Permanent as error:
                raise OSError(str(error)) from error
            self._every("actuator", self.config.actuator.interval, self._act)
        if self.fits.possible():
            self._every("fits", self.config.detect.fit.interval, self.fits.round)
        await self.ask.refresh()
        self._every("knowledge", _KNOWLEDGE_SECONDS, self.ask.refresh)
        if self.explain.connect(self._session):
            self._every("explain", _EXPLAIN_SECONDS, self.explain.step)
        if self.config.web.config_file is not None:
            self._every("web config", _WEB_FILE_SECONDS, self._follow_web_file)
        if watchdog := watchdog_seconds():
            self._every("watchdog", watchdog / 3, self._tell_watchdog)
        tell_manager("READY=1")
        _LOG.info("started", extra={"version": __version__, "url": self.server.base_url})

    def _every(self, name: str, seconds: float, work: Work, beat: Beat | None = None) -> None:
        self.supervisor.spawn(name, lambda: every(seconds, work, clock=self.clock, beat=beat))

    async def _warm_up(self) -> None:
        await warm_up(
            self.pipeline,
            self.collectors.targets,
            self.config,
            restored=self.state.restored,
            clock=self.clock,
        )

    async def _follow_web_file(self) -> None:
        """Take over a changed web configuration or certificate; a bad one changes nothing and is told once."""
        if not self._web_file.changed():
            return
        try:
            await self.server.configure(await asyncio.to_thread(self._web_file.read))
        except (ValueError, OSError) as error:
            _LOG.error("web configuration not reloaded", extra={"error": str(error)})
        else:
            _LOG.info("web configuration reloaded")

    def _folder(self) -> Path:
        file = self._options.sources.file if self._options is not None else None
        return file.parent if file is not None else Path()

    async def tick(self) -> None:
        """One turn of the pipeline, and what follows from it."""
        began = self.clock.monotonic()
        elapsed, self._last_tick = began - self._last_tick, began
        now = self.clock.now()
        readings, statuses = self.collectors.drain(), self.collectors.statuses()
        self.pipeline.tenancy = self.collectors.tenancy()
        outcome = self.pipeline.tick(
            now,
            readings,
            statuses,
            elapsed_seconds=elapsed,
            marks=self.upkeep.take(self.collectors.deploys()),
            left_out=self.overload.left_out,
        )
        self.state.record(outcome)
        self.spending.take(outcome.transitions)
        diagnoses, told = self.why.step(now, outcome)
        if diagnoses:
            self.explain.take(diagnoses)
            self.state.journal.save(told=told)
        self.telling.step(outcome, diagnoses)
        for move in outcome.transitions:
            _LOG.log(
                logging.INFO if move.alert.state in _TOLD else logging.DEBUG,
                "alert moved",
                extra={"alert": move.alert.key.rule, "series": str(move.alert.key.series), "from": str(move.before),
                       "to": str(move.alert.state), "reason": move.reason.text},
            )  # fmt: skip
        self.transitions_total += len(outcome.transitions)
        self.last_tick_at = now
        self.tick_seconds = self.clock.monotonic() - began
        self.tick_seconds_total += self.tick_seconds
        self.overload.note(self.tick_seconds, self.config.interval)
        self.server.events.publish({"at": rfc3339(now), "changed": bool(outcome.transitions)})

    async def _advise(self) -> None:
        self._note(await self.capacity.step(self.pipeline.ring, self.pipeline.machine.alerts.values()))
        self.pipeline.leads = self.capacity.leads()

    async def _act(self) -> None:
        if self.actuator is not None:
            self._note(await self.actuator.step())

    def _note(self, marks: Sequence[Mark]) -> None:
        """Keep marks that no tick brought."""
        self.state.note(marks)
        self.why.note(marks)

    async def _save(self) -> None:
        self.opinions.refresh()
        await self.state.save(self.pipeline, self.capacity)

    async def _tell_watchdog(self) -> None:
        """A loop that turns is alive; one that hangs tells nothing and is started again."""
        tell_manager("WATCHDOG=1")

    async def _give_memory_back(self) -> None:
        """What snapshots, fits and large pages needed is not needed in between."""
        await asyncio.to_thread(give_back)

    async def reload(self) -> None:
        """Read the configuration again. A bad one changes nothing and is reported.

        Raises
        ------
        ReloadFailed
            With every problem of the new configuration.
        """
        async with self._reloading:
            try:
                await self._reload()
            except (ConfigError, ValueError, OSError) as error:
                self.reload_successful = False
                _LOG.error("configuration not reloaded", extra={"error": str(error)})
                raise ReloadFailed(str(error)) from error
            self.reload_successful = True
            self.reloaded_at = self.clock.now()
            _LOG.info("configuration reloaded")

    async def _reload(self) -> None:
        if self._options is None:
            raise ValueError("this daemon was started without a configuration that could be read again")
        options = self._options.again()
        config = options.loaded.config
        WebFileReader(config.web.config_file).read()  # whatever can be refused is before anything is replaced
        bank = build_bank(config)
        if any(getattr(config, name) != getattr(self.config, name) for name in ("detect", "incidents", "slo")):
            take_over(self.pipeline, bank, config, self.last_tick_at)
            self.state.configure(config)
            self.fits.settings = config.detect.fit
        if config.maintenance != self.config.maintenance:
            calendar = build_calendar(config)
            calendar.succeed(self.pipeline.calendar)
            self.pipeline.calendar = calendar
        if config.notify != self.config.notify and self._session is not None:
            await self.telling.begin(config, self._session)
        self.capacity.configure(config.capacity)
        if config.scrape != self.config.scrape:
            await self.collectors.configure(config.scrape, self._folder())
        log.configure(config.log.level, config.log.format)
        late = [name for name in _NEED_RESTART if getattr(config, name) != getattr(self.config, name)]
        if late:
            _LOG.warning("changed settings wait for a restart", extra={"sections": ", ".join(late)})
        kept = {name: getattr(self.config, name) for name in late}
        self.config, self._options = config.model_copy(update=kept), options

    async def _drain(self) -> None:
        """Stop reading, tell what is left to tell, keep what was learnt; each step within its own bound."""
        tell_manager("STOPPING=1")
        await self.supervisor.close(within_seconds=_STOP_SECONDS)
        if self.actuator is not None:
            await self.actuator.close()
        await self.telling.stop()
        await self.writing.stop(self.config.notify.drain_timeout)
        if self._session is not None:
            await self._session.close()
            await self._save()
        await self.collectors.close()
        await self.state.close()
        await self.server.stop()
        if self._session is not None:
            _LOG.info("stopped")
