"""Who may be compared with whom: the replicas of a pool, the GPUs of a node.

Detectors that compare entities share this one answer. Invariant: two entities of one group do the same work on the
same sort of hardware as far as labels can tell; what labels cannot tell (idle or busy) is the detector's business.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from aiops.signals.topology import pool_of
from aiops.signals.types import Entity, EntityKind, SeriesKey


def group_of(entity: Entity) -> Entity | None:
    """The pool of a replica, the node of a GPU; None for what stands alone, and for a slice of a GPU."""
    if entity.kind is EntityKind.REPLICA:
        return pool_of(entity)
    node = entity.label("node")
    if entity.kind is EntityKind.GPU and node and not entity.label("mig"):
        return Entity.of(EntityKind.NODE, node=node)
    return None


def siblings(
    columns: Sequence[int], keys: Sequence[SeriesKey | None], of_entity: Mapping[Entity, NDArray[np.intp]]
) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """For each of some columns, those of the same signal of its whole group; a column that stands alone is left out.

    Parameters
    ----------
    keys, of_entity
        Series of every column, and columns of every entity.
    """
    entities = {key.entity for column in columns if (key := keys[column]) is not None}
    groups = {group for entity in entities if (group := group_of(entity)) is not None}
    members: dict[tuple[Entity | None, str, str], list[int]] = {}
    for entity, places in of_entity.items():
        if (group := group_of(entity)) in groups:
            for column in places.tolist():
                if (key := keys[column]) is not None:
                    members.setdefault((group, key.signal, key.stat), []).append(column)
    for column in columns:
        key = keys[column]
        found = () if key is None else members.get((group_of(key.entity), key.signal, key.stat), ())
        if found:
            yield column, np.array(found, np.intp)
