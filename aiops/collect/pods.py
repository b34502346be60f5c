"""Targets from the pods of a Kubernetes cluster, as the role ``pod`` of ``kubernetes_sd``.

A pod that is told to end is no target from that moment on, so that a rollout pages nobody. Labels beginning with
``__meta_kubernetes_`` are those of Prometheus, for relabelling; ``namespace``, ``pod``, ``node`` and ``pool`` (the
namespace and the name of what owns the pod) are the target's own, unless relabelling says otherwise.

The revision that controllers write on the pods they make tells of rollouts (:class:`aiops.collect.targets.Rollouts`):
it changes with every pod template and with nothing else, it needs no right but that to see pods, and it cannot get
lost. Events of the cluster can, and what they tell of a rollout they also tell of every change of scale.
"""

import re
from collections.abc import Iterator, Mapping

from aiops.collect.targets import Group
from aiops.kit.kubernetes import Json
from aiops.kit.reach import Reach
from aiops.kit.text import clipped

META = "__meta_kubernetes_"
_NOT_A_NAME = re.compile(r"[^a-zA-Z0-9_]")
_OVER = ("Succeeded", "Failed")
_ANNOTATION = "prometheus.io/"
_REVISIONS = ("leaderworkerset.sigs.k8s.io/template-revision-hash", "pod-template-hash", "controller-revision-hash")
_LONGEST_IMAGE = 100


def groups_of(pod: Json, *, annotated: bool) -> Iterator[Group]:
    """What may be scraped of a pod: nothing while it has no address, is over, or is told to end.

    Parameters
    ----------
    annotated
        Only pods that say ``prometheus.io/scrape: "true"``, at the port and path they say; else every container port.
    """
    metadata, status = pod.get("metadata", {}), pod.get("status", {})
    address = status.get("podIP", "")
    if not address or status.get("phase") in _OVER or "deletionTimestamp" in metadata:
        return
    host = f"[{address}]" if ":" in address else address
    labels = {**_own_labels(pod), **_meta_labels(pod)}
    origin = f"pod {metadata.get('namespace')}/{metadata.get('name')}"
    told = metadata.get("annotations") or {}
    if annotated:
        if told.get(f"{_ANNOTATION}scrape") != "true":
            return
        wanted = {"__scheme__": told.get(f"{_ANNOTATION}scheme", ""),
                  "__metrics_path__": told.get(f"{_ANNOTATION}path", "")}  # fmt: skip
        labels |= {name: value for name, value in wanted.items() if value}
        if port := told.get(f"{_ANNOTATION}port"):
            yield Group((f"{host}:{port}",), labels, origin, Reach.NO_METADATA)
            return
    for container, port in _ports(pod):
        more = {
            f"{META}pod_container_name": container,
            f"{META}pod_container_port_name": str(port.get("name", "")),
            f"{META}pod_container_port_number": str(port.get("containerPort", "")),
            f"{META}pod_container_port_protocol": str(port.get("protocol", "TCP")),
        }
        yield Group((f"{host}:{port.get('containerPort')}",), {**labels, **more}, origin, Reach.NO_METADATA)


def _ports(pod: Json) -> Iterator[tuple[str, Json]]:
    for container in pod.get("spec", {}).get("containers", ()):
        for port in container.get("ports") or ():
            if port.get("protocol", "TCP") == "TCP":
                yield str(container.get("name", "")), port


def _own_labels(pod: Json) -> dict[str, str]:
    metadata, spec = pod.get("metadata", {}), pod.get("spec", {})
    namespace, owner = str(metadata.get("namespace", "")), _owner_name(metadata)
    return {
        "namespace": namespace,
        "pod": str(metadata.get("name", "")),
        "node": str(spec.get("nodeName", "")),
        "pool": f"{namespace}/{owner}" if owner else "",
        "__revision__": _revision(pod),
    }


def _revision(pod: Json) -> str:
    """Of the pod's template, with the image that it names first; ``""`` for a pod that no controller revises."""
    labels = pod.get("metadata", {}).get("labels") or {}
    containers = pod.get("spec", {}).get("containers") or [Json()]
    name = next((str(labels[one]) for one in _REVISIONS if labels.get(one)), "")
    image = clipped(str(containers[0].get("image", "")), _LONGEST_IMAGE)
    return f"{name} ({image})" if name and image else name


def _owner(metadata: Json) -> Json:
    return next((one for one in metadata.get("ownerReferences") or () if one.get("controller")), Json())


def _owner_name(metadata: Json) -> str:
    """Name of what people call the owner: the Deployment behind a ReplicaSet, else the owner itself."""
    owner = _owner(metadata)
    name = str(owner.get("name", ""))
    revision = (metadata.get("labels") or {}).get("pod-template-hash", "")
    return name.removesuffix(f"-{revision}") if owner.get("kind") == "ReplicaSet" and revision else name


def _meta_labels(pod: Json) -> dict[str, str]:
    metadata, status, spec = pod.get("metadata", {}), pod.get("status", {}), pod.get("spec", {})
    conditions = status.get("conditions") or ()
    ready = next((one.get("status", "") for one in conditions if one.get("type") == "Ready"), "unknown")
    owner = _owner(metadata)
    labels = {
        "namespace": metadata.get("namespace", ""),
        "pod_name": metadata.get("name", ""),
        "pod_uid": metadata.get("uid", ""),
        "pod_ip": status.get("podIP", ""),
        "pod_phase": status.get("phase", ""),
        "pod_ready": str(ready).lower(),
        "pod_node_name": spec.get("nodeName", ""),
        "pod_host_ip": status.get("hostIP", ""),
        "pod_controller_kind": owner.get("kind", ""),
        "pod_controller_name": owner.get("name", ""),
    }
    return prefixed({**labels, **told_labels("pod", metadata)})


def told_labels(kind: str, metadata: Json) -> dict[str, object]:
    """What people wrote on an object: its labels and annotations, each with a mark that it is there."""
    labels: dict[str, object] = {}
    for sort in ("label", "annotation"):
        for name, value in (metadata.get(f"{sort}s") or {}).items():
            clean = _NOT_A_NAME.sub("_", name)
            labels[f"{kind}_{sort}_{clean}"] = value
            labels[f"{kind}_{sort}present_{clean}"] = "true"
    return labels


def prefixed(labels: Mapping[str, object]) -> dict[str, str]:
    """Labels under the names that relabelling knows."""
    return {f"{META}{name}": str(value) for name, value in labels.items()}
