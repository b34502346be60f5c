"""``aiops score``: files in, files out, and what it says about bad ones."""

import gzip
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from aiops.app.cli import main
from aiops.app.commands.score import interval_of, read
from aiops.app.output import CommandFailedError

HEADER = "timestamp,value,label"


def series(rows: int = 600, *, header: str = HEADER) -> str:
    rng = np.random.default_rng(1)
    values = rng.standard_normal(rows)
    values[500:503] = 40
    return header + "\n" + "".join(f"{1_700_000_000 + 300 * row},{value:.4f},0\n" for row, value in enumerate(values))


def scores(file: Path) -> list[list[str]]:
    return [line.split(",") for line in file.read_text().splitlines()]


def test_one_score_per_row_and_the_jump_is_over_the_threshold(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(series())
    assert main(["score", str(tmp_path / "a.csv"), "--out", str(tmp_path / "out")]) == 0
    rows = scores(tmp_path / "out" / "a.csv")
    assert rows[0] == ["timestamp", "score"]
    assert len(rows) == 601
    assert rows[1] == ["1700000000", ""]
    assert float(rows[501][1]) > 1
    assert all(float(row[1]) < 1 for row in rows[50:501])


def test_gzip_iso_times_votes_and_jobs(tmp_path: Path) -> None:
    lines = series().splitlines()
    iso = [lines[0]]
    for line in lines[1:]:
        stamp, rest = line.split(",", 1)
        iso.append(f"{datetime.fromtimestamp(int(stamp), UTC).isoformat()},{rest}")
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress("\n".join(iso).encode()))
    (tmp_path / "b.csv").write_text(series())
    files = [str(tmp_path / "a.csv.gz"), str(tmp_path / "b.csv")]
    assert main(["score", *files, "--out", str(tmp_path), "--votes", "--jobs", "2"]) == 1  # b would be overwritten
    assert main(["score", *files, "--out", str(tmp_path / "out"), "--votes", "--jobs", "2"]) == 0
    first, second = (scores(tmp_path / "out" / f"{name}.csv") for name in "ab")
    assert ",".join(first[0]) == "timestamp,score,forecast,onset,drift,level,extreme,transition,turbulence"
    assert [row[1:] for row in first] == [row[1:] for row in second]
    assert first[1][0] == "2023-11-14T22:13:20+00:00"


def test_truncation_changes_nothing_before_it(tmp_path: Path) -> None:
    text = series()
    (tmp_path / "long.csv").write_text(text)
    (tmp_path / "short.csv").write_text("\n".join(text.splitlines()[:502]) + "\n")
    assert main(["score", *(str(tmp_path / f"{n}.csv") for n in ("long", "short")), "--out", str(tmp_path / "o")]) == 0
    assert scores(tmp_path / "o" / "long.csv")[:502] == scores(tmp_path / "o" / "short.csv")


def test_label_is_ignored_and_the_budget_counts(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(series())
    (tmp_path / "b.csv").write_text(series(header="timestamp,value,Label").replace(",0\n", ",1\n"))
    out = tmp_path / "out"
    main(["score", str(tmp_path / "a.csv"), str(tmp_path / "b.csv"), "--out", str(out)])
    assert scores(out / "a.csv") == scores(out / "b.csv")
    main(["score", str(tmp_path / "b.csv"), "--out", str(out), "--budget", "50"])
    assert float(scores(out / "b.csv")[501][1]) > float(scores(out / "a.csv")[501][1])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", ":1: expected the header"),
        ("time,value\n1,2\n", ":1: expected the header"),
        ("timestamp,label\n1,2\n", ":1: expected the header"),
        ("timestamp,value\n", "no rows"),
        ("timestamp,value\n1,2\n2\n", ":3: expected 2 cells"),
        ("timestamp,value\n1,2\nsoon,3\n", ":3: expected epoch seconds or an ISO 8601 time, got 'soon'"),
        ("timestamp,value\n1,2\n2,much\n", ":3: column value: expected a number, got 'much'"),
        ("timestamp,value\nnan,2\n", ":2: expected a finite timestamp"),
        ("timestamp,value\n5,2\n5,2\n", "--interval"),
        ('timestamp,value\n1,"2\n', "not a CSV file"),
    ],
)
def test_bad_files_are_named_with_the_line(
    text: str, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.csv").write_text(text)
    (tmp_path / "good.csv").write_text(series(40))
    files = [str(tmp_path / "bad.csv"), str(tmp_path / "good.csv")]
    assert main(["score", *files, "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert "bad.csv" in said
    assert problem in said
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["good.csv"]


def test_missing_and_colliding_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", str(tmp_path / "no.csv"), "--out", str(tmp_path / "out")]) == 1
    assert "no.csv: No such file" in capsys.readouterr().err
    both = [str(tmp_path / "x" / "a.csv"), str(tmp_path / "y" / "a.csv.gz")]
    assert main(["score", *both, "--out", str(tmp_path / "out")]) == 1
    assert "both be written" in capsys.readouterr().err


def test_odd_values_and_times_keep_their_rows(tmp_path: Path) -> None:
    lines = series(200).splitlines()
    lines[60] = lines[59]  # a repeated timestamp
    lines[70], lines[71] = lines[71], lines[70]  # going back
    lines[80] = lines[80].split(",")[0] + ",,0"
    lines[81] = lines[81].split(",")[0] + ",nan,0"
    lines[82] = lines[82].split(",")[0] + ",inf,0"
    (tmp_path / "odd.csv").write_text("\n".join(lines))
    assert main(["score", str(tmp_path / "odd.csv"), "--out", str(tmp_path / "out")]) == 0
    rows = scores(tmp_path / "out" / "odd.csv")
    assert [row[0] for row in rows[1:]] == [line.split(",")[0] for line in lines[1:]]
    assert [index for index, row in enumerate(rows) if row[1] == ""] == [*range(1, 31), 80, 81, 82]


def test_interval_is_told_by_the_first_rows_alone(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("timestamp,value\n0,1\n60,1\n60,1\n30,1\n120,1\n180,1\n")
    assert interval_of(read(file).seconds, file) == 60
    with pytest.raises(CommandFailedError, match="do not advance"):
        interval_of(np.zeros(5), file)


@pytest.mark.parametrize("wrong", [["--budget", "0"], ["--interval", "-1"], ["--jobs", "0"]])
def test_misuse(wrong: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["score", "a.csv", "--out", str(tmp_path), *wrong])
