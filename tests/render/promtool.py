"""Tests of rules by promtool: each file takes seconds of a core."""

import shutil
import subprocess
from pathlib import Path

from tests import early


def verdict(path: Path) -> "subprocess.CompletedProcess[str] | None":
    """What it says of a file; None where there is no promtool."""
    promtool = shutil.which("promtool")
    return None if promtool is None else early.done(promtool, "test", "rules", str(path))
