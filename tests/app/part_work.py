"""Work for processes and for a cluster, found there by the name of this module."""

import os
import signal
from pathlib import Path

from aiops.detect.fit import solve
from aiops.detect.fitting import Arrays

NAMES = ("one", "deadly", "two", "unlucky", "bad", "three")


def named(part: Path) -> str:
    """What happens is in the name of the part; counts its tries in that file."""
    with part.open("a") as file:
        file.write("x")
    tries = part.stat().st_size
    if part.name == "bad":
        raise ValueError("expected another part")
    if part.name == "deadly" or (part.name == "unlucky" and tries == 1):
        die(0)
    return f"{part.name} at try {tries}"


def die(_: int) -> None:
    """As the kernel ends who takes too much memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def solve_all_but_forests(request: Arrays) -> Arrays:
    """A fit that dies of one of its parts."""
    if any(name.startswith("iforest.") for name in request):
        die(0)
    return solve(request)
