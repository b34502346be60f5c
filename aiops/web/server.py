"""The HTTP server: health and lifecycle as Prometheus has them, metrics, API, page."""

import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from aiops.web import api, page
from aiops.web.metrics import MetricsPage
from aiops.web.settings import WebSettings, split_address
from aiops.web.source import ReloadFailed, Source

_LOG = logging.getLogger("aiops.web")
_METRICS: web.AppKey[MetricsPage] = web.AppKey("metrics", MetricsPage)
_SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def _answer_safely(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Put the security headers on everything and errors into the API's envelope. A supervision point."""
    try:
        response = await handler(request)
    except web.HTTPException as error:
        if not request.path.startswith("/api/"):
            error.headers.update(_SECURITY_HEADERS)
            raise
        response = api.failure(error.status, "not_found" if error.status == 404 else "bad_data", error.reason)
        response.headers.update({k: v for k, v in error.headers.items() if k == "Allow"})
    except Exception:  # noqa: BLE001 - supervision point: a bug in one answer must not end the connection
        _LOG.exception("request failed", extra={"path": request.path})
        response = api.failure(500, "internal", "the server failed to answer; its log says why")
    response.headers.update(_SECURITY_HEADERS)
    return response


async def _metrics(request: web.Request) -> web.Response:
    body, content_type = request.app[_METRICS].render(request.headers.get("Accept", ""))
    return web.Response(body=body, headers={"Content-Type": content_type})


async def _healthy(_: web.Request) -> web.Response:
    return web.Response(text="aiops is healthy.\n")


async def _ready(request: web.Request) -> web.Response:
    reason = request.app[api.SOURCE].not_ready()
    if reason:
        return web.Response(status=503, text=f"aiops is not ready: {reason}\n")
    return web.Response(text="aiops is ready.\n")


async def _reload(request: web.Request) -> web.Response:
    try:
        await request.app[api.SOURCE].reload()
    except ReloadFailed as error:
        return web.Response(status=500, text=f"failed to reload config: {error}\n")
    return web.Response(text="")


async def _reload_is_off(_: web.Request) -> web.Response:
    return web.Response(status=403, text="Lifecycle API is not enabled (web.enable_lifecycle).\n")


async def _page(request: web.Request) -> web.Response:
    return web.Response(text=page.status_page(request.app[api.SOURCE]), content_type="text/html")


async def _incident(request: web.Request) -> web.Response:
    found = request.app[api.SOURCE].incident(request.match_info["id"])
    if found is None:
        return web.Response(status=404, text="There is no such incident, or it is forgotten by now.\n")
    return web.Response(text=page.incident_page(found), content_type="text/html")


async def _runbook(request: web.Request) -> web.Response:
    text = request.app[api.SOURCE].runbook(request.match_info["slug"])
    if text is None:
        return web.Response(status=404, text="There is no such runbook.\n")
    return web.Response(text=text, content_type="text/markdown", charset="utf-8")


async def _style(_: web.Request) -> web.Response:
    return web.Response(text=page.STYLE, content_type="text/css")


def build(source: Source, settings: WebSettings) -> web.Application:
    """Return the application; it listens to nobody until :func:`start`."""
    app = web.Application(middlewares=[_answer_safely], client_max_size=64 * 1024)
    app[api.SOURCE] = source
    app[_METRICS] = MetricsPage(source.families)
    reload = _reload if settings.enable_lifecycle else _reload_is_off
    app.add_routes(
        [
            web.get("/", _page),
            web.get("/static/style.css", _style),
            web.get("/metrics", _metrics),
            web.get("/incidents/{id}", _incident),
            web.get("/runbooks/{slug}", _runbook),
            *(web.get(path, _healthy) for path in ("/-/healthy", "/healthz", "/livez")),
            *(web.get(path, _ready) for path in ("/-/ready", "/readyz")),
            web.post("/-/reload", reload),
            web.put("/-/reload", reload),
            *api.routes(),
        ]
    )
    return app


class Server:
    """Listens, and lets go of the socket when told."""

    def __init__(self, source: Source, settings: WebSettings) -> None:
        self._settings = settings
        self._runner = web.AppRunner(
            build(source, settings), access_log=None, handle_signals=False, shutdown_timeout=2.0
        )
        self.port = 0

    async def start(self) -> None:
        """Bind and listen; port 0 takes a free one, :attr:`port` tells which."""
        host, port = split_address(self._settings.listen_address)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise OSError(error.errno, f"cannot listen on {self._settings.listen_address}: {error.strerror}") from error
        self.port = int(self._runner.addresses[0][1])
        if host not in {"127.0.0.1", "::1", "localhost"}:
            _LOG.warning("listening beyond loopback without a password; put it behind one",
                         extra={"address": self._settings.listen_address})  # fmt: skip

    async def stop(self) -> None:
        """Finish running requests and close."""
        await self._runner.cleanup()
