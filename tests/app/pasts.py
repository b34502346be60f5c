"""A recorded past of one simulated engine with a fault."""

from functools import cache

import numpy as np

from aiops.app import presets
from aiops.app.backtest_inputs import named
from aiops.collect.exposition import PageParser
from aiops.lab.engine import Engine
from aiops.lab.page import vllm_page
from aiops.signals.normalise import Normaliser
from aiops.signals.page import Page

START = 1_700_000_000.0
STEP = 15.0
FAULT = (START + 2400.0, START + 2900.0)
NAMES = ("queue_len", "running", "ttft:p95", "itl:mean", "tokens_out", "kv_use")


@cache
def simulated() -> tuple[tuple[float, Page], ...]:
    """Fifty minutes of a simulated engine in virtual time; it is four times as slow during the fault."""
    engine, parser, found = Engine(seed=3), PageParser(), []
    for tick in range(1, 200):
        at = START + tick * STEP
        engine.slowdown = 4.0 if FAULT[0] < at < FAULT[1] else 1.0
        engine.advance(tick * STEP)
        found.append((at, parser.parse(vllm_page(engine, model="m", started=START).encode(), "text/plain")))
    return tuple(found)


@cache
def table() -> str:
    """The same as a CSV file."""
    normaliser = Normaliser(presets.engine_profiles(), (("instance", "a"), ("job", "llm")), "llm/a")
    lines = [",".join(("timestamp", *NAMES))]
    for at, page in simulated():
        reading = normaliser.normalise(page, at)
        known = {key[1:]: value for key, value in zip(reading.columns.keys, reading.values.tolist(), strict=True)}
        cells = [known.get(named(name, ""), float("nan")) for name in NAMES]
        lines.append(",".join((str(at), *("" if np.isnan(cell) else repr(cell) for cell in cells))))
    return "\n".join(lines) + "\n"
