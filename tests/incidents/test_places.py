"""Where things are: from labels, and from who answers where."""

import pytest

from aiops.incidents.places import Fleet, Place, root_of
from aiops.signals.tenancy import Pod, Tenancy, Tenant
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


def test_a_gpu_that_was_given_to_a_pod_serves_what_that_pod_serves() -> None:
    fleet = Fleet()
    gpus = [Entity.of(GPU, gpu=f"GPU-{n}", node="n1") for n in (1, 2, 3)]
    chat, embed = (Entity.of(REPLICA, job="k8s", instance=f"10.1.0.{n}:8000", pool=f"p{n}") for n in (1, 2))
    keys = tuple(SeriesKey(entity, "running") for entity in (chat, embed))
    fleet.follow(keys)
    assert fleet.places(gpus[0]) == (("gpu", "GPU-1"), ("host", "n1"))  # a pod's address tells no host
    tenants = {f"GPU-{n}": (Tenant(Pod("llm", f"p{n}"), "c"),) for n in (1, 2)}
    fleet.follow(keys, Tenancy("n1", tenants, {("k8s", f"10.1.0.{n}:8000"): Pod("llm", f"p{n}") for n in (1, 2)}))
    assert fleet.places(gpus[0]) == (("gpu", "GPU-1"), ("host", "n1"), ("pool", "p1"))
    assert fleet.places(gpus[1]) == (("gpu", "GPU-2"), ("host", "n1"), ("pool", "p2"))
    assert fleet.places(gpus[2]) == (("gpu", "GPU-3"), ("host", "n1"), ("pool", "p1"), ("pool", "p2"))
    assert ("host", "n1") in fleet.places(chat)


def test_the_root_is_the_widest_thing_named() -> None:
    assert root_of(Entity.of(REPLICA, pool="chat", job="vllm", instance="a:8000")) == "pool=chat"
    assert root_of(Entity.of(TARGET, job="vllm", instance="a:1")) == "job=vllm"
    assert root_of(Entity.of(GPU, node="n1", gpu="0")) == "node=n1"
    assert root_of(Entity.of(GPU, gpu="0")) == 'gpu{gpu="0"}'
