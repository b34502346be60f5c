"""What the doctor says, and its JSON form."""

import json
import math

from aiops.collect.exposition import PageParser
from aiops.signals.catalog import SIGNALS
from aiops.signals.doctor import EXPECTED, examine, to_dict
from aiops.signals.profile import Family

PAGE = """
vllm:num_requests_running{{model_name="m"}} 3
vllm:num_requests_waiting{{model_name="m"}} 1
vllm:gpu_cache_usage_perc{{model_name="m"}} 0.5
vllm:request_success_total{{model_name="m",finished_reason="stop"}} {0}
vllm:e2e_request_latency_seconds_bucket{{model_name="m",le="1.0"}} {0}
vllm:e2e_request_latency_seconds_bucket{{model_name="m",le="+Inf"}} {0}
vllm:e2e_request_latency_seconds_count{{model_name="m"}} {0}
vllm:e2e_request_latency_seconds_sum{{model_name="m"}} {1}
"""


def pages(*counts: int) -> list:
    parser = PageParser()
    return [parser.parse(PAGE.format(count, count * 0.5).encode()) for count in counts]


def test_one_page_gives_levels_and_asks_for_a_second(profiles) -> None:
    answer = to_dict(examine(profiles, pages(0)[0]))
    assert (answer["engine"], answer["version"]) == ("vllm", "<0.12")
    assert answer["roles"]["running"] == {
        "status": "resolved",
        "metric": "vllm:num_requests_running",
        "value": 3.0,
        "unit": "requests",
    }
    assert answer["roles"]["finished"]["value"] is None
    assert "second page" in answer["message"]
    json.dumps(answer, allow_nan=False)


def test_two_pages_give_rates_and_p95_or_the_mean(profiles) -> None:
    few, many = (to_dict(examine(profiles, *pages(0, count), 5.0))["roles"]["e2e"] for count in (10, 40))
    assert (few["stat"], few["value"], few["p95"], few["count"]) == ("mean", 0.5, None, 10.0)
    assert (many["stat"], many["value"], many["mean"], many["count"]) == ("p95", many["p95"], 0.5, 40.0)
    assert to_dict(examine(profiles, *pages(0, 40), 5.0))["roles"]["finished"]["value"] == 8.0


def test_missing_says_what_it_disables_and_derived_says_how(profiles) -> None:
    diagnosis = examine(profiles, pages(0)[0], dependents={"ttft": ["TtftHigh", "panel TTFT"], "running": ["x"]})
    roles = to_dict(diagnosis)["roles"]
    assert (roles["ttft"]["status"], roles["ttft"]["metric"]) == ("missing", None)
    assert roles["ttft"]["disables"] == ["TtftHigh", "panel TTFT"]
    assert "disables" not in roles["running"]
    assert roles["arrivals"]["status"] == "derived"
    assert roles["arrivals"]["metric"] == "finished + change of running and queue_len"


def test_deprecated_names_are_told(profiles) -> None:
    assert "kv_cache_usage_perc" in to_dict(examine(profiles, pages(0)[0]))["roles"]["kv_use"]["deprecated"]


def test_every_expected_signal_of_the_family_is_listed(profiles) -> None:
    roles = to_dict(examine(profiles, pages(0)[0]))["roles"]
    assert set(EXPECTED[Family.ENGINE]) <= set(roles)
    assert not any(name.startswith("gpu_") for name in roles)
    assert all(set(names) <= set(SIGNALS) for names in EXPECTED.values())


def test_unknown_program_is_null_and_said(profiles) -> None:
    answer = to_dict(examine(profiles, PageParser().parse(b"etcd_server_has_leader 1\n")))
    assert answer["engine"] is None
    assert answer["roles"] == {}
    assert "etcd_server_has_leader" in answer["message"]
    assert "vllm" in answer["message"]


def test_several_models_show_each_value(profiles) -> None:
    body = b'vllm:num_requests_running{model_name="a"} 1\nvllm:num_requests_running{model_name="b"} 2\n'
    role = to_dict(examine(profiles, PageParser().parse(body)))["roles"]["running"]
    assert role["values"] == {'replica{model_name="a"}': 1.0, 'replica{model_name="b"}': 2.0}


def test_pending_is_said_and_not_counted_as_resolved(profiles) -> None:
    body = b'ray_serve_deployment_queued_queries{application="a",deployment="D"} 0\n'
    diagnosis = examine(profiles, PageParser().parse(body))
    role = diagnosis.role("e2e")
    assert role is not None
    assert not role.on_page
    assert math.isnan(role.value)
    assert "with the first request" in role.note
    assert "not on the page yet" in diagnosis.message
    assert "1 resolved" in diagnosis.message
