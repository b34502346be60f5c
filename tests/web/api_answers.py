"""Asks a daemon everything that the reference page shows an answer of."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiohttp import ClientSession

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "reference" / "api-examples.json"
"""Written by ``python -m tests.web.record_api``."""
_LONGEST = 240
_PLAIN = (
    "fleet", "targets", "signals/names", "detectors", "alerts", "incidents", "slo", "recommendations", "feedback",
    "maintenance", "status",
)  # fmt: skip


async def answers(session: ClientSession) -> Mapping[str, Any]:
    """``data`` of each answer, by its heading on the page. The session's base is the daemon."""

    async def get(path: str) -> Any:
        async with session.get(f"/api/v1/{path}") as answer:
            assert answer.status == 200, (path, await answer.text())
            body = await answer.json()
            return body.get("data", body)

    async def post(path: str, body: Mapping[str, Any]) -> Any:
        async with session.post(f"/api/v1/{path}", json=body) as answer:
            assert answer.status in (200, 202), (path, await answer.text())
            return (await answer.json())["data"]

    async def stuck_one() -> Any:
        """The incident of the replica that hangs, as soon as it is open."""
        async with asyncio.timeout(30.0):
            while True:
                for one in (await get("incidents"))["incidents"]:
                    if any(member["alertname"] == "EngineStuck" for member in one["alerts"]):
                        return one
                await asyncio.sleep(0.1)

    async def kept(path: str) -> Any:
        """What is there as soon as the diagnosis is made and written."""
        async with asyncio.timeout(30.0):
            while True:
                async with session.get(f"/api/v1/{path}") as answer:
                    if answer.status == 200:
                        return (await answer.json())["data"]
                await asyncio.sleep(0.1)

    stuck = await stuck_one()
    target = next(one for one in (await get("targets"))["activeTargets"] if one["health"] == "up")["source"]
    now = (await get("signals/range?signal=queue_len&entity=replica"))["at"][-1]
    pool = (await get("recommendations"))["recommendations"][0]["pool"]
    inbound = {
        "status": "firing", "labels": {"alertname": "ClientsTimeOut", **stuck["alerts"][0]["entity"]["labels"]},
        "annotations": {"summary": "clients time out"}, "startsAt": "2026-11-22T03:16:47.091Z",
        "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "", "fingerprint": "01b6a33fdd0d512f",
    }  # fmt: skip
    # An alert of others about the replica that hangs: the incident grows, so it is diagnosed.
    told = await post("alertmanager", {"version": "4", "groupKey": "{}", "alerts": [inbound, {}]})
    case = await kept(f"incidents/{stuck['id']}/case")
    found = {
        "POST /api/v1/maintenance": await post("maintenance", {"name": "racks", "lasts": "2h", "skip": ["learning"]}),
        "POST /api/v1/marks": await post("marks", {"text": "1.4 became 1.5", "matches": {"pool": "*"}}),
        "POST /api/v1/feedback": await post(
            "feedback", {"incident": stuck["id"], "judgement": "true", "note": "it hung"}
        ),
        "POST /api/v1/alertmanager": told,
        **{f"GET /api/v1/{path}": await get(path) for path in _PLAIN},
        "GET /api/v1/signals": await get("signals?signal=queue_len&entity=replica"),
        "GET /api/v1/signals/range": await get("signals/range?signal=queue_len&entity=replica&limit=1"),
        "GET /api/v1/signals/changes": await get(f"signals/changes?from={now - 140}&to={now}&limit=1"),
        "GET /api/v1/targets/page": await get(f"targets/page?source={quote(target)}"),
        "GET /api/v1/targets/relabel": await get('targets/relabel?job=demo&labels={"scratch_a":"1","pool":"chat"}'),
        "POST /api/v1/targets/relabel": await post(
            "targets/relabel", {"rules": "- {source_labels: [app], target_label: pool}", "labels": {"app": "chat"}}
        ),
        "GET /api/v1/alerts/{name}": await get("alerts/QueueSaturated"),
        "GET /api/v1/incidents/{id}": await get(f"incidents/{stuck['id']}"),
        "GET /api/v1/incidents/{id}/case": case,
        "GET /api/v1/ask": await get(f"ask?q={quote('which alerts fire?')}"),
        "GET /api/v1/recommendations/{pool}": await get(f"recommendations/{quote(pool, safe='')}"),
    }
    window = found["POST /api/v1/maintenance"]["windows"][0]["id"]
    opinion = found["POST /api/v1/feedback"]["feedback"][0]["id"]
    found["POST /api/v1/maintenance/{id}/end"] = await post(f"maintenance/{window}/end", {})
    found["POST /api/v1/feedback/{id}/undo"] = await post(f"feedback/{opinion}/undo", {})
    return found


def short(value: Any) -> Any:
    """One record of each list and mapping of records, two of other lists, and the beginning of a long text."""
    if isinstance(value, Mapping):
        if len(value) > 3 and all(isinstance(one, Mapping) for one in value.values()):
            value = dict(list(value.items())[:1])
        return {key: short(one) for key, one in value.items()}
    if isinstance(value, list):
        return [short(one) for one in (value[:1] if value and isinstance(value[0], Mapping) else value[-2:])]
    return value[:_LONGEST] + "…" if isinstance(value, str) and len(value) > _LONGEST else value
