"""Small panels for tests: a calm fleet of callers and callees, and what is done to it."""

from dataclasses import replace

import numpy as np

from aiops.diagnose.deviation import Panel
from aiops.diagnose.traits import trait_of

CALLS = (("front", "cart"), ("front", "search"), ("search", "index"), ("front", "pay"))
METRICS = ("latency_avg_s", "requests_per_minute", "cpu_percent")
LEVELS = {"front": (0.2, 600.0, 30.0), "cart": (0.02, 200.0, 10.0), "search": (0.08, 500.0, 40.0),
          "index": (0.05, 480.0, 25.0), "pay": (0.1, 40.0, 5.0)}  # fmt: skip


def calm(seed: int = 0, rows: int = 30, window: int = 5) -> Panel:
    rng = np.random.default_rng(seed)
    keys = [(entity, metric) for entity in LEVELS for metric in METRICS]
    levels = np.array([LEVELS[entity][METRICS.index(metric)] for entity, metric in keys])
    values = levels * (1 + 0.03 * rng.standard_normal((rows + window, len(keys))))
    counts = [k for k, (_, metric) in enumerate(keys) if metric.startswith("requests")]
    values[:, counts] = np.round(values[:, counts])
    return Panel(
        entities=tuple(entity for entity, _ in keys),
        metrics=tuple(metric for _, metric in keys),
        traits=tuple(trait_of(metric) for _, metric in keys),
        reference=values[:rows],
        window=values[rows:],
        times=1_700_000_000.0 + 60.0 * np.arange(window),
    )


def moved(panel: Panel, *changes: tuple[str, str, float], after: int = 0) -> Panel:
    """``changes``: (entity, metric, what is added in the rows of the window from ``after`` on)."""
    window = panel.window.copy()
    for entity, metric, step in changes:
        k = list(zip(panel.entities, panel.metrics, strict=True)).index((entity, metric))
        window[after:, k] += step
    return replace(panel, window=window)
