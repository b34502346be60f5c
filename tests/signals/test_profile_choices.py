"""Choices a profile makes about whole pages: copies of a number, series born with their first event, newest stamps."""

import math
from collections.abc import Callable

import pytest

from aiops.signals.profile import parse_profile
from aiops.signals.types import MarkKind

Value = Callable[..., float]
HEAD = "name: x\ntitle: X\ndetect: {prefixes: [x_]}\n"
COPIED = HEAD + "copies: [tp_rank, pod]\nroles: {running: x_running, e2e: x_seconds, kv_use: x_kv}"


def read_with(new_source, profile: str):
    source = new_source()
    source.normaliser._profiles = (parse_profile(profile, "test"),)
    return source


def test_copies_count_once_and_parts_are_added(new_source, value: Value) -> None:
    """Attention data parallelism gives every part its own rank, so no single rank stands for the whole."""
    source = read_with(new_source, COPIED)
    page = """
        x_running{dp_rank="0",tp_rank="0"} 8
        x_running{dp_rank="0",tp_rank="1"} 8
        x_running{dp_rank="1",tp_rank="2"} 5
        x_running{dp_rank="1",tp_rank="3"} 5
        """
    assert value(source.read(page, 0.0), "running") == 13.0


def test_the_lowest_rank_counts_by_number_and_whatever_the_order(new_source, value: Value) -> None:
    for order in (("10", "2"), ("2", "10")):
        source = read_with(new_source, COPIED)
        page = "\n".join(f'x_running{{tp_rank="{rank}"}} {rank}' for rank in order)
        assert value(source.read(page, 0.0), "running") == 2.0


def test_a_series_without_the_label_comes_before_its_copies(new_source, value: Value) -> None:
    source = read_with(new_source, COPIED)
    page = 'x_kv{pod="b"} 0.9\nx_kv 0.25\nx_kv{pod="a"} 0.8'
    assert value(source.read(page, 0.0), "kv_use") == 0.25


def test_copies_of_histograms_count_once(new_source, value: Value) -> None:
    source = read_with(new_source, COPIED)

    def page(count: int, total: float) -> str:
        return "\n".join(
            f"""x_seconds_bucket{{tp_rank="{rank}",le="1"}} {count}
            x_seconds_bucket{{tp_rank="{rank}",le="+Inf"}} {count}
            x_seconds_count{{tp_rank="{rank}"}} {count}
            x_seconds_sum{{tp_rank="{rank}"}} {total}"""
            for rank in "01"
        )

    source.read(page(0, 0), 0.0)
    reading = source.read(page(20, 5), 10.0)
    assert value(reading, "e2e", "rate") == 2.0
    assert value(reading, "e2e", "mean") == 0.25
    assert reading.buckets[0].counts.tolist() == [20.0, 0.0]


LAZY = HEAD + "new_series: zero\nroles: {finished: x_done, running: x_running}"


def test_a_label_set_born_with_its_first_event_began_at_zero(new_source, value: Value) -> None:
    source = read_with(new_source, LAZY)
    source.read('x_done{user="a"} 10', 0.0)
    reading = source.read('x_done{user="a"} 12\nx_done{user="b"} 3', 5.0)
    assert value(reading, "finished") == 1.0
    assert value(source.read('x_done{user="a"} 12\nx_done{user="b"} 3', 10.0), "finished") == 0.0


def test_by_default_the_first_gain_of_a_new_series_is_unknown(new_source, value: Value) -> None:
    source = read_with(new_source, LAZY.replace("zero", "unknown"))
    source.read('x_done{user="a"} 10', 0.0)
    reading = source.read('x_done{user="a"} 12\nx_done{user="b"} 3', 5.0)
    assert math.isnan(value(reading, "finished"))


@pytest.mark.parametrize("first", ["x_running 1", "y_else 1"])
def test_the_first_counters_of_a_target_are_unknown(new_source, value: Value, first: str) -> None:
    """They may have counted since long before."""
    source = read_with(new_source, LAZY)
    source.read(first, 0.0)
    assert math.isnan(value(source.read('x_running 1\nx_done{user="a"} 1000', 5.0), "finished"))


def test_after_a_restart_new_series_are_unknown_like_all_others(new_source, value: Value) -> None:
    source = read_with(new_source, LAZY)
    source.read('x_done{user="a"} 10', 0.0)
    reading = source.read('x_done{user="a"} 2\nx_done{user="b"} 3', 5.0)
    assert math.isnan(value(reading, "finished"))
    assert [mark.kind for mark in reading.marks] == [MarkKind.RESTARTED]


STAMPED = """
name: x
title: X
family: gpu
detect: {prefixes: [x_]}
entity: {kind: gpu, labels: {gpu: [uuid]}}
roles:
  gpu_temp: x_temperature
  gpu_xid: {metric: x_xid_time, as: changes}
  gpu_xid_last: {metric: x_xid_time, as: newest, labels: xid}
"""


def test_the_newest_stamp_tells_the_code_and_a_repeated_code_is_an_event(new_source, value: Value) -> None:
    source = read_with(new_source, STAMPED)
    temperature = 'x_temperature{uuid="g"} 50\n'
    mmu, bus = 'x_xid_time{{uuid="g",xid="31"}} {}\n', 'x_xid_time{{uuid="g",xid="79"}} {}\n'
    pages = ["", mmu.format(1000), mmu.format(1000), mmu.format(1015), mmu.format(1015) + bus.format(1020)]
    readings = [source.read(temperature + page, 5.0 * index) for index, page in enumerate(pages)]
    assert [value(reading, "gpu_xid") for reading in readings[1:]] == [1.0, 0.0, 1.0, 1.0]
    assert [value(reading, "gpu_xid_last") for reading in readings[1:]] == [31.0, 31.0, 31.0, 79.0]
    assert [mark.detail for reading in readings for mark in reading.marks] == ["Xid 31", "Xid 31", "Xid 79"]


def test_a_newest_label_that_is_no_number_is_left_out(new_source, value: Value) -> None:
    source = read_with(new_source, STAMPED)
    page = 'x_xid_time{uuid="g",xid="31"} 5\nx_xid_time{uuid="g",xid="other"} 9'
    assert value(source.read(page, 0.0), "gpu_xid_last") == 31.0


def test_newest_without_any_stamp_is_unknown(new_source, value: Value) -> None:
    source = read_with(new_source, STAMPED)
    assert math.isnan(value(source.read('x_xid_time{uuid="g",xid="31"} NaN', 0.0), "gpu_xid_last"))


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        ("{gpu_xid_last: {metric: a, as: newest}}", "needs 'labels'"),
        ("{gpu_xid_last: {metric: a, as: newest, labels: [b, c]}}", "needs exactly one of 'labels'"),
        ("{gpu_xid_last: {metric: a, as: newest, labels: b, plus: c}}", "'plus' of a has no meaning"),
        ("{ttft: {metric: a, as: newest, labels: b}}", "ttft is a distribution"),
    ],
)
def test_mistakes_in_newest_are_named(roles: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        parse_profile(HEAD + f"roles: {roles}", "x.yaml")
