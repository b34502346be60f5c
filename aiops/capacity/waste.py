"""Replicas that were paid for and not needed, in hours and, where a price is known, in money.

Two kinds, never added up: *idle* had not one request, *over-provisioned* had some, but fewer replicas would have kept
the promise with the margin of the recommendation itself. Time in which the need was not known counts as neither.
"""

from dataclasses import dataclass
from math import isnan

import numpy as np

from aiops.capacity.forecast import Floats
from aiops.capacity.observed import NAN, History


@dataclass(frozen=True, slots=True)
class Waste:
    """Waste of one pool.

    Attributes
    ----------
    seen_hours, replica_hours
        Time looked at, and what was paid for in it.
    idle_replica_hours
        Of replicas that served and had no request in a whole interval.
    over_replica_hours
        Of replicas beyond the need; contains the idle ones as far as they were not needed as a reserve.
    judged_hours
        Time in which the need was known.
    idle_gpu_hours, over_gpu_hours
        The same in GPUs.
    over_cost
        In the currency of the price; NaN without a price.
    evidence
        Sentences with the numbers behind it.
    """

    seen_hours: float
    replica_hours: float
    idle_replica_hours: float
    over_replica_hours: float
    judged_hours: float
    idle_gpu_hours: float
    over_gpu_hours: float
    over_cost: float
    evidence: tuple[str, ...]


def waste_of(
    history: History, needed: Floats, *, gpus_per_replica: int, price_per_hour: float | None, floor: int = 1
) -> Waste:
    """Add up a pool's history.

    Parameters
    ----------
    needed
        float64 [n], replicas that were recommended in each interval of ``history``; NaN where there was no advice.
    floor
        ``min_replicas``: what is kept on purpose is no waste.
    """
    hours = history.step_seconds / 3600.0
    replicas, idle = history.column("replicas"), history.column("idle")
    known = ~np.isnan(replicas)
    judged = known & ~np.isnan(needed)
    over = np.maximum(0.0, replicas[judged] - np.maximum(needed[judged], floor)).sum() * hours
    paid, nothing = float(np.nansum(replicas)) * hours, float(np.nansum(idle)) * hours
    seen, looked = float(np.count_nonzero(known)) * hours, float(np.count_nonzero(judged)) * hours
    evidence = []
    if nothing > 0.0:
        evidence.append(f"{nothing:.1f} of {paid:.1f} replica-hours passed without a request in the replica")
    if over > 0.0:
        mean, need = float(replicas[judged].mean()), float(needed[judged].mean())
        evidence.append(f"{mean:.1f} replicas on average where {need:.1f} kept the promise, over {looked:.1f} h")
    if looked < seen / 2.0:
        evidence.append(f"the need was known for {looked:.1f} of {seen:.1f} h only; the rest is not judged")
    price = NAN if price_per_hour is None else price_per_hour
    cost = NAN if isnan(price) else float(over) * price
    return Waste(
        seen, paid, nothing, float(over), looked, nothing * gpus_per_replica, float(over) * gpus_per_replica, cost,
        tuple(evidence),
    )  # fmt: skip
