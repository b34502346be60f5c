"""A kubelet as far as monitoring agents see it: a real gRPC server on a Unix socket, with an encoder of its own."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc

ONE, TWO = "GPU-0aa7f1c2-0b1e-4c3d-9e8f-000000000001", "GPU-0aa7f1c2-0b1e-4c3d-9e8f-000000000002"


def field(number: int, inside: bytes | str) -> bytes:
    """One length-delimited field of protobuf's wire format; our own, so that the reader is not tested by itself."""
    data = inside.encode() if isinstance(inside, str) else inside
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def container(name: str, *devices: str, resource: str = "nvidia.com/gpu") -> bytes:
    """With what newer kubelets tell beside it: NUMA nodes, CPUs, memory, claims."""
    numa = field(3, field(1, b"\x08\x01"))
    held = field(1, resource) + b"".join(field(2, device) for device in devices) + numa
    return (
        field(1, name)
        + field(2, held)
        + b"\x1a\x02\x03\x04"
        + field(4, field(1, "memory"))
        + field(5, field(2, "claim"))
    )


def claiming(name: str, *devices: str, driver: str = "gpu.nvidia.com") -> bytes:
    """A container whose devices were given by a claim (DRA), in the words of a kubelet of release 1.34."""
    given = b"".join(
        field(
            4, field(1, field(1, "k8s.gpu.nvidia.com/claim=7e")) + field(2, driver) + field(3, "n1") + field(4, device)
        )
        for device in devices
    )
    return field(1, name) + field(5, field(2, "big-claim") + field(3, "llm") + given)


def pod(namespace: str, name: str, *containers: bytes) -> bytes:
    return field(1, field(1, name) + field(2, namespace) + b"".join(field(3, one) for one in containers))


CHAT = pod("llm", "chat-0", container("vllm", ONE), container("proxy", "eth0", resource="example.com/nic"))


class Kubelet:
    """The service ``v1.PodResourcesLister``, as far as it is asked."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.answer = CHAT
        self.go = threading.Event()
        self.go.set()
        self.asked = 0
        self._server: grpc.Server | None = None

    def start(self) -> None:
        handlers = {"List": grpc.unary_unary_rpc_method_handler(self._list, bytes, bytes)}
        self._server = grpc.server(ThreadPoolExecutor(2))
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("v1.PodResourcesLister", handlers),)
        )
        assert self._server.add_insecure_port(f"unix:{self.socket}")
        self._server.start()

    def stop(self) -> None:
        self.go.set()
        if self._server is not None:
            self._server.stop(0).wait()

    def _list(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.asked += 1
        self.go.wait(30)
        return self.answer


@contextmanager
def running() -> Iterator[Kubelet]:
    """One that has given :data:`ONE` to the pod ``llm/chat-0``."""
    # The folders of pytest are too deep for the address of a socket, and closed to others than their owner.
    with TemporaryDirectory(prefix="kubelet") as folder:
        Path(folder).chmod(0o755)
        server = Kubelet(Path(folder) / "kubelet.sock")
        server.start()
        yield server
        server.stop()
