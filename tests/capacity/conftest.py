"""Shared by the tests of the capacity room: recorded traces, and loads made on the spot."""

from pathlib import Path

import pytest

from tests.conftest import SHARED, missing


@pytest.fixture(scope="session")
def traces() -> Path:
    """Folder of recorded traces; it lies beside the checkout on development machines only."""
    folder = SHARED / "data" / "traces"
    if not folder.is_dir():
        missing("the folder of recorded traces (../shared/data/traces)")
    return folder
