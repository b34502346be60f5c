"""``aiops estimate``: its constants against memory measured anew, its document, and its defaults."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from aiops.app import estimate
from aiops.app.cli import build_parser, main
from aiops.app.config import Config
from aiops.app.estimate import Fleet, parts, total

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "scale.py"
ROWS = 120


def measured(*arguments: object) -> dict[str, float]:
    command = [sys.executable, str(BENCHMARK), "--child", *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout))


def fleet(series: int, rows: int) -> Fleet:
    return Fleet(
        replicas=series // 20,
        gpus=0,
        series_per_replica=20,
        series_per_gpu=0,
        samples_per_page=0,
        interval_seconds=5.0,
        window_seconds=5.0 * rows,
        archive_bytes=0,
    )


def by_name(fleet: Fleet) -> dict[str, estimate.Part]:
    return {part.name: part for part in parts(fleet)}


def near(told: float, seen: float, factor: float) -> bool:
    return seen / factor < told < seen * factor


def test_the_constants_are_those_of_a_small_fleet_measured_now() -> None:
    small, larger = measured("turns", 1000, 0, 1, ROWS), measured("turns", 6000, 0, 1, ROWS)
    told = {name: by_name(fleet(int(seen["series"]), ROWS)) for name, seen in (("s", small), ("l", larger))}
    series = larger["series"]
    assert near(told["l"]["window"].memory_bytes / series, larger["window_bytes_per_series"], 1.3)
    assert near(told["l"]["band history"].memory_bytes / series, larger["band_bytes_per_series"], 1.3)
    assert larger["learnt_bytes_per_series"] < estimate.LEARNT_BYTES
    assert near(told["l"]["snapshot"].disk_bytes / 2 / series, larger["snapshot_bytes_per_series"], 1.3)
    for name, seen in (("s", small), ("l", larger)):
        resident = sum(part.memory_bytes for part in told[name].values())
        assert near(resident, seen["resident_mib"] * 2**20, 1.5)
    grown = (larger["resident_mib"] - small["resident_mib"]) * 2**20 / (larger["series"] - small["series"])
    slope = (total(parts(fleet(6000, ROWS))).memory_bytes - total(parts(fleet(1000, ROWS))).memory_bytes) / 5000
    assert near(slope, grown, 2.0)


def test_a_page_weighs_what_it_is_said_to() -> None:
    seen = measured("pages", 50)
    assert near(estimate.SAMPLE_BYTES, seen["resident_bytes_per_sample"], 2.0)
    assert near(estimate.SAMPLES_PER_PAGE, seen["samples_per_page"], 1.1)


def test_more_of_anything_never_costs_less() -> None:
    before = total(parts(fleet(1000, 60)))
    for larger in (fleet(2000, 60), fleet(1000, 120)):
        after = total(parts(larger))
        assert after.memory_bytes > before.memory_bytes
        assert after.disk_bytes > before.disk_bytes
        assert after.cores >= before.cores


def test_the_document_adds_up_and_says_what_is_uncertain(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", "--replicas", "500", "--gpus", "1000", "--interval", "10s", "-o", "json"]) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert document["series"] == 500 * 74 + 1000 * 35
    assert document["rows"] == 360
    for field in ("memory_bytes", "brief_bytes", "disk_bytes"):
        assert document["total"][field] == pytest.approx(sum(part[field] for part in document["parts"]), abs=8)
    assert document["total"]["cores"] == pytest.approx(sum(part["cores"] for part in document["parts"]), abs=1e-3)
    assert document["uncertain"]
    assert "store.max_series must be raised" in err
    assert all(doubt in err for doubt in document["uncertain"])


def test_a_table_shows_every_part(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", "--replicas", "8"]) == 0
    out, err = capsys.readouterr()
    assert [line.split("  ")[0] for line in out.splitlines()[1:]] == [*by_name(fleet(8, 1)), "total"]
    assert "max_series" not in err


def test_defaults_are_those_of_the_daemon() -> None:
    args, config = build_parser().parse_args(["estimate", "--replicas", "1"]), Config()
    assert (args.interval, args.window) == (config.interval, config.store.window)
    told = (args.series_per_replica, args.samples_per_page, args.series_per_gpu)
    assert told == (estimate.SERIES_PER_REPLICA, estimate.SAMPLES_PER_PAGE, estimate.SERIES_PER_GPU)


@pytest.mark.parametrize(
    ("flag", "value"), [("--replicas", "-1"), ("--gpus", "many"), ("--interval", "0"), ("--window", "-5s")]
)
def test_nonsense_is_misuse_and_named(flag: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as misused:
        main(["estimate", "--replicas", "1", f"{flag}={value}"])
    assert misused.value.code == 2
    assert f"argument {flag}:" in capsys.readouterr().err
