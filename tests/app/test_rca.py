"""``aiops rca replay``: the format, the figures, and what is reached on public cases."""

import json
import math
import subprocess
import sys
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aiops.app.cli import main
from aiops.app.output import CommandFailedError
from aiops.app.rca_case import find, read
from aiops.app.rca_score import Answer, baro_style, chance, n_sigma, scored
from tests.conftest import SHARED, shared

START = 1_700_000_000


def case(
    folder: Path, *, truth: list[str] | None = None, about: dict[str, Any] | None = None, broken: float = 9.0
) -> Path:
    """Three entities for 30 minutes; ``b`` needs ``broken`` × the CPU in the last five."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    lines = ["timestamp,a|latency_avg_s,a|cpu_percent,b|cpu_percent,b|x|y"]
    for row in range(30):
        noise = 1 + 0.02 * rng.standard_normal(4)
        values = [0.2, 30.0, 5.0 * (broken if row >= 25 else 1.0), 7.0] * noise
        lines.append(",".join([str(START + 60 * row), *(f"{value:.5g}" for value in values)]))
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")
    (folder / "topology.csv").write_text("caller,callee\na,b\na,c\n")
    alert = {"time": START + 60 * 28, "entity": "a", "metric": "latency_p95_s"}
    (folder / "case.json").write_text(json.dumps({"alert": alert, "interval_seconds": 60} | (about or {})))
    if truth is not None:
        (folder / "truth.json").write_text(json.dumps({"entities": truth, "metrics": None}))
    return folder


def test_an_answer_is_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = case(tmp_path / "set" / "001")
    assert main(["rca", "replay", str(folder), "-o", "jsonl"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    assert list(found) == ["case", "ranker", "candidates", "cause", "abstained", "reason", "stability"]
    assert (found["case"], found["ranker"], found["abstained"]) == ("set/001", "deviation", False)
    first = found["candidates"][0]
    assert list(first) == ["entity", "metric", "direction", "score", "onset"]
    assert (first["entity"], first["metric"], first["direction"]) == ("b", "cpu_percent", "up")
    assert first["onset"] == START + 60 * 25
    assert main(["rca", "replay", str(tmp_path), "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == [found]


def test_periods_are_derived_with_a_gap_before_the_window(tmp_path: Path) -> None:
    found = read(case(tmp_path / "s" / "1"))
    at = START + 60 * 28
    assert (found.window.start, found.window.end) == (at - 240, at + 60)
    assert (found.reference.start, found.reference.end) == (START, at - 240 - 180)
    spans = {"reference": {"start": START, "end": START + 300}, "window": {"start": at, "end": at + 60}}
    told = read(case(tmp_path / "s" / "2", about=spans | {"id": "x/7"}))
    assert (told.id, told.reference.end, told.window.start) == ("x/7", START + 300, at)
    assert told.columns[-1] == ("b|x", "y")
    assert told.entities == {"a", "b", "b|x", "c"}
    assert len(told.panel().reference) == 6


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("case.json", "{", "case.json: not JSON"),
        ("case.json", "[]", "case.json: expected an object"),
        ("case.json", "{}", "wrong or missing: 'alert'"),
        ("case.json", '{"alert": {"time": "noon", "entity": "a", "metric": "m"}}', "noon"),
        ("metrics.csv", "timestamp,a\n1,2\n", "column 'a': expected entity|metric"),
        ("metrics.csv", "timestamp,a|m\n", "rows below it"),
        ("metrics.csv", "timestamp,a|m,a|m\n1,2,3\n", "two columns have the same name"),
        ("metrics.csv", "timestamp,a|m\n1,2\n2,x\n", r"metrics.csv:3: .*'x'.*empty where a value is unknown"),
        ("metrics.csv", "timestamp,a|m\n1,2\n2\n", "metrics.csv:3: 1 fields, 2 expected"),
        ("metrics.csv", "timestamp,a|m\n,2\n", "expected epoch seconds"),
        ("topology.csv", "from,to\n", "expected the header caller,callee"),
        ("topology.csv", "caller,callee\na\n", "topology.csv:2: expected caller,callee"),
        ("truth.json", "{}", "truth.json: expected entities"),
    ],
)
def test_a_folder_in_another_format_is_refused(tmp_path: Path, file: str, text: str, says: str) -> None:
    folder = case(tmp_path / "c")
    (folder / file).write_text(text)
    with pytest.raises(CommandFailedError, match=says):
        read(folder)


def test_what_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rca", "replay", str(tmp_path)]) == 1
    assert "no case here" in capsys.readouterr().err
    folder = case(tmp_path / "s" / "1")
    assert main(["rca", "replay", str(folder), "--score"]) == 1
    assert "no truth.json" in capsys.readouterr().err
    late = case(tmp_path / "s" / "2", about={"window": {"start": START + 6000, "end": START + 7000}})
    assert main(["rca", "replay", str(late)]) == 1
    assert "no row of metrics.csv lies in the window" in capsys.readouterr().err
    twins = [str(case(tmp_path / name, about={"id": "same"})) for name in ("x", "y")]
    assert main(["rca", "replay", *twins]) == 1
    assert "the same id" in capsys.readouterr().err


def test_figures_of_a_set(tmp_path: Path) -> None:
    truths = [["b"], ["b", "c"], ["c"], []]
    cases = list(find([case(tmp_path / "s" / str(n), truth=truth).parent for n, truth in enumerate(truths)][:1]))
    answers = [Answer(("b", "a"), abstained=False), Answer(("a", "a", "c"), abstained=False),
               Answer(("c",), abstained=True), Answer((), abstained=True)]  # fmt: skip
    found = scored("x", cases, answers)
    assert (found.faulty, found.healthy) == (3, 1)
    assert found.ac1 == pytest.approx(1 / 3)
    assert found.ac3 == pytest.approx(2 / 3)
    assert found.avg5 == pytest.approx((1 / 3 + 4 * 2 / 3) / 5)
    assert found.mrr == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert (found.healthy_abstained, found.faulty_abstained) == (1.0, pytest.approx(1 / 3))


@pytest.mark.parametrize("right", [["b"], ["b", "c"], ["b", "c", "b|x"]])
def test_chance_is_the_mean_over_all_orders(tmp_path: Path, right: list[str]) -> None:
    (one,) = find([case(tmp_path / "s" / "1", truth=right)])
    orders = [scored("x", [one], [Answer(order, abstained=False)]) for order in permutations(sorted(one.entities))]
    found = chance([one])
    for figure in ("ac1", "ac3", "avg5", "mrr"):
        assert getattr(found, figure) == pytest.approx(np.mean([getattr(order, figure) for order in orders])), figure


def test_the_simple_rankers_have_their_known_faults(tmp_path: Path) -> None:
    (up,) = find([case(tmp_path / "s" / "1")])
    assert n_sigma(up).entities[0] == baro_style(up).entities[0] == "b"
    (down,) = find([case(tmp_path / "s" / "2", broken=0.2)])
    assert n_sigma(down).entities[0] == "b"
    assert baro_style(down).entities[0] != "b"  # it looks upwards only


@pytest.fixture(scope="module")
def public_cases() -> Path:
    return shared("data/rca")


def test_public_cases(public_cases: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The bars that were set before anything was written; the folder's own scorer agrees with ours."""
    assert main(["rca", "replay", str(public_cases), "--score", "-o", "json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    scores = {(one["set"], one["ranker"]): one for one in answer["scores"]}
    bars = {"petshop-low": (0.70, 0.94, 0.90), "nezha-onlineboutique-a": (0.75, 0.0, 0.87)}
    healthy = faulty = wrong = calm = 0.0
    for name, (ac1, ac3, avg5) in bars.items():
        ours = scores[name, "aiops"]
        assert ours["ac1"] >= ac1
        assert ours["ac3"] >= ac3
        assert ours["avg5"] >= avg5
        for other in ("n-sigma", "BARO-style", "chance"):
            assert ours["ac1"] > scores[name, other]["ac1"]
        healthy, faulty = healthy + ours["healthy"], faulty + ours["faulty"]
        calm += ours["healthy"] * ours["healthy_abstained"]
        wrong += ours["faulty"] * ours["faulty_abstained"]
    assert calm / healthy >= 0.85
    assert wrong / faulty <= 0.08
    lines = tmp_path / "answers.jsonl"
    lines.write_text("\n".join(json.dumps(one) for one in answer["cases"]))
    scorer = SHARED / "tools" / "rca_score.py"
    told = subprocess.run(
        [sys.executable, str(scorer), str(public_cases), "--predictions", str(lines)],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for row in told.splitlines()[2:]:
        fields = row.split()
        if fields[0] in bars:
            ours = scores[fields[0], "aiops"]
            assert math.isclose(float(fields[2]), ours["ac1"], abs_tol=6e-4)
            assert math.isclose(float(fields[4]), ours["ac3"], abs_tol=6e-4)
            assert math.isclose(float(fields[5]), ours["avg5"], abs_tol=6e-4)
