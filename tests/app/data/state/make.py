"""Writes the state folder of this version, as the program itself leaves it: ``python tests/app/data/state/make.py``.

A fleet of two with a dead replica, an incident about it, what a person and an Alertmanager said, and a planned window.
A folder of a released version is never written again; ``tests/app/test_upgrade.py`` opens them all.
"""

import asyncio
import json
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[4]
sys.path.insert(0, str(ROOT))

from aiohttp import ClientSession  # noqa: E402 - run as a program, not as a part of the package

from aiops import __version__  # noqa: E402
from aiops.lab.fleet import Fleet  # noqa: E402
from tests.real.programs import Program, get_json, until  # noqa: E402

FOLDER = Path(__file__).parent
KEPT = ("archive.sqlite", "snapshot.npz")
CONFIG = """
interval: 200ms
scrape:
  jobs:
  - name: chat
    interval: 200ms
    targets:
    - {{url: "{urls[0]}", labels: {{instance: "chat-0:8000"}}}}
    - {{url: "{urls[1]}", labels: {{instance: "chat-1:8000"}}}}
detect: {{minimum_samples: 30}}
nvml: {{enabled: "off"}}
store: {{directory: "{state}", window: 20s, max_series: 200}}
web: {{listen_address: "127.0.0.1:{port}"}}
"""
TOLD = {
    "version": "4",
    "groupKey": "{}",
    "alerts": [
        {"status": "firing", "labels": {"alertname": "DiskFull", "job": "chat", "instance": "chat-0:8000"},
         "annotations": {"summary": "The disk is full"}, "startsAt": "2026-01-01T00:00:00Z", "fingerprint": "f00"},
    ],
}  # fmt: skip
WINDOW = {"name": "racks move", "begins": "2099-01-01T00:00:00Z", "lasts": "1h", "matches": {"job": "nobody"}}


async def made(base: str, fleet: Fleet) -> dict[str, Any]:
    """Let everything happen once; return what the API says in the end."""

    async def data(path: str) -> Any:
        answer = await get_json(f"{base}/api/v1/{path}")
        return answer and answer["data"]

    async def learnt() -> bool:
        rows = await data("signals?signal=queue_len&entity=replica")
        return bool(rows and len(rows["signals"]) == 2 and not any(row["learning"] for row in rows["signals"]))

    async def open_incidents() -> list[Any]:
        return [one for one in (await data("incidents"))["incidents"] if one["endsAt"] is None]

    async def post(path: str, body: object) -> None:
        async with ClientSession() as session, session.post(f"{base}/api/v1/{path}", json=body) as answer:
            assert answer.status < 300, (path, await answer.text())

    await until(learnt, 60, "what is normal is known")
    await fleet.strike(1, "dead")
    await until(open_incidents, 20, "an incident")
    (incident,) = await open_incidents()
    await post("feedback", {"incident": incident["id"], "judgement": "true", "cause": "a cable", "note": "seen before"})
    await post("maintenance", WINDOW)
    await post("marks", {"text": "chat 1.4 became 1.5"})
    await post("alertmanager", TOLD)
    await asyncio.sleep(3)  # a diagnosis, and some more rows
    return {
        "alerts": [
            {key: one[key] for key in ("labels", "activeAt")}
            for one in (await data("alerts"))["alerts"]
            if one["state"] == "firing"
        ],
        "incidents": [{key: one[key] for key in ("id", "title", "startsAt")} for one in await open_incidents()],
        "feedback": [one["id"] for one in (await data("feedback"))["feedback"]],
        "windows": [one["id"] for one in (await data("maintenance"))["windows"]],
    }


async def main() -> None:
    """Make the folder of this version."""
    fleet = Fleet(2)
    await fleet.start()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        config, state = folder / "aiops.yaml", folder / "state"
        config.write_text(CONFIG.format(urls=[one.url for one in fleet.replicas], state=state, port=port))
        program = Program(sys.executable, "-m", "aiops", "run", f"--config.file={config}", log=folder / "log")
        await program.start()
        try:
            base = f"http://127.0.0.1:{port}"
            await until(lambda: get_json(f"{base}/api/v1/status"), 20, "the daemon")
            found = await made(base, fleet)
        finally:
            assert await program.end(signal.SIGTERM) == 0, (folder / "log").read_text()
            await fleet.stop()
        place = FOLDER / __version__
        place.mkdir(exist_ok=True)
        for file in KEPT:
            (place / file).write_bytes((state / file).read_bytes())
        (place / "expected.json").write_text(json.dumps(found, indent=1) + "\n")
        left = sorted(one.name for one in state.iterdir() if one.name not in KEPT)
        sys.stderr.write(f"{place}: {sum(one.stat().st_size for one in place.iterdir())} bytes; left out {left}\n")


if __name__ == "__main__":
    asyncio.run(main())
