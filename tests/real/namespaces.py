"""Two network namespaces with cables between them that can be pulled; both see nothing else."""

import contextlib
import ctypes
import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import missing

_CLONE_NEWNET = 0x40000000


class Namespace:
    """A network of its own. Sockets and programs that are made ``with`` it belong to it for good.

    The whole thread is in it meanwhile: make nothing else then.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._outside: list[int] = []

    def __enter__(self) -> "Namespace":
        self._outside.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY))
        inside = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        _enter(inside)
        os.close(inside)
        return self

    def __exit__(self, *_: object) -> None:
        outside = self._outside.pop()
        _enter(outside)
        os.close(outside)


class Cable:
    """A pair of interfaces of one name, number ``n``: 192.168.n.1 in the first namespace, 192.168.n.2 in the second."""

    def __init__(self, number: int, ends: tuple[Namespace, Namespace]) -> None:
        self._name = f"cable{number}"
        self.addresses = tuple(f"192.168.{number}.{host}" for host in (1, 2))
        self._ends = ends
        one, two = ends
        ip("link", "add", self._name, "netns", one.name, "type", "veth", "peer", self._name, "netns", two.name)
        for end, address in zip(ends, self.addresses, strict=True):
            ip("-n", end.name, "address", "add", f"{address}/24", "dev", self._name)
            ip("-n", end.name, "link", "set", self._name, "up")

    def pull(self, end: int) -> None:
        """Cut it at one end: who is there has no route any more, the other hears nothing."""
        ip("-n", self._ends[end].name, "link", "set", self._name, "down")

    def plug(self) -> None:
        """Put it back in."""
        for end in self._ends:
            ip("-n", end.name, "link", "set", self._name, "up")


@contextlib.contextmanager
def namespaces() -> Iterator[tuple[Namespace, Namespace]]:
    """Two new ones with loopback, taken away at the end; skips where that is not allowed."""
    made = [Namespace(f"aiops-{secrets.token_hex(4)}") for _ in range(2)]
    try:
        for one in made:
            try:
                ip("netns", "add", one.name)
            except FileNotFoundError:
                missing("the program ip (iproute2)")
            except subprocess.CalledProcessError as error:
                missing(f"the right to make network namespaces ({error.stderr.strip()})")
            ip("-n", one.name, "link", "set", "lo", "up")
        yield made[0], made[1]
    finally:
        for one in made:
            if Path(f"/run/netns/{one.name}").exists():
                ip("netns", "delete", one.name)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def _enter(namespace: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
