"""Work in parts that know nothing of one another: done here, by processes of this machine, or by a Ray cluster.

Invariants: answers come in the order of the parts, and are the same bit for bit whoever does the work, since a part is
done by one process from nothing but what it is given. What goes wrong in a part costs that part only: one that raises
is lost at once, one whose process dies (killed, or short of memory) after :data:`TRIES` tries.
"""

import multiprocessing
import os
import signal
from argparse import Namespace
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

from aiops.app.output import CommandFailedError

TRIES = 3
Part = TypeVar("Part")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Lost:
    """Stands where an answer is missing, and says why."""

    reason: str


class Engine(Protocol):
    """Whoever does the work."""

    def map(self, work: Callable[[Part], Answer], parts: Sequence[Part]) -> Iterator[Answer | Lost]:
        """Do every part. ``work`` stands in a module under its own name; it, parts and answers can be pickled."""
        ...


def engine_of(args: Namespace) -> AbstractContextManager[Engine]:
    """What ``--engine`` and ``--jobs`` ask for; without a number, as many processes as there are cores for us."""
    if args.engine == "ray":
        if args.jobs is not None:
            raise CommandFailedError("--jobs goes with --engine processes; a cluster knows how large it is")
        try:
            from aiops.app.by_ray import Cluster  # noqa: PLC0415 - heavy, and only here
        except ImportError as error:
            raise CommandFailedError(f"--engine ray needs the extra aiops[ray] ({error})") from None
        return Cluster()
    return processes(args.jobs or len(os.sched_getaffinity(0)))


def processes(count: int) -> AbstractContextManager[Engine]:
    """That many processes, which stay until the end; one is this process."""
    return Processes(count) if count > 1 else nullcontext(Here())


def attempt(work: Callable[[Part], Answer], part: Part) -> Answer | Lost:
    """Do one part."""
    try:
        return work(part)
    except Exception as error:  # noqa: BLE001 - the supervision point of a part
        return Lost(f"{type(error).__name__}: {error}")


class Here:
    """This process."""

    def map(self, work: Callable[[Part], Answer], parts: Sequence[Part]) -> Iterator[Answer | Lost]:
        """One after the other, as they are asked for."""
        return (attempt(work, part) for part in parts)


class Processes:
    """Processes of this machine. Each is a pool of its own, so that it is known whose part killed one."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._pools: dict[int, ProcessPoolExecutor] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)

    def map(self, work: Callable[[Part], Answer], parts: Sequence[Part]) -> Iterator[Answer | Lost]:
        """At most one part per process at a time."""
        waiting, free = deque(range(len(parts))), list(range(self._count))
        running: dict[Future[Answer | Lost], tuple[int, int]] = {}
        answers: dict[int, Answer | Lost] = {}
        deaths: Counter[int] = Counter()
        for wanted in range(len(parts)):
            while wanted not in answers:
                while free and waiting:
                    place, part = free.pop(), waiting.popleft()
                    running[self._start(place, work, parts[part])] = place, part
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    place, part = running.pop(future)
                    free.append(place)
                    try:
                        answers[part] = future.result()
                    except BrokenProcessPool:
                        del self._pools[place]
                        deaths[part] += 1
                        if deaths[part] < TRIES:
                            waiting.appendleft(part)
                        else:
                            answers[part] = Lost(f"its process died, {TRIES} times")
            yield answers.pop(wanted)

    def _start(self, place: int, work: Callable[[Part], Answer], part: Part) -> Future[Answer | Lost]:
        if place in self._pools:
            try:
                return self._pools[place].submit(attempt, work, part)
            except BrokenProcessPool:  # it died since, with nothing to do
                pass
        # Not forked: a copy of a process that has threads may hang. Ctrl-C ends them without a word.
        context = multiprocessing.get_context("forkserver")
        self._pools[place] = ProcessPoolExecutor(1, context, signal.signal, (signal.SIGINT, signal.SIG_DFL))
        return self._pools[place].submit(attempt, work, part)
