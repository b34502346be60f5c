"""The screen of ``aiops top`` from recorded answers, and from answers that mean ill."""

import json
import re
from copy import deepcopy
from math import nan
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.render.tables import display_width
from aiops.render.top import Line, Look, Order, Row, cause, rows, screen, sparkline, trends

DATA = Path(__file__).parent / "data/top"
HOSTILE = "pod\x1b[31m\n\u202eevil[red]x[/red]" + "A" * 10_000


@pytest.fixture
def answers() -> dict[str, Any]:
    """One run of the lab: a stuck engine; a node of two GPUs is written in by hand."""
    found: dict[str, Any] = json.loads((DATA / "answers.json").read_text(encoding="utf-8"))
    return found


def drawn(answers: dict[str, Any], look: Look) -> list[Line]:
    past = trends(list(answers["range"].values()))
    return screen(answers["fleet"], [answers["incident"]["incident"]], past, look)


def text(lines: list[Line]) -> str:
    return "".join(f"{line.text}\n" for line in lines)


@pytest.mark.parametrize(
    ("name", "look"),
    [("unicode", Look()), ("ascii", Look(ascii=True)), ("wide", Look(width=120, order=Order.SCORE, wanted="GPU"))],
)
def test_the_screen_is_as_it_was_looked_at(answers: dict[str, Any], name: str, look: Look) -> None:
    told = text(drawn(answers, look))
    assert told == (DATA / f"{name}.txt").read_text(encoding="utf-8")
    lines = told.splitlines()
    assert len(lines) <= 24
    assert max(map(display_width, lines)) <= look.width
    assert told.isascii() == (name == "ascii")


def test_a_line_has_the_style_of_what_is_wrong(answers: dict[str, Any]) -> None:
    styles = {line.text.split()[0]: line.style for line in drawn(answers, Look()) if line.text}
    assert styles["critical"] == styles["demo/demo-7b"] == styles["127.0.0.1:8002"] == "critical"
    assert styles["node"] == "warning"
    assert styles["127.0.0.1:8001"] == ""


def test_a_filter_keeps_the_way_to_what_fits_and_all_below_it(answers: dict[str, Any]) -> None:
    def names(wanted: str) -> list[str]:
        return [re.split("  +", line.text.strip())[0] for line in drawn(answers, Look(wanted=wanted))[6:]]

    assert names("8002") == ["demo/demo-7b", "127.0.0.1:8002"]
    assert names("NODE-1") == ["node gpu-node-1", "GPU 1bb8e2d3-1c2f", "GPU 0aa7f1c2-0b1e"]
    assert len(names("demo/")) == 4
    assert "Nothing fits the filter." in text(drawn(answers, Look(wanted="nobody")))


def test_siblings_are_sorted_and_nothing_leaves_its_parent(answers: dict[str, Any]) -> None:
    replicas = answers["fleet"]["pools"][0]["replicas"]
    for replica, score, waiting in zip(replicas, (0.5, None, 7.0), (1.0, 5.0, 3.0), strict=True):
        replica["score"], replica["numbers"]["queue_len"] = score, waiting
    for order, ports in ((Order.SCORE, "312"), (Order.WAITING, "231"), (Order.NAME, "123"), (Order.HEALTH, "231")):
        lines = drawn(answers, Look(order=order))
        found = [line.text[15] for line in lines if line.text.startswith("  127.0.0.1:800")]
        assert "".join(found) == ports, order


def test_unknown_is_blank_and_not_0(answers: dict[str, Any]) -> None:
    replica = answers["fleet"]["pools"][0]["replicas"][0]
    replica |= {"health": "silent", "score": None, "numbers": {"queue_len": None}}
    (row,) = [row for row in rows(answers["fleet"], {})[0].below if row.name == "127.0.0.1:8001"]
    assert row.cells == ("",) * 5
    assert row.trend == ()
    (line,) = [line for line in drawn(answers, Look()) if "127.0.0.1:8001" in line.text]
    assert line.text.split()[:2] == ["127.0.0.1:8001", "none"]
    assert line.style == "silent"


def test_a_large_fleet_keeps_its_short_columns() -> None:
    numbers = {"running": 12.0, "max_running": 16.0, "queue_len": 123_456.0, "kv_use": 1.0, "ttft:p95": 12.34,
               "tokens_out": 2_345_678.0}  # fmt: skip
    replica = {"kind": "replica", "name": "10.0.0.1:8000", "health": "ok", "numbers": numbers}
    (row,) = rows({"pools": [replica]}, {})
    assert row.cells == ("12/16", "123k", "100%", "12.3s", "2.35M")


def test_labels_from_afar_change_nothing(answers: dict[str, Any]) -> None:
    fleet, incident = answers["fleet"], answers["incident"]["incident"]
    for thing in (fleet["pools"][0], *fleet["pools"][0]["replicas"], *fleet["nodes"][0]["gpus"]):
        thing["labels"] = dict.fromkeys(thing["labels"], HOSTILE)
        thing["name"] = HOSTILE
    fleet["nodes"][0]["node"] = incident["title"] = incident["severity"] = HOSTILE
    for sentence in incident["summary"]["sentences"]:
        sentence["text"] = HOSTILE
    lines = drawn(answers, Look())
    assert max(display_width(line.text) for line in lines) <= 80
    assert len(lines) == 13
    for line in lines:
        assert line.style in {"", "strong", "dim", "critical", "warning"}
        assert not set(line.text) & set("\x1b\n\u202e")
    assert "\\u001b[31m" in text(lines)
    assert text(drawn(answers, Look(ascii=True))).isascii()


JUNK = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(("pools", "replicas", "gpus", "nodes", "labels", "name", "numbers", "health", "node", "kind",
                         "queue_len", "gpu_util", "score", "at", "tokens_out")), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(fleet=st.dictionaries(st.sampled_from(("pools", "nodes", "elsewhere", "at")), JUNK), width=st.integers(60, 200))
def test_no_answer_is_too_odd_to_draw(fleet: dict[str, Any], width: int) -> None:
    for line in screen(fleet, [fleet], {}, Look(width=width)):
        assert display_width(line.text) <= width


def test_the_cause_is_told_where_one_is_named(answers: dict[str, Any]) -> None:
    incident = answers["incident"]["incident"]
    assert cause(incident).startswith("Most likely cause: An engine has requests and produces nothing")
    unsure = deepcopy(incident)
    unsure["diagnosis"]["abstained"] = True
    assert cause(unsure) == incident["alerts"][0]["reason"]
    assert cause({"title": "x"}) == ""


def test_a_sparkline_runs_from_0_to_its_largest_value() -> None:
    assert sparkline([0.0, 1.0, 2.0, 4.0], 4) == "▁▃▅█"
    assert sparkline([0.0, 4.0], 4, ascii_only=True) == "  _@"
    assert sparkline([nan, 1.0], 2) == " █"
    assert sparkline([0.0, 0.0], 2) == "▁▁"
    assert sparkline([1.0, nan, 1.0, 3.0, nan, nan], 3) == "▅█ "  # a mean of what is known


def test_many_incidents_leave_room_for_the_fleet(answers: dict[str, Any]) -> None:
    lines = screen(answers["fleet"], [answers["incident"]["incident"]] * 9, {}, Look())
    assert [line.text for line in lines if "more" in line.text] == ["and 4 more: see 'aiops incidents'"]
    assert lines[0].text.startswith("9 open incidents")


def test_nothing_is_watched_yet() -> None:
    assert [line.text for line in screen({}, [], {}, Look())] == [
        "no open incident · 0 pools · 0 replicas", "", "Nothing is watched yet: see 'aiops targets'."
    ]  # fmt: skip
    assert rows({"pools": "x", "nodes": [3]}, {}) == list[Row]()
