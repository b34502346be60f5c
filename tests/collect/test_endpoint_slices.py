"""Endpoints of services as targets, under the names of Prometheus."""

from typing import Any

import kubernetes_validate
import pytest

from aiops.collect.endpoint_slices import groups_of
from tests.collect.test_pods import changed
from tests.kit.kubernetes_api import endpoint_slice

Json = dict[str, Any]
META = "__meta_kubernetes_"


def test_the_slice_of_these_tests_is_one_that_kubernetes_takes() -> None:
    kubernetes_validate.validate(endpoint_slice(), "1.33", strict=True)


def test_every_endpoint_is_a_target_with_what_is_known_of_it() -> None:
    first, second = groups_of(endpoint_slice("vllm-a", "llm", "10.1.0.7", "fd00::8"))
    assert (first.addresses, second.addresses) == (("10.1.0.7:8000",), ("[fd00::8]:8000",))
    meta = {name.removeprefix(META): text for name, text in first.labels.items() if name.startswith(META) and text}
    assert meta == {
        "namespace": "llm",
        "service_name": "vllm",
        "endpointslice_name": "vllm-a",
        "endpointslice_address_type": "IPv4",
        "endpointslice_label_kubernetes_io_service_name": "vllm",
        "endpointslice_labelpresent_kubernetes_io_service_name": "true",
        "endpointslice_label_app": "vllm",
        "endpointslice_labelpresent_app": "true",
        "endpointslice_endpoint_conditions_ready": "true",
        "endpointslice_endpoint_conditions_serving": "true",
        "endpointslice_endpoint_conditions_terminating": "false",
        "endpointslice_endpoint_node_name": "gpu-0",
        "endpointslice_endpoint_zone": "eu-1a",
        "endpointslice_address_target_kind": "Pod",
        "endpointslice_address_target_name": "vllm-0",
        "endpointslice_port": "8000",
        "endpointslice_port_name": "http",
        "endpointslice_port_protocol": "TCP",
        "endpointslice_port_app_protocol": "http",
    }
    own = {name: text for name, text in first.labels.items() if not name.startswith(META)}
    assert own == {"namespace": "llm", "pod": "vllm-0", "node": "gpu-0", "pool": "llm/vllm"}
    assert f"{META}endpointslice_endpoint_conditions_ready" not in second.labels, "what is not known is not said"


def with_conditions(**conditions: bool | None) -> Json:
    (endpoint,) = endpoint_slice()["endpoints"]
    return changed(endpoint_slice(), "endpoints", [endpoint | {"conditions": conditions}])


def test_one_that_is_not_ready_stays_a_target_and_one_that_ends_does_not() -> None:
    (group,) = groups_of(with_conditions(ready=False, serving=False))
    assert group.labels[f"{META}endpointslice_endpoint_conditions_ready"] == "false"
    (group,) = groups_of(with_conditions(ready=None))
    assert f"{META}endpointslice_endpoint_conditions_ready" not in group.labels
    assert list(groups_of(with_conditions(ready=False, serving=True, terminating=True))) == []


@pytest.mark.parametrize(
    ("ports", "addresses"),
    [
        ([{"port": 8000}, {"port": 9901, "name": "m"}], ["10.1.0.7:8000", "10.1.0.7:9901"]),
        ([{"port": 53, "protocol": "UDP"}, {"name": "any"}], []),
        (None, []),
    ],
)
def test_every_tcp_port_that_has_a_number_counts(ports: list[Json] | None, addresses: list[str]) -> None:
    found = groups_of(changed(endpoint_slice(), "ports", ports))
    assert [address for group in found for address in group.addresses] == addresses


def test_endpoints_without_a_pod_or_service_are_targets_too() -> None:
    bare = {"metadata": {"namespace": "llm"}, "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"port": 1}]}
    (group,) = groups_of(bare)
    assert (group.labels["pool"], group.labels["pod"], group.labels["node"]) == ("", "", "")


def test_half_a_slice_breaks_nothing() -> None:
    for broken in ({}, {"metadata": {}}, {"endpoints": [{}], "ports": [{"port": 1}]}, {"endpoints": None}):
        assert list(groups_of(broken)) == []
