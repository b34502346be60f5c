"""Work in parts on a Ray cluster that is there: the one that ``RAY_ADDRESS`` names, else the one of this machine.

None is started: local processes need no Ray, and a cluster answers everybody who reaches its ports. The nodes need the
same version of aiops with what the work imports. The only module that imports ray; never imported by the daemon.
"""

import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, redirect_stdout
from typing import Any, Self

from aiops import __version__
from aiops.app.output import CommandFailedError
from aiops.app.parts import TRIES, Answer, Lost, Part, attempt

# Read when ray is imported: no telemetry, and a task that ran out of memory is not tried for ever.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_task_oom_retries", str(TRIES - 1))

import ray
from ray.exceptions import RayError, RayTaskError


class Cluster:
    """Keeps the promises of :class:`aiops.app.parts.Engine`; a part takes one CPU of the cluster."""

    def __init__(self) -> None:
        self._open = ExitStack()

    def __enter__(self) -> Self:
        self._open.enter_context(redirect_stdout(sys.stderr))  # where Ray tells of workers that died
        if not ray.is_initialized():
            try:
                ray.init("auto", log_to_driver=False, logging_level=logging.ERROR)
            except (ConnectionError, RuntimeError, ValueError) as error:
                self._open.close()
                raise CommandFailedError(
                    f"no Ray cluster answers: {error}; set RAY_ADDRESS, or run on a node of the cluster"
                ) from None
            self._open.callback(ray.shutdown)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def map(self, work: Callable[[Part], Answer], parts: Sequence[Part]) -> Iterator[Answer | Lost]:
        """As many at a time as the cluster has CPUs."""
        task: Any = ray.remote(num_cpus=1, max_retries=TRIES - 1)(_attempt)
        for answer in [task.remote(__version__, work, part) for part in parts]:
            try:
                yield ray.get(answer)
            except RayTaskError as error:
                yield Lost(f"the worker cannot do it: {error.cause}")
            except RayError as error:
                yield Lost(f"its worker died, {TRIES} times: {str(error).partition('.')[0]}")


def _attempt(version: str, work: Callable[[Part], Answer], part: Part) -> Answer | Lost:
    if version != __version__:
        return Lost(f"the worker has aiops {__version__}, expected {version}")
    return attempt(work, part)
