"""Shared fixtures: real programs, recordings, free ports."""

import os
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import early

# Tests never judge wall time, and a loaded machine is no reason to fail.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")
FUZZ = int(os.environ.get("AIOPS_FUZZ", "1"))
"""How many times more examples the tests of doors try; ``make fuzz`` sets it."""


def effort(examples: int) -> settings:
    """Settings of a test at a door to the outside."""
    return settings(max_examples=examples * FUZZ)


# Programs that tests start would each compile the whole package and its libraries anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
os.environ.pop("COLUMNS", None)  # tables are as wide as in a pipe, whatever the terminal

SHARED = Path(__file__).resolve().parents[2] / "shared"
SOAK = int(os.environ.get("AIOPS_SOAK", "1"))
"""How many times longer the tests of endurance last; ``make soak`` sets it."""
REQUIRE_REAL = os.environ.get("AIOPS_REQUIRE_REAL") == "1"


def pytest_collection_finish(session: pytest.Session) -> None:
    """See :mod:`tests.early`."""
    if not session.config.option.collectonly:
        for module in dict.fromkeys(item.module for item in session.items if isinstance(item, pytest.Function)):
            getattr(module, "begin_with_session", lambda: None)()


def pytest_sessionfinish() -> None:
    early.end()


def missing(what: str) -> None:
    """Skip, or fail where every real component must be there."""
    if REQUIRE_REAL:
        pytest.fail(f"{what} is missing and AIOPS_REQUIRE_REAL=1")
    pytest.skip(f"{what} is not on this machine")


def shared(part: str) -> Path:
    """A folder of recorded data, which lies beside the checkout on development machines only; skips elsewhere."""
    if not SHARED.is_dir():
        pytest.skip(f"recorded data (../shared/{part}) is not on this machine")
    if not (SHARED / part).exists():
        missing(f"../shared/{part}")
    return SHARED / part


@pytest.fixture(scope="session")
def captures() -> Path:
    """Folder of recordings of real programs."""
    return shared("data/captures")


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Return a function that gives a free loopback TCP port, a new one at each call."""
    given: set[int] = set()

    def next_port() -> int:
        while True:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = int(probe.getsockname()[1])
            if port not in given:
                given.add(port)
                return port

    return next_port


@pytest.fixture(scope="session")
def real_program() -> Callable[[str], str]:
    """Return a function that finds a program beside Python or on PATH, or skips (fails under AIOPS_REQUIRE_REAL=1)."""

    def find(name: str) -> str:
        path = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
        if path is None:
            missing(f"the program {name}")
        assert path is not None
        return path

    return find
