"""Recordings of real programs: what must resolve does, and the numbers are those of the load that was put on."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aiops.collect.exposition import PageParser
from aiops.signals.doctor import examine, to_dict
from aiops.signals.normalise import Normaliser
from aiops.signals.types import MarkKind

Value = Callable[..., float]

MUST = {
    "vllm": "running queue_len kv_use kv_capacity preemptions prefix_hit tokens_in tokens_out ttft itl tpot e2e "
    "queue_time service_time prefill_time decode_time prompt_len gen_len finished errors rejected arrivals",
    "triton": "queue_len e2e queue_time service_time finished errors arrivals",
    "llamacpp": "running queue_len tokens_in tokens_out itl",
    "ray": "running queue_len e2e errors finished replicas",
}
ENGINE = {"ray": "ray-serve"}
MOMENTS = {
    "vllm": ("idle", "steady", "overload", "after", "admission-rejections"),
    "triton": ("idle", "steady", "overload", "after"),
    "llamacpp": ("idle", "steady", "overload"),
    "ray": ("idle",),
}
CASES = [(engine, moment) for engine, moments in MOMENTS.items() for moment in moments]


def diagnose(profiles: Any, captures: Path, engine: str, *moments: str) -> dict[str, Any]:
    parser = PageParser()
    pages = [parser.parse((captures / engine / f"{moment}.prom").read_bytes()) for moment in moments]
    return to_dict(examine(profiles, *pages, **({"interval_seconds": 10.0} if len(pages) > 1 else {})))


@pytest.mark.parametrize(("engine", "moment"), CASES)
def test_roles_resolve(profiles, captures: Path, engine: str, moment: str) -> None:
    answer = diagnose(profiles, captures, engine, moment)
    assert answer["engine"] == ENGINE.get(engine, engine)
    statuses = {name: answer["roles"][name]["status"] for name in MUST[engine].split()}
    assert set(statuses.values()) <= {"resolved", "derived"}, statuses


def test_what_an_idle_ray_page_does_not_show_is_said(profiles, captures: Path) -> None:
    """The recording has no request metrics at all: Ray Serve creates them with the first request."""
    roles = diagnose(profiles, captures, "ray", "idle")["roles"]
    waiting = {name for name in MUST["ray"].split() if roles[name].get("on_page") is False}
    assert waiting == {"e2e", "errors", "finished"}
    assert all("not on the page yet" in roles[name]["note"] for name in waiting)
    assert all(roles[name]["value"] is None for name in waiting)
    assert roles["replicas"]["value"] == 1.0


def test_llamacpp_says_what_it_has_not(profiles, captures: Path) -> None:
    roles = diagnose(profiles, captures, "llamacpp", "idle", "steady")["roles"]
    for name in ("ttft", "e2e", "kv_use"):
        assert roles[name]["status"] == "missing"
        assert roles[name]["note"]
    assert roles["itl"]["status"] == "derived"
    assert roles["itl"]["mean"] == pytest.approx(0.63432 / 419)
    assert roles["prefix_hit"]["value"] == pytest.approx(506 / (506 + 178))


def test_two_pages_fill_rates_and_quantiles_of_vllm(profiles, captures: Path) -> None:
    roles = diagnose(profiles, captures, "vllm", "steady", "overload")["roles"]
    assert roles["finished"]["value"] == pytest.approx(2.3)  # 31 − 8 requests in 10 s
    assert roles["arrivals"]["value"] == pytest.approx(8.4)  # and 61 more inside
    assert roles["queue_len"]["value"] == 60.0
    assert roles["kv_capacity"]["value"] == 128 * 16384
    for name in ("ttft", "itl", "tpot", "e2e", "queue_time", "service_time", "prompt_len", "gen_len"):
        role = roles[name]
        assert role["stat"] == "p95"
        assert 0 < role["p50"] <= role["p95"], name
        assert role["count"] >= 20
    assert roles["service_time"]["mean"] == pytest.approx(
        roles["prefill_time"]["mean"] + roles["decode_time"]["mean"], rel=0.01
    )
    empty = [name for name, role in roles.items() if role["status"] != "missing" and role["value"] is None]
    assert empty == ["max_running"]  # needs a queue over several pages


def test_two_pages_of_triton(profiles, captures: Path) -> None:
    roles = diagnose(profiles, captures, "triton", "steady", "overload")["roles"]
    assert roles["e2e"]["stat"] == "mean"
    assert roles["e2e"]["value"] == pytest.approx((252_548_428 - 2_920_464) / (252 - 24) / 1e6)
    assert roles["arrivals"]["value"] == pytest.approx((228 + 120) / 10)


def test_plateau_of_vllm_is_its_max_num_seqs(profiles, captures: Path, value: Value) -> None:
    normaliser, parser = Normaliser(profiles, (), "s"), PageParser()
    page = parser.parse((captures / "vllm" / "overload.prom").read_bytes())
    tokens = [sample.name == "vllm:generation_tokens_total" for sample in page.layout.samples]
    readings = []
    for tick in range(5):
        moved = replace(page, values=page.values + 500.0 * tick * np.array(tokens))
        readings.append(normaliser.normalise(moved, 5.0 * tick))
    assert value(readings[-1], "max_running") == 4.0


def test_a_stuck_engine_shows_no_plateau(profiles, captures: Path, value: Value) -> None:
    normaliser, parser = Normaliser(profiles, (), "s"), PageParser()
    page = parser.parse((captures / "vllm" / "overload.prom").read_bytes())
    readings = [normaliser.normalise(page, 5.0 * tick) for tick in range(5)]  # not one token more
    assert np.isnan(value(readings[-1], "max_running"))


def test_another_process_behind_the_same_address_is_a_restart(profiles, captures: Path, value: Value) -> None:
    """The recording with refusals is of a later process: its start time is later."""
    normaliser, parser = Normaliser(profiles, (), "s"), PageParser()
    normaliser.normalise(parser.parse((captures / "vllm" / "after.prom").read_bytes()), 0.0)
    page = parser.parse((captures / "vllm" / "admission-rejections.prom").read_bytes())
    reading = normaliser.normalise(page, 60.0)
    assert [mark.kind for mark in reading.marks] == [MarkKind.RESTARTED]
    assert math.isnan(value(reading, "rejected"))


@pytest.mark.parametrize("program", ["etcd", "prometheus", "alertmanager", "pushgateway", "victoria-metrics"])
def test_other_programs_are_no_engines(profiles, captures: Path, program: str) -> None:
    answer = diagnose(profiles, captures, program, "steady")
    assert answer["engine"] is None
    assert "none of" in answer["message"]
