"""The Helm chart, as a real Helm renders it: as good as the kustomization, and in agreement with it."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from aiops.app.chart import defaults
from aiops.app.config import Config
from aiops.app.config_load import Sources, load
from tests import cluster
from tests.cluster import CHART, ROOT, Document

EVERYTHING: dict[str, Any] = {
    "mode": "hub",
    "hub": {"replicas": 3, "sharded": True, "storageClassName": "fast"},
    "image": {"repository": "registry.example/aiops", "tag": "0.2.0", "pullPolicy": "Always", "pullSecrets": ["pull"]},
    "config": {"interval": "10s", "web": {"listen_address": "0.0.0.0:9900"}},
    "discovery": {"enabled": True},
    "monitor": {"kind": "ServiceMonitor", "labels": {"release": "kube-prometheus-stack"}},
    "networkPolicy": {"egress": [{"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}]},
    "env": {"AIOPS_LOG__LEVEL": "debug"},
    "podAnnotations": {"example.com/a": "b"},
    "volumes": [{"name": "tls", "secret": {"secretName": "aiops-tls"}}],
    "volumeMounts": [{"name": "tls", "mountPath": "/etc/aiops/tls", "readOnly": True}],
    "tls": True,
}
AGENT = {"mode": "daemonset", "monitor": {"kind": "PodMonitor"}, "daemonset": {"runtimeClassName": ""}}
VARIANTS: dict[str, dict[str, Any]] = {
    "defaults": {}, "hub": {"mode": "hub"}, "agent": AGENT, "everything": EVERYTHING,
    "kubelet": {"daemonset": {"podResources": True}},
}  # fmt: skip


def only(documents: list[Document], kind: str) -> Document:
    (found,) = [document for document in documents if document["kind"] == kind]
    return found


def helm_on(real_program: Callable[[str], str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([real_program("helm"), *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("values", VARIANTS.values(), ids=VARIANTS)
def test_what_helm_makes_is_valid_and_fits_together(
    values: dict[str, Any], real_program: Callable[[str], str], tmp_path: Path
) -> None:
    # Another name of the release: nothing may depend on it being the chart's.
    cluster.checked(cluster.templated(real_program("helm"), values, tmp_path, "watch"))
    lint = helm_on(real_program, "lint", "--strict", str(CHART), "--values", str(tmp_path / "values.yaml"))
    assert lint.returncode == 0, lint.stdout + lint.stderr


def plain(documents: list[Document]) -> dict[tuple[str, str], Document]:
    """Without what only says who made an object; the configuration as data, not as text."""
    found = {}
    for document in documents:
        text = re.sub(r"aiops-config-[a-z0-9]{10}", "aiops-config", yaml.safe_dump(document))
        bare = yaml.safe_load(re.sub(r"^ *app.kubernetes.io/instance: aiops\n", "", text, flags=re.MULTILINE))
        for drop in ("labels", "annotations"):
            bare["metadata"].pop(drop, None)
        if template := bare.get("spec", {}).get("template"):
            template["metadata"].pop("annotations", None)
        if bare["kind"] == "ConfigMap":
            bare["data"] = {key: yaml.safe_load(value) for key, value in bare["data"].items()}
        if bare["kind"] != "Namespace":  # Helm makes none: the release is in one
            found[bare["kind"], bare["metadata"]["name"]] = bare
    return found


@pytest.mark.parametrize(
    ("mode", "components", "values"),
    [
        ("daemonset", (), {}),
        (
            "daemonset",
            ("discovery", "prometheus-operator"),
            {"discovery": {"enabled": True}, "monitor": {"kind": "PodMonitor"}},
        ),
        ("daemonset", ("pod-resources",), {"daemonset": {"podResources": True}}),
        ("hub", (), {}),
        ("hub", ("discovery",), {"discovery": {"enabled": True}}),
        ("hub", ("discovery", "endpoint-slices"), {"discovery": {"enabled": True, "endpointSlices": True}}),
    ],
)
def test_helm_and_kustomize_make_the_same(
    mode: str, components: tuple[str, ...], values: dict[str, Any], real_program: Callable[[str], str], tmp_path: Path
) -> None:
    ours = cluster.templated(real_program("helm"), {"mode": mode, **values}, tmp_path)
    theirs = cluster.kustomized(real_program("kubectl"), tmp_path, mode, *components)
    assert plain(ours) == plain(theirs)
    assert len(plain(ours)) >= 5


def test_every_value_does_what_it_says(real_program: Callable[[str], str], tmp_path: Path) -> None:
    made = cluster.templated(real_program("helm"), EVERYTHING, tmp_path, "watch")
    pod = only(made, "StatefulSet")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == "registry.example/aiops:0.2.0"
    assert container["args"][-1] == "--shard=$(POD_INDEX)/3"
    assert container["ports"] == [{"name": "http", "containerPort": 9900}]
    assert only(made, "Service")["spec"]["ports"][0]["port"] == 9900
    assert {container[probe]["httpGet"]["scheme"] for probe in ("livenessProbe", "readinessProbe")} == {"HTTPS"}
    assert only(made, "ServiceMonitor")["spec"]["endpoints"][0]["scheme"] == "https"
    assert {"name": "AIOPS_LOG__LEVEL", "value": "debug"} in container["env"]
    assert pod["imagePullSecrets"] == [{"name": "pull"}]
    assert {"ipBlock": {"cidr": "192.0.2.0/24"}} in only(made, "NetworkPolicy")["spec"]["egress"][-1]["to"]
    written = tmp_path / "aiops.yaml"
    (text,) = [document["data"]["aiops.yaml"] for document in made if "aiops.yaml" in document.get("data", {})]
    written.write_text(text)
    config = load(Config, Sources(written, environ={})).config
    assert (config.interval, config.web.listen_address) == (10.0, "0.0.0.0:9900")
    assert len(config.web.tokens) == 2, "mappings are merged with the defaults"


def test_rules_and_boards_are_those_of_the_repository(real_program: Callable[[str], str], tmp_path: Path) -> None:
    values = {
        "rules": {"enabled": True, "labels": {"release": "kube-prometheus-stack"}},
        "dashboards": {"enabled": True, "annotations": {"grafana_folder": "aiops"}},
    }
    made = cluster.templated(real_program("helm"), values, tmp_path)
    cluster.checked(made)
    rules = [document for document in made if document["kind"] == "PrometheusRule"]
    assert {document["metadata"]["labels"]["release"] for document in rules} == {"kube-prometheus-stack"}
    shipped = yaml.load_all((cluster.DEPLOY / "prometheus-rules.yaml").read_text(), cluster.LOADER)
    assert {one["metadata"]["name"]: one["spec"] for one in rules} == {
        one["metadata"]["name"]: one["spec"] for one in shipped
    }
    boards = [document for document in made if "grafana_dashboard" in document["metadata"]["labels"]]
    assert {key: text for one in boards for key, text in one["data"].items()} == {
        file.name: file.read_text() for file in (ROOT / "dashboards").glob("*.json")
    }
    assert {document["metadata"]["annotations"]["grafana_folder"] for document in boards} == {"aiops"}


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"config": {"intervall": "5s"}}, "intervall"),
        ({"config": {"scrape": {"jobs": [{"targets": ["a:1"]}]}}}, "name"),
        ({"config": {"detect": {"budget": "lots"}}}, "budget"),
        ({"mode": "sidecar"}, "mode"),
        ({"image": {"tag": "latest"}}, "tag"),
        ({"hub": {"replicas": 0}}, "replicas"),
        ({"hub": {"storage": "2 GB"}}, "storage"),
        ({"monitor": {"kind": "Probe"}}, "kind"),
        ({"daemonset": {"resources": {"limits": {"nvidia.com/gpu": "1"}}}}, "nvidia.com/gpu"),
        ({"replicas": 3}, "replicas"),
    ],
    ids=str,
)
def test_a_bad_value_is_refused_by_name(
    values: dict[str, Any], named: str, real_program: Callable[[str], str], tmp_path: Path
) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(yaml.safe_dump(values))
    done = helm_on(real_program, "template", "aiops", str(CHART), "--values", str(file))
    assert done.returncode != 0
    assert named in done.stderr.partition("schema")[2]


def test_a_package_holds_what_a_checkout_does(real_program: Callable[[str], str], tmp_path: Path) -> None:
    """The links are followed, and nothing lies in it that no template reads."""
    done = helm_on(real_program, "package", str(CHART), "--destination", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (package,) = tmp_path.glob("*.tgz")
    # A release keeps the chart and what was made of it in one Secret of at most 1 MiB, zipped and in base64.
    assert package.stat().st_size < 300_000
    shown = {"rules.enabled=true", "dashboards.enabled=true"}
    ways = [
        helm_on(real_program, "template", "aiops", str(place), "--set", ",".join(shown)).stdout
        for place in (CHART, package)
    ]
    assert ways[0] == ways[1] != ""
    listing = subprocess.run(["tar", "tzf", package], capture_output=True, text=True, check=True).stdout.split()
    assert not [name for name in listing if "runbooks" in name or "/tests/" in name]


def test_the_values_of_the_page_are_those_of_the_chart() -> None:
    assert yaml.safe_load((CHART / "values.yaml").read_text()) == defaults()
    assert (
        yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
        == yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
    )
