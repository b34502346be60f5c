"""What is shipped for Kubernetes and systemd: valid, consistent, and allowed to do little."""

import re
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from aiops import __version__
from aiops.app.config import Config
from aiops.app.config_load import Sources, load
from aiops.kit.settings import Section
from tests import cluster
from tests.cluster import DEPLOY, KUSTOMIZE, ROOT, Document


def manifests() -> Iterator[tuple[Path, Document]]:
    for file in sorted(KUSTOMIZE.rglob("*.yaml")):
        for document in yaml.safe_load_all(file.read_text()):
            if isinstance(document, list):  # a JSON patch
                continue
            if "kind" in document and "kustomize" not in document["apiVersion"]:
                yield file, document


MANIFESTS = list(manifests())
CORE = [(file, document) for file, document in MANIFESTS if "monitoring.coreos.com" not in document["apiVersion"]]
WORKLOADS = [(file, document) for file, document in MANIFESTS if "template" in document.get("spec", {})]


def named(items: list[tuple[Path, Document]]) -> list[Any]:
    return [pytest.param(document, id=str(file.relative_to(KUSTOMIZE))) for file, document in items]


@pytest.mark.parametrize("document", named([item for item in CORE if "sidecar" not in item[0].parts]))
def test_core_kinds_are_valid_to_the_last_field(document: Document) -> None:
    cluster.valid(document)


@pytest.mark.parametrize("document", named(WORKLOADS))
def test_pods_may_do_little(document: Document) -> None:
    cluster.harmless(document)


@pytest.mark.parametrize("document", named(WORKLOADS))
def test_names_inside_a_pod_agree(document: Document) -> None:
    cluster.agreed(document)


@pytest.mark.parametrize("overlay", ["daemonset", "hub"])
def test_what_kustomize_makes_is_valid_and_fits_together(
    overlay: str, real_program: Callable[[str], str], tmp_path: Path
) -> None:
    made = cluster.kustomized(real_program("kubectl"), tmp_path, overlay, "prometheus-operator")
    cluster.checked(made)
    (config,) = [document for document in made if document["kind"] == "ConfigMap"]
    assert config["data"] == {"aiops.yaml": (KUSTOMIZE / "base/aiops.yaml").read_text()}
    (workload,) = [document for document in made if "template" in document.get("spec", {})]
    assert workload["spec"]["template"]["spec"]["volumes"][0]["configMap"]["name"] == config["metadata"]["name"]
    assert workload["spec"]["template"]["spec"]["containers"][0]["image"] == f"aiops:{__version__}"


def test_kustomize_puts_the_sidecar_into_somebody_s_deployment(
    real_program: Callable[[str], str], tmp_path: Path
) -> None:
    labels = {"app": "vllm", "aiops/sidecar": "true"}
    engine = {"name": "vllm", "image": "vllm/vllm-openai:v0.11.0", "ports": [{"containerPort": 8000}]}
    theirs = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "vllm", "labels": labels},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [engine]}},
        },
    }
    (tmp_path / "vllm.yaml").write_text(yaml.safe_dump(theirs))
    (made,) = cluster.kustomized(real_program("kubectl"), tmp_path, None, "sidecar", resources=["vllm.yaml"])
    cluster.valid(made)
    containers = {one["name"]: one for one in made["spec"]["template"]["spec"]["containers"]}
    assert containers["vllm"] == engine
    assert containers["aiops"]["image"] == f"aiops:{__version__}"


@pytest.mark.parametrize("file", sorted(KUSTOMIZE.rglob("kustomization.yaml")), ids=lambda file: file.parent.name)
def test_kustomizations_name_files_that_are_there_and_leave_none_out(file: Path) -> None:
    kustomization = yaml.safe_load(file.read_text())
    generated = [name for made in kustomization.get("configMapGenerator", ()) for name in made["files"]]
    patches = [patch["path"] for patch in kustomization.get("patches", ())]
    named_here = [*kustomization.get("resources", ()), *generated, *patches]
    assert all((file.parent / name).exists() for name in named_here)
    beside = {other.name for other in file.parent.glob("*.yaml")} - {"kustomization.yaml"}
    assert beside == {name for name in named_here if "/" not in name}


def test_the_shipped_configuration_is_valid_and_its_tokens_are_in_the_secret() -> None:
    config = load(Config, Sources(KUSTOMIZE / "base" / "aiops.yaml", environ={})).config
    assert {str(token.token_file) for token in config.web.tokens} == {
        f"/etc/aiops/tokens/{name}" for name in ("people", "programs")
    }
    readme = (DEPLOY / "README.md").read_text()
    assert all(f"--from-literal={name}=" in readme for name in ("people", "programs"))


def test_variables_of_the_manifests_are_settings() -> None:
    for _, document in WORKLOADS:
        (container,) = document["spec"]["template"]["spec"]["containers"]
        names = [item["name"] for item in container["env"] if item["name"].startswith("AIOPS_")]
        for name in names:
            section: Any = Config
            for part in name.removeprefix("AIOPS_").lower().split("__"):
                assert part in section.model_fields, name
                section = section.model_fields[part].annotation
            assert not (isinstance(section, type) and issubclass(section, Section)), name


def test_systemd_takes_the_unit(tmp_path: Path, real_program: Callable[[str], str]) -> None:
    """Only the path of the program is changed: it is not installed here."""
    unit = (DEPLOY / "systemd" / "aiops.service").read_text()
    file = tmp_path / "aiops.service"
    file.write_text(unit.replace("/opt/aiops/bin/aiops", "/bin/true"))
    done = subprocess.run(
        [real_program("systemd-analyze"), "verify", "--man=no", file], capture_output=True, text=True, check=False
    )
    assert [line for line in done.stderr.splitlines() if "aiops.service" in line] == []
    assert done.returncode == 0


def test_the_unit_waits_for_us_no_longer_than_systemd_does() -> None:
    settings = dict(
        line.split("=", 1)
        for line in (DEPLOY / "systemd" / "aiops.service").read_text().splitlines()
        if "=" in line and line[0].isalpha()
    )
    drain = Config().notify.drain_timeout
    assert int(settings["TimeoutStopSec"]) > drain + 5
    assert settings["Type"] == "notify"
    assert int(settings["WatchdogSec"]) >= 30


LINES = [
    line for line in (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines() if line and line[0] != "#"
]


def instructions(name: str) -> list[str]:
    return [line.split(maxsplit=1)[1] for line in LINES if line.split()[0] == name]


def test_a_linter_finds_nothing_in_the_dockerfile(real_program: Callable[[str], str]) -> None:
    done = subprocess.run(
        [real_program("hadolint"), "--no-color", ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_a_linter_finds_nothing_in_the_workflows(real_program: Callable[[str], str], tmp_path: Path) -> None:
    """``-shellcheck=`` and ``-pyflakes=``: what it finds must not depend on what else is installed."""
    lint = [real_program("actionlint"), "-no-color", "-shellcheck=", "-pyflakes="]
    files = sorted((ROOT / ".github/workflows").glob("*.yml"))
    assert len(files) >= 2
    done = subprocess.run([*lint, *files], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, "")
    bad = tmp_path / "bad.yml"
    bad.write_text(files[0].read_text().replace("ubuntu-24.04", "ubuntu-42.04"))
    assert "ubuntu-42.04" in subprocess.run([*lint, bad], capture_output=True, text=True, check=False).stdout


def test_the_image_is_not_root_s_and_its_last_stage_installs_nothing() -> None:
    assert len(instructions("CMD")) == len(instructions("ENTRYPOINT")) == len(instructions("HEALTHCHECK")) == 1
    users = instructions("USER")
    assert users[-1].replace(":", "").isdigit(), "Kubernetes checks runAsNonRoot against a number"
    assert int(users[-1].split(":")[0]) > 0
    last_stage = LINES[max(place for place, line in enumerate(LINES) if line.startswith("FROM")) :]
    assert not any("pip" in line for line in last_stage if line.startswith("RUN"))


def test_ci_runs_every_python_that_is_promised() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    promised = {text.rpartition(" ")[2] for text in project["classifiers"] if re.search(r":: 3\.\d+$", text)}
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    setups = [step["with"] for step in jobs["gate"]["steps"] if "python-version" in step.get("with", {})]
    assert {*jobs["pythons"]["strategy"]["matrix"]["python"], setups[0]["python-version"]} == promised
    assert {step.get("run") for step in jobs["gate"]["steps"]} >= {".ci/run"}


def test_a_release_tags_its_images_as_the_chart_and_the_manifests_ask() -> None:
    steps = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())["jobs"]["image"]["steps"]
    (tag,) = [step["with"]["tags"] for step in steps if "tags" in step.get("with", {})]
    assert tag.endswith(":${{ env.VERSION }}${{ matrix.suffix }}")
    (named,) = [step["run"] for step in steps if "VERSION=" in step.get("run", "")]
    script = named.replace('>>"$GITHUB_ENV"', "")
    done = subprocess.run(
        ["bash", "-c", script], check=True, env={"GITHUB_REF_NAME": f"v{__version__}"}, capture_output=True, text=True
    )
    assert done.stdout == f"VERSION={__version__}\n"


def test_workflows_may_do_little_by_default() -> None:
    for file in (ROOT / ".github/workflows").glob("*.yml"):
        assert yaml.safe_load(file.read_text())["permissions"] == {"contents": "read"}


def test_the_only_right_is_to_see_pods_or_slices_and_only_the_component_gives_a_token() -> None:
    roles = [document for _, document in MANIFESTS if document["kind"] in ("Role", "ClusterRole")]
    assert [role["rules"] for role in roles] == [
        [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}]
    ]
    (binding,) = [document for _, document in MANIFESTS if document["kind"] == "ClusterRoleBinding"]
    assert binding["roleRef"]["name"] == roles[0]["metadata"]["name"]
    (account,) = [document for _, document in MANIFESTS if document["kind"] == "ServiceAccount"]
    assert [(s["name"], s["namespace"]) for s in binding["subjects"]] == [("aiops", account["metadata"]["namespace"])]
    (rule,) = yaml.safe_load((KUSTOMIZE / "components/endpoint-slices/rule.yaml").read_text())
    more = {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]}
    assert rule == {"op": "add", "path": "/rules/-", "value": more}
    (patch,) = yaml.safe_load((KUSTOMIZE / "components/discovery/token.yaml").read_text())
    for kind in ("DaemonSet", "StatefulSet"):
        (workload,) = [document for _, document in MANIFESTS if document["kind"] == kind]
        where: Any = workload
        for part in patch["path"].strip("/").split("/"):
            where = where[part]
        assert (where, patch["value"]) == (False, True)
