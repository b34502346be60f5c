"""Every shipped rule fires when it should and is silent when it should be."""

import re
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from aiops.detect.base import AlertKey, Severity
from aiops.detect.rules import Conditions, RuleBook, median_of_others
from aiops.signals.types import Entity, EntityKind, SeriesKey

NAN = float("nan")
Case = dict[str, float | list[float]]
WAVE = [0.1, 0.9] * 12
RISING = [float(x) for x in range(60)]
BUSY: Case = {"running": 4, "queue_len": 0, "tokens_out": 50, "tokens_in": 9, "finished": 1, "arrivals": 1}
IDLE: Case = {"running": 0, "queue_len": 0, "tokens_out": 0, "tokens_in": 0, "finished": 0, "arrivals": 0}

# rule → (entity, cases in which it is out of bounds, cases in which it is fine, cases in which nothing can be said)
CASES: dict[str, tuple[EntityKind, list[Case], list[Case], list[Case]]] = {
    "EngineStuck": (
        EntityKind.REPLICA,
        [BUSY | {"tokens_out": 0, "tokens_in": 0, "finished": 0},
         {"running": 1, "tokens_out": 0, "batch_tokens.rate": 0}],
        [BUSY, IDLE, BUSY | {"tokens_out": 0}, {"running": 1, "tokens_out": 0, "batch_tokens.rate": 3},
         {"running": 1, "tokens_out": 0},
         BUSY | {"tokens_out": 0, "tokens_in": 0, "finished": 0, "sleeping": 1}],
        [BUSY | {"tokens_out": NAN, "tokens_in": 0, "finished": 0}],
    ),
    "EngineSilent": (
        EntityKind.REPLICA,
        [{"running": 1, "tokens_out": 0, "tokens_in": 0}],
        [BUSY, BUSY | {"tokens_out": 0, "tokens_in": 0}, {"running": 0, "tokens_out": 0}],
        [{"running": 1, "tokens_out": NAN}],
    ),
    "EngineIdleWithQueue": (
        EntityKind.REPLICA,
        [IDLE | {"queue_len": 3}, {"queue_len": 3, "running": 0}],
        [BUSY | {"queue_len": 3}, IDLE, IDLE | {"queue_len": 3, "sleeping": 1}],
        [{"queue_len": 3, "running": NAN}],
    ),
    "RequestsNotFinishing": (
        EntityKind.REPLICA,
        [BUSY | {"finished": 0}],
        [BUSY, IDLE, BUSY | {"finished": 0, "running": [9, 4]}],
        [BUSY | {"finished": NAN}],
    ),
    "OutputCounterStopped": (
        EntityKind.REPLICA,
        [{"finished": 1, "tokens_out": [30] + [0] * 12}],
        [BUSY, IDLE, {"finished": 1, "tokens_out": 0}, {"finished": 1, "tokens_out": [30] + [0] * 11}],
        [{"finished": 1, "tokens_out": NAN}],
    ),
    "PromptCounterStopped": (
        EntityKind.REPLICA,
        [{"finished": 1, "tokens_in": [30] + [0] * 12}],
        [BUSY, {"finished": 1, "tokens_in": [30] + [0] * 12, "tokens_cached": 5}, {"finished": 1, "tokens_in": 0}],
        [{"finished": NAN, "tokens_in": [30] + [0] * 12}],
    ),
    "KVCacheExhausted": (
        EntityKind.REPLICA,
        [{"kv_use": 0.99, "preemptions": 1}],
        [{"kv_use": 0.99, "preemptions": 0}, {"kv_use": 0.5, "preemptions": 1}],
        [{"kv_use": 0.99, "preemptions": NAN}],
    ),
    "QueueSaturated": (
        EntityKind.REPLICA,
        [{"queue_len": 60, "running": 4, "max_running": 4}, {"queue_len": 1, "running": 4},
         {"queue_len": 1, "running": [4, 4, 3, 4], "max_running": NAN}],
        [{"queue_len": 0, "running": 4, "max_running": 4}, {"queue_len": 1, "running": 2, "max_running": 4},
         {"queue_len": 1, "running": [8, 4]}],
        [{"queue_len": NAN, "running": 4, "max_running": 4}],
    ),
    "SlotsRunOut": (
        EntityKind.POOL,
        [{"running": RISING, "max_running": 64, "queue_len": 0}],
        [{"running": RISING, "max_running": 640, "queue_len": 0}, {"running": 30, "max_running": 32, "queue_len": 0},
         {"running": RISING[::-1], "max_running": 64, "queue_len": 0},
         {"running": [20, 40] * 30, "max_running": 41, "queue_len": 0},
         {"running": RISING, "max_running": 64, "queue_len": 3},
         {"running": RISING, "max_running": 59, "queue_len": 0}],
        [{"running": RISING, "max_running": NAN, "queue_len": 0}, {"running": RISING, "max_running": 64}],
    ),
    "KVCacheRunsOut": (
        EntityKind.POOL,
        [{"kv_use": [x / 70 for x in RISING]}],
        [{"kv_use": 0.94}, {"kv_use": [x / 600 for x in RISING]}, {"kv_use": [x / 61 for x in RISING]}],
        [{"kv_use": NAN}],
    ),
    "AdmissionRejecting": (EntityKind.REPLICA, [{"rejected": 0.2}], [{"rejected": 0}], [{"rejected": NAN}]),
    "EngineErrors": (
        EntityKind.REPLICA,
        [{"errors": 0.2, "finished": 1}, {"errors": 0.2}],
        [{"errors": 0, "finished": 1}, {"errors": 0.2, "finished": 100}],
        [{"errors": NAN, "finished": 1}],
    ),
    "CorruptedOutput": (EntityKind.REPLICA, [{"corrupted": 0.2}], [{"corrupted": 0}], [{"corrupted": NAN}]),
    "EngineCrashLooping": (EntityKind.REPLICA, [{"restarts": 0.2}], [{"restarts": 0}], [{"restarts": NAN}]),
    "ProbeFailed": (EntityKind.REPLICA, [{"probe_up": 0}], [{"probe_up": 1}], [{"probe_up": NAN}]),
    "ModelFilesDamaged": (EntityKind.REPLICA, [{"files_intact": 0}], [{"files_intact": 1}], [{"files_intact": NAN}]),
    "GpuRowRemapFailed": (
        EntityKind.GPU, [{"gpu_row_remap_failed": 1}], [{"gpu_row_remap_failed": 0}], [{"gpu_row_remap_failed": NAN}],
    ),
    "GpuRowRemapPending": (
        EntityKind.GPU, [{"gpu_row_remap_pending": 1}], [{"gpu_row_remap_pending": 0}],
        [{"gpu_row_remap_pending": NAN}],
    ),
    "GpuRetiredPagesPending": (
        EntityKind.GPU, [{"gpu_retired_pending": 1}], [{"gpu_retired_pending": 0}], [{"gpu_retired_pending": NAN}],
    ),
    "GpuUncorrectableEcc": (
        EntityKind.GPU, [{"gpu_ecc_uncorrected": 1}], [{"gpu_ecc_uncorrected": 0}], [{"gpu_ecc_uncorrected": NAN}],
    ),
    "GpuXidFatal": (
        EntityKind.GPU,
        [{"gpu_xid": 1, "gpu_xid_last": 79}],
        [{"gpu_xid": 1, "gpu_xid_last": 13}, {"gpu_xid": 0, "gpu_xid_last": 79}],
        [{"gpu_xid": 1, "gpu_xid_last": NAN}],
    ),
    "GpuXidError": (EntityKind.GPU, [{"gpu_xid": 1}], [{"gpu_xid": 0}], [{"gpu_xid": NAN}]),
    "GpuThermalThrottle": (
        EntityKind.GPU, [{"gpu_throttle_thermal": 0.2}], [{"gpu_throttle_thermal": 0.01}],
        [{"gpu_throttle_thermal": NAN}],
    ),
    "GpuPowerBrake": (
        EntityKind.GPU, [{"gpu_throttle_brake": 0.2}], [{"gpu_throttle_brake": 0}], [{"gpu_throttle_brake": NAN}],
    ),
    "GpuPowerCapped": (
        EntityKind.GPU, [{"gpu_throttle_power": [1, 1, 0] * 20}], [{"gpu_throttle_power": [1, 0, 0] * 20}],
        [{"gpu_throttle_power": NAN}],
    ),
    "GpuCorrectedEccBurst": (
        EntityKind.GPU, [{"gpu_ecc_corrected": 0.2}], [{"gpu_ecc_corrected": 0}, {"gpu_ecc_corrected": [0] * 59 + [5]}],
        [{"gpu_ecc_corrected": NAN}],
    ),
    "GpuPcieReplays": (
        EntityKind.GPU, [{"gpu_pcie_replays": 0.2}], [{"gpu_pcie_replays": 0}, {"gpu_pcie_replays": [0] * 59 + [5]}],
        [{"gpu_pcie_replays": NAN}],
    ),
    "GpuNvlinkErrors": (
        EntityKind.GPU, [{"gpu_nvlink_errors": 1}], [{"gpu_nvlink_errors": 0}], [{"gpu_nvlink_errors": NAN}],
    ),
    "GpuSensorFrozen": (
        EntityKind.GPU,
        [{"gpu_power": 412.337, "gpu_util": WAVE}],
        [{"gpu_power": [400 + x for x in WAVE], "gpu_util": WAVE}, {"gpu_power": 412.337, "gpu_util": 0.9},
         {"gpu_power": 0, "gpu_util": WAVE}],
        [{"gpu_power": NAN, "gpu_util": WAVE}, {"gpu_power": 412.337, "gpu_util": NAN}],
    ),
    "HostOutOfMemoryKill": (EntityKind.NODE, [{"oom_kills": 0.2}], [{"oom_kills": 0}], [{"oom_kills": NAN}]),
}  # fmt: skip


# The same for rules that look at siblings: each case is the judged entity, then what all of its siblings show.
WORKING: Case = {"gpu_sm_clock": 1980e6, "gpu_util": 0.95}
PEER_CASES: dict[str, tuple[EntityKind, list[tuple[Case, Case]], list[tuple[Case, Case]], list[tuple[Case, Case]]]] = {
    "ReplicaImbalance": (
        EntityKind.REPLICA,
        [({"queue_len": 5, "running": 16}, {"queue_len": 0, "running": 3})],
        [({"queue_len": 5, "running": 16}, {"queue_len": 4, "running": 16}),
         ({"queue_len": 0, "running": 16}, {"queue_len": 0, "running": 3}),
         ({"queue_len": 1, "running": 3}, {"queue_len": 0, "running": 1})],
        [({"queue_len": 5, "running": NAN}, {"queue_len": 0, "running": 3}),
         ({"queue_len": 5, "running": 16}, {"queue_len": 0, "running": NAN})],
    ),
    "ReplicaStarved": (
        EntityKind.REPLICA,
        [({"queue_len": 0, "running": 0}, {"queue_len": 9, "running": 16})],
        [({"queue_len": 0, "running": 1}, {"queue_len": 9, "running": 16}),
         ({"queue_len": 0, "running": 0}, {"queue_len": 0, "running": 0}),
         ({"queue_len": 0, "running": 0, "sleeping": 1}, {"queue_len": 9, "running": 16, "sleeping": 0})],
        [({"queue_len": 0, "running": 0}, {"queue_len": NAN, "running": 16})],
    ),
    "GpuClockBelowPeers": (
        EntityKind.GPU,
        [(WORKING | {"gpu_sm_clock": 1200e6}, WORKING),
         (WORKING | {"gpu_sm_clock": 1200e6, "gpu_mem_total": 80e9}, WORKING | {"gpu_mem_total": 80e9})],
        [(WORKING, WORKING), (WORKING | {"gpu_sm_clock": 1200e6, "gpu_util": 0.1}, WORKING),
         (WORKING | {"gpu_sm_clock": 1200e6}, WORKING | {"gpu_util": 0.1}),
         (WORKING | {"gpu_sm_clock": 1200e6, "gpu_mem_total": 24e9}, WORKING | {"gpu_mem_total": 80e9})],
        [(WORKING | {"gpu_sm_clock": NAN}, WORKING), (WORKING | {"gpu_sm_clock": 1200e6}, WORKING | {"gpu_util": NAN})],
    ),
}  # fmt: skip


def judged(book: RuleBook, window: Any, name: str, entity: Entity) -> bool | None:
    conditions = Conditions(book.rules)
    breaches = dict(conditions.evaluate(window))
    rule = next(rule for rule in book.rules if rule.name == name)
    assert rule.when is not None
    first = rule.when.operands[0]
    key = AlertKey(name, SeriesKey(entity, first.signal, first.stat))
    if key in breaches:
        assert breaches[key].score >= 1
        assert breaches[key].severity is rule.severity
    return True if key in breaches else False if conditions.known(key) else None


def test_what_runs_out_is_held_against_the_lead_time_of_its_own_pool(
    rulebook: RuleBook, entity_window: Callable
) -> None:
    """Half a slot a tick more, 30 are left: five minutes. Whether that is soon depends on the pool's own starts."""
    conditions, pool = Conditions(rulebook.rules), Entity.of(EntityKind.POOL, name="x")
    window = entity_window(pool, {"running": [x / 2 for x in range(61)], "max_running": 60, "queue_len": 0}, rows=61)
    for leads, expected, said in (
        ({}, False, (120.0, "lead_time = 120 s")),
        ({Entity.of(EntityKind.POOL, name="y"): (9e9, "")}, False, (120.0, "lead_time = 120 s")),
        ({pool: (200.0, "set")}, False, (200.0, "lead_time = 200 s (set)")),
        ({pool: (400.0, "longest but one of 5 observed starts")}, True,
         (400.0, "lead_time = 400 s (longest but one of 5 observed starts)")),
    ):  # fmt: skip
        breaches = dict(conditions.evaluate(window, leads))
        found = [verdict for key, verdict in breaches.items() if key.rule == "SlotsRunOut"]
        assert bool(found) == expected
        assert all(said[1] in verdict.reason for verdict in found)
        (look,) = conditions.looks("SlotsRunOut")
        assert (look.values["lead_time"], look.note) == said
        assert all("lead_time" not in look.values for look in conditions.looks("PoolSaturated"))


def test_every_condition_has_its_cases(rulebook: RuleBook) -> None:
    assert {*CASES, *PEER_CASES} == {rule.name for rule in rulebook.rules if rule.when is not None}


@pytest.mark.parametrize("name", CASES)
def test_it_fires_and_it_does_not(rulebook: RuleBook, entity_window: Callable, name: str) -> None:
    kind, bad, fine, unknown = CASES[name]
    entity = Entity.of(kind, name="x")
    for expected, cases in ((True, bad), (False, fine), (None, unknown)):
        for case in cases:
            window = entity_window(entity, case, rows=800)
            assert judged(rulebook, window, name, entity) is expected, case


def family(kind: EntityKind, number: int) -> Entity:
    """One of those that may be compared."""
    if kind is EntityKind.GPU:
        return Entity.of(kind, node="n1", gpu=f"GPU-{number}")
    return Entity.of(kind, pool="chat", job="vllm", instance=f"{number}:8000")


@pytest.mark.parametrize("name", PEER_CASES)
def test_siblings_decide(rulebook: RuleBook, make_window: Callable, name: str) -> None:
    kind, bad, fine, unknown = PEER_CASES[name]
    for expected, cases in ((True, bad), (False, fine), (None, unknown)):
        for own, others in cases:
            shown = [(family(kind, n), own if n == 0 else others) for n in range(4)]
            keys = tuple(SeriesKey(entity, signal) for entity, case in shown for signal in case)
            row = [value for _, case in shown for value in case.values()]
            assert judged(rulebook, make_window([row], keys), name, family(kind, 0)) is expected, (own, others)
            alone = make_window([list(own.values())], tuple(SeriesKey(family(kind, 0), signal) for signal in own))
            assert judged(rulebook, alone, name, family(kind, 0)) is not True, "there is nobody to compare with"


def test_between_the_two_conditions_an_alert_is_held(rulebook: RuleBook, entity_window: Callable) -> None:
    gpu = Entity.of(EntityKind.GPU, gpu="0")
    key = AlertKey("GpuThermalThrottle", SeriesKey(gpu, "gpu_throttle_thermal"))
    for share, broken, held in ((0.06, True, True), (0.03, False, True), (0.01, False, False), (NAN, False, False)):
        conditions = Conditions(rulebook.rules)
        found = dict(conditions.evaluate(entity_window(gpu, {"gpu_throttle_thermal": share})))
        assert (key in found, conditions.between(key)) == (broken, held)
        assert conditions.known(key) == (not np.isnan(share))
    other = AlertKey("GpuPowerBrake", SeriesKey(gpu, "gpu_throttle_brake"))
    assert not conditions.between(other), "a rule without until knows nothing between"
    assert not conditions.between(AlertKey("GpuThermalThrottle", SeriesKey(family(EntityKind.GPU, 1), "gpu_power")))


def test_whether_it_is_over_must_be_known_too(rulebook: RuleBook, entity_window: Callable) -> None:
    replica = family(EntityKind.REPLICA, 0)
    key = AlertKey("KVCacheExhausted", SeriesKey(replica, "kv_use"))
    conditions = Conditions(rulebook.rules)
    assert not dict(conditions.evaluate(entity_window(replica, {"kv_use": NAN, "preemptions": 0})))
    assert not conditions.known(key), "without preemptions it is not broken, but nobody knows how full it is"
    assert not conditions.between(key)


@given(st.lists(st.one_of(st.just(NAN), st.integers(-3, 3).map(float)), min_size=1, max_size=9))
def test_the_median_of_the_others_is_that_of_a_list_without_the_own_value(values: list[float]) -> None:
    found = median_of_others(np.array(values))
    for place, value in enumerate(found.tolist()):
        others = [x for at, x in enumerate(values) if at != place and not np.isnan(x)]
        assert value == pytest.approx(median(others) if others else NAN, nan_ok=True)


def test_another_kind_of_entity_is_not_judged(rulebook: RuleBook, entity_window: Callable) -> None:
    pool = Entity.of(EntityKind.POOL, pool="p")
    window = entity_window(pool, {"queue_len": 5, "running": 0})
    assert dict(Conditions(rulebook.rules).evaluate(window)) == {}


def test_an_xid_alert_says_which_one(rulebook: RuleBook, entity_window: Callable) -> None:
    for case, begin in (({"gpu_xid": 1, "gpu_xid_last": 13}, "gpu_xid = 1 events, gpu_xid_last = 13."),
                        ({"gpu_xid": 1}, "gpu_xid = 1 events.")):  # fmt: skip
        window = entity_window(Entity.of(EntityKind.GPU, gpu="0"), case)
        [verdict] = dict(Conditions(rulebook.rules).evaluate(window)).values()
        assert verdict.reason.startswith(begin)


def test_all_entities_are_judged_at_once(rulebook: RuleBook, make_window: Callable) -> None:
    entities = [Entity.of(EntityKind.REPLICA, instance=str(i)) for i in range(4)]
    keys = [SeriesKey(one, signal) for one in entities for signal in ("running", "queue_len")]
    values = [0, 2, 3, 2, 0, 0, 0, 0]
    keys[6:] = [SeriesKey(entities[3], "queue_len"), None]  # the last one does not tell what runs
    conditions = Conditions(rulebook.rules)
    breaches = dict(conditions.evaluate(make_window([values], tuple(keys))))
    stuck = [key.series.entity for key in breaches if key.rule == "EngineIdleWithQueue"]
    assert stuck == entities[:1]
    reason = breaches[AlertKey("EngineIdleWithQueue", SeriesKey(entities[0], "queue_len"))].reason
    assert reason.startswith("queue_len = 2 requests, running = 0 requests. The scheduler")
    known = [conditions.known(AlertKey("EngineIdleWithQueue", SeriesKey(one, "queue_len"))) for one in entities]
    assert known == [True, True, True, True]
    assert not conditions.known(AlertKey("EngineIdleWithQueue", SeriesKey(Entity.of(EntityKind.REPLICA), "queue_len")))
    assert not conditions.known(AlertKey("NoSuchRule", SeriesKey(entities[0], "queue_len")))


def test_new_series_are_seen(rulebook: RuleBook, entity_window: Callable) -> None:
    conditions = Conditions(rulebook.rules)
    first, second = (Entity.of(EntityKind.REPLICA, instance=name) for name in "ab")
    case = {"queue_len": 2, "running": 0}
    for entity in (first, second, first):
        found = {key.series.entity for key in dict(conditions.evaluate(entity_window(entity, case)))}
        assert found == {entity}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.update(when="running > true"), r"x\.yaml: rules\.0\.when: .*true"),
        (lambda r: r.update(when=None), "needs either a condition"),
        (lambda r: r.update(judgement="gpu_lost"), "needs either a condition"),
        (lambda r: r.update(kinds=[]), "kinds go with a condition"),
        (lambda r: r.update(when=None, kinds=[], judgement="gpu_lost", until="gpu_xid == 0"), "until goes with"),
        (lambda r: r.update(for_points=3, of_points=2), "points ≤ window"),
        (lambda r: r.update(resolve_points=65), "resolve_points"),
        (lambda r: r.update(runbook="Not A Slug"), "runbook"),
        (lambda r: r.update(severity="urgent"), "severity"),
        (lambda r: r.update(color="red"), "color"),
    ],
)
def test_wrong_rules_are_refused(change: Callable[[dict[str, Any]], object], message: str) -> None:
    rule: dict[str, Any] = {
        "name": "Some", "severity": "info", "kinds": ["gpu"], "when": "gpu_xid > 0", "summary": "s",
        "description": "d", "runbook": "some",
    }  # fmt: skip
    assert RuleBook.parse({"rules": [rule]}, "x.yaml").rules[0].timing().breach_points == 1
    wrong = deepcopy(rule)
    change(wrong)
    with pytest.raises(ValueError, match=message):
        RuleBook.parse({"rules": [wrong]}, "x.yaml")
    with pytest.raises(ValueError, match="there twice: Some"):
        RuleBook.parse({"rules": [rule, rule]}, "x.yaml")


def test_pages_are_few_and_explained(rulebook: RuleBook) -> None:
    assert sum(rule.severity is Severity.CRITICAL for rule in rulebook.rules) <= len(rulebook.rules) / 2
    for rule in rulebook.rules:
        assert not any(character.isdigit() for character in rule.summary), rule.name


def test_fatal_xids_are_those_of_the_table() -> None:
    models = Path(__file__).resolve().parents[2] / "models"
    table = yaml.safe_load((models / "gpus" / "nvidia.yaml").read_text())["xids"]
    rules = yaml.safe_load((models / "detectors" / "liveness.yaml").read_text())["rules"]
    (when,) = (rule["when"] for rule in rules if rule["name"] == "GpuXidFatal")
    named = {int(number) for number in re.findall(r"gpu_xid_last == (\d+)", when)}
    for first, last in re.findall(r"gpu_xid_last >= (\d+) and gpu_xid_last <= (\d+)", when):
        named |= set(range(int(first), int(last) + 1))
    assert named == {number for number, xid in table.items() if xid["severity"] == "critical"}
