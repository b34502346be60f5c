"""Child processes, and waiting for what real programs do in their own time."""

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout

PATIENCE = 4
"""How many times longer than usual things may take on a machine that others use too."""


async def until(ready: Callable[[], object], seconds: float, what: str) -> None:
    """Look ten times a second until something is so; fail when it does not come by far in the usual time."""
    deadline = time.monotonic() + PATIENCE * seconds
    while True:
        answer = ready()
        if isinstance(answer, Awaitable):
            answer = await answer
        if answer:
            return
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE * seconds} s"
        await asyncio.sleep(0.1)


class Program:
    """A child process whose output goes to a file."""

    def __init__(self, *command: str, log: Path) -> None:
        self.command = command
        self.log = log
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self.log.open("ab") as output:
            self.process = await asyncio.create_subprocess_exec(*self.command, stdout=output, stderr=output)

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        assert self.process is not None
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), PATIENCE * 15)


async def get_json(url: str) -> Any:
    """Body of a JSON page; None while nobody answers, or with another status than 200."""
    async with ClientSession(timeout=ClientTimeout(total=5)) as session:
        try:
            async with session.get(url) as answer:
                return await answer.json() if answer.status == 200 else None
        except (ClientError, OSError, TimeoutError, json.JSONDecodeError):
            return None
