"""Everything that can go wrong in a rig, by the id of the cause: what is seen, second by second after the onset.

How strong, and whom it strikes, varies with the seed. A story sets the rig's fields; it is called at every tick.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from aiops.lab.rig import Gpu, Host, Rig, Server
from aiops.signals.types import MarkKind


@dataclass(frozen=True, slots=True)
class Strike:
    """One fault at work: the victim, how strong (0 to 1, by the seed), and how long ago it began."""

    rig: Rig
    victim: int
    force: float
    seconds: float

    @property
    def server(self) -> Server:
        """The struck replica."""
        return self.rig.servers[self.victim]

    @property
    def gpu(self) -> Gpu:
        """The first GPU of it."""
        return self.rig.gpus[self.victim][0]

    @property
    def host(self) -> Host:
        """Its host."""
        return self.rig.hosts[self.victim]

    @property
    def first(self) -> bool:
        """This is the tick of the onset."""
        return self.seconds == 0.0

    def xid(self, number: int) -> None:
        """The driver reports an Xid error."""
        self.rig.mark(MarkKind.XID, self.gpu.entity, f"Xid {number}: as the driver says")

    def crash(self, *, after: float, for_seconds: float = 25.0) -> None:
        """The engine dies and comes back."""
        if self.seconds == after:
            self.server.down = True
        if self.seconds == after + for_seconds:
            self.server.down = False
            self.rig.restart(self.victim)


def _thermal(on: Strike) -> None:
    on.gpu.hotter = min(28.0 + 6 * on.force, 4.0 * on.seconds)
    if on.seconds >= 10:
        on.gpu.thermal, on.gpu.clock_share, on.gpu.power_share = 0.5 + 0.5 * on.force, 0.6 - 0.2 * on.force, 0.8
        on.server.engine.slowdown = 1.6 + on.force


def _power(on: Strike) -> None:
    on.gpu.power_cap, on.gpu.clock_share, on.gpu.power_share = 0.6 + 0.4 * on.force, 0.7 - 0.15 * on.force, 1.3
    on.server.engine.slowdown = 1.5 + on.force


def _brake(on: Strike) -> None:
    for gpu in on.rig.gpus[on.victim]:
        gpu.brake, gpu.clock_share, gpu.power_share = 1.0, 0.3, 0.5
    on.server.engine.slowdown = 2.5 + on.force


def _clock(on: Strike) -> None:
    on.gpu.clock_share, on.gpu.power_share = 0.6 - 0.1 * on.force, 0.7
    on.server.engine.slowdown = 1.6 + on.force


def _ecc(on: Strike) -> None:
    if on.first:
        on.gpu.ecc = 1.0
        on.xid(48 if on.force < 0.5 else 95)
    on.crash(after=5.0)


def _corrected(on: Strike) -> None:
    on.gpu.ecc_corrected = 3.0 + 10 * on.force


def _remap_pending(on: Strike) -> None:
    if on.first:
        on.xid(63)
    on.gpu.remapped, on.gpu.remap_pending = 1.0, 1.0


def _remap_failed(on: Strike) -> None:
    if on.first:
        on.xid(64)
    on.gpu.remapped, on.gpu.remap_pending, on.gpu.remap_failed = 1.0, 1.0, 1.0


def _off_the_bus(on: Strike) -> None:
    if on.first:
        on.xid(79)
        on.rig.mark(MarkKind.GPU_LOST, on.gpu.entity, "the driver does not find it any more")
    on.gpu.silent = True
    if on.seconds >= 5:
        on.server.down = True


def _exporter(on: Strike) -> None:
    for gpu in on.rig.gpus[on.victim]:
        gpu.silent = True


def _driver(on: Strike) -> None:
    if on.first:
        on.rig.mark(MarkKind.GPU_DRIVER_UNRESPONSIVE, on.host.entity, "a call hangs")
    _exporter(on)
    on.server.engine.stuck = True


def _firmware(on: Strike) -> None:
    if on.first:
        on.xid(119 if on.force < 0.6 else 120)
    on.server.engine.stuck = True


def _stopped(on: Strike) -> None:
    if on.first:
        on.xid(46 if on.force < 0.6 else 8)
    on.server.engine.stuck = True


def _application(on: Strike) -> None:
    if on.first:
        on.xid((13, 31, 43)[int(on.force * 2.99)])
    on.crash(after=5.0)


def _nvlink(on: Strike) -> None:
    if on.first and on.force > 0.5:
        on.xid(74)
    for gpu in on.rig.gpus[on.victim]:
        gpu.nvlink_errors, gpu.nvlink_share = 20.0 + 200 * on.force, 0.5
    on.server.engine.slowdown = 1.6 + on.force


def _pcie(on: Strike) -> None:
    on.gpu.pcie_replays = 5.0 + 50 * on.force
    on.server.engine.prefill_factor = 25.0 + 15 * on.force


def _gpu_memory(on: Strike) -> None:
    on.gpu.memory_used = min(9.8e9, 1.0e9 * on.seconds)
    if on.seconds >= 10:
        on.server.errors = 0.2 + 0.3 * on.force
    on.crash(after=30.0)


def _neighbour(on: Strike) -> None:
    on.gpu.processes, on.gpu.foreign, on.gpu.memory_used = 2.0, 0.6 + 0.4 * on.force, 4e9
    on.server.engine.slowdown = 1.7 + on.force


def _surge(on: Strike) -> None:
    on.rig.demand = 3.5 + 2.5 * on.force


def _retries(on: Strike) -> None:
    for server in on.rig.servers:
        server.errors = 0.3 + 0.3 * on.force if on.seconds < 60 else 0.15
    if on.seconds >= 20:
        on.rig.demand = 2.5 + 2 * on.force


def _drop(on: Strike) -> None:
    on.rig.demand = 0.25 * (1 - on.force)


def _prompts(on: Strike) -> None:
    _reshape(on.rig, prompt_tokens=1200.0 + 1000 * on.force)


def _outputs(on: Strike) -> None:
    _reshape(on.rig, output_tokens=220.0 + 150 * on.force)


def _reshape(rig: Rig, **changes: float) -> None:
    for server in rig.servers:
        server.engine.shape = replace(server.engine.shape, **changes)  # type: ignore[arg-type]


def _prefix(on: Strike) -> None:
    for server in on.rig.servers:
        server.prefix_hit, server.engine.prefill_factor = 0.05, 15.0 + 10 * on.force


def _speculation(on: Strike) -> None:
    for server in on.rig.servers:
        server.accept, server.engine.slowdown = 0.25 - 0.1 * on.force, 1.6 + 0.5 * on.force


def _adapters(on: Strike) -> None:
    on.server.adapters = float(on.rig.rng.integers(4, 9))
    on.server.engine.prefill_factor = 30.0 + 20 * on.force


def _stuck(on: Strike) -> None:
    on.server.engine.stuck |= bool(on.server.engine.running)


def _livelock(on: Strike) -> None:
    on.server.engine.blocked = True


def _kv(on: Strike) -> None:
    """Requests that fill the cache, for no reason that is seen: it is shared with something else."""
    on.server.engine.shape = replace(on.server.engine.shape, kv_tokens=9_000)
    on.server.share = 1.0
    held = int(7_600 + 500 * on.force)
    for request in on.server.engine.running[:1]:
        request.prompt = max(request.prompt, held)
        request.output = 10_000


def _kv_cut(on: Strike) -> None:
    if on.first:
        on.rig.restart(on.victim)
        on.rig.mark(MarkKind.DEPLOY, on.server.entity, "gpu_memory_utilization 0.9 → 0.6")
    on.server.engine.shape = replace(on.server.engine.shape, kv_tokens=int(2_600 - 600 * on.force))


def _batch(on: Strike) -> None:
    if on.first:
        for index in range(len(on.rig.servers)):
            on.rig.restart(index)
            on.rig.mark(MarkKind.DEPLOY, on.rig.servers[index].entity, "max_num_seqs 16 → 3")
    for server in on.rig.servers:
        server.slots = 3 if on.force < 0.5 else 2
        server.engine.shape = replace(server.engine.shape, slots=server.slots)


def _cold(on: Strike) -> None:
    on.crash(after=0.0)
    if on.seconds >= 25:
        on.server.prefix_hit = min(0.5, 0.004 * (on.seconds - 25))
        on.server.engine.prefill_factor = 20.0


def _loss(on: Strike) -> None:
    on.server.down = True


def _imbalance(on: Strike) -> None:
    extra = 1.2 + 0.6 * on.force
    for index, server in enumerate(on.rig.servers):
        server.share = 1 + extra if index == on.victim else 1 - extra / (len(on.rig.servers) - 1)


def _errors(on: Strike) -> None:
    on.server.errors = 0.2 + 0.4 * on.force


def _rejects(on: Strike) -> None:
    on.server.rejected = 0.3 + 0.4 * on.force


def _slow(on: Strike) -> None:
    on.server.engine.slowdown = 1.7 + on.force


def _corruption(on: Strike) -> None:
    on.server.corrupted = 0.1 + 0.3 * on.force


def _files(on: Strike) -> None:
    if on.first:
        on.rig.mark(MarkKind.FILE_DAMAGED, on.server.entity, "model-00001.safetensors differs from the manifest")
    if on.seconds >= 10:
        on.server.corrupted = 0.2 + 0.3 * on.force


def _cpu(on: Strike) -> None:
    on.host.cpu, on.host.cpu_pressure = 0.7, 0.4 + 0.4 * on.force
    on.server.engine.slowdown = 1.7 + on.force


def _host_memory(on: Strike) -> None:
    on.host.memory_gone = min(2.4e11, 8e9 * on.seconds) if on.seconds < 35 else 0.0
    if on.seconds == 30:
        on.host.oom_kills = 0.2
    on.crash(after=30.0)


def _storage(on: Strike) -> None:
    on.host.io_pressure = 0.4 + 0.4 * on.force
    on.server.engine.prefill_factor = 25.0


def _disk(on: Strike) -> None:
    on.host.disk_gone = min(4.999e11, 1e11 * on.seconds)
    if on.seconds >= 25:
        on.server.errors = 0.2 + 0.3 * on.force


def _prefill(on: Strike) -> None:
    on.server.engine.prefill_factor = 10.0 + 5 * on.force


def _network(on: Strike) -> None:
    on.host.network_errors = 5.0 + 20 * on.force
    on.server.probe_slower = 6.0 + 10 * on.force


def _dark(on: Strike) -> None:
    on.rig.dark = on.force < 0.5
    on.rig.frozen = on.force >= 0.5


TELEMETRY_FAULT = "telemetry-fault"
STORIES: dict[str, Callable[[Strike], None]] = {
    "gpu-thermal-throttle": _thermal, "gpu-power-cap": _power, "gpu-power-brake": _brake, "gpu-clock-low": _clock,
    "gpu-uncorrectable-ecc": _ecc, "gpu-corrected-ecc": _corrected, "gpu-row-remap-pending": _remap_pending,
    "gpu-row-remap-failed": _remap_failed, "gpu-off-the-bus": _off_the_bus, "exporter-silent": _exporter,
    "gpu-driver-hung": _driver, "gpu-firmware-fault": _firmware, "gpu-stopped": _stopped,
    "gpu-application-fault": _application, "nvlink-fault": _nvlink, "pcie-fault": _pcie,
    "gpu-out-of-memory": _gpu_memory, "noisy-neighbour": _neighbour, "traffic-surge": _surge, "retry-storm": _retries,
    "traffic-drop": _drop, "long-prompts": _prompts, "long-outputs": _outputs, "prefix-cache-drop": _prefix,
    "speculation-drop": _speculation, "adapter-thrash": _adapters, "engine-stuck": _stuck,
    "admission-livelock": _livelock, "kv-exhaustion": _kv, "kv-capacity-cut": _kv_cut,
    "batch-misconfiguration": _batch, "cold-start": _cold, "replica-loss": _loss, "load-imbalance": _imbalance,
    "engine-errors": _errors, "admission-limit": _rejects, "engine-slow": _slow, "silent-corruption": _corruption,
    "model-files-damaged": _files, "cpu-starvation": _cpu, "host-out-of-memory": _host_memory,
    "storage-slow": _storage, "disk-full": _disk, "prefill-slow": _prefill,
    "network-fault": _network, TELEMETRY_FAULT: _dark,
}  # fmt: skip
"""Cause → what it does to a rig. ``telemetry-fault`` is no cause: the right answer to it is none."""
