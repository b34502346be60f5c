import re
from dataclasses import replace

import numpy as np

from aiops.app.presets import anomaly_policy, cause_book
from aiops.diagnose.diagnosis import Question, diagnose
from aiops.diagnose.record import Diagnosis
from aiops.signals.types import Mark, MarkKind, SeriesKey
from tests.diagnose.windows import AFTER, GPU, NODE, NOW, OTHER, POOL, REPLICA, SIBLING, Numbers, since, window

HOT: Numbers = {
    (GPU, "gpu_temp"): (60.0, 90.0),
    (GPU, "gpu_throttle_thermal"): (0.0, 0.8),
    (GPU, "gpu_throttle_power"): (0.0, 0.0),
    (GPU, "gpu_sm_clock"): (2e9, 1.2e9),
    (OTHER, "gpu_throttle_thermal"): (0.0, 0.0),
    (NODE, "cpu_busy"): (0.2, 0.2),
    (REPLICA, "itl.mean"): (0.02, 0.05),
    (REPLICA, "running"): (4.0, 8.0),
    (SIBLING, "itl.mean"): (0.02, 0.02),
    (POOL, "arrivals"): (5.0, 5.0),
    (POOL, "ttft.mean"): (0.2, 0.5),
}
CALM: Numbers = {key: (before, before) for key, (before, _) in HOT.items()}


def why(numbers: Numbers, marks: tuple[Mark, ...] = ()) -> Diagnosis:
    question = Question("i1", since(), (SeriesKey(POOL, "ttft", "mean"),))
    return diagnose(question, window(numbers, noise=0.01), cause_book(), marks=marks, floors=anomaly_policy().units)


def test_a_cause_with_its_evidence() -> None:
    found = why(HOT)
    cause = found.cause
    assert cause is not None
    assert (cause.id, cause.entity, cause.runbook) == ("gpu-thermal-throttle", GPU, "gpu-thermal-throttle")
    assert 0.9 < cause.confidence <= 1.0
    assert not found.abstained
    assert found.ranker == "signatures"
    facts = {fact.id: fact for fact in found.evidence}
    cited = [facts[name] for name in cause.evidence]
    assert cited[0].series == SeriesKey(GPU, "gpu_throttle_thermal")
    assert abs(cited[0].value - 0.8) < 0.02
    assert cited[0].unit == "ratio"
    assert cited[0].query == 'aiops_signal_gpu_throttle_thermal_ratio{kind="gpu",gpu="GPU-0",node="node0"}'
    assert (cited[0].start, cited[0].end) == (since(), NOW)
    heat = next(fact for fact in cited if fact.series == SeriesKey(GPU, "gpu_temp"))
    assert re.fullmatch(r"gpu_temp of gpu\{.*\} rose from (59|60)\S* celsius to (89|90)\S* celsius", heat.text)


def test_every_citation_leads_to_a_fact_and_every_fact_has_a_number_of_its_own() -> None:
    found = why(HOT, (Mark(MarkKind.DEPLOY, REPLICA, since() - 300, "v1 → v2"),))
    assert [fact.id for fact in found.evidence] == [f"E{n + 1}" for n in range(len(found.evidence))]
    ids = {fact.id for fact in found.evidence}
    for name in (
        *(name for cause in found.causes for name in cause.evidence),
        *(one.evidence for one in found.candidates),
        *(name for one in found.ruled_out for name in one.evidence),
    ):
        assert name in ids
    assert [mark.detail for mark in found.changes] == ["v1 → v2"]
    assert found.evidence[0].series is not None
    assert any(fact.series == SeriesKey(POOL, "ttft", "mean") for fact in found.evidence)  # what users feel


def test_look_alikes_are_ruled_out_with_the_fact_against_them() -> None:
    found = why(HOT)
    power = next(one for one in found.ruled_out if one.cause == "gpu-power-cap")
    assert power.reason == "it would need: gpu_throttle_power rises"
    (fact,) = (fact for fact in found.evidence if fact.id in power.evidence)
    assert fact.text.endswith("stayed at 0")


def test_it_abstains_where_nothing_fits() -> None:
    found = why(CALM)
    assert found.abstained
    assert found.cause is None
    assert found.reason == "no known fault fits, and nothing left its reference"
    strange = why(CALM | {(NODE, "cpu_busy"): (0.2, 0.8)})
    assert strange.abstained
    assert "what moved most is cpu_busy of node" in strange.reason
    assert strange.candidates[0].entity == NODE


def test_a_fault_of_telemetry_suppresses_all_blame() -> None:
    told = window(HOT, noise=0.01)
    question = Question("i1", since(), (SeriesKey(POOL, "ttft", "mean"),))
    dark, frozen = told.values.copy(), told.values.copy()
    dark[-3:] = np.nan
    frozen[-AFTER:] = frozen[-AFTER - 1]
    for values, says in ((dark, "went silent together"), (frozen, "repeat their last numbers")):
        found = diagnose(question, replace(told, values=values), cause_book(), marks=(), floors=anomaly_policy().units)
        assert found.abstained
        assert found.reason.startswith("telemetry fault: ")
        assert says in found.reason
        assert (found.causes, found.candidates, found.ranker) == ((), (), "none")


def test_unknown_neither_fits_nor_rules_out() -> None:
    blind = {key: values for key, values in HOT.items() if "throttle" not in key[1]}
    found = why(blind)
    assert "gpu-thermal-throttle" not in {cause.id for cause in found.causes}
    assert "gpu-thermal-throttle" not in {one.cause for one in found.ruled_out}


def test_equal_questions_have_equal_answers() -> None:
    assert repr(why(HOT)) == repr(why(HOT))
