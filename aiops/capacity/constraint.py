"""What limits a pool, by name, with the numbers that say so, and what would help.

Where requests wait although there is room for them elsewhere, more replicas cost money and change nothing: behind a
gateway that holds requests back, on a replica that is stuck, on one that gets more than its share. Then the answer
names the setting instead. Reduced clocks are another matter: a busy GPU at its power limit is an ordinary sight, and
one more replica relieves also a pool of slow ones. GPU utilisation takes no part: it was measured to fall under
overload.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import isnan

import numpy as np

from aiops.capacity.curve import fit_curve
from aiops.capacity.observed import NAN, History
from aiops.capacity.sizing import Engine

RECENT_SECONDS = 120.0
_FULL = 0.95
_FULL_SECONDS = 60.0  # what waited for two minutes may have waited for a batch that filled only in the last of them
_KV_HIGH = 0.9
_UNEVEN = 2.0
_THROTTLED = 0.2


class Limit(StrEnum):
    """What holds a pool back."""

    NONE = "none"
    SLOTS = "slots"
    KV = "kv"
    COMPUTE = "compute"
    PREFILL = "prefill"
    GATEWAY = "gateway_queue"
    THROTTLED = "throttled_gpus"
    STUCK = "stuck_replica"
    IMBALANCE = "replica_imbalance"


@dataclass(frozen=True, slots=True)
class Binding:
    """The limit that binds first.

    Attributes
    ----------
    evidence
        Numbers behind it, as sentences.
    relieved_by_replicas
        Whether more replicas would help.
    advice
        The setting that would help, or help as well; empty when there is none.
    """

    limit: Limit
    evidence: tuple[str, ...] = ()
    relieved_by_replicas: bool = True
    advice: str = ""


def binding_constraint(
    history: History,
    engine: Engine | None,
    *,
    throttled: float = NAN,
    gateway_queue: float = NAN,
    stuck: Sequence[str] = (),
) -> Binding:
    """Name the limit of the last two minutes.

    Parameters
    ----------
    throttled
        Share of the pool's GPUs whose clocks are held for heat or power, 0 – 1; NaN = unknown.
    gateway_queue
        Requests that wait in front of the engines; NaN = unknown.
    stuck
        Replicas that hold requests and make no progress.
    """
    queue, running = history.recent("queue_len", RECENT_SECONDS), history.recent("running", RECENT_SECONDS)
    ready, kv = history.recent("ready", RECENT_SECONDS), history.recent("kv_use", RECENT_SECONDS)
    each = running / ready if ready > 0.0 else NAN
    waiting = queue >= 1.0
    if gateway_queue >= 1.0 and not waiting and not _full(history, engine):
        return Binding(
            Limit.GATEWAY, (f"{gateway_queue:.0f} requests wait in the gateway, {queue:.0f} in the engines",),
            relieved_by_replicas=False, advice="raise the gateway's concurrency limit: the engines have room",
        )  # fmt: skip
    uneven = _uneven(history, engine, each, stuck) if waiting else None
    if throttled >= _THROTTLED and not (uneven and uneven.limit is Limit.STUCK):
        evidence = (f"{throttled:.0%} of the GPUs run at reduced clocks", *(uneven.evidence if uneven else ()))
        return Binding(
            Limit.THROTTLED, evidence, relieved_by_replicas=uneven is None,
            advice="fix cooling or raise the power limit: a new replica under the same limit will be throttled too",
        )  # fmt: skip
    if uneven is not None:
        return uneven
    if waiting:
        return _queued(history, engine, queue, each, kv)
    return _unqueued(history, engine, each, kv)


def _full(history: History, engine: Engine | None) -> bool:
    """The batch was as large as it can be within the last minute, or, when nobody says how large, as it ever was."""
    with np.errstate(divide="ignore", invalid="ignore"):
        batch = history.column("running") / history.column("ready")
    slots = history.recent("max_running", RECENT_SECONDS) / history.recent("ready", RECENT_SECONDS)
    if isnan(slots) and engine is not None:
        slots = engine.slots
    if isnan(slots):
        slots = float(np.max(batch, initial=0.0, where=np.isfinite(batch))) or NAN
    newest = batch[-max(1, round(_FULL_SECONDS / history.step_seconds)) :]
    return bool((newest >= _FULL * slots).any())


def _uneven(history: History, engine: Engine | None, each: float, stuck: Sequence[str]) -> Binding | None:
    """Requests wait on one replica while others have room."""
    busiest, idle = history.recent("busiest", RECENT_SECONDS), history.recent("idle", RECENT_SECONDS)
    if _full(history, engine) and not idle >= 1.0:
        return None
    if stuck:
        return Binding(
            Limit.STUCK, tuple(f"{name} holds requests and makes no progress" for name in stuck),
            relieved_by_replicas=False, advice="restart it, and send it nothing until then",
        )  # fmt: skip
    mean = each + history.recent("queue_len", RECENT_SECONDS) / history.recent("ready", RECENT_SECONDS)
    if not busiest >= _UNEVEN * max(mean, 1.0):
        return None
    return Binding(
        Limit.IMBALANCE, (f"the fullest replica holds {busiest:.0f} requests, the mean {mean:.1f}",),
        relieved_by_replicas=False, advice="fix routing: least-loaded instead of round robin, or shorter stickiness",
    )  # fmt: skip


def _queued(history: History, engine: Engine | None, queue: float, each: float, kv: float) -> Binding:
    preempted = history.recent("preemptions", RECENT_SECONDS)
    evidence = [f"{queue:.0f} requests wait while {each:.1f} run in each replica"]
    if not isnan(kv):
        evidence.append(f"KV cache at {kv:.0%}")
    if kv >= _KV_HIGH or preempted > 0.0:
        if preempted > 0.0:
            evidence.append(f"{preempted:.2g} preemptions a second")
        return Binding(
            Limit.KV, tuple(evidence), advice="more KV: fewer weights per GPU, FP8 KV cache, shorter max_model_len"
        )
    knee = _knee(history, engine)
    if _full(history, engine):
        # Past the knee a longer batch only makes each token slower.
        return Binding(Limit.SLOTS, tuple(evidence), advice=_more_slots(each, knee))
    prefill = _prefill_share(history)
    if prefill >= 0.5:
        return Binding(
            Limit.PREFILL, (*evidence, f"{prefill:.0%} of the time to first token after the queue is prefill"),
            advice="chunked prefill, a longer token budget per step, or prefix caching",
        )  # fmt: skip
    return Binding(Limit.COMPUTE, tuple(evidence), advice="")


def _unqueued(history: History, engine: Engine | None, each: float, kv: float) -> Binding:
    """Nobody waits: what comes next, if anything is near."""
    knee = _knee(history, engine)
    if kv >= _KV_HIGH:
        return Binding(Limit.KV, (f"KV cache at {kv:.0%}",), advice="more KV before requests are preempted")
    if each >= 2.0 * knee:
        return Binding(
            Limit.COMPUTE, (f"{each:.0f} run in each replica; beyond about {knee:.0f} they only slow each other",)
        )
    if _prefill_share(history) >= 0.8 and history.recent("ttft", RECENT_SECONDS) > 1.0:
        return Binding(Limit.PREFILL, (f"time to first token is {history.recent('ttft', RECENT_SECONDS):.1f} s",))
    return Binding(Limit.NONE)


def _more_slots(each: float, knee: float) -> str:
    if isnan(knee):
        return "raise max_num_seqs, if throughput still grows with the batch"
    if knee == float("inf"):
        return "raise max_num_seqs: throughput was not seen to level off yet"
    return "" if each >= knee else f"raise max_num_seqs: up to about {knee:.0f} a longer batch gives more throughput"


def _knee(history: History, engine: Engine | None) -> float:
    """Batch beyond which more requests add latency only; infinite while throughput grows, NaN = not known."""
    ready, running = history.column("ready"), history.column("running")
    tokens = history.column("tokens_out" if engine is None or engine.units != 1.0 else "finished")
    with np.errstate(divide="ignore", invalid="ignore"):
        fitted = fit_curve(running / ready, running / tokens)
    if fitted is None:
        return NAN
    return float("inf") if isnan(fitted.knee) else fitted.knee


def _prefill_share(history: History) -> float:
    prefill, ttft = history.recent("prefill", RECENT_SECONDS), history.recent("ttft", RECENT_SECONDS)
    wait = np.nan_to_num(history.recent("queue_wait", RECENT_SECONDS))
    return prefill / (ttft - float(wait)) if ttft - float(wait) > 0.0 else NAN
