"""What z-score, ARIMA and isolation forests cost: prints one JSON document.

* ``zscore``: CPU per series and sample of score and learn together;
* ``arima``: the same, with no missing values and with a tenth missing;
* ``forest``: CPU per row of one scoring call, 100 trees, beside scikit-learn on the same rows;
* ``fit``: CPU of a whole worker process (start, imports, fits) for two numbers of series, and what refitting 10 000
  series an hour would take by it, in rounds of 1 000.

CPU time, so a busy machine does not count. Usage: ``python benchmarks/models.py``
"""

import asyncio
import json
import resource
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from sklearn.ensemble import IsolationForest

from aiops.app.fits import COMMAND, run_worker
from aiops.detect import arima_filter as af
from aiops.detect.arima import MEAN, MODEL_ROWS, Arima
from aiops.detect.base import Detector, Window
from aiops.detect.fitting import pack, part, prefixed, unpack
from aiops.detect.iforest_fit import exported
from aiops.detect.policy import AnomalyPolicy, Compiler
from aiops.detect.settings import DetectSettings
from aiops.detect.zscore import ZScore
from aiops.signals.types import Entity, EntityKind, SeriesKey

DETECTORS = Path(__file__).resolve().parents[1] / "models" / "detectors"
STEP_SECONDS = 5.0
ROWS = 720
ROUND = 1000


def cpu(call: Callable[[], object]) -> float:
    begun = time.process_time()
    call()
    return time.process_time() - begun


def policy() -> Compiler:
    return Compiler(AnomalyPolicy.parse(yaml.safe_load((DETECTORS / "anomaly.yaml").read_text()), "anomaly.yaml"))


def windows(series: int, missing: float = 0.0, ticks: int = 60) -> list[Window]:
    """A window per tick, of white noise around 20."""
    rng = np.random.default_rng(0)
    keys = tuple(
        SeriesKey(Entity.of(EntityKind.REPLICA, job="v", instance=str(i), model_name="m"), "running")
        for i in range(series)
    )
    generation = np.arange(1, series + 1)
    values = (20 + rng.standard_normal((ticks + 1, series))).astype(np.float32)
    values[rng.random(values.shape) < missing] = np.nan
    return [Window(tick * STEP_SECONDS, STEP_SECONDS, values[: tick + 1], keys, generation) for tick in range(ticks)]


def per_sample(detector: Detector, seen: list[Window]) -> float:
    """Nanoseconds of score and learn, per series."""
    quiet = np.ones(len(seen[0].keys), np.bool_)

    def tick(window: Window) -> None:
        detector.score(window)
        detector.learn(window, quiet)

    return statistics.median(cpu(partial(tick, window)) for window in seen[1:]) / len(quiet) * 1e9


def zscore(series: int) -> float:
    return per_sample(ZScore(DetectSettings(), policy()), windows(series))


def arima(series: int, missing: float) -> float:
    detector, seen = Arima(DetectSettings(), policy()), windows(series, missing)
    model = np.zeros((MODEL_ROWS, series))
    model[: af.ROWS] = af.blank(series)
    model[0], model[1], model[3] = 0.5, 0.2, 0.3
    model[af.DELTA] = np.random.default_rng(0).integers(0, 2, series)
    model[MEAN] = 20
    af.start(model[: af.ROWS])
    detector.accept(seen[0], {
        "columns": np.arange(series), "generation": seen[0].generation, "now": np.asarray(0.0), "model": model,
        "fitted": np.ones(series, np.bool_), "variance": np.ones(series), "points": np.full(series, 720),
    })  # fmt: skip
    return per_sample(detector, seen)


def forest(rows: int, features: int = 12) -> dict[str, float]:
    rng = np.random.default_rng(0)
    model = IsolationForest(n_estimators=100, random_state=0)
    model.fit(rng.standard_normal((4096, features)).astype(np.float32))
    flat, asked = exported(model), rng.standard_normal((rows, features)).astype(np.float32)
    ours = statistics.median(cpu(lambda: flat.score(asked)) for _ in range(15))
    theirs = statistics.median(cpu(lambda: model.score_samples(asked)) for _ in range(5))
    return {
        "rows": rows,
        "us_per_row": round(ours / rows * 1e6, 2),
        "sklearn_us_per_row": round(theirs / rows * 1e6, 2),
        "largest_difference": float(np.abs(flat.score(asked) + model.score_samples(asked)).max()),
    }


def fit(series: int) -> float:
    rng = np.random.default_rng(0)
    values = np.zeros((ROWS, series))
    for row in range(1, ROWS):
        values[row] = np.linspace(0, 1, series) * values[row - 1] + rng.standard_normal(series)
    request: dict[str, Any] = {
        "values": values.astype(np.float32), "columns": np.arange(series), "generation": np.ones(series, np.int64),
        "now": np.float64(0), "step_seconds": np.float64(STEP_SECONDS), "thorough": np.zeros(series, np.bool_),
    }  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    answer = asyncio.run(run_worker(COMMAND, pack(prefixed(request, "arima")), 600.0))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert part(unpack(answer), "arima")["fitted"].all()
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    few, many = fit(50), fit(450)
    each = (many - few) / 400
    hour = 10_000 * each + 10_000 / ROUND * (few - 50 * each)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(json.dumps({
        "zscore_ns_per_series_sample": round(zscore(10_000), 1),
        "arima_ns_per_series_sample": {f"{share:.0%} missing": round(arima(10_000, share), 1) for share in (0.0, 0.1)},
        "forest": [forest(100), forest(1000)],
        "fit": {
            "ms_per_series": round(each * 1e3, 1),
            "seconds_to_start": round(few - 50 * each, 2),
            "cores_for_10000_series_an_hour": round(hour / 3600, 3),
            "worker_peak_mib": round(peak),
        },
    }, indent=2))  # fmt: skip


if __name__ == "__main__":
    main()
