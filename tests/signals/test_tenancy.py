"""Whose GPUs are whose."""

from aiops.signals.tenancy import NO_TENANCY, Part, Pod, Tenancy, Tenant, placed
from aiops.signals.types import Entity, EntityKind

CHAT, EMBED = (Entity.of(EntityKind.REPLICA, job="k8s", instance=f"10.1.0.{n}:8000") for n in (1, 2))
STATIC = Entity.of(EntityKind.REPLICA, job="static", instance="n1:8000")
MINE, SHARED, FREE = (Entity.of(EntityKind.GPU, gpu=f"GPU-{n}", node="n1") for n in (1, 2, 3))
TENANCY = Tenancy(
    "n1",
    {
        "GPU-1": (Tenant(Pod("llm", "chat"), "vllm"),),
        "GPU-2": (Tenant(Pod("llm", "chat"), "vllm"), Tenant(Pod("llm", "embed"), "tei")),
    },
    {("k8s", "10.1.0.1:8000"): Pod("llm", "chat"), ("k8s", "10.1.0.2:8000"): Pod("llm", "embed")},
)


def test_a_replica_has_the_gpus_that_its_pod_was_given() -> None:
    assert [TENANCY.holds(CHAT, gpu) for gpu in (MINE, SHARED, FREE)] == [True, True, None]
    assert [TENANCY.holds(EMBED, gpu) for gpu in (MINE, SHARED, FREE)] == [False, True, None]
    assert [TENANCY.holds(STATIC, gpu) for gpu in (MINE, SHARED, FREE)] == [None, None, None]


def test_who_feels_a_gpu_fail_is_said_once_each() -> None:
    twice = Tenancy("n1", {"GPU-1": tuple(Tenant(Pod("llm", "chat"), name) for name in ("a", "b"))})
    assert twice.pods_of(MINE) == "llm/chat"
    assert [TENANCY.pods_of(one) for one in (MINE, SHARED, FREE, CHAT)] == ["llm/chat", "llm/chat, llm/embed", "", ""]


def test_a_replica_is_where_its_gpus_are() -> None:
    assert [TENANCY.node_of(one) for one in (CHAT, EMBED, STATIC)] == ["n1", "n1", ""]
    elsewhere = Tenancy("n1", {"GPU-1": (Tenant(Pod("llm", "other"), "c"),)}, TENANCY.pods)
    assert elsewhere.node_of(CHAT) == ""
    assert elsewhere.holds(CHAT, MINE) is False


def test_devices_are_placed_by_the_driver_and_who_cannot_be_placed_has_no_gpu() -> None:
    """Two parts of one GPU, one GPU by a claim, part of it by another, and what the driver does not know."""
    small, tiny, big, half, lost = (Tenant(Pod("llm", name), "c") for name in ("small", "tiny", "big", "half", "lost"))
    devices = {"MIG-a": Part("GPU-1", "3"), "MIG-b": Part("GPU-1", "4"), "gpu-1": Part("GPU-2")}
    given = {"MIG-a": [small], "MIG-b": [tiny], "gpu-1": [big], "gpu-1-mig-x-9-0": [half], "MIG-z": [lost]}
    found = placed({**given, "gpu-0": [lost], "GPU-2": [big]}, devices)
    assert found == {"GPU-1": (small._replace(instance="3"), tiny._replace(instance="4")), "GPU-2": (big, half)}
    names = {("k8s", "10.1.0.1:8000"): small.pod, ("k8s", "10.1.0.2:8000"): tiny.pod}
    known = Tenancy("n1", found, names)
    gpus = [MINE, *(Entity.of(EntityKind.GPU, gpu="GPU-1", mig=part, node="n1") for part in "345")]
    assert [known.holds(CHAT, gpu) for gpu in gpus] == [True, True, False, None]
    assert [known.holds(EMBED, gpu) for gpu in gpus] == [True, False, True, None]
    assert [known.pods_of(gpu) for gpu in gpus] == ["llm/small, llm/tiny", "llm/small", "llm/tiny", ""]


def test_without_a_kubelet_nothing_is_known() -> None:
    assert NO_TENANCY.node_of(CHAT) == ""
    assert NO_TENANCY.holds(CHAT, MINE) is None
