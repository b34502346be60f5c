"""One of several acts: leadership by a Lease object of Kubernetes.

Nobody's clock is compared with anybody else's: a lease has lapsed when nobody was *seen* to renew it for as long as it
promises, by our own monotonic clock. We believe in our own leadership for two thirds of the lease only, counted from
before the renewal was sent, so that we have let go before anybody else may take it.
"""

from datetime import UTC, datetime

from aiops.kit.clock import Clock
from aiops.kit.kubernetes import Conflict, Json, Kubernetes, NotFound

_TRUSTED = 2.0 / 3.0


class Lease:
    """A lease that this process wants to hold.

    Parameters
    ----------
    identity
        Who we are; different for every process.
    duration_seconds
        How long the others wait after our last renewal. Renew at least three times as often.
    """

    def __init__(
        self, api: Kubernetes, *, namespace: str, name: str, identity: str, duration_seconds: float, clock: Clock
    ) -> None:
        self._api = api
        self._list = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._name, self._namespace = name, namespace
        self.identity = identity
        self._duration = duration_seconds
        self._clock = clock
        self._until = float("-inf")
        self._seen: tuple[object, ...] = ()
        self._seen_at = 0.0

    @property
    def held(self) -> bool:
        """Whether we may act now."""
        return self._clock.monotonic() < self._until

    async def hold(self) -> bool:
        """Acquire or renew; says whether we lead.

        Raises
        ------
        Temporary, Permanent
            The API could not be asked; :attr:`held` may still be true for a while.
        """
        began = self._clock.monotonic()
        try:
            found = await self._api.get(f"{self._list}/{self._name}")
        except NotFound:
            return await self._write(began, None)
        spec = found.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        if holder not in ("", self.identity):
            self._until = float("-inf")
            state = (holder, spec.get("renewTime"), (found.get("metadata") or {}).get("resourceVersion"))
            if state != self._seen:
                self._seen, self._seen_at = state, began
            if began - self._seen_at < float(spec.get("leaseDurationSeconds") or self._duration):
                return False
        return await self._write(began, found)

    async def release(self) -> None:
        """Let go, so that nobody has to wait; nothing happens when we never led or did so before."""
        if self._until == float("-inf"):
            return
        self._until = float("-inf")
        found = await self._api.get(f"{self._list}/{self._name}")
        if (found.get("spec") or {}).get("holderIdentity") == self.identity:
            found["spec"]["holderIdentity"] = ""
            await self._api.replace(f"{self._list}/{self._name}", found)

    async def _write(self, began: float, found: Json | None) -> bool:
        now = datetime.fromtimestamp(self._clock.now(), UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        before = {} if found is None else found.get("spec") or {}
        taken = before.get("holderIdentity") != self.identity
        spec = before | {
            "holderIdentity": self.identity, "leaseDurationSeconds": max(1, round(self._duration)), "renewTime": now,
        }  # fmt: skip
        if taken:
            spec |= {
                "acquireTime": now,
                "leaseTransitions": int(before.get("leaseTransitions") or 0) + (found is not None),
            }
        body: Json = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": spec}
        try:
            if found is None:
                body["metadata"] = {"name": self._name, "namespace": self._namespace}
                await self._api.create(self._list, body)
            else:
                body["metadata"] = found.get("metadata") or {}
                await self._api.replace(f"{self._list}/{self._name}", body)
        except Conflict:  # another was faster
            self._until = float("-inf")
            return False
        self._until = began + _TRUSTED * self._duration
        return True
