"""Targets from the endpoints of services, as the role ``endpointslice`` of ``kubernetes_sd``.

Nothing but the slices is read, so the right to see them is enough: what Prometheus adds from the pods and services
themselves is not there, the name of the service is. Endpoints that are not ready stay targets: an engine that hangs
fails its readiness probe first. Those that are told to end are none, so that a rollout pages nobody. ``namespace``,
``pod``, ``node`` and ``pool`` (the namespace and the service) are the target's own labels.
"""

from collections.abc import Iterator

from aiops.collect.pods import prefixed, told_labels
from aiops.collect.targets import Group
from aiops.kit.kubernetes import Json
from aiops.kit.reach import Reach

_SERVICE = "kubernetes.io/service-name"


def groups_of(endpoints: Json) -> Iterator[Group]:
    """Every address of every endpoint at every TCP port that has a number."""
    metadata = endpoints.get("metadata", {})
    namespace, name = str(metadata.get("namespace", "")), str(metadata.get("name", ""))
    service = str((metadata.get("labels") or {}).get(_SERVICE, ""))
    common = {
        "namespace": namespace,
        "endpointslice_name": name,
        "endpointslice_address_type": endpoints.get("addressType", ""),
        "service_name": service,
        **told_labels("endpointslice", metadata),
    }
    own = {"namespace": namespace, "pool": f"{namespace}/{service}" if service else ""}
    for endpoint in endpoints.get("endpoints") or ():
        if (endpoint.get("conditions") or {}).get("terminating"):
            continue
        labels = {**own, **_own_labels(endpoint), **prefixed({**common, **_endpoint_labels(endpoint)})}
        for port in endpoints.get("ports") or ():
            if port.get("port") is None or port.get("protocol", "TCP") != "TCP":
                continue
            more = prefixed(_port_labels(port))
            for address in endpoint.get("addresses") or ():
                host = f"[{address}]" if ":" in address else address
                origin = f"endpoint slice {namespace}/{name}"
                yield Group((f"{host}:{port['port']}",), {**labels, **more}, origin, Reach.NO_METADATA)


def _own_labels(endpoint: Json) -> dict[str, str]:
    target = endpoint.get("targetRef") or {}
    return {
        "pod": str(target.get("name", "")) if target.get("kind") == "Pod" else "",
        "node": str(endpoint.get("nodeName") or ""),
    }


def _endpoint_labels(endpoint: Json) -> dict[str, object]:
    """What Prometheus tells of an endpoint; a condition that is not known is left out."""
    target = endpoint.get("targetRef") or {}
    labels: dict[str, object] = {
        f"endpointslice_endpoint_conditions_{name}": str(state).lower()
        for name, state in (endpoint.get("conditions") or {}).items()
        if state is not None
    }
    labels |= {
        "endpointslice_endpoint_hostname": endpoint.get("hostname") or "",
        "endpointslice_endpoint_node_name": endpoint.get("nodeName") or "",
        "endpointslice_endpoint_zone": endpoint.get("zone") or "",
        "endpointslice_address_target_kind": target.get("kind", ""),
        "endpointslice_address_target_name": target.get("name", ""),
    }
    return labels


def _port_labels(port: Json) -> dict[str, object]:
    return {
        "endpointslice_port": port["port"],
        "endpointslice_port_name": port.get("name") or "",
        "endpointslice_port_protocol": port.get("protocol", "TCP"),
        "endpointslice_port_app_protocol": port.get("appProtocol") or "",
    }
