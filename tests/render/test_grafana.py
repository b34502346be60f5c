"""Boards hold what the house and Grafana's own linter ask of them; the rules are named after the linter's."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from aiops.app.boards import boards
from aiops.render.grafana import ENGINES, LARGEST_BYTES, Board, Look, Panel, Row, Target, as_json, as_text
from aiops.render.grafana_own import UNITS
from aiops.signals.catalog import SIGNALS
from tests.render.grafana_queries import SELECTOR, selectors

BOARDS = {board.uid: as_json(board) for board in boards()}
RECORDED = re.compile(r"^(model:llm_|ALERTS$)")
"""Recorded shares are per model, over replicas; alerts have the labels of their rules."""
GRAFANA_UNITS = {"short", "s", "bytes", "Bps", "percentunit", "celsius", "watt", "hertz", "reqps", "eps",
                 "currencyUSD", "bool_on_off", "dateTimeFromNow"}  # fmt: skip

each_board = pytest.mark.parametrize("uid", BOARDS)


def panels(uid: str) -> Iterator[dict[str, Any]]:
    for panel in BOARDS[uid]["panels"]:
        yield from (panel["panels"] if panel["type"] == "row" else [panel])


def queries(uid: str) -> Iterator[tuple[str, str]]:
    for panel in panels(uid):
        for target in panel["targets"]:
            yield f"{uid} / {panel['title']} {target['refId']}", target["expr"]


def variable(uid: str, name: str) -> dict[str, Any]:
    (found,) = [one for one in BOARDS[uid]["templating"]["list"] if one["name"] == name]
    return dict(found)


# The linter's 17 rules ----------------------------------------------------------------------------------------------


@each_board
def test_template_datasource(uid: str) -> None:
    sources = [one for one in BOARDS[uid]["templating"]["list"] if one["type"] == "datasource"]
    assert [(one["name"], one["label"], one["query"]) for one in sources] == [
        ("datasource", "Data source", "prometheus")
    ]


@each_board
@pytest.mark.parametrize("name", ["job", "instance"])
def test_template_job_and_instance(uid: str, name: str) -> None:
    found = variable(uid, name)
    assert found["label"] == name.capitalize()
    assert found["type"] == "query"
    assert found["datasource"]["uid"] == "${datasource}"
    assert found["multi"] is True
    assert found["allValue"] == ".+"


@each_board
def test_template_label_promql(uid: str) -> None:
    for one in BOARDS[uid]["templating"]["list"]:
        if one["type"] == "query":
            found = re.fullmatch(r"label_values\((.+), ([a-z_]+)\)", one["query"]["query"])
            assert found, one["query"]
            assert SELECTOR.fullmatch(found[1]) or re.fullmatch(r"[a-z_]+|\{.+\}", found[1]), found[1]


@each_board
def test_template_on_time_change_reload(uid: str) -> None:
    assert all(one["refresh"] == 2 for one in BOARDS[uid]["templating"]["list"] if one["type"] == "query")


@each_board
def test_panel_datasource(uid: str) -> None:
    for panel in panels(uid):
        uids = {panel["datasource"]["uid"], *(target["datasource"]["uid"] for target in panel["targets"])}
        assert uids == {"${datasource}"}


@each_board
def test_panel_title_description(uid: str) -> None:
    assert not [panel["title"] for panel in panels(uid) if not panel["title"] or len(panel["description"]) < 5]


@each_board
def test_panel_units(uid: str) -> None:
    units = {panel["fieldConfig"]["defaults"]["unit"] for panel in panels(uid)}
    assert units <= GRAFANA_UNITS


@each_board
def test_panel_no_targets(uid: str) -> None:
    assert not [panel["title"] for panel in panels(uid) if not panel["targets"]]


@each_board
def test_target_promql_is_balanced_and_has_a_selector(uid: str) -> None:
    """Whether Prometheus takes it is shown by the real one, in ``tests/real``."""
    for where, expr in queries(uid):
        bare = re.sub(r'"(\\.|[^"\\])*"', "", expr)
        assert all(bare.count(left) == bare.count(right) for left, right in ("()", "[]", "{}")), where
        assert selectors(expr), where
        assert "None" not in bare, where


@each_board
def test_target_rate_interval(uid: str) -> None:
    for where, expr in queries(uid):
        windows = set(re.findall(r"\[([^\]]+)\]", re.sub(r'"(\\.|[^"\\])*"', "", expr)))
        number = "increase(" in expr and windows == {"$__range"}
        assert windows <= {"$__rate_interval"} or number, where


@each_board
def test_target_job_and_instance(uid: str) -> None:
    for where, expr in queries(uid):
        for name, inside in selectors(expr):
            if not RECORDED.match(name):
                assert 'job=~"$job"' in inside, (where, name)
                assert 'instance=~"$instance"' in inside, (where, name)


def test_target_job_and_instance_is_excused_only_where_it_cannot_be() -> None:
    excused = {
        (uid, name) for uid in BOARDS for _, expr in queries(uid) for name, _ in selectors(expr) if RECORDED.match(name)
    }
    assert {uid for uid, _ in excused} == {"aiops-fleet", "aiops-incidents"}
    assert all('job=~"$watched_job"' in expr for _, expr in queries("aiops-fleet") if "model:llm_" in expr)


@each_board
def test_target_counter_agg(uid: str) -> None:
    for where, expr in queries(uid):
        for found in SELECTOR.finditer(expr):
            if found["name"].endswith("_total") and found["name"] not in GAUGES_NAMED_TOTAL:
                assert re.search(r"(rate|increase|changes)\($", expr[: found.start()]), (where, found["name"])


GAUGES_NAMED_TOTAL = {"nvidia_smi_ecc_errors_uncorrected_aggregate_total", "aiops_signal_gpu_ecc_uncorrected_total"}
"""The level itself is the signal: errors of the board's life."""


@each_board
def test_uneditable(uid: str) -> None:
    assert BOARDS[uid]["editable"] is False


# The house ----------------------------------------------------------------------------------------------------------


def test_identity_is_stable_and_fits() -> None:
    for uid, document in BOARDS.items():
        assert document["uid"] == uid
        assert len(uid) <= 40
        assert document["id"] is None
        assert document["schemaVersion"] <= 42
        assert "aiops" in document["tags"]
    titles = [document["title"] for document in BOARDS.values()]
    assert len(titles) == len(set(titles))


@each_board
def test_ids_are_unique_and_panels_do_not_overlap(uid: str) -> None:
    everything = [*BOARDS[uid]["panels"], *(p for row in BOARDS[uid]["panels"] for p in row.get("panels", ()))]
    ids = [panel["id"] for panel in everything]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in BOARDS[uid]["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}  # fmt: skip
        assert place["x"] + place["w"] <= 24
        assert not taken & cells, panel["title"]
        taken |= cells


@each_board
def test_no_row_is_empty(uid: str) -> None:
    board = next(one for one in boards() if one.uid == uid)
    assert all(row.panels for row in board.rows)


@each_board
def test_variables_of_queries_exist(uid: str) -> None:
    known = {one["name"] for one in BOARDS[uid]["templating"]["list"]}
    asked = [one["query"]["query"] for one in BOARDS[uid]["templating"]["list"] if one["type"] == "query"]
    text = " ".join([*(expr for _, expr in queries(uid)), *asked])
    assert set(re.findall(r"\$(?!__)([a-z]\w*)", text)) <= known


def test_links_lead_to_boards_and_carry_variables_only_to_boards_that_mean_the_same() -> None:
    tags = {tag for document in BOARDS.values() for tag in document["tags"]}
    for board in boards():
        links = BOARDS[board.uid]["links"]
        for link in links:
            assert link["type"] == "link" or set(link["tags"]) <= tags
        assert {link["tags"][0] for link in links if link["includeVars"]} == {board.tag}


def test_every_board_marks_alerts_and_incidents() -> None:
    for document in BOARDS.values():
        marks = " ".join(one.get("expr", "") for one in document["annotations"]["list"])
        assert 'ALERTS{alertstate="firing"' in marks
        assert "aiops_incidents_open" in marks


def test_each_serving_program_has_a_board_under_its_own_names() -> None:
    for name, metric in (
        ("vllm", "vllm:num_requests_waiting"), ("sglang", "sglang:num_queue_reqs"), ("tgi", "tgi_queue_size"),
        ("triton", "nv_inference_pending_request_count"), ("tensorrt-llm", "trtllm_num_requests_waiting"),
        ("llamacpp", "llamacpp:requests_deferred"), ("lmdeploy", "lmdeploy:num_requests_waiting"),
        ("ray-serve", "ray_serve_deployment_queued_queries"), ("dynamo", "dynamo_frontend_queued_requests"),
        ("dcgm-exporter", "DCGM_FI_DEV_GPU_TEMP"),
    ):  # fmt: skip
        found = {selector for _, expr in queries(f"aiops-engine-{name}") for selector, _ in selectors(expr)}
        assert metric in found
        assert ENGINES in BOARDS[f"aiops-engine-{name}"]["tags"]
        assert not [metric for metric in found if metric.startswith("aiops_")]


def test_where_the_time_goes_is_a_stack_with_the_measured_whole_on_top() -> None:
    (panel,) = [one for one in panels("aiops-engine-vllm") if one["title"] == "Queue, prefill and decode"]
    assert [target["legendFormat"].split()[-1] for target in panel["targets"]] == [
        "queue",
        "prefill",
        "decode",
        "request",
    ]
    assert panel["fieldConfig"]["defaults"]["custom"]["stacking"]["mode"] == "normal"
    (whole,) = panel["fieldConfig"]["overrides"]
    assert whole["matcher"]["options"] == "D"
    assert {"id": "custom.stacking", "value": {"mode": "none", "group": "A"}} in whole["properties"]


def test_scales_keep_their_digits() -> None:
    memory = [expr for where, expr in queries("aiops-engine-dcgm-exporter") if "Memory in use" in where]
    assert memory
    assert all("* 1048576" in expr for expr in memory)


def test_every_unit_of_the_catalogue_has_a_place() -> None:
    plain = {"requests", "tokens", "replicas", "state", "events", "pages", "rows", "processes", "tasks"}
    assert {signal.unit for signal in SIGNALS.values()} <= UNITS.keys() | plain


def test_text_is_small_plain_and_stable() -> None:
    for board in boards():
        text = as_text(board)
        assert text == as_text(board)
        assert len(text.encode()) < LARGEST_BYTES
        assert json.loads(text) == BOARDS[board.uid]


def test_a_board_that_no_config_map_takes_is_refused() -> None:
    panel = Panel("much", "text", (Target("x" * LARGEST_BYTES, ""),))
    with pytest.raises(ValueError, match=r"board big: .* the limit is 500000"):
        as_text(Board("big", "Big", "", (Row("all", (panel,)),), "up"))


def test_thresholds_limits_and_folded_rows() -> None:
    panel = Panel("p", "about", (Target("up", "a"), Target("down", "b", line=True)), limits=(1, 2), top=3)
    document = as_json(Board("b", "B", "", (Row("r", (panel,), folded=True),), "up").with_link("page", "http://x/"))
    (row,) = document["panels"]
    defaults = row["panels"][0]["fieldConfig"]["defaults"]
    assert row["collapsed"] is True
    assert [(step["color"], step["value"]) for step in defaults["thresholds"]["steps"]] == [
        ("green", None), ("yellow", 1), ("red", 2)]  # fmt: skip
    assert defaults["max"] == 3
    assert row["panels"][0]["fieldConfig"]["overrides"][0]["matcher"]["options"] == "B"
    assert document["links"][-1]["url"] == "http://x/"
    table = as_json(Board("b", "B", "", (Row("r", (Panel("t", "about", panel.targets, look=Look.TABLE),)),), "up"))
    assert table["panels"][1]["targets"][0]["format"] == "table"
    assert table["panels"][1]["targets"][0]["instant"] is True
