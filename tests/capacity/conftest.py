"""Shared by the tests of the capacity room: recorded traces, and loads made on the spot."""

from pathlib import Path

import pytest

from tests.conftest import shared


@pytest.fixture(scope="session")
def traces() -> Path:
    """Folder of recorded traces."""
    return shared("data/traces")
