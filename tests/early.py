"""Programs that take long begin with the session, beside the tests that run before theirs.

A module whose tests need one defines ``begin_with_session``, which is called once its tests are chosen, and asks for
the outcome when their turn comes. What computes runs one after the other: it has the second core of a small machine.
"""

import subprocess
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

_COMPUTING, _WAITING = ThreadPoolExecutor(1, "computing"), ThreadPoolExecutor(4, "waiting")
_OUTCOMES: dict[str, Future[object]] = {}
_STARTED: list[subprocess.Popen[str]] = []


def computing(name: str, work: Callable[[], object]) -> None:
    """Begin what keeps a core busy, when those before it are done."""
    _OUTCOMES[name] = _COMPUTING.submit(work)


def waiting(name: str, work: Callable[[], object]) -> None:
    """Begin what mostly waits, at once."""
    _OUTCOMES[name] = _WAITING.submit(work)


def outcome(name: str) -> Any:
    """What the work returned or raised, when it is done."""
    return _OUTCOMES[name].result()


def started(*command: str, **options: object) -> subprocess.Popen[str]:
    """A program that does not outlive the session."""
    process: subprocess.Popen[str] = subprocess.Popen(command, text=True, **options)  # type: ignore[call-overload]
    _STARTED.append(process)
    return process


def done(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    process = started(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    output, errors = process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def end() -> None:
    """Leave nothing behind."""
    for pool in (_COMPUTING, _WAITING):
        pool.shutdown(wait=False, cancel_futures=True)
    for process in _STARTED:
        process.kill()
        process.wait()
