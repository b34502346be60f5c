"""What the daemon says about itself, as plain records.

Components keep plain counters of their own; ``app.telemetry`` gathers them into families at each scrape of our
``/metrics``, and ``web.metrics`` writes them out. So a vanished target leaves no stale series behind.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from aiops.signals.catalog import Signal


class FamilyKind(StrEnum):
    """Prometheus metric types that we use."""

    COUNTER = "counter"
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric family: name without ``_total``, help, and (labels, value) pairs."""

    name: str
    kind: FamilyKind
    help: str
    samples: Sequence[tuple[Mapping[str, str], float]]


_UNIT_SUFFIX = {
    "seconds": "_seconds",
    "bytes": "_bytes",
    "ratio": "_ratio",
    "celsius": "_celsius",
    "watts": "_watts",
    "hertz": "_hertz",
    "tokens/s": "_per_second",
    "requests/s": "_per_second",
    "events/s": "_per_second",
    "bytes/s": "_bytes_per_second",
    "usd/s": "_usd_per_second",
}


def exported_name(signal: Signal) -> str:
    """Name under which a canonical signal stands on our own ``/metrics``, with its base unit.

    Examples
    --------
    >>> from aiops.signals.catalog import SIGNALS
    >>> exported_name(SIGNALS["ttft"]), exported_name(SIGNALS["gpu_nvlink_bytes"])
    ('aiops_signal_ttft_seconds', 'aiops_signal_gpu_nvlink_bytes_per_second')
    """
    suffix = _UNIT_SUFFIX.get(signal.unit, "")
    stem = signal.name.removesuffix("_bytes") if suffix.startswith("_bytes") else signal.name
    return f"aiops_signal_{stem}{suffix}"
