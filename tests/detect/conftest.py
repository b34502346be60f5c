"""Windows, policies and banks for the detector tests."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from aiops.detect.bank import Bank
from aiops.detect.base import Window
from aiops.detect.policy import AnomalyPolicy
from aiops.detect.rules import RuleBook
from aiops.detect.settings import DetectSettings
from aiops.signals.types import Entity, EntityKind, SeriesKey

DETECTORS = Path(__file__).resolve().parents[2] / "models" / "detectors"
STEP_SECONDS = 5.0

MakeWindow = Callable[..., Window]


@pytest.fixture(scope="session")
def policy() -> AnomalyPolicy:
    return AnomalyPolicy.parse(yaml.safe_load((DETECTORS / "anomaly.yaml").read_text()), "anomaly.yaml")


@pytest.fixture(scope="session")
def rulebook() -> RuleBook:
    return RuleBook.parse(yaml.safe_load((DETECTORS / "liveness.yaml").read_text()), "liveness.yaml")


@pytest.fixture
def make_bank(policy: AnomalyPolicy, rulebook: RuleBook) -> Callable[..., Bank]:
    def make(**settings: Any) -> Bank:
        return Bank(DetectSettings(**settings), policy, rulebook)

    return make


@pytest.fixture
def make_window() -> MakeWindow:
    """Build a window from rows (oldest first) and keys; the generation defaults to 1 … n."""

    def make(
        rows: Sequence[Sequence[float]] | NDArray[np.floating[Any]],
        keys: tuple[SeriesKey | None, ...],
        *,
        now: float = 0.0,
        generation: Sequence[int] | None = None,
    ) -> Window:
        values = np.atleast_2d(np.asarray(rows, np.float32))
        numbers = np.arange(1, len(keys) + 1) if generation is None else np.asarray(generation)
        return Window(now, STEP_SECONDS, values, keys, numbers.astype(np.int64))

    return make


@pytest.fixture
def make_keys() -> Callable[..., tuple[SeriesKey, ...]]:
    """Keys of one signal on n replicas."""

    def make(count: int, signal: str = "ttft", stat: str = "p95") -> tuple[SeriesKey, ...]:
        return tuple(
            SeriesKey(Entity.of(EntityKind.REPLICA, job="vllm", instance=str(i), model_name="m"), signal, stat)
            for i in range(count)
        )

    return make


@pytest.fixture
def entity_window(make_window: MakeWindow) -> Callable[..., Window]:
    """Build a window of one entity: signal (``ttft.p95``) → its values, oldest first; shorter ones repeat the first."""

    def make(entity: Entity, values: Mapping[str, float | Sequence[float]], *, rows: int = 72) -> Window:
        table = np.empty((rows, len(values)))
        keys = []
        for column, (name, given) in enumerate(values.items()):
            signal, _, stat = name.partition(".")
            keys.append(SeriesKey(entity, signal, stat))
            tail = np.atleast_1d(np.asarray(given, float))
            table[:, column] = tail[0]
            table[rows - len(tail) :, column] = tail
        return make_window(table, tuple(keys))

    return make
