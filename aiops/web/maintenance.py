"""What is planned comes in here: maintenance windows of one time, and deploys."""

from aiohttp import web

from aiops.web import api
from aiops.web.access import PRINCIPAL


async def _list(request: web.Request) -> web.Response:
    return api.success({"windows": list(request.app[api.SOURCE].maintenance())})


async def _begin(request: web.Request) -> web.Response:
    body = await api.json_object(request)
    window = request.app[api.SOURCE].begin_maintenance(body, request.get(PRINCIPAL, ""))
    return api.success({"windows": [dict(window)]})


async def _end(request: web.Request) -> web.Response:
    return api.success({"windows": [dict(request.app[api.SOURCE].end_maintenance(request.match_info["id"]))]})


async def _mark(request: web.Request) -> web.Response:
    body = await api.json_object(request)
    return api.success({"marks": list(request.app[api.SOURCE].mark(body))})


def routes() -> list[web.RouteDef]:
    """Every route of this module."""
    return [
        web.get("/api/v1/maintenance", _list),
        web.post("/api/v1/maintenance", _begin),
        web.post("/api/v1/maintenance/{id}/end", _end),
        web.post("/api/v1/marks", _mark),
    ]
