"""Pods of a cluster as targets: what is made of them, and how changes, gaps and refusals of the API are followed."""

import asyncio
import copy
from collections.abc import AsyncIterator, Callable
from typing import Any

import kubernetes_validate
import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer

from aiops.collect.discovery import Discovery
from aiops.collect.pods import PAGE, PodSource, groups_of
from aiops.collect.settings import JobSettings, KubernetesDiscoverySettings
from aiops.kit.http import open_session
from tests.kit.kubernetes_api import Api, pod

Json = dict[str, Any]


def changed(original: Json, path: str, value: object) -> Json:
    """A copy with one field set, or taken away for None."""
    result = copy.deepcopy(original)
    *parents, last = path.split(".")
    inner = result
    for part in parents:
        inner = inner[part]
    inner[last] = value
    if value is None:
        del inner[last]
    return result


def test_the_pod_of_these_tests_is_one_that_kubernetes_takes() -> None:
    kubernetes_validate.validate(pod(), "1.33", strict=True)


def test_an_annotated_pod_is_the_target_that_it_says() -> None:
    (group,) = groups_of(pod(**{"prometheus.io/path": "/m", "prometheus.io/scheme": "https"}), annotated=True)
    assert group.addresses == ("10.1.0.7:8000",)
    labels = dict(group.labels)
    assert {name: labels[name] for name in ("namespace", "pod", "node", "pool")} == {
        "namespace": "llm",
        "pod": "vllm-7c9d8-abcde",
        "node": "gpu-1",
        "pool": "llm/vllm",
    }
    assert (labels["__scheme__"], labels["__metrics_path__"]) == ("https", "/m")
    assert labels["__meta_kubernetes_pod_label_app"] == "vllm"
    assert labels["__meta_kubernetes_pod_label_example_org_tier"] == "gold"
    assert labels["__meta_kubernetes_pod_labelpresent_app"] == "true"
    assert labels["__meta_kubernetes_pod_ready"] == "true"
    assert labels["__meta_kubernetes_pod_controller_kind"] == "ReplicaSet"


@pytest.mark.parametrize(
    ("labels", "revision"),
    [
        ({"pod-template-hash": "7c9d8"}, "7c9d8 (vllm)"),
        ({"controller-revision-hash": "big-66f"}, "big-66f (vllm)"),
        ({"controller-revision-hash": "g", "leaderworkerset.sigs.k8s.io/template-revision-hash": "r2"}, "r2 (vllm)"),
        ({"app": "by-hand"}, ""),
        (None, ""),
    ],
)  # fmt: skip
def test_the_revision_is_that_of_the_controller_that_rolls_out(labels: Json | None, revision: str) -> None:
    (group,) = groups_of(changed(pod(), "metadata.labels", labels), annotated=True)
    assert group.labels["__revision__"] == revision


def test_without_annotations_every_tcp_port_is_offered() -> None:
    groups = list(groups_of(pod(), annotated=False))
    assert [group.addresses for group in groups] == [("10.1.0.7:8000",), ("10.1.0.7:9901",)]
    assert [group.labels["__meta_kubernetes_pod_container_name"] for group in groups] == ["engine", "proxy"]
    assert groups[0].labels["__meta_kubernetes_pod_container_port_name"] == "http"
    assert list(groups_of(pod(**{"prometheus.io/scrape": "false"}), annotated=True)) == []
    silent = pod(**{"prometheus.io/port": ""})
    assert list(groups_of(silent, annotated=True)) == list(groups_of(silent, annotated=False))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.deletionTimestamp", "2026-01-01T00:00:00Z"),
        ("status.phase", "Succeeded"),
        ("status.phase", "Failed"),
        ("status.podIP", None),
    ],
)
def test_a_pod_that_ends_or_has_no_address_is_no_target(path: str, value: object) -> None:
    assert list(groups_of(changed(pod(), path, value), annotated=True)) == []


@pytest.mark.parametrize(
    ("owner", "pool"),
    [
        ({"kind": "StatefulSet", "name": "big", "controller": True}, "llm/big"),
        ({"kind": "ReplicaSet", "name": "by-hand", "controller": True}, "llm/by-hand"),
        ({"kind": "ReplicaSet", "name": "vllm-7c9d8"}, ""),
    ],
)
def test_the_pool_is_the_owner_that_people_know(owner: Json, pool: str) -> None:
    (group,) = groups_of(changed(pod(), "metadata.ownerReferences", [owner]), annotated=True)
    assert group.labels["pool"] == pool


def test_an_address_of_ipv6_is_written_in_brackets() -> None:
    (group,) = groups_of(pod(address="fd00::7"), annotated=True)
    assert group.addresses == ("[fd00::7]:8000",)


def test_half_a_pod_breaks_nothing() -> None:
    for broken in ({}, {"metadata": {}}, {"status": {"podIP": "10.0.0.1"}}):
        assert list(groups_of(broken, annotated=True)) == []


class Cluster:
    def __init__(self, api: Api, url: str, session: ClientSession) -> None:
        self.api = api
        self.pods = api.pods
        self._url = url
        self._session = session
        self.sources: list[PodSource] = []

    def source(self, taken: tuple[str, ...] = (), **settings: Any) -> PodSource:
        parsed = KubernetesDiscoverySettings.model_validate({"api": {"url": self._url}, **settings})
        self.sources.append(PodSource(parsed, self._session, taken=taken))
        return self.sources[-1]


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    api = Api()
    async with TestServer(api.application()) as server, open_session() as session:
        made = Cluster(api, str(server.make_url("")), session)
        yield made
        for source in made.sources:
            source.close()
        api.pods.drop = True
        api.pods.kick()


def addresses(source: PodSource) -> list[str]:
    return sorted(address for group in source.groups for address in group.addresses)


async def until(source: PodSource, ready: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not ready():
            await asyncio.sleep(0.01)
            await source.poll()


async def test_the_first_look_has_all_pages_and_changes_are_followed(cluster: Cluster) -> None:
    for number in range(PAGE + 3):
        cluster.pods.put(pod(f"p{number}", address=f"10.2.{number // 250}.{number % 250}"))
    source = cluster.source()
    await source.poll()
    assert len(addresses(source)) == PAGE + 3
    before = source.groups
    await source.poll()
    assert source.groups is before  # nothing changed: nothing is built anew
    cluster.pods.put(pod("new", address="10.9.9.9"))
    await until(source, lambda: "10.9.9.9:8000" in addresses(source))
    cluster.pods.put(changed(pod("new", address="10.9.9.9"), "metadata.deletionTimestamp", "2026-01-01T00:00:00Z"))
    await until(source, lambda: "10.9.9.9:8000" not in addresses(source))
    cluster.pods.delete("uid-llm-p0")
    await until(source, lambda: len(addresses(source)) == PAGE + 2)
    assert source.problems == ()


async def test_a_watch_that_breaks_goes_on_where_it_was(cluster: Cluster) -> None:
    cluster.pods.put(pod())
    source = cluster.source()
    await source.poll()
    await until(source, lambda: cluster.pods.watching)
    cluster.pods.bookmark()
    cluster.pods.drop = True
    cluster.pods.kick()
    await until(source, lambda: not cluster.pods.watching)
    cluster.pods.put(pod("missed", address="10.1.0.8"))
    cluster.pods.drop = False
    await until(source, lambda: len(addresses(source)) == 2)
    lists = [query for query in cluster.pods.asked if "watch" not in query]
    assert len(lists) == 1, "what happened in between comes over the watch, not by another list"


async def test_a_version_that_is_too_old_is_listed_anew(cluster: Cluster) -> None:
    cluster.pods.put(pod())
    source = cluster.source()
    await source.poll()
    await until(source, lambda: cluster.pods.watching)
    cluster.pods.items["uid-llm-silent"] = pod("silent", address="10.1.0.9")  # no event ever told of it
    cluster.pods.version = 2000
    cluster.pods.oldest = 2000
    cluster.pods.kick()
    await until(source, lambda: len(addresses(source)) == 2)
    assert source.problems == ()


async def test_a_role_that_does_not_suffice_is_named_and_keeps_the_rest(cluster: Cluster) -> None:
    cluster.pods.put(pod())
    cluster.pods.forbidden = {"secret"}
    source = cluster.source(namespaces=["llm", "secret"])
    await source.poll()
    assert addresses(source) == ["10.1.0.7:8000"]
    (problem,) = source.problems
    assert "403" in problem
    assert 'cannot list in "secret"' in problem


async def test_an_api_that_fails_keeps_the_last_pods(cluster: Cluster) -> None:
    cluster.pods.put(pod())
    source = cluster.source()
    await source.poll()
    cluster.api.next_errors = [500] * 1000
    cluster.pods.drop = True
    cluster.pods.kick()
    await until(source, lambda: source.problems)
    assert "the last list stays" in source.problems[0]
    assert addresses(source) == ["10.1.0.7:8000"]


async def test_selectors_go_to_the_server(cluster: Cluster) -> None:
    source = cluster.source(label_selector="app=vllm", field_selector="spec.nodeName=gpu-1")
    await source.poll()
    await until(source, lambda: len(cluster.pods.asked) == 2)
    for query in cluster.pods.asked:
        assert (query["labelSelector"], query["fieldSelector"]) == ("app=vllm", "spec.nodeName=gpu-1")
    assert cluster.pods.asked[1]["allowWatchBookmarks"] == "true"


async def test_outside_a_cluster_it_says_what_is_missing() -> None:
    async with open_session() as session:
        source = PodSource(KubernetesDiscoverySettings(), session, environ={})
        await source.poll()
    assert "expected KUBERNETES_SERVICE_HOST" in source.problems[0]


async def test_pods_become_targets_and_labels_of_the_job_win(cluster: Cluster) -> None:
    cluster.pods.put(pod())
    sd = {"api": {"url": str(cluster._url)}}
    job = JobSettings.model_validate({"name": "k8s", "kubernetes_sd": [sd], "labels": {"pool": "chat"}})
    async with open_session() as session:
        discovery = Discovery([job], session=session)
        found = await discovery.look()
        assert await discovery.look() is found
        discovery.close()
    (target,) = found.targets
    assert target.url == "http://10.1.0.7:8000/metrics"
    assert dict(target.labels) == {
        "job": "k8s", "instance": "10.1.0.7:8000", "namespace": "llm", "pod": "vllm-7c9d8-abcde",
        "node": "gpu-1", "pool": "chat",
    }  # fmt: skip
