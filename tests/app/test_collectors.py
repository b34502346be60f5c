"""The agent of a GPU node as its collectors see it: who has which GPU, and GPUs without a driver."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pynvml
import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

from aiops.app import presets
from aiops.app.assembly import load_gpu_model
from aiops.app.cli import main
from aiops.app.collectors import Collectors
from aiops.app.config import Config
from aiops.app.daemon import Daemon
from aiops.app.source import DaemonSource
from aiops.app.telemetry import tenancy_families
from aiops.collect.nvml_watch import Enabled, NvmlCollector, NvmlSettings
from aiops.collect.pod_resources import PodResourcesCollector, PodResourcesSettings
from aiops.collect.settings import ScrapeSettings
from aiops.kit.clock import SYSTEM_CLOCK
from aiops.kit.tasks import Supervisor
from aiops.signals.settings import NormaliseSettings
from aiops.signals.tenancy import Part, Pod, Tenant
from aiops.signals.types import Entity, EntityKind, Reading, SeriesKey
from aiops.store.settings import StoreSettings
from aiops.web.settings import WebSettings
from tests.collect.kubelet import ONE, claiming, container, pod, running

DATA = Path(__file__).resolve().parents[1] / "signals/data"


@asynccontextmanager
async def collecting() -> AsyncIterator[Collectors]:
    supervisor = Supervisor()
    collectors = Collectors(presets.engine_profiles(), NormaliseSettings(), supervisor=supervisor, clock=SYSTEM_CLOCK)
    yield collectors
    await supervisor.close(within_seconds=2.0)
    await collectors.close()


async def until(there: Callable[[], bool]) -> None:
    for _ in range(6000):
        if there():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it did not come")


def scraping(url: str, **labels: str) -> ScrapeSettings:
    job = {"name": "k8s", "interval": "1s", "targets": [{"url": url, "labels": labels}]}
    return ScrapeSettings.model_validate({"jobs": [job]})


@asynccontextmanager
async def exporter() -> AsyncIterator[str]:
    async def page(_: web.Request) -> web.Response:
        return web.Response(text=(DATA / "dcgm-exporter-default.prom").read_text())

    application = web.Application()
    application.router.add_get("/metrics", page)
    async with TestServer(application) as server:
        yield str(server.make_url("/metrics"))


async def test_the_kubelet_s_answer_and_the_labels_of_targets_tell_who_has_which_gpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NODE_NAME", "n1")
    with running() as kubelet:
        async with exporter() as url:
            config = Config(
                interval=0.2,
                scrape=scraping(url, namespace="llm", pod="chat-0"),
                nvml=NvmlSettings(enabled=Enabled.OFF),
                pod_resources=PodResourcesSettings(enabled=True, socket=kubelet.socket, interval=1.0),
                store=StoreSettings(directory=tmp_path),
                web=WebSettings(listen_address="127.0.0.1:0"),
            )
            daemon = Daemon(config)
            life = asyncio.create_task(daemon.run())
            await until(lambda: bool(daemon.pipeline.tenancy.tenants) or life.done())
            known = daemon.pipeline.tenancy
            assert known.tenants == {ONE: (Tenant(Pod("llm", "chat-0"), "vllm"),)}
            (target,) = daemon.collectors.found.targets
            replica = Entity.of(EntityKind.REPLICA, job="k8s", instance=dict(target.labels)["instance"])
            assert known.node_of(replica) == "n1"
            assert daemon.collectors.tenancy() is known
            assert [one.up for one in daemon.collectors.statuses() if one.source == "pod-resources"] == [True]
            (told,) = [one for one in DaemonSource(daemon).families() if one.name == "aiops_gpu_pod_info"]
            owner = {"pod_namespace": "llm", "pod_name": "chat-0", "container_name": "vllm"}
            assert told.samples == [({"gpu": ONE, "node": "n1", **owner}, 1.0)]
            daemon.stop()
            await life


async def test_what_the_kubelet_says_of_parts_is_placed_by_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    part = "MIG-00000000-0000-4000-8000-000000000003"
    devices = {part: Part("GPU-0", "9")}
    with running() as kubelet:
        kubelet.answer = pod("llm", "chat-0", container("vllm", part)) + pod("llm", "big-0", claiming("a", "gpu-1"))
        async with collecting() as collectors:
            collectors._kubelet = PodResourcesCollector(PodResourcesSettings(socket=kubelet.socket), node="n1")
            await collectors._kubelet.read()
            assert collectors.tenancy().tenants == {}, "nobody places them"
            collectors._nvml = NvmlCollector(NvmlSettings(), load_gpu_model(), node="n1", clock=SYSTEM_CLOCK)
            monkeypatch.setattr(collectors._nvml, "devices", lambda: dict(devices))
            known, chat = collectors.tenancy(), Tenant(Pod("llm", "chat-0"), "vllm", "9")
            assert known.tenants == {"GPU-0": (chat,)}
            assert collectors.tenancy() is known
            devices["gpu-1"] = Part("GPU-1")
            assert collectors.tenancy().tenants == {"GPU-0": (chat,), "GPU-1": (Tenant(Pod("llm", "big-0"), "a"),)}
            labels = [labels for family in tenancy_families(collectors.tenancy()) for labels, _ in family.samples]
            assert [one.get("mig") for one in labels] == ["9", None]
            await collectors._kubelet.close()
            await collectors._nvml.close()


async def test_where_no_driver_is_let_in_the_exporter_tells_of_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a pod without GPUs: `auto` calls the absence of the driver normal, and the numbers come from the page."""

    def nothing() -> None:
        raise pynvml.NVMLError_LibraryNotFound  # type: ignore[attr-defined]  # made at import

    monkeypatch.setattr(pynvml, "nvmlInit", nothing)
    readings: list[Reading] = []

    def heard() -> bool:
        readings.extend(collectors.drain())
        nvml = next(status for status in collectors.statuses() if status.source == "nvml")
        return bool(readings and nvml.error)

    async with exporter() as url, collecting() as collectors:
        await collectors.start(scraping(url), NvmlSettings(interval=0.2), load_gpu_model(), Path())
        await until(heard)
        nvml = next(status for status in collectors.statuses() if status.source == "nvml")
    assert (nvml.up, nvml.failures) == (False, 0)
    assert "NVML" in nvml.error or "driver" in nvml.error
    gpu = Entity.of(EntityKind.GPU, gpu="GPU-a", node="node-1")
    found = {key: value for one in readings for key, value in zip(one.columns.keys, one.values, strict=True)}
    assert found[SeriesKey(gpu, "gpu_util")] == 0.9
    assert {key.entity.kind for key in found} == {EntityKind.GPU}


def test_the_command_asks_the_kubelet_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "aiops.yaml"
    with running() as kubelet:
        file.write_text(yaml.safe_dump({"pod_resources": {"socket": str(kubelet.socket)}}))
        assert main(["check", "pod-resources", "--config.file", str(file)]) == 0
        said = capsys.readouterr()
        assert said.out == f"{ONE} llm/chat-0 vllm\n"
        assert "1 GPU(s) in use; the daemon does not ask" in said.err
    assert main(["check", "pod-resources", "--config.file", str(file)]) == 1
    assert "is no socket" in capsys.readouterr().err
