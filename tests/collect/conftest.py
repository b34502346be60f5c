"""A driver library of our own for the NVML tests."""

import ctypes
from collections.abc import Callable, Iterator
from pathlib import Path

import pynvml
import pytest

from tests.collect.nvml_driver import Driver, Time, build


@pytest.fixture(scope="session")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Driver libraries of a new and of an old driver.

    In this process they are loaded under names of their own: a library named like the real one would stay
    and be found by every later test that looks for it.
    """
    folder = tmp_path_factory.mktemp
    return {
        "new": build(folder("new"), "-Wl,-soname,aiops-stub-new.so"),
        "old": build(folder("old"), "-Wl,-soname,aiops-stub-old.so", "-DOLD_DRIVER"),
        "real name": build(folder("real"), "-Wl,-soname,libnvidia-ml.so.1"),
    }


@pytest.fixture
def forget_library() -> Iterator[None]:
    """``pynvml`` keeps one library for the whole process: start and leave without one."""

    def forget() -> None:
        pynvml.nvmlLib = None
        pynvml._nvmlLib_refcount = 0
        pynvml._nvmlGetFunctionPointer_cache.clear()

    forget()
    yield
    forget()


@pytest.fixture
def install(
    libraries: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forget_library: None
) -> Callable[[str], Driver]:
    def put(kind: str) -> Driver:
        pynvml.nvmlLib = ctypes.CDLL(str(libraries[kind]))
        driver = Driver(pynvml.nvmlLib, tmp_path / "state")
        monkeypatch.setenv("NVML_STUB_STATE", str(driver.path))
        driver.healthy(0)
        return driver

    return put


@pytest.fixture
def driver(install: Callable[[str], Driver]) -> Driver:
    return install("new")


@pytest.fixture
def time() -> Time:
    return Time()
