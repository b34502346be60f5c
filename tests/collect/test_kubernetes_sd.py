"""Objects of a cluster as targets: how changes, gaps and refusals of the API are followed, for every role."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer

from aiops.collect.discovery import Discovery
from aiops.collect.kubernetes_sd import PAGE, KubernetesSource
from aiops.collect.settings import JobSettings, KubernetesDiscoverySettings
from aiops.kit.http import open_session
from tests.collect.test_pods import changed
from tests.kit.kubernetes_api import Api, Collection, endpoint_slice, pod

Json = dict[str, Any]


class Cluster:
    def __init__(self, api: Api, url: str, session: ClientSession, role: str) -> None:
        self.api = api
        self.role = role
        self.objects: Collection = api.pods if role == "pod" else api.slices
        self._url = url
        self._session = session
        self.sources: list[KubernetesSource] = []

    def source(self, taken: tuple[str, ...] = (), **settings: Any) -> KubernetesSource:
        given = {"api": {"url": self._url}, "role": self.role, **settings}
        parsed = KubernetesDiscoverySettings.model_validate(given)
        self.sources.append(KubernetesSource(parsed, self._session, taken=taken))
        return self.sources[-1]

    def thing(self, name: str = "vllm-0", address: str = "10.1.0.7") -> Json:
        """An object with one target."""
        return pod(name, address=address) if self.role == "pod" else endpoint_slice(name, "llm", address)

    def ending(self, thing: Json) -> Json:
        """The same, told to end."""
        if self.role == "pod":
            return changed(thing, "metadata.deletionTimestamp", "2026-01-01T00:00:00Z")
        (endpoint,) = thing["endpoints"]
        conditions = {"ready": False, "serving": True, "terminating": True}
        return changed(thing, "endpoints", [endpoint | {"conditions": conditions}])


@pytest.fixture(params=["pod", "endpointslice"])
async def cluster(request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    api = Api()
    async with TestServer(api.application()) as server, open_session() as session:
        made = Cluster(api, str(server.make_url("")), session, request.param)
        yield made
        for source in made.sources:
            source.close()
        made.objects.drop = True
        made.objects.kick()


def addresses(source: KubernetesSource) -> list[str]:
    return sorted(address for group in source.groups for address in group.addresses)


async def until(source: KubernetesSource, ready: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not ready():
            await asyncio.sleep(0.01)
            await source.poll()


async def test_the_first_look_has_all_pages_and_changes_are_followed(cluster: Cluster) -> None:
    for number in range(PAGE + 3):
        cluster.objects.put(cluster.thing(f"p{number}", f"10.2.{number // 250}.{number % 250}"))
    source = cluster.source()
    await source.poll()
    assert len(addresses(source)) == PAGE + 3
    before = source.groups
    await source.poll()
    assert source.groups is before  # nothing changed: nothing is built anew
    cluster.objects.put(cluster.thing("new", "10.9.9.9"))
    await until(source, lambda: "10.9.9.9:8000" in addresses(source))
    cluster.objects.put(cluster.ending(cluster.thing("new", "10.9.9.9")))
    await until(source, lambda: "10.9.9.9:8000" not in addresses(source))
    cluster.objects.delete("uid-llm-p0")
    await until(source, lambda: len(addresses(source)) == PAGE + 2)
    assert source.problems == ()


async def test_a_watch_that_breaks_goes_on_where_it_was(cluster: Cluster) -> None:
    cluster.objects.put(cluster.thing())
    source = cluster.source()
    await source.poll()
    await until(source, lambda: cluster.objects.watching)
    cluster.objects.bookmark()
    cluster.objects.drop = True
    cluster.objects.kick()
    await until(source, lambda: not cluster.objects.watching)
    cluster.objects.put(cluster.thing("missed", "10.1.0.8"))
    cluster.objects.drop = False
    await until(source, lambda: len(addresses(source)) == 2)
    lists = [query for query in cluster.objects.asked if "watch" not in query]
    assert len(lists) == 1, "what happened in between comes over the watch, not by another list"


async def test_a_version_that_is_too_old_is_listed_anew(cluster: Cluster) -> None:
    cluster.objects.put(cluster.thing())
    source = cluster.source()
    await source.poll()
    await until(source, lambda: cluster.objects.watching)
    cluster.objects.items["uid-llm-silent"] = cluster.thing("silent", "10.1.0.9")  # no event ever told of it
    cluster.objects.version = 2000
    cluster.objects.oldest = 2000
    cluster.objects.kick()
    await until(source, lambda: len(addresses(source)) == 2)
    assert source.problems == ()


async def test_a_role_that_does_not_suffice_is_named_and_keeps_the_rest(cluster: Cluster) -> None:
    cluster.objects.put(cluster.thing())
    cluster.objects.forbidden = {"secret"}
    source = cluster.source(namespaces=["llm", "secret"])
    await source.poll()
    assert addresses(source) == ["10.1.0.7:8000"]
    (problem,) = source.problems
    assert "403" in problem
    assert 'cannot list in "secret"' in problem


async def test_an_api_that_fails_keeps_the_last_pods(cluster: Cluster) -> None:
    cluster.objects.put(cluster.thing())
    source = cluster.source()
    await source.poll()
    cluster.api.next_errors = [500] * 1000
    cluster.objects.drop = True
    cluster.objects.kick()
    await until(source, lambda: source.problems)
    assert "the last list stays" in source.problems[0]
    assert addresses(source) == ["10.1.0.7:8000"]


async def test_selectors_go_to_the_server(cluster: Cluster) -> None:
    source = cluster.source(label_selector="app=vllm", field_selector="spec.nodeName=gpu-1")
    await source.poll()
    await until(source, lambda: len(cluster.objects.asked) == 2)
    for query in cluster.objects.asked:
        assert (query["labelSelector"], query["fieldSelector"]) == ("app=vllm", "spec.nodeName=gpu-1")
    assert cluster.objects.asked[1]["allowWatchBookmarks"] == "true"


async def test_outside_a_cluster_it_says_what_is_missing() -> None:
    async with open_session() as session:
        source = KubernetesSource(KubernetesDiscoverySettings(), session, environ={})
        await source.poll()
    assert "expected KUBERNETES_SERVICE_HOST" in source.problems[0]


@pytest.mark.parametrize("cluster", ["pod"], indirect=True)
async def test_pods_become_targets_and_labels_of_the_job_win(cluster: Cluster) -> None:
    cluster.objects.put(pod())
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


@pytest.mark.parametrize("cluster", ["endpointslice"], indirect=True)
async def test_endpoints_become_targets_of_the_pool_of_their_service(cluster: Cluster) -> None:
    cluster.objects.put(endpoint_slice("vllm-a", "llm", "10.1.0.7", "10.1.0.8"))
    cluster.objects.put(endpoint_slice("vllm-b", "llm", "10.1.0.7"))  # while slices are rebalanced
    rule = {
        "source_labels": ["__meta_kubernetes_endpointslice_endpoint_conditions_ready"],
        "regex": "false",
        "action": "drop",
    }
    sd = {"api": {"url": str(cluster._url)}, "role": "endpointslice"}
    job = JobSettings.model_validate({"name": "k8s", "kubernetes_sd": [sd], "relabel": [rule]})
    async with open_session() as session:
        discovery = Discovery([job], session=session)
        found = await discovery.look()
        discovery.close()
    assert found.problems == ()
    assert [target.url for target in found.targets] == ["http://10.1.0.7:8000/metrics", "http://10.1.0.8:8000/metrics"]
    assert dict(found.targets[0].labels) == {
        "job": "k8s", "instance": "10.1.0.7:8000", "namespace": "llm", "pod": "vllm-0", "node": "gpu-0",
        "pool": "llm/vllm",
    }  # fmt: skip
