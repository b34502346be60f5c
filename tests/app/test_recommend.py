"""``aiops recommend`` and ``aiops waste``: tables, documents, exit codes, hostile names."""

import json
from typing import Any

import pytest

from aiops.app.cli import main
from aiops.app.commands import recommend

POOL: dict[str, Any] = {
    "pool": "chat/org/m", "desired_replicas": 7, "current_replicas": 6, "ready_replicas": 5, "probability": 0.9712,
    "reason": "97.1% of requests wait at most 1 s with 7", "held": ["7 is more than one step away"],
    "binding": {"constraint": "slots", "evidence": ["294 requests wait"], "advice": "raise max_num_seqs"},
    "curve": [{"replicas": 6, "probability": 0.9}, {"replicas": 7, "probability": 0.9712}],
    "mmc_floor_replicas": 5.0, "model_error_ratio": 1.19, "model": "twin", "at": "2030-01-01T00:00:00Z",
    "waste": {"seen_hours": 24.0, "replica_hours": 144.0, "idle_replica_hours": 3.5, "over_replica_hours": 12.0,
              "idle_gpu_hours": 28.0, "over_gpu_hours": 96.0, "over_cost": None, "evidence": ["6.0 on average"]},
}  # fmt: skip
SILENT = {"pool": "code\x1b[31m", "desired_replicas": None, "reason": "the newest numbers are 200 s old", "binding": {}}


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    pools: list[dict[str, Any]] = [POOL, SILENT]
    monkeypatch.setattr(recommend, "records", lambda *_: pools)
    return pools


def test_a_table_for_people(listed: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recommend", "-o", "wide"]) == 0
    out = capsys.readouterr().out
    for text in (
        "chat/org/m",
        "5/6",
        "97.1%",
        "slots",
        "1.19x",
        "raise max_num_seqs",
        "6:0.900 7:0.971",
        "twin",
        "200 s old",
    ):
        assert text in out
    assert "none" in out
    assert "\x1b[31m" not in out


def test_json_for_scripts_and_one_pool(listed: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recommend", "chat", "-o", "json"]) == 0
    assert [one["desired_replicas"] for one in json.loads(capsys.readouterr().out)] == [7]


def test_without_advice_the_exit_code_says_so(listed: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    del listed[0]
    assert main(["recommend"]) == 1
    assert "200 s old" in capsys.readouterr().out


def test_watching_asks_again(
    listed: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", nap)
    assert main(["recommend", "--watch", "--every", "7"]) == 130
    assert naps == [7.0, 7.0, 7.0]
    assert capsys.readouterr().out.count("chat/org/m") == 3


def test_waste_in_hours(listed: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["waste", "-o", "wide"]) == 0
    out = capsys.readouterr().out
    assert "144.0" in out
    assert "96.0" in out
    assert "code" not in out  # a pool that was never judged has no line
