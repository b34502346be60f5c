"""How cost grows with the fleet, past one process too, beside bands in PromQL and Netdata: prints one JSON document.

Every size runs in a process of its own, one after the other: a whole turn of the daemon's pipeline (append, add up
pools, score, decide, group, learn) for replicas of 20 series in pools of 250, CPU time of the process, median, without
fitted models. The window is short, because the time of a turn does not follow it; its memory does, by 4.5 bytes per
point.

``turn_ms_without_detectors``
    The same when all detectors are left out that may be (:mod:`aiops.detect.shedding`).
``growth``
    Exponent of the cost of a turn from one size to the next; 1 is in proportion.
``shards``
    The largest size once more, by ``--shard I/N``: whole pools, chosen by :func:`aiops.collect.targets.shard_of`.
``pages``
    What a target costs beside its series: parser and normaliser of a vLLM-like page, per sample.
``rules``
    CPU of a real Prometheus for one evaluation, per series with a sample every 30 s: mean and deviation of an hour;
    with the mean of 26 hours of a series beside them, which is what recording rules read that keep the deviation; and
    the bands of ``live.py``, which record nothing. By queries at the newest sample: a rule would also write the result.
``netdata``
    CPU of Netdata's agent for taking in and storing as many dimensions (:mod:`benchmarks.netdata`), up to 100 000.

Usage: ``python benchmarks/scale.py [series …]``. Needs 8 GiB for a million series; without prometheus and promtool
there is no ``rules``, without netdata a reason in its place.
"""

import asyncio
import gc
import itertools
import json
import math
import random
import re
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

STEP_SECONDS = 5.0
ROWS = 120
YOUNG_TURNS, TURNS, SHED_TURNS = 60, 20, 10
"""Turns until detectors have seen enough to judge, those that count, and those without detectors."""
SHARDS = 4
REPLICAS_PER_POOL = 250
PAGES = 200
UNREAD_HISTOGRAMS = 17
"""Of a page, that no signal is made of; with them it has as many samples as that of a vLLM with one engine."""
EVALUATIONS = 5
SERVICES_PER_FAULT = 40
MOST_FOR_NETDATA = 100_000
SIGNALS = (
    ("running", ""), ("queue_len", ""), ("max_running", ""), ("arrivals", ""), ("finished", ""), ("errors", ""),
    ("tokens_in", ""), ("tokens_out", ""), ("kv_use", ""), ("preemptions", ""),
    *((signal, stat) for signal in ("ttft", "itl") for stat in ("mean", "p50", "p95", "p99", "rate")),
)  # fmt: skip
LEVEL = {"running": 8.0, "queue_len": 2.0, "max_running": 64.0, "kv_use": 0.4, "errors": 0.0, "preemptions": 0.0}


def cpu(call: Callable[[], object]) -> float:
    begun = time.process_time()
    call()
    return time.process_time() - begun


def resident() -> float:
    from aiops.kit.memory import give_back, resident_bytes

    gc.collect()
    give_back()
    return resident_bytes()


def fleet(series: int, shard: int, shards: int):
    """Columns and sources of the replicas that a shard reads."""
    from aiops.collect.settings import LimitSettings
    from aiops.collect.targets import Target, shard_of
    from aiops.kit.http_settings import HttpClientSettings
    from aiops.kit.reach import Reach
    from aiops.signals.types import Columns, Entity, EntityKind, SeriesKey, SourceStatus

    layouts, sources = [], []
    for number in range(series // len(SIGNALS)):
        place = {"job": "vllm", "instance": f"10.{number // 62_500}.{number // 250 % 250}.{number % 250}:8000",
                 "pool": f"pool-{number // REPLICAS_PER_POOL}"}  # fmt: skip
        target = Target(
            "vllm", "", tuple(place.items()), 5.0, 5.0, HttpClientSettings(), LimitSettings(), Reach.ANYWHERE
        )
        if shard_of(target.labels, shards) != shard:
            continue
        entity = Entity.of(EntityKind.REPLICA, **place, model_name="m")
        layouts.append(Columns(tuple(SeriesKey(entity, signal, stat) for signal, stat in SIGNALS)))
        own = Entity.of(EntityKind.TARGET, **place)
        sources.append(SourceStatus(target.source, "scrape", own, STEP_SECONDS, 1.0, 1.0, 1.0))
    return layouts, sources


def turns(series: int, shard: int, shards: int, rows: int) -> dict[str, float]:
    """Run in a fresh process."""
    import aiops.app.daemon  # noqa: F401 -- its imports are part of the weight
    from aiops.app.assembly import build_pipeline
    from aiops.app.config import Config
    from aiops.detect.shedding import ORDER
    from aiops.signals.types import Reading
    from aiops.store.snapshot import SavedState, capture, write

    store = {"window": rows * STEP_SECONDS, "max_series": 2 * series}
    pipeline = build_pipeline(Config.model_validate({"store": store}))
    imported = resident()
    layouts, sources = fleet(series, shard, shards)
    if not layouts:
        return {"series": 0}  # few pools, and none falls to this shard
    rng = np.random.default_rng(1)
    level = np.array([LEVEL.get(signal, 20.0) for signal, _ in SIGNALS])
    seconds: list[float] = []

    def turn(left_out: frozenset[str] = frozenset()) -> None:
        now = 1.0e9 + len(seconds) * STEP_SECONDS
        noise = 1 + 0.05 * rng.standard_normal((len(layouts), len(SIGNALS)))
        readings = [
            Reading(source.source, now, keys, level * noise[i])
            for i, (keys, source) in enumerate(zip(layouts, sources, strict=True))
        ]
        fresh = [replace(source, last_attempt=now, last_success=now, last_change=now) for source in sources]
        seconds.append(
            cpu(lambda: pipeline.tick(now, readings, fresh, elapsed_seconds=STEP_SECONDS, left_out=left_out))
        )

    for _ in range(YOUNG_TURNS + TURNS):
        turn()
    for _ in range(SHED_TURNS):
        turn(frozenset(ORDER))
    usual, shed = statistics.median(seconds[YOUNG_TURNS:-SHED_TURNS]), statistics.median(seconds[-SHED_TURNS:])
    columns = pipeline.ring.series
    learnt, weight = sum(array.nbytes for array in pipeline.bank.state().values()), resident()
    with tempfile.TemporaryDirectory() as folder:
        snapshot = capture(pipeline.ring, {"bank": SavedState("", pipeline.bank.state())}, 1.0e9)
        write(Path(folder) / "snapshot.npz", snapshot)
        written = (Path(folder) / "snapshot.npz").stat().st_size
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "series": columns,
        "replicas": len(layouts),
        "rows": rows,
        "turn_ms": round(usual * 1e3, 2),
        "turn_ms_without_detectors": round(shed * 1e3, 2),
        "ns_per_series_sample": round(usual / columns * 1e9),
        "first_turn_ms": round(seconds[0] * 1e3),
        "resident_mib": round(weight / 2**20, 1),
        "with_snapshot_mib": round(most / 2**20, 1),
        "imported_mib": round(imported / 2**20, 1),
        "learnt_bytes_per_series": round(learnt / columns),
        "snapshot_bytes_per_series": round(written / columns),
        "window_bytes_per_series": round(pipeline.ring.memory_bytes / columns),
        "band_bytes_per_series": round(pipeline.bands.memory_bytes / columns),
    }


def pages(targets: int = PAGES) -> dict[str, float]:
    """Run in a fresh process: targets, each with a page of its own that changes."""
    from aiops.app.presets import engine_profiles
    from aiops.collect.exposition import PageParser
    from aiops.lab.engine import Engine
    from aiops.lab.page import vllm_page
    from aiops.signals.normalise import Normaliser
    from benchmarks import parse

    parse.ENGINES = 1
    profiles = engine_profiles()
    engines = [Engine(number) for number in range(targets)]
    readers = []
    before = resident()
    for number in range(targets):
        labels = (("instance", f"10.0.0.{number}:8000"), ("job", "vllm"))
        readers.append((PageParser(), Normaliser(profiles, labels, f"vllm/{number}")))
    samples, seconds = 0, []
    for turn in range(6):
        at = 1.0e9 + turn * STEP_SECONDS
        samples, spent = 0, 0.0
        for (parser, normaliser), engine in zip(readers, engines, strict=True):
            engine.advance(STEP_SECONDS * turn)
            numbers = random.Random(turn)
            unread = [line for one in range(UNREAD_HISTOGRAMS) for line in parse.histogram(one, 0, numbers)]
            body = (vllm_page(engine, model="m", started=1.0) + "\n".join(unread) + "\n").encode()
            found = []
            spent += cpu(lambda: found.append(parser.parse(body)))  # noqa: B023
            spent += cpu(lambda: normaliser.normalise(found[0], at))  # noqa: B023
            samples += len(found[0].values)
        seconds.append(spent)
    steady = statistics.median(seconds[3:])
    return {
        "samples_per_page": round(samples / targets),
        "us_per_page": round(steady / targets * 1e6),
        "ns_per_sample": round(steady / samples * 1e9),
        "resident_bytes_per_sample": round((resident() - before) / samples),
    }


async def prometheus_cpu_seconds(url: str) -> float:
    from aiohttp import ClientSession

    async with ClientSession() as session, session.get(f"{url}/metrics") as answer:
        text = await answer.text()
    return float(re.search(r"^process_cpu_seconds_total (\S+)$", text, re.MULTILINE)[1])


async def rules() -> dict[str, object]:
    from aiohttp import ClientSession

    from benchmarks import live
    from tests.real.prometheus import prometheus_with

    known = live.services(SERVICES_PER_FAULT)
    metric = f"{{__name__=~'{live.RATE}|{live.TIME}'}}"
    hour = [f"avg_over_time({metric}[1h])", f"stddev_over_time({metric}[1h])"]
    recorded = {"an hour": hour, "recorded bands": [*hour, f"avg_over_time({metric}[26h])"]}
    bands = {name: [live.rules(one)[name] for one in (live.RATE, live.TIME)] for name in live.rules(live.RATE)}
    spent: dict[str, float] = {}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        programs = {name: live.program(name) for name in ("prometheus", "promtool")}
        async with prometheus_with(live.past(known, 27.0), Path(folder), port=port, **programs) as url:
            for name, expressions in {**recorded, **bands}.items():
                begun = await prometheus_cpu_seconds(url)
                async with ClientSession() as session:
                    for _ in range(EVALUATIONS):
                        for expression in expressions:
                            question = {"query": expression, "time": live.START + live.FAULT_SECONDS}
                            async with session.post(f"{url}/api/v1/query", data=question) as answer:
                                if (await answer.json())["status"] != "success":
                                    raise ValueError(f"Prometheus refuses {expression!r}")
                spent[name] = (await prometheus_cpu_seconds(url) - begun) / EVALUATIONS / len(known)
    return {"series": len(known), "us_per_series": {name: round(value * 1e6, 1) for name, value in spent.items()}}


def child(*arguments: object) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout))


def main(sizes: list[int]) -> None:
    found = [child("turns", size, 0, 1, ROWS) for size in sizes]
    growth = {
        f"{one['series']} to {other['series']}": round(
            math.log(other["turn_ms"] / one["turn_ms"]) / math.log(other["series"] / one["series"]), 2
        )
        for one, other in itertools.pairwise(found)
    }
    shards = [child("turns", sizes[-1], index, SHARDS, ROWS) for index in range(SHARDS)]
    document = {"sizes": found, "growth": growth, "shards": shards, "pages": child("pages", PAGES)}
    from benchmarks import netdata

    document["netdata"] = netdata.costs([size for size in sizes if size <= MOST_FOR_NETDATA])
    if shutil.which("prometheus") and shutil.which("promtool"):
        document["rules"] = asyncio.run(rules())
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        function, *numbers = sys.argv[2:]
        print(json.dumps({"turns": turns, "pages": pages}[function](*map(int, numbers))))
    else:
        main([int(argument) for argument in sys.argv[1:]] or [1_000, 10_000, 100_000, 1_000_000])
