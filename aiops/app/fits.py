"""Rounds of fitting: ask the detectors what is due, have a worker process fit it, hand the models back.

Only copying windows and taking over arrays happens on the loop. A round that fails, hangs or is killed is counted and
changes nothing: detectors go on with the models they have. A round that took too long makes the next one half as large.
"""

import asyncio
import logging
import math
import os
import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from numpy.typing import NDArray

from aiops.app.pipeline import Pipeline
from aiops.detect.fitting import Arrays, Fitted, pack, part, prefixed, unpack
from aiops.detect.settings import FitSettings
from aiops.kit.clock import SYSTEM_CLOCK, Clock
from aiops.kit.log import OnChange
from aiops.kit.memory import ONE_THREAD
from aiops.kit.text import clipped

_LOG = logging.getLogger("aiops.app.fits")
_LIBRARIES = ("statsmodels", "sklearn")
COMMAND = (sys.executable, "-m", "aiops.app.worker")
_SMALLEST_SHARE = 1 / 64
_LONGEST_ERROR = 300


def missing_libraries() -> list[str]:
    """What of the extra ``analytics`` is not installed."""
    return [name for name in _LIBRARIES if find_spec(name) is None]


class FitFailed(Exception):
    """A round brought no models; the text says why."""


class FitTooSlow(FitFailed):
    """The worker was killed because its time was up."""


@dataclass(slots=True)
class FitCounts:
    """What the rounds did since the start.

    Attributes
    ----------
    skipped
        Rounds left out because the machine was busy.
    failures
        Rounds, or detectors within a round, that brought no models.
    models
        Models taken over.
    error
        Why the last round failed; empty when it did not.
    """

    rounds: int = 0
    skipped: int = 0
    failures: int = 0
    models: int = 0
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    error: str = ""


class Fits:
    """Fits the models of a pipeline, round by round.

    Parameters
    ----------
    pipeline
        Whose detectors are fitted; its bank may be exchanged between rounds.
    settings
        May be exchanged too.
    busy
        Says why this is no time to fit; empty when it is.
    command
        The worker; the time limit in seconds is its last argument.
    others
        Who else has models fitted, beside the detectors.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        settings: FitSettings,
        *,
        clock: Clock = SYSTEM_CLOCK,
        busy: Callable[[FitSettings], str] | None = None,
        command: Sequence[str] = COMMAND,
        others: Sequence[Fitted] = (),
    ) -> None:
        self.settings = settings
        self.counts = FitCounts()
        self._pipeline = pipeline
        self._clock = clock
        self._busy = busy or load_too_high
        self._command = tuple(command)
        self._others = tuple(others)
        self._share = 1.0
        self._faults = OnChange(_LOG, clock.monotonic)

    def possible(self) -> bool:
        """Whether there is anything to run; says once why not."""
        missing = missing_libraries()
        if self.settings.enabled and missing:
            _LOG.info(
                "no ARIMA and no isolation forest: install the extra aiops[analytics]",
                extra={"missing": ", ".join(missing)},
            )
        return self.settings.enabled and not missing

    async def round(self) -> None:
        """Fit what is due."""
        reason = self._busy(self.settings)
        self._faults.report("fit rounds", reason and "left out: the machine is busy", reason=reason)
        if reason:
            self.counts.skipped += 1
            return
        request = self._request()
        if not request:
            return
        self.counts.rounds += 1
        began, used = self._clock.monotonic(), _children_seconds()
        try:
            self._take_over(await self._fitted(request))
        except FitFailed as error:
            self.counts.failures += 1
            self.counts.error = str(error)
            if isinstance(error, FitTooSlow):
                self._share = max(self._share / 2, _SMALLEST_SHARE)
        else:
            self._share = min(self._share * 2, 1.0)
        self.counts.wall_seconds += self._clock.monotonic() - began
        self.counts.cpu_seconds += _children_seconds() - used
        self._faults.report("fit worker", self.counts.error)

    def _fitters(self) -> Iterator[Fitted]:
        yield from self._pipeline.bank.fitted()
        yield from self._others

    def _request(self) -> dict[str, NDArray[Any]]:
        window = self._pipeline.ring.window()
        most = {"iforest": self.settings.most_forests}
        request: dict[str, NDArray[Any]] = {}
        for detector in self._fitters():
            limit = most.get(detector.name, self.settings.most_series)
            ask = detector.ask(window, max(1, math.floor(limit * self._share)))
            if ask is not None:
                request |= prefixed(ask, detector.name)
        return request

    async def _fitted(self, request: Arrays) -> dict[str, NDArray[Any]]:
        content = await asyncio.to_thread(pack, request)
        answer = await run_worker(self._command, content, self.settings.time_limit)
        try:
            return await asyncio.to_thread(unpack, answer)
        except ValueError as error:
            raise FitFailed(f"the answer of the fit worker is not usable: {error}") from error

    def _take_over(self, answer: Arrays) -> None:
        window = self._pipeline.ring.window()
        problems = []
        for detector in self._fitters():
            found = part(answer, detector.name)
            if "error" in found:
                problems.append(f"{detector.name}: {clipped(found['error'].tobytes().decode(), _LONGEST_ERROR)}")
            elif found:
                try:
                    self.counts.models += detector.accept(window, found)
                except (KeyError, ValueError) as error:
                    problems.append(f"{detector.name}: the answer is not usable: {error}")
        self.counts.failures += len(problems)
        self.counts.error = "; ".join(problems)


async def run_worker(command: Sequence[str], content: bytes, limit_seconds: float) -> bytes:
    """Run the worker on a request; return its answer. It is gone when this returns or is cancelled.

    Raises
    ------
    FitTooSlow
        When it was not done within ``limit_seconds``.
    FitFailed
        When it cannot be started, or ended with an error.
    """
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(
            *command, str(math.ceil(limit_seconds)), stdin=pipe, stdout=pipe, stderr=pipe,
            env={**os.environ, **ONE_THREAD},
            start_new_session=True,  # Ctrl-C is for the daemon, which then ends the worker
        )  # fmt: skip
    except OSError as error:
        raise FitFailed(f"the fit worker cannot be started: {error}") from error
    try:
        async with asyncio.timeout(limit_seconds):
            answer, errors = await process.communicate(content)
    except TimeoutError as error:
        raise FitTooSlow(f"the fit worker was not done after {limit_seconds:g} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        lines = errors.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        said = clipped(lines[-1], _LONGEST_ERROR)
        raise FitFailed(f"the fit worker ended with {process.returncode}: {said}")
    return answer


def load_too_high(settings: FitSettings) -> str:
    """Compare the load average of the last minute with the cores that we may use."""
    load = os.getloadavg()[0] / len(os.sched_getaffinity(0))
    return f"load {load:.1f} per core" if load > settings.busiest_load else ""


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
