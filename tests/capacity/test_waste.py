"""Waste is counted only where the need was known."""

import numpy as np
import pytest

from aiops.capacity.waste import waste_of
from tests.capacity.pool_histories import history


def test_hours_gpus_and_money() -> None:
    seen = history(240, replicas=5.0, ready=5.0, idle=2.0)  # one hour
    needed = np.where(np.arange(240) < 120, 3.0, np.nan)
    found = waste_of(seen, needed, gpus_per_replica=8, price_per_hour=10.0)
    assert found.seen_hours == pytest.approx(1.0)
    assert found.replica_hours == pytest.approx(5.0)
    assert found.idle_replica_hours == pytest.approx(2.0)
    assert found.over_replica_hours == pytest.approx(1.0)
    assert found.over_gpu_hours == pytest.approx(8.0)
    assert found.over_cost == pytest.approx(10.0)
    assert len(found.evidence) == 2


def test_what_is_kept_on_purpose_is_no_waste_and_unknown_is_not_judged() -> None:
    seen = history(240, replicas=2.0, ready=2.0)
    assert waste_of(seen, np.full(240, 1.0), gpus_per_replica=1, price_per_hour=None, floor=2).over_replica_hours == 0.0
    found = waste_of(seen, np.full(240, np.nan), gpus_per_replica=1, price_per_hour=None)
    assert found.judged_hours == 0.0
    assert np.isnan(found.over_cost)
    assert "not judged" in found.evidence[0]
