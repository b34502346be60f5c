"""Histories of made-up pools, for the tests of sizing, constraints and scaling."""

import numpy as np

from aiops.capacity.observed import COLUMNS, History

STEP = 15.0


def history(rows: int = 120, *, end: float = 10_000.0, **columns: object) -> History:
    """A history with constant or given columns; the others are unknown."""
    values = np.full((rows, len(COLUMNS)), np.nan)
    for name, value in columns.items():
        values[:, COLUMNS.index(name)] = value
    return History(STEP, end, values)


def steady(
    rate: float = 8.0,
    ready: float = 4.0,
    *,
    rows: int = 240,
    seed: int = 0,
    slots: float = 32.0,
    swing: float = 0.5,
    **more: object,
) -> History:
    """A pool of engines with T(n) = 15 ms + 0.8 ms · n and 180 tokens a request, in balance at ``rate``."""
    rng = np.random.default_rng(seed)
    arrivals = rng.poisson(np.full(rows, rate) * STEP) / STEP * (1.0 + swing * np.sin(np.arange(1 - rows, 1) / 10.0))
    each = arrivals / ready
    # Balance of one replica: each · 180 · (0.015 + 0.0008 · m) = m.
    batch = np.minimum(slots, each * 180.0 * 0.015 / np.maximum(0.05, 1.0 - each * 180.0 * 0.0008))
    columns: dict[str, object] = {
        "arrivals": arrivals, "finished": arrivals, "running": batch * ready, "queue_len": 0.0,
        "max_running": slots * ready, "tokens_out": batch / (0.015 + 0.0008 * batch) * ready,
        "tokens_in": arrivals * 600.0, "prompt_len": 600.0, "gen_len": 180.0, "queue_wait": 0.0, "queue_rate": arrivals,
        "kv_use": 0.3, "replicas": ready, "ready": ready, "idle": 0.0,
    }  # fmt: skip
    return history(rows, **columns | more)
