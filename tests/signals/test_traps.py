"""The known traps of serving metrics, one test each: names that lie, units that differ, series that mislead."""

import math
from collections.abc import Callable

import pytest

from aiops.signals.profile import parse_profile
from aiops.signals.types import EntityKind, MarkKind

Value = Callable[..., float]
NAN = float("nan")

VLLM = """
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{{engine="0",model_name="m"}} {running}
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{{engine="0",model_name="m"}} {waiting}
# TYPE vllm:request_success counter
vllm:request_success_total{{engine="0",finished_reason="stop",model_name="m"}} {stop}
vllm:request_success_total{{engine="0",finished_reason="abort",model_name="m"}} {abort}
vllm:request_success_total{{engine="0",finished_reason="error",model_name="m"}} {error}
vllm:request_success_total{{engine="0",finished_reason="repetition",model_name="m"}} 0
"""


def vllm(extra: str = "", *, running: int = 0, waiting: int = 0, stop: int = 0, abort: int = 0, error: int = 0) -> str:
    return VLLM.format(running=running, waiting=waiting, stop=stop, abort=abort, error=error) + extra


def test_iteration_tokens_total_is_a_histogram(source, value: Value) -> None:
    page = """
        # TYPE vllm:iteration_tokens_total histogram
        vllm:iteration_tokens_total_bucket{{engine="0",model_name="m",le="8"}} {0}
        vllm:iteration_tokens_total_bucket{{engine="0",model_name="m",le="16"}} {1}
        vllm:iteration_tokens_total_bucket{{engine="0",model_name="m",le="+Inf"}} {1}
        vllm:iteration_tokens_total_count{{engine="0",model_name="m"}} {1}
        vllm:iteration_tokens_total_sum{{engine="0",model_name="m"}} {2}
        """
    source.read(vllm(page.format(0, 0, 0)), 0.0)
    reading = source.read(vllm(page.format(10, 20, 160)), 10.0)
    assert value(reading, "batch_tokens", "mean") == 8.0
    assert value(reading, "batch_tokens", "p50") == 8.0
    assert value(reading, "batch_tokens", "rate") == 2.0


def test_kv_cache_usage_perc_is_a_ratio(source, value: Value) -> None:
    reading = source.read(vllm('vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.93'), 0.0)
    assert value(reading, "kv_use") == 0.93


def test_old_name_of_kv_use_still_resolves_and_the_new_one_wins(new_source, value: Value) -> None:
    old = 'vllm:gpu_cache_usage_perc{engine="0",model_name="m"} 0.5'
    new = 'vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25'
    assert value(new_source().read(vllm(old), 0.0), "kv_use") == 0.5
    source = new_source()
    assert value(source.read(vllm(old + "\n" + new), 0.0), "kv_use") == 0.25
    binding = next(b for b in source.normaliser.resolution.bindings if b.signal == "kv_use")
    assert binding.candidates == ("vllm:gpu_cache_usage_perc",)


def test_success_includes_aborts_and_errors(source, value: Value) -> None:
    source.read(vllm(), 0.0)
    reading = source.read(vllm(stop=6, abort=3, error=1), 10.0)
    assert value(reading, "finished") == 1.0
    assert value(reading, "finished_stop") == pytest.approx(0.6)
    assert value(reading, "finished_abort") == pytest.approx(0.3)
    assert value(reading, "errors") == pytest.approx(0.1)


def test_http_codes_are_no_errors_and_refusals_are_seen(source, value: Value) -> None:
    """A full queue answers streams with HTTP 200; the refusal counter has no label ``engine``."""
    page = """
        vllm:admission_rejections_total{{model_name="m",reason="max_num_queued_reqs"}} {0}
        http_requests_total{{handler="/v1/completions",method="POST",status="2xx"}} {1}
        http_requests_total{{handler="/v1/completions",method="POST",status="5xx"}} {2}
        """
    source.read(vllm(page.format(0, 0, 0)), 0.0)
    reading = source.read(vllm(page.format(30, 40, 7), stop=10), 10.0)
    assert value(reading, "rejected") == 3.0
    assert value(reading, "errors") == 0.0
    assert value(reading, "arrivals") == 1.0  # refused requests never entered
    assert {key.entity.label("model_name") for key in reading.columns.keys} == {"m"}


def test_created_series_never_count(source, value: Value) -> None:
    created = 'vllm:request_success_created{engine="0",finished_reason="stop",model_name="m"} '
    source.read(vllm(created + "1.7e9"), 0.0)
    assert value(source.read(vllm(created + "1.8e9", stop=5), 5.0), "finished") == 1.0
    names = {b.metric for b in source.normaliser.resolution.bindings}
    assert not any(name.endswith("_created") for name in names)


def test_only_waiting_for_capacity_is_queue(source, value: Value) -> None:
    page = """
        vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="capacity"} 2
        vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="deferred"} 9
        """
    assert value(source.read(vllm(page, waiting=11), 0.0), "queue_len") == 2.0


def test_without_reasons_the_plain_gauge_is_queue(source, value: Value) -> None:
    assert value(source.read(vllm(waiting=11), 0.0), "queue_len") == 11.0


def test_coarse_queue_time_gives_the_mean_from_sum_and_count(source, value: Value) -> None:
    page = """
        vllm:request_queue_time_seconds_bucket{{model_name="m",le="0.3"}} {0}
        vllm:request_queue_time_seconds_bucket{{model_name="m",le="0.5"}} {0}
        vllm:request_queue_time_seconds_bucket{{model_name="m",le="+Inf"}} {0}
        vllm:request_queue_time_seconds_count{{model_name="m"}} {0}
        vllm:request_queue_time_seconds_sum{{model_name="m"}} {1}
        """
    source.read(vllm(page.format(0, 0)), 0.0)
    reading = source.read(vllm(page.format(100, 0.2)), 5.0)
    assert value(reading, "queue_time", "mean") == pytest.approx(0.002)
    assert value(reading, "queue_time", "p95") <= 0.04  # not the 0.285 that interpolation says


def test_kv_capacity_from_labels_and_none_is_unknown(new_source, value: Value) -> None:
    known = 'vllm:cache_config_info{block_size="16",num_gpu_blocks="1000",sliding_window="None",engine="0"} 1'
    unknown = 'vllm:cache_config_info{block_size="16",num_gpu_blocks="None",engine="0"} 1'
    assert value(new_source().read(vllm(known), 0.0), "kv_capacity") == 16_000.0
    with pytest.raises(KeyError):
        value(new_source().read(vllm(unknown), 0.0), "kv_capacity")


@pytest.mark.parametrize(("state", "asleep"), [("awake", 0.0), ("weights_offloaded", 1.0)])
def test_sleeping_engine(source, value: Value, state: str, asleep: float) -> None:
    page = "\n".join(
        f'vllm:engine_sleep_state{{engine="0",model_name="m",sleep_state="{name}"}} {int(name == state)}'
        for name in ("awake", "weights_offloaded", "discard_all")
    )
    assert value(source.read(vllm(page), 0.0), "sleeping") == asleep


def test_data_parallel_ranks_are_one_replica(source, value: Value) -> None:
    page = """
        vllm:num_requests_running{engine="0",model_name="m"} 3
        vllm:num_requests_running{engine="1",model_name="m"} 4
        vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.2
        vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.6
        """
    reading = source.read(page, 0.0)
    assert value(reading, "running") == 7.0
    assert value(reading, "kv_use") == pytest.approx(0.4)


def test_ray_spelling_of_vllm_and_ray_serve_on_one_page(source, value: Value) -> None:
    page = """
        ray_vllm_num_requests_running{model_name="m",WorkerId="a",Version="2.60.0"} 5
        ray_serve_deployment_queued_queries{application="app",deployment="LLM",handle="x",Version="2.60.0"} 2
        ray_serve_deployment_queued_queries{application="app",deployment="LLM",handle="y",Version="2.60.0"} 3
        """
    reading = source.read(page, 0.0)
    assert value(reading, "running") == 5.0
    assert value(reading, "queue_len", deployment="LLM") == 5.0
    assert source.normaliser.facts()["engine"] == "vllm"
    assert {key.entity.kind for key in reading.columns.keys} == {EntityKind.REPLICA, EntityKind.POOL}


def test_ray_latency_is_milliseconds(source, value: Value) -> None:
    page = """
        ray_serve_deployment_queued_queries{{application="a",deployment="D"}} 0
        ray_serve_deployment_processing_latency_ms_bucket{{application="a",deployment="D",le="100"}} {0}
        ray_serve_deployment_processing_latency_ms_bucket{{application="a",deployment="D",le="200"}} {1}
        ray_serve_deployment_processing_latency_ms_bucket{{application="a",deployment="D",le="+Inf"}} {1}
        ray_serve_deployment_processing_latency_ms_count{{application="a",deployment="D"}} {1}
        ray_serve_deployment_processing_latency_ms_sum{{application="a",deployment="D"}} {2}
        """
    source.read(page.format(0, 0, 0), 0.0)
    reading = source.read(page.format(0, 20, 3000), 5.0)
    assert value(reading, "e2e", "mean") == pytest.approx(0.150)
    assert value(reading, "e2e", "p50") == pytest.approx(0.150)
    assert value(reading, "e2e", "rate") == 4.0
    assert reading.buckets[0].bounds.tolist() == pytest.approx([0.1, 0.2, math.inf])
    assert reading.buckets[0].total == pytest.approx(3.0)


def test_triton_durations_are_microsecond_counters(source, value: Value) -> None:
    page = """
        nv_inference_request_success{{model="m",version="1"}} {0}
        nv_inference_request_failure{{model="m",reason="REJECTED",version="1"}} {1}
        nv_inference_request_failure{{model="m",reason="CANCELED",version="1"}} {2}
        nv_inference_request_failure{{model="m",reason="BACKEND",version="1"}} {3}
        nv_inference_request_duration_us{{model="m",version="1"}} {4}
        nv_inference_pending_request_count{{model="m",version="1"}} {5}
        """
    source.read(page.format(0, 0, 0, 0, 0, 0), 0.0)
    reading = source.read(page.format(20, 5, 3, 2, 30_000_000, 15), 10.0)
    assert value(reading, "e2e", "mean") == pytest.approx(1.5)
    assert value(reading, "e2e", "rate") == 2.0
    assert value(reading, "rejected") == 0.5
    assert value(reading, "errors") == pytest.approx(0.2)
    assert value(reading, "finished_abort") == pytest.approx(0.3)
    assert value(reading, "finished") == 2.5
    assert value(reading, "arrivals") == 4.0


def test_llamacpp_maximum_typed_counter_carries_nothing(source, value: Value) -> None:
    page = """
        # TYPE llamacpp:n_tokens_max counter
        llamacpp:n_tokens_max {0}
        # TYPE llamacpp:tokens_predicted_total counter
        llamacpp:tokens_predicted_total {1}
        # TYPE llamacpp:tokens_predicted_seconds_total counter
        llamacpp:tokens_predicted_seconds_total {2}
        """
    source.read(page.format(90, 100, 1.0), 0.0)
    reading = source.read(page.format(2000, 300, 5.0), 10.0)
    assert value(reading, "tokens_out") == 20.0
    assert value(reading, "itl", "mean") == pytest.approx(0.02)
    assert all(b.metric != "llamacpp:n_tokens_max" for b in source.normaliser.resolution.bindings)


RANKED = parse_profile(
    """
name: ranked
title: An engine that repeats its gauges on every tensor-parallel rank
detect: {prefixes: ["sglang:"]}
entity: {labels: {model_name: [model_name]}}
where: {tp_rank: ["", "0"]}
roles: {running: "sglang:num_running_reqs", tokens_out: "sglang:generation_tokens"}
""",
    "test",
)


def test_one_tensor_parallel_rank_is_taken(new_source, value: Value) -> None:
    source = new_source()
    source.normaliser._profiles = (RANKED,)
    page = """
        sglang:num_running_reqs{model_name="m",tp_rank="0",dp_rank="0"} 8
        sglang:num_running_reqs{model_name="m",tp_rank="1",dp_rank="0"} 8
        sglang:num_running_reqs{model_name="m",tp_rank="0",dp_rank="1"} 5
        """
    assert value(source.read(page, 0.0), "running") == 13.0


STICKY = parse_profile(
    """
name: sticky
title: An exporter whose gauge keeps the last error code, with the code's text as a label
family: gpu
detect: {prefixes: [DCGM_]}
entity: {kind: gpu, labels: {gpu: [UUID], node: [Hostname]}}
roles:
  gpu_temp: DCGM_FI_DEV_GPU_TEMP
  gpu_xid: {metric: DCGM_FI_DEV_XID_ERRORS, as: changes}
  gpu_xid_last: DCGM_FI_DEV_XID_ERRORS
""",
    "test",
)


def test_sticky_xid_is_an_event_only_when_it_changes(new_source, value: Value) -> None:
    source = new_source()
    source.normaliser._profiles = (STICKY,)
    temperature = 'DCGM_FI_DEV_GPU_TEMP{UUID="GPU-1",Hostname="n1"} 50\n'
    line = 'DCGM_FI_DEV_XID_ERRORS{{UUID="GPU-1",Hostname="n1",err_code="{0}",err_msg="{1}"}} {0}'
    pages = [
        temperature + line.format(code, text) for code, text in ((31, "mmu"), (31, "mmu"), (79, "bus"), (79, "bus"))
    ]
    readings = [source.read(page, 5.0 * index) for index, page in enumerate(pages)]
    events = [value(reading, "gpu_xid") for reading in readings]
    assert math.isnan(events[0])  # the past of a new GPU is unknown: no alert for an old error
    assert events[1:] == [0.0, 1.0, 0.0]
    assert [value(reading, "gpu_xid_last") for reading in readings] == [31.0, 31.0, 79.0, 79.0]
    assert [mark.kind for reading in readings for mark in reading.marks] == [MarkKind.XID]
    assert readings[2].marks[0].detail == "Xid 79"
    assert readings[2].columns.keys[0].entity.labels == (("gpu", "GPU-1"), ("node", "n1"))


def test_first_xid_on_a_known_gpu_is_seen(new_source, value: Value) -> None:
    """Some exporters show the metric only once there was an error."""
    source = new_source()
    source.normaliser._profiles = (STICKY,)
    temperature = 'DCGM_FI_DEV_GPU_TEMP{UUID="GPU-1",Hostname="n1"} 50\n'
    source.read(temperature, 0.0)
    reading = source.read(temperature + 'DCGM_FI_DEV_XID_ERRORS{UUID="GPU-1",Hostname="n1"} 79', 5.0)
    assert value(reading, "gpu_xid") == 1.0


def test_an_old_xid_beside_a_new_one_is_not_added_up(new_source, value: Value) -> None:
    source = new_source()
    source.normaliser._profiles = (STICKY,)
    line = 'DCGM_FI_DEV_XID_ERRORS{{UUID="GPU-1",Hostname="n1",err_code="{0}"}} {0}\n'
    source.read(line.format(31), 0.0)
    reading = source.read(line.format(31) + line.format(79), 5.0)
    assert value(reading, "gpu_xid") == 1.0
    assert reading.marks[0].detail == "Xid 79"
