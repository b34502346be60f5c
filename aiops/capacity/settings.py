"""Configuration of the capacity room: the promise to keep, the limits to stay in, how calmly to move."""

from typing import Annotated, Self

from pydantic import Field, PositiveInt, model_validator

from aiops.kit.settings import Duration, Section

Share = Annotated[float, Field(gt=0, lt=1)]


class PoolLimits(Section):
    """What may differ from pool to pool."""

    wait_slo: Duration = Field(1.0, gt=0)
    """Longest wait for a place in the batch that keeps the promise, seconds. One second is a pause that a person
    notices; subtract the time of a usual prefill if the promise is about the first token."""
    slo_target: Share = 0.95
    """Share of requests that must keep ``wait_slo``, and the least probability with which a number of replicas is
    recommended."""
    min_replicas: PositiveInt = 1
    """Never recommend fewer. Not 0: a pool that sleeps shows nothing from which it could be woken."""
    max_replicas: PositiveInt = 64
    """Never recommend more; the cost curve ends there."""
    gpus_per_replica: PositiveInt = 1
    """GPUs that one replica holds, for GPU-hours and power."""
    price_per_hour: float | None = Field(None, gt=0)
    """Price of one replica for an hour, in any currency; none: reports speak of hours only."""
    max_price_per_hour: float | None = Field(None, gt=0)
    """Budget of the pool; needs ``price_per_hour``."""
    watts_per_replica: float | None = Field(None, gt=0)
    """Power of one busy replica, watts."""
    max_watts: float | None = Field(None, gt=0)
    """Power that the pool may draw; needs ``watts_per_replica``."""
    lead_time: Duration | None = Field(None, gt=0)
    """From the decision until a new replica serves, seconds; unset: the longest but one of the last ten starts that
    were observed in the pool, and two minutes until two were. What is observed begins with the process: set this where
    an image or weights are fetched before."""

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas {self.min_replicas} is more than max_replicas {self.max_replicas}")
        if self.max_price_per_hour is not None and self.price_per_hour is None:
            raise ValueError("max_price_per_hour needs price_per_hour")
        if self.max_watts is not None and self.watts_per_replica is None:
            raise ValueError("max_watts needs watts_per_replica")
        return self

    @property
    def ceiling(self) -> int:
        """Most replicas that the limit, the budget and the power allow; at least ``min_replicas``."""
        most = [float(self.max_replicas)]
        if self.max_price_per_hour is not None and self.price_per_hour is not None:
            most.append(self.max_price_per_hour / self.price_per_hour)
        if self.max_watts is not None and self.watts_per_replica is not None:
            most.append(self.max_watts / self.watts_per_replica)
        return max(self.min_replicas, int(min(most)))


class CapacitySettings(PoolLimits):
    """From queues to replica advice. The keys of a pool stand here for all, and under ``pools`` for one."""

    enabled: bool = True
    """Compute recommendations. Advice only; the section ``actuator`` can follow it."""
    interval: Duration = Field(30.0, ge=1)
    """Time between two recommendations, seconds: the polling interval that KEDA uses."""
    history: Duration = Field(86_400.0, ge=600)
    """Load that is kept for forecasts, back-tests and for the replay before a scale-down, seconds. A day holds one
    wave of daily traffic and costs 0.5 MiB per pool."""
    step: Duration = Field(15.0, ge=1)
    """Length of one interval of that history, seconds. Bursts shorter than this are not seen, only assumed."""
    warm_up: Duration = Field(600.0, ge=60)
    """Load that must have been seen before anything is recommended, seconds."""
    stale_after: Duration = Field(90.0, gt=0)
    """A recommendation older than this is not given out any more, and data older than this gives none, seconds."""
    abstain_error: float = Field(2.0, gt=1)
    """Back-test error (factor between predicted and observed wait) above which no number is recommended."""
    up_tolerance: float = Field(0.0, ge=0, lt=1)
    """Relative change upwards that is not worth a move. 0, because 22 → 24 replicas is 9 % and can be the promise."""
    down_tolerance: float = Field(0.05, ge=0, lt=1)
    """Relative change downwards that is not worth a move."""
    stabilisation: Duration = Field(300.0, ge=0)
    """Downwards, the highest number of the last so many seconds counts, as in a horizontal pod autoscaler."""
    max_step_up: float = Field(1.0, gt=0)
    """Largest growth at once, as a share of the current replicas (1 = doubling), at least 4 replicas."""
    max_step_down: float = Field(0.25, gt=0, le=1)
    """Largest cut at once, as a share of the current replicas, at least 1 replica."""
    draws: int = Field(64, ge=8, le=1000)
    """Futures that are drawn for each recommendation; 64 put a probability of 95 % within 3 points."""
    pools: dict[str, PoolLimits] = Field(default_factory=dict)
    """Pool name, as in ``aiops recommend``, → limits of that pool; keys left out fall back to those above."""

    def of(self, *names: str) -> PoolLimits:
        """Limits of a pool, looked up by any of its names."""
        own = next((self.pools[name] for name in names if name in self.pools), None)
        common = {name: getattr(self, name) for name in PoolLimits.model_fields}
        return PoolLimits(**common | ({} if own is None else {k: getattr(own, k) for k in own.model_fields_set}))
