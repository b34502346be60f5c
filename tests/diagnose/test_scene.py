import numpy as np
import pytest

from aiops.diagnose.diagnosis import calls_among
from aiops.diagnose.scene import Periods, host_of, involved
from aiops.signals.tenancy import Pod, Tenancy, Tenant
from aiops.signals.types import Entity, EntityKind
from tests.diagnose.windows import GPU, NODE, NOW, OTHER, POOL, REPLICA, ROWS, SIBLING, look, since, window


def test_periods_leave_a_gap() -> None:
    told = window({(REPLICA, "running"): (1.0, 2.0)})
    found = Periods.around(told, since(), guard_seconds=30.0, reference_seconds=200.0)
    assert found.start == ROWS - 8
    assert found.guard == found.start - 6
    assert found.reference == (found.guard - 40, found.guard)
    late = Periods.around(told, NOW, guard_seconds=30.0, reference_seconds=1e6)
    assert late.start == ROWS - 2  # at least so many rows are looked at
    assert late.reference == (0, late.guard)
    assert Periods.around(told, NOW - 1e6, guard_seconds=30.0, reference_seconds=100.0).reference == (0, 0)
    told.values[: ROWS - 18] = np.nan
    young = Periods.around(told, since(), guard_seconds=60.0, reference_seconds=1e6)
    assert young.reference == (ROWS - 18, ROWS - 10)  # ten rows are known before: two of them are the gap


def test_facts_say_what_moved() -> None:
    found = look({(GPU, "gpu_temp"): (60.0, 90.0), (GPU, "gpu_power"): (300.0, 305.0), (GPU, "gpu_fan"): (0.5, np.nan)})
    temp, power, fan = (found.fact(GPU, name, "") for name in ("gpu_temp", "gpu_power", "gpu_fan"))
    assert temp is not None
    assert power is not None
    assert fan is not None
    assert (temp.expected, temp.value, temp.unit) == (60.0, 90.0, "celsius")
    assert temp.up > 3 > temp.down
    assert temp.onset == since()
    assert max(power.up, power.down) < 3  # five watts matter to nobody
    assert np.isnan(power.onset)
    assert fan.lost
    assert not fan.known
    assert not temp.lost


def test_an_event_counts_although_the_median_did_not_move() -> None:
    told = look({(GPU, "gpu_ecc_uncorrected"): (0.0, 0.0)})
    assert not told.fact(GPU, "gpu_ecc_uncorrected", "").occurred  # type: ignore[union-attr]
    told = look({(GPU, "gpu_ecc_uncorrected"): (0.0, 1.0)})
    assert told.fact(GPU, "gpu_ecc_uncorrected", "").occurred  # type: ignore[union-attr]


def test_who_belongs_to_whom() -> None:
    entities = (POOL, REPLICA, SIBLING, GPU, OTHER, NODE)
    found = look(
        {(entity, "running" if entity.kind is EntityKind.REPLICA else "gpu_temp"): (1, 1) for entity in entities}
    )
    assert found.near(GPU, EntityKind.REPLICA) == [REPLICA]
    assert found.near(GPU, EntityKind.POOL) == [POOL]
    assert found.near(GPU, EntityKind.NODE) == [NODE]
    assert found.near(REPLICA, EntityKind.GPU) == [GPU, OTHER]
    assert found.near(POOL, EntityKind.REPLICA) == [REPLICA, SIBLING]
    assert found.near(POOL, EntityKind.GPU) == [GPU, OTHER]
    assert found.near(SIBLING, EntityKind.GPU) == []
    assert found.peers(REPLICA) == [SIBLING]
    assert found.peers(GPU) == [OTHER]
    assert found.peers(NODE) == []


def test_a_gpu_belongs_to_whom_it_was_given() -> None:
    a, b = (Entity.of(EntityKind.REPLICA, job="k8s", instance=f"10.1.0.{n}:1", pool=f"p{n}") for n in (1, 2))
    pods = {("k8s", f"10.1.0.{n}:1"): Pod("llm", f"pod-{n}") for n in (1, 2)}
    given = {f"GPU-{n - 1}": (Tenant(Pod("llm", f"pod-{n}"), "c"),) for n in (1, 2)}
    tenancy = Tenancy("node0", given, pods)
    numbers = {(a, "running"): (1.0, 1.0), (b, "running"): (1.0, 1.0)}
    numbers |= {(one, "gpu_temp"): (1.0, 1.0) for one in (GPU, OTHER, NODE)}
    found, blind = look(numbers, tenancy=tenancy), look(numbers)
    assert [found.near(one, EntityKind.REPLICA) for one in (GPU, OTHER)] == [[a], [b]]
    assert [found.near(one, EntityKind.GPU) for one in (a, b)] == [[GPU], [OTHER]]
    assert found.near(b, EntityKind.NODE) == [NODE]
    assert [blind.near(one, EntityKind.REPLICA) for one in (GPU, OTHER)] == [[], []]
    assert {(str(a), str(GPU)), (str(b), str(OTHER))} <= set(calls_among(found.facts, tenancy))
    assert (str(a), str(OTHER)) not in calls_among(found.facts, tenancy)
    assert involved(found.facts, [GPU], tenancy) >= {GPU, a}
    assert a not in involved(found.facts, [GPU])


@pytest.mark.parametrize(
    ("labels", "host"),
    [
        ({"instance": "10.0.0.7:8000"}, "10.0.0.7"),
        ({"instance": "http://h:1/x"}, "h"),
        ({"instance": "[fd00::1]:8000"}, "fd00::1"),
        ({"instance": "h:1", "node": "n"}, "n"),
        ({"job": "j"}, ""),
    ],
)
def test_the_host_of_an_entity(labels: dict[str, str], host: str) -> None:
    assert host_of(Entity.of(EntityKind.REPLICA, **labels)) == host


def test_who_is_involved() -> None:
    stranger = Entity.of(EntityKind.REPLICA, job="other", instance="far:1", model_name="x")
    far = Entity.of(EntityKind.GPU, gpu="GPU-9", node="far")
    everybody = [POOL, REPLICA, SIBLING, GPU, OTHER, NODE, stranger, far]
    assert involved(everybody, [GPU]) == {POOL, REPLICA, SIBLING, GPU, OTHER, NODE}
    assert involved(everybody, [POOL]) == {POOL, REPLICA, SIBLING, GPU, OTHER, NODE}
    assert involved(everybody, [far]) == {stranger, far}
