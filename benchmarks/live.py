"""Faults of detection in a real Prometheus, ours beside anomaly rules in PromQL: prints one JSON document.

A Prometheus is started with a past written as blocks: services with a daily wave and noise, 27 hours of health, then
seven minutes of a step that stays: to nothing, × 10, ± 40 %, ± 70 %. Falls befall the token rate, rises the time
between tokens, since that is what hurts; half of the healthy services show the one and half the other. Time is that of
the samples, so nobody waits.

* ours: ``aiops backtest`` reads from that Prometheus and replays the daemon's own pipeline with its defaults;
* rules: two sets of bands as public rule packs draw them, written here anew and evaluated by Prometheus itself at every
  step. ``mean bands``: the mean of an hour ± the larger of half of it and twice the hourly standard deviation, averaged
  over 26 hours, widened to the band of a day ago. ``median bands``: the median of a day ± the larger of half of it and
  twice the median deviation, held against the median of an hour. Both look at what is above 0 only, and wait for five
  minutes, as such rules do.

For every fault: how many services had a firing alert within 3 and within 7 minutes; for the rules also how many were
out of their bands within 3 minutes, without the wait. False alerts: those on healthy services, and before any fault.

Usage: ``python benchmarks/live.py [services per fault]``. Needs prometheus and promtool.
"""

import asyncio
import json
import re
import shutil
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from aiohttp import ClientSession

from tests.real.prometheus import Samples, prometheus_with

STEP = 30
FAULT_SECONDS = 7 * 60
SOON_SECONDS = 3 * 60
START = 1_750_000_020.0
"""Of the fault; on the grid of the steps."""
WAIT_STEPS = 5 * 60 // STEP
RATE, TIME = "service_tokens_per_second", "service_seconds_per_token"
LEVEL = {RATE: 2100.0, TIME: 0.021}
HEALTHY = "healthy"
FAULTS: Mapping[str, tuple[str, float]] = {
    "to 0": (RATE, 0.0),
    "-40 %": (RATE, 0.6),
    "-70 %": (RATE, 0.3),
    "+40 %": (TIME, 1.4),
    "+70 %": (TIME, 1.7),
    "x 10": (TIME, 10.0),
}
_SERVICE = re.compile(r'(?:job|pool)="?(\w+)')


class Service(NamedTuple):
    """What happens to it, what it shows, and by which factor it changes."""

    fault: str
    metric: str
    factor: float


def services(each: int) -> dict[str, Service]:
    """``each`` services per fault and as many healthy ones, by name."""
    kinds = [Service(fault, metric, factor) for fault, (metric, factor) in FAULTS.items() for _ in range(each)]
    kinds += [Service(HEALTHY, (RATE, TIME)[number % 2], 1.0) for number in range(each)]
    return {f"s{number:03}": kind for number, kind in enumerate(kinds)}


def past(known: Mapping[str, Service], hours: float, seed: int = 1) -> Samples:
    rng = np.random.default_rng(seed)
    count = int(hours * 3600) // STEP
    at = START + STEP * np.arange(-count, FAULT_SECONDS // STEP + 1)
    series: dict[str, list[tuple[float, float]]] = {}
    for name, service in known.items():
        wave = 1 + 0.14 * np.sin(2 * np.pi * (at / 86_400 + rng.random()))
        values = LEVEL[service.metric] * wave * (1 + 0.02 * rng.standard_normal(len(at)))
        values[at >= START] *= service.factor
        series[f'{service.metric}{{job="{name}"}}'] = list(zip(at.tolist(), values.tolist(), strict=True))
    return series


def larger(one: str, other: str) -> str:
    """PromQL for the larger of two vectors with the same labels."""
    return f"((({one}) > ({other})) or ({other}))"


def bands(level: str, centre: str, spread: str) -> str:
    """PromQL that is true outside ``centre`` ± max(half of it, 2 · spread), today's and yesterday's.

    ``OFFSET`` stands where the look back to the day before goes; it is a little late, so that the band comes early.
    """
    level, now, before = f"({level} > 0)", centre.replace("OFFSET", ""), centre.replace("OFFSET", "offset 1410m")
    half = larger(f"0.5 * {now}", f"2 * {spread}")
    above = f"({level} > {now} + {half}) unless ({level} <= {before} + {half})"
    below = f"({level} < {now} - {half}) unless ({level} >= {before} - {half})"
    return f"({above}) or ({below})"


def rules(metric: str) -> dict[str, str]:
    deviation = f"avg_over_time(stddev_over_time({metric}[1h])[26h:5m])"
    hour = f"quantile_over_time(0.5, {metric}[1h])"
    absolute = f"quantile_over_time(0.5, abs({metric} - {hour})[1d:30m])"
    return {
        "mean bands": bands(metric, f"avg_over_time({metric}[1h] OFFSET)", deviation),
        "median bands": bands(hour, f"quantile_over_time(0.5, {metric}[1d:10m] OFFSET)", absolute),
    }


async def out_of_bands(url: str, expression: str) -> dict[str, list[float]]:
    """Seconds since the fault at which each service is outside, as Prometheus evaluates it."""
    found: dict[str, list[float]] = {}
    question = {"query": expression, "start": START - 1800, "end": START + FAULT_SECONDS, "step": STEP}
    async with ClientSession() as session, session.post(f"{url}/api/v1/query_range", data=question) as answer:
        body = await answer.json()
    if body["status"] != "success":
        raise ValueError(f"Prometheus refuses {expression!r}: {body['error']}")
    for series in body["data"]["result"]:
        found[series["metric"]["job"]] = [at - START for at, _ in series["values"]]
    return found


def firing(outside: list[float]) -> float:
    """When an alert fires that waits for five minutes without a break; infinite where it does not."""
    run = 0
    for before, now in zip([-np.inf, *outside], outside, strict=False):
        run = run + 1 if now - before <= STEP else 0
        if run >= WAIT_STEPS:
            return now
    return np.inf


async def ours(url: str, hours: float) -> Iterator[tuple[str, float]]:
    """Services that ``aiops backtest`` alerts about, and when, in seconds since the fault."""
    flags = ["--query", f"tokens_out={RATE}", "--query", f"itl:mean={TIME}", "--step", f"{STEP}s", "-o", "json"]
    flags += ["--range", f"{hours * 3600 + FAULT_SECONDS:.0f}s", "--end", str(START + FAULT_SECONDS), "--no-fits"]
    command = (sys.executable, "-m", "aiops", "backtest", "--prometheus", url, "--severity", "info", *flags)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    fired = json.loads(output)["runs"][0]["fired"]
    return ((_service(one["series"]), datetime.fromisoformat(one["at"]).timestamp() - START) for one in fired)


def _service(series: str) -> str:
    match = _SERVICE.search(series)
    if match is None:
        raise ValueError(f"expected a series of a job, got {series!r}")
    return match[1]


def counted(known: Mapping[str, Service], alerts: list[tuple[str, float]], soon: float) -> dict[str, object]:
    """Services per fault alerted within ``soon`` seconds; and alerts that nothing was wrong with."""
    hit = {name for name, at in alerts if 0 <= at <= soon and known[name].fault != HEALTHY}
    false = sum(at < 0 or known[name].fault == HEALTHY for name, at in alerts)
    found = Counter(known[name].fault for name in hit)
    return {**{fault: found[fault] for fault in FAULTS}, "false alerts": false}


async def measure(url: str, known: Mapping[str, Service], hours: float) -> dict[str, object]:
    alerts = list(await ours(url, hours))
    report: dict[str, object] = {
        "aiops, alert within 3 minutes": counted(known, alerts, SOON_SECONDS),
        "aiops, alert within 7 minutes": counted(known, alerts, FAULT_SECONDS),
    }
    for name in rules(RATE):
        found = {**await out_of_bands(url, rules(RATE)[name]), **await out_of_bands(url, rules(TIME)[name])}
        outside = [(service, seconds) for service, all_of_them in found.items() for seconds in all_of_them]
        fired = [(service, at) for service, seconds in found.items() if np.isfinite(at := firing(seconds))]
        report[f"{name}, out of band within 3 minutes"] = counted(known, outside, SOON_SECONDS)
        report[f"{name}, alert within 3 minutes"] = counted(known, fired, SOON_SECONDS)
        report[f"{name}, alert within 7 minutes"] = counted(known, fired, FAULT_SECONDS)
    return report


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise SystemExit(f"{name} is not installed")
    return found


async def main(each: int, hours: float = 27.0) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    known = services(each)
    with tempfile.TemporaryDirectory() as folder:
        programs = {name: program(name) for name in ("prometheus", "promtool")}
        async with prometheus_with(past(known, hours), Path(folder), port=port, **programs) as url:
            report = await measure(url, known, hours)
    print(json.dumps({"services per fault": each, **report}, indent=2))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if sys.argv[1:] else 20))
