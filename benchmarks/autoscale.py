"""Autoscalers in closed loop: SLO-violation seconds and replica-hours, side by side; prints one JSON document.

The same simulated pool (:mod:`aiops.lab.closed_loop`) is driven by the same traffic and scaled by our recommendation
and by the rules of the usual autoscalers with their defaults; where a rule has a target, two more settings show its
trade. Traffic: request traces given as files (Azure LLM inference CSV, Mooncake JSONL), and generated bursts, a wave, a
ramp and a step. ``on_front`` tells whether no default setting of another scaler is better in both.

Usage: ``python benchmarks/autoscale.py [--quick] [--seed N] [TRACE …]``
"""

import argparse
import csv
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import numpy as np

from aiops.capacity.settings import CapacitySettings
from aiops.lab.closed_loop import Loop, Machine, Traffic
from aiops.lab.scalers import Advised, Hpa, KedaQueue, Knative, Saturation, Scaler

MACHINE = Machine()
DEFAULTS = ("hpa 0.7", "knative 0.7", "keda queue 5", "saturation 0.8/5")


def ours(target: float) -> Advised:
    """Our recommendation for a share of requests that must be in time."""
    return Advised(CapacitySettings(slo_target=target, warm_up=300.0), MACHINE.lead_seconds)


SCALERS: dict[str, Callable[[], Scaler]] = {
    "aiops 0.95": lambda: ours(0.95),
    "hpa 0.7": Hpa,
    "knative 0.7": Knative,
    "keda queue 5": KedaQueue,
    "saturation 0.8/5": Saturation,
}
MORE: dict[str, Callable[[], Scaler]] = {
    "aiops 0.9": lambda: ours(0.9),
    "aiops 0.99": lambda: ours(0.99),
    "hpa 0.5": lambda: Hpa(target=0.5),
    "hpa 0.85": lambda: Hpa(target=0.85),
    "knative 0.5": lambda: Knative(target=0.5),
    "knative 0.85": lambda: Knative(target=0.85),
}


def read(path: Path) -> Traffic:
    """A trace in one of the two published forms."""
    if path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        columns = [[row[name] for row in rows] for name in ("timestamp", "input_length", "output_length")]
        at, prompt, output = (np.array(column, dtype=np.float64) for column in columns)
        at /= 1000.0
    else:
        with path.open() as file:
            table = list(csv.DictReader(file))
        stamps = [datetime.fromisoformat(row["TIMESTAMP"][:26]).timestamp() for row in table]
        at = np.array(stamps)
        prompt = np.array([float(row["ContextTokens"]) for row in table])
        output = np.array([float(row["GeneratedTokens"]) for row in table])
    order = np.argsort(at, kind="stable")
    at = at[order] - at[order][0]
    return Traffic(at, np.minimum(prompt[order], 20_000.0), np.maximum(1.0, output[order]))


def generated(rate: Callable[[np.ndarray], np.ndarray], seconds: float, seed: int) -> Traffic:
    """Poisson arrivals at a rate that changes every second; log-normal prompts, geometric outputs."""
    rng = np.random.default_rng(seed)
    grid = np.arange(0.0, seconds)
    counts = rng.poisson(rate(grid))
    at = np.sort(np.repeat(grid, counts) + rng.random(int(counts.sum())))
    prompt = np.clip(rng.lognormal(np.log(600.0), 0.8, len(at)), 16, 8000)
    output = np.clip(rng.geometric(1.0 / 180.0, len(at)), 1, 2000).astype(np.float64)
    return Traffic(at, prompt, output)


def bursts(seed: int) -> Traffic:
    """Quiet traffic with bursts of three times the rate, one to four minutes long, at random."""
    rng = np.random.default_rng(seed)
    level = np.empty(7200)
    place = 0
    while place < 7200:
        calm, busy = int(rng.exponential(400.0)) + 60, int(rng.uniform(60.0, 240.0))
        level[place : place + calm] = 5.0
        level[place + calm : place + calm + busy] = 15.0
        place += calm + busy
    return generated(lambda grid: level[grid.astype(int)], 7200.0, seed)


def traffics(paths: list[Path], seed: int) -> dict[str, Traffic]:
    """All traffic by name."""
    found = {path.stem: read(path) for path in paths}
    found["bursts"] = bursts(seed)
    found["wave"] = generated(lambda t: 8.0 + 6.0 * np.sin(t * 2.0 * np.pi / 3600.0), 7200.0, seed)
    found["ramp"] = generated(lambda t: np.clip(3.0 + (t - 1200.0) / 150.0, 3.0, 18.0), 4800.0, seed)
    found["step"] = generated(lambda t: np.where(t < 1800.0, 4.0, 12.0), 4800.0, seed)
    return found


def start_of(traffic: Traffic) -> int:
    """Replicas for the mean of the first ten minutes at two thirds of a replica's best: the same for everybody."""
    early = traffic.arrival_seconds < 600.0
    machine = MACHINE
    tokens, prompts = traffic.output_tokens[early].sum(), traffic.prompt_tokens[early].sum()
    pace = (machine.base_seconds + machine.slope_seconds * machine.slots) / machine.slots
    return max(1, int(np.ceil((tokens * pace + prompts * machine.prefill_seconds) / 600.0 / 0.67)))


def run(name: str, make: Callable[[], Scaler], traffic: Traffic) -> dict[str, object]:
    """One scaler on one traffic."""
    scaler = make()
    began = time.process_time()
    verdict = Loop(traffic, MACHINE, scaler, start_replicas=start_of(traffic)).run()
    answer: dict[str, object] = {"scaler": name, **{k: round(float(v), 3) for k, v in asdict(verdict).items()}}
    answer["cpu_seconds"] = round(time.process_time() - began, 2)
    if isinstance(scaler, Advised):
        given = scaler.given
        answer["recommendations"] = len(given)
        answer["abstained"] = sum(one.desired is None for one in given)
        answer["reasons"] = sorted({one.reason.split(";")[0] for one in given if one.desired is None})[:5]
    return answer


def better(one: dict[str, object], other: dict[str, object]) -> bool:
    """Whether one is no worse in both and better in one."""
    a = (float(str(one["violation_seconds"])), float(str(one["replica_hours"])))
    b = (float(str(other["violation_seconds"])), float(str(other["replica_hours"])))
    return a[0] <= b[0] and a[1] <= b[1] and a != b


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("traces", nargs="*", type=Path)
    parser.add_argument("--quick", action="store_true", help="default settings only")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    scalers = SCALERS if args.quick else SCALERS | MORE
    document: dict[str, object] = {"machine": asdict(MACHINE), "slo_seconds": 1.0, "allowed": 0.05, "traffic": {}}
    for name, traffic in traffics(args.traces, args.seed).items():
        rows = [run(scaler, make, traffic) for scaler, make in scalers.items()]
        mine = rows[0]
        others = [row for row in rows if row["scaler"] in DEFAULTS]
        document["traffic"][name] = {  # type: ignore[index]
            "requests": len(traffic.arrival_seconds),
            "start_replicas": start_of(traffic),
            "rows": rows,
            "on_front": not any(better(other, mine) for other in others),
            "beaten_by_ours": [row["scaler"] for row in others if better(mine, row)],
            "beats_ours_at_any_setting": [row["scaler"] for row in rows[1:] if better(row, mine)],
        }
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
