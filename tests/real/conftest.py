"""Real programs around a real daemon: an LLM server, its clients, Alertmanager and the people it tells."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

from tests.real.alertmanager import People, RealAlertmanager, alone
from tests.real.programs import Program, get_json, until

LLAMA = Path(__file__).with_name("llama_server.py")
SLOTS = 4
INTERVAL_SECONDS = 0.5


@dataclass
class Llm:
    """A real llama.cpp server with a model of random weights."""

    program: Program
    port: int

    @property
    def metrics(self) -> str:
        return f"http://127.0.0.1:{self.port}/metrics"

    async def start(self) -> None:
        await self.program.start()
        await until(lambda: get_json(f"http://127.0.0.1:{self.port}/health"), 30, "the LLM server")

    async def load(self, clients: int, stop: asyncio.Event) -> int:
        """Keep ``clients`` requests going until told to stop; return how many were answered."""
        answered = 0
        connector = TCPConnector(limit=0, force_close=True)
        async with ClientSession(connector=connector, timeout=ClientTimeout(total=60)) as session:

            async def client() -> None:
                nonlocal answered
                while not stop.is_set():
                    body = {"prompt": "hello world", "max_tokens": 300, "ignore_eos": True}
                    try:
                        async with session.post(f"http://127.0.0.1:{self.port}/v1/completions", json=body) as reply:
                            await reply.read()
                            answered += reply.status == 200
                    except (ClientError, OSError, TimeoutError):
                        await asyncio.sleep(0.05)

            await asyncio.gather(*(client() for _ in range(clients)))
        return answered


@dataclass
class House:
    """The daemon under test, with its folder and address."""

    program: Program
    url: str
    config: Path

    async def start(self) -> None:
        await self.program.start()
        await until(self.ready, 20, f"the daemon ({self.program.log.read_text()[-2000:]})")

    async def ready(self) -> bool:
        process = self.program.process
        assert process is None or process.returncode is None, self.program.log.read_text()
        async with ClientSession(timeout=ClientTimeout(total=2)) as session:
            try:
                async with session.get(f"{self.url}/-/ready") as answer:
                    return answer.status == 200
            except (ClientError, OSError, TimeoutError):
                return False

    async def data(self, path: str) -> Any:
        answer = await get_json(f"{self.url}/api/v1/{path}")
        return answer["data"] if answer else {}

    async def alerts(self, state: str) -> set[str]:
        return {
            alert["labels"]["alertname"]
            for alert in (await self.data("alerts")).get("alerts", ())
            if alert["state"] == state
        }

    async def signals(self) -> dict[str, float | None]:
        """Latest values of the replica, by signal (and statistic)."""
        return {
            row["signal"] + (f":{row['stat']}" if row["stat"] else ""): row["value"]
            for row in (await self.data("signals")).get("signals", ())
            if row["entity"]["kind"] == "replica"
        }


@pytest_asyncio.fixture
async def llm(tmp_path: Path, free_port: Callable[[], int]) -> AsyncIterator[Llm]:
    """A running LLM server; ``program.end()`` kills it, ``start()`` brings it back on the same port."""
    sys.path.insert(0, str(LLAMA.parent))
    from llama_server import write_model

    model = tmp_path / "random.gguf"
    write_model(model)
    port = free_port()
    program = Program(sys.executable, str(LLAMA), str(model), str(port), str(SLOTS), log=tmp_path / "llm.log")
    server = Llm(program, port)
    await server.start()
    yield server
    await program.end(signal.SIGKILL)


@pytest.fixture
def people() -> People:
    """Whom Alertmanager tells."""
    return People()


@pytest_asyncio.fixture
async def alertmanager(
    tmp_path: Path, free_port: Callable[[], int], real_program: Callable[[str], str], people: People
) -> AsyncIterator[RealAlertmanager]:
    """A running Alertmanager that tells ``people``."""
    program = real_program("prometheus-alertmanager")
    async with alone(program, tmp_path / "alertmanager", free_port(), people) as running:
        yield running


@pytest_asyncio.fixture
async def house(
    tmp_path: Path, free_port: Callable[[], int], llm: Llm, alertmanager: RealAlertmanager
) -> AsyncIterator[House]:
    """The daemon, configured by a file, not yet started."""
    port = free_port()
    config = tmp_path / "aiops.yaml"
    config.write_text(
        f"""
interval: {INTERVAL_SECONDS * 1000:.0f}ms
scrape:
  jobs:
  - name: chat
    interval: {INTERVAL_SECONDS * 1000:.0f}ms
    targets: ["{llm.metrics}"]
nvml: {{enabled: "off"}}
store: {{directory: {tmp_path / "state"}}}
notify:
  resend_delay: 2s
  alertmanagers:
  - url: {alertmanager.url}
web: {{listen_address: "127.0.0.1:{port}", enable_lifecycle: true}}
"""
    )
    command = (sys.executable, "-m", "aiops", "run", f"--config.file={config}")
    program = Program(*command, log=tmp_path / "aiops.log")
    house = House(program, f"http://127.0.0.1:{port}", config)
    yield house
    if program.process is not None and program.process.returncode is None:
        await program.end(signal.SIGKILL)
