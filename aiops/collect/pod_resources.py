"""Which pod was given which GPU: asks the kubelet of this node, over the socket on which it tells monitoring agents.

The one home of ``grpc``, which is imported with the first question. The call runs in a thread and ends at its deadline;
whatever goes wrong, the last answer stays until it is old, and then nothing is known: never a wrong owner.
"""

import asyncio
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import Field

from aiops.kit.clock import SYSTEM_CLOCK, Clock
from aiops.kit.settings import Duration, Section
from aiops.kit.text import clipped, printable
from aiops.signals.tenancy import Pod, Tenant
from aiops.signals.types import Entity, EntityKind, Reading, SourceStatus

SOURCE = "pod-resources"
LARGEST_BYTES = 4 * 1024 * 1024
"""A node of 250 pods with 8 GPUs answers with some 50 KiB."""
STALE_INTERVALS = 3
_METHOD = "/v1.PodResourcesLister/List"
_UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_DEVICE = re.compile(rf"((?:GPU|MIG)-{_UUID})(?:/(\d+)/\d+)?")
"""A GPU, or a part of one, is named by its UUID alone, with ``::3`` for a share of it; by drivers before release 470 a
part is ``MIG-GPU-…/1/0``: its GPU, GPU instance and compute instance."""
_DRA_DRIVER, _DRA_DEVICE = "gpu.nvidia.com", re.compile(r"gpu-\d+(?:-mig-[a-z0-9-]+)?")
"""Devices of claims have no UUID: ``gpu-0``, ``gpu-0-mig-1g10gb-19-0``."""
_LONGEST = 253


class PodResourcesSettings(Section):
    """Which pod has which GPU, from the kubelet of this node. Needs the extra ``pods``, the socket mounted into the pod
    and a user who may open it: root (``deploy/kustomize/components/pod-resources``). Replicas are joined by the
    labels ``namespace`` and ``pod`` of their targets, as ``kubernetes_sd`` gives them. Parts of GPUs (MIG) and devices
    of claims (DRA, ``gpu.nvidia.com``) are placed by the NVIDIA driver, where ``nvml`` may ask it."""

    enabled: bool = False
    """Ask. Off because of what it needs."""
    socket: Path = Path("/var/lib/kubelet/pod-resources/kubelet.sock")
    """The kubelet's socket."""
    interval: Duration = Field(default=30.0, ge=1)
    """Time between two questions; pods come and go in minutes."""
    deadline: Duration = Field(default=5.0, gt=0)
    """How long the kubelet may take to answer."""


class PodResourcesCollector:
    """Implements :class:`aiops.collect.base.Collector`; brings no numbers but :attr:`tenants`."""

    def __init__(self, settings: PodResourcesSettings, *, node: str, clock: Clock = SYSTEM_CLOCK) -> None:
        self.interval_seconds = settings.interval
        self.node = node
        self.tenants: Mapping[str, Sequence[Tenant]] = {}
        self._settings = settings
        self._clock = clock
        self._channel: Any = None
        self._last_attempt = self._last_success = self._last_change = 0.0
        self._answered = clock.monotonic()
        self._duration_seconds = float("nan")
        self._failures = 0
        self._error = ""

    async def read(self) -> Sequence[Reading]:
        """Ask once; :attr:`tenants` stays the same object while nothing changed."""
        self._last_attempt, begun = self._clock.now(), self._clock.monotonic()
        try:
            found = tenants_of(await asyncio.to_thread(self._ask))
        except _Unanswered as error:
            self._failures += 1
            self._error = str(error)
            if begun - self._answered > STALE_INTERVALS * self.interval_seconds:
                self.tenants = {}
            return ()
        self._failures, self._error = 0, ""
        self._last_success, self._answered = self._clock.now(), self._clock.monotonic()
        self._duration_seconds = self._answered - begun
        if found != self.tenants:
            self.tenants, self._last_change = found, self._last_success
        return ()

    def status(self) -> SourceStatus:
        """Health, and how many GPUs have an owner."""
        return SourceStatus(
            source=SOURCE,
            kind=SOURCE,
            entity=Entity.of(EntityKind.NODE, node=self.node),
            interval_seconds=self.interval_seconds,
            last_attempt=self._last_attempt,
            last_success=self._last_success,
            last_change=self._last_change,
            failures=self._failures,
            error=self._error,
            facts={"gpus_given": float(len(self.tenants)), "duration_seconds": self._duration_seconds},
        )

    async def close(self) -> None:
        """Let the socket go."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await asyncio.to_thread(channel.close)

    def _ask(self) -> Any:
        """Blocks until the deadline at most."""
        try:
            import grpc  # noqa: PLC0415 - an extra, 21 MiB
        except ImportError:
            raise _Unanswered("needs the packages grpcio and protobuf: pip install 'aiops[pods]'") from None
        socket = self._settings.socket
        try:
            mode = socket.stat().st_mode
        except PermissionError:
            raise _Unanswered(f"{socket}: permission denied; the kubelet lets only root in") from None
        except OSError:
            mode = 0
        if not stat.S_ISSOCK(mode):
            raise _Unanswered(f"{socket} is no socket; expected the kubelet's, mounted from the node")
        if self._channel is None:
            options = [("grpc.max_receive_message_length", LARGEST_BYTES), ("grpc.enable_http_proxy", 0)]
            self._channel = grpc.insecure_channel(f"unix:{socket}", options=options)
        channel = self._channel
        try:
            call = channel.unary_unary(
                _METHOD, request_serializer=bytes, response_deserializer=_answer_type().FromString
            )
            return call(b"", timeout=self._settings.deadline)
        except grpc.RpcError as error:
            channel.close()  # one that waits before it tries again would not see a new kubelet
            self._channel = None
            raise _Unanswered(self._explained(error)) from None

    def _explained(self, error: Any) -> str:
        said, socket = printable(clipped(str(error.details()), 200)), self._settings.socket
        if "Permission denied" in said:
            return f"{socket}: permission denied; the kubelet lets only root in"
        if error.code().name == "DEADLINE_EXCEEDED":
            return f"{socket}: no answer within {self._settings.deadline:g} s"
        return f"{socket}: {error.code().name}: {said}"


class _Unanswered(Exception):
    """Nothing can be said, and why."""


def tenants_of(answer: Any) -> dict[str, tuple[Tenant, ...]]:
    """Every NVIDIA GPU and part of one that is in use, as the kubelet calls it → who was given it."""
    found: dict[str, dict[Tenant, None]] = {}
    for pod in answer.pod_resources:
        for container in pod.containers:
            tenant = Tenant(Pod(_name(pod.namespace), _name(pod.name)), _name(container.name))
            for device, instance in _devices(container):
                found.setdefault(device, {})[tenant._replace(instance=instance)] = None
    return {device: tuple(tenants) for device, tenants in sorted(found.items())}


def _devices(container: Any) -> Iterator[tuple[str, str]]:
    """Devices of a container, and of which GPU instance where the name has it."""
    for one in container.devices:
        for device in one.device_ids:
            if match := _DEVICE.search(device):
                yield match[1], match[2] or ""
    for claim in container.dynamic_resources:
        for one in claim.claim_resources:
            if one.driver_name == _DRA_DRIVER and _DRA_DEVICE.fullmatch(one.device_name):
                yield one.device_name, ""


def _name(text: str) -> str:
    return printable(clipped(text, _LONGEST))


@cache
def _answer_type() -> Any:
    """The message ``ListPodResourcesResponse`` of the kubelet's API v1, as far as it is read here.

    Every message is repeated in the one before it; (name, number, message or nothing for text, repeated).
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # noqa: PLC0415 - comes with grpc

    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="podresources.proto", package="v1", syntax="proto3")
    for message, fields in _MESSAGES.items():
        made = file.message_type.add(name=message)
        for number, (name, kind, repeated) in fields.items():
            made.field.add(
                name=name,
                number=number,
                type=field.TYPE_MESSAGE if kind else field.TYPE_STRING,
                type_name=f".v1.{kind}" if kind else None,
                label=field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL,
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("v1.ListPodResourcesResponse"))


_MESSAGES: Mapping[str, Mapping[int, tuple[str, str, bool]]] = {
    "ListPodResourcesResponse": {1: ("pod_resources", "PodResources", True)},
    "PodResources": {
        1: ("name", "", False),
        2: ("namespace", "", False),
        3: ("containers", "ContainerResources", True),
    },
    "ContainerResources": {
        1: ("name", "", False),
        2: ("devices", "ContainerDevices", True),
        5: ("dynamic_resources", "DynamicResource", True),
    },
    "ContainerDevices": {1: ("resource_name", "", False), 2: ("device_ids", "", True)},
    "DynamicResource": {4: ("claim_resources", "ClaimResource", True)},
    "ClaimResource": {2: ("driver_name", "", False), 4: ("device_name", "", False)},
}
