"""Follows the advice: sets the replicas of Kubernetes objects. Off by default, and in small, rare, recorded steps.

Only the holder of a lease acts. A step reads the ``scale`` subresource, moves at most ``max_step`` towards the advice,
and writes with the version that it read: whoever else scales wins, and the next step looks again. Without fresh advice,
with the stop file, or where somebody scaled to nothing, nothing is touched.
"""

import asyncio
import logging
import os
import socket
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Protocol
from uuid import uuid4

from aiohttp import ClientSession
from pydantic import Field, PositiveInt, StringConstraints

from aiops.capacity.scaling import Recommendation
from aiops.kit.clock import Clock
from aiops.kit.kubernetes import Conflict, Expired, Json, Kubernetes, KubernetesSettings, in_cluster, own_namespace
from aiops.kit.lease import Lease
from aiops.kit.log import OnChange
from aiops.kit.retry import Failure, Temporary
from aiops.kit.settings import Duration, Section
from aiops.signals.telemetry import Family, FamilyKind
from aiops.signals.types import Entity, Mark, MarkKind

_LOG = logging.getLogger("aiops.app.actuator")
_NAME = r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?"
Name = Annotated[str, StringConstraints(pattern=f"^{_NAME}$")]
_CLOSE_SECONDS = 2.0
OUTCOMES = ("scaled", "dry_run", "conflict", "failed")


class ScaleTarget(Section):
    """An object with a ``scale`` subresource."""

    name: Name
    """Name of the object."""
    namespace: Annotated[str, StringConstraints(pattern=f"^({_NAME})?$")] = ""
    """Its namespace; empty: that of this pod."""
    resource: Annotated[str, StringConstraints(pattern=rf"^{_NAME}/v[a-z0-9]+/[a-z]+$")] = "apps/v1/deployments"
    """Group, version and plural of its kind, such as ``leaderworkerset.x-k8s.io/v1/leaderworkersets``."""


class ActuatorSettings(Section):
    """Scaling by the daemon itself. Prefer KEDA or a horizontal pod autoscaler where you have one: see deploy/examples.

    The pod's service account needs ``get`` and ``patch`` on the ``scale`` subresource of every target, and ``get``,
    ``create`` and ``update`` on leases. Do not let an autoscaler act on the same object.
    """

    enabled: bool = False
    """Follow the advice."""
    dry_run: bool = True
    """Send every change with ``dryRun=All``: the API server checks it and keeps nothing. Look at the log and at
    ``aiops_actuations`` for a while before you turn this off."""
    targets: dict[str, ScaleTarget] = Field(default_factory=dict)
    """Pool name, as in ``aiops recommend``, → the object that runs its replicas."""
    interval: Duration = Field(10.0, ge=1)
    """Time between two looks, seconds; a third of the lease keeps it through a lost request."""
    max_step_up: PositiveInt = 4
    """Most replicas added at once."""
    max_step_down: PositiveInt = 1
    """Most replicas taken away at once."""
    up_interval: Duration = 60.0
    """Least time between two changes upwards, seconds."""
    down_interval: Duration = 300.0
    """Least time from any change to one downwards, seconds."""
    stop_file: Path | None = None
    """While this file exists, nothing is changed and the lease is given up: the emergency brake. A ConfigMap can be
    mounted there."""
    lease_name: Name = "aiops-actuator"
    """Lease by which one of several daemons acts."""
    lease_namespace: Annotated[str, StringConstraints(pattern=f"^({_NAME})?$")] = ""
    """Namespace of the lease; empty: that of this pod."""
    lease_duration: Duration = Field(30.0, ge=5)
    """How long the others wait for a daemon that fell silent, seconds."""
    api: KubernetesSettings = KubernetesSettings()
    """How to reach the API server."""


class Adviser(Protocol):
    """Who knows what to do: :class:`aiops.app.capacity.Capacity`."""

    def advised(self, name: str) -> tuple[Entity, Recommendation] | str:
        """Usable advice on a pool, or why there is none."""
        ...


class Actuator:
    """Carries out advice on the targets of the settings. All methods belong to one event loop.

    Attributes
    ----------
    counts
        Changes by pool and outcome (:data:`OUTCOMES`).
    """

    def __init__(
        self, settings: ActuatorSettings, adviser: Adviser, session: ClientSession, clock: Clock, *, identity: str = ""
    ) -> None:
        self._settings = settings
        self._adviser = adviser
        self._clock = clock
        self._faults = OnChange(_LOG, clock.monotonic)
        self.counts: Counter[tuple[str, str]] = Counter()
        self._api = Kubernetes(in_cluster(settings.api, os.environ), session)
        self._namespace = own_namespace()
        self._lease = Lease(
            self._api, namespace=settings.lease_namespace or self._namespace, name=settings.lease_name,
            identity=identity or f"{socket.gethostname()}_{uuid4().hex[:8]}",
            duration_seconds=settings.lease_duration, clock=clock,
        )  # fmt: skip
        self._changed: dict[str, float] = {}
        self._told: dict[str, tuple[int, int]] = {}
        self._quiet_until = float("-inf")

    async def step(self) -> list[Mark]:
        """Look at every target once; returns a mark of every change."""
        if self._clock.monotonic() < self._quiet_until or not await self._may_act():
            return []
        marks = []
        for name, target in self._settings.targets.items():
            try:
                marks += await self._follow(name, target)
            except Failure as error:
                self._failed(name, error)
            else:
                self._faults.report(f"scaling {name}", "")
        return marks

    async def close(self) -> None:
        """Give the lease up, within two seconds: it lapses by itself, the others only wait longer."""
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._lease.release()
        except (Failure, TimeoutError) as error:
            _LOG.info("the lease was not given up", extra={"error": str(error) or "no answer in time"})

    async def _may_act(self) -> bool:
        file = self._settings.stop_file
        stopped = file is not None and file.exists()
        self._faults.report("actuator", "stopped by its file" if stopped else "", file=str(file))
        if stopped:
            await self.close()
            return False
        try:
            leads = await self._lease.hold()
        except Failure as error:
            self._faults.report("lease", str(error))
            return self._lease.held
        self._faults.report("lease", "")
        return leads

    async def _follow(self, name: str, target: ScaleTarget) -> list[Mark]:
        found = self._adviser.advised(name)
        if isinstance(found, str):
            return []
        pool, advice = found
        path = _path(target, self._namespace)
        scale = await self._api.get(path)
        have = int((scale.get("spec") or {}).get("replicas") or 0)
        wish = self._clamped(name, have, advice.desired or have)
        if wish == have or (self._settings.dry_run and self._told.get(name) == (have, wish)):
            return []
        if not self._lease.held:  # asking took so long that another may lead by now
            return []
        await self._api.patch(path, _change(scale, wish), dry_run=self._settings.dry_run)
        self._changed[name], self._told[name] = self._clock.monotonic(), (have, wish)
        outcome = "dry_run" if self._settings.dry_run else "scaled"
        self.counts[name, outcome] += 1
        text = f"{outcome}: {path.split('/namespaces/')[1]} {have} → {wish}, advised {advice.desired}: {advice.reason}"
        facts = {"pool": name, "outcome": outcome, "from": have, "to": wish, "advised": advice.desired}
        _LOG.info("replicas set", extra={**facts, "as": self._lease.identity})
        return [Mark(MarkKind.RECOMMENDATION, pool, self._clock.now(), text)]

    def _clamped(self, name: str, have: int, desired: int) -> int:
        """Number to set now; ``have`` when nothing is to be done."""
        if have < 1:
            return have  # somebody switched it off, and nothing here can tell whether that is over
        settings = self._settings
        quiet = self._clock.monotonic() - self._changed.get(name, float("-inf"))
        if desired > have and quiet >= settings.up_interval:
            return min(desired, have + settings.max_step_up)
        if desired < have and quiet >= settings.down_interval:
            return max(desired, have - settings.max_step_down, 1)
        return have

    def _failed(self, name: str, error: Failure) -> None:
        if isinstance(error, Conflict | Expired):
            self.counts[name, "conflict"] += 1  # the next look decides anew
            return
        self.counts[name, "failed"] += 1
        self._faults.report(f"scaling {name}", str(error))
        if isinstance(error, Temporary) and error.delay_seconds:
            self._quiet_until = self._clock.monotonic() + error.delay_seconds

    @property
    def leads(self) -> bool:
        """Whether this daemon may change replicas now."""
        return self._lease.held

    @property
    def pools(self) -> Iterable[str]:
        """Pools that have a target."""
        return self._settings.targets


def families(actuator: Actuator | None) -> Iterator[Family]:
    """What was done, and whether this daemon does it; nothing while it is off."""
    leads: list[tuple[dict[str, str], float]] = [] if actuator is None else [({}, float(actuator.leads))]
    done = [] if actuator is None else [
        ({"pool": name, "outcome": outcome}, float(actuator.counts[name, outcome]))
        for name in actuator.pools for outcome in OUTCOMES
    ]  # fmt: skip
    yield Family("aiops_actuator_leader", FamilyKind.GAUGE, "1 while this daemon may change replicas.", leads)
    yield Family("aiops_actuations", FamilyKind.COUNTER, "Changes of replicas, by how they ended.", done)


def _path(target: ScaleTarget, own: str) -> str:
    group, version, plural = target.resource.split("/")
    return f"/apis/{group}/{version}/namespaces/{target.namespace or own}/{plural}/{target.name}/scale"


def _change(scale: Json, replicas: int) -> Json:
    version = (scale.get("metadata") or {}).get("resourceVersion")
    return {"metadata": {"resourceVersion": version}, "spec": {"replicas": replicas}}
