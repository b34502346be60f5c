"""Rounds of fitting: with the real worker, and with workers that fail in every way."""

import asyncio
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from aiops.app import fits
from aiops.app.assembly import build_pipeline
from aiops.app.config import Config
from aiops.app.fits import Fits, FitTooSlow, run_worker
from aiops.app.pipeline import Pipeline
from aiops.detect.arima import MODEL_ROWS
from aiops.detect.settings import FitSettings
from aiops.signals.types import Columns, Entity, EntityKind, Reading, SeriesKey

SIGNALS = ("running", "queue_len", "arrivals", "kv_use")
LEVEL = np.tile([8.0, 2.0, 5.0, 0.4], 4)


def idle(_: FitSettings) -> str:
    return ""


class Feed:
    """Four replicas whose signals are AR(1) around a level."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        entities = [Entity.of(EntityKind.REPLICA, job="v", instance=str(i), model_name="m") for i in range(4)]
        self.columns = Columns(tuple(SeriesKey(entity, signal) for entity in entities for signal in SIGNALS))
        self.rng = np.random.default_rng(0)
        self.noise = np.zeros(16)
        self.now = 1e9

    def tick(self, count: int) -> None:
        for _ in range(count):
            self.noise = 0.8 * self.noise + self.rng.standard_normal(16)
            self.now += 5
            values = LEVEL * (1 + 0.05 * self.noise)
            reading = Reading("s", self.now, self.columns, values)
            self.pipeline.tick(self.now, [reading], [], elapsed_seconds=5.0)

    def votes(self) -> dict[str, NDArray[Any]]:
        scores = self.pipeline.bank.scores()
        assert scores is not None
        return {name: vote[:16] for name, vote in scores.votes.items()}


@pytest.fixture
def feed() -> Feed:
    return Feed(build_pipeline(Config()))


@pytest.fixture
def make(feed: Feed) -> Callable[..., Fits]:
    def build(program: str, **settings: Any) -> Fits:
        command = (sys.executable, "-c", program)
        return Fits(feed.pipeline, FitSettings(**settings), busy=idle, command=command)

    return build


@pytest.mark.timeout(180)
async def test_a_round_brings_models_that_score_from_the_next_tick_on(feed: Feed) -> None:
    pytest.importorskip("statsmodels")
    pytest.importorskip("sklearn")
    feed.tick(100)
    rounds = Fits(feed.pipeline, FitSettings(), busy=idle)
    assert rounds.possible()
    await rounds.round()
    assert rounds.counts.error == ""
    assert (rounds.counts.rounds, rounds.counts.failures, rounds.counts.models) == (1, 0, 17)
    assert rounds.counts.cpu_seconds > 0
    feed.tick(3)
    votes = feed.votes()
    fitted = {"zscore", *(detector.name for detector in feed.pipeline.bank.fitted())}
    assert fitted == {"zscore", "arima", "iforest"}
    assert all(np.isfinite(votes[name]).all() for name in fitted)
    assert (votes["arima"] < 1).all()
    await rounds.round()
    assert rounds.counts.rounds == 1, "nothing is due: no process is started"
    again = build_pipeline(Config())
    again.ring.restore(feed.pipeline.ring.export())
    again.bank.restore(feed.pipeline.bank.state())
    (arima,) = (detector for detector in again.bank.fitted() if detector.name == "arima")
    scores = arima.score(again.ring.window())
    assert np.isfinite(scores.score[:16]).all()


DIE = "import sys; sys.exit('no more memory')"
HANG = "import time; time.sleep(600)"
KILLED = "import os; os.kill(os.getpid(), 9)"
NONSENSE = "import sys; sys.stdin.buffer.read(); print('hello')"
NOTHING = ""
EMPTY = (
    "import sys; from aiops.detect.fitting import pack, text_array; import numpy as np; sys.stdin.buffer.read();"
    "sys.stdout.buffer.write(pack({'arima.error': np.frombuffer(b'LinAlgError: singular', np.uint8),"
    "'iforest.count': np.asarray(3)}))"
)


@pytest.mark.parametrize(
    ("program", "says"),
    [
        (DIE, "ended with 1: no more memory"),
        (HANG, "not done after 1 s"),
        (KILLED, "ended with -9"),
        (NONSENSE, "not usable"),
        (NOTHING, "not usable"),
        (EMPTY, "arima: LinAlgError: singular; iforest: the answer is not usable"),
    ],
)
async def test_a_worker_that_fails_is_counted_and_changes_nothing(
    feed: Feed, make: Callable[..., Fits], caplog: pytest.LogCaptureFixture, program: str, says: str
) -> None:
    feed.tick(100)
    before = feed.pipeline.bank.state()
    rounds = make(program, time_limit=1.0 if program == HANG else 20.0)
    with caplog.at_level(logging.WARNING, "aiops.app.fits"):
        await rounds.round()
    assert says in rounds.counts.error
    assert rounds.counts.failures >= 1
    assert rounds.counts.models == 0
    assert [record.getMessage() for record in caplog.records] == ["fault started"]
    after = feed.pipeline.bank.state()
    models = slice(0, MODEL_ROWS)  # when it was asked for a model may have changed, the model not
    np.testing.assert_array_equal(np.asarray(before["arima.table"])[models], np.asarray(after["arima.table"])[models])
    feed.tick(1)
    assert np.isfinite(feed.votes()["zscore"]).all()


async def test_turns_go_on_while_a_worker_works_or_hangs(feed: Feed, make: Callable[..., Fits], tmp_path: Path) -> None:
    feed.tick(100)
    done = tmp_path / "done"
    waits = f"import pathlib, sys, time\nwhile not pathlib.Path({str(done)!r}).exists(): time.sleep(0.05)\nsys.exit(7)"
    rounds = make(waits, time_limit=60.0)
    round_ = asyncio.create_task(rounds.round())
    for _ in range(50):
        feed.tick(1)
        await asyncio.sleep(0.01)
    assert not round_.done()
    assert np.isfinite(feed.votes()["zscore"]).all()
    done.touch()
    await round_
    assert "ended with 7" in rounds.counts.error


async def test_a_program_that_is_not_there(feed: Feed) -> None:
    feed.tick(100)
    rounds = Fits(feed.pipeline, FitSettings(), busy=idle, command=("/nonexistent/python",))
    await rounds.round()
    assert "cannot be started" in rounds.counts.error


async def test_a_killed_worker_is_gone() -> None:
    program = "import os, sys, time; sys.stderr.write(str(os.getpid())); time.sleep(600)"
    task = asyncio.create_task(run_worker((sys.executable, "-c", program), b"", 600.0))
    await asyncio.sleep(0.5)
    children = len(asyncio.all_tasks())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(asyncio.all_tasks()) < children
    with pytest.raises(FitTooSlow):
        await run_worker((sys.executable, "-c", program), b"", 0.3)


async def test_rounds_that_take_too_long_become_smaller(feed: Feed, make: Callable[..., Fits]) -> None:
    feed.tick(100)
    asked = []
    rounds = make(HANG, time_limit=0.2, most_series=4, most_forests=1)
    for detector in feed.pipeline.bank.fitted():
        ask = detector.ask

        def counted(window: Any, most: int, *, name: str = detector.name, ask: Any = ask) -> Any:
            asked.append((name, most))
            return ask(window, most)

        detector.ask = counted  # type: ignore[method-assign]
    for _ in range(3):
        await rounds.round()
    assert [most for name, most in asked if name == "arima"] == [4, 2, 1]
    assert [most for name, most in asked if name == "iforest"] == [1, 1, 1]


async def test_a_busy_machine_comes_first(feed: Feed, caplog: pytest.LogCaptureFixture) -> None:
    feed.tick(100)
    rounds = Fits(feed.pipeline, FitSettings(), busy=lambda _: "load 9.1 per core", command=("/nonexistent",))
    with caplog.at_level(logging.INFO, "aiops.app.fits"):
        await rounds.round()
        await rounds.round()
    assert (rounds.counts.rounds, rounds.counts.skipped) == (0, 2)
    assert len(caplog.records) == 1, "said once"
    assert fits.load_too_high(FitSettings(busiest_load=1e9)) == ""


def test_without_the_libraries_it_says_so_once(
    feed: Feed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fits, "find_spec", lambda name: None if name == "statsmodels" else object())
    with caplog.at_level(logging.INFO, "aiops.app.fits"):
        assert not Fits(feed.pipeline, FitSettings()).possible()
        assert not Fits(feed.pipeline, FitSettings(enabled=False)).possible()
    assert [record.getMessage() for record in caplog.records] == [
        "no ARIMA and no isolation forest: install the extra aiops[analytics]"
    ]
    feed.tick(80)
    assert np.isfinite(feed.votes()["zscore"]).all()
