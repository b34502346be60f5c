"""``aiops backtest``: the past goes through the real pipeline, sees nothing of the future, and is judged honestly."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiops.app.assembly import build_pipeline
from aiops.app.backtest import Answer, Decisions, Fired, Recorded, Story, Truth, at_step, judged, run, ticks
from aiops.app.backtest_inputs import from_files, known_incidents, moment
from aiops.app.cli import build_parser, main
from aiops.app.commands.backtest import recorded_by
from aiops.app.commands.score import read
from aiops.app.config import Config
from aiops.app.output import CommandFailedError
from aiops.detect.base import Severity
from aiops.signals.types import Columns, Entity, EntityKind, Reading, SeriesKey, SourceStatus
from tests.app.pasts import FAULT, START, STEP, simulated, table
from tests.real.prometheus import prometheus_with


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    file = tmp_path / "replica-a.csv"
    file.write_text(table())
    return file


@pytest.fixture
def incidents(tmp_path: Path) -> Path:
    file = tmp_path / "incidents.yaml"
    file.write_text(f"- {{start: {FAULT[0]}, end: {FAULT[1]}, labels: {{instance: replica-a}}}}\n")
    return file


def report(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> dict[str, Any]:
    assert main(["backtest", *map(str, arguments), "-o", "json"]) == code
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_the_fault_in_a_recording_is_found_and_nothing_else(
    recording: Path, incidents: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = report(capsys, "--csv", recording, "--incidents", incidents, "--no-fits", "--min-recall", 1)
    (one,) = found["runs"]
    assert (one["known"], one["found"], one["recall"], one["precision"]) == (1, 1, 1.0, 1.0)
    assert 0 < one["delay_median_seconds"] <= 180
    assert one["delay_p90_seconds"] == one["delay_median_seconds"]
    assert one["missed"] == one["false"] == []
    assert "LLMInterTokenLatencyAnomalous" in {entry["rule"] for entry in one["by_rule"]}
    assert one["alerts_per_week"] == pytest.approx(one["alerts"] / found["weeks"])
    assert all(FAULT[0] <= moment(alert["at"], "") for alert in one["fired"])


def test_bars_that_are_not_met_fail_the_command(
    recording: Path, incidents: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    incidents.write_text(f"- {{start: {START}, end: {START + 60}}}\n")
    flags = ("--csv", recording, "--incidents", incidents, "--no-fits", "--min-recall", 0.5, "--min-precision", 0.9)
    found = report(capsys, *flags, "--max-alerts-per-week", 0.5, code=1)
    assert [text.split(" ")[0] for text in found["failed"][1:]] == ["recall", "precision"]
    assert "alerts per week, at most 0.5" in found["failed"][0]
    (one,) = found["runs"]
    assert (one["recall"], one["precision"]) == (0.0, 0.0)
    assert len(one["missed"]) == 1
    assert len(one["false"]) == one["incidents"] > 0
    assert main(["backtest", "--csv", str(recording), "--min-recall", "0.5"]) == 1
    assert "need --incidents" in capsys.readouterr().err


def test_two_configurations_stand_side_by_side(
    recording: Path, incidents: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "calm.yaml").write_text("detect: {threshold_sigma: 50}\n")
    (tmp_path / "none.yaml").write_text("detect: {enabled: false}\n")
    flags = ["--csv", str(recording), "--incidents", str(incidents), "--no-fits"]
    sides = ["--config.file", str(tmp_path / "calm.yaml"), "--against", str(tmp_path / "none.yaml")]
    assert main(["backtest", *flags, *sides]) == 0
    out = capsys.readouterr().out
    header = next(line for line in out.splitlines() if line.startswith("WHAT"))
    assert header.split()[1:] == [str(tmp_path / "calm.yaml"), str(tmp_path / "none.yaml")]
    found = report(capsys, *flags, *sides)
    calm, none = found["runs"]
    assert not [entry for entry in none["by_rule"] if entry["rule"].endswith("Anomalous")]
    assert [entry for entry in calm["by_rule"] if entry["rule"].endswith("Anomalous")]


def test_the_same_input_gives_the_same_bytes(
    recording: Path, incidents: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("statsmodels")
    outputs = []
    flags = ["backtest", "--csv", str(recording), "--incidents", str(incidents), "-o", "json"]
    for jobs in ("1", "2"):
        assert main([*flags, "--jobs", jobs]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]
    assert json.loads(outputs[0])["runs"][0]["fitted_models"] > 0


def cut(recorded: Recorded, count: int) -> Recorded:
    return Recorded(recorded.answers[:count], recorded.entities, recorded.step_seconds)


def known_until(decisions: Decisions, until: float) -> list[tuple[Any, ...]]:
    """What was decided up to a time, told without what came later."""
    return [
        (
            one.at,
            one.rule,
            one.severity,
            one.series,
            one.reason,
            one.story,
            one.ended_at if one.ended_at <= until else 0,
        )
        for one in decisions.fired
        if one.at <= until
    ]


@pytest.mark.parametrize("fits", [False, True])
def test_what_comes_later_changes_no_decision(recording: Path, *, fits: bool) -> None:
    if fits:
        pytest.importorskip("sklearn")
        pytest.importorskip("statsmodels")
    whole = from_files({recording: read(recording)}, STEP)
    decided = run(whole, Config(), fits=fits)
    stamps = [at for at, _ in ticks(whole)]
    places = sorted({stamps.index(one.at) for one in decided.fired})
    assert places
    # Just before and just after each decision, where a look ahead would show.
    for count in (150, *places, *(place + 1 for place in places), 190)[:: 3 if fits else 1]:
        part = run(cut(whole, count), Config(), fits=fits)
        assert known_until(part, stamps[count - 1]) == known_until(decided, stamps[count - 1])
        assert part.ticks == count


def plain(seconds: Sequence[float], values: Sequence[float], source: str = "s") -> tuple[Answer, ...]:
    """Answers of one replica with one series; NaN = the attempt failed."""
    entity = Entity.of(EntityKind.REPLICA, job="llm", instance=source, model_name="m")
    columns = Columns((SeriesKey(entity, "ttft", "p95"),))
    return tuple(
        Answer(source, at, None if np.isnan(value) else Reading(source, at, columns, np.array([value])))
        for at, value in zip(seconds, values, strict=True)
    )


def recorded_of(*answers: Answer) -> Recorded:
    entities = {a.source: Entity.of(EntityKind.TARGET, job="llm", instance=a.source) for a in answers}
    return Recorded(tuple(sorted(answers, key=lambda a: a.at)), entities, STEP)


@settings(max_examples=8)
@given(seed=st.integers(0, 2**16), size=st.floats(3, 50), at=st.integers(70, 110))
def test_a_replay_is_what_the_daemon_does_tick_by_tick(seed: int, size: float, at: int) -> None:
    values = 0.2 + 0.01 * np.random.default_rng(seed).standard_normal(130)
    values[at : at + 15] *= size
    answers = plain((START + STEP * np.arange(130)).tolist(), values.tolist())
    decided = run(recorded_of(*answers), Config(), fits=False)
    pipeline, fired = build_pipeline(at_step(Config(), STEP)), []
    target = Entity.of(EntityKind.TARGET, job="llm", instance="s")
    for answer in answers:
        status = SourceStatus("s", "scrape", target, STEP, answer.at, answer.at, answer.at)
        assert answer.reading is not None
        now = answer.at + STEP / 2
        outcome = pipeline.tick(now, [answer.reading], [status], elapsed_seconds=STEP)
        fired += [(now, t.alert.key.rule, str(t.alert.key.series)) for t in outcome.transitions if t.began]
    assert [(one.at, one.rule, one.series) for one in decided.fired] == fired
    assert fired, "a fault of three times the level is seen"


def test_failed_reads_are_a_dead_target_and_a_monitor_that_slept_is_none() -> None:
    at = (START + STEP * np.arange(80)).tolist()
    alive = [0.2] * 80
    dead = [0.2] * 40 + [float("nan")] * 20 + [0.2] * 20
    decided = run(recorded_of(*plain(at, alive, "a"), *plain(at, dead, "b")), Config(), fits=False)
    assert [(one.rule, one.severity, one.labels) for one in decided.fired] == [
        ("TargetDown", Severity.CRITICAL, (("instance", "b"), ("job", "llm")))
    ]
    (one,) = decided.fired
    assert at[41] <= one.at <= at[43]
    assert at[60] <= one.ended_at <= at[63]
    (story,) = decided.stories
    assert story.ended_at == one.ended_at
    slept = recorded_of(*plain(at[:40] + at[60:], alive[:60], "a"))
    assert run(slept, Config(), fits=False).fired == []
    left = recorded_of(*plain(at, alive, "a"), *plain(at[:40], alive[:40], "b"))
    assert run(left, Config(), fits=False).fired == [], "a target that nobody asks any more is not down"


def test_the_configuration_keeps_its_rows_at_another_step() -> None:
    config = at_step(Config(), 60.0)
    assert config.interval == 60.0
    assert config.store.rows(config.interval) == Config().store.rows(Config().interval)


def fired(at: float, story: int, severity: Severity = Severity.WARNING, instance: str = "a") -> Fired:
    return Fired(at, 0.0, "R", severity, "s", (("instance", instance), ("job", "j")), "", statistical=True, story=story)


def decisions(*alerts: Fired) -> Decisions:
    stories = [Story(str(number), "t", 0.0, 0.0) for number in range(1 + max(alert.story for alert in alerts))]
    return Decisions(fired=list(alerts), stories=stories)


def test_judging_counts_stories_alerts_and_delays() -> None:
    made = decisions(
        fired(105, 0), fired(110, 0), fired(300, 1), fired(395, 2), fired(520, 3, Severity.INFO),
        fired(600, 4, instance="b"),
    )  # fmt: skip
    truths = (Truth(100, 150), Truth(400, 450), Truth(500, 540), Truth(590, 700, (("instance", "a"), ("pool", "x"))))
    found = judged(made, truths, Severity.WARNING, 10)
    assert found.found == truths[:2]
    assert found.missed == truths[2:]
    assert found.delays == (5.0, 0.0)
    assert (found.recall, found.precision) == (0.5, 0.5)
    assert [alert.at for alert in found.false_alerts] == [300, 600]
    assert [story.id for story, _, _ in found.false_stories] == ["1", "4"]
    assert judged(made, truths, Severity.INFO, 10).recall == 0.75
    assert judged(made, truths, Severity.CRITICAL, 10).alerts == ()
    assert np.isnan(judged(made, truths, Severity.CRITICAL, 10).precision)
    nothing = judged(made, None, Severity.INFO, 10)
    assert len(nothing.stories) == 5
    assert nothing.false_alerts == ()
    assert np.isnan(nothing.recall)


def test_an_incident_that_opened_by_mistake_stays_one() -> None:
    found = judged(decisions(fired(50, 0), fired(205, 0)), (Truth(200, 300),), Severity.INFO, 0)
    assert found.recall == 1.0, "somebody was told of it"
    assert found.precision == 0.0


@given(
    st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 5)), min_size=1, max_size=20),
    st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 100)), max_size=5),
)
def test_everything_is_counted_once(alerts: list[tuple[int, int]], known: list[tuple[int, int]]) -> None:
    made = decisions(*(fired(at, story) for at, story in sorted(alerts)))
    truths = tuple(Truth(start, start + length) for start, length in known)
    found = judged(made, truths, Severity.INFO, 0)
    assert len(found.found) + len(found.missed) == len(truths)
    assert len(found.delays) == len(found.found)
    naive = [one for one in made.fired if not any(t.start <= one.at <= t.end for t in truths)]
    assert list(found.false_alerts) == naive
    assert len(found.stories) == len({story for _, story in alerts})
    first = {one.story: one for one in reversed(made.fired)}
    assert {story.id for story, _, _ in found.false_stories} == {str(s) for s, one in first.items() if one in naive}


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("timestamp,queue_length", "'queue_length' is no signal; did you mean queue_len"),
        ("timestamp,ttft", "did you mean ttft:mean, ttft:p50"),
        ("timestamp,ttft:p90", "did you mean ttft:p9"),
        ("timestamp,zzz", "'zzz' is no signal ("),
        ("timestamp,running,running", "two columns have the same name"),
    ],
)
def test_columns_that_name_no_signal(
    header: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = ",1" * header.count(",")
    (tmp_path / "x.csv").write_text(f"{header}\n1000{cells}\n1015{cells}\n")
    assert main(["backtest", "--csv", str(tmp_path / "x.csv")]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert "x.csv" in error


def test_files_are_replicas_gpus_and_nodes_and_impossible_values_are_unknown(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("timestamp,kv_use,gpu_temp,cpu_busy,ttft:rate\n10,7,55,0.5,3\n25,0.5,,0.5,3\n")
    recorded = from_files({tmp_path / "a.csv": read(tmp_path / "a.csv")}, 15.0)
    first, second = (answer.reading for answer in recorded.answers)
    assert first is not None
    assert second is not None
    assert [key.entity.kind for key in first.columns.keys] == ["replica", "gpu", "node", "replica"]
    np.testing.assert_array_equal(first.values, [np.nan, 55, 0.5, 3])
    np.testing.assert_array_equal(second.values, [0.5, np.nan, 0.5, 3])
    assert first.columns is second.columns


def test_incident_files(tmp_path: Path) -> None:
    when = datetime.fromtimestamp(START, UTC)
    yaml, table = tmp_path / "i.yaml", tmp_path / "i.csv"
    yaml.write_text(
        f"incidents:\n- {{start: {when.isoformat()}, end: {START + 60}, labels: {{pool: chat}}}}\n"
        f"- start: '{START - 100}'\n  end: {when:%Y-%m-%d %H:%M:%S}\n"
    )
    table.write_text(f'start,end,labels\n{START},{START + 60},pool=chat\n{START - 100},{when:%Y-%m-%dT%H:%M:%S},""\n')
    expected = (Truth(START - 100, START), Truth(START, START + 60, (("pool", "chat"),)))
    assert known_incidents(yaml) == expected
    assert known_incidents(table) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1", "expected a list"),
        ("- {start: 5}", "incident 1: expected start, end"),
        ("- {start: 5, end: 4}", "ends before it starts"),
        ("- {start: 5, end: soon}", "incident 1: end: expected epoch seconds"),
        ("- {start: 5, end: 6, labels: 'x'}", "labels: expected name=value"),
        ("- {start: 5, end: 6, lables: {}}", "expected start, end and perhaps labels"),
        ("[", "cannot be read"),
    ],
)
def test_bad_incident_files(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "i.yaml").write_text(text)
    with pytest.raises(CommandFailedError, match=said):
        known_incidents(tmp_path / "i.yaml")


def test_misuse_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for flags, said in (
        (["--csv", str(tmp_path / "none.csv")], "none.csv: No such file"),
        (["--csv", "x", "--query", "a=b"], "go with --prometheus"),
        (["--prometheus", "http://127.0.0.1:1", "--query", "up"], "expected SIGNAL=PROMQL"),
        (["--prometheus", "ftp://x"], "expected http"),
        (["--prometheus", "http://127.0.0.1:1", "--end", "soon"], "--end: expected epoch seconds"),
        (["--prometheus", "http://127.0.0.1:1", "--range", "1h"], "cannot be asked"),
    ):
        assert main(["backtest", *flags]) == 1
        assert said in capsys.readouterr().err


@pytest.mark.real
async def test_a_real_prometheus_with_a_fault_and_a_dead_target(
    tmp_path: Path,
    real_program: Callable[[str], str],
    free_port: Callable[[], int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    import asyncio

    dead = (FAULT[0] - 600, FAULT[0] - 300)
    past: dict[str, list[tuple[float, float]]] = {}
    for instance, dies in (("a:1", False), ("b:1", True)):
        own = f'instance="{instance}",job="llm",pool="chat"'
        for at, page in simulated():
            away = dies and dead[0] < at < dead[1]
            at = at + 0.2 * dies  # noqa: PLW2901 - scraped a little later
            past.setdefault(f"up{{{own}}}", []).append((at, 0.0 if away else 1.0))
            for sample, value in zip(page.layout.samples, page.values.tolist(), strict=True):
                inside = ",".join([*(f'{name}="{text}"' for name, text in sample.labels), own])
                # What Prometheus writes when a scrape fails looks like NaN.
                past.setdefault(f"{sample.name}{{{inside}}}", []).append((at, float("nan") if away else value))
    truth = tmp_path / "incidents.csv"
    truth.write_text(f"start,end,labels\n{FAULT[0]},{FAULT[1]},pool=chat\n{dead[0]},{dead[1]},instance=b:1\n")
    programs = {"prometheus": real_program("prometheus"), "promtool": real_program("promtool")}
    async with prometheus_with(past, tmp_path, port=free_port(), **programs) as url:
        flags = ["backtest", "--prometheus", url, "--end", str(START + 200 * STEP), "--range", "50m", "--step", "15s"]
        flags += ["--no-fits", "-o", "json"]
        whole = ["--selector", '{job="llm"}', "--incidents", str(truth), "--min-recall", "1", "--min-precision", "1"]
        assert await asyncio.to_thread(main, [*flags, *whole]) == 0
        found = json.loads(capsys.readouterr().out)
        query = ["--query", "queue_len=sum by (instance) (vllm:num_requests_waiting)", "--severity", "info"]
        assert await asyncio.to_thread(main, [*flags, *query]) == 0
        queried = json.loads(capsys.readouterr().out)
        assert await asyncio.to_thread(main, [*flags, "--selector", '{job="none"}']) == 1
        assert 'no series up{job="none"}' in capsys.readouterr().err
        fit = build_parser().parse_args(["fit", *flags[1:7], "--selector", '{instance="a:1"}'])
        lived = await asyncio.to_thread(recorded_by, fit, Config(), 5.0)
    assert len(lived.entities) == 1
    assert lived.step_seconds == 5.0
    assert len(lived.answers) == len(simulated()), "each scrape once, although the daemon looks thrice as often"
    (one,) = found["runs"]
    assert one["missed"] == []
    down = [alert for alert in one["fired"] if alert["rule"] == "TargetDown"]
    assert len(down) == 1
    assert 'instance="b:1",job="llm",pool="chat"' in down[0]["series"]
    slow = [alert for alert in one["fired"] if alert["rule"] == "LLMInterTokenLatencyAnomalous"]
    assert {alert["series"].count('pool="chat"') for alert in slow} == {1}
    assert {alert["rule"] for alert in queried["runs"][0]["fired"]} == {"LLMQueueLengthAnomalous"}
