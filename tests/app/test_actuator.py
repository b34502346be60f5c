"""The actuator: small steps, one leader, brakes, conflicts, and a record of everything; never a step on no advice."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer
from pydantic import ValidationError

from aiops.app.actuator import Actuator, ActuatorSettings, families
from aiops.capacity.scaling import Recommendation
from aiops.kit.clock import Clock
from aiops.kit.http import open_session
from aiops.kit.retry import Permanent
from aiops.signals.types import Entity, EntityKind, MarkKind
from tests.kit.kubernetes_api import Api

POOL = Entity.of(EntityKind.POOL, pool="chat")
SCALE = "/apis/apps/v1/namespaces/llm/deployments/chat/scale"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/llm/leases/aiops-actuator"


class Adviser:
    """Says what the test wants."""

    def __init__(self) -> None:
        self.desired: int | None = 5
        self.reason = "the newest numbers are 200 s old"

    def advised(self, name: str) -> tuple[Entity, Recommendation] | str:
        if self.desired is None:
            return self.reason
        return POOL, Recommendation(1000.0, 3, 3, self.desired, "99.0% of requests wait at most 1 s with 5")


class Stage:
    """A server, a clock, and daemons on it."""

    def __init__(self, url: str, session: ClientSession, api: Api) -> None:
        self.url, self.session, self.api = url, session, api
        self.adviser = Adviser()
        self.seconds = 1000.0

    def actuator(self, identity: str = "a", **settings: object) -> Actuator:
        found: dict[str, Any] = {
            "enabled": True, "dry_run": False, "targets": {"chat": {"name": "chat", "namespace": "llm"}},
            "lease_namespace": "llm", "api": {"url": self.url},
        }  # fmt: skip
        clock = Clock(lambda: self.seconds, lambda: self.seconds)
        made = ActuatorSettings.model_validate(found | settings)
        return Actuator(made, self.adviser, self.session, clock, identity=identity)

    @property
    def replicas(self) -> int:
        return self.api.replicas(SCALE)

    def patches(self) -> list[tuple[str, Any]]:
        return [(path, body) for method, path, body in self.api.asked if method == "PATCH"]


@pytest_asyncio.fixture
async def stage() -> AsyncIterator[Stage]:
    api = Api()
    api.put_scale(SCALE, 3)
    async with TestServer(api.application()) as server, open_session() as session:
        yield Stage(str(server.make_url("")).rstrip("/"), session, api)


async def test_advice_is_followed_and_recorded(stage: Stage) -> None:
    actuator = stage.actuator()
    (mark,) = await actuator.step()
    assert stage.replicas == 5
    assert (mark.kind, mark.entity) == (MarkKind.RECOMMENDATION, POOL)
    assert mark.detail.startswith("scaled: llm/deployments/chat/scale 3 → 5, advised 5: 99.0%")
    assert stage.patches()[0][1]["metadata"]["resourceVersion"]
    assert await actuator.step() == []
    samples = {family.name: family.samples for family in families(actuator)}
    assert samples["aiops_actuator_leader"] == [({}, 1.0)]
    assert ({"pool": "chat", "outcome": "scaled"}, 1.0) in samples["aiops_actuations"]
    assert [family.samples for family in families(None)] == [[], []]


async def test_off_and_dry_are_the_defaults_and_dry_keeps_nothing(stage: Stage) -> None:
    assert not ActuatorSettings().enabled
    assert ActuatorSettings().dry_run
    actuator = stage.actuator(dry_run=True)
    (mark,) = await actuator.step()
    assert stage.replicas == 3
    assert mark.detail.startswith("dry_run:")
    assert [path for path, _ in stage.patches()] == [f"{SCALE}?dryRun=All"]
    stage.seconds += 1000.0
    assert await actuator.step() == []  # told once


async def test_steps_are_clamped_and_rare(stage: Stage) -> None:
    stage.adviser.desired = 20
    actuator = stage.actuator()
    seen = []
    for _ in range(14):
        await actuator.step()
        seen.append(stage.replicas)
        stage.seconds += 10.0
    assert seen == [7] * 6 + [11] * 6 + [15] * 2
    stage.adviser.desired = 2
    for _ in range(32):
        await actuator.step()
        stage.seconds += 10.0
    assert stage.replicas == 14
    assert await stage.actuator("b", max_step_down=50).step() == []  # not the leader


@pytest.mark.parametrize("why", ["no advice", "switched off", "stopped"])
async def test_nothing_is_touched_when_in_doubt(stage: Stage, tmp_path: Path, why: str) -> None:
    stop = tmp_path / "stop"
    if why == "no advice":
        stage.adviser.desired = None
    elif why == "switched off":
        stage.api.put_scale(SCALE, 0)
    else:
        stop.touch()
    actuator = stage.actuator(stop_file=str(stop))
    assert await actuator.step() == []
    assert stage.patches() == []


async def test_the_stop_file_gives_the_lease_up(stage: Stage, tmp_path: Path) -> None:
    stop = tmp_path / "stop"
    first = stage.actuator(stop_file=str(stop))
    await first.step()
    stop.touch()
    stage.seconds += 100.0
    stage.adviser.desired = 6
    await first.step()
    assert stage.replicas == 5
    second = stage.actuator("b")
    await second.step()
    assert stage.replicas == 6
    assert stage.api.objects[LEASE]["spec"]["holderIdentity"] == "b"


async def test_only_the_leader_acts_and_another_follows_when_it_is_gone(stage: Stage) -> None:
    first, second = stage.actuator("a"), stage.actuator("b")
    await first.step()
    stage.adviser.desired = 6
    stage.seconds += 70.0
    await first.step()
    assert await second.step() == []
    assert stage.replicas == 6
    await first.close()
    stage.adviser.desired = 7
    assert len(await second.step()) == 1
    assert stage.replicas == 7


async def test_who_scales_in_between_wins_and_the_next_look_decides_anew(stage: Stage) -> None:
    actuator = stage.actuator()
    await actuator.step()
    stage.adviser.desired = 8
    stage.seconds += 100.0
    for code in (409, 410):
        stage.api.next_errors = [None, None, None, code]  # lease twice, scale, patch
        assert await actuator.step() == []
        stage.seconds += 10.0
    assert stage.replicas == 5
    assert actuator.counts["chat", "conflict"] == 2
    assert len(await actuator.step()) == 1
    assert stage.replicas == 8


async def test_too_many_requests_are_waited_for_and_refusals_are_told(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    actuator = stage.actuator()
    await actuator.step()
    stage.adviser.desired = 8
    stage.seconds += 100.0
    stage.api.next_errors = [None, None, 429]
    await actuator.step()
    asked = len(stage.api.asked)
    stage.seconds += 6.0
    await actuator.step()
    assert len(stage.api.asked) == asked
    stage.seconds += 2.0
    stage.api.next_errors = [None, None, 403]
    await actuator.step()
    assert "on demand: 403" in str([vars(record) for record in caplog.records])
    assert actuator.counts["chat", "failed"] == 2
    assert stage.replicas == 5
    await actuator.step()
    assert stage.replicas == 8


async def test_one_missing_target_does_not_keep_the_others_waiting(stage: Stage) -> None:
    targets = {name: {"name": name, "namespace": "llm"} for name in ("gone", "chat")}
    actuator = stage.actuator(targets=targets)
    assert len(await actuator.step()) == 1
    assert stage.replicas == 5
    assert actuator.counts == {("gone", "failed"): 1, ("chat", "scaled"): 1}


async def test_a_server_that_hangs_does_not_hold_up_the_end(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("aiops.app.actuator._CLOSE_SECONDS", 0.05)
    caplog.set_level("INFO", "aiops.app.actuator")
    actuator = stage.actuator()
    await actuator.step()
    stage.api.hangs = True
    await actuator.close()
    assert "the lease was not given up" in caplog.text


async def test_outside_a_cluster_it_does_not_start(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(Permanent, match="no pod of a cluster"):
        stage.actuator(api={})


@pytest.mark.parametrize(
    "target", [{"name": "../x"}, {"name": "x", "namespace": "a/b"}, {"name": "x", "resource": "y"}]
)
def test_names_that_leave_their_path_are_refused(target: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        ActuatorSettings.model_validate({"targets": {"chat": target}})
