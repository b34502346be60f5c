"""Pods of a cluster as targets: what is made of them."""

import copy
from typing import Any

import kubernetes_validate
import pytest

from aiops.collect.pods import groups_of
from tests.kit.kubernetes_api import pod

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
