"""From what a GPU's driver counts to canonical signals: rates, shares of time, events since the last reading.

Pure arithmetic over successive :class:`aiops.collect.nvml.GpuSample`. The first reading of a counter and the
one after a reset are NaN, never 0; a gap is bridged by dividing over the real time between two answers.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

from aiops.collect.gpu_model import ClockLimit, NvidiaModel
from aiops.collect.nvml import GpuSample
from aiops.signals.catalog import SIGNALS

NAN = float("nan")

RATES = {
    "gpu_energy": ("energy_joules",),
    "gpu_ecc_corrected": ("ecc_corrected",),
    "gpu_pcie_replays": ("pcie_replays",),
    "gpu_nvlink_bytes": ("nvlink_bytes",),
    "gpu_nvlink_errors": (
        "nvlink_crc_flit",
        "nvlink_crc_data",
        "nvlink_replay",
        "nvlink_recovery",
        "nvlink_receive",
        "nvlink_recovery_event",
    ),
}
"""Canonical rate → counters whose rates are added; those the GPU does not have are left out."""

EVENTS = {"gpu_ecc_uncorrected": "ecc_uncorrected"}
"""Canonical event count → counter."""

NVML_SIGNALS = tuple(
    name
    for name in SIGNALS
    if name.startswith("gpu_") and name not in ("gpu_sm_active", "gpu_tensor_active", "gpu_dram_active")
)
"""Canonical signals that NVML can give; the shares of active units need a profiling session."""


class _Gain(NamedTuple):
    amount: float
    seconds: float

    @property
    def rate(self) -> float:
        return self.amount / self.seconds


class GpuSignals:
    """One GPU's signals; remembers where its counters stood."""

    def __init__(self, model: NvidiaModel) -> None:
        self._masks = {limit: model.mask(limit) for limit in ClockLimit if limit is not ClockLimit.NONE}
        self._before: dict[str, tuple[float, float]] = {}

    def step(self, sample: GpuSample) -> dict[str, float]:
        """Canonical signals of one sample.

        Returns
        -------
        dict
            Signal → value. A signal whose source did not answer is absent; one whose source answered but
            says nothing yet (first reading of a counter, reset, impossible value) is NaN.
        """
        raw = sample.values
        signals = {name: raw[name] for name in NVML_SIGNALS if name in raw}
        gains = self._gains(sample)
        for name, counters in RATES.items():
            if known := [gains[counter] for counter in counters if counter in gains]:
                counted = [gain.rate for gain in known if not math.isnan(gain.amount)]
                signals[name] = sum(counted) if counted else NAN
        for name, counter in EVENTS.items():
            if counter in gains:
                signals[name] = gains[counter].amount
        signals.update(self._throttle(raw, gains))
        return {name: _possible(name, value) for name, value in signals.items()}

    def _gains(self, sample: GpuSample) -> dict[str, _Gain]:
        gains = {}
        for name in _COUNTERS:
            if name not in sample.values:
                continue  # keep where it stood: what happens in a gap must not be lost
            value, at = sample.values[name], sample.at_seconds
            amount, seconds = NAN, NAN
            if name in self._before:
                value_before, at_before = self._before[name]
                if at > at_before and value >= value_before:
                    amount, seconds = value - value_before, at - at_before
            self._before[name] = (value, at)
            gains[name] = _Gain(amount, seconds)
        return gains

    def _throttle(self, raw: Mapping[str, float], gains: Mapping[str, _Gain]) -> dict[str, float]:
        """Shares of time from the driver's clocks where it keeps them, else the bits of this moment."""
        bits = {}
        if "clock_reasons" in raw:
            mask = int(raw["clock_reasons"])
            bits = {limit: float(bool(mask & of_limit)) for limit, of_limit in self._masks.items()}
        thermal = _share(gains.get("thermal_held_seconds"), bits.get(ClockLimit.THERMAL))
        power = _share(gains.get("power_held_seconds"), bits.get(ClockLimit.POWER))
        brake = bits.get(ClockLimit.BRAKE)
        parts = [part for part in (thermal, power, brake, bits.get(ClockLimit.OTHER)) if part is not None]
        named = {
            "gpu_throttle": _worst(parts),
            "gpu_throttle_thermal": thermal,
            "gpu_throttle_power": power,
            "gpu_throttle_brake": brake,
        }
        return {name: value for name, value in named.items() if value is not None}


_COUNTERS = (
    *(counter for counters in RATES.values() for counter in counters),
    *EVENTS.values(),
    "thermal_held_seconds",
    "power_held_seconds",
)


def _share(held: _Gain | None, bit: float | None) -> float | None:
    """Share of time a limit held.

    Some boards answer with a clock that never runs: when it stood still while the bit is set, the bit counts.
    """
    if held is None or math.isnan(held.amount) or (held.amount == 0 and bit):
        return bit if bit is not None or held is None else NAN
    return min(1.0, held.rate)


def _worst(parts: list[float]) -> float | None:
    """Largest known part: at least so much of the time was held by something."""
    known = [part for part in parts if not math.isnan(part)]
    if known:
        return max(known)
    return NAN if parts else None


def _possible(name: str, value: float) -> float:
    """NaN for what cannot be: drivers fill fields that they do not have with all ones."""
    signal = SIGNALS[name]
    return value if signal.low <= value <= signal.high else NAN
