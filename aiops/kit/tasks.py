"""Keeping loops alive: the one place where unexpected exceptions are caught.

A :class:`Supervisor` owns every long-running task of the daemon. A task that crashes is counted, logged once and
started again after a wait; it never takes another task with it. :func:`every` is the loop that most of them run.
"""

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

from aiops.kit.clock import SYSTEM_CLOCK, Clock
from aiops.kit.retry import backoff_seconds

_log = logging.getLogger("aiops.kit.tasks")
Work = Callable[[], Awaitable[object]]


class TaskState(StrEnum):
    """How a supervised task is."""

    RUNNING = "running"
    WAITING = "waiting"
    """Crashed, and waits to be started again."""
    FINISHED = "finished"
    """Returned by itself."""


@dataclass(slots=True)
class TaskReport:
    """What is known of one task.

    Attributes
    ----------
    crashes
        Unexpected exceptions since the start, over all restarts.
    crashes_in_a_row
        Crashes with no healthy stretch between them.
    error
        What the last crash said; empty once the task is healthy again.
    """

    name: str
    state: TaskState = TaskState.RUNNING
    crashes: int = 0
    crashes_in_a_row: int = 0
    error: str = ""


@dataclass(slots=True)
class Beat:
    """Counters of one periodic loop: ticks that ran, and ticks that were due while the one before still ran."""

    ticks: int = 0
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """Wait before a restart (exponential with jitter, seconds), and when a task counts as healthy again."""

    base_seconds: float = 1.0
    cap_seconds: float = 60.0
    healthy_after_seconds: float = 120.0


class Supervisor:
    """Runs named tasks until told to stop. All methods belong to one event loop.

    Parameters
    ----------
    rng
        Source of the jitter of restarts.
    """

    def __init__(self, *, policy: RestartPolicy | None = None, rng: random.Random | None = None) -> None:
        self._policy = policy or RestartPolicy()
        self._rng = rng or random.Random()  # noqa: S311 - jitter, not cryptography
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._reports: dict[str, TaskReport] = {}
        self._closed = False

    def spawn(self, name: str, work: Work) -> None:
        """Start ``work()`` as a task and keep it running until it returns or is stopped.

        Raises
        ------
        ValueError
            When a task of that name is still there.
        RuntimeError
            After :meth:`close`.
        """
        if self._closed:
            raise RuntimeError(f"cannot start {name!r}: the supervisor is closed")
        if name in self._tasks and not self._tasks[name].done():
            raise ValueError(f"a task named {name!r} is already running")
        report = self._reports[name] = TaskReport(name)
        self._tasks[name] = asyncio.create_task(self._keep(report, work), name=name)

    def reports(self) -> tuple[TaskReport, ...]:
        """All tasks that were not stopped, in order of their start."""
        return tuple(self._reports.values())

    async def stop(self, name: str, *, within_seconds: float) -> bool:
        """Cancel one task, wait for its end, and forget it; False when it did not end in time."""
        left = await self._cancel([name], within_seconds)
        return not left

    async def close(self, *, within_seconds: float) -> tuple[str, ...]:
        """Cancel every task and wait; return the names of those that did not end in time."""
        self._closed = True
        return await self._cancel(list(self._tasks), within_seconds)

    async def _cancel(self, names: list[str], within_seconds: float) -> tuple[str, ...]:
        tasks = {name: self._tasks[name] for name in names if name in self._tasks}
        for task in tasks.values():
            task.cancel()
        if tasks:
            await asyncio.wait(tasks.values(), timeout=within_seconds)
        left = tuple(name for name, task in tasks.items() if not task.done())
        for name in tasks.keys() - set(left):
            del self._tasks[name]
            del self._reports[name]
        if left:
            _log.error("tasks do not stop", extra={"tasks": ", ".join(left), "within_seconds": within_seconds})
        return left

    async def _keep(self, report: TaskReport, work: Work) -> None:
        while True:
            report.state = TaskState.RUNNING
            healthy = asyncio.get_running_loop().call_later(
                self._policy.healthy_after_seconds, self._note_health, report
            )
            try:
                await work()
                report.state = TaskState.FINISHED
                return  # noqa: TRY300 - the end of a task, not of a try
            except asyncio.CancelledError as error:
                # A library may let a cancellation of its own escape; only ours ends the task.
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                self._note_crash(report, error)
            except Exception as error:  # noqa: BLE001 - the supervision point
                self._note_crash(report, error)
            finally:
                healthy.cancel()
            report.state = TaskState.WAITING
            policy = self._policy
            await asyncio.sleep(
                backoff_seconds(
                    report.crashes_in_a_row - 1, base=policy.base_seconds, cap=policy.cap_seconds, rng=self._rng
                )
            )

    def _note_crash(self, report: TaskReport, error: BaseException) -> None:
        report.crashes += 1
        report.crashes_in_a_row += 1
        text = f"{type(error).__name__}: {error}"
        if text != report.error:  # once on change: a loop that fails each second must not fill the log
            _log.error("task crashed, will restart", exc_info=error, extra={"task": report.name, "error": text})
        report.error = text

    def _note_health(self, report: TaskReport) -> None:
        if report.crashes_in_a_row:
            _log.info("task is healthy again", extra={"task": report.name, "crashes": report.crashes_in_a_row})
        report.crashes_in_a_row = 0
        report.error = ""


async def every(
    interval_seconds: float,
    work: Work,
    *,
    offset_seconds: float = 0.0,
    clock: Clock = SYSTEM_CLOCK,
    beat: Beat | None = None,
) -> None:
    """Run ``work`` at ``offset + k·interval`` of the monotonic clock, for ever.

    Ticks do not drift, and keep their phase over a restart, because they are counted from the clock's zero and not
    from the last end. A tick that is due while ``work`` still runs is skipped and counted, never made up for.

    Parameters
    ----------
    interval_seconds
        > 0.
    offset_seconds
        Phase, 0 … interval: spreads loops of the same interval.
    beat
        Counters to keep, also over restarts.
    """
    if not interval_seconds > 0:
        raise ValueError(f"interval is {interval_seconds} s, expected more than 0")
    beat = beat or Beat()
    tick = _next_tick(clock.monotonic(), interval_seconds, offset_seconds)
    while True:
        await _sleep_until(offset_seconds + tick * interval_seconds, clock)
        beat.ticks += 1
        await work()
        due = max(tick + 1, _next_tick(clock.monotonic(), interval_seconds, offset_seconds))
        beat.skipped += due - tick - 1
        tick = due


def _next_tick(now: float, interval_seconds: float, offset_seconds: float) -> int:
    """Number of the first tick that is not in the past."""
    return math.ceil((now - offset_seconds) / interval_seconds)


async def _sleep_until(at: float, clock: Clock) -> None:
    # Always yields, so that a loop that is late every time cannot starve the others.
    await asyncio.sleep(max(0.0, at - clock.monotonic()))
