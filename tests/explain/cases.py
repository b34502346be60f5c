"""Incidents with diagnoses, made from a seed: several faults, entities, signals and units, also unknown values."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from aiops.app import presets
from aiops.detect.base import AlertKey, Severity, Verdict
from aiops.diagnose.record import Candidate, Cause, Diagnosis, Direction, Evidence, RuledOut
from aiops.explain.words import Words
from aiops.incidents.alert import Alert, AlertState, Incident
from aiops.signals.types import Entity, EntityKind, Mark, MarkKind, SeriesKey

START = 1_790_000_000.0
CAUSES = {
    "thermal-throttle": ("A GPU is slowed down by heat", "Check the airflow and the fans, or drain the node."),
    "traffic-surge": ("More requests arrive than the pool can serve", "Add replicas, or limit admission."),
    "kv-exhaustion": ("The KV cache is full", "Lower the batch limit, or add replicas."),
    "engine-stuck": ("The engine makes no progress", "Restart the replica."),
    "ecc-uncorrectable": ("A GPU has an uncorrectable memory error", "Drain the node and reset the GPU."),
    "nvlink-errors": ("An NVLink connection has errors", "Drain the node and look at the link."),
    "retry-storm": ("Clients repeat failed requests", "Let clients back off."),
    "prefix-cache-drop": ("The prefix cache is hit less often", "Restore the routing or the prompt template."),
}
ACTIONS = {
    "drain-node": "Drain the node",
    "restart-replica": "Restart the replica",
    "add-replicas": "Add replicas",
    "limit-admission": "Limit admission",
    "reset-gpu": "Reset the GPU",
}
_MOVES: Mapping[str, tuple[tuple[str, str, float, float], ...]] = {
    "thermal-throttle": (("gpu_temp", "", 93.0, 66.0), ("gpu_sm_clock", "", 1.2e9, 1.98e9), ("itl", "p95", 0.08, 0.03)),
    "traffic-surge": (("arrivals", "", 41.0, 12.5), ("queue_len", "", 64.0, 1.0), ("ttft", "p95", 4.2, 0.38)),
    "kv-exhaustion": (("kv_use", "", 0.99, 0.62), ("preemptions", "", 0.83, 0.0), ("tpot", "mean", 0.12, 0.04)),
    "engine-stuck": (("running", "", 7.0, 9.0), ("tokens_out", "", 0.0, 840.0), ("e2e", "p95", 61.0, 8.5)),
    "ecc-uncorrectable": (("gpu_ecc_uncorrected", "", 1.0, 0.0), ("errors", "", 2.4, 0.0), ("ready", "", 3.0, 4.0)),
    "nvlink-errors": (("gpu_nvlink_errors", "", 5.5, 0.0),
                      ("gpu_nvlink_bytes", "", 3.1e9, 9.6e9), ("itl", "p50", 0.07, 0.03)),
    "retry-storm": (("errors", "", 3.2, 0.1), ("arrivals", "", 55.0, 20.0), ("finished_abort", "", 6.1, 0.2)),
    "prefix-cache-drop": (("prefix_hit", "", 0.11, 0.74), ("gpu_power", "", 640.0, 480.0), ("ttft", "p50", 0.9, 0.31)),
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    incident: Incident
    alerts: Mapping[AlertKey, Alert]
    diagnosis: Diagnosis


@cache
def words() -> Words:
    both = {cause: {"en": title, "zh": title} for cause, (title, _) in CAUSES.items()}
    actions = {action: {"en": text, "zh": text} for action, text in ACTIONS.items()}
    return Words(presets.signal_names(), causes=both, actions=actions)  # type: ignore[arg-type]


def entity_of(signal: str, rng: random.Random) -> Entity:
    if signal.startswith("gpu_"):
        return Entity.of(EntityKind.GPU, node=f"node-{rng.randrange(1, 30)}", gpu=str(rng.randrange(8)))
    instance = f"10.0.{rng.randrange(9)}.{rng.randrange(1, 99)}:8000"
    return Entity.of(EntityKind.REPLICA, instance=instance, pool="chat", model_name="llama-70b")


def case(seed: int, *, abstained: bool = False, ended: bool = False) -> Case:
    """One incident; equal seeds give equal cases."""
    rng = random.Random(seed)
    names = rng.sample(sorted(CAUSES), 4)
    start = START + 60.0 * rng.randrange(10_000)
    evidence: list[Evidence] = []
    candidates: list[Candidate] = []
    for name in names[:2]:
        for signal, stat, value, expected in _MOVES[name]:
            factor = rng.uniform(0.9, 1.1)
            series = SeriesKey(entity_of(signal, rng), signal, stat)
            fact = f"E{len(evidence) + 1}"
            unit = presets.SIGNALS[signal].unit
            evidence.append(
                Evidence(fact, series, f"{series} moved", value * factor, expected * factor, unit, start, start + 180.0)
            )
            way = Direction.UP if value > expected else Direction.DOWN
            candidates.append(
                Candidate(series.entity, signal, stat, way, 90.0 - len(evidence), start + 5.0, evidence=fact)
            )
    node = entity_of("gpu_temp", rng)
    evidence.append(
        Evidence(f"E{len(evidence) + 1}", None, "Xid 79 was reported", 79.0, float("nan"), "", start, start)
    )
    causes = tuple(
        Cause(name, CAUSES[name][0], candidates[3 * place].entity, 0.9 - 0.3 * place,
              tuple(f"E{3 * place + k}" for k in (1, 2, 3)), CAUSES[name][1], ("drain-node", "add-replicas"),
              "gpu-clock")
        for place, name in enumerate(names[:2])
    )  # fmt: skip
    key = AlertKey("QueueSaturated", candidates[0].entity and evidence[0].series)  # type: ignore[arg-type]
    verdict = Verdict("QueueSaturated", Severity.CRITICAL, 2.0, 40.0, "All slots are taken and requests queue", "why",
                      runbook="queue-saturated")  # fmt: skip
    alert = Alert(key, AlertState.FIRING, start, start + 60.0, verdict, incident="5aecb8811292")
    diagnosis = Diagnosis(
        "5aecb8811292", start + 90.0, "floored-median", tuple(candidates), () if abstained else causes,
        (RuledOut(names[2], "its temperature is as expected", ("E2",)), RuledOut(names[3], "nothing speaks for it")),
        (Mark(MarkKind.DEPLOY, node, start - 240.0, "image v1.4 to v1.5"),),
        tuple(evidence), abstained, "two causes fit equally well" if abstained else "",
    )  # fmt: skip
    incident = Incident("5aecb8811292", verdict.summary, Severity.CRITICAL, start, start + 90.0,
                        start + 600.0 if ended else 0.0, (key,))  # fmt: skip
    return Case(incident, {key: alert}, diagnosis)
