"""What a tick costs, and what the daemon weighs: prints one JSON document.

CPU per series and sample of one whole tick (append to the ring, score, decide, learn) for fleets of 1 000, 10 000 and
100 000 series, each part by itself, and the resident memory of a fresh process with 2 000 series. Median of some ticks;
CPU time of this process, so a busy machine does not count.

Usage: ``python benchmarks/tick.py [series …]``
"""

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml

from aiops.detect.bank import Bank
from aiops.detect.policy import AnomalyPolicy
from aiops.detect.rules import RuleBook
from aiops.detect.settings import DetectSettings
from aiops.signals.types import Columns, Entity, EntityKind, Reading, SeriesKey, SourceStatus
from aiops.store.ring import Ring

DETECTORS = Path(__file__).resolve().parents[1] / "models" / "detectors"
ROWS = 720
STEP_SECONDS = 5.0
PER_REPLICA = (
    ("running", ""), ("queue_len", ""), ("max_running", ""), ("arrivals", ""), ("finished", ""), ("errors", ""),
    ("tokens_in", ""), ("tokens_out", ""), ("kv_use", ""), ("preemptions", ""),
    ("ttft", "mean"), ("ttft", "p50"), ("ttft", "p95"), ("ttft", "p99"), ("ttft", "rate"),
    ("itl", "mean"), ("itl", "p50"), ("itl", "p95"), ("itl", "p99"), ("itl", "rate"),
)  # fmt: skip
LEVEL = {"running": 8.0, "queue_len": 2.0, "max_running": 64.0, "kv_use": 0.4, "errors": 0.0, "preemptions": 0.0}


def bank() -> Bank:
    policy = AnomalyPolicy.parse(yaml.safe_load((DETECTORS / "anomaly.yaml").read_text()), "anomaly.yaml")
    rules = RuleBook.parse(yaml.safe_load((DETECTORS / "liveness.yaml").read_text()), "liveness.yaml")
    return Bank(DetectSettings(), policy, rules)


def fleet(series: int) -> tuple[list[Columns], list[SourceStatus]]:
    layouts, sources = [], []
    for number in range(-(-series // len(PER_REPLICA))):
        labels = {"job": "vllm", "instance": f"10.0.{number // 250}.{number % 250}:8000", "model_name": "m"}
        entity = Entity.of(EntityKind.REPLICA, **labels)
        layouts.append(Columns(tuple(SeriesKey(entity, signal, stat) for signal, stat in PER_REPLICA)))
        target = Entity.of(EntityKind.TARGET, job="vllm", instance=labels["instance"])
        sources.append(SourceStatus(labels["instance"], "scrape", target, STEP_SECONDS, 1.0, 1.0, 1.0))
    return layouts, sources


def measure(series: int, ticks: int) -> dict[str, float]:
    layouts, sources = fleet(series)
    columns = len(layouts) * len(PER_REPLICA)
    ring = Ring(ROWS, STEP_SECONDS, max_series=columns, ttl_seconds=3600.0)
    judge = bank()
    rng = np.random.default_rng(1)
    level = np.array([LEVEL.get(signal, 20.0) for signal, _ in PER_REPLICA])
    parts: dict[str, list[float]] = {"append": [], "bank": []}
    for tick in range(ticks):
        now = 1.0e9 + tick * STEP_SECONDS
        noise = 1 + 0.05 * rng.standard_normal((len(layouts), len(PER_REPLICA)))
        readings = [Reading(f"{i}", now, keys, level * noise[i]) for i, keys in enumerate(layouts)]
        sources = [replace(source, last_success=now, last_change=now) for source in sources]
        parts["append"].append(cpu(lambda: ring.append(now, readings, elapsed_seconds=STEP_SECONDS)))  # noqa: B023 -- called at once
        window = ring.window()
        parts["bank"].append(cpu(lambda: judge.step(window, now, sources, (), ())))  # noqa: B023
    half = ticks // 2  # the first half learns; the first tick also lays the columns out
    seconds = {name: statistics.median(values[half:]) for name, values in parts.items()}
    first = parts["append"][0] + parts["bank"][0]
    return {
        "series": columns,
        "append_ns_per_series_sample": round(seconds["append"] / columns * 1e9, 1),
        "bank_ns_per_series_sample": round(seconds["bank"] / columns * 1e9, 1),
        "tick_ns_per_series_sample": round(sum(seconds.values()) / columns * 1e9, 1),
        "tick_ms": round(sum(seconds.values()) * 1e3, 3),
        "first_tick_ms": round(first * 1e3, 1),
        "cores_at_5s": round(sum(seconds.values()) / STEP_SECONDS, 5),
    }


def cpu(call: Callable[[], object]) -> float:
    begun = time.process_time()
    call()
    return time.process_time() - begun


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * resource.getpagesize() / 2**20, 1)


def weigh() -> dict[str, object]:
    """Run in a fresh process: the daemon's imports, then 2 000 series for a few ticks."""
    try:
        import aiops.app.daemon  # noqa: F401
    except ImportError:
        imported = "aiops.detect, aiops.store (there is no aiops.app.daemon)"
    else:
        imported = "aiops.app.daemon"
    after_import = resident_mib()
    measure(2_000, 10)
    heavy = sorted({"pandas", "sklearn", "statsmodels", "scipy"} & set(sys.modules))
    return {"imported": imported, "import_mib": after_import, "with_2000_series_mib": resident_mib(), "heavy": heavy}


def main() -> None:
    if sys.argv[1:] == ["--weigh"]:
        print(json.dumps(weigh()))
        return
    sizes = [int(argument) for argument in sys.argv[1:]] or [1_000, 10_000, 100_000]
    fresh = subprocess.run([sys.executable, __file__, "--weigh"], check=True, stdout=subprocess.PIPE, text=True)
    ticks = [measure(size, 140 if size <= 10_000 else 80) for size in sizes]
    print(json.dumps({"ticks": ticks, "memory": json.loads(fresh.stdout)}, indent=2))


if __name__ == "__main__":
    main()
