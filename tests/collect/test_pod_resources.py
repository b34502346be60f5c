"""Which pod has which GPU, asked of a real gRPC server on a Unix socket that speaks as the kubelet does."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aiops.collect.pod_resources import (
    LARGEST_BYTES,
    STALE_INTERVALS,
    PodResourcesCollector,
    PodResourcesSettings,
    _answer_type,
)
from aiops.kit.clock import Clock
from aiops.signals.tenancy import Pod, Tenant
from tests.collect.kubelet import CHAT, ONE, TWO, Kubelet, claiming, container, pod, running


class Hand:
    """A clock that is moved by hand."""

    at = 1000.0

    def clock(self) -> Clock:
        return Clock(lambda: self.at, lambda: self.at)


@pytest.fixture
def kubelet() -> Iterator[Kubelet]:
    with running() as server:
        yield server


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
def asker(kubelet: Kubelet, hand: Hand) -> Callable[..., PodResourcesCollector]:
    def make(**settings: object) -> PodResourcesCollector:
        known = PodResourcesSettings.model_validate({"enabled": True, "socket": kubelet.socket, **settings})
        return PodResourcesCollector(known, node="n1", clock=hand.clock())

    return make


Asker = Callable[..., PodResourcesCollector]


@contextlib.contextmanager
def somebody_else() -> Iterator[None]:
    """Root may open everything: be somebody else for a moment."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


async def test_every_gpu_has_the_containers_that_were_given_it(kubelet: Kubelet, asker: Asker) -> None:
    kubelet.answer = (
        CHAT
        + pod("llm", "embed-0", container("a", f"{TWO}::1"), container("b", f"{TWO}::0", f"{TWO}::2"))
        + pod("dev", "note", container("mig", f"MIG-{TWO}/1/0"))
        + pod("dev", "idle")
    )
    one = asker()
    assert await one.read() == ()
    assert one.tenants == {
        ONE: (Tenant(Pod("llm", "chat-0"), "vllm"),),
        TWO: (
            Tenant(Pod("llm", "embed-0"), "a"),
            Tenant(Pod("llm", "embed-0"), "b"),
            Tenant(Pod("dev", "note"), "mig", "1"),
        ),
    }
    before, status = one.tenants, one.status()
    assert (status.up, status.error, status.facts["gpus_given"], status.last_success) == (True, "", 2.0, 1000.0)
    await one.read()
    assert one.tenants is before, "who watches for news compares objects"
    await one.close()
    await one.close()


async def test_parts_of_gpus_and_devices_of_claims_are_called_as_the_kubelet_does(
    kubelet: Kubelet, asker: Asker
) -> None:
    part = "MIG-0aa7f1c2-0b1e-4c3d-9e8f-00000000000a"
    kubelet.answer = (
        pod("llm", "small-0", container("vllm", f"{part}::1", resource="nvidia.com/mig-1g.10gb"))
        + pod("llm", "big-0", claiming("vllm", "gpu-0", "gpu-1"), claiming("side", "gpu-0"))
        + pod("llm", "half-0", claiming("vllm", "gpu-2-mig-1g10gb-19-0"))
        + pod("llm", "nic-0", claiming("a", "gpu-3", driver="nic.example.com"), claiming("b", "imex-1", "vfio-gpu-0"))
    )
    one = asker()
    await one.read()
    assert {name: [str(tenant.pod.name) for tenant in held] for name, held in one.tenants.items()} == {
        part: ["small-0"],
        "gpu-0": ["big-0", "big-0"],
        "gpu-1": ["big-0"],
        "gpu-2-mig-1g10gb-19-0": ["half-0"],
    }
    await one.close()


async def test_no_socket_is_said(asker: Asker, tmp_path: Path) -> None:
    for path in (tmp_path / "none.sock", tmp_path):
        one = asker(socket=path)
        assert await one.read() == ()
        assert f"{path} is no socket" in one.status().error
        assert (one.status().failures, one.tenants) == (1, {})


@pytest.mark.parametrize("closed", ["folder", "socket"])
async def test_a_closed_socket_is_said(closed: str, kubelet: Kubelet, asker: Asker) -> None:
    _answer_type()  # imported before, as the packages may lie where only root may read
    {"folder": kubelet.socket.parent, "socket": kubelet.socket}[closed].chmod(0o700 if os.geteuid() == 0 else 0)
    one = asker()
    with somebody_else():
        await one.read()
    kubelet.socket.parent.chmod(0o755)
    assert "permission denied" in one.status().error
    assert kubelet.asked == 0
    await one.close()


async def test_a_kubelet_that_hangs_costs_a_deadline_and_no_more(kubelet: Kubelet, asker: Asker) -> None:
    kubelet.go.clear()
    one = asker(deadline=0.05)
    await one.read()
    assert "no answer within 0.05 s" in one.status().error
    kubelet.go.set()
    one = asker()
    await one.read()
    assert one.status().error == ""
    await one.close()


async def test_too_much_and_nonsense_are_refused_and_forgotten(kubelet: Kubelet, asker: Asker) -> None:
    one = asker()
    for answer in (pod("llm", "x" * (LARGEST_BYTES + 1)), b"\xff\xff\xff"):
        kubelet.answer = answer
        await one.read()
        assert one.status().failures
        assert len(one.status().error) < 400
        assert one.tenants == {}
    kubelet.answer = CHAT
    await one.read()
    assert (one.status().failures, list(one.tenants)) == (0, [ONE])
    await one.close()


async def test_names_are_made_safe(kubelet: Kubelet, asker: Asker) -> None:
    kubelet.answer = pod("llm", "a\n\x1b[31m" + "b" * 999, container("c", ONE))
    one = asker()
    await one.read()
    ((tenant,),) = one.tenants.values()
    assert tenant.pod.name.isprintable()
    assert len(tenant.pod.name) < 300
    await one.close()


async def test_an_old_answer_is_nobody_s(kubelet: Kubelet, asker: Asker, hand: Hand) -> None:
    one = asker()
    await one.read()
    kubelet.stop()
    kubelet.socket.unlink(missing_ok=True)
    hand.at += one.interval_seconds
    await one.read()
    assert list(one.tenants) == [ONE], "one question without an answer changes nothing"
    hand.at += STALE_INTERVALS * one.interval_seconds
    await one.read()
    assert one.tenants == {}
    kubelet.start()  # a new kubelet at the same place
    await one.read()
    assert list(one.tenants) == [ONE]
    await one.close()


async def test_without_the_packages_it_says_which(asker: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grpc", None)
    one = asker()
    await one.read()
    assert "pip install 'aiops[pods]'" in one.status().error
