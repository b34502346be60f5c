"""Targets from the pods of a Kubernetes cluster: listed once, then followed, as ``kubernetes_sd`` does it.

A pod that is told to end is no target from that moment on, so that a rollout pages nobody. Labels beginning with
``__meta_kubernetes_`` are those of Prometheus, for relabelling; ``namespace``, ``pod``, ``node`` and ``pool`` (the
namespace and the name of what owns the pod) are the target's own, unless relabelling says otherwise.

The revision that controllers write on the pods they make tells of rollouts (:class:`aiops.collect.targets.Rollouts`):
it changes with every pod template and with nothing else, it needs no right but that to see pods, and it cannot get
lost. Events of the cluster can, and what they tell of a rollout they also tell of every change of scale.
"""

import asyncio
import json
import os
import random
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from urllib.parse import urlencode

from aiohttp import ClientSession

from aiops.collect.settings import KubernetesDiscoverySettings
from aiops.collect.targets import Group
from aiops.kit.kubernetes import Expired, Json, Kubernetes, in_cluster
from aiops.kit.reach import Reach
from aiops.kit.retry import Failure, Permanent, backoff_seconds
from aiops.kit.text import clipped

PAGE = 500
"""Pods per answer of a list."""
WATCH_SECONDS = 240.0
"""A watch is begun anew after about this long, as the API server asks of its clients."""
FIRST_LIST_SECONDS = 8.0
_META = "__meta_kubernetes_"
_NOT_A_NAME = re.compile(r"[^a-zA-Z0-9_]")
_OVER = ("Succeeded", "Failed")
_ANNOTATION = "prometheus.io/"
_REVISIONS = ("leaderworkerset.sigs.k8s.io/template-revision-hash", "pod-template-hash", "controller-revision-hash")
_LONGEST_IMAGE = 100
_JITTER = random.Random()  # noqa: S311 - spreads clients, guards nothing


class PodSource:
    """One ``kubernetes_sd`` entry; implements :class:`aiops.collect.discovery.Source`.

    The first :meth:`poll` waits for the first list and starts a task per namespace that follows it; :meth:`close` ends
    them. What goes wrong keeps the pods of before.

    Parameters
    ----------
    taken
        Names of labels that the job sets itself.
    """

    def __init__(
        self,
        settings: KubernetesDiscoverySettings,
        session: ClientSession,
        *,
        taken: Collection[str] = (),
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.refresh_seconds = 1.0
        self.groups: Sequence[Group] = ()
        self.problems: Sequence[str] = ()
        self._settings = settings
        self._taken = frozenset(taken)
        self._session = session
        self._environ = environ
        self._followers: tuple[_Follower, ...] = ()
        self._tasks: list[asyncio.Task[None]] = []

    async def poll(self) -> None:
        """Take over what the followers know by now."""
        try:
            await self._begin()
        except Permanent as error:
            self.problems = (f"kubernetes_sd: {error}",)
            return
        groups = tuple(self._left(group) for one in self._followers for pod in one.pods.values() for group in pod)
        if groups != self.groups:
            self.groups = groups
        self.problems = tuple(f"kubernetes_sd: {one.problem}" for one in self._followers if one.problem)

    def _left(self, group: Group) -> Group:
        """Without the labels that the job gives to all its targets: what the user wrote wins."""
        return replace(group, labels={name: text for name, text in group.labels.items() if name not in self._taken})

    def close(self) -> None:
        """Stop to follow."""
        for task in self._tasks:
            task.cancel()

    async def _begin(self) -> None:
        if self._tasks:
            return
        api = Kubernetes(in_cluster(self._settings.api, self._environ), self._session)
        self._followers = tuple(_Follower(api, self._settings, name) for name in self._settings.namespaces or ("",))
        self._tasks = [asyncio.create_task(one.follow()) for one in self._followers]
        first = [asyncio.create_task(one.listed.wait()) for one in self._followers]
        _, late = await asyncio.wait(first, timeout=FIRST_LIST_SECONDS)
        for task in late:
            task.cancel()


class _Follower:
    """Pods of one namespace, or of all.

    Attributes
    ----------
    pods
        UID → its groups, one per port that may be scraped.
    listed
        Set once the first list was tried, with whatever outcome.
    """

    def __init__(self, api: Kubernetes, settings: KubernetesDiscoverySettings, namespace: str) -> None:
        self.pods: dict[str, tuple[Group, ...]] = {}
        self.problem = ""
        self.listed = asyncio.Event()
        self._api = api
        self._annotated = settings.annotated
        self._path = f"/api/v1/namespaces/{namespace}/pods" if namespace else "/api/v1/pods"
        selectors = {"labelSelector": settings.label_selector, "fieldSelector": settings.field_selector}
        self._query = {name: text for name, text in selectors.items() if text}
        self._version = ""
        self._rest = b""

    async def follow(self) -> None:
        """List, then watch, for ever."""
        attempt = 0
        while True:
            try:
                if not self._version:
                    await self._list()
                self.problem = ""
                self.listed.set()
                await self._watch()
                attempt = 0
            except Expired:
                self._version = ""  # too old to go on from; what is known stays until the new list is there
            except Failure as error:
                self.problem = f"{error}; the last list stays"
                self.listed.set()
                wait = backoff_seconds(attempt, base=1.0, cap=30.0, rng=_JITTER)
                await asyncio.sleep(max(wait, getattr(error, "delay_seconds", None) or 0.0))
                attempt += 1

    async def _list(self) -> None:
        found: dict[str, tuple[Group, ...]] = {}
        more = ""
        while True:
            page = {"limit": str(PAGE)} | ({"continue": more} if more else {})
            answer = await self._api.get(f"{self._path}?{urlencode(self._query | page)}")
            for pod in answer.get("items") or ():
                found[_uid(pod)] = tuple(groups_of(pod, annotated=self._annotated))
            metadata = answer.get("metadata") or {}
            more = metadata.get("continue", "")
            if not more:
                break
        self.pods = found
        self._version = str(metadata.get("resourceVersion", ""))

    async def _watch(self) -> None:
        seconds = WATCH_SECONDS * _JITTER.uniform(0.8, 1.2)
        query = {"watch": "1", "allowWatchBookmarks": "true", "resourceVersion": self._version,
                 "timeoutSeconds": str(int(seconds))}  # fmt: skip
        self._rest = b""
        expired: list[Json] = []
        await self._api.watch(
            f"{self._path}?{urlencode(self._query | query)}",
            lambda piece: self._hear(piece, expired),
            seconds=seconds + 10.0,
        )
        if expired:
            error = expired[0]
            text = clipped(str(error.get("message", "the watch ended with an error")), 200)
            raise Expired(text) if error.get("code") == 410 else Permanent(text)

    def _hear(self, piece: bytes, errors: list[Json]) -> bool:
        """Take in whole lines; True ends the watch."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            try:
                event = json.loads(line)
                kind, thing = event["type"], event["object"]
            except (ValueError, KeyError, TypeError):
                errors.append({"message": "the watch sent a line that is no event"})
                return True
            if kind == "ERROR":
                errors.append(thing)
                return True
            self._take(kind, thing)
        return False

    def _take(self, kind: str, pod: Json) -> None:
        self._version = str(pod.get("metadata", {}).get("resourceVersion", self._version))
        if kind == "DELETED":
            self.pods.pop(_uid(pod), None)
        elif kind != "BOOKMARK":
            self.pods[_uid(pod)] = tuple(groups_of(pod, annotated=self._annotated))


def _uid(pod: Json) -> str:
    metadata = pod.get("metadata", {})
    return str(metadata.get("uid") or f"{metadata.get('namespace')}/{metadata.get('name')}")


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
            f"{_META}pod_container_name": container,
            f"{_META}pod_container_port_name": str(port.get("name", "")),
            f"{_META}pod_container_port_number": str(port.get("containerPort", "")),
            f"{_META}pod_container_port_protocol": str(port.get("protocol", "TCP")),
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
    for sort in ("label", "annotation"):
        for name, value in (metadata.get(f"{sort}s") or {}).items():
            clean = _NOT_A_NAME.sub("_", name)
            labels[f"pod_{sort}_{clean}"] = value
            labels[f"pod_{sort}present_{clean}"] = "true"
    return {f"{_META}{name}": str(value) for name, value in labels.items()}
