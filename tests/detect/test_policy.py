"""The anomaly policy: the shipped document, the checks, the arrays."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import yaml

from aiops.detect.base import Severity, Timing
from aiops.detect.policy import AnomalyPolicy, Compiler
from aiops.signals.catalog import SIGNALS, Bad
from aiops.signals.types import Entity, EntityKind, SeriesKey

REPLICA = Entity.of(EntityKind.REPLICA, instance="a")
GPU = Entity.of(EntityKind.GPU, gpu="u")


@pytest.fixture
def document(policy: AnomalyPolicy) -> dict[str, Any]:
    return deepcopy(policy.model_dump(mode="json"))


def test_the_shipped_document_watches_what_hurts(policy: AnomalyPolicy) -> None:
    assert len(policy.watch) >= 20
    assert {watch.severity for watch in policy.watch} <= {Severity.INFO, Severity.WARNING}
    assert policy.timing.timing() == Timing(3, 4, 3, 4)
    assert all(watch.runbook and watch.description for watch in policy.watch)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["watch"][0].update(severity="critical"), "anomaly.yaml: watch.0.severity: .*cannot be critical"),
        (lambda d: d["watch"][0].update(signal="tft"), "'tft' is no signal"),
        (lambda d: d["watch"][0].update(stats=["p42"]), "has the statistics"),
        (lambda d: d["watch"][0].update(stats=[]), "has the statistics"),
        (lambda d: d["watch"][0].update(rule="not_camel"), "watch.0.rule"),
        (lambda d: d["watch"][0].update(signal="running", stats=[""]), "no bad direction"),
        (lambda d: d["watch"][1].update(rule=d["watch"][0]["rule"]), "names two signals"),
        (lambda d: d["units"].pop("seconds"), "units lacks seconds"),
        (lambda d: d["units"]["seconds"].update(noise=-1), "units.seconds.noise"),
        (lambda d: d.update(timing={"breach_points": 5, "window_points": 4, "clear_points": 1, "clear_window": 1}),
         "points ≤ window"),
    ],
)  # fmt: skip
def test_wrong_documents_are_refused(
    document: dict[str, Any], change: Callable[[dict[str, Any]], object], message: str
) -> None:
    change(document)
    with pytest.raises(ValueError, match=message):
        AnomalyPolicy.parse(document, "anomaly.yaml")


def test_something_that_is_no_mapping_is_refused() -> None:
    with pytest.raises(ValueError, match=r"x\.yaml: document"):
        AnomalyPolicy.parse(yaml.safe_load("- 1"), "x.yaml")


def test_columns_follow_the_policy(policy: AnomalyPolicy, make_window: Callable) -> None:
    keys = (
        SeriesKey(REPLICA, "ttft", "p95"),
        SeriesKey(REPLICA, "ttft", "rate"),
        None,
        SeriesKey(REPLICA, "tokens_out"),
        SeriesKey(REPLICA, "running"),
        SeriesKey(GPU, "ttft", "p95"),
        SeriesKey(REPLICA, "rejected"),
    )
    columns = Compiler(policy).columns(make_window([[1.0] * 7], keys))
    assert columns.high.tolist() == [1, 1, 0, 0, 1, 1, 1]
    assert columns.low.tolist() == [0, -1, 0, -1, -1, 0, 0]
    assert [policy.watch[i].rule if i >= 0 else "" for i in columns.watch] == [
        "LLMTimeToFirstTokenAnomalous", "", "", "LLMThroughputAnomalous", "", "", "",
    ]  # fmt: skip
    assert columns.counting[6] == pytest.approx(1 / 5)
    assert columns.minimum[0] == pytest.approx(0.05)
    assert columns.minimum[5] == pytest.approx(0.005)
    assert columns.of_entity[REPLICA].tolist() == [0, 1, 3, 4, 6]
    assert columns.of_series[keys[4]] == 4  # type: ignore[index]


def test_every_signal_has_a_floor_and_a_direction(policy: AnomalyPolicy, make_window: Callable) -> None:
    keys = tuple(SeriesKey(REPLICA, name) for name in SIGNALS)
    columns = Compiler(policy).columns(make_window([[1.0] * len(keys)], keys))
    for i, signal in enumerate(SIGNALS.values()):
        one_sided = signal.bad in (Bad.HIGH, Bad.LOW)
        assert bool(columns.high[i] and columns.low[i]) is not one_sided
        assert columns.noise_variance[i] + columns.relative_variance[i] > 1e-12


def test_it_is_compiled_once_per_layout(policy: AnomalyPolicy, make_window: Callable) -> None:
    compiler, keys = Compiler(policy), (SeriesKey(REPLICA, "running"),)
    first = compiler.columns(make_window([[1.0]], keys))
    assert compiler.columns(make_window([[2.0]], keys, now=5.0)) is first
    more = (*keys, SeriesKey(REPLICA, "queue_len"))
    assert len(compiler.columns(make_window([[1.0, 2.0]], more)).watch) == 2


def test_disabled_rules_watch_nothing(policy: AnomalyPolicy, make_window: Callable) -> None:
    window = make_window([[1.0]], (SeriesKey(REPLICA, "queue_len"),))
    assert Compiler(policy).columns(window).watch[0] >= 0
    off = Compiler(policy, frozenset({"LLMQueueLengthAnomalous"}))
    assert np.all(off.columns(window).watch == -1)
