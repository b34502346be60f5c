"""Small windows for tests: a replica with a sibling, a GPU of each, a node, and their pool."""

from collections.abc import Mapping, Sequence

import numpy as np

from aiops.detect.base import Window
from aiops.diagnose.scene import Periods, Scene, scene
from aiops.signals.tenancy import NO_TENANCY, Tenancy
from aiops.signals.types import Entity, EntityKind, Mark, SeriesKey

NOW, STEP, ROWS, AFTER = 1_700_000_000.0, 5.0, 80, 8
POOL = Entity.of(EntityKind.POOL, pool="chat", model_name="m")
REPLICA, SIBLING = (
    Entity.of(EntityKind.REPLICA, job="vllm", pool="chat", model_name="m", instance=f"node{n}:8000") for n in (0, 1)
)
GPU, OTHER = (Entity.of(EntityKind.GPU, gpu=f"GPU-{n}", node="node0") for n in (0, 1))
NODE = Entity.of(EntityKind.NODE, node="node0")

Numbers = Mapping[tuple[Entity, str], tuple[float, float]]
"""(entity, ``signal`` or ``signal.stat``) → value before and value in the last rows."""


def window(numbers: Numbers, *, noise: float = 0.0) -> Window:
    rng = np.random.default_rng(1)
    keys = tuple(SeriesKey(entity, *name.partition(".")[::2]) for entity, name in numbers)
    values = np.empty((ROWS, len(keys)), np.float32)
    for k, (before, after) in enumerate(numbers.values()):
        values[:, k] = before * (1 + noise * rng.standard_normal(ROWS))
        values[-AFTER:, k] = after * (1 + noise * rng.standard_normal(AFTER))
    return Window(NOW, STEP, values, keys, np.arange(len(keys)))


def since() -> float:
    return NOW - (AFTER - 1) * STEP


def look(numbers: Numbers, marks: Sequence[Mark] = (), tenancy: Tenancy = NO_TENANCY) -> Scene:
    from aiops.app.presets import anomaly_policy

    told = window(numbers)
    periods = Periods.around(told, since(), guard_seconds=30.0, reference_seconds=600.0)
    return scene(told, periods, range(len(told.keys)), marks=marks, floors=anomaly_policy().units, tenancy=tenancy)
