"""Where things are: from labels, and from who answers where."""

import pytest

from aiops.incidents.places import Fleet, Place, root_of
from aiops.signals.types import Entity, EntityKind, SeriesKey

GPU, NODE, REPLICA, POOL, TARGET = (EntityKind(name) for name in ("gpu", "node", "replica", "pool", "target"))


@pytest.mark.parametrize(
    ("entity", "places"),
    [
        (Entity.of(GPU, gpu="GPU-1", node="n1"), [("gpu", "GPU-1"), ("host", "n1")]),
        (Entity.of(NODE, node="n1.example.com"), [("host", "n1")]),
        (Entity.of(NODE, instance="10.0.0.7:9100"), [("host", "10.0.0.7")]),
        (
            Entity.of(REPLICA, job="vllm", instance="n1:8000", pool="chat", model_name="org/m"),
            [("host", "n1"), ("replica", "vllm/n1:8000"), ("pool", "chat"), ("model", "org/m")],
        ),
        (
            Entity.of(REPLICA, job="vllm", instance="[2001:db8::1]:8000", node="n2"),
            [("host", "n2"), ("replica", "vllm/[2001:db8::1]:8000"), ("pool", "vllm")],
        ),
        (
            Entity.of(TARGET, job="dcgm", instance="[::1]:9400"),
            [("host", "here"), ("replica", "dcgm/[::1]:9400"), ("pool", "dcgm")],
        ),
        (
            Entity.of(TARGET, job="x", instance="localhost:1"),
            [("host", "here"), ("replica", "x/localhost:1"), ("pool", "x")],
        ),
        (
            Entity.of(POOL, pool="chat", model_name="m", route="/v1"),
            [("pool", "chat"), ("model", "m"), ("route", "/v1")],
        ),
        (Entity.of(GPU, index="0"), [("entity", 'gpu{index="0"}')]),
    ],
)  # fmt: skip
def test_labels_tell_where_an_entity_is(entity: Entity, places: list[Place]) -> None:
    assert list(Fleet("here.example.com").places(entity)) == places


def test_hardware_is_where_its_host_serves_and_that_may_change() -> None:
    fleet, gpu = Fleet(), Entity.of(GPU, gpu="GPU-1", node="n1")
    chat, embed = (Entity.of(REPLICA, job="vllm", instance="n1:8000", pool=name) for name in ("chat", "embed"))
    other = Entity.of(REPLICA, job="vllm", instance="n2:8000", pool="elsewhere")
    keys = tuple(SeriesKey(entity, "running") for entity in (chat, embed, other))
    assert fleet.places(gpu) == (("gpu", "GPU-1"), ("host", "n1"))
    fleet.follow(keys)
    assert fleet.places(gpu) == (("gpu", "GPU-1"), ("host", "n1"), ("pool", "chat"), ("pool", "embed"))
    fleet.follow((None, *keys[:1]))
    assert fleet.places(gpu) == (("gpu", "GPU-1"), ("host", "n1"), ("pool", "chat"))


def test_the_root_is_the_widest_thing_named() -> None:
    assert root_of(Entity.of(REPLICA, pool="chat", job="vllm", instance="a:8000")) == "pool=chat"
    assert root_of(Entity.of(TARGET, job="vllm", instance="a:1")) == "job=vllm"
    assert root_of(Entity.of(GPU, node="n1", gpu="0")) == "node=n1"
    assert root_of(Entity.of(GPU, gpu="0")) == 'gpu{gpu="0"}'
