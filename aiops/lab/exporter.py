"""The GPUs of a lab fleet behind one page, as NVIDIA's DCGM exporter prints it: a GPU and a node for every engine."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from aiohttp import web

from aiops.kit.clock import SYSTEM_CLOCK, Clock
from aiops.lab.engine import Engine

WARMING_SECONDS = 3.0
"""A GPU that loses its cooling is this long still fast."""
_SLOWDOWN = 2.5
_HELD_SHARE = 0.9
_BUSY_REQUESTS = 8


@dataclass(slots=True)
class Gpu:
    """One GPU. It follows its engine, and slows it down when it is too hot; ``struck`` is when it lost its cooling."""

    node: str
    uuid: str
    engine: Engine
    struck: float | None = None
    now: float = 0.0
    held_seconds: float = 0.0

    def advance(self, now: float) -> None:
        """Move to ``now`` (seconds on the engine's scale); the time that clocks were held down adds up."""
        if self.struck is not None and now >= (hot := self.struck + WARMING_SECONDS):
            self.held_seconds += _HELD_SHARE * max(now - max(self.now, hot), 0.0)
            self.engine.slowdown = _SLOWDOWN
        self.now = now

    def numbers(self, noise: float) -> dict[str, tuple[str, float]]:
        """Metric → its type and value. ``noise`` is about 0 and moves what a sensor measures."""
        busy = 0.0 if self.engine.stuck else min(1.0, len(self.engine.running) / _BUSY_REQUESTS)
        warm = 0.0 if self.struck is None else min(32.0, 8.0 * (self.now - self.struck))
        held = self.held_seconds > 0
        return {
            "DCGM_FI_DEV_GPU_UTIL": ("gauge", round(90 * busy)),
            "DCGM_FI_DEV_GPU_TEMP": ("gauge", round(50 + 8 * busy + warm + noise)),
            "DCGM_FI_DEV_POWER_USAGE": ("gauge", (120 + 430 * busy) * (0.8 if held else 1.0) * (1 + 0.01 * noise)),
            "DCGM_FI_DEV_SM_CLOCK": ("gauge", 990.0 if held else 1980.0),
            "DCGM_FI_DEV_FB_USED": ("gauge", 70_000.0),
            "DCGM_FI_DEV_FB_FREE": ("gauge", 11_000.0),
            "DCGM_FI_DEV_XID_ERRORS": ("gauge", 0.0),
            "DCGM_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN_NS": ("counter", self.held_seconds * 1e9),
        }


class GpuExporter:
    """Serves the page of some GPUs on a loopback port of its own."""

    def __init__(self, gpus: Sequence[Gpu], *, seed: int = 1, clock: Clock = SYSTEM_CLOCK) -> None:
        self.gpus = tuple(gpus)
        self._rng = np.random.default_rng(seed)
        self._clock = clock
        self._runner: web.AppRunner | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """Address of the metrics page."""
        return f"http://127.0.0.1:{self.port}/metrics"

    def overheat(self, index: int) -> None:
        """Let one GPU lose its cooling."""
        self.gpus[index].struck = self._clock.monotonic()

    def page(self) -> str:
        """The page of now in Prometheus text format."""
        now = self._clock.monotonic()
        families: dict[str, list[str]] = {}
        for index, gpu in enumerate(self.gpus):
            gpu.engine.advance(now)
            gpu.advance(now)
            labels = f'gpu="{index}",UUID="{gpu.uuid}",Hostname="{gpu.node}"'
            for name, (kind, value) in gpu.numbers(0.5 * float(self._rng.standard_normal())).items():
                families.setdefault(name, [f"# TYPE {name} {kind}"]).append(f"{name}{{{labels}}} {value!r}")
        return "".join(f"{line}\n" for lines in families.values() for line in lines)

    async def start(self) -> None:
        """Listen."""

        async def metrics(_: web.Request) -> web.Response:
            return web.Response(text=self.page())

        app = web.Application()
        app.add_routes([web.get("/metrics", metrics)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
