"""What it costs to read a metrics page, ours beside the reference library: prints one JSON document.

The page looks like that of vLLM, replicated: 16 engines, histograms with shared and with own buckets, gauges, counters,
about 10 000 samples. All rates are samples per second of CPU time of this process, medians of some rounds, and the two
parsers take turns, so a busy machine slows both.

``steady``
    The target's next page: same lines, every value another.
``churn``
    One line in ten has other labels than on the page before.
``cold``
    A parser that has never seen a page.
``stamped``
    ``steady``, with a timestamp on every line.

Usage: ``python benchmarks/parse.py [rounds]``
"""

import json
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable

from prometheus_client.parser import text_string_to_metric_families

from aiops.collect.exposition import PageParser, parse

ENGINES = 16
HISTOGRAMS = 20
PLAIN = 60
BUCKETS = [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0]
MODEL = "meta-llama/Llama-3.1-8B-Instruct"


def histogram(number: int, churn: int, values: random.Random) -> list[str]:
    """Lines of one histogram family; every third has buckets of its own."""
    name = f"vllm:request_part_{number}_seconds"
    bounds = [bound * (number + 1) for bound in BUCKETS] if number % 3 == 0 else BUCKETS
    lines = [f"# HELP {name} Histogram of the time that part {number} of a request takes.", f"# TYPE {name} histogram"]
    for engine in range(ENGINES):
        generation = f"{engine}" if values.random() > 0.1 or not churn else f"{engine}-{churn}"
        labels = f'engine="{generation}",model_name="{MODEL}"'
        count = 0
        for bound in [*bounds, "+Inf"]:
            count += values.randrange(1000)
            lines.append(f'{name}_bucket{{engine="{generation}",le="{bound}",model_name="{MODEL}"}} {float(count)}')
        lines.append(f"{name}_count{{{labels}}} {float(count)}")
        lines.append(f"{name}_sum{{{labels}}} {count * values.random()}")
    return lines


def plain(number: int, values: random.Random) -> list[str]:
    """Lines of one counter or gauge, with five finish reasons."""
    kind = ("counter", "gauge")[number % 2]
    name = f"vllm:number_{number}" + ("_total" if kind == "counter" else "")
    lines = [f"# HELP {name} Number {number} of the engine.", f"# TYPE {name} {kind}"]
    for engine in range(ENGINES):
        for reason in ("stop", "length", "abort"):
            labels = f'engine="{engine}",finished_reason="{reason}",model_name="{MODEL}"'
            value = float(values.randrange(10**6)) if kind == "counter" else values.random() * 100
            lines.append(f"{name}{{{labels}}} {value}")
    return lines


def page(seed: int, churn: int = 0) -> bytes:
    values = random.Random(seed)
    lines = [line for number in range(HISTOGRAMS) for line in histogram(number, churn, values)]
    lines += [line for number in range(PLAIN) for line in plain(number, values)]
    return "\n".join(lines).encode() + b"\n"


def stamped(body: bytes) -> bytes:
    lines = body.decode().splitlines()
    return "\n".join(line if line.startswith("#") else f"{line} 1700000000123" for line in lines).encode() + b"\n"


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def library(text: str) -> int:
    return sum(len(family.samples) for family in text_string_to_metric_families(text))


def main(rounds: int) -> None:
    steady = [page(seed) for seed in range(4)]
    churned = [page(seed, churn=seed + 1) for seed in range(4)]
    dated = [stamped(body) for body in steady]
    samples = len(parse(steady[0]).values)
    assert library(steady[0].decode()) == samples
    warm, moving, timed = PageParser(), PageParser(), PageParser()
    for parser, body in ((warm, steady[0]), (moving, churned[0]), (timed, dated[0])):
        parser.parse(body)
    spent: dict[str, list[float]] = {name: [] for name in ("steady", "churn", "cold", "stamped", "library")}
    for turn in range(1, rounds + 1):
        body, text = steady[turn % 4], steady[turn % 4].decode()
        spent["library"].append(cpu_seconds(lambda text=text: library(text)))
        spent["cold"].append(cpu_seconds(lambda body=body: parse(body)))
        spent["churn"].append(cpu_seconds(lambda body=churned[turn % 4]: moving.parse(body)))
        for _ in range(3):
            spent["steady"].append(cpu_seconds(lambda body=body: warm.parse(body)))
            spent["stamped"].append(cpu_seconds(lambda body=dated[turn % 4]: timed.parse(body)))
    rates = {name: samples / statistics.median(times) for name, times in spent.items()}
    document = {
        "python": platform.python_version(),
        "rounds": rounds,
        "samples": samples,
        "page_bytes": len(steady[0]),
        "samples_per_cpu_second": {
            **{f"ours_{name}": round(rate) for name, rate in rates.items() if name != "library"},
            "prometheus_client": round(rates["library"]),
        },
        "ratio_to_prometheus_client": {
            name: round(rate / rates["library"], 1) for name, rate in rates.items() if name != "library"
        },
    }
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
