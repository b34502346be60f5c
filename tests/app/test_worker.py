"""The worker as a program, and what the daemon must not import."""

import subprocess
import sys

import numpy as np
import pytest

from aiops.detect.fitting import pack, unpack

COMMAND = (sys.executable, "-m", "aiops.app.worker")


def test_it_reads_arrays_and_writes_arrays() -> None:
    request = pack({"nobody.values": np.zeros(3)})
    run = subprocess.run([*COMMAND, "60"], input=request, capture_output=True, check=True, timeout=150)
    assert b"KeyError" in unpack(run.stdout)["nobody.error"].tobytes()


@pytest.mark.parametrize("arguments", [[], ["soon"], ["1", "2"]])
def test_it_says_how_it_is_used(arguments: list[str]) -> None:
    run = subprocess.run([*COMMAND, *arguments], input=b"", capture_output=True, check=False, timeout=150)
    assert run.returncode == 2
    assert b"usage: " in run.stderr


def test_damaged_arrays_are_an_error() -> None:
    run = subprocess.run([*COMMAND, "60"], input=b"nonsense", capture_output=True, check=False, timeout=150)
    assert run.returncode == 1
    assert b"8 bytes are no arrays" in run.stderr
    assert run.stdout == b""


BEHAVIOUR = """
import os, sys, resource
from aiops.app import worker
worker.solve = lambda request, fitters: (print("a library talks"), __import__("numpy"))[1] and {
    "nice": __import__("numpy").asarray(os.nice(0)),
    "cpu": __import__("numpy").asarray(resource.getrlimit(resource.RLIMIT_CPU)[0]),
    "oom": __import__("numpy").asarray(int(open("/proc/self/oom_score_adj").read())),
}
sys.exit(worker.main(["77"]))
"""


def test_it_yields_to_everybody_and_keeps_its_answer_clean() -> None:
    run = subprocess.run(
        [sys.executable, "-c", BEHAVIOUR], input=pack({"x": np.zeros(1)}), capture_output=True, check=True, timeout=150
    )
    answer = unpack(run.stdout)
    assert int(answer["nice"]) >= 15
    assert int(answer["cpu"]) == 77
    assert int(answer["oom"]) == 1000
    assert b"a library talks" in run.stderr


DAEMON = """
import sys
import aiops.app.serve
from aiops.app.assembly import build_pipeline
from aiops.app.config import Config
pipeline = build_pipeline(Config())
pipeline.tick(1e9, [], [], elapsed_seconds=5.0)
assert {one.name for one in pipeline.bank.fitted()} == {"arima", "iforest"}
loaded = {name.partition(".")[0] for name in sys.modules}
print(*sorted({"statsmodels", "sklearn", "pandas", "scipy", "joblib", "ray"} & loaded))
"""


def test_the_daemon_imports_no_analytics_and_no_ray() -> None:
    run = subprocess.run([sys.executable, "-c", DAEMON], capture_output=True, check=True, timeout=150, text=True)
    assert run.stdout.strip() == ""
