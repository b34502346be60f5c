"""A small fleet served over real HTTP: each replica has a port of its own, as in life."""

import logging

from aiohttp import web

from aiops.kit.clock import SYSTEM_CLOCK, Clock
from aiops.lab.engine import Engine, Shape
from aiops.lab.faults import FAULTS
from aiops.lab.page import vllm_page

_LOG = logging.getLogger("aiops.lab")


class Replica:
    """One simulated engine behind a port of its own, by default on loopback. It can be killed and started again."""

    def __init__(
        self, seed: int, *, model: str, shape: Shape, clock: Clock = SYSTEM_CLOCK, host: str = "127.0.0.1"
    ) -> None:
        self._clock = clock
        self._host = host
        self._seed = seed
        self._model = model
        self._shape = shape
        self._runner: web.AppRunner | None = None
        self.port = 0
        self.engine = self._fresh()

    def _fresh(self) -> Engine:
        self._started = self._clock.now()
        return Engine(self._seed, self._shape, now=self._clock.monotonic())

    @property
    def url(self) -> str:
        """Address of the metrics page."""
        return f"http://{self._host}:{self.port}/metrics"

    async def _metrics(self, _: web.Request) -> web.Response:
        self.engine.advance(self._clock.monotonic())
        return web.Response(text=vllm_page(self.engine, model=self._model, started=self._started))

    async def start(self) -> None:
        """Listen; the port is kept over restarts."""
        app = web.Application()
        app.add_routes([web.get("/metrics", self._metrics)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self.port).start()
        self.port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Die: the port refuses connections from now on."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def restart(self) -> None:
        """Come back empty, as a new process does."""
        await self.stop()
        self.engine = self._fresh()
        await self.start()


class Fleet:
    """Replicas of one model."""

    def __init__(
        self,
        size: int = 3,
        *,
        model: str = "demo-7b",
        shape: Shape | None = None,
        seed: int = 1,
        host: str = "127.0.0.1",
    ) -> None:
        self.replicas = [Replica(seed + index, model=model, shape=shape or Shape(), host=host) for index in range(size)]

    async def start(self) -> None:
        """Start every replica."""
        for replica in self.replicas:
            await replica.start()

    async def stop(self) -> None:
        """Stop every replica."""
        for replica in self.replicas:
            await replica.stop()

    async def strike(self, index: int, fault: str) -> None:
        """Inject a fault of :data:`aiops.lab.faults.FAULTS`, or ``dead``, into one replica."""
        replica = self.replicas[index]
        _LOG.info("fault injected", extra={"fault": fault, "replica": replica.url})
        if fault == "dead":
            await replica.stop()
        else:
            FAULTS[fault].strike(replica.engine)
