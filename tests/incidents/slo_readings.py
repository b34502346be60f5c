"""Readings of replicas with histograms and counters, as collectors bring them."""

from collections.abc import Mapping, Sequence

import numpy as np

from aiops.signals.types import Buckets, Columns, Entity, EntityKind, Reading, SeriesKey

BOUNDS = np.array([0.5, 1.0, 2.5, 10.0, np.inf])
POOL = Entity.of(EntityKind.POOL, pool="chat", model_name="m")
REPLICA = Entity.of(EntityKind.REPLICA, pool="chat", job="vllm", instance="a:8000", model_name="m")
_COLUMNS: dict[tuple[Entity, tuple[str, ...]], Columns] = {}


def columns(entity: Entity, names: Sequence[str]) -> Columns:
    """The same object for the same series, as collectors keep it."""
    place = entity, tuple(names)
    return _COLUMNS.setdefault(place, Columns(tuple(SeriesKey(entity, name) for name in names)))


def slow_reading(at: float, counts: Sequence[float], signal: str = "ttft", entity: Entity = REPLICA) -> Reading:
    """Histogram gains only; ``counts`` per bucket of ``BOUNDS``."""
    gained = np.array(counts, np.float64)
    part = Buckets(SeriesKey(entity, signal), BOUNDS[: len(gained)], gained, float("nan"))
    return Reading(f"{entity}", at, columns(entity, ()), np.empty(0), (part,))


def rate_reading(at: float, rates: Mapping[str, float], entity: Entity = REPLICA, source: str = "a") -> Reading:
    """Plain numbers only."""
    return Reading(source, at, columns(entity, list(rates)), np.array(list(rates.values()), np.float64))
