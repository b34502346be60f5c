"""The limit that binds, by name; replicas are advised only where they help."""

import pytest

from aiops.capacity.constraint import Limit, binding_constraint
from aiops.capacity.sizing import Engine
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
        ({}, {"throttled": 0.5}, Limit.THROTTLED, False),
        ({"queue_len": 0.0, "running": 10.0}, {}, Limit.NONE, True),
        ({"queue_len": 0.0, "kv_use": 0.95}, {}, Limit.KV, True),
    ],
)
def test_each_limit(change: dict[str, float], sides: dict[str, float], limit: Limit, replicas: bool) -> None:
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
