"""Names of machines, and what a service manager is told."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiops.kit.host import node_name, tell_manager, watchdog_seconds


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listening


def test_the_node_is_that_of_the_downward_api(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_NAME", "gpu-node-7")
    assert node_name() == "gpu-node-7"
    monkeypatch.setenv("NODE_NAME", "")
    assert node_name() == socket.gethostname()


def test_the_manager_hears_what_is_told(manager: socket.socket) -> None:
    assert tell_manager("READY=1")
    assert manager.recv(64) == b"READY=1"


def test_an_abstract_address_works_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        name = f"aiops-test-{os.getpid()}"
        listening.bind(f"\0{name}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        assert tell_manager("WATCHDOG=1")
        assert listening.recv(64) == b"WATCHDOG=1"


@pytest.mark.parametrize("address", ["", "relative", "/nonexistent/socket"])
def test_without_a_manager_nothing_happens(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert not tell_manager("READY=1")


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [("30000000", "ours", 30.0), ("30000000", "1", 0.0), ("x", "ours", 0.0), ("", "", 0.0)],
)
def test_the_watchdog_is_asked_for_by_the_environment(
    monkeypatch: pytest.MonkeyPatch, usec: str, pid: str, seconds: float
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", pid.replace("ours", str(os.getpid())))
    assert watchdog_seconds() == seconds
