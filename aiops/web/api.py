"""The JSON API under ``/api/v1``, in the envelope that Prometheus users know."""

import json
from collections.abc import Callable
from math import isfinite

from aiohttp import web

from aiops.web.source import Record, Refused, Source

SOURCE: web.AppKey[Source] = web.AppKey("source", Source)


def plain(value: object) -> object:
    """Make a value JSON-able: a number that is not finite is unknown, and unknown is null."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def success(data: object) -> web.Response:
    """Answer 200 with ``{"status": "success", "data": …}``."""
    body = json.dumps({"status": "success", "data": plain(data)}, allow_nan=False, ensure_ascii=False)
    return web.Response(text=body, content_type="application/json")


def failure(status: int, kind: str, message: str) -> web.Response:
    """Answer with ``{"status": "error", "errorType": …, "error": …}``."""
    body = json.dumps({"status": "error", "errorType": kind, "error": message}, ensure_ascii=False)
    return web.Response(status=status, text=body, content_type="application/json")


async def json_object(request: web.Request) -> dict[str, object]:
    """Body of a request as a JSON object; raises :class:`Refused` when it is none."""
    try:
        body = json.loads(await request.read())
    except (ValueError, RecursionError):
        raise Refused(400, "the body is not JSON") from None
    if not isinstance(body, dict):
        raise Refused(400, f"the body is a JSON {type(body).__name__}; expected an object")
    return body


def _listing(name: str, get: Callable[[Source], object]) -> Callable[[web.Request], object]:
    async def handle(request: web.Request) -> web.Response:
        return success({name: get(request.app[SOURCE])})

    return handle


async def _signals(request: web.Request) -> web.Response:
    unknown = set(request.query) - {"signal", "entity"}
    if unknown:
        return failure(400, "bad_data", f"unknown parameter {sorted(unknown)[0]!r}; expected signal, entity")
    source = request.app[SOURCE]
    rows = source.signals(signal=request.query.get("signal", ""), entity=request.query.get("entity", ""))
    return success({"signals": rows})


async def _incident(request: web.Request) -> web.Response:
    found = request.app[SOURCE].incident(request.match_info["id"])
    if found is None:
        return failure(404, "not_found", "there is no such incident, or it is forgotten by now")
    return success({"incident": dict(found)})


async def _recommendation(request: web.Request) -> web.Response:
    """One pool without the envelope, as an autoscaler's JSON query wants it: ``desired_replicas`` at the top.

    A number that must not be used is an error (503), never 0 and never null: KEDA would scale to nothing on a 0.
    """
    record, problem = request.app[SOURCE].recommendation(request.match_info["pool"])
    if record is None:
        return failure(404, "not_found", problem)
    if problem:
        return failure(503, "unavailable", problem)
    return web.Response(text=json.dumps(plain(dict(record)), allow_nan=False, ensure_ascii=False),
                        content_type="application/json")  # fmt: skip


async def _status(request: web.Request) -> web.Response:
    status: Record = request.app[SOURCE].status()
    return success(dict(status))


def routes() -> list[web.RouteDef]:
    """Every read-only route of the API."""
    return [
        web.get("/api/v1/targets", _listing("activeTargets", lambda source: list(source.targets()))),  # type: ignore[arg-type]
        web.get("/api/v1/signals", _signals),
        web.get("/api/v1/alerts", _listing("alerts", lambda source: list(source.alerts()))),  # type: ignore[arg-type]
        web.get("/api/v1/incidents", _listing("incidents", lambda source: list(source.incidents()))),  # type: ignore[arg-type]
        web.get("/api/v1/incidents/{id}", _incident),
        web.get("/api/v1/slo", _listing("budgets", lambda source: list(source.slo()))),  # type: ignore[arg-type]
        web.get("/api/v1/recommendations", _listing("recommendations", lambda source: list(source.recommendations()))),  # type: ignore[arg-type]
        web.get("/api/v1/recommendations/{pool:.+}", _recommendation),
        web.get("/api/v1/status", _status),
    ]
