"""Tests of rules by promtool, on all cores: each file takes seconds of one."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

Done = subprocess.CompletedProcess[str]


@cache
def verdicts(promtool: str, files: tuple[Path, ...]) -> dict[str, Done]:
    """Run each file, once per process; by the name of the file without its ending."""

    def run(path: Path) -> Done:
        return subprocess.run([promtool, "test", "rules", str(path)], capture_output=True, text=True, check=False)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return {path.stem: done for path, done in zip(files, pool.map(run, files), strict=True)}
