"""The first result in one command."""

import pytest

from tests.app.conftest import Demo

FAULTS = {
    "traffic-surge": ("chat", "QueueSaturated"),
    "gpu-thermal-throttle": ("code", "GpuThermalThrottle"),
    "engine-stuck": ("agent", "EngineStuck"),
}


@pytest.mark.timeout(180)
def test_the_demo_finds_its_three_faults_and_serves_them(demo: Demo) -> None:
    told, full = demo.told, demo.incidents
    assert {one["diagnosis"]["causes"][0]["id"] for one in full} == FAULTS.keys()
    for incident in full:
        cause = incident["diagnosis"]["causes"][0]
        pool, rule = FAULTS[cause["id"]]
        assert f"incident {incident['id']}" in told
        assert incident["alerts"][0]["alertname"] == rule
        assert pool in " ".join(cause["entity"]["labels"].values())
        assert not [text for text in (rule, cause["title"], cause["fix"]) if text not in told], told
    assert told.count("Most likely cause") == 3
    assert told.count("not detected") == 0
    assert f"AIOPS_URL={demo.url}\n" in told
    # A GPU stands below the replica on its machine.
    assert [len(replica["gpus"]) for pool in demo.fleet["pools"] for replica in pool["replicas"]] == [1] * 9
    assert demo.fleet["nodes"] == []
