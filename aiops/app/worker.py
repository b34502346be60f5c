"""The fit worker: a program that reads arrays from stdin, fits models, writes arrays to stdout and ends.

``python -m aiops.app.worker SECONDS`` is the only process that imports statsmodels, scikit-learn, scipy and pandas, so
their memory is given back after every round. It is the first to yield: lowest priority, first choice of the kernel
when memory is short, and ended by the kernel after SECONDS of CPU even when nobody is left to kill it.
"""

import contextlib
import os
import resource
import sys
from pathlib import Path

from aiops.app.load_fits import MODULE, LoadFits
from aiops.detect.fit import FITTERS, solve
from aiops.detect.fitting import pack, unpack

_NICENESS = 15
_FIRST_TO_GO = "1000"


def main(arguments: list[str]) -> int:
    """Run once; return the exit code."""
    if len(arguments) != 1 or not arguments[0].isdecimal():
        sys.stderr.write("usage: python -m aiops.app.worker SECONDS <request.npz >answer.npz\n")
        return 2
    _step_back(int(arguments[0]))
    # What a library prints must not end up between the arrays.
    answer = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    content = pack(solve(unpack(sys.stdin.buffer.read()), {**FITTERS, LoadFits.name: MODULE}))
    with os.fdopen(answer, "wb") as file:
        file.write(content)
    return 0


def _step_back(cpu_seconds: int) -> None:
    os.nice(_NICENESS)
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    with contextlib.suppress(OSError):  # no /proc: then it is as likely to go as anybody
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO, encoding="ascii")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
