"""Silences as Alertmanager tells them, and whom they cover."""

import json
from typing import Any, cast

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from aiops.notify.settings import AlertmanagerSettings
from aiops.notify.silences import Matcher, Silences, parsed

LABELS = (("alertname", "EngineStuck"), ("pool", "chat"))
ENDS = "2026-11-27T18:00:00.000Z"


def silence(*matchers: dict[str, Any], state: str = "active", name: str = "s1") -> dict[str, Any]:
    return {
        "id": name, "status": {"state": state}, "comment": "moving racks", "createdBy": "ann", "endsAt": ENDS,
        "startsAt": ENDS, "updatedAt": ENDS, "matchers": list(matchers),
    }  # fmt: skip


def matcher(name: str, value: str, **changes: bool) -> dict[str, Any]:
    return {"name": name, "value": value, "isRegex": False, "isEqual": True} | changes


@pytest.mark.parametrize(
    ("one", "fits"),
    [
        (Matcher("pool", "chat", False, True), True),
        (Matcher("pool", "embed", False, True), False),
        (Matcher("pool", "embed", False, False), True),
        (Matcher("team", "", False, True), True),
        (Matcher("pool", "ch.*|em.*", True, True), True),
        (Matcher("pool", "ha", True, True), False),
        (Matcher("pool", "e.*", True, False), True),
        (Matcher("pool", "(a+)+$", True, False), False),
        (Matcher("pool", "(", True, True), False),
    ],
)
def test_a_matcher_is_that_of_alertmanager(one: Matcher, fits: bool) -> None:
    assert one.fits(dict(LABELS)) is fits


def test_only_what_is_active_and_readable_counts() -> None:
    strange = [7, {}, silence() | {"endsAt": "soon"}, silence() | {"matchers": 3}]
    body = [silence(matcher("pool", "chat")), silence(state="expired"), silence(state="pending"), *strange]
    (found,) = parsed(json.dumps(body).encode())
    assert (found.id, found.comment, found.created_by, found.ends_at) == ("s1", "moving racks", "ann", 1795802400.0)
    assert found.covers(dict(LABELS))
    assert not parsed(json.dumps([silence()]).encode())[0].covers(dict(LABELS)), "without matchers it covers nobody"
    for nonsense in (b"{}", b"<html>", b"\xff"):
        with pytest.raises(ValueError, match=r"silences|JSON|Expecting|decode"):
            parsed(nonsense)


async def test_peers_are_asked_and_one_that_fails_keeps_what_it_said() -> None:
    answers: dict[str, Any] = {"a": [silence(matcher("pool", "chat"))], "b": [silence(matcher("pool", "chat"))]}

    async def listed(request: web.Request) -> web.StreamResponse:
        found = answers[request.match_info["peer"]]
        return web.Response(status=found) if isinstance(found, int) else web.json_response(found)

    app = web.Application()
    app.router.add_get("/{peer}/api/v2/silences", listed)
    async with TestServer(app) as server, ClientSession() as session:
        peers = [AlertmanagerSettings(url=str(server.make_url(f"/{name}"))) for name in "ab"]
        silences = Silences(peers, session)
        assert silences.of(LABELS) == ()
        await silences.refresh()
        assert [one.id for one in silences.of(LABELS)] == ["s1"], "both peers know it; it is one"
        assert silences.of((("pool", "embed"),)) == ()
        answers |= {"a": 500, "b": {"not": "a list"}}
        await silences.refresh()
        assert [one.id for one in silences.of(LABELS)] == ["s1"]
        assert len(silences.problems) == 2
        answers |= {"a": [], "b": []}
        await silences.refresh()
        assert silences.of(LABELS) == ()
        assert cast("dict[str, str]", silences.problems) == {}
