"""What ends the daemon, and how: as systemd and the kubelet do it."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.real.programs import until


@pytest.fixture
async def deaf() -> AsyncIterator[str]:
    """A receiver that takes everything and never answers."""
    asked = asyncio.Event()

    async def never(_: web.Request) -> web.Response:
        asked.set()
        await asyncio.sleep(600)
        return web.Response()

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", never)
    async with TestServer(application, shutdown_timeout=0.0) as server:
        yield str(server.make_url("")).rstrip("/")


@contextlib.asynccontextmanager
async def daemon(folder: Path, receiver: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A daemon with a dead target, whose alert the receiver holds up."""
    config = folder / "aiops.yaml"
    config.write_text(
        f"interval: 200ms\nnvml: {{enabled: 'off'}}\nstore: {{directory: {folder}/state}}\n"
        "scrape: {jobs: [{name: j, interval: 200ms, targets: ['http://127.0.0.1:9/m']}]}\n"
        f"notify: {{drain_timeout: 1s, alertmanagers: [{{url: {receiver}, timeout: 60s}}]}}\n"
        "web: {listen_address: '127.0.0.1:0'}\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "aiops", "run", f"--config.file={config}", stderr=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def told(process: asyncio.subprocess.Process, text: str) -> str:
    """Read the log up to a line that has ``text``."""
    assert process.stderr is not None
    async with asyncio.timeout(30):
        while line := await process.stderr.readline():
            if text in line.decode():
                return line.decode()
    raise AssertionError(f"the daemon ended without saying {text!r}")


async def test_sigterm_drains_within_its_bound_and_ends_well(tmp_path: Path, deaf: str) -> None:
    async with daemon(tmp_path, deaf) as process:
        await told(process, "to=firing")
        process.send_signal(signal.SIGTERM)
        await told(process, "msg=stopped")
        assert await process.wait() == 0
    assert (tmp_path / "state" / "snapshot.npz").exists()


async def test_a_second_sigterm_does_not_wait(tmp_path: Path, deaf: str) -> None:
    async with daemon(tmp_path, deaf) as process:
        await told(process, "to=firing")
        process.send_signal(signal.SIGTERM)
        await told(process, "msg=stopping")
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == -signal.SIGTERM
    # What a kill leaves is what any kill leaves: the next start goes on from it.
    async with daemon(tmp_path, deaf) as process:
        await told(process, "msg=started")
        process.send_signal(signal.SIGTERM)
        await until(lambda: process.returncode is not None, 20, "the end")
        assert process.returncode == 0
