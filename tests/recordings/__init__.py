"""Pages of real programs, recorded by this project: see the README beside this file."""

import gzip
from pathlib import Path

_FOLDER = Path(__file__).parent
_MOMENTS = ("idle", "steady-0", "steady-1", "overload-0", "overload-1", "dead")
PROGRAMS = sorted(path.name for path in _FOLDER.iterdir() if path.is_dir() and any(path.glob("*.gz")))
"""Every folder."""
PROFILE = {"dynamo-vllm": "vllm", "dynamo-sglang": "sglang"}
"""Folder → profile, where they are not called the same."""


def page(program: str, moment: str) -> bytes:
    """One page."""
    return gzip.decompress((_FOLDER / program / f"{moment}.prom.gz").read_bytes())


def moments(program: str) -> list[str]:
    """What was recorded of a program, in the order in which it happened."""
    return [moment for moment in _MOMENTS if (_FOLDER / program / f"{moment}.prom.gz").exists()]
