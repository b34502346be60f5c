"""How far each model of waiting is off on real traces, seen through scrapes: prints one JSON document.

For each trace, 4, 16 and 64 servers and rho 0.5 to 0.9: services are rescaled to that rho, the truth is a first-come-
first-served simulation of every request, and the models see only 15-s intervals (``aiops plan``'s own path). Errors are
factors max(a/b, b/a); means and 95th percentiles below 10 ms are left out, there is nothing to wait for. Then the least
number of servers with P(wait > 1 s) ≤ 5 %, at the true services, by model and by truth.

Two traces are public recordings that lie beside the checkout on development machines; the others are generated here.

Usage: ``python benchmarks/capacity.py [scrape interval in seconds]``
"""

import csv
import json
import statistics
import sys
import time
from datetime import datetime
from pathlib import Path

import numpy as np

from aiops.capacity.curve import StepCurve
from aiops.capacity.placement import learn_placement
from aiops.capacity.plan import Goal, plan
from aiops.capacity.queueing import gg_c, mmc
from aiops.capacity.replay import Requests, draw, fifo_waits
from aiops.capacity.twin import EngineProfile, engine_waits
from aiops.capacity.work import Intervals

TRACES = Path(__file__).resolve().parents[2] / "shared" / "data" / "traces"
GOAL = Goal(slo_seconds=1.0, target=0.95)
SERVERS = (4, 16, 64)
RHOS = (0.5, 0.7, 0.8, 0.9)
SMALLEST_SECONDS = 0.01


def service(context: float, generated: float) -> float:
    """A proxy for one large model on one accelerator; only its shape matters, the scale is set by rho."""
    return 0.03 + 6e-5 * context + 0.03 * generated


def recorded() -> dict[str, Requests]:
    found = {}
    chat = TRACES / "AzureLLMInferenceTrace_conv.csv"
    if chat.is_file():
        with chat.open() as file:
            rows = [
                (
                    datetime.fromisoformat(row["TIMESTAMP"][:26]).timestamp(),
                    service(float(row["ContextTokens"]), float(row["GeneratedTokens"])),
                )
                for row in csv.DictReader(file)
            ]
        found["azure_conv"] = requests(rows)
    synthetic = TRACES / "mooncake_synthetic_trace.jsonl"
    if synthetic.is_file():
        lines = [json.loads(line) for line in synthetic.read_text().splitlines()]
        rows = [(line["timestamp"] / 1e3, service(line["input_length"], line["output_length"])) for line in lines]
        found["mooncake_synthetic"] = requests(rows)
    return found


def generated() -> dict[str, Requests]:
    """Poisson; bursts of some minutes; clients that all send on the same second, every three seconds."""
    rng = np.random.default_rng(11)
    poisson = np.cumsum(rng.exponential(0.25, 12_000))
    bursts = []
    begin = 0.0
    while begin < 3600.0:
        begin += rng.exponential(120.0)
        length = rng.exponential(60.0)
        bursts.append(begin + np.sort(rng.random(rng.poisson(length * 8.0))) * length)
        begin += length
    sizes = rng.poisson(rng.gamma(4.0, 2.5, 1200))
    made = {"generated_poisson": poisson, "generated_bursts": np.concatenate(bursts)}
    made["generated_every_3_s"] = np.repeat(np.arange(1200) * 3.0, sizes)
    return {name: Requests(times - times[0], rng.lognormal(1.0, 0.8, len(times))) for name, times in made.items()}


def requests(rows: list[tuple[float, float]]) -> Requests:
    table = np.array(sorted(rows, key=lambda row: row[0]))
    return Requests(table[:, 0] - table[0, 0], table[:, 1])


def factor(predicted: float, truth: float) -> float | None:
    if truth < SMALLEST_SECONDS:
        return None
    predicted = max(predicted, SMALLEST_SECONDS / 10)
    return max(predicted / truth, truth / predicted)


def case(trace: Requests, servers: int, rho: float, step_seconds: float) -> dict[str, object]:
    rate = len(trace.arrival_seconds) / trace.arrival_seconds[-1]
    scale = rho * servers / (rate * trace.service_seconds.mean())
    scaled = Requests(trace.arrival_seconds, trace.service_seconds * scale)
    truth = fifo_waits(scaled, servers)
    made = plan(scaled, [servers], GOAL, step_seconds=step_seconds)
    gaps = np.diff(scaled.arrival_seconds)
    arrival_cv2 = float(gaps.var() / gaps.mean() ** 2)
    service_cv2 = float(scaled.service_seconds.var() / scaled.service_seconds.mean() ** 2)
    mean_service = float(scaled.service_seconds.mean())
    textbook = gg_c(servers, rate, mean_service, arrival_cv2=arrival_cv2, service_cv2=service_cv2)
    answers = {
        model.value: (found[servers].wait_mean_seconds, found[servers].wait_p95_seconds)
        for model, found in made.estimates.items()
    }
    high = truth.quantile(0.95)
    answers["allen_cunneen_with_every_gap"] = (textbook.mean_seconds, textbook.quantile(0.95))
    return {
        "servers": servers,
        "rho": rho,
        "truth": (truth.mean, high),
        "chosen": made.choice.model.value,
        "abstained": made.abstained,
        "factors": {
            name: (factor(mean, truth.mean), factor(high, truth.quantile(0.95)))
            for name, (mean, high) in answers.items()
        },
    }


def staffing(trace: Requests, step_seconds: float) -> dict[str, object]:
    load = float(trace.service_seconds.sum() / trace.arrival_seconds[-1])
    counts = range(max(1, int(load)), int(load * 1.5 + 40))
    truth = next(count for count in counts if fifo_waits(trace, count).tail(GOAL.slo_seconds) <= 1 - GOAL.target)
    made = plan(trace, counts, GOAL, step_seconds=step_seconds)
    rate = len(trace.arrival_seconds) / trace.arrival_seconds[-1]
    floor = next(
        count
        for count in counts
        if mmc(count, rate, float(trace.service_seconds.mean())).tail(GOAL.slo_seconds) <= 1 - GOAL.target
    )
    return {
        "load": round(load, 2),
        "true": truth,
        "recommended": made.recommended_servers,
        "mmc": floor,
        "late_share_with_mmc": round(fifo_waits(trace, floor).tail(GOAL.slo_seconds), 4),
        "abstained": made.abstained,
        "model": made.choice.model.value,
        "backtest_factor": round(made.choice.decisive, 2),
    }


def summary(cases: list[dict[str, object]]) -> dict[str, object]:
    """Median and worst factor of each model on mean and p95; of the chosen one where it did not abstain."""

    def rounded(values: list[float | None]) -> dict[str, float]:
        known = [value for value in values if value is not None]
        if not known:
            return {}
        return {"median": round(statistics.median(known), 3), "worst": round(max(known), 2), "cases": len(known)}

    found = {
        name: {
            kind: rounded([one["factors"][name][place] for one in cases]) for place, kind in enumerate(("mean", "p95"))
        }
        for name in cases[0]["factors"]
    }
    told = [one for one in cases if not one["abstained"]]
    found["chosen"] = {
        kind: rounded([one["factors"][one["chosen"]][place] for one in told])
        for place, kind in enumerate(("mean", "p95"))
    }
    found["abstained"] = [(one["servers"], one["rho"]) for one in cases if one["abstained"]]
    return found


def speed(trace: Requests) -> dict[str, float]:
    """CPU milliseconds for each 1 000 requests: one draw through 4, 16 and 64 servers at rho 0.8, and twins."""
    rate = len(trace.arrival_seconds) / trace.arrival_seconds[-1]
    spent = 0.0
    for servers in SERVERS:
        scale = 0.8 * servers / (rate * trace.service_seconds.mean())
        intervals = Intervals.of(trace.arrival_seconds, trace.service_seconds * scale, 15.0)
        begun = time.process_time()
        for drawn in draw(intervals, learn_placement(intervals), draws=1, seed=1):
            fifo_waits(drawn, servers)
        spent += time.process_time() - begun
    found = {"ms_per_1000_requests_3_sizes": round(spent / len(trace.arrival_seconds) * 1e6, 2)}
    rng = np.random.default_rng(5)
    profile = EngineProfile(StepCurve.linear(0.008, 0.00007), 7e-5, 128)
    for replicas in (1, 4, 16, 64):
        arrivals = np.cumsum(rng.exponential(1 / (7.0 * replicas), 8000))
        prompts, outputs = rng.lognormal(6.8, 0.8, 8000), rng.geometric(1 / 210, 8000).astype(float)
        begun = time.process_time()
        engine_waits(arrivals, prompts, outputs, replicas=replicas, profile=profile)
        found[f"ms_per_1000_requests_twin_of_{replicas}"] = round((time.process_time() - begun) / 8000 * 1e6, 2)
    return found


def main() -> None:
    step_seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 15.0
    real, made = recorded(), generated()
    report: dict[str, object] = {"scrape_interval_seconds": step_seconds}
    every: list[dict[str, object]] = []
    for name, trace in {**real, **made}.items():
        cases = [case(trace, servers, rho, step_seconds) for servers in SERVERS for rho in RHOS]
        if name in real:
            every += cases
        report[name] = {"waits": summary(cases), "staffing": staffing(trace, step_seconds)}
    if every:
        report["all_recorded"] = summary(every)
    report["speed"] = speed(made["generated_poisson"])
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
