"""Loads go to the fit worker and come back as models; the rounds carry them beside the detectors' models."""

import numpy as np
import pytest

from aiops.app.assembly import build_pipeline
from aiops.app.config import Config
from aiops.app.fits import Fits
from aiops.app.load_fits import LoadFits
from aiops.capacity.observed import History
from aiops.detect.fitting import text_array, text_of
from aiops.detect.settings import FitSettings
from aiops.kit.clock import Clock
from tests.capacity.pool_histories import steady


class Time:
    value = 0.0


def made(histories: dict[str, History], time: Time) -> LoadFits:
    return LoadFits(lambda: histories, Clock(lambda: 0.0, lambda: time.value))


async def test_a_round_brings_models_of_loads() -> None:
    pipeline, time = build_pipeline(Config()), Time()
    loads = made({"chat": steady(rows=400), "young": steady(rows=100)}, time)
    rounds = Fits(pipeline, FitSettings(), busy=lambda _: "", others=(loads,))
    await rounds.round()
    assert rounds.counts.error == ""
    assert set(loads.models) == {"chat"}
    assert [model.differenced for model in loads.models["chat"]] == [False, True]
    assert rounds.counts.models == 2


def test_each_load_is_due_once_an_hour_a_few_at_a_time() -> None:
    window, time = build_pipeline(Config()).ring.window(), Time()
    histories = {f"pool{n}": steady(rows=300, seed=n) for n in range(6)}
    loads = made(histories, time)
    first = loads.ask(window, 1000)
    assert first is not None
    assert first["values"].shape == (300, 4)
    second = loads.ask(window, 1000)
    assert second is not None
    assert {*text_of(first["names"]), *text_of(second["names"])} == set(histories)
    assert loads.ask(window, 1000) is None
    time.value = 3600.0
    assert loads.ask(window, 2) is not None


def test_a_pool_that_is_gone_takes_its_models_along_and_a_wrong_answer_is_refused() -> None:
    window, time = build_pipeline(Config()).ring.window(), Time()
    histories = {"chat": steady(rows=300)}
    loads = made(histories, time)
    answer = {"names": text_array(["chat"]), "models": np.zeros((1, 2, 5))}
    assert loads.accept(window, answer) == 2
    failed = answer | {"models": np.full((1, 2, 5), np.nan)}
    assert loads.accept(window, failed) == 0
    with pytest.raises(ValueError, match="shape"):
        loads.accept(window, answer | {"models": np.zeros((2, 2, 5))})
    histories.clear()
    loads.ask(window, 10)
    assert loads.models == {}
