"""The conformance suite: our detectors pass it, and each way of being wrong is caught by the check that is for it."""

import logging
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from aiops.app.assembly import build_bank
from aiops.app.config import Config
from aiops.app.plugins import GROUP, Guarded, named_plugins
from aiops.detect.bank import DETECTORS
from aiops.detect.base import Scores, Window
from aiops.detect.checks import Case, Violation, check_detector
from aiops.detect.columns import ColumnState
from aiops.detect.fit import solve
from aiops.detect.policy import Compiler
from aiops.detect.settings import DetectSettings
from aiops.signals.types import SeriesKey

CASES = st.builds(
    Case,
    seed=st.integers(0, 2**16),
    entities=st.integers(2, 6),
    level=st.sampled_from([0.0, 0.01, 1.0, 50.0, 1e4, 1e9]),
    noise=st.sampled_from([1e-3, 0.1, 1.0, 30.0]),
    missing=st.sampled_from([0.0, 0.02, 0.3]),
    minimum_samples=st.integers(8, 40),
    step_seconds=st.sampled_from([1.0, 5.0, 30.0]),
)


@pytest.mark.parametrize("name", DETECTORS)
@settings(max_examples=3)
@given(case=CASES)
def test_our_detectors_conform_before_any_fit(name: str, case: Case) -> None:
    check_detector(DETECTORS[name], case)


@pytest.mark.parametrize("name", ["arima", "iforest"])
@settings(max_examples=1)
@given(case=st.builds(Case, seed=st.integers(0, 2**16), entities=st.integers(4, 6), missing=st.floats(0.0, 0.1)))
def test_our_detectors_conform_with_models(name: str, case: Case) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("statsmodels")
    check_detector(DETECTORS[name], case, fit=solve)


class Ranges:
    """A small example of a detector: half the distance beyond anything seen, in units of the range seen.

    A score of 1 is half a range beyond what the series has ever shown while it was quiet.
    """

    name = "ranges"

    def __init__(self, options: DetectSettings, _: Compiler) -> None:
        self._least = options.minimum_samples
        self._columns = ColumnState(low=0.0, high=0.0, count=0.0)

    def score(self, window: Window) -> Scores:
        self._columns.follow(window)
        low, high, count = (self._columns[name] for name in ("low", "high", "count"))
        ready = np.where(count >= self._least, np.float32(0), np.float32(np.nan))
        half = np.maximum((high - low) / 2, np.float32(0.01) * np.abs(high) + np.float32(1e-6))
        value = window.values[-1]
        beyond = np.maximum(np.maximum(value - high, low - value), 0) / half
        beyond = beyond.astype(np.float32)
        each = (beyond + ready, (low + high) / 2 + ready, low - half + ready, high + half + ready)
        return Scores(*(array.astype(np.float32) for array in each))

    def learn(self, window: Window, quiet: NDArray[np.bool_]) -> None:
        self._columns.follow(window)
        value, state = window.values[-1], self._columns
        taken = np.isfinite(value) & quiet
        first = taken & (state["count"] == 0)
        state["low"][first] = state["high"][first] = value[first]
        state["low"][taken] = np.minimum(state["low"], value)[taken]
        state["high"][taken] = np.maximum(state["high"], value)[taken]
        state["count"][taken] += 1

    def relearn(self, window: Window, columns: NDArray[np.bool_]) -> None:
        self._columns.follow(window)
        self._columns["count"][columns] = 0

    def state(self) -> dict[str, NDArray[np.generic]]:
        return self._columns.state()

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        self._columns.restore(state)


@settings(max_examples=4)
@given(case=CASES)
def test_a_small_detector_of_somebody_else_conforms(case: Case) -> None:
    check_detector(Ranges, case)


class Undocumented(Ranges):
    """Says nothing."""


class LooksAndLearns(Ranges):
    def score(self, window: Window) -> Scores:
        scores = super().score(window)
        self._columns["high"][:] += 0.01
        return scores


class Random(Ranges):
    def score(self, window: Window) -> Scores:
        scores = super().score(window)
        noise = 0.2 * (id(self) % 997) / 997 * np.isfinite(scores.score)
        return Scores((scores.score + noise).astype(np.float32), scores.expected, scores.lower, scores.upper)


class OtherScale(Ranges):
    def score(self, window: Window) -> Scores:
        scores = super().score(window)
        return Scores(scores.score * np.float32(3), scores.expected, scores.lower, scores.upper)


class MissingIsZero(Ranges):
    def score(self, window: Window) -> Scores:
        scores = super().score(window)
        return Scores(np.nan_to_num(scores.score), scores.expected, scores.lower, scores.upper)


class Doubles(Ranges):
    def score(self, window: Window) -> Scores:
        scores = super().score(window)
        return Scores(scores.score.astype(np.float64), scores.expected, scores.lower, scores.upper)


class LearnsEverything(Ranges):
    def learn(self, window: Window, quiet: NDArray[np.bool_]) -> None:
        super().learn(window, np.ones_like(quiet))


class KeepsTheLastOwner(Ranges):
    def score(self, window: Window) -> Scores:
        if self._columns._generation is not None and len(self._columns._generation) == len(window.generation):
            self._columns._generation = window.generation.copy()
        return super().score(window)


class FixedSize(Ranges):
    """A score with a size that never changes."""

    def score(self, window: Window) -> Scores:
        self.first = getattr(self, "first", len(window.keys))
        return super().score(Window(window.now, window.step_seconds, window.values[:, : self.first],
                                    window.keys[: self.first], window.generation[: self.first]))  # fmt: skip


class Forgets(Ranges):
    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        pass


class GivesItsOwnArrays(Ranges):
    def state(self) -> dict[str, NDArray[np.generic]]:
        return dict(self._columns._arrays)


class Objects(Ranges):
    def state(self) -> dict[str, NDArray[np.generic]]:
        return {**super().state(), "fixed_names": np.array([{"a": 1}, None], object)}


class Hoards(Ranges):
    def __init__(self, options: DetectSettings, policy: Compiler) -> None:
        super().__init__(options, policy)
        self.seen: set[SeriesKey | None] = set()

    def learn(self, window: Window, quiet: NDArray[np.bool_]) -> None:
        super().learn(window, quiet)
        self.seen |= set(window.keys)


class Writes(Ranges):
    def learn(self, window: Window, quiet: NDArray[np.bool_]) -> None:
        window.values[-1] = 0


class Warns(Ranges):
    def score(self, window: Window) -> Scores:
        np.log(np.float32(-1) * np.ones(1, np.float32))
        return super().score(window)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (LooksAndLearns, "looking_changes_nothing"),
        (Random, "looking_changes_nothing|same_input_same_output"),
        (OtherScale, "one_is_the_edge_of_the_band"),
        (MissingIsZero, "missing is not anomalous|free column"),
        (Doubles, "score is float64, expected float32"),
        (LearnsEverything, "an_incident_is_not_learnt: 30 points"),
        (KeepsTheLastOwner, "a_new_owner_starts_anew"),
        (FixedSize, "more_columns_change_nothing: score has the shape"),
        (Forgets, "state_survives_a_restart: after a restart: score differs"),
        (GivesItsOwnArrays, "state_survives_a_restart"),
        (Objects, "fixed_names holds Python objects"),
        (Hoards, "memory_is_bounded: grew from"),
        (Writes, "first_sight_is_borne: raised ValueError: .*read-only"),
        (Warns, "raised RuntimeWarning"),
    ],
)
def test_each_fault_is_named(wrong: Callable[[DetectSettings, Compiler], Any], said: str) -> None:
    with pytest.raises(Violation, match=said):
        check_detector(wrong)


def point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, GROUP)


HERE = "tests.detect.test_checks:Ranges"


def test_a_plug_in_judges_only_when_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "aiops.app.plugins.entry_points", lambda group: [point("ranges", HERE)] if group == GROUP else []
    )
    window = Window(0.0, 5.0, np.ones((2, 1), np.float32), (None,), np.zeros(1, np.int64))
    for plugins, there in (((), False), (("ranges",), True)):
        bank = build_bank(Config.model_validate({"detect": {"plugins": plugins}}))
        bank.step(window, 0.0, [], [], [])
        scores = bank.scores()
        assert scores is not None
        assert ("ranges" in scores.votes) is there
        assert any(name.startswith("ranges.") for name in bank.state()) is there
        bank.restore(bank.state())


def test_an_installed_package_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "example-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: example\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\nranges = {HERE}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    (build,) = named_plugins(["ranges"]).values()
    assert build(DetectSettings(), None).name == "ranges"  # type: ignore[arg-type]  # it needs no policy


@pytest.mark.parametrize(
    ("name", "points", "said"),
    [
        ("other", [point("ranges", HERE)], "'other' is not installed; the group aiops.detectors has: ranges"),
        ("ranges", [], "has: none"),
        ("ranges", [point("ranges", HERE)] * 2, "several packages"),
        ("zscore", [point("zscore", HERE)], "cannot be used as the name"),
        ("ranges", [point("ranges", "no_such_module:X")], "cannot be loaded: ModuleNotFoundError"),
    ],
)
def test_plug_ins_that_cannot_be_used(name: str, points: list[EntryPoint], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        named_plugins([name], points)


@pytest.mark.parametrize(("value", "said"), [(HERE, "calls itself 'ranges'"), ("builtins:int", "cannot be built")])
def test_plug_ins_that_cannot_be_built(value: str, said: str) -> None:
    build = named_plugins(["mine"], [point("mine", value)])["mine"]
    with pytest.raises(ValueError, match=said):
        build(DetectSettings(), None)  # type: ignore[arg-type]  # it needs no policy


def test_a_plug_in_that_fails_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Ranges):
        def score(self, window: Window) -> Scores:
            scores = super().score(window)
            return Scores(scores.score[:1], scores.expected, scores.lower, scores.upper)

    window = Window(0.0, 5.0, np.ones((2, 3), np.float32), (None,) * 3, np.zeros(3, np.int64))
    guarded = Guarded(Broken(DetectSettings(), None))  # type: ignore[arg-type]  # it needs no policy
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert np.isnan(guarded.score(window).score).tolist() == [True] * 3
            guarded.learn(window, np.ones(3, np.bool_))
    assert [record.getMessage() for record in caplog.records] == ["plug-in left out until the next reload"]
    assert "expected four arrays of 3 numbers" in guarded.fault
    assert guarded.state() == {}
