"""Time, resets, restarts, layouts and unknowns of the normaliser."""

import gc
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiops.collect.exposition import PageParser
from aiops.signals.normalise import Normaliser
from aiops.signals.profile import parse_profile
from aiops.signals.types import MarkKind, Reading

Value = Callable[..., float]

PAGE = """
process_start_time_seconds {start}
vllm:num_requests_running{{engine="0",model_name="m"}} {running}
vllm:num_requests_waiting{{engine="0",model_name="m"}} {waiting}
vllm:request_success_total{{engine="0",finished_reason="stop",model_name="m"}} {stop}
vllm:generation_tokens_total{{engine="0",model_name="m"}} {tokens}
"""


def page(*, running: int = 0, waiting: int = 0, stop: int = 0, tokens: int = 0, start: float = 1.7e9) -> str:
    return PAGE.format(running=running, waiting=waiting, stop=stop, tokens=tokens, start=start)


def test_first_page_gives_levels_and_no_rates(source, value: Value) -> None:
    reading = source.read(page(running=3, stop=100), 0.0)
    assert value(reading, "running") == 3.0
    assert math.isnan(value(reading, "finished"))
    assert math.isnan(value(reading, "arrivals"))
    assert reading.marks == ()
    assert reading.buckets == ()


def test_rates_over_real_time(source, value: Value) -> None:
    source.read(page(), 100.0)
    assert value(source.read(page(stop=30, tokens=900), 106.0), "finished") == 5.0


def test_columns_stay_the_same_object(source) -> None:
    first = source.read(page(), 0.0)
    assert source.read(page(stop=1), 5.0).columns is first.columns
    other = source.read(page(stop=1) + "\nsomething_else 1", 10.0)
    assert other.columns is first.columns  # another layout, the same signals


@pytest.mark.parametrize("at", [10.0, 7.0])
def test_a_page_twice_or_out_of_order_is_not_remembered(source, value: Value, at: float) -> None:
    source.read(page(stop=10), 0.0)
    source.read(page(stop=20), 10.0)
    late = source.read(page(running=4, stop=15), at)
    assert value(late, "running") == 4.0
    assert math.isnan(value(late, "finished"))
    assert late.marks == ()
    assert value(source.read(page(stop=40), 20.0), "finished") == 2.0
    assert source.normaliser.facts()["pages_out_of_order"] == 1.0


def test_after_a_long_gap_no_rate_but_the_next_one(source, value: Value) -> None:
    source.read(page(stop=10), 0.0)
    assert math.isnan(value(source.read(page(stop=1000), 1000.0), "finished"))
    assert value(source.read(page(stop=1010), 1005.0), "finished") == 2.0


def test_a_missed_scrape_is_averaged_over(source, value: Value) -> None:
    source.read(page(stop=10), 0.0)
    assert value(source.read(page(stop=40), 15.0), "finished") == 2.0


def test_restart_by_start_time_marks_and_hides_rates(source, value: Value) -> None:
    """The new process already counted past the old one: only its start time betrays it."""
    source.read(page(stop=10, tokens=10), 0.0)
    reading = source.read(page(stop=50, tokens=50, start=1.7e9 + 60), 60.0)
    assert [mark.kind for mark in reading.marks] == [MarkKind.RESTARTED]
    assert math.isnan(value(reading, "finished"))
    assert math.isnan(value(reading, "arrivals"))
    assert value(source.read(page(stop=60, tokens=60, start=1.7e9 + 60), 65.0), "finished") == 2.0


def test_restart_by_falling_counters(source, value: Value) -> None:
    without_start = "\n".join(page(stop=500, tokens=900).splitlines()[2:])
    source.read(without_start, 0.0)
    reading = source.read("\n".join(page(stop=2, tokens=9).splitlines()[2:]), 5.0)
    assert [mark.kind for mark in reading.marks] == [MarkKind.RESTARTED]
    assert math.isnan(value(reading, "finished"))


def test_one_falling_counter_is_no_restart(source, value: Value) -> None:
    more = 'vllm:prompt_tokens_total{{model_name="m"}} {0}\nvllm:num_preemptions_total{{model_name="m"}} {0}'
    source.read(page(stop=500, tokens=900) + more.format(10), 0.0)
    reading = source.read(page(stop=2, tokens=910) + more.format(20), 5.0)
    assert reading.marks == ()
    assert math.isnan(value(reading, "finished"))
    assert value(reading, "tokens_out") == 2.0


def test_a_series_that_appears_counts_from_unknown(source, value: Value) -> None:
    source.read(page(stop=10), 0.0)
    extra = '\nvllm:prompt_tokens_total{engine="0",model_name="m"} 1000000'
    reading = source.read(page(stop=20) + extra, 10.0)
    assert math.isnan(value(reading, "tokens_in"))
    assert value(reading, "finished") == 1.0  # the rest is found again in the new layout


def test_absent_metric_has_no_column(source, value: Value) -> None:
    with pytest.raises(KeyError):
        value(source.read(page(), 0.0), "kv_use")


@pytest.mark.parametrize(("raw", "seen"), [("1.05", 1.0), ("55", math.nan), ("-0.1", math.nan), ("NaN", math.nan)])
def test_impossible_values_are_unknown(source, value: Value, raw: str, seen: float) -> None:
    reading = source.read(page() + f'vllm:kv_cache_usage_perc{{model_name="m"}} {raw}', 0.0)
    np.testing.assert_equal(value(reading, "kv_use"), seen)


def test_unknown_rank_makes_the_sum_unknown(source, value: Value) -> None:
    reading = source.read(page(running=3) + 'vllm:num_requests_running{engine="1",model_name="m"} NaN', 0.0)
    assert math.isnan(value(reading, "running"))


def test_two_models_are_two_replicas(source, value: Value) -> None:
    reading = source.read(page(running=3) + 'vllm:num_requests_running{engine="0",model_name="n"} 8', 0.0)
    assert value(reading, "running", model_name="m") == 3.0
    assert value(reading, "running", model_name="n") == 8.0
    assert value(reading, "start_time", model_name="n") == 1.7e9  # shared by the process


def test_replica_identity(source) -> None:
    entity = source.read(page(), 0.0).columns.keys[0].entity
    assert str(entity) == 'replica{instance="host-1:8000",job="llm",model_name="m",pool="chat"}'


def test_version_by_label_marks_a_change(new_source) -> None:
    source = new_source()
    line = 'ray_serve_deployment_status{{application="a",deployment="D",Version="{0}"}} 6'
    line += '\nray_serve_deployment_queued_queries{{application="a",deployment="D",Version="{0}"}} 0'
    source.read(line.format("2.59.0"), 0.0)
    marks = source.read(line.format("2.60.0"), 5.0).marks
    assert [(mark.kind, mark.detail) for mark in marks] == [
        (MarkKind.VERSION_CHANGED, "ray-serve 2.59.0 became 2.60.0")
    ]


def test_version_by_hint_is_believed_only_with_a_restart(new_source) -> None:
    hint = '\nvllm:admission_rejections_total{model_name="m",reason="x"} 0'
    source = new_source()
    source.read(page(), 0.0)
    assert source.read(page() + hint, 5.0).marks == ()
    source = new_source()
    source.read(page(), 0.0)
    marks = source.read(page(start=1.7e9 + 5) + hint, 5.0).marks
    assert [mark.kind for mark in marks] == [MarkKind.RESTARTED]  # nothing was known of the old version


def test_unknown_program_is_an_empty_reading(source) -> None:
    reading = source.read("something_else 1", 0.0)
    assert reading.columns.keys == ()
    assert reading.values.shape == (0,)
    assert source.normaliser.facts()["engine"] == ""


ARITHMETIC = parse_profile(
    """
name: arithmetic
title: Every kind of source
detect: {any: [x_up]}
entity: {kind: node, labels: {node: [host]}}
roles:
  cpu_busy: {metric: cpu_seconds, as: ratio, over: cpu_seconds, where: {mode: ["!idle", "!iowait"]}}
  memory_pressure: {metric: used, as: quotient, over: [used, free]}
  kv_capacity: {metric: blocks, as: product, times: block_tokens}
  running: {metric: blocks, as: difference, minus: [used, free]}
  queue_len: {metric: free, as: difference, minus: used}
  replicas: {metric: member, as: count}
  network_errors: {metric: rx_errors, plus: [tx_errors, absent_errors]}
  disk_available: {metric: disk_mib, scale: mib, reduce: min}
  gpu_ecc_uncorrected: ecc_total
  e2e: {metric: e2e_us, as: summary, scale: us}
  ttft: {metric: ttft_now_ms, as: gauge, scale: ms}
""",
    "test",
)


def arithmetic(cpu: tuple[int, int], errors: tuple[int, int], ecc: int, count: int) -> str:
    return f"""
        x_up 1
        cpu_seconds_total{{host="a",mode="user"}} {cpu[0]}
        cpu_seconds_total{{host="a",mode="idle"}} {cpu[1]}
        used{{host="a"}} 30
        free{{host="a"}} 10
        blocks{{host="a"}} 100
        block_tokens{{host="a"}} 16
        member{{host="a",id="1"}} 1
        member{{host="a",id="2"}} 0
        rx_errors_total{{host="a",dev="0"}} {errors[0]}
        tx_errors_total{{host="a",dev="0"}} {errors[1]}
        disk_mib{{host="a",disk="1"}} 3
        disk_mib{{host="a",disk="2"}} 2
        ecc_total{{host="a"}} {ecc}
        e2e_us{{host="a",quantile="0.5"}} 2000000
        e2e_us{{host="a",quantile="0.95"}} 9000000
        e2e_us_sum{{host="a"}} {count * 3_000_000}
        e2e_us_count{{host="a"}} {count}
        ttft_now_ms{{host="a"}} 250
        """


def test_every_arithmetic(new_source, value: Value) -> None:
    source = new_source()
    source.normaliser._profiles = (ARITHMETIC,)
    source.read(arithmetic((100, 100), (1, 1), 5, 0), 0.0)
    reading = source.read(arithmetic((130, 110), (3, 5), 7, 10), 10.0)
    expected = {
        ("cpu_busy", ""): 0.75,  # the selector holds for the numerator only
        ("memory_pressure", ""): 0.75,
        ("kv_capacity", ""): 1600.0,
        ("running", ""): 60.0,
        ("queue_len", ""): 0.0,  # never below 0
        ("replicas", ""): 2.0,
        ("network_errors", ""): 0.6,
        ("disk_available", ""): 2.0 * 2**20,
        ("gpu_ecc_uncorrected", ""): 2.0,
        ("e2e", "p50"): 2.0,
        ("e2e", "p95"): 9.0,
        ("e2e", "mean"): 3.0,
        ("e2e", "rate"): 1.0,
        ("ttft", "mean"): 0.25,
    }
    for (signal, stat), number in expected.items():
        assert value(reading, signal, stat) == pytest.approx(number), (signal, stat)


steps = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 9), st.integers(0, 9), st.booleans()), min_size=2, max_size=12
)


@settings(deadline=None, max_examples=50)
@given(steps)
def test_no_rate_is_ever_negative_or_larger_than_what_happened(profiles, history) -> None:
    """Any history of finished requests and restarts: the rates never add up to more than really finished."""
    normaliser, parser = Normaliser(profiles, (("job", "j"),), "s"), PageParser()
    total, really, told, start = 0, 0, 0.0, 1.7e9
    for tick, (more, running, waiting, restart) in enumerate(history):
        if restart:
            total, start = 0, start + 100
        total += more
        really += more
        text = page(stop=total, running=running, waiting=waiting, start=start)
        reading = normaliser.normalise(parser.parse(text.encode()), 5.0 * (tick + 1))
        told += _sum(reading, "finished") * 5.0
        assert not (reading.values < 0).any()
    assert told <= really + 1e-6


def _sum(reading: Reading, signal: str) -> float:
    values = [v for k, v in zip(reading.columns.keys, reading.values, strict=True) if k.signal == signal]
    return float(np.nansum(values))


LATENCY = """
vllm:num_requests_running{{model_name="m"}} 0
vllm:e2e_request_latency_seconds_bucket{{model_name="m",le="1.0"}} {0}
vllm:e2e_request_latency_seconds_bucket{{model_name="m",le="+Inf"}} {1}
vllm:e2e_request_latency_seconds_count{{model_name="m"}} {1}
vllm:e2e_request_latency_seconds_sum{{model_name="m"}} {2}
"""


def test_after_a_long_gap_no_mean_either_but_events_are_kept(new_source, value: Value) -> None:
    source = new_source()
    source.normaliser._profiles = (ARITHMETIC,)
    source.read(arithmetic((100, 100), (1, 1), 5, 0), 0.0)
    reading = source.read(arithmetic((130, 110), (3, 5), 7, 10), 1000.0)
    assert math.isnan(value(reading, "e2e", "mean"))
    assert math.isnan(value(reading, "cpu_busy"))
    assert value(reading, "gpu_ecc_uncorrected") == 2.0  # happened, whenever it was


def test_a_histogram_of_which_a_part_fell_is_unknown_as_a_whole(source, value: Value) -> None:
    """A new process that is already past the old count, but not in every bucket."""
    source.read(LATENCY.format(30, 40, 50.0), 0.0)
    reading = source.read(LATENCY.format(20, 90, 150.0), 5.0)
    assert math.isnan(value(reading, "e2e", "mean"))
    assert math.isnan(value(reading, "e2e", "p50"))
    assert reading.buckets == ()


def test_plans_of_old_layouts_are_let_go(source) -> None:
    for extra in range(20):
        source.read(page() + f'\nother{{n="{extra}"}} 1', 5.0 * extra)
    gc.collect()
    assert len(source.normaliser._plans) == 1
