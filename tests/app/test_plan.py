"""``aiops plan``: its document, its streams, and that bad input is named with file and line."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from aiops.app.cli import main

PROFILE = "step_seconds: [[1, 0.01], [64, 0.03]]\nprefill_seconds_per_token: 0.0001\nslots: 32\n"


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    arrivals = np.cumsum(rng.exponential(0.4, 2000))
    sizes = rng.exponential(2.0, 2000)
    path = tmp_path / "day.csv"
    lines = [f"{a:.4f},{s:.4f}" for a, s in zip(arrivals, sizes, strict=True)]
    path.write_text("\n".join(["arrival_seconds,service_seconds", *lines]) + "\n")
    return path


def run(path: Path, *more: str) -> int:
    return main(["plan", "--trace", str(path), "--wait-slo", "1", "--target", "0.95", *more])


def test_the_document_has_every_model_and_nulls_for_the_unknown(
    trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(trace, "--servers", "9", "3", "8", "7", "10", "11", "-o", "json") == 0
    out, err = capsys.readouterr()
    made = json.loads(out)
    assert set(made["models"]) == {"mmc", "hayward", "allen_cunneen", "fluid", "replay"}
    for found in made["models"].values():
        assert list(found) == ["3", "7", "8", "9", "10", "11"]
        assert found["3"]["wait_mean_seconds"] is None
        assert found["3"]["wait_p95_seconds"] is None
        assert found["3"]["p_wait_over_slo"] is None
        assert found["3"]["backlog_growth_per_second"] == pytest.approx(1.0, abs=0.2)
        assert set(found["9"]) >= {"rho", "wait_mean_seconds", "wait_p95_seconds", "p_wait_over_slo"}
        assert "backlog_growth_per_second" not in found["9"]
        assert 0.0 < found["9"]["rho"] < 1.0
    assert made["chosen"] == "replay"
    assert made["recommended_servers"] in {8, 9, 10}
    assert made["p_slo"] >= 0.95
    assert made["abstained"] is False
    assert made["reason"] in err


def test_a_table_shows_the_same(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(trace, "--servers", "9") == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0].split()[:3] == ["SERVERS", "MODEL", "RHO"]
    assert "replay (chosen)" in out
    assert "recommended servers: 9" in err or "none" in err


def test_a_terminal_sees_how_far_it_is(
    trace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("aiops.app.progress._SHOWN_AFTER_SECONDS", 0.0)
    monkeypatch.setattr("aiops.app.progress._LEAST_SECONDS", 0.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    assert run(trace, "--servers", "9", "10", "-o", "json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["chosen"] == "replay"
    bars = [part for part in err.split("\r") if part.startswith("judging servers [")]
    assert [bar.partition("] ")[2].split()[0] for bar in bars] == ["0%", "25%", "50%", "75%"]
    assert err.split("\r")[-1].startswith("recommended servers"), "nothing is left of the bar"


def test_a_short_trace_abstains_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "short.csv"
    path.write_text("arrival_seconds,service_seconds\n0,1\n1,1\n")
    assert run(path, "--servers", "2", "-o", "json") == 0
    out, err = capsys.readouterr()
    made = json.loads(out)
    assert (made["abstained"], made["recommended_servers"], made["p_slo"]) == (True, None, None)
    assert err.startswith("abstained: too little")


def test_tokens_need_a_profile_and_are_planned_with_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(2)
    arrivals = np.cumsum(rng.exponential(0.5, 600))
    rows = [f"{a:.3f},{rng.integers(100, 2000)},{rng.integers(20, 300)}" for a in arrivals]
    path, profile = tmp_path / "tokens.csv", tmp_path / "engine.yaml"
    path.write_text("\n".join(["arrival_seconds,input_tokens,output_tokens", *rows]))
    profile.write_text(PROFILE)
    assert run(path, "--servers", "1") == 1
    assert "expected --profile" in capsys.readouterr().err
    assert run(path, "--servers", "1", "2", "--profile", str(profile), "-o", "json") == 0
    assert json.loads(capsys.readouterr().out)["recommended_servers"] in {1, 2}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the file is empty"),
        ("arrival_seconds\n1\n", "day.csv:1: the header lacks"),
        ("arrival_seconds,service_seconds\n", "no requests"),
        ("arrival_seconds,service_seconds\n2,1\n1,1\n", "day.csv:3: arrival_seconds 1 is before 2"),
        ("arrival_seconds,service_seconds\n-2,1\n", "day.csv:2: arrival_seconds is '-2'"),
        ("arrival_seconds,service_seconds\n2,nan\n", "day.csv:2: service_seconds is 'nan'"),
        ("arrival_seconds,service_seconds\n2,0\n", "no work"),
    ],
)
def test_bad_traces_fail_with_file_and_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    path = tmp_path / "day.csv"
    path.write_text(text)
    assert run(path, "--servers", "4") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.startswith("aiops: ")


def test_unreadable_files_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "none.csv", "--servers", "4") == 1
    assert "none.csv" in capsys.readouterr().err
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"arrival_seconds,service_seconds\n\xff\xfe\n")
    assert run(binary, "--servers", "4") == 1
    assert "UTF-8" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        ("- 1\n", "expected a mapping"),
        (PROFILE + "batch: 3\n", "unknown batch"),
        (PROFILE.replace("slots: 32", "slots: 0"), "others > 0"),
        (PROFILE.replace("0.03", "0.001"), "ascending"),
        (PROFILE.replace("slots: 32\n", ""), "slots"),
        ("step_seconds: [", "cannot read"),
    ],
)
def test_bad_profiles_fail(
    tmp_path: Path, trace: Path, capsys: pytest.CaptureFixture[str], profile: str, said: str
) -> None:
    path = tmp_path / "engine.yaml"
    path.write_text(profile)
    assert run(trace, "--servers", "4", "--profile", str(path)) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags",
    [["--servers", "0"], ["--servers", "4", "--target", "1"], ["--servers", "4", "--scrape-interval", "-1"], []],
)
def test_misuse_is_told_by_the_parser(trace: Path, flags: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(trace, *flags)
    assert stopped.value.code == 2
