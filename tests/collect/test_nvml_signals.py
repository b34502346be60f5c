"""Counters become rates, shares and events; unknown stays unknown."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.collect.gpu_model import NvidiaModel
from aiops.collect.nvml import GpuSample
from aiops.collect.nvml_fields import FIELDS
from aiops.collect.nvml_signals import EVENTS, NVML_SIGNALS, RATES, GpuSignals
from aiops.signals.catalog import SIGNALS

MODEL = NvidiaModel.parse((Path(__file__).resolve().parents[2] / "models/gpus/nvidia.yaml").read_text())


def sample(at_seconds: float, **values: float) -> GpuSample:
    return GpuSample("GPU-0", 0, "stub", at_seconds=at_seconds, values=values)


def run(*samples: GpuSample) -> list[dict[str, float]]:
    signals = GpuSignals(MODEL)
    return [signals.step(one) for one in samples]


def test_every_output_of_every_field_is_used_or_a_canonical_name() -> None:
    outputs = {output for field in FIELDS for output in field.outputs}
    counters = {counter for counters in RATES.values() for counter in counters} | set(EVENTS.values())
    only_recorded = {"ecc_corrected_total", "row_remap_corrected"}
    shares = {"clock_reasons", "thermal_held_seconds", "power_held_seconds"}
    assert counters | shares <= outputs
    assert outputs - counters - shares - only_recorded <= set(NVML_SIGNALS)
    assert set(NVML_SIGNALS) <= set(SIGNALS)


def test_a_rate_is_the_gain_over_real_time() -> None:
    first, second = run(sample(10.0, energy_joules=1000.0), sample(14.0, energy_joules=2200.0))
    assert math.isnan(first["gpu_energy"])
    assert second["gpu_energy"] == 300.0


def test_a_decrease_is_a_reset_and_unknown_once() -> None:
    values = [5.0, 6.0, 1.0, 4.0]
    rows = run(*(sample(float(i), ecc_uncorrected=value) for i, value in enumerate(values)))
    got = [row["gpu_ecc_uncorrected"] for row in rows]
    assert math.isnan(got[0])
    assert got[1] == 1.0
    assert math.isnan(got[2])
    assert got[3] == 3.0


def test_what_happens_in_a_gap_is_not_lost() -> None:
    rows = run(
        sample(0.0, ecc_uncorrected=0.0, pcie_replays=0.0),
        sample(5.0),
        sample(10.0, ecc_uncorrected=2.0, pcie_replays=20.0),
    )
    assert "gpu_ecc_uncorrected" not in rows[1]
    assert rows[2]["gpu_ecc_uncorrected"] == 2.0
    assert rows[2]["gpu_pcie_replays"] == 2.0


def test_link_errors_add_what_the_gpu_counts() -> None:
    rows = run(sample(0.0, nvlink_crc_flit=1.0, nvlink_replay=1.0), sample(2.0, nvlink_crc_flit=5.0, nvlink_replay=3.0))
    assert rows[1]["gpu_nvlink_errors"] == 3.0


def test_a_reset_of_one_link_counter_hides_no_other() -> None:
    rows = run(
        sample(0.0, nvlink_crc_flit=50.0, nvlink_replay=1.0), sample(2.0, nvlink_crc_flit=0.0, nvlink_replay=5.0)
    )
    assert rows[1]["gpu_nvlink_errors"] == 2.0


@pytest.mark.parametrize(
    ("mask", "throttle", "thermal", "power", "brake"),
    [
        (0x0, 0, 0, 0, 0),
        (0x1 | 0x2 | 0x10 | 0x100, 0, 0, 0, 0),
        (0x4, 1, 0, 1, 0),
        (0x8, 1, 0, 0, 0),
        (0x20, 1, 1, 0, 0),
        (0x40 | 0x8, 1, 1, 0, 0),
        (0x80 | 0x8, 1, 0, 0, 1),
    ],
)
def test_without_clocks_of_limits_the_bits_count(
    mask: int, throttle: int, thermal: int, power: int, brake: int
) -> None:
    (row,) = run(sample(0.0, clock_reasons=float(mask)))
    names = ("gpu_throttle", "gpu_throttle_thermal", "gpu_throttle_power", "gpu_throttle_brake")
    assert [row[name] for name in names] == [throttle, thermal, power, brake]


def test_the_share_of_time_is_preferred_to_the_bit() -> None:
    rows = run(
        sample(0.0, clock_reasons=0.0, thermal_held_seconds=100.0, power_held_seconds=7.0),
        sample(10.0, clock_reasons=float(0x20), thermal_held_seconds=102.5, power_held_seconds=8.0),
    )
    assert rows[0]["gpu_throttle_thermal"] == 0.0  # no share yet: the bit
    assert rows[1]["gpu_throttle_thermal"] == 0.25
    assert rows[1]["gpu_throttle_power"] == 0.1
    assert rows[1]["gpu_throttle"] == 0.25


def test_a_clock_that_never_runs_does_not_hide_the_bit() -> None:
    held = [sample(float(i), clock_reasons=float(0x40), thermal_held_seconds=0.0) for i in range(2)]
    assert run(*held)[1]["gpu_throttle_thermal"] == 1.0


def test_a_share_never_passes_one_and_needs_no_bits() -> None:
    rows = run(sample(0.0, power_held_seconds=0.0), sample(5.0, power_held_seconds=5.01))
    assert math.isnan(rows[0]["gpu_throttle_power"])
    assert math.isnan(rows[0]["gpu_throttle"])
    assert rows[1]["gpu_throttle_power"] == 1.0
    assert "gpu_throttle_brake" not in rows[1]


def test_what_cannot_be_is_unknown() -> None:
    (row,) = run(sample(0.0, gpu_power=4294967.295, gpu_temp=255.0, gpu_util=0.5, gpu_pstate=math.nan))
    assert math.isnan(row["gpu_power"])
    assert math.isnan(row["gpu_temp"])
    assert math.isnan(row["gpu_pstate"])
    assert row["gpu_util"] == 0.5


counts = st.lists(st.one_of(st.none(), st.integers(0, 2**40)), min_size=1, max_size=30)


@given(counts)
def test_events_and_rates_are_never_negative(values: list[int | None]) -> None:
    readings = [
        sample(float(i), **({} if value is None else {"ecc_uncorrected": float(value), "energy_joules": float(value)}))
        for i, value in enumerate(values)
    ]
    for row in run(*readings):
        assert all(math.isnan(value) or value >= 0.0 for value in row.values())


@given(counts)
def test_events_add_up_to_what_was_counted_between_resets(values: list[int | None]) -> None:
    rising = sorted(value for value in values if value is not None)
    gaps = [None if value is None else rising.pop(0) for value in values]
    rows = run(*(sample(float(i), **({} if v is None else {"ecc_uncorrected": float(v)})) for i, v in enumerate(gaps)))
    seen = [value for value in gaps if value is not None]
    total = sum(
        row["gpu_ecc_uncorrected"] for row in rows[1:] if not math.isnan(row.get("gpu_ecc_uncorrected", math.nan))
    )
    assert total == (seen[-1] - seen[0] if seen else 0)
