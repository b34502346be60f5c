"""The whole pipeline on real input: a real LLM server, a real daemon, a real Alertmanager, a real Prometheus."""

import asyncio
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.real.alertmanager import People
from tests.real.conftest import SLOTS, House, Llm
from tests.real.programs import Program, get_json, until

pytestmark = [pytest.mark.real, pytest.mark.timeout(150)]


async def test_a_queue_grows_is_told_and_ends(llm: Llm, house: House, people: People) -> None:
    await house.start()
    await until(house.signals, 10, "the first signals")
    stop = asyncio.Event()
    load = asyncio.create_task(llm.load(64, stop))
    heard = people
    await until(lambda: "firing" in heard.statuses("QueueSaturated"), 45, "a page about the queue")
    signals = await house.signals()
    assert signals["running"] == SLOTS
    assert signals["max_running"] == SLOTS
    assert signals["queue_len"] is not None
    assert signals["queue_len"] > 20
    assert signals["tokens_out"] is not None
    assert signals["tokens_out"] > 0
    incidents = (await house.data("incidents"))["incidents"]
    assert any(member["alertname"] == "QueueSaturated" for incident in incidents for member in incident["alerts"])
    stop.set()
    assert await load > 64
    await until(lambda: "resolved" in heard.statuses("QueueSaturated"), 45, "the end of the queue")
    assert heard.statuses("QueueSaturated") == ["firing", "resolved"]
    assert await house.program.end() == 0


async def test_a_dead_server_pages_once_although_the_daemon_is_killed(llm: Llm, house: House, people: People) -> None:
    await house.start()
    heard = people
    await until(house.signals, 10, "the first signals")
    before_it = (await house.data("status"))["ticks"]
    await llm.program.end(signal.SIGKILL)
    await until(lambda: house.alerts("firing"), 10, "TargetDown")
    assert await house.alerts("firing") == {"TargetDown"}
    assert (await house.data("status"))["ticks"] - before_it < 8
    await until(lambda: "firing" in heard.statuses("TargetDown"), 10, "a page about the dead server")
    before = (await house.data("alerts"))["alerts"][0]

    await house.program.end(signal.SIGKILL)
    await house.start()
    await until(lambda: house.alerts("firing"), 10, "the alert after the restart")
    after = (await house.data("alerts"))["alerts"][0]
    assert (after["labels"], after["activeAt"]) == (before["labels"], before["activeAt"])
    await asyncio.sleep(3)  # more than one resend
    assert heard.statuses("TargetDown") == ["firing"]

    await llm.start()
    await until(lambda: "resolved" in heard.statuses("TargetDown"), 20, "the end of the outage")
    assert heard.statuses("TargetDown") == ["firing", "resolved"]
    assert await house.program.end() == 0


async def test_prometheus_scrapes_us_and_finds_the_signals(
    house: House, tmp_path: Path, free_port: Callable[[], int], real_program: Callable[[str], str]
) -> None:
    await house.start()
    port = free_port()
    address = house.url.removeprefix("http://")
    config = tmp_path / "prometheus.yml"
    config.write_text(
        f"scrape_configs:\n- job_name: aiops\n  scrape_interval: 1s\n  static_configs:\n  - targets: ['{address}']\n"
    )
    program = Program(
        real_program("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={tmp_path / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
        log=tmp_path / "prometheus.log",
    )
    await program.start()
    try:

        async def series(query: str) -> list[object]:
            answer = await get_json(f"http://127.0.0.1:{port}/api/v1/query?query={query}")
            return answer["data"]["result"] if answer and answer["status"] == "success" else []

        await until(lambda: series("aiops_signal_running"), 20, "our signals in Prometheus")
        (up,) = await series("up")
        assert up["value"][1] == "1"  # type: ignore[index]
        (target,) = await series("aiops_target_up")
        assert target["metric"]["source"].startswith("chat/")  # type: ignore[index]
        async with ClientSession() as session, session.get(f"{house.url}/metrics") as answer:
            page = await answer.read()
        lint = subprocess.run(
            [real_program("promtool"), "check", "metrics"], input=page, capture_output=True, check=False
        )
        assert (lint.returncode, lint.stdout, lint.stderr) == (0, b"", b"")
    finally:
        await program.end()


async def test_reload_takes_good_files_and_refuses_bad_ones(house: House, llm: Llm) -> None:
    await house.start()
    good = house.config.read_text()
    async with ClientSession() as session:
        house.config.write_text(good.replace("scrape:", "scrap:"))
        async with session.post(f"{house.url}/-/reload") as answer:
            assert answer.status == 500
            assert "did you mean" in await answer.text()
        assert (await house.data("status"))["lastReloadSuccessful"] is False
        assert len((await house.data("targets"))["activeTargets"]) == 1

        house.config.write_text(good.replace("- name: chat", "- name: talk"))
        async with session.post(f"{house.url}/-/reload") as answer:
            assert answer.status == 200
    (target,) = (await house.data("targets"))["activeTargets"]
    assert target["source"] == f"talk/127.0.0.1:{llm.port}"
    assert (await house.data("status"))["lastReloadSuccessful"] is True

    house.config.write_text(good)
    assert house.program.process is not None
    house.program.process.send_signal(signal.SIGHUP)

    async def back() -> bool:
        targets = (await house.data("targets"))["activeTargets"]
        return [target["source"] for target in targets] == [f"chat/127.0.0.1:{llm.port}"]

    await until(back, 10, "the old job after SIGHUP")
    assert await house.program.end() == 0
