"""Work in parts: the order stays, and what goes wrong in one part costs that part only."""

import os
import signal
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from aiops.app.output import CommandFailedError
from aiops.app.parts import TRIES, Here, Lost, Processes, engine_of, processes
from tests.app.part_work import NAMES, named


def test_only_the_part_that_goes_wrong_is_lost_and_the_order_stays(tmp_path: Path) -> None:
    with processes(2) as engine:
        answers = list(engine.map(named, [tmp_path / name for name in NAMES]))
    assert answers == [
        "one at try 1",
        Lost(f"its process died, {TRIES} times"),
        "two at try 1",
        "unlucky at try 2",
        Lost("ValueError: expected another part"),
        "three at try 1",
    ]
    assert (tmp_path / "deadly").stat().st_size == TRIES
    assert (tmp_path / "bad").stat().st_size == 1


def test_this_process_does_the_same_as_they_are_asked_for(tmp_path: Path) -> None:
    with processes(1) as engine:
        answers = engine.map(named, [tmp_path / "one", tmp_path / "bad", tmp_path / "two"])
        assert next(answers) == "one at try 1"
        assert not (tmp_path / "two").exists()
        assert list(answers) == [Lost("ValueError: expected another part"), "two at try 1"]


def own_id(_: int) -> int:
    return os.getpid()


def test_processes_stay_from_one_round_to_the_next_and_one_that_died_in_between_is_replaced() -> None:
    with processes(2) as engine:
        first = set(engine.map(own_id, range(8)))
        again = set(engine.map(own_id, range(8)))
        assert again <= first
        assert os.getpid() not in first
        for process in first:
            assert isinstance(process, int)
            os.kill(process, signal.SIGKILL)
        after = list(engine.map(own_id, range(8)))
    assert all(isinstance(one, int) for one in after)
    assert first.isdisjoint(after)


def test_what_the_flags_ask_for() -> None:
    with engine_of(Namespace(engine="processes", jobs=1)) as engine:
        assert isinstance(engine, Here)
    with engine_of(Namespace(engine="processes", jobs=3)) as engine:
        assert isinstance(engine, Processes)
    with pytest.raises(CommandFailedError, match="--jobs goes with --engine processes"):
        engine_of(Namespace(engine="ray", jobs=3))


def test_without_ray_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiops.app.by_ray", None)
    with pytest.raises(CommandFailedError, match=r"needs the extra aiops\[ray\]"):
        engine_of(Namespace(engine="ray", jobs=None))
