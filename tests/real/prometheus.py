"""A real Prometheus for tests, with a past: samples are written as blocks before it starts."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path

from aiohttp import ClientError, ClientSession

Samples = Mapping[str, Iterable[tuple[float, float]]]
"""Series as written in a page (``name{label="value"}``) → UTC seconds and values, oldest first."""


def openmetrics(series: Samples) -> str:
    """Text for ``promtool tsdb create-blocks-from openmetrics``; it wants the series of a name together."""
    lines = [
        f"{name} {value!r} {at:.3f}"
        for name in sorted(series, key=lambda name: (name.partition("{")[0], name))
        for at, value in series[name]
    ]
    return "\n".join([*lines, "# EOF", ""])


@contextlib.asynccontextmanager
async def prometheus_with(
    series: Samples, folder: Path, *, prometheus: str, promtool: str, port: int
) -> AsyncIterator[str]:
    """Start it; gives its URL."""
    data = folder / "data"
    (folder / "past.txt").write_text(openmetrics(series))
    (folder / "prometheus.yml").write_text("global: {scrape_interval: 1h}\n")
    await _finished(promtool, "tsdb", "create-blocks-from", "openmetrics", str(folder / "past.txt"), str(data))
    process = await asyncio.create_subprocess_exec(
        prometheus,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={data}",
        f"--web.listen-address=127.0.0.1:{port}",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        async with asyncio.timeout(60), ClientSession() as session:
            while not await _ready(session, url):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        yield url
    finally:
        process.terminate()
        await process.wait()


async def _finished(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


async def _ready(session: ClientSession, url: str) -> bool:
    with contextlib.suppress(ClientError):
        async with session.get(f"{url}/-/ready") as answer:
            return answer.status == 200
    return False
