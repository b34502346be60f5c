"""The bank: order, freezing, acceptance of a new level, overrides, snapshots."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from aiops.detect.bank import DETECTORS, Bank, combine
from aiops.detect.base import AlertKey, Scores, Severity, Timing, Verdicts
from aiops.signals.types import Entity, EntityKind, Mark, MarkKind, SeriesKey, SourceStatus

NAN = float("nan")
POOL = Entity.of(EntityKind.POOL, pool="p")
REPLICA = Entity.of(EntityKind.REPLICA, instance="a")
QUEUE, ITL = SeriesKey(REPLICA, "queue_len"), SeriesKey(REPLICA, "itl", "p95")
KEYS = (QUEUE, ITL, SeriesKey(REPLICA, "running"))
LONG_QUEUE = AlertKey("LLMQueueLengthAnomalous", QUEUE)
SLOW_TOKENS = AlertKey("LLMInterTokenLatencyAnomalous", ITL)
ROWS = 72


class Player:
    """Feeds rows to a bank, tick by tick."""

    def __init__(self, bank: Bank, make_window: Callable[..., Any], keys: tuple[SeriesKey | None, ...] = KEYS) -> None:
        self.bank, self.keys, self._window = bank, keys, make_window
        self.rows = np.full((ROWS, len(keys)), np.nan, np.float32)
        self.tick = 0

    def step(
        self,
        *values: float,
        watched: Collection[AlertKey] = (),
        marks: tuple[Mark, ...] = (),
        sources: tuple[SourceStatus, ...] = (),
    ) -> Verdicts:
        self.rows = np.vstack([self.rows[1:], np.array([values], np.float32)])
        self.tick += 1
        now = 5.0 * self.tick
        return self.bank.step(self._window(self.rows, self.keys, now=now), now, sources, marks, watched)

    def calm(self, ticks: int, rng: np.random.Generator) -> None:
        for _ in range(ticks):
            self.step(5 + rng.normal(0, 0.5), 0.03 + rng.normal(0, 0.001), 8)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


@pytest.fixture
def player(make_bank: Callable[..., Bank], make_window: Callable[..., Any], rng: np.random.Generator) -> Player:
    player = Player(make_bank(), make_window)
    player.calm(100, rng)
    return player


def level(bank: Bank) -> NDArray[Any]:
    return bank.state()["zscore.level"]


def test_it_judges_before_it_learns(player: Player) -> None:
    before = level(player.bank)
    verdicts = player.step(500, 0.03, 8)
    verdict = verdicts.breaches[LONG_QUEUE]
    assert verdict.expected == before[0]
    assert verdict.value == 500
    assert verdict.votes["zscore"] == verdict.score
    assert set(verdict.votes) == {"zscore", "shift"}
    assert verdict.severity is Severity.WARNING
    assert verdict.score > 1
    assert "queue_len = 500 requests, expected" in verdict.reason
    after = level(player.bank)
    assert after[0] == before[0]
    assert after[2] == pytest.approx(8)


@pytest.mark.parametrize(("score", "breach", "held"), [(1.1, True, False), (0.9, False, True), (0.7, False, False)])
def test_near_the_edge_a_watched_alert_is_held(player: Player, score: float, breach: bool, held: bool) -> None:
    player.step(5, 0.03, 8, watched=[LONG_QUEUE])
    scores = player.bank.scores()
    assert scores is not None
    expected, upper = float(scores.ensemble.expected[0]), float(scores.ensemble.upper[0])
    verdicts = player.step(expected + score * (upper - expected), 0.03, 8, watched=[LONG_QUEUE])
    assert (LONG_QUEUE in verdicts.breaches, LONG_QUEUE in verdicts.held) == (breach, held)
    assert not player.step(NAN, 0.03, 8, watched=[LONG_QUEUE]).held, "it is unknown"


def test_unwatched_series_are_scored_and_raise_nothing(player: Player) -> None:
    verdicts = player.step(5, 0.03, 800)
    scores = player.bank.scores()
    assert scores is not None
    assert scores.ensemble.score[2] > 1
    assert not {key.series.signal for key in verdicts.breaches} & {"running"}


def test_scores_say_what_is_still_learning(make_bank: Callable, make_window: Callable) -> None:
    player = Player(make_bank(), make_window)
    assert player.bank.scores() is None
    player.step(5, NAN, 8)
    scores = player.bank.scores()
    assert scores is not None
    assert scores.learning.tolist() == [True, False, True]
    assert np.isnan(scores.votes["zscore"]).all()
    assert scores.keys is KEYS


def test_watched_alerts_without_data_are_unknown(player: Player) -> None:
    gone = AlertKey("LLMQueueLengthAnomalous", SeriesKey(POOL, "queue_len"))
    rule = AlertKey("EngineIdleWithQueue", QUEUE)
    down = AlertKey("TargetDown", SeriesKey(REPLICA, "up"))
    watched = {LONG_QUEUE, gone, rule, down}
    assert player.step(5, 0.03, 8, watched=watched).unknown == {gone, down}
    assert player.step(NAN, 0.03, 0, watched=watched).unknown == {LONG_QUEUE, gone, rule, down}
    assert player.step(NAN, 0.03, 8, watched=watched).unknown == {LONG_QUEUE, gone, down}  # it runs: no idle queue
    assert player.step(500, 0.03, 0, watched=watched).unknown == {gone, down}


def test_all_three_kinds_of_rules_speak(player: Player) -> None:
    source = SourceStatus("a", "scrape", REPLICA, 5.0, failures=2)
    lost = Mark(MarkKind.GPU_LOST, Entity.of(EntityKind.GPU, gpu="g"), 1.0, "gone")
    verdicts = player.step(500, 0.03, 0, sources=(source,), marks=(lost,))
    assert {key.rule for key in verdicts.breaches} == {
        "LLMQueueLengthAnomalous", "EngineIdleWithQueue", "TargetDown", "GpuLost",
    }  # fmt: skip


def test_nothing_is_learnt_of_an_entity_with_a_critical_alert(player: Player) -> None:
    before = level(player.bank)
    critical = AlertKey("EngineStuck", SeriesKey(REPLICA, "running"))
    for _ in range(50):
        player.step(6, 0.035, 9, watched=[critical])
    np.testing.assert_array_equal(level(player.bank), before)
    player.step(6, 0.035, 9, watched=[AlertKey("QueueSaturated", QUEUE)])
    assert (level(player.bank) != before).all()


def test_a_level_that_stays_is_accepted_after_half_an_hour(player: Player) -> None:
    outside = [LONG_QUEUE in player.step(500, 0.03, 8).breaches for _ in range(420)]
    assert outside == [True] * 360 + [False] * 60
    assert level(player.bank)[0] == pytest.approx(500)


def ramp(player: Player, rng: np.random.Generator, ticks: int, most: float) -> list[Verdicts]:
    """The time between tokens grows to ``most`` times 30 ms over some ticks; the queue and the rest are calm."""
    growth = np.linspace(1, most, ticks)
    return [player.step(5 + rng.normal(0, 0.5), 0.03 * x + rng.normal(0, 0.0005), 8) for x in growth]


def test_the_beginning_of_an_incident_is_unlearnt_when_it_opens(player: Player, rng: np.random.Generator) -> None:
    """A fault that grows over minutes is followed at first; that poisons neither the alert nor what comes after."""
    player.calm(300, rng)
    before = level(player.bank)[1]
    ramp(player, rng, 150, 1.2)
    first = player.step(5, 0.03 * 1.9, 8).breaches[SLOW_TOKENS]
    assert first.expected > 1.1 * before, "it was learnt until it was seen"
    for _ in range(3):
        player.step(5, 0.03 * 1.9, 8)
    assert level(player.bank)[1] == pytest.approx(before, rel=0.03)
    assert SLOW_TOKENS in player.step(5, 0.03 * 1.4, 8).breaches, "half of it is still out of bounds"
    healthy = [player.step(5 + rng.normal(0, 0.5), 0.03 + rng.normal(0, 0.0005), 8) for _ in range(60)]
    assert not any(SLOW_TOKENS in one.breaches for one in healthy)
    assert level(player.bank)[1] == pytest.approx(before, rel=0.03)


def test_a_critical_alert_unlearns_what_its_entity_showed_before(player: Player, rng: np.random.Generator) -> None:
    player.calm(300, rng)
    before = level(player.bank)
    assert not any(SLOW_TOKENS in one.breaches for one in ramp(player, rng, 150, 1.2)), "too little to matter"
    assert level(player.bank)[1] > 1.1 * before[1]
    critical = [AlertKey("EngineStuck", SeriesKey(REPLICA, "running"))]
    player.step(5, 0.03 * 1.2, 8, watched=critical)
    after = level(player.bank)
    assert after[1] == pytest.approx(before[1], rel=0.03)
    assert after[0] == pytest.approx(before[0], rel=0.2), "what did not move is left alone"


def test_what_was_renewed_on_purpose_is_not_unlearnt(player: Player, rng: np.random.Generator) -> None:
    player.calm(300, rng)
    player.step(5, 0.03, 8, marks=(Mark(MarkKind.DEPLOY, REPLICA, 0.0, "new"),))
    for _ in range(100):
        player.step(5 + rng.normal(0, 0.5), 0.06 + rng.normal(0, 0.0005), 8)
    for _ in range(5):
        player.step(5, 0.2, 8)
    assert level(player.bank)[1] == pytest.approx(0.06, rel=0.03)


def test_a_level_that_still_moves_is_accepted_only_after_four_times_as_long(
    make_bank: Callable, make_window: Callable, rng: Any
) -> None:
    player = Player(make_bank(relearn_after="5m"), make_window)
    player.calm(100, rng)
    outside = [LONG_QUEUE in player.step(500 + 5 * tick, 0.03, 8).breaches for tick in range(241)]
    assert outside == [True] * 240 + [False]


def test_what_drifts_slowly_is_not_accepted_by_staying(make_bank: Callable, make_window: Callable) -> None:
    used = SeriesKey(Entity.of(EntityKind.GPU, gpu="g", node="n"), "gpu_mem_used")
    bank, step = make_bank(minimum_samples=8, level_memory_points=2), 600.0
    outside = []
    for tick in range(5 * 144):
        value = 40e9 + 5e9 * tick / 144 + 1e7 * (-1) ** tick
        rows = np.full((4, 1), value, np.float32)
        window = replace(make_window(rows, (used,), now=tick * step), step_seconds=step)
        verdicts = bank.step(window, window.now, (), (), ())
        outside.append(bool(verdicts.breaches))
    first = outside.index(True)
    assert 144 < first < 2 * 144
    assert all(outside[first:]), "a leak goes on; half an hour of it is no new level"
    (verdict,) = verdicts.breaches.values()
    assert "more than a day before, steadily" in verdict.reason
    assert verdict.votes["drift"] >= 1 > verdict.votes["zscore"]


def test_a_job_at_six_alarms_twice(make_bank: Callable, make_window: Callable, rng: Any) -> None:
    bank, step, alarmed = make_bank(minimum_samples=8, relearn_after="6h"), 600.0, set()
    for tick in range(5 * 144):
        hour, days = tick / 6 % 24, tick // 144
        value = (60 if 6 <= hour < 6.5 else 5) + rng.normal(0, 0.3)
        window = replace(make_window(np.full((4, 1), value), (QUEUE,), now=tick * step), step_seconds=step)
        if bank.step(window, window.now, (), (), ()).breaches:
            alarmed.add(days)
    assert alarmed == {0, 1}


def test_a_load_that_comes_slowly_at_the_wrong_hour_is_told(
    make_bank: Callable, make_window: Callable, rng: Any
) -> None:
    """Traffic of the day in the night of the eleventh; the z-score follows it, as it follows the wave."""
    arrivals = SeriesKey(POOL, "arrivals")
    bank, step, told = make_bank(minimum_samples=8, level_memory_points=3), 1200.0, []
    for tick in range(11 * 72):
        at = tick / 72
        load = 100 - 80 * np.cos(2 * np.pi * (at if at < 10.1 else at + 0.4 * min((at - 10.1) / 0.2, 1)))
        rows = np.full((4, 1), load + rng.normal(0, 5))
        window = replace(make_window(rows, (arrivals,), now=tick * step), step_seconds=step)
        verdicts = bank.step(window, window.now, (), (), ())
        told += [(at, verdict) for verdict in verdicts.breaches.values()]
    assert 10.1 < told[0][0] < 10.3
    verdict = told[0][1]
    assert verdict.votes["season"] >= 1 > verdict.votes["zscore"]
    assert "; at this hour it usually is " in verdict.reason


def test_it_is_not_accepted_during_a_critical_alert(player: Player) -> None:
    critical = [AlertKey("EngineStuck", SeriesKey(REPLICA, "running"))]
    for _ in range(500):
        assert LONG_QUEUE in player.step(500, 0.03, 8, watched=critical).breaches


def test_quiet_points_take_the_count_back(make_bank: Callable, make_window: Callable, rng: Any) -> None:
    player = Player(make_bank(relearn_after="1m"), make_window)
    player.calm(100, rng)
    for _ in range(60):
        assert LONG_QUEUE in player.step(500, 0.03, 8).breaches
        player.step(5, 0.03, 8)


def test_without_statistics_rules_remain(make_bank: Callable, make_window: Callable, rng: Any) -> None:
    player = Player(make_bank(enabled=False), make_window)
    player.calm(100, rng)
    verdicts = player.step(500, 0.03, 0)
    assert {key.rule for key in verdicts.breaches} == {"EngineIdleWithQueue"}
    scores = player.bank.scores()
    assert scores is not None
    assert np.isnan(scores.ensemble.score).all()
    assert not scores.learning.any()


def test_rules_can_be_disabled_and_given_another_severity(make_bank: Callable, make_window: Callable, rng: Any) -> None:
    severity = {"EngineIdleWithQueue": "info", "LLMQueueLengthAnomalous": "info"}
    player = Player(make_bank(severity=severity), make_window)
    player.calm(100, rng)
    verdicts = player.step(500, 0.03, 0)
    assert {verdict.severity for verdict in verdicts.breaches.values()} == {Severity.INFO}
    assert player.bank.rules()["EngineIdleWithQueue"].severity is Severity.INFO
    off = Player(make_bank(disable=tuple(severity)), make_window)
    off.calm(100, rng)
    assert not off.step(500, 0.03, 0).breaches
    assert not set(severity) & set(off.bank.rules())
    assert off.bank.scores().ensemble.score[0] > 1  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"disable": ("TargetDwn",)}, "no rule 'TargetDwn'; did you mean TargetDown"),
        ({"severity": {"Nothing": "info"}}, "no rule 'Nothing'"),
        ({"severity": {"LLMQueueLengthAnomalous": "critical"}}, "cannot be critical"),
    ],
)
def test_wrong_overrides_are_refused(make_bank: Callable, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_bank(**settings)


def test_every_rule_has_timing_and_texts(make_bank: Callable) -> None:
    bank = make_bank()
    assert bank.timing("EngineStuck") == Timing(3, 3, 2, 2)
    assert bank.timing("LLMQueueLengthAnomalous") == bank.timing("A rule of yesterday") == Timing(3, 4, 3, 4)
    assert {"TargetDown", "TargetStale", "GpuLost", "EngineStuck", "GPUTemperatureAnomalous"} <= set(bank.rules())
    for text in bank.rules().values():
        assert all((text.summary, text.description, text.runbook)), text.name


def test_it_goes_on_from_a_snapshot(player: Player, make_bank: Callable, make_window: Callable, rng: Any) -> None:
    state = player.bank.state()
    columns = {name for name in state if not name.partition(".")[2].startswith("fixed_")}
    assert {state[name].shape[-1] for name in columns} == {3}
    order = [2, 0, 1]
    moved = state | {
        name: np.append(state[name][..., order], np.full_like(state[name][..., :1], np.nan), axis=-1)
        for name in columns
    }
    keys = (*(KEYS[i] for i in order), SeriesKey(POOL, "queue_len"))
    again = Player(make_bank(), make_window, keys)
    again.bank.restore(moved)
    verdicts = again.step(8, 500, 0.03, 1)
    old = player.step(500, 0.03, 8)
    assert verdicts.breaches[LONG_QUEUE] == old.breaches[LONG_QUEUE]
    assert again.bank.scores().learning.tolist() == [False, False, False, True]  # type: ignore[union-attr]


def altered(name: str, array: NDArray[Any]) -> Iterator[tuple[str, NDArray[Any] | None]]:
    """What another version might have kept under a name."""
    yield "gone", None
    yield "other numbers", array.astype(np.float32 if array.dtype == np.float64 else np.float64)
    yield "texts", array.astype(str)
    yield "one more axis", array[np.newaxis]
    if array.ndim > 1 or name.endswith("fixed_fleet"):
        yield "one row less", array[1:]
    if array.ndim and not name.partition(".")[2].startswith("fixed_"):
        yield "one column less", array[..., 1:]
    if array.ndim:
        yield "one number", array.reshape(-1)[:1].reshape(()) if array.size else np.zeros((), array.dtype)


def test_who_kept_another_form_starts_anew_and_the_others_go_on(
    make_bank: Callable, make_window: Callable, rng: Any
) -> None:
    player = Player(make_bank(), make_window)
    player.calm(60, rng)
    lived, fresh = player.bank.state(), make_bank().state()
    assert make_bank().restore(lived) == ()
    for name, array in lived.items():
        part = name.partition(".")[0]
        for what, other in altered(name, array):
            state = {**lived, name: other}
            if other is None:
                del state[name]
            again = Player(make_bank(), make_window)
            problems = again.bank.restore(state)
            told = [problem.partition(":")[0] for problem in problems]
            if what == "gone" and not any(key.startswith(f"{part}.") for key in state):  # as of a detector that is new
                assert told == (["tails"] if part == "arima" else []), name
                continue
            assert told == [part], (name, what)
            assert name.partition(".")[2] in problems[0]
            for key, value in again.bank.state().items():
                of = fresh if key.startswith(f"{part}.") else lived
                assert np.array_equal(value, of[key], equal_nan=True), f"{key} beside {name}, {what}"
        again.step(8, 0.03, 1)
    make_bank().restore({"prophet.phi": np.zeros(3)})  # a detector that is gone


def test_bands_of_other_judges_are_not_taken(make_bank: Callable, make_window: Callable, rng: Any) -> None:
    player = Player(make_bank(), make_window)
    player.calm(60, rng)
    state = {name.replace("peers.", "prophet."): array for name, array in player.bank.state().items()}
    problems = make_bank().restore(state)
    assert [problem.partition(":")[0] for problem in problems] == ["tails"]
    assert "judges were zscore, shift, arima, prophet, residual; they are" in problems[0]


def test_equal_input_gives_equal_output(make_bank: Callable, make_window: Callable) -> None:
    rng = np.random.default_rng(9)
    rows = rng.lognormal(0, 1, (300, 3))
    one, two = (Player(make_bank(), make_window) for _ in range(2))
    for row in rows:
        # As text: from Python 3.13 on an unknown number in a record equals not even itself.
        assert repr(one.step(*row)) == repr(two.step(*row))


def test_the_loudest_detector_speaks() -> None:
    def scores(*values: float) -> Scores:
        array = np.array(values, np.float32)
        return Scores(array, array * 10, array * 5, array * 15)

    both = combine([scores(1, NAN, 3, NAN), scores(2, 2, NAN, NAN)], 4)
    np.testing.assert_array_equal(both.score, np.array([2, 2, 3, NAN], np.float32))
    np.testing.assert_array_equal(both.expected, np.array([20, 20, 30, NAN], np.float32))
    assert np.isnan(combine([], 2).score).all()


def test_the_table_names_detectors_by_their_name(policy: Any) -> None:
    from aiops.detect.policy import Compiler
    from aiops.detect.settings import DetectSettings

    for name, build in DETECTORS.items():
        assert build(DetectSettings(), Compiler(policy)).name == name
