"""The limit that binds, by name; replicas are advised only where they help."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aiops.capacity.constraint import Limit, binding_constraint
from aiops.capacity.observed import History
from aiops.capacity.sizing import Engine, learn_engine
from tests.capacity.pool_histories import history, steady

ENGINE = Engine(0.002, 0.0004, 256.0, 200.0, "slots")
POOL = {"ready": 1.0, "running": 256.0, "max_running": 256.0, "queue_len": 294.0, "kv_use": 0.47, "tokens_out": 3000.0}


def test_slots_where_294_wait_at_47_percent_kv() -> None:
    found = binding_constraint(history(**POOL), ENGINE)
    assert found.limit is Limit.SLOTS
    assert found.relieved_by_replicas
    assert "294 requests wait" in found.evidence[0]
    assert "KV cache at 47%" in found.evidence


def test_slots_are_known_from_the_plateau_too() -> None:
    found = binding_constraint(history(**POOL | {"max_running": float("nan")}), ENGINE)
    assert found.limit is Limit.SLOTS


@pytest.mark.parametrize(
    ("change", "sides", "limit", "replicas"),
    [
        ({"kv_use": 0.97}, {}, Limit.KV, True),
        ({"running": 40.0, "preemptions": 2.0}, {}, Limit.KV, True),
        ({"running": 40.0}, {}, Limit.COMPUTE, True),
        ({"running": 40.0, "prefill": 3.0, "ttft": 4.0, "queue_wait": 0.5}, {}, Limit.PREFILL, True),
        ({"ready": 4.0, "running": 60.0, "queue_len": 40.0, "busiest": 70.0}, {}, Limit.IMBALANCE, False),
        ({"queue_len": 0.0, "running": 10.0}, {"gateway_queue": 30.0}, Limit.GATEWAY, False),
        ({"queue_len": 3.0, "running": 10.0}, {"gateway_queue": 30.0}, Limit.COMPUTE, True),
        ({}, {"throttled": 0.5}, Limit.THROTTLED, True),
        (
            {"ready": 4.0, "running": 60.0, "queue_len": 40.0, "busiest": 70.0},
            {"throttled": 0.25},
            Limit.THROTTLED,
            False,
        ),
        ({"queue_len": 0.0, "running": 10.0}, {"gateway_queue": 30.0, "throttled": 0.5}, Limit.GATEWAY, False),
        ({"running": 60.0}, {"stuck": ("r1",), "throttled": 0.5}, Limit.STUCK, False),
        ({}, {"stuck": ("r1",)}, Limit.SLOTS, True),
        ({"queue_len": 0.0, "running": 10.0}, {"stuck": ("r1",)}, Limit.NONE, True),
        ({"queue_len": 0.0, "running": 10.0}, {}, Limit.NONE, True),
        ({"queue_len": 0.0, "kv_use": 0.95}, {}, Limit.KV, True),
    ],
)
def test_each_limit(change: dict[str, float], sides: dict[str, Any], limit: Limit, replicas: bool) -> None:
    found = binding_constraint(history(**POOL | change), ENGINE, **sides)
    assert found.limit is limit
    assert found.relieved_by_replicas is replicas
    assert bool(found.evidence) is (limit is not Limit.NONE)
    assert replicas or found.advice


def test_nothing_known_names_nothing() -> None:
    assert binding_constraint(history(), None).limit is Limit.NONE


def test_a_longer_batch_is_advised_only_below_the_knee() -> None:
    growing = steady(rate=20.0, ready=4.0, slots=12.0, queue_len=50.0, running=48.0)
    advice = binding_constraint(growing, Engine(0.015, 0.0008, 12.0, 180.0, "slots")).advice
    assert "max_num_seqs" in advice


def test_what_is_not_known_of_the_knee_is_not_said() -> None:
    unknown = binding_constraint(history(**POOL | {"tokens_out": float("nan")}), None)
    assert unknown.limit is Limit.SLOTS
    assert "if throughput still grows" in unknown.advice
    rng = np.random.default_rng(1)
    batch = rng.integers(1, 257, 200).astype(float)
    grows = history(200, **POOL | {"running": np.append(batch[:-1], 256.0), "tokens_out": 40.0 * batch})
    assert "not seen to level off" in binding_constraint(grows, ENGINE).advice


def recorded(path: Path, step: float = 5.0) -> History:
    """An engine's own log as a pool of one replica that tells neither its slots nor its arrivals."""
    names = {"running": "num_running", "queue_len": "num_pending", "tokens_out": "generation_throughput"}
    rows = list(json.loads(path.read_text()).values())
    number = np.array([(row["timestamp"] - rows[0]["timestamp"]) // step for row in rows]).astype(int)
    seen = np.maximum(np.bincount(number), 1)
    columns: dict[str, object] = {
        name: np.bincount(number, [row[column] for row in rows]) / seen for name, column in names.items()
    }
    columns["kv_use"] = np.bincount(number, [row["gpu_kvcache_usage"] / 100.0 for row in rows]) / seen
    return replace(history(len(seen), **columns, ready=1.0, replicas=1.0), step_seconds=step)


@pytest.mark.parametrize("level", [1000, 1500, 2000])
def test_recorded_engines_are_short_of_slots_at_half_of_their_cache(traces: Path, level: int) -> None:
    seen = recorded(traces / "burstgpt_replay_logs" / f"vllm_log_scale{level}_prompt500.json")
    queue = seen.column("queue_len")
    assert queue.max() > 100.0
    for rows in (int(queue.argmax()) + 1, int(np.flatnonzero(queue > 20.0)[-1]) + 1):
        until = replace(seen, values=seen.values[:rows])
        engine = learn_engine(until, 200.0)
        found = binding_constraint(until, None if isinstance(engine, str) else engine)
        assert found.limit is Limit.SLOTS
        assert found.relieved_by_replicas
        assert until.now("kv_use") < 0.5


def test_a_longer_batch_is_not_advised_to_recorded_engines_far_past_their_knee(traces: Path) -> None:
    paths = sorted(
        (traces / "burstgpt_replay_logs").glob("vllm_log_*.json"), key=lambda path: int(path.name.split("_")[2][5:])
    )
    levels = [recorded(path, 2.0) for path in paths]
    last = levels[-1].values[: int(np.flatnonzero(levels[-1].column("queue_len") > 20.0)[-1]) + 1]
    seen = replace(levels[0], values=np.concatenate([*(level.values for level in levels[:-1]), last]))
    engine = learn_engine(seen, 200.0)
    assert isinstance(engine, Engine)
    assert engine.slots == pytest.approx(256.0, rel=0.02)
    found = binding_constraint(seen, engine)
    assert found.limit is Limit.SLOTS
    assert found.advice == ""
