"""Who may be compared with whom: the replicas of a pool, the GPUs of a node.

Detectors that compare entities share this one answer. Invariant: two entities of one group do the same work on the
same sort of hardware as far as labels can tell; what labels cannot tell (idle or busy) is the detector's business.
"""

from aiops.signals.topology import pool_of
from aiops.signals.types import Entity, EntityKind


def group_of(entity: Entity) -> Entity | None:
    """The pool of a replica, the node of a GPU; None for what stands alone, and for a slice of a GPU."""
    if entity.kind is EntityKind.REPLICA:
        return pool_of(entity)
    node = entity.label("node")
    if entity.kind is EntityKind.GPU and node and not entity.label("mig"):
        return Entity.of(EntityKind.NODE, node=node)
    return None
