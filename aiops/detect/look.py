"""What statistics saw of one series or of one entity, as records for people."""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from aiops.detect.base import AlertKey, Look, Part, Scores, Standing, Window
from aiops.signals.types import Entity


def look_at(key: AlertKey, column: int, window: Window, ensemble: Scores, explained: str) -> Look:
    """One series of the newest row, and how far it is from the edge of its band."""
    parts = {name: float(getattr(ensemble, name)[column]) for name in ("score", "expected", "lower", "upper")}
    values = {"value": float(window.values[-1, column]), **parts}
    broken = None if np.isnan(values["score"]) else values["score"] >= 1
    waits = broken is None and not np.isnan(values["value"])
    note = "too little was seen of it yet, or it settles after a restart or a deploy" if waits else ""
    return Look(key, broken, (Part("score >= 1, the edge of the band", broken),), values, note + explained)


def look_around(
    entities: Iterable[Entity],
    of_entity: Mapping[Entity, NDArray[np.intp]],
    score: NDArray[np.float32],
    watched: NDArray[np.bool_],
) -> dict[Entity, Standing]:
    """All series of some entities that may raise alerts; entities without a series are left out."""
    found = {}
    for entity in entities:
        columns = of_entity.get(entity)
        if columns is not None:
            of_it = score[columns[watched[columns]]]
            found[entity] = Standing(len(of_it), int((of_it >= 1).sum()), int((of_it < 1).sum()))
    return found
