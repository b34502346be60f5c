"""Sealed state in the daemon and on the command line: no words on the disk, and a lost key costs only what it must."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from aiohttp import ClientSession

from aiops.app.assembly import build_pipeline
from aiops.app.cli import main
from aiops.app.config import Config
from aiops.app.daemon import Daemon
from aiops.app.pipeline import Pipeline
from aiops.app.state import State, learnt
from aiops.explain.settings import ExplainSettings, LlmSettings
from aiops.lab.fleet import Fleet
from aiops.signals.types import Columns, Entity, EntityKind, Reading, SeriesKey
from aiops.store.seal import add_key
from aiops.store.settings import StoreSettings
from aiops.store.snapshot import write
from aiops.store.view import ArchiveView
from tests.app.test_capacity import Time
from tests.app.test_daemon import configured, firing, fleet, running, until  # noqa: F401 - a fixture
from tests.app.test_explain import honest
from tests.app.test_explain_live import says
from tests.explain.llm_server import serving
from tests.incidents.slo_readings import slow_reading
from tests.store.records import mark

WEBHOOK = {
    "version": "4",
    "groupKey": "{}",
    "alerts": [
        {"status": "firing", "labels": {"alertname": "Disk", "job": "lab"}, "startsAt": "2026-01-01T00:00:00Z",
         "annotations": {"summary": "canary-annotation", "description": "canary-annotation"}, "fingerprint": "f00"},
    ],
}  # fmt: skip


def chatty(findings: Mapping[str, object]) -> str:
    answer = json.loads(honest(findings))
    answer["sentences"].append({"text": "The canary-model took 79 W off the bus.", "evidence": []})
    return json.dumps(answer)


async def told(daemon: Daemon) -> None:
    """People and programs say what only they can know."""
    (alert,) = [one for one in daemon.pipeline.machine.alerts.values() if one.key.rule == "TargetDown"]
    base = f"http://127.0.0.1:{daemon.server.port}/api/v1"
    window = {"name": "canary-window", "lasts": "1h", "matches": {"job": "nobody"}}
    saying = {"incident": alert.incident, "judgement": "true", "note": "canary-note", "cause": "canary-cause"}
    async with ClientSession() as session:
        for path, body in (
            ("alertmanager", WEBHOOK),
            ("maintenance", window),
            ("marks", {"text": "canary-deploy"}),
            ("feedback", saying),
        ):
            async with session.post(f"{base}/{path}", json=body) as answer:
                assert answer.status < 300, (path, await answer.text())


def shown(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


async def test_nothing_that_was_said_is_on_the_disk(fleet: Fleet, tmp_path: Path) -> None:  # noqa: F811
    keys, state = tmp_path / "keys", tmp_path / "state"
    add_key(keys)
    async with serving(says(chatty)) as script:
        llm = LlmSettings(url=script.url, model="m", settle=0.0, timeout=5.0)
        store = StoreSettings(directory=state, encryption_key_file=keys, snapshot_interval=0.5)
        config = configured(fleet, state).model_copy(update={"explain": ExplainSettings(llm=llm), "store": store})
        async with running(config) as daemon:
            await until(lambda: all(status.up for status in daemon.collectors.statuses()))
            await fleet.strike(1, "dead")
            await until(lambda: "TargetDown" in firing(daemon))
            await told(daemon)
            await until(lambda: daemon.explain.counts.worded > 0, 20.0)
            written, snapshots = daemon.state.health().written_total, daemon.state.snapshots_written
            await until(lambda: daemon.state.snapshots_written > snapshots)
            await until(lambda: daemon.state.health().written_total > written)
            running_files = shown(state)
    files = shown(state)
    assert {"archive.sqlite-wal", "snapshot.npz"} <= running_files.keys()
    for name, content in [*running_files.items(), *files.items()]:
        # None so short that what is sealed, in base64, has it by chance: three letters were there once in 25 runs.
        for word in (b"canary", b"Xid 79", b" took ", b"cannot be read", b"out of bounds"):
            assert word not in content, (name, word)
    assert main(["state", "unseal", f"--storage.path={state}"]) == 1, "the keys have to be named"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIOPS_STORE__ENCRYPTION_KEY_FILE", str(keys))
        assert main(["state", "unseal", f"--storage.path={state}"]) == 0
    plain = (state / "archive.sqlite").read_bytes()
    for word in ("annotation", "window", "deploy", "note", "cause", "model"):
        assert f"canary-{word}".encode() in plain, f"{word} was never kept: the test shows nothing about it"


async def test_a_daemon_that_lost_its_key_starts_and_pages(fleet: Fleet, tmp_path: Path) -> None:  # noqa: F811
    keys, state = tmp_path / "keys", tmp_path / "state"
    add_key(keys)
    store = StoreSettings(directory=state, encryption_key_file=keys)
    config = configured(fleet, state).model_copy(update={"store": store})
    async with running(config) as daemon:
        await until(lambda: all(status.up for status in daemon.collectors.statuses()))
        await fleet.strike(1, "dead")
        await until(lambda: "TargetDown" in firing(daemon))
    kept = (state / "archive.sqlite").read_bytes()
    keys.unlink()
    async with running(config) as daemon:
        assert daemon.state.restored, "numbers are not sealed"
        await until(lambda: "TargetDown" in firing(daemon))
        url = f"http://127.0.0.1:{daemon.server.port}/api/v1/status"
        async with ClientSession() as session, session.get(url) as answer:
            problem = (await answer.json())["data"]["storageProblem"]
        assert f"the key file {keys} cannot be read: No such file or directory; expected one key a line" in problem
        assert f"the key file {keys} cannot be read" in daemon.state.view.problem
    assert (state / "archive.sqlite").read_bytes() == kept
    assert not list(state.glob("*.bad-*"))


async def test_what_is_told_is_kept_before_unless_the_disk_takes_nothing(tmp_path: Path) -> None:
    for state, written in ((tmp_path / "state", 1), (tmp_path / "file" / "state", 0)):
        (tmp_path / "file").touch()
        config = Config.model_validate({"store": {"directory": state}})
        daemon = Daemon(config)
        daemon.state.journal.start()
        daemon.state.note([mark(1.0)])
        await daemon.state.kept()
        assert daemon.state.health().written_total == written
        assert bool(daemon.state.health().problem) == (not written)
        await daemon.state.close()


def test_keys_and_sealing_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, state = tmp_path / "keys", tmp_path / "state"
    where = f"--storage.path={state}"
    assert main(["state", "key", str(keys)]) == 0
    assert keys.stat().st_mode & 0o777 == 0o600
    told = capsys.readouterr().err
    assert keys.read_text().strip() not in told
    assert main(["state", "seal", where]) == 1
    assert "store.encryption_key_file names no file" in capsys.readouterr().err
    monkeypatch.setenv("AIOPS_STORE__ENCRYPTION_KEY_FILE", str(keys))
    assert main(["state", "seal", where]) == 1
    assert "is not there; expected the archive of a daemon" in capsys.readouterr().err
    assert main(["report", where]) == 1
    state.mkdir()
    (state / "archive.sqlite").touch()
    assert main(["state", "seal", where]) == 0
    assert "0 of 0 record(s) sealed" in capsys.readouterr().err
    keys.chmod(0o644)
    assert main(["state", "seal", where]) == 1
    assert "has mode 0644; expected 0600" in capsys.readouterr().err
    assert ArchiveView(state / "archive.sqlite").load_alerts() == []


async def test_a_kill_between_two_snapshots_takes_no_budget_back(tmp_path: Path) -> None:
    config, clock = Config(store=StoreSettings(directory=tmp_path)), Time()
    pipeline, state = build_pipeline(config), State(config, clock)
    state.open(pipeline)

    def serve(good: int, bad: int) -> None:
        clock.value += 5.0
        reading = slow_reading(clock.value, [good, 0, 0, 0, bad])
        pipeline.tick(clock.value, [reading], (), elapsed_seconds=5.0)

    def spent(of: Pipeline) -> dict[str, tuple[float, float]]:
        return {one.objective.title: (one.total, one.bad) for one in of.slo.budgets()}

    serve(90, 10)
    await state.save(pipeline)
    serve(0, 100)
    await state.save_budgets(pipeline.slo)
    known = spent(pipeline)
    assert (200.0, 110.0) in known.values()
    serve(0, 100)  # of this nothing is written
    await state.close()
    for damaged in (False, True):
        if damaged:
            (tmp_path / "budgets.npz").write_bytes(b"PK\x03\x04 and no more")
        after, again = State(config, clock), build_pipeline(config)
        after.open(again)
        again.tick(clock.value, (), (), elapsed_seconds=0.0)
        assert spent(again) == (dict.fromkeys(known, (100.0, 10.0)) if damaged else known)
        assert after.restored
        await after.close()
    assert not (tmp_path / "budgets.npz").exists(), "put aside"


async def test_what_was_learnt_in_another_form_or_under_other_rules_starts_anew_and_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock, pipeline = Time(), build_pipeline(config := Config(store=StoreSettings(directory=tmp_path)))
    replica = Entity.of(EntityKind.REPLICA, job="j", instance="a:1", model_name="m")
    series = Columns((SeriesKey(replica, "queue_len"),))
    for number in range(3):
        clock.value += 5.0
        reading = Reading("s", clock.value, series, np.array([float(number)]))
        pipeline.tick(clock.value, [reading], (), elapsed_seconds=5.0)
    moment = learnt(pipeline, config, clock.value)
    bank = moment.states["bank"]
    arrays = {
        name: array.astype(np.float64) if name == "peers.offset" else array for name, array in bank.arrays.items()
    }
    other_form = replace(moment, states={"bank": replace(bank, arrays=arrays)})
    other_rules = replace(moment, states={"bank": replace(bank, signature="before")})
    for kept, said in (
        (moment, ""),
        (other_form, "what was learnt is not usable, and is learnt anew: peers: offset is float64"),
        (other_rules, "what was learnt is not usable: settings or rules of detection are others; it is learnt anew"),
    ):
        write(tmp_path / "snapshot.npz", kept)
        caplog.clear()
        state, again = State(config, clock), build_pipeline(config)
        state.open(again)
        await state.close()
        assert state.restored is not bool(said)
        assert said in caplog.text
        assert again.ring.series == pipeline.ring.series
        old, new = (one.bank.state()["zscore.count"].sum() for one in (pipeline, again))
        assert new == (0.0 if kept is other_rules else old)
        assert old > 0
        again.tick(clock.value, (), (), elapsed_seconds=0.0)
