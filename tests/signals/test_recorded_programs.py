"""Recordings of gateways and of workers behind them, made by this project."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from aiops.collect.exposition import PageParser
from aiops.signals.doctor import examine, to_dict
from aiops.signals.normalise import Normaliser
from aiops.signals.page_index import PageIndex
from aiops.signals.profile import Profile
from aiops.signals.types import Reading
from tests.recordings import PROFILE, PROGRAMS, page

Value = Callable[..., float]
INTERVAL_SECONDS = 10.0
MUST = {
    "dynamo": "queue_len running arrivals finished ttft itl e2e tokens_in tokens_out prompt_len gen_len prefix_hit",
    "dynamo-vllm": "queue_len running ttft itl e2e kv_use preemptions",
    "dynamo-sglang": "queue_len running finished arrivals ttft itl e2e",
    "vllm-router": "running finished e2e replicas ready",
    "sglang-router": "running arrivals finished e2e replicas ready",
    "litellm": "running arrivals finished errors ttft e2e queue_time service_time tokens_in tokens_out start_time",
}


def read(profiles: tuple[Profile, ...], program: str, *moments: str, seconds: float = INTERVAL_SECONDS) -> Reading:
    """Read pages one after the other; the last reading."""
    parser, normaliser = PageParser(), Normaliser(profiles, (("instance", "a:1"), ("job", "llm")), program)
    readings = [
        normaliser.normalise(parser.parse(page(program, moment)), 100.0 + seconds * number)
        for number, moment in enumerate(moments)
    ]
    return readings[-1]


def added_up(program: str, moment: str, name: str, *labels: str) -> float:
    """Sum of the lines of a page that begin with a name and hold every one of the labels."""
    lines = page(program, moment).decode().splitlines()
    fitting = [line for line in lines if line.partition("{")[0].partition(" ")[0] == name]
    found = [float(line.rpartition(" ")[2]) for line in fitting if all(label in line for label in labels)]
    assert found, (name, labels)
    return sum(found)


def rate(program: str, moment: str, name: str, *labels: str) -> float:
    before, after = (added_up(program, f"{moment}-{number}", name, *labels) for number in (0, 1))
    return (after - before) / INTERVAL_SECONDS


def test_every_recording_has_signals_that_it_must_give() -> None:
    assert set(MUST) == set(PROGRAMS)


@pytest.mark.parametrize("program", MUST)
def test_the_program_is_recognised_and_its_signals_resolve(profiles: tuple[Profile, ...], program: str) -> None:
    parser = PageParser()
    pages = [parser.parse(page(program, f"steady-{number}")) for number in (0, 1)]
    assert [page.bad_lines for page in pages] == [0, 0]
    answer: dict[str, Any] = to_dict(examine(profiles, *pages, interval_seconds=INTERVAL_SECONDS))
    assert answer["engine"] == PROFILE.get(program, program)
    statuses = {name: answer["roles"][name]["status"] for name in MUST[program].split()}
    assert set(statuses.values()) <= {"resolved", "derived"}, statuses
    matching = {profile.name for profile in profiles if PageIndex(pages[0].layout).matches(profile)}
    assert matching == {PROFILE.get(program, program)}


def test_dynamo_counts_nobody_twice(profiles: tuple[Profile, ...], value: Value) -> None:
    """Its inflight gauge holds those that wait; what is left fits into the workers' slots."""
    reading = read(profiles, "dynamo", "overload-0", "overload-1")
    running, queued = value(reading, "running", model_name="chat"), value(reading, "queue_len", model_name="chat")
    assert running + queued == added_up("dynamo", "overload-1", "dynamo_frontend_inflight_requests", 'model="chat"')
    assert 16 < running <= 2 * 16
    at_workers = sum(
        added_up(worker, "overload-1", "dynamo_component_inflight_requests")
        for worker in ("dynamo-vllm", "dynamo-sglang")
    )
    assert running + queued == pytest.approx(at_workers, rel=0.02)
    finished = rate("dynamo", "overload", "dynamo_frontend_requests_total", 'model="chat"', 'status="success"')
    assert value(reading, "finished", model_name="chat") == pytest.approx(finished)
    assert value(reading, "ttft", "p95", model_name="chat") > 10.0


def test_a_request_for_a_model_that_dynamo_has_not_is_no_error(profiles: tuple[Profile, ...], value: Value) -> None:
    reading = read(profiles, "dynamo", "steady-0", "steady-1")
    assert rate("dynamo", "steady", "dynamo_frontend_requests_total", 'error_type="not_found"') > 0.5
    with pytest.raises(KeyError):
        value(reading, "errors", model_name="unknown_model")


@pytest.mark.parametrize("worker", ["dynamo-vllm", "dynamo-sglang"])
def test_workers_of_dynamo_are_read_as_their_engines(profiles: tuple[Profile, ...], value: Value, worker: str) -> None:
    full = read(profiles, worker, "overload-0", "overload-1")
    assert value(full, "running") == 16
    assert value(full, "queue_len") > 500


def test_an_idle_worker_has_nothing_to_do(profiles: tuple[Profile, ...], value: Value) -> None:
    idle = read(profiles, "dynamo-sglang", "idle")
    assert (value(idle, "running"), value(idle, "queue_len")) == (0, 0)


@pytest.mark.parametrize(
    ("router", "lost", "seconds"),
    [
        ("vllm-router", ("vllm_router_retries_exhausted_total",), 40.0),
        ("sglang-router", ("smg_http_responses_total", 'status_code="503"'), 40.0),
    ],
)
def test_a_router_whose_workers_died_shows_errors_and_none_ready(
    profiles: tuple[Profile, ...], value: Value, router: str, lost: tuple[str, ...], seconds: float
) -> None:
    well = read(profiles, router, "overload-0", "overload-1")
    assert (value(well, "ready"), value(well, "replicas")) == (2, 2)
    assert value(well, "running") > 500
    dead = read(profiles, router, "overload-0", "overload-1", "dead", seconds=seconds)
    assert (value(dead, "ready"), value(dead, "replicas"), value(dead, "running")) == (0, 2, 0)
    errors = value(dead, "errors")
    assert errors == pytest.approx(added_up(router, "dead", *lost) / seconds)
    assert 0.5 < errors / value(dead, "finished") < 1.0, "what failed is part of what ended"


def test_a_full_sglang_router_rejects_and_a_refusal_is_no_error(profiles: tuple[Profile, ...], value: Value) -> None:
    reading = read(profiles, "sglang-router", "overload-0", "overload-1")
    rejected = rate("sglang-router", "overload", "smg_http_rate_limit_total", 'result="rejected"')
    assert value(reading, "rejected") == pytest.approx(rejected)
    assert rejected > 10
    with pytest.raises(KeyError):
        value(reading, "errors")
    arrivals = rate("sglang-router", "overload", "smg_http_requests_total")
    assert value(reading, "arrivals") == pytest.approx(arrivals)


def test_litellm_blames_a_model_that_is_not_there_on_the_client(profiles: tuple[Profile, ...], value: Value) -> None:
    reading = read(profiles, "litellm", "steady-0", "steady-1")
    name = "litellm_proxy_failed_requests_metric_total"
    assert rate("litellm", "steady", name, "ProxyModelNotFoundError") > 0
    errors = [key.signal == "errors" for key in reading.columns.keys]
    assert np.nansum(reading.values[errors]) == pytest.approx(rate("litellm", "steady", name, 'exception_status="500"'))
