"""Whose GPUs are whose, where the node's kubelet says so: GPU → pod → replica. Without it, a shared host is all that
is known of GPUs and replicas; what it does not mention is judged as if it were not there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from aiops.signals.types import Entity

Place = tuple[str, str]
"""Job and instance of a replica."""


class Pod(NamedTuple):
    """A pod by its name."""

    namespace: str
    name: str


class Part(NamedTuple):
    """A GPU by its UUID, or a part of one (MIG) by the number of its GPU instance."""

    gpu: str
    instance: str = ""


class Tenant(NamedTuple):
    """A container that was given a GPU, or a part of it by the number of its GPU instance."""

    pod: Pod
    container: str
    instance: str = ""


def placed(given: Mapping[str, Sequence[Tenant]], devices: Mapping[str, Part]) -> dict[str, tuple[Tenant, ...]]:
    """GPU → who has it, from what a kubelet calls devices.

    ``devices`` are those whose names do not tell their GPU, as the driver of the node places them. What it does not
    know is left out.
    """
    found: dict[str, dict[Tenant, None]] = {}
    for name, held in given.items():
        whole = Part(name) if name.startswith("GPU-") else devices.get(name.partition("-mig-")[0])
        if (part := devices.get(name, whole)) is not None:
            owners = (one._replace(instance=part.instance or one.instance) for one in held)
            found.setdefault(part.gpu, {}).update(dict.fromkeys(owners))
    return {gpu: tuple(held) for gpu, held in sorted(found.items())}


@dataclass(frozen=True, slots=True)
class Tenancy:
    """What is known of one node; the same *object* while nothing changes.

    Attributes
    ----------
    node
        Name of the node, as GPUs carry it.
    tenants
        UUID of a GPU → the containers that were given it; several where it is shared.
    pods
        Replica's job and instance → its pod.
    """

    node: str = ""
    tenants: Mapping[str, Sequence[Tenant]] = field(default_factory=dict)
    pods: Mapping[Place, Pod] = field(default_factory=dict)

    def node_of(self, replica: Entity) -> str:
        """Node of a replica whose pod was given a GPU here; ``""`` of any other."""
        pod = self._pod(replica)
        given = pod is not None and any(one.pod == pod for held in self.tenants.values() for one in held)
        return self.node if given else ""

    def holds(self, replica: Entity, gpu: Entity) -> bool | None:
        """Whether a replica has a GPU; None = nobody says."""
        pod, held = self._pod(replica), self._held(gpu)
        if pod is None or not held:
            return None
        return any(one.pod == pod for one in held)

    def pods_of(self, entity: Entity) -> str:
        """Who feels it when a GPU fails, in words; ``""`` of anything else and where nobody says."""
        return ", ".join(dict.fromkeys(f"{one.pod.namespace}/{one.pod.name}" for one in self._held(entity)))

    def _held(self, gpu: Entity) -> list[Tenant]:
        """Who has a GPU, or a part of it where that is an entity of its own."""
        part = gpu.label("mig")
        return [one for one in self.tenants.get(gpu.label("gpu"), ()) if not part or one.instance in ("", part)]

    def _pod(self, replica: Entity) -> Pod | None:
        return self.pods.get((replica.label("job"), replica.label("instance")))


NO_TENANCY = Tenancy()
