"""The HTTP server: every route behind access, errors in the envelope, security headers on everything."""

import errno
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Middleware

from aiops.kit.clock import SYSTEM_CLOCK, Clock
from aiops.web import api, files, fleet, own
from aiops.web.access import Access, is_loopback
from aiops.web.events import Events
from aiops.web.metrics import MetricsPage
from aiops.web.settings import WebSettings, split_address
from aiops.web.source import Refused, Source
from aiops.web.web_config import WebConfig, WebFile

_LOG = logging.getLogger("aiops.web")
_SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_KINDS = {
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    421: "forbidden",
    429: "too_many_requests",
    503: "unavailable",
}
ROLES = {(route.method, route.place): route.role for route in own.ROUTES}
"""Role that each route needs."""
_KEPT = ("Allow", "Retry-After", "WWW-Authenticate")
_HEADERS: web.AppKey[dict[str, str]] = web.AppKey("headers", dict)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def _answer_safely(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Put errors into the API's envelope. A supervision point."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if not request.path.startswith("/api/"):
            raise
        response = api.failure(error.status, _KINDS.get(error.status, "bad_data"), error.reason)
        response.headers.update({k: v for k, v in error.headers.items() if k in _KEPT})
    except Refused as error:
        response = api.failure(error.status, _KINDS.get(error.status, "bad_data"), str(error))
        if not request.path.startswith("/api/"):
            response = web.Response(status=error.status, text=f"{error}\n")
    except Exception:  # noqa: BLE001 - supervision point: a bug in one answer must not end the connection
        _LOG.exception("request failed", extra={"path": request.path})
        response = api.failure(500, "internal", "the server failed to answer; its log says why")
    return response


async def _secure(request: web.Request, response: web.StreamResponse) -> None:
    """Put the security headers on everything, also on streams and refusals."""
    for name, value in request.app[_HEADERS].items():
        response.headers.setdefault(name, value)


def build(
    source: Source, settings: WebSettings, access: Access | None = None, events: Events | None = None
) -> web.Application:
    """Return the application; it listens to nobody until :meth:`Server.start`."""
    access = access or Access(settings, WebConfig(), clock=SYSTEM_CLOCK, roles=ROLES)
    app = web.Application(middlewares=[_answer_safely, _checked(access)], client_max_size=64 * 1024)
    app[api.SOURCE] = source
    app[own.SETTINGS] = settings
    app[own.METRICS] = MetricsPage(source.families)
    app[own.FILES] = files.load()
    app[fleet.EVENTS] = events = events or Events(settings.max_listeners)
    app[_HEADERS] = dict(_SECURITY_HEADERS)
    app.add_routes([route.definition() for route in own.ROUTES])

    async def let_go(_: web.Application) -> None:
        await events.close()

    app.on_response_prepare.append(_secure)
    app.on_shutdown.append(let_go)
    return app


def _checked(access: Access) -> Middleware:
    @web.middleware
    async def check(request: web.Request, handler: _Handler) -> web.StreamResponse:
        return await access.middleware(request, handler)

    return check


class Server:
    """Listens, and lets go of the socket when told.

    Parameters
    ----------
    file
        Content of ``web.config_file``.

    Raises
    ------
    ValueError
        When the file asks for something that cannot be had: a missing package, an unusable certificate.
    """

    def __init__(
        self, source: Source, settings: WebSettings, file: WebFile | None = None, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._settings = settings
        self._file = file or WebFile(WebConfig())
        self._access = Access(settings, self._file.config, clock=clock, roles=ROLES)
        self.events = Events(settings.max_listeners)
        self._app = build(source, settings, self._access, self.events)
        self._runner = web.AppRunner(self._app, access_log=None, handle_signals=False, shutdown_timeout=2.0)
        self._context = self._file.context()
        self._socket: socket.socket | None = None
        self._site: web.SockSite | None = None
        self.port = 0

    @property
    def base_url(self) -> str:
        """Base of links, without a trailing slash; with the port that was free and the scheme that is spoken."""
        base = self._settings.base_url
        if self._settings.external_url:
            return base
        base = base.replace("http://", "https://", 1) if self._context is not None else base
        return f"{base.rpartition(':')[0]}:{self.port}" if self.port else base

    async def start(self) -> None:
        """Bind and listen; port 0 takes a free one, :attr:`port` tells which."""
        host, port = split_address(self._settings.listen_address)
        self._apply_headers()
        await self._runner.setup()
        try:
            self._socket = socket.create_server((host, port), family=_family(host), backlog=128)
        except OSError as error:
            number = error.errno or errno.EADDRNOTAVAIL
            raise OSError(number, f"cannot listen on {self._settings.listen_address}: {error.strerror}") from error
        self._socket.setblocking(False)
        self.port = int(self._socket.getsockname()[1])
        self._site = await self._listen(self._context)
        if not (is_loopback(host) or self._access.asks):
            _LOG.warning("listening beyond loopback without credentials; only /metrics and health are open"
                         if not self._settings.anonymous_read else "anybody who reaches this server may read",
                         extra={"address": self._settings.listen_address})  # fmt: skip

    async def configure(self, file: WebFile) -> None:
        """Go on with another web configuration, without losing a connection.

        Raises
        ------
        ValueError
            As at construction; everything stays as it was.
        """
        context = file.context()
        self._access.configure(file.config)
        self._file, self._context = file, context
        self._apply_headers()
        old, self._site = self._site, await self._listen(context)
        if old is not None:
            await old.stop()

    async def stop(self) -> None:
        """Finish running requests and close."""
        await self._runner.cleanup()
        if self._socket is not None:
            self._socket.close()

    def _apply_headers(self) -> None:
        self._app[_HEADERS].clear()
        self._app[_HEADERS].update(_SECURITY_HEADERS | self._file.config.http_server_config.headers.given())

    async def _listen(self, context: ssl.SSLContext | None) -> web.SockSite:
        """Accept connections on a copy of the socket, so that the next site can take over before this one ends."""
        if self._socket is None:
            raise RuntimeError("the socket is bound at start")
        site = web.SockSite(self._runner, self._socket.dup(), ssl_context=context)
        await site.start()
        return site


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
