"""The examples for autoscalers: of the right form, and safe where their defaults are not."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from aiops.app.actuator import ActuatorSettings
from aiops.app.capacity import Capacity
from aiops.capacity.settings import CapacitySettings
from aiops.kit.clock import SYSTEM_CLOCK

EXAMPLES = Path(__file__).resolve().parents[2] / "deploy" / "examples"
TOKEN = EXAMPLES / "keda-token.yaml"
ACTUATOR = EXAMPLES / "actuator-rbac.yaml"
FILES = sorted({*EXAMPLES.glob("*.yaml")} - {TOKEN, ACTUATOR})

_POLICY = {
    "type": "object", "additionalProperties": False, "required": ["type", "value", "periodSeconds"],
    "properties": {
        "type": {"enum": ["Pods", "Percent"]}, "value": {"type": "integer", "minimum": 1},
        "periodSeconds": {"type": "integer", "minimum": 1, "maximum": 1800},
    },
}  # fmt: skip
_RULES = {
    "type": "object", "additionalProperties": False, "required": ["policies", "tolerance"],
    "properties": {
        "stabilizationWindowSeconds": {"type": "integer", "minimum": 0, "maximum": 3600},
        "selectPolicy": {"enum": ["Max", "Min", "Disabled"]},
        "tolerance": {"type": ["number", "string"]},
        "policies": {"type": "array", "minItems": 1, "items": _POLICY},
    },
}  # fmt: skip
_BEHAVIOR = {
    "type": "object", "additionalProperties": False, "required": ["scaleUp", "scaleDown"],
    "properties": {"scaleUp": _RULES, "scaleDown": _RULES},
}  # fmt: skip
_TARGET = {
    "type": "object", "additionalProperties": False, "required": ["kind", "name"],
    "properties": {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "name": {"type": "string"}},
}  # fmt: skip
_META = {
    "type": "object", "additionalProperties": False, "required": ["name"],
    "properties": {"name": {"type": "string"}, "namespace": {"type": "string"}},
}  # fmt: skip
_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
SCHEMAS: dict[str, dict[str, Any]] = {
    "ScaledObject": {
        "type": "object", "additionalProperties": False, "required": ["apiVersion", "kind", "metadata", "spec"],
        "properties": {
            "apiVersion": {"const": "keda.sh/v1alpha1"}, "kind": {}, "metadata": _META,
            "spec": {
                "type": "object", "additionalProperties": False, "required": ["scaleTargetRef", "triggers", "fallback"],
                "properties": {
                    "scaleTargetRef": _TARGET,
                    "pollingInterval": {"type": "integer", "minimum": 1},
                    "cooldownPeriod": {"type": "integer"},
                    "minReplicaCount": {"type": "integer", "minimum": 1},
                    "maxReplicaCount": {"type": "integer", "minimum": 1},
                    "fallback": {
                        "type": "object", "additionalProperties": False, "required": ["failureThreshold", "replicas"],
                        "properties": {
                            "failureThreshold": {"type": "integer", "minimum": 1},
                            "replicas": {"type": "integer", "minimum": 1},
                            "behavior": {
                                "enum": [
                                    "static", "currentReplicas", "currentReplicasIfHigher", "currentReplicasIfLower"
                                ]
                            },
                        },
                    },
                    "advanced": {
                        "type": "object", "additionalProperties": False,
                        "properties": {
                            "horizontalPodAutoscalerConfig": {
                                "type": "object", "additionalProperties": False, "properties": {"behavior": _BEHAVIOR},
                            }
                        },
                    },
                    "triggers": {
                        "type": "array", "minItems": 1,
                        "items": {
                            "type": "object", "additionalProperties": False, "required": ["type", "metadata"],
                            "properties": {
                                "type": {"enum": ["metrics-api", "prometheus"]}, "metadata": _TEXTS,
                                "metricType": {"enum": ["AverageValue", "Value"]},
                                "authenticationRef": _META,
                            },
                        },
                    },
                },
            },
        },
    },
    "HorizontalPodAutoscaler": {
        "type": "object", "additionalProperties": False, "required": ["apiVersion", "kind", "metadata", "spec"],
        "properties": {
            "apiVersion": {"const": "autoscaling/v2"}, "kind": {}, "metadata": _META,
            "spec": {
                "type": "object", "additionalProperties": False,
                "required": ["scaleTargetRef", "maxReplicas", "metrics"],
                "properties": {
                    "scaleTargetRef": _TARGET,
                    "minReplicas": {"type": "integer", "minimum": 1}, "maxReplicas": {"type": "integer", "minimum": 1},
                    "behavior": _BEHAVIOR,
                    "metrics": {
                        "type": "array", "minItems": 1,
                        "items": {
                            "type": "object", "additionalProperties": False, "required": ["type", "external"],
                            "properties": {
                                "type": {"const": "External"},
                                "external": {
                                    "type": "object", "required": ["metric", "target"], "additionalProperties": False,
                                    "properties": {
                                        "metric": {
                                            "type": "object", "required": ["name"], "additionalProperties": False,
                                            "properties": {"name": {"type": "string"}, "selector": {"type": "object"}},
                                        },
                                        "target": {
                                            "type": "object", "additionalProperties": False,
                                            "required": ["type", "averageValue"],
                                            "properties": {
                                                "type": {"const": "AverageValue"}, "averageValue": {"type": "string"}
                                            },
                                        },
                                    },
                                },
                            },
                        },
                    },
                },
            },
        },
    },
}  # fmt: skip


def example(path: Path) -> dict[str, Any]:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(document, dict)
    return document


def test_all_three_are_there() -> None:
    assert {"hpa-external.yaml", "keda-metrics-api.yaml", "keda-prometheus.yaml"} <= {path.name for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_form(path: Path) -> None:
    document = example(path)
    if document["kind"] in SCHEMAS:
        jsonschema.validate(document, SCHEMAS[document["kind"]])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_22_to_24_passes_and_steps_suffice(path: Path) -> None:
    spec = example(path)["spec"]
    config = spec.get("advanced", {}).get("horizontalPodAutoscalerConfig", spec)
    up, down = config["behavior"]["scaleUp"], config["behavior"]["scaleDown"]
    assert float(up["tolerance"]) < 24 / 22 - 1.0
    assert up["stabilizationWindowSeconds"] == 0
    # Our own window is longer, so the autoscaler's adds nothing but a guard against a flapping metric.
    assert down["stabilizationWindowSeconds"] < CapacitySettings().stabilisation


def test_keda_never_reads_silence_as_no_demand() -> None:
    for name in ("keda-metrics-api.yaml", "keda-prometheus.yaml"):
        spec = example(EXAMPLES / name)["spec"]
        assert spec["minReplicaCount"] >= 1
        assert spec["fallback"]["replicas"] >= 1
        trigger = spec["triggers"][0]
        assert trigger["metricType"] == "AverageValue"
        target = trigger["metadata"].get("targetValue") or trigger["metadata"]["threshold"]
        assert float(target) == 1.0
    prometheus = example(EXAMPLES / "keda-prometheus.yaml")["spec"]["triggers"][0]["metadata"]
    assert prometheus["ignoreNullValues"] == "false"


def test_names_are_those_that_we_export() -> None:
    names = {family.name for family in Capacity(CapacitySettings(), SYSTEM_CLOCK).families()}
    query = example(EXAMPLES / "keda-prometheus.yaml")["spec"]["triggers"][0]["metadata"]["query"]
    external = example(EXAMPLES / "hpa-external.yaml")["spec"]["metrics"][0]["external"]["metric"]["name"]
    assert external in names
    assert external in query
    api = example(EXAMPLES / "keda-metrics-api.yaml")["spec"]["triggers"][0]["metadata"]
    assert "/api/v1/recommendations/" in api["url"]
    assert api["valueLocation"] == "desired_replicas"


def test_the_api_is_asked_with_a_token_that_kedas_object_finds() -> None:
    spec = example(EXAMPLES / "keda-metrics-api.yaml")["spec"]
    token = example(TOKEN)
    (trigger,) = spec["triggers"]
    assert trigger["metadata"]["authMode"] == "bearer"
    assert (token["kind"], token["metadata"]["name"]) == ("TriggerAuthentication", trigger["authenticationRef"]["name"])
    assert [reference["parameter"] for reference in token["spec"]["secretTargetRef"]] == ["token"]


def test_the_actuator_gets_what_it_asks_for_and_no_more() -> None:
    documents = list(yaml.safe_load_all(ACTUATOR.read_text(encoding="utf-8")))
    assert [one["kind"] for one in documents] == ["Role", "RoleBinding"] * 2
    for role, binding in zip(documents[::2], documents[1::2], strict=True):
        assert (binding["roleRef"]["kind"], binding["roleRef"]["name"]) == ("Role", role["metadata"]["name"])
        assert binding["metadata"]["namespace"] == role["metadata"]["namespace"]
    scale, create, lease = documents[0]["rules"] + documents[2]["rules"]
    settings = ActuatorSettings()
    assert (scale["resources"], scale["verbs"]) == (["deployments/scale"], ["get", "patch"])
    assert scale["resourceNames"]
    assert create["verbs"] == ["create"]
    assert (lease["resourceNames"], lease["verbs"]) == ([settings.lease_name], ["get", "update"])
