"""What every object that we ship for Kubernetes must be like, and the programs that make objects of our files."""

import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
KUSTOMIZE = DEPLOY / "kustomize"
CHART = DEPLOY / "helm/aiops"
KUBERNETES = "1.33"
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Boards are megabytes, which takes Python seconds to read."""
Document = dict[str, Any]


def kustomized(
    kubectl: str, folder: Path, overlay: str | None, *components: str, resources: Iterable[str] = ()
) -> list[Document]:
    """What kustomize makes of an overlay with components."""
    near = os.path.relpath(KUSTOMIZE, folder.resolve())
    overlays = [f"{near}/overlays/{overlay}"] if overlay else []
    kustomization = {
        "resources": [*overlays, *resources],
        "components": [f"{near}/components/{name}" for name in components],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return _documents([kubectl, "kustomize", str(folder)])


def templated(helm: str, values: Mapping[str, Any], folder: Path, release: str = "aiops") -> list[Document]:
    """What Helm makes of the chart."""
    file = folder / "values.yaml"
    file.write_text(yaml.safe_dump(dict(values)))
    return _documents([helm, "template", release, str(CHART), "--namespace", "aiops", "--values", str(file)])


def _documents(command: list[str]) -> list[Document]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.load_all(done.stdout, LOADER) if document]


def checked(documents: Iterable[Document]) -> None:
    """Everything below, of everything that is installed together."""
    everything = list(documents)
    assert len({(one["kind"], one["metadata"]["name"]) for one in everything}) == len(everything)
    for document in everything:
        valid(document)
        if "template" in document.get("spec", {}):
            harmless(document)
            agreed(document)
    joined(everything)


def valid(document: Document) -> None:
    """Valid to the last field, for the kinds of Kubernetes itself."""
    if not document["apiVersion"].startswith("monitoring.coreos.com/"):
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


def harmless(document: Document) -> None:
    """The pod may do little."""
    pod = document["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    both = {**pod.get("securityContext", {}), **container["securityContext"]}
    of_the_node = [volume["hostPath"]["path"] for volume in pod["volumes"] if "hostPath" in volume]
    assert of_the_node in ([], ["/var/lib/kubelet/pod-resources"])
    assert both["runAsNonRoot"] is not bool(of_the_node)
    assert both["runAsUser"] == (0 if of_the_node else 65532), "only for the kubelet's socket"
    assert both["seccompProfile"] == {"type": "RuntimeDefault"}
    assert both["readOnlyRootFilesystem"] is True
    assert both["allowPrivilegeEscalation"] is False
    assert both["capabilities"] == {"drop": ["ALL"]}
    assert not {"hostPID", "hostNetwork", "hostIPC"} & pod.keys()
    assert "nvidia.com/gpu" not in yaml.safe_dump(container["resources"])
    assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
    assert "memory" in container["resources"]["limits"]
    assert ":" in container["image"]
    assert not container["image"].endswith(":latest")


def agreed(document: Document) -> None:
    """Names inside a pod agree: volumes and mounts, ports and probes."""
    pod = document["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    volumes = {volume["name"] for volume in pod["volumes"]}
    volumes |= {claim["metadata"]["name"] for claim in document["spec"].get("volumeClaimTemplates", ())}
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == volumes
    writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
    assert writable == {"/var/lib/aiops", "/tmp"}
    ports = {port["name"] for port in container["ports"]}
    probes = [container[kind] for kind in ("livenessProbe", "readinessProbe") if kind in container]
    assert {probe["httpGet"]["port"] for probe in probes} <= ports
    # What the liveness probe asks stays open when the API asks for credentials.
    assert {probe["httpGet"]["path"] for probe in probes} <= {"/-/healthy", "/-/ready"}


def joined(documents: Iterable[Document]) -> None:
    """Selectors find the pods, ports are theirs, and a token is there only with a right to use it."""
    by_kind: dict[str, list[Document]] = {}
    for document in documents:
        by_kind.setdefault(document["kind"], []).append(document)
    (workload,) = by_kind.get("DaemonSet", []) + by_kind.get("StatefulSet", [])
    template = workload["spec"]["template"]
    labels = template["metadata"]["labels"]
    ports = {port["name"] for port in template["spec"]["containers"][0]["ports"]}
    selectors = [workload["spec"]["selector"]["matchLabels"], by_kind["Service"][0]["spec"]["selector"]]
    used = [port["targetPort"] for port in by_kind["Service"][0]["spec"]["ports"]]
    for policy in by_kind.get("NetworkPolicy", ()):
        selectors.append(policy["spec"]["podSelector"]["matchLabels"])
        used += [port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]]
    for kind in ("PodMonitor", "PodDisruptionBudget"):
        selectors += [one["spec"]["selector"]["matchLabels"] for one in by_kind.get(kind, ())]
    for monitor in by_kind.get("ServiceMonitor", ()):
        service = by_kind["Service"][0]
        assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        assert {end["port"] for end in monitor["spec"]["endpoints"]} <= {p["name"] for p in service["spec"]["ports"]}
    used += [end["port"] for one in by_kind.get("PodMonitor", ()) for end in one["spec"]["podMetricsEndpoints"]]
    assert all(selector.items() <= labels.items() for selector in selectors)
    assert set(used) <= ports
    assert template["spec"]["automountServiceAccountToken"] is ("ClusterRole" in by_kind)
    (account,) = by_kind["ServiceAccount"]
    assert template["spec"]["serviceAccountName"] == account["metadata"]["name"]
    assert account["automountServiceAccountToken"] is False
    if workload["kind"] == "StatefulSet":
        assert workload["spec"]["serviceName"] == by_kind["Service"][0]["metadata"]["name"]
