"""An API server of Kubernetes as its clients see it: versions, conflicts, dry runs, tokens, and errors on demand."""

import asyncio
import copy
import json
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Json = dict[str, Any]
REASONS = {401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "Conflict", 410: "Expired",
           415: "UnsupportedMediaType", 429: "TooManyRequests", 500: "InternalError"}  # fmt: skip


def pod(
    name: str = "vllm-7c9d8-abcde",
    namespace: str = "llm",
    address: str = "10.1.0.7",
    revision: str = "7c9d8",
    **annotations: str,
) -> Json:
    """A pod of a Deployment ``vllm`` as the API server shows it."""
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": f"vllm-{revision}", "uid": "1", "controller": True}
    told = {"prometheus.io/scrape": "true", "prometheus.io/port": "8000", **annotations}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-{namespace}-{name}",
            "labels": {"app": "vllm", "pod-template-hash": revision, "example.org/tier": "gold"},
            "annotations": {key: value for key, value in told.items() if value},
            "ownerReferences": [owner],
        },
        "spec": {
            "nodeName": "gpu-1",
            "containers": [
                {"name": "engine", "image": "vllm", "ports": [{"name": "http", "containerPort": 8000}]},
                {"name": "proxy", "image": "p", "ports": [{"containerPort": 53, "protocol": "UDP"},
                                                          {"containerPort": 9901}]},
            ],
        },
        "status": {
            "phase": "Running",
            "podIP": address,
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }  # fmt: skip


def endpoint_slice(name: str = "vllm-x7k2p", namespace: str = "llm", *addresses: str, service: str = "vllm") -> Json:
    """Endpoints of a service as the API server shows them: the first is ready, the others are not known to be."""
    endpoints = [
        {
            "addresses": [address],
            "conditions": {"ready": True, "serving": True, "terminating": False} if place == 0 else {},
            "nodeName": f"gpu-{place}",
            "targetRef": {"kind": "Pod", "namespace": namespace, "name": f"{service}-{place}", "uid": f"u{place}"},
            "zone": "eu-1a",
        }
        for place, address in enumerate(addresses or ("10.1.0.7",))
    ]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-{namespace}-{name}",
            "labels": {"kubernetes.io/service-name": service, "app": "vllm"},
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"name": "http", "port": 8000, "protocol": "TCP", "appProtocol": "http"}],
    }


@dataclass
class Collection:
    """A list of objects, in pages and as a stream of what changes.

    Attributes
    ----------
    kind, resource
        As in ``kind`` of an object, and as in the path.
    oldest
        Versions before this one are not kept any more: a watch from there gets 410 in the stream.
    forbidden
        Namespaces ("" = all of them) that the caller's role does not cover.
    drop
        Watches end at once, with the connection.
    """

    kind: str = "Pod"
    resource: str = "pods"
    items: dict[str, Json] = field(default_factory=dict)
    events: list[tuple[int, str, Json]] = field(default_factory=list)
    version: int = 1000
    oldest: int = 0
    forbidden: set[str] = field(default_factory=set)
    drop: bool = False
    asked: list[dict[str, str]] = field(default_factory=list)
    watching: int = 0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, thing: Json) -> None:
        uid = thing["metadata"]["uid"]
        self._note("MODIFIED" if uid in self.items else "ADDED", thing)
        self.items[uid] = thing

    def delete(self, uid: str) -> None:
        self._note("DELETED", self.items.pop(uid))

    def bookmark(self) -> None:
        self._note("BOOKMARK", {"kind": self.kind, "metadata": {}})

    def _note(self, kind: str, pod: Json) -> None:
        self.version += 1
        pod["metadata"]["resourceVersion"] = str(self.version)
        self.events.append((self.version, kind, copy.deepcopy(pod)))
        self._changed.set()
        self._changed = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(dict(request.query))
        parts = request.path.split("/")
        namespace = parts[-2] if parts[-3] == "namespaces" else ""
        if namespace in self.forbidden:
            message = f'{self.resource} is forbidden: cannot list in "{namespace or "*"}"'
            body = {"kind": "Status", "code": 403, "message": message}
            return web.json_response(body, status=403)
        if request.query.get("watch"):
            return await self._stream(request, namespace)
        found = [pod for pod in self.items.values() if namespace in ("", pod["metadata"]["namespace"])]
        begin, limit = int(request.query.get("continue", "0")), int(request.query["limit"])
        metadata = {"resourceVersion": str(self.version)}
        if begin + limit < len(found):
            metadata["continue"] = str(begin + limit)
        items = copy.deepcopy(found[begin : begin + limit])
        return web.json_response({"kind": f"{self.kind}List", "metadata": metadata, "items": items})

    async def _stream(self, request: web.Request, namespace: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        seen = int(request.query["resourceVersion"])
        self.watching += 1
        try:
            while not self.drop:
                if seen < self.oldest:
                    gone = {"kind": "Status", "code": 410, "message": f"too old resource version: {seen}"}
                    await response.write(json.dumps({"type": "ERROR", "object": gone}).encode() + b"\n")
                    break
                changed = self._changed
                for version, kind, pod in [event for event in self.events if event[0] > seen]:
                    if kind == "BOOKMARK" or namespace in ("", pod["metadata"]["namespace"]):
                        await response.write(json.dumps({"type": kind, "object": pod}).encode() + b"\n")
                    seen = version
                await changed.wait()
        finally:
            self.watching -= 1
        if self.drop and request.transport is not None:
            request.transport.abort()
        return response

    def kick(self) -> None:
        """Have the watches look at ``drop`` and ``oldest``."""
        self._changed.set()
        self._changed = asyncio.Event()


@dataclass
class Api:
    """Objects by path.

    Attributes
    ----------
    token
        What callers must bring; empty = anything.
    next_errors
        Statuses of the next answers, whatever is asked; None = answer.
    hangs
        Takes requests and never answers.
    asked
        (method, path with query, body) of every request.
    """

    token: str = ""
    pods: Collection = field(default_factory=Collection)
    slices: Collection = field(default_factory=lambda: Collection("EndpointSlice", "endpointslices"))
    objects: dict[str, Json] = field(default_factory=dict)
    next_errors: list[int | None] = field(default_factory=list)
    asked: list[tuple[str, str, Json | None]] = field(default_factory=list)
    version: int = 100
    hangs: bool = False

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self.handle)
        return application

    def put_scale(self, path: str, replicas: int) -> None:
        """A Scale as the API server shows it for a Deployment that has settled."""
        scale = {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {"name": path.split("/")[-2]}}
        self.objects[path] = self._stamp(scale | {"spec": {"replicas": replicas}, "status": {"replicas": replicas}})

    def replicas(self, path: str) -> int:
        return int(self.objects[path]["spec"]["replicas"])

    def _stamp(self, found: Json) -> Json:
        self.version += 1
        found["metadata"]["resourceVersion"] = str(self.version)
        return found

    def _status(self, code: int, message: str) -> web.Response:
        body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": REASONS[code]}
        return web.json_response(body, status=code, headers={"Retry-After": "7"} if code == 429 else {})

    async def handle(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        if self.hangs:
            await asyncio.Event().wait()
        body = json.loads(text) if text else None
        self.asked.append((request.method, request.path_qs, body))
        error = self.next_errors.pop(0) if self.next_errors else None
        if error is not None:
            return self._status(error, f"on demand: {error}")
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return self._status(401, "Unauthorized")
        for prefix, collection in (("/api/v1/", self.pods), ("/apis/discovery.k8s.io/v1/", self.slices)):
            if request.path.startswith(prefix) and request.path.endswith(f"/{collection.resource}"):
                return await collection.handle(request)
        return self._answer(request, body)

    def _answer(self, request: web.Request, body: Json | None) -> web.Response:
        path = request.path
        if request.method == "POST":
            assert body is not None
            path = f"{path}/{body['metadata']['name']}"
            if path in self.objects:
                return self._status(409, f'"{path}" already exists')
            self.objects[path] = self._stamp(copy.deepcopy(body))
            return web.json_response(self.objects[path], status=201)
        if path not in self.objects:
            return self._status(404, f'"{path}" not found')
        if request.method == "GET":
            return web.json_response(self.objects[path])
        return self._written(request, path, body or {})

    def _written(self, request: web.Request, path: str, body: Json) -> web.Response:
        now = self.objects[path]
        version = body.get("metadata", {}).get("resourceVersion")
        if version not in (None, now["metadata"]["resourceVersion"]):
            return self._status(409, "the object has been modified; please apply your changes to the latest version")
        if request.method == "PATCH":
            if request.content_type != "application/merge-patch+json":
                return self._status(415, f"no patch of type {request.content_type}")
            new = _merged(now, body)
        else:
            new = copy.deepcopy(body)
        self._stamp(new)
        if request.query.get("dryRun") != "All":
            self.objects[path] = new
        return web.json_response(new)


def _merged(target: Json, patch: Json) -> Json:
    """RFC 7396."""
    merged = dict(target)
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(merged.get(name, {}), value) if isinstance(value, dict) else value
    return copy.deepcopy(merged)
