"""Records behind the page: the fleet's health, series over time, what changed, what watches."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from aiops.app.assembly import build_pipeline
from aiops.app.changes_view import changes_record
from aiops.app.config import Config
from aiops.app.fleet_view import fleet_record
from aiops.app.pipeline import Pipeline
from aiops.app.series_view import detectors_record, history_record, names_record
from aiops.app.target_view import relabel_record, rules_record
from aiops.collect.relabel import Action, RelabelRule
from aiops.collect.settings import JobSettings
from aiops.detect.base import AlertKey, Severity, Verdict
from aiops.incidents.alert import Alert, AlertState
from aiops.signals.tenancy import Pod, Tenancy, Tenant
from aiops.signals.types import Columns, Entity, EntityKind, Reading, SeriesKey
from aiops.store.settings import StoreSettings
from aiops.web.asked import SeriesFilter, Span
from aiops.web.source import Refused

TICKS, STEP = 150, 5.0
NAN = float("nan")


def replica(instance: str, job: str = "llm") -> Entity:
    return Entity.of(EntityKind.REPLICA, instance=instance, job=job, model_name="m")


def gpu(name: str, node: str) -> Entity:
    return Entity.of(EntityKind.GPU, gpu=name, node=node)


def alert(entity: Entity, severity: Severity, state: AlertState = AlertState.FIRING, rule: str = "R") -> Alert:
    verdict = Verdict(rule, severity, 1.0, 1.0, "summary", "reason")
    return Alert(AlertKey(rule, SeriesKey(entity, "running")), state, 1.0, 1.0, verdict)


# The fleet -----------------------------------------------------------------------------------------------------


def test_health_is_the_worst_below_and_silence_is_not_health() -> None:
    a, b, c = replica("10.0.0.1:8000"), replica("10.0.0.2:8000"), replica("10.0.0.3:8000")
    hot = gpu("GPU-1", "10.0.0.1")
    latest = [
        (SeriesKey(a, "running"), 4.0, True),
        (SeriesKey(b, "running"), 5.0, True),
        (SeriesKey(c, "running"), 6.0, False),
        (SeriesKey(hot, "gpu_temp"), 91.0, True),
        (SeriesKey(gpu("GPU-2", "elsewhere"), "gpu_temp"), 50.0, True),
    ]
    alerts = [alert(hot, Severity.WARNING), alert(b, Severity.INFO), alert(b, Severity.CRITICAL, AlertState.PENDING)]
    record = fleet_record(100.0, latest, alerts)
    (pool,) = record["pools"]
    assert pool["health"] == "warning"
    assert [(one["health"], one["alerts"]) for one in pool["replicas"]] == [("ok", 0), ("info", 1), ("silent", 0)]
    assert [one["numbers"] for one in pool["replicas"]] == [{"running": 4.0}, {"running": 5.0}, {}]
    assert [one["health"] for one in pool["replicas"][0]["gpus"]] == ["warning"]
    assert [(one["node"], one["health"]) for one in record["nodes"]] == [("elsewhere", "ok")]
    assert record["elsewhere"] == []


def test_a_dead_target_is_told_of_its_replicas_or_stands_alone() -> None:
    latest = [(SeriesKey(replica("a:1"), "running"), 4.0, False)]
    targets = [Entity.of(EntityKind.TARGET, instance=name, job="llm") for name in ("a:1", "b:1")]
    record = fleet_record(100.0, latest, [alert(target, Severity.CRITICAL) for target in targets])
    assert record["pools"][0]["replicas"][0]["health"] == "critical"
    assert [one["labels"]["instance"] for one in record["elsewhere"]] == ["b:1"]


def test_the_score_of_a_thing_is_the_highest_of_its_series() -> None:
    a, b = replica("a:1"), replica("b:1")
    scores = [(SeriesKey(a, name), score) for name, score in (("running", 0.4), ("queue_len", 2.5), ("kv_use", 1.0))]
    record = fleet_record(1.0, [(SeriesKey(one, "running"), 1.0, True) for one in (a, b)], [], scores)
    found = [one["score"] for one in record["pools"][0]["replicas"]]
    assert found == [2.5, pytest.approx(np.nan, nan_ok=True)]


def test_gpus_of_a_shared_node_are_nobodys() -> None:
    latest = [(SeriesKey(replica(f"10.0.0.1:{port}"), "running"), 1.0, True) for port in (1, 2)]
    latest.append((SeriesKey(gpu("GPU-1", "10.0.0.1"), "gpu_temp"), 50.0, True))
    record = fleet_record(100.0, latest, [])
    assert [one["gpus"] for one in record["pools"][0]["replicas"]] == [[], []]
    assert [one["node"] for one in record["nodes"]] == ["10.0.0.1"]


def test_gpus_of_a_shared_node_are_those_that_the_kubelet_gave() -> None:
    a, b = (replica(f"10.1.0.{n}:8000") for n in (1, 2))
    mine, free = gpu("GPU-1", "n1"), gpu("GPU-2", "n1")
    latest = [(SeriesKey(one, "running"), 1.0, True) for one in (a, b)]
    latest += [(SeriesKey(one, "gpu_temp"), 50.0, True) for one in (mine, free)]
    pods = {("llm", f"10.1.0.{n}:8000"): Pod("llm", f"chat-{n}") for n in (1, 2)}
    tenancy = Tenancy("n1", {"GPU-1": (Tenant(Pod("llm", "chat-2"), "vllm"),)}, pods)
    record = fleet_record(100.0, latest, [], tenancy=tenancy)
    found = [[one["labels"]["gpu"] for one in replica["gpus"]] for replica in record["pools"][0]["replicas"]]
    assert found == [[], ["GPU-1"]]
    assert [one["labels"]["gpu"] for one in record["nodes"][0]["gpus"]] == ["GPU-2"]


def test_the_sickest_pool_comes_first() -> None:
    latest = [(SeriesKey(replica("a:1", job), "running"), 1.0, True) for job in ("x", "y", "z")]
    record = fleet_record(1.0, latest, [alert(replica("a:1", "y"), Severity.CRITICAL)])
    assert [one["labels"]["pool"] for one in record["pools"]] == ["y", "x", "z"]


# Series --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """Two replicas for 150 ticks; the queue of the second grows from tick 120 on."""
    folder: Path = tmp_path_factory.mktemp("state")
    pipeline = build_pipeline(Config(store=StoreSettings(directory=folder, window=TICKS * STEP)))
    noise = np.random.default_rng(1)
    keys = [
        SeriesKey(replica(name), signal, stat)
        for name in ("a:1", "b:1")
        for signal, stat in (("queue_len", ""), ("running", ""), ("tokens_out", ""), ("ttft", "p95"))
    ]
    columns = Columns(tuple(keys))
    for tick in range(TICKS):
        values = np.abs(noise.normal([2, 8, 400, 0.2] * 2, [0.5, 1, 20, 0.02] * 2))
        values[4] += 30.0 * (tick >= 120)
        reading = Reading("t", tick * STEP, columns, values)
        pipeline.tick(1000.0 + tick * STEP, [reading], [], elapsed_seconds=STEP)
    return pipeline


def test_a_window_has_values_band_and_score_on_one_axis(pipeline: Pipeline) -> None:
    record = history_record(pipeline, SeriesFilter(signal="queue_len", entity="b:1"))
    (series,) = record["series"]
    assert len(record["at"]) == TICKS
    assert record["at"][-1] == 1000.0 + (TICKS - 1) * STEP
    assert {len(series[name]) for name in ("values", "lower", "upper", "score")} == {TICKS}
    assert series["upper"][110] < series["values"][130]
    assert max(series["score"][70:118]) < 1 <= min(series["score"][122:126])
    assert np.isnan(series["score"][10]), "nothing was judged yet"
    assert series["votes"]["zscore"] >= 1
    assert series["lower"][100] == float("-inf"), "a short queue hurts nobody"
    (running,) = history_record(pipeline, SeriesFilter(signal="running", entity="b:1"))["series"]
    assert min(running["lower"][70:]) >= 0.0, "no batch is smaller than nothing"


def test_as_many_series_as_asked_for(pipeline: Pipeline) -> None:
    record = history_record(pipeline, SeriesFilter(signal="running", limit=1))
    assert (len(record["series"]), record["more"]) == (1, 1)
    assert history_record(pipeline, SeriesFilter(signal="nothing")) == {"step": STEP, "at": [], "series": [], "more": 0}


def test_names_are_those_that_there_are(pipeline: Pipeline) -> None:
    names = {one["signal"]: one for one in names_record(pipeline)["names"]}
    assert (names["ttft"]["stats"], names["ttft"]["series"], names["ttft"]["unit"]) == (["p95"], 2, "seconds")
    assert "gpu_temp" not in names


def test_every_rule_says_what_it_sees_and_what_it_lacks(pipeline: Pipeline) -> None:
    record = detectors_record(pipeline)
    rules = {one["name"]: one for one in record["rules"]}
    anomalous = rules["LLMQueueLengthAnomalous"]
    assert (anomalous["watched"], anomalous["outside"], anomalous["fine"], anomalous["active"]) == (2, 1, 1, 1)
    stuck = rules["EngineStuck"]
    assert (stuck["watched"], stuck["outside"]) == (2, 0)
    assert "finished" in stuck["missing"]
    assert rules["GpuXidFatal"]["watched"] is None
    assert rules["TargetDown"]["missing"] == []
    zscore = next(one for one in record["detectors"] if one["name"] == "zscore")
    assert (zscore["judged"], zscore["outside"], zscore["adviser"]) == (8, 1, False)


# What changed --------------------------------------------------------------------------------------------------


def told(record: dict[str, object]) -> Sequence[tuple[str, str]]:
    return [(one["signal"], one["entity"]["labels"]["instance"]) for one in record["changes"]]


async def test_what_changed_is_found_among_all_series(pipeline: Pipeline) -> None:
    start = 1000.0 + 120 * STEP
    record = await changes_record(pipeline.ring, Span(start=start, end=start + 100.0))
    assert record["series"] == 8
    assert told(record) == [("queue_len", "b:1")]
    (change,) = record["changes"]
    assert change["distance"] > 10
    assert 1 < change["before"] < 3
    assert 30 < change["then"] < 34
    assert change["onset"] == "1970-01-01T00:26:40.000Z"
    calm = await changes_record(pipeline.ring, Span(start=1000.0 + 60 * STEP, end=1000.0 + 100 * STEP))
    assert told(calm) == []


async def test_without_a_past_there_is_nothing_to_compare(pipeline: Pipeline) -> None:
    for span in (Span(start=0.0, end=2000.0), Span(start=1005.0, end=1100.0), Span(start=9e9, end=9.1e9)):
        with pytest.raises(Refused, match="nothing to compare"):
            await changes_record(pipeline.ring, span)


async def test_a_large_fleet_is_looked_at_coarsely_first() -> None:
    pipeline = build_pipeline(Config(store=StoreSettings(directory=Path("/nonexistent"), window=60 * STEP)))
    keys = tuple(SeriesKey(replica(f"r{number}:1"), "queue_len") for number in range(2000))
    noise = np.random.default_rng(2)
    for tick in range(60):
        values = np.abs(noise.normal(5.0, 1.0, len(keys)))
        values[1234] += 40.0 * (tick >= 50)
        values[77] = NAN
        pipeline.ring.append(tick * STEP, [Reading("t", tick * STEP, Columns(keys), values)], elapsed_seconds=STEP)
    record = await changes_record(pipeline.ring, Span(start=50 * STEP, end=60 * STEP))
    assert record["series"] == 2000
    assert told(record)[0] == ("queue_len", "r1234:1")


# Relabelling ---------------------------------------------------------------------------------------------------


JOB = JobSettings(
    name="llm",
    relabel=(
        RelabelRule(source_labels=("app",), target_label="pool"),
        RelabelRule(source_labels=("pool",), regex="chat|code", action=Action.KEEP),
        RelabelRule(regex="app", action=Action.LABEL_DROP),
    ),
)


def test_relabelling_is_shown_step_by_step() -> None:
    record = relabel_record([JOB], "llm", {"app": "chat", "empty": ""})
    assert (record["keep"], record["labels"]) == (True, {"pool": "chat"})
    assert [step["output"] for step in record["steps"]] == [{"app": "chat", "pool": "chat"}] * 2 + [{"pool": "chat"}]
    assert record["steps"][0]["rule"] == {"source_labels": ["app"], "target_label": "pool"}
    dropped = relabel_record([JOB], "llm", {"app": "batch"})
    assert (dropped["keep"], dropped["labels"], len(dropped["steps"])) == (False, {}, 2)
    assert dropped["steps"][1]["reason"] == "'batch' does not match 'chat|code'"


def test_jobs_are_named_where_there_is_none_of_that_name() -> None:
    assert relabel_record([JOB], "", {}) == {"jobs": [{"name": "llm", "rules": 3}]}
    with pytest.raises(Refused, match="there is no job 'lm'; there are llm"):
        relabel_record([JOB], "lm", {})


KEEP = "- source_labels: [app]\n  regex: chat\n  action: keep\n"


@pytest.mark.parametrize(
    "rules",
    [
        KEEP,
        f"relabel_configs:\n{KEEP}",
        "    " + KEEP.replace("\n", "\n    ").rstrip(),
        '[{"source_labels": ["app"], "regex": "chat", "action": "keep"}]',
    ],
)
def test_rules_that_no_job_has_yet_can_be_tried_as_they_are_written_anywhere(rules: str) -> None:
    for app, kept in (("chat", True), ("batch", False)):
        record = rules_record(rules, {"app": app})
        assert (record["keep"], len(record["steps"]), record["error"]) == (kept, 1, "")


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ("- {action: keep}\n- a: ]", "rules, line 2: not YAML"),
        (f"{KEEP}- {{action: hashmod, target_label: a}}", "rule 2: action hashmod needs a modulus"),
        ("- {action: kep}", "rule 1: action: Input should be 'replace'"),
        ("- {regx: a}", "rule 1: regx: Extra inputs"),
        ("- {regex: '(a+)+', target_label: b}", "rule 1: regex: "),
        ("source_labels: [a]", "rules: expected a list"),
        ("a", "rules: expected a list"),
        ("#", "rules: expected a list"),
        ("- a", "rule 1: Input should be a valid dictionary"),
    ],
)
def test_what_is_no_rule_is_named_with_its_number(rules: str, told: str) -> None:
    record = rules_record(rules, {"app": "chat"})
    assert record["error"].startswith(told)
    assert not record["keep"]


# Documents -----------------------------------------------------------------------------------------------------
