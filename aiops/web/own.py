"""Routes about the daemon itself: health and lifecycle as Prometheus has them, metrics, page, configuration, status."""

from collections.abc import Mapping
from functools import cache
from urllib.parse import quote

from aiohttp import web

from aiops.web import advice, feedback, files, fleet, inbound, incidents, maintenance
from aiops.web.access import Role
from aiops.web.api import SOURCE, Call, Route
from aiops.web.asked import Nothing
from aiops.web.metrics import MetricsPage
from aiops.web.openapi import document
from aiops.web.records import ConfigRecord, StatusRecord
from aiops.web.settings import WebSettings
from aiops.web.source import ReloadFailed

METRICS: web.AppKey[MetricsPage] = web.AppKey("metrics", MetricsPage)
FILES: web.AppKey[Mapping[str, files.StaticFile]] = web.AppKey("files", Mapping)
SETTINGS: web.AppKey[WebSettings] = web.AppKey("settings", WebSettings)


async def _page(request: web.Request) -> web.Response:
    return files.answer(request, request.app[FILES]["index.html"])


async def _static(request: web.Request) -> web.Response:
    found = request.app[FILES].get(request.match_info["name"])
    if found is None:
        raise web.HTTPNotFound
    return files.answer(request, found)


async def _incident(request: web.Request) -> web.Response:
    """Alerts link here; the view is part of the page."""
    there = f"../#/incidents/{quote(request.match_info['id'], safe='')}"
    return web.Response(status=302, headers={"Location": there})


async def _runbook(request: web.Request) -> web.Response:
    text = request.app[SOURCE].runbook(request.match_info["slug"])
    if text is None:
        return web.Response(status=404, text="There is no such runbook.\n")
    return web.Response(text=text, content_type="text/markdown", charset="utf-8")


async def _metrics(request: web.Request) -> web.Response:
    body, content_type = request.app[METRICS].render(request.headers.get("Accept", ""))
    return web.Response(body=body, headers={"Content-Type": content_type})


async def _healthy(_: web.Request) -> web.Response:
    return web.Response(text="aiops is healthy.\n")


async def _ready(request: web.Request) -> web.Response:
    reason = request.app[SOURCE].not_ready()
    if reason:
        return web.Response(status=503, text=f"aiops is not ready: {reason}\n")
    return web.Response(text="aiops is ready.\n")


async def _reload(request: web.Request) -> web.Response:
    if not request.app[SETTINGS].enable_lifecycle:
        return web.Response(status=403, text="Lifecycle API is not enabled (web.enable_lifecycle).\n")
    try:
        await request.app[SOURCE].reload()
    except ReloadFailed as error:
        return web.Response(status=500, text=f"failed to reload config: {error}\n")
    return web.Response(text="")


async def _config(call: Call[Nothing]) -> ConfigRecord:
    """What `aiops check config --print` prints."""
    return {"yaml": call.source.config_text()}


async def _status(call: Call[Nothing]) -> StatusRecord:
    """`alertBudgetAsked` are the false alerts per week that `detect.budget` asks for, `alertBudgetFired` the
    statistical alerts per week that there were, true ones among them; null in the first hour. `detectorsLeftOut` are
    those that turns do without because they take too long. `storageProblem` says why decisions cannot be written
    now, or which damaged file was put aside. `receivers` lists name, kind, health, last error, warning, queue length
    and counts of every receiver of notices.
    """
    return call.source.status()


@cache
def openapi() -> Mapping[str, object]:
    """The OpenAPI document of all routes; worked out when somebody asks."""
    return document(ROUTES)


async def _openapi(_: Call[Nothing]) -> Mapping[str, object]:
    return openapi()


_NOT_READY = {503: "the first tick is not done; the text has the reason"}
_RELOAD = {403: "`enable_lifecycle` is not set", 500: "the new configuration is bad, and the old one stays; "
           "the text has every problem"}  # fmt: skip
_HEALTH = tuple(
    Route("GET", path, _healthy, "200 while the process answers", Role.NOBODY, content=("text/plain",))
    for path in ("/-/healthy", "/healthz", "/livez")
)
_READY = tuple(
    Route("GET", path, _ready, "200 once the first tick is done", Role.NOBODY, refusals=_NOT_READY,
          content=("text/plain",))
    for path in ("/-/ready", "/readyz")
)  # fmt: skip
_RELOADS = tuple(
    Route(method, "/-/reload", _reload, "reads the configuration again", Role.ADMIN, refusals=_RELOAD,
          content=("text/plain",))
    for method in ("POST", "PUT")
)  # fmt: skip
ROUTES: tuple[Route, ...] = (
    Route("GET", "/", _page, "page for people; everything it shows comes from the paths below", content=("text/html",)),
    Route("GET", "/static/{name:.+}", _static,
          "its scripts and style sheet; cached by `ETag`, asked about each time",
          refusals={404: "there is no such file"}, content=("*/*",)),
    Route("GET", "/incidents/{id}", _incident, "leads to the incident on the page; alerts link to it",
          status=302, content=()),
    Route("GET", "/runbooks/{slug}", _runbook, "a shipped runbook, Markdown; alerts link to it",
          refusals={404: "there is no such runbook"}, content=("text/markdown",)),
    Route("GET", "/metrics", _metrics, "own metrics and the current signals; see [metrics.md](metrics.md)",
          content=("text/plain", "application/openmetrics-text")),
    *_HEALTH,
    *_READY,
    *_RELOADS,
    *fleet.ROUTES,
    *incidents.ROUTES,
    *advice.ROUTES,
    *inbound.ROUTES,
    *feedback.ROUTES,
    *maintenance.ROUTES,
    Route("GET", "/api/v1/config", _config,
          "the configuration in effect as YAML, each value with its origin, secrets masked"),
    Route("GET", "/api/v1/status", _status, "version, load, limits and health of the daemon's own parts"),
    Route("GET", "/api/v1/openapi.json", _openapi, "this API as an OpenAPI 3.1 document", envelope=False),
)  # fmt: skip
