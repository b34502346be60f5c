"""Our own metrics: names that a linter accepts, and nothing said about what is not known."""

import math

from aiops.app.telemetry import signal_families, target_families
from aiops.signals.catalog import SIGNALS
from aiops.signals.telemetry import FamilyKind
from aiops.signals.types import Entity, EntityKind, SeriesKey, SourceStatus

GPU = Entity.of(EntityKind.GPU, gpu="GPU-0", node="n1")
NODE = Entity.of(EntityKind.NODE, node="n1")


def status(**changes: object) -> SourceStatus:
    facts: dict[str, str | float] = {"duration_seconds": math.nan}
    return SourceStatus("nvml", "nvml", NODE, 5.0, last_attempt=100.0, facts=facts, **changes)  # type: ignore[arg-type]


def test_only_counters_are_called_total() -> None:
    families = list(signal_families([(SeriesKey(GPU, name), 1.0) for name in SIGNALS]))
    assert len(families) == len(SIGNALS)
    kinds = {family.name: family.kind for family in families}
    assert not any(name.endswith("_total") for name in kinds)  # the page adds it to counters
    assert kinds["aiops_signal_gpu_ecc_uncorrected_total".removesuffix("_total")] in FamilyKind
    counters = [family for family in families if family.kind is FamilyKind.COUNTER]
    assert [family.help for family in counters] == [SIGNALS["gpu_ecc_uncorrected_total"].meaning]


def test_a_driver_that_is_not_there_is_neither_up_nor_down() -> None:
    for source, expected in (
        (status(error="no driver on this machine"), []),
        (status(error="hangs", failures=1, last_success=50.0), [0.0]),
        (status(last_success=100.0), [1.0]),
    ):
        families = {family.name: family for family in target_families([source])}
        assert [value for _, value in families["aiops_target_up"].samples] == expected
        assert not families["aiops_target_duration_seconds"].samples  # NaN is no duration
