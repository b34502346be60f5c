import pytest

from aiops.diagnose.traits import trait_of
from aiops.signals.catalog import SIGNALS, Bad, stats_of


@pytest.mark.parametrize(
    ("metric", "bad", "averaged", "tail", "traffic"),
    [
        ("availability_percent", Bad.LOW, "share", 1.0, False),
        ("slo_success_percent", Bad.LOW, "share", 1.0, False),
        ("latency_avg_s", Bad.HIGH, "duration", 1.0, False),
        ("server_latency_p95_s", Bad.HIGH, "duration", 0.05, False),
        ("http_request_duration_p99_ms", Bad.HIGH, "duration", 0.01, False),
        ("requests_per_5min", Bad.BOTH, "", 1.0, True),
        ("workload_ops", Bad.BOTH, "", 1.0, True),
        ("error_requests", Bad.HIGH, "", 1.0, False),
        ("cpu_usage_m", Bad.HIGH, "", 1.0, False),
        ("net_rx_bytes", Bad.BOTH, "", 1.0, False),
        ("ttft:p95", Bad.HIGH, "duration", 0.05, False),
        ("ttft:rate", Bad.BOTH, "", 1.0, False),
        ("arrivals", Bad.BOTH, "", 1.0, True),
        ("gpu_sm_clock", Bad.LOW, "", 1.0, False),
    ],
)
def test_what_a_name_says(metric: str, bad: Bad, averaged: str, tail: float, traffic: bool) -> None:
    found = trait_of(metric)
    assert (found.bad, found.averaged, found.tail, found.traffic) == (bad, averaged, tail, traffic)


def test_only_numbers_over_all_requests_add_up() -> None:
    assert trait_of("latency_avg_s").additive
    assert trait_of("availability_percent").additive
    assert not trait_of("latency_p95_s").additive
    assert not trait_of("cpu_percent").additive


def test_every_canonical_series_has_a_trait_with_a_floor() -> None:
    for signal in SIGNALS.values():
        for stat in stats_of(signal):
            assert trait_of(f"{signal.name}:{stat}" if stat else signal.name).relative > 0
