"""The steps of the Dockerfile in an empty folder: what is installed there needs nothing of this checkout.

No container engine is asked for: a fresh environment, a tree without write permission and a foreign user come close.
Where a foreign user cannot reach the interpreter (a root with one of its own), it is root without any privilege.
"""

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiops import __version__
from tests.conftest import missing

ROOT = Path(__file__).resolve().parents[2]
USER = 65532
CORE_BYTES = 150 * 2**20

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-d", str(folder), cwd=ROOT)
    return folder


@pytest.fixture(scope="module")
def place(dist: Path) -> Iterator[Path]:
    """An environment with the locked core requirements and the wheel; nobody may write to it."""
    folder = Path(tempfile.mkdtemp(prefix="aiops-installed-"))
    folder.chmod(0o755)
    run(sys.executable, "-m", "venv", "--without-pip", str(folder / "opt"))
    python = str(folder / "opt/bin/python")
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "-q", "--disable-pip-version-check")
    done = subprocess.run([*pip, "--require-hashes", "-r", str(ROOT / "requirements/core.txt")],
                          capture_output=True, text=True, check=False)  # fmt: skip
    if done.returncode:
        shutil.rmtree(folder)
        missing(f"a package index ({done.stderr.strip().splitlines()[-1]})")
    run(*pip, "--no-deps", str(next(dist.glob("*.whl"))))
    run("chmod", "-R", "a-w,a+rX", str(folder / "opt"))
    (folder / "state").mkdir()
    (folder / "tmp").mkdir(mode=0o777)
    if foreign():
        os.chown(folder / "state", USER, USER)
        os.chown(folder / "tmp", USER, USER)
    yield folder
    run("chmod", "-R", "u+w", str(folder))
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def demo(place: Path) -> Iterator[subprocess.Popen[str]]:
    """The demo, which needs some seconds to tell its story; other tests run meanwhile."""
    process = started(place, "demo", "--for", "0", "--web.listen-address", "127.0.0.1:0")
    yield process
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)


def run(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def foreign() -> bool:
    """Another user can be had, and reaches the interpreter."""
    python = Path(sys.executable).resolve()
    return os.getuid() == 0 and all(parent.stat().st_mode & stat.S_IXOTH for parent in python.parents)


def started(place: Path, *arguments: str) -> subprocess.Popen[str]:
    powerless = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")
    user = USER if foreign() else None
    return subprocess.Popen(
        [*(powerless if os.getuid() == 0 and not foreign() else ()), f"{place}/opt/bin/aiops", *arguments],
        cwd="/",
        env={"PATH": f"{place}/opt/bin:/usr/bin:/bin", "TMPDIR": f"{place}/tmp", "PYTHONDONTWRITEBYTECODE": "1"},
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_the_core_installation_is_small_and_carries_the_data(place: Path) -> None:
    (site,) = (place / "opt/lib").glob("python3.*/site-packages")
    files = [file for file in site.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < CORE_BYTES  # compiled files included
    assert (site / "aiops/_data/models/engines/vllm.yaml").is_file()
    assert not any((site / name).exists() for name in ("pandas", "sklearn", "statsmodels", "scipy"))


@pytest.mark.usefixtures("demo")
def test_the_list_of_what_is_installed_is_complete(place: Path, tmp_path: Path) -> None:
    """As `make sbom` makes it; every package with its version and licence."""
    made = tmp_path / "sbom.json"
    program = Path(sys.executable).with_name("cyclonedx-py")
    run(
        str(program),
        "environment",
        "--pyproject",
        str(ROOT / "pyproject.toml"),
        "-o",
        str(made),
        f"{place}/opt/bin/python",
    )
    told = json.loads(made.read_text())
    assert told["bomFormat"] == "CycloneDX"
    assert told["metadata"]["component"]["name"] == "aiops"
    parts = {f"{one['name'].lower().replace('_', '-')}=={one['version']}": one for one in told["components"]}
    locked = set(re.findall(r"^([\w.-]+==[\w.]+)", (ROOT / "requirements/core.txt").read_text(), re.MULTILINE))
    assert parts.keys() <= locked | {f"aiops=={__version__}"}
    names = {name.partition("==")[0] for name in locked}
    assert {name.partition("==")[0] for name in parts} - {"aiops"} == names
    assert not [name for name, one in parts.items() if not one.get("licenses")]


def test_the_daemon_runs_on_a_read_only_tree_and_one_writable_folder(place: Path) -> None:
    daemon = started(place, "run", "--web.listen-address", "127.0.0.1:0", "--storage.path", f"{place}/state")
    assert daemon.stderr is not None
    try:
        for line in daemon.stderr:
            if found := re.search(r"msg=started .*url=(http://127\.0\.0\.1:\d+)", line):
                break
        else:
            pytest.fail("the daemon ended before it had started")
        with urllib.request.urlopen(f"{found[1]}/-/healthy", timeout=10) as answer:
            assert answer.status == 200
        health = started(place, "healthcheck", "--url", found[1])
        assert health.communicate(timeout=30)[0] == "healthy\n"
        assert health.returncode == 0
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.communicate(timeout=30)
    assert daemon.returncode == 0
    assert {file.name for file in (place / "state").iterdir()} >= {"archive.sqlite", "snapshot.npz"}


def test_the_demo_runs_from_the_wheel_as_a_stranger(demo: subprocess.Popen[str]) -> None:
    assert demo.stdout is not None
    told = ""
    for line in demo.stdout:
        told += line
        if "Most likely cause" in line:
            break
    demo.send_signal(signal.SIGTERM)
    assert "Most likely cause" in told, demo.communicate(timeout=30)[1]
    assert "not detected" not in told


def test_wheel_and_source_hold_the_same_package(dist: Path) -> None:
    with zipfile.ZipFile(next(dist.glob("*.whl"))) as wheel:
        modules = {name for name in wheel.namelist() if name.endswith(".py")}
    with tarfile.open(next(dist.glob("*.tar.gz"))) as source:
        names = {member.name.partition("/")[2] for member in source.getmembers()}
    assert modules <= names
    assert {"pyproject.toml", "LICENSE", "README.md", "models/engines/vllm.yaml"} <= names
    assert not [name for name in names if name.startswith((".venv", ".git/"))]
