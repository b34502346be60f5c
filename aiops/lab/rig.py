"""A fleet without sockets: engines, GPUs, hosts and probes as readings in canonical names, a row per tick.

Engines are those of :mod:`aiops.lab.engine`; GPUs and hosts follow how busy their engine is. All randomness comes from
the seed, also how loaded and how noisy the fleet is. What goes wrong is set on :class:`Gpu`, :class:`Host` and
:class:`Server`; :mod:`aiops.lab.incidents` does so.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from aiops.lab.engine import Engine, Histogram, Shape
from aiops.signals.types import Columns, Entity, EntityKind, Mark, MarkKind, Reading, SeriesKey, SourceStatus

STEP_SECONDS = 5.0
_SHAPE = Shape(slots=16, kv_tokens=9_000, base_seconds=0.05, slope_seconds=0.002, output_tokens=60.0)
_PER_REPLICA = 1.2
_DISTRIBUTIONS = ("ttft", "itl", "e2e", "queue_time", "prompt_len", "gen_len")


@dataclass(slots=True)
class Gpu:
    """One GPU as its driver tells it; a field is what it would say on top of what the load does to it."""

    entity: Entity
    hotter: float = 0.0
    clock_share: float = 1.0
    power_share: float = 1.0
    thermal: float = 0.0
    power_cap: float = 0.0
    brake: float = 0.0
    ecc: float = 0.0
    ecc_corrected: float = 0.0
    remapped: float = 0.0
    remap_pending: float = 0.0
    remap_failed: float = 0.0
    nvlink_errors: float = 0.0
    nvlink_share: float = 1.0
    pcie_replays: float = 0.0
    processes: float = 1.0
    memory_used: float = 0.0
    foreign: float = 0.0
    silent: bool = False


@dataclass(slots=True)
class Host:
    """One machine."""

    entity: Entity
    cpu: float = 0.0
    cpu_pressure: float = 0.0
    io_pressure: float = 0.0
    memory_gone: float = 0.0
    oom_kills: float = 0.0
    network_errors: float = 0.0
    disk_gone: float = 0.0


@dataclass(slots=True)
class Server:
    """One replica: its engine, and what the engine would export beside."""

    entity: Entity
    engine: Engine
    errors: float = 0.0
    rejected: float = 0.0
    aborted: float = 0.0
    corrupted: float = 0.0
    prefix_hit: float = 0.5
    accept: float = 0.7
    adapters: float = 0.0
    slots: int = _SHAPE.slots
    probe_up: float = 1.0
    probe_slower: float = 1.0
    restarted: bool = False
    down: bool = False
    share: float = 1.0
    before: dict[str, float] = field(default_factory=dict)


class Rig:
    """``size`` replicas of one model, each on a host of its own with two GPUs.

    Attributes
    ----------
    demand
        Factor on the requests of all.
    frozen, dark
        Every source repeats its last answer, or gives none.
    """

    def __init__(self, seed: int, size: int = 4, *, start: float = 1_700_000_000.0) -> None:
        self.rng = np.random.default_rng(seed)
        self.now = start
        load = _PER_REPLICA * self.rng.uniform(0.75, 1.2)
        shape = replace(_SHAPE, arrivals_per_second=load)
        self._noise = self.rng.uniform(0.5, 1.5)
        self._step = 0
        self.demand = 1.0
        self.frozen = self.dark = False
        self.pool = Entity.of(EntityKind.POOL, pool="chat", model_name="m")
        self.servers: list[Server] = []
        self.gpus: list[tuple[Gpu, Gpu]] = []
        self.hosts: list[Host] = []
        for index in range(size):
            node = f"node{index}"
            labels = {"job": "vllm", "pool": "chat", "model_name": "m", "instance": f"{node}:8000", "node": node}
            engine = Engine(int(self.rng.integers(2**31)), shape)
            self.servers.append(Server(Entity.of(EntityKind.REPLICA, **labels), engine))
            first, second = (Gpu(Entity.of(EntityKind.GPU, gpu=f"GPU-{index}{k}", node=node)) for k in range(2))
            self.gpus.append((first, second))
            self.hosts.append(Host(Entity.of(EntityKind.NODE, node=node)))
        self._columns: dict[tuple[SeriesKey, ...], Columns] = {}
        self._last: dict[str, Reading] = {}
        self._marks: list[Mark] = []
        self._failures: dict[str, int] = {}

    def mark(self, kind: MarkKind, entity: Entity, detail: str) -> None:
        """Something happens that is no number."""
        self._marks.append(Mark(kind, entity, self.now, detail))

    def restart(self, index: int) -> None:
        """Replace an engine by a fresh one."""
        server = self.servers[index]
        shape = server.engine.shape
        server.engine = Engine(int(self.rng.integers(2**31)), shape, now=self._step * STEP_SECONDS)
        server.before = {}
        server.restarted = True
        self.mark(MarkKind.RESTARTED, server.entity, "the process started anew")

    def step(self) -> tuple[list[Reading], list[SourceStatus]]:
        """One tick later: what the collectors would bring."""
        self._step += 1
        self.now += STEP_SECONDS
        up = sum(not server.down for server in self.servers)
        spread = len(self.servers) / max(up, 1)
        told: dict[str, dict[SeriesKey, float] | None] = {}
        for index, server in enumerate(self.servers):
            server.engine.surge = self.demand * server.share * (0.0 if server.down else spread)
            server.engine.advance(self._step * STEP_SECONDS)
            told[f"vllm/{index}"] = None if server.down else self._served(server)
            told[f"gpu/{index}"] = self._driven(index)
            told[f"host/{index}"] = self._hosted(index)
        return self._answers(told)

    def _answers(self, told: dict[str, dict[SeriesKey, float] | None]) -> tuple[list[Reading], list[SourceStatus]]:
        marks, self._marks = tuple(self._marks), []
        readings, statuses = [], []
        for source, values in told.items():
            if values is not None and not self.dark:
                keys = tuple(values)
                columns = self._columns.setdefault(keys, Columns(keys))
                reading = Reading(source, self.now, columns, np.array(list(values.values())))
                if self.frozen and source in self._last:
                    reading = replace(self._last[source], at=self.now)
                self._last[source] = reading
                self._failures[source] = 0
                readings.append(reading)
            else:
                self._failures[source] = self._failures.get(source, 0) + 1
            seen = self._last[source].at if source in self._last else 0.0
            entity = next(iter(self._last[source].columns.keys)).entity if source in self._last else self.pool
            statuses.append(
                SourceStatus(source, "rig", entity, STEP_SECONDS, self.now, seen, seen, self._failures[source], "")
            )
        if marks and readings:
            readings[0] = replace(readings[0], marks=marks)
        return readings, statuses

    def _about(self, value: float, share: float = 0.02) -> float:
        return float(value * (1.0 + share * self._noise * self.rng.standard_normal()))

    def _served(self, server: Server) -> dict[SeriesKey, float]:
        engine, entity = server.engine, server.entity
        rates = {
            "arrivals": float(engine.arrived), "finished": float(engine.finished),
            "tokens_in": float(engine.prompt_tokens), "tokens_out": float(engine.generated_tokens),
            "preemptions": float(engine.preemptions),
        }  # fmt: skip
        values = {
            "queue_len": float(len(engine.queue)),
            "running": float(len(engine.running)),
            "max_running": float(server.slots),
            "kv_use": min(1.0, engine.kv_used / engine.shape.kv_tokens),
            "kv_capacity": float(engine.shape.kv_tokens),
            "prefix_hit": min(1.0, max(0.0, self._about(server.prefix_hit))),
            "spec_accept": min(1.0, max(0.0, self._about(server.accept))),
            "adapter_waiting": server.adapters,
            "restarts": 1.0 / STEP_SECONDS if server.restarted else 0.0,
            "probe_up": server.probe_up,
            "probe_ttft": self._about(0.12 * server.probe_slower, 0.05) if server.probe_up else np.nan,
        }
        server.restarted = False
        for name, total in rates.items():
            values[name] = self._rate(server, name, total)
        arrivals = values["arrivals"]
        values |= {"errors": server.errors * arrivals, "rejected": server.rejected * arrivals,
                   "finished_abort": server.aborted * arrivals, "corrupted": server.corrupted * arrivals}  # fmt: skip
        found = {SeriesKey(entity, name): value for name, value in values.items()}
        for name in _DISTRIBUTIONS:
            histogram: Histogram = getattr(engine, name)
            number = self._rate(server, f"{name} number", float(histogram.number))
            total = self._rate(server, f"{name} total", histogram.total)
            found[SeriesKey(entity, name, "mean")] = total / number if number > 0 else np.nan
            found[SeriesKey(entity, name, "rate")] = number
        return found

    def _rate(self, server: Server, name: str, total: float) -> float:
        before, server.before[name] = server.before.get(name, np.nan), total
        return (total - before) / STEP_SECONDS

    def _driven(self, index: int) -> dict[SeriesKey, float] | None:
        found: dict[SeriesKey, float] = {}
        server = self.servers[index]
        busy = 0.0 if server.down or server.engine.stuck else min(1.0, len(server.engine.running) / 8)
        busy /= 1.0 + 2.0 * self.hosts[index].cpu_pressure
        for gpu in self.gpus[index]:
            if gpu.silent:
                continue
            values = {
                "gpu_util": min(1.0, busy * 0.9 + gpu.foreign * 0.4),
                "gpu_sm_active": min(1.0, busy * 0.7 + gpu.foreign * 0.4),
                "gpu_dram_active": min(1.0, busy * 0.5 + gpu.foreign * 0.4),
                "gpu_temp": self._about(48 + 12 * busy + gpu.hotter, 0.01),
                "gpu_power": self._about((120 + 430 * busy) * gpu.power_share),
                "gpu_power_limit": 700.0,
                "gpu_sm_clock": self._about(1.98e9 * gpu.clock_share, 0.002),
                "gpu_throttle_thermal": gpu.thermal,
                "gpu_throttle_power": gpu.power_cap,
                "gpu_throttle_brake": gpu.brake,
                "gpu_ecc_uncorrected": gpu.ecc,
                "gpu_ecc_corrected": gpu.ecc_corrected,
                "gpu_row_remap": gpu.remapped,
                "gpu_row_remap_pending": gpu.remap_pending,
                "gpu_row_remap_failed": gpu.remap_failed,
                "gpu_nvlink_errors": gpu.nvlink_errors,
                "gpu_nvlink_bytes": self._about(4e10 * busy * gpu.nvlink_share, 0.05),
                "gpu_pcie_replays": gpu.pcie_replays,
                "gpu_pcie_rx": self._about(1e9 * (0.1 + busy), 0.1),
                "gpu_processes": gpu.processes,
                "gpu_mem_total": 8.0e10,
                "gpu_mem_used": 7.0e10 + gpu.memory_used,
                "gpu_mem_free": 1.0e10 - gpu.memory_used,
            }
            gpu.ecc = 0.0  # an event is told once
            found |= {SeriesKey(gpu.entity, name): value for name, value in values.items()}
        return found or None

    def _hosted(self, index: int) -> dict[SeriesKey, float]:
        host = self.hosts[index]
        values = {
            "cpu_busy": min(1.0, self._about(0.25 + host.cpu, 0.05)),
            "cpu_pressure": max(0.0, self._about(0.02 + host.cpu_pressure, 0.1)),
            "io_pressure": max(0.0, self._about(0.01 + host.io_pressure, 0.1)),
            "memory_pressure": max(0.0, self._about(0.005 + (0.3 if host.memory_gone > 2e11 else 0.0), 0.1)),
            "memory_available": self._about(2.5e11, 0.005) - host.memory_gone,
            "load1": self._about(6 + 40 * host.cpu, 0.05),
            "oom_kills": host.oom_kills,
            "network_errors": host.network_errors,
            "disk_available": 5.0e11 - host.disk_gone,
        }
        host.oom_kills = 0.0
        return {SeriesKey(host.entity, name): value for name, value in values.items()}
