"""The JSON API under ``/api/v1``, in the envelope that Prometheus users know."""

import json
from collections.abc import Awaitable, Callable, Sequence
from math import inf, isfinite, nan

from aiohttp import web

from aiops.web.events import Events
from aiops.web.source import Record, Refused, SeriesFilter, Source, Span

LONGEST_QUESTION = 400
SOURCE: web.AppKey[Source] = web.AppKey("source", Source)
EVENTS: web.AppKey[Events] = web.AppKey("events", Events)
_WORTH_PACKING = 8 * 1024
_MOST_SERIES = 50
_MOST_CHANGES = 500
_Handler = Callable[[web.Request], Awaitable[web.Response]]


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
    response = web.Response(text=body, content_type="application/json")
    if len(body) > _WORTH_PACKING:
        response.enable_compression()
    return response


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


def _record(get: Callable[[Source], Record]) -> _Handler:
    async def handle(request: web.Request) -> web.Response:
        return success(dict(get(request.app[SOURCE])))

    return handle


def _listing(name: str, get: Callable[[Source], Sequence[Record]]) -> _Handler:
    return _record(lambda source: {name: list(get(source))})


async def _signals(request: web.Request) -> web.Response:
    _only(request, "signal", "entity")
    source = request.app[SOURCE]
    rows = source.signals(signal=request.query.get("signal", ""), entity=request.query.get("entity", ""))
    return success({"signals": rows})


async def _range(request: web.Request) -> web.Response:
    _only(request, "signal", "stat", "entity", "limit")
    query = request.query
    if not query.get("signal"):
        raise Refused(400, "the parameter signal is missing; expected the name of a signal, such as ttft")
    limit = int(_number(request, "limit", 12.0, low=1.0, high=_MOST_SERIES))
    wanted = SeriesFilter(query["signal"], query.get("stat", ""), query.get("entity", ""), limit)
    return success(dict(request.app[SOURCE].history(wanted)))


async def _changes(request: web.Request) -> web.Response:
    _only(request, "from", "to", "limit")
    start = _number(request, "from", None)
    end = _number(request, "to", None, low=start)
    limit = int(_number(request, "limit", 50.0, low=1.0, high=_MOST_CHANGES))
    return success(dict(await request.app[SOURCE].changes(Span(start, end, limit))))


def _only(request: web.Request, *names: str) -> None:
    unknown = sorted(set(request.query) - set(names))
    if unknown:
        raise Refused(400, f"unknown parameter {unknown[0]!r}; expected {', '.join(names)}")


def _number(request: web.Request, name: str, otherwise: float | None, *, low: float = 0.0, high: float = inf) -> float:
    text = request.query.get(name, "")
    try:
        value = float(text) if text or otherwise is None else otherwise
    except ValueError:
        value = nan
    if not isfinite(value) or not low <= value <= high:
        most = f" to {high:g}" if isfinite(high) else ""
        raise Refused(400, f"{name} is {text!r}; expected a number from {low:g}{most}")
    return value


async def _page(request: web.Request) -> web.Response:
    source = request.query.get("source", "")
    found = request.app[SOURCE].last_page(source)
    if found is None:
        return failure(404, "not_found", f"there is no scraped target {source!r}")
    return success(dict(found))


async def _relabel(request: web.Request) -> web.Response:
    _only(request, "job", "labels")
    try:
        labels = json.loads(request.query.get("labels", "{}"))
    except (ValueError, RecursionError):
        labels = None
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        raise Refused(400, 'labels are not what is expected: a JSON object of texts, {"__address__": "10.0.0.7:8000"}')
    return success(dict(request.app[SOURCE].relabelled(request.query.get("job", ""), labels)))


async def _events(request: web.Request) -> web.StreamResponse:
    events = request.app[EVENTS]
    if events.full():
        return failure(503, "unavailable", "as many pages listen as may (web.max_listeners); ask again later")
    return await events.stream(request)


async def _alert(request: web.Request) -> web.Response:
    _only(request, "entity")
    found = await request.app[SOURCE].describe(request.match_info["name"], request.query.get("entity", ""))
    return success({"explanations": list(found)})


async def _incident(request: web.Request) -> web.Response:
    found = request.app[SOURCE].incident(request.match_info["id"])
    if found is None:
        return failure(404, "not_found", "there is no such incident, or it is forgotten by now")
    return success({"incident": dict(found)})


async def _ask(request: web.Request) -> web.Response:
    question = request.query.get("q", "").strip()
    if set(request.query) - {"q"} or not question or len(question) > LONGEST_QUESTION:
        return failure(
            400, "bad_data", f"expected one parameter, q: a question of at most {LONGEST_QUESTION} characters"
        )
    return success(dict(await request.app[SOURCE].ask(question)))


async def _case(request: web.Request) -> web.Response:
    found = await request.app[SOURCE].case(request.match_info["id"])
    if found is None:
        return failure(404, "not_found", "no diagnosis of such an incident is kept")
    return success({"files": dict(found)})


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


def routes() -> list[web.RouteDef]:
    """Every read-only route of the API."""
    return [
        web.get("/api/v1/events", _events),
        web.get("/api/v1/fleet", _record(lambda source: source.fleet())),
        web.get("/api/v1/detectors", _record(lambda source: source.detectors())),
        web.get("/api/v1/config", _record(lambda source: {"yaml": source.config_text()})),
        web.get("/api/v1/targets/page", _page),
        web.get("/api/v1/targets/relabel", _relabel),
        web.get("/api/v1/signals/range", _range),
        web.get("/api/v1/signals/changes", _changes),
        web.get("/api/v1/signals/names", _record(lambda source: source.names())),
        web.get("/api/v1/targets", _listing("activeTargets", lambda source: source.targets())),
        web.get("/api/v1/signals", _signals),
        web.get("/api/v1/alerts", _listing("alerts", lambda source: source.alerts())),
        web.get("/api/v1/alerts/{name}", _alert),
        web.get("/api/v1/incidents", _listing("incidents", lambda source: source.incidents())),
        web.get("/api/v1/incidents/{id}", _incident),
        web.get("/api/v1/ask", _ask),
        web.get("/api/v1/incidents/{id}/case", _case),
        web.get("/api/v1/slo", _listing("budgets", lambda source: source.slo())),
        web.get("/api/v1/recommendations", _listing("recommendations", lambda source: source.recommendations())),
        web.get("/api/v1/recommendations/{pool:.+}", _recommendation),
        web.get("/api/v1/status", _record(lambda source: source.status())),
    ]
