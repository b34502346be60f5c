"""The API client and the lease, against a server with versions, conflicts and rotating tokens."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from aiops.kit.clock import Clock
from aiops.kit.kubernetes import (
    Conflict,
    Expired,
    Kubernetes,
    KubernetesSettings,
    NotFound,
    in_cluster,
    own_namespace,
)
from aiops.kit.lease import Lease
from aiops.kit.retry import Permanent, Temporary
from tests.kit.kubernetes_api import Api

Serve = Callable[[Callable[[Any], Any]], Any]
SCALE = "/apis/apps/v1/namespaces/llm/deployments/chat/scale"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/llm/leases/aiops"


class Time:
    def __init__(self) -> None:
        self.value = 1000.0

    def clock(self) -> Clock:
        return Clock(lambda: self.value, lambda: self.value)


async def client(api: Api, serve: Serve, session: ClientSession, **settings: object) -> Kubernetes:
    url = await serve(api.handle)
    return Kubernetes(KubernetesSettings.model_validate({"url": url, **settings}), session)


async def test_objects_are_made_read_changed_and_protected_by_their_version(
    serve: Serve, session: ClientSession
) -> None:
    api = Api()
    api.put_scale(SCALE, 3)
    asker = await client(api, serve, session)
    found = await asker.get(SCALE)
    version = found["metadata"]["resourceVersion"]
    change = {"metadata": {"resourceVersion": version}, "spec": {"replicas": 5}}
    assert (await asker.patch(SCALE, change, dry_run=True))["spec"]["replicas"] == 5
    assert api.replicas(SCALE) == 3
    await asker.patch(SCALE, change)
    assert api.replicas(SCALE) == 5
    with pytest.raises(Conflict, match="has been modified"):
        await asker.patch(SCALE, change)
    with pytest.raises(Conflict, match="modified"):
        await asker.replace(SCALE, found)
    assert api.replicas(SCALE) == 5
    made = {"metadata": {"name": "aiops"}, "spec": {}}
    assert (await asker.create(LEASE.rpartition("/")[0], made))["metadata"]["resourceVersion"]
    with pytest.raises(Conflict, match="already exists"):
        await asker.create(LEASE.rpartition("/")[0], made)


@pytest.mark.parametrize(
    ("status", "kind", "delay"),
    [(409, Conflict, None), (410, Expired, None), (429, Temporary, 7.0), (500, Temporary, None), (403, Permanent, None),
     (404, NotFound, None), (401, Temporary, None)],
)  # fmt: skip
async def test_errors_say_what_to_do_next(
    serve: Serve, session: ClientSession, status: int, kind: type[Exception], delay: float | None
) -> None:
    api = Api(next_errors=[status])
    api.put_scale(SCALE, 3)
    asker = await client(api, serve, session)
    with pytest.raises(kind, match=f"GET {SCALE} answered {status}: on demand") as caught:
        await asker.get(SCALE)
    assert getattr(caught.value, "delay_seconds", None) == delay
    assert len(api.asked) == 1  # nothing is tried again behind the caller's back


async def test_the_token_is_read_again_at_every_request(serve: Serve, session: ClientSession, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first-token")
    api = Api(token="first-token")
    api.put_scale(SCALE, 3)
    asker = await client(api, serve, session, authorization={"credentials_file": str(token)})
    await asker.get(SCALE)
    api.token = "second-token"
    with pytest.raises(Temporary, match="401"):
        await asker.get(SCALE)
    token.write_text("second-token\n")
    assert (await asker.get(SCALE))["spec"]["replicas"] == 3


def test_a_pod_finds_its_api_server_and_others_hear_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t")
    (tmp_path / "namespace").write_text("llm\n")
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}
    found = in_cluster(KubernetesSettings(), environ, tmp_path)
    assert found.url == "https://[fd00::1]:6443"
    assert found.authorization is not None
    assert found.authorization.credentials_file == tmp_path / "token"
    assert found.tls.ca_file == tmp_path / "ca.crt"
    assert own_namespace(tmp_path) == "llm"
    assert own_namespace(tmp_path / "nowhere") == "default"
    with pytest.raises(Permanent, match="no pod of a cluster"):
        in_cluster(KubernetesSettings(), {}, tmp_path)
    given = KubernetesSettings(url="https://api.example")
    assert in_cluster(given, {}, tmp_path) is given


async def test_what_is_no_api_server_is_named(serve: Serve, session: ClientSession) -> None:
    from aiohttp import web

    async def page(_: web.Request) -> web.Response:
        return web.Response(text="<html>")

    url = await serve(page)
    with pytest.raises(Permanent, match="expected the API of Kubernetes"):
        await Kubernetes(KubernetesSettings(url=url), session).get("/api")


def lease(asker: Kubernetes, time: Time, identity: str) -> Lease:
    return Lease(
        asker, namespace="llm", name="aiops", identity=identity, duration_seconds=30.0, clock=time.clock()
    )  # fmt: skip


async def test_one_leads_until_it_falls_silent(serve: Serve, session: ClientSession) -> None:
    api, time = Api(), Time()
    asker = await client(api, serve, session)
    a, b = lease(asker, time, "a"), lease(asker, time, "b")
    assert await a.hold()
    assert not await b.hold()
    for _ in range(5):
        time.value += 10.0
        assert await a.hold()
        assert not await b.hold()
    assert api.objects[LEASE]["spec"]["leaseTransitions"] == 0
    time.value += 19.0
    assert a.held
    time.value += 2.0  # two thirds of the lease: a lets go before b may take it
    assert not a.held
    assert not await b.hold()
    time.value += 9.0
    assert await b.hold()
    assert api.objects[LEASE]["spec"]["holderIdentity"] == "b"
    assert api.objects[LEASE]["spec"]["leaseTransitions"] == 1
    assert not await a.hold()


async def test_a_lease_that_is_given_up_is_free_at_once(serve: Serve, session: ClientSession) -> None:
    api, time = Api(), Time()
    asker = await client(api, serve, session)
    a, b = lease(asker, time, "a"), lease(asker, time, "b")
    assert await a.hold()
    await b.release()  # not its own
    assert api.objects[LEASE]["spec"]["holderIdentity"] == "a"
    await a.release()
    assert not a.held
    assert await b.hold()


async def test_losing_the_race_for_a_lease_is_no_error(serve: Serve, session: ClientSession) -> None:
    api, time = Api(), Time()
    asker = await client(api, serve, session)
    a = lease(asker, time, "a")
    api.next_errors = [None, 409]
    assert not await a.hold()  # created by another in between
    assert await a.hold()
    time.value += 10.0
    api.next_errors = [None, 409]
    assert not await a.hold()
    assert not a.held
    api.next_errors = [500]
    with pytest.raises(Temporary):
        await a.hold()


async def test_a_server_that_is_away_costs_leadership_only_after_a_while(serve: Serve, session: ClientSession) -> None:
    api, time = Api(), Time()
    asker = await client(api, serve, session)
    a = lease(asker, time, "a")
    assert await a.hold()
    time.value += 10.0
    api.next_errors = [500]
    with pytest.raises(Temporary):
        await a.hold()
    assert a.held
    time.value += 11.0
    assert not a.held
