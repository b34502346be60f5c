"""Work in parts on a real Ray cluster: two CPUs of this machine, on loopback."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiops.app.cli import main
from aiops.app.output import CommandFailedError
from aiops.app.parts import TRIES, Lost
from aiops.store.snapshot import read
from tests.app.part_work import NAMES, named
from tests.app.pasts import table

# Read when ray is imported: without it a cluster listens on all addresses, and answers everybody.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
pytest.importorskip("ray")

from aiops.app import by_ray

ray = by_ray.ray
pytestmark = pytest.mark.timeout(180)  # a cluster takes seconds to start, and more where others work too


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    services = ray._private.services
    ask = services.get_node

    def patient(*node: object) -> object:
        """Ray gives its own processes half a minute to start, which is little on a machine that others use too."""
        deadline = time.monotonic() + 120.0
        while True:
            try:
                return ask(*node)
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(services, "get_node", patient)
        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=80_000_000)
    assert ray.util.get_node_ip_address() == "127.0.0.1"
    yield
    ray.shutdown()


def test_only_the_part_that_goes_wrong_is_lost_and_the_order_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with by_ray.Cluster() as engine:
        answers = list(engine.map(named, [tmp_path / name for name in NAMES]))
    one, deadly, two, unlucky, bad, three = answers
    assert (one, two, unlucky, three) == ("one at try 1", "two at try 1", "unlucky at try 2", "three at try 1")
    assert bad == Lost("ValueError: expected another part")
    assert isinstance(deadly, Lost)
    assert deadly.reason.startswith(f"its worker died, {TRIES} times: ")
    assert (tmp_path / "deadly").stat().st_size == TRIES
    assert capsys.readouterr().out == "", "what Ray says of it would stand between the data"


def test_fits_and_back_tests_are_the_same_bit_for_bit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("statsmodels")
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text("".join(table().splitlines(keepends=True)[:140]))
    (tmp_path / "c.yaml").write_text("{interval: 15s, detect: {fit: {interval: 30m}}}")
    past = ["--csv", *(str(tmp_path / f"{name}.csv") for name in "ab"), "--config.file", str(tmp_path / "c.yaml")]
    outputs, states = [], []
    for place, flags in enumerate((["--jobs", "1"], ["--engine", "ray"])):
        assert main(["fit", *past, "--storage.path", str(tmp_path / str(place)), *flags]) == 0
        capsys.readouterr()
        assert main(["backtest", *past, "-o", "json", *flags]) == 0
        outputs.append(capsys.readouterr().out)
        found = read(tmp_path / str(place) / "snapshot.npz", 0.0).snapshot
        assert found is not None
        states.append(found.states["bank"].arrays)
    assert outputs[0] == outputs[1]
    assert json.loads(outputs[0])["runs"][0]["fitted_models"] > 10
    assert {name.partition(".")[0] for name in states[0]} >= {"arima", "iforest"}
    assert {name: array.tobytes() for name, array in states[0].items()} == {
        name: array.tobytes() for name, array in states[1].items()
    }


def test_a_worker_of_another_version_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_ray, "__version__", "0.0.1")
    with by_ray.Cluster() as engine:
        (answer,) = engine.map(len, ["abc"])
    assert isinstance(answer, Lost)
    assert answer.reason.startswith("the worker has aiops ")
    assert answer.reason.endswith(", expected 0.0.1")


def test_where_no_cluster_answers_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object, **__: object) -> None:
        raise ConnectionError("Could not find any running Ray instance")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", none)
    with pytest.raises(CommandFailedError, match=r"no Ray cluster answers: Could not find any .*; set RAY_ADDRESS"):
        by_ray.Cluster().__enter__()
