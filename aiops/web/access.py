"""Who may do what: loopback or credentials, for every route, before any handler runs.

===========  ============================================================================================
role         may
===========  ============================================================================================
(nobody)     ask whether the daemon is healthy and ready; beyond loopback also read ``/metrics``
``read``     read everything
``feedback`` also send what people and programs tell: feedback, deploys, maintenance, inbound alerts
``admin``    also reload
===========  ============================================================================================

Without users and tokens, whoever reaches a loopback address is ``admin``, as with a program in one's own terminal,
and everybody else is nobody. A browser must not be made the deputy of a foreign page: a request that changes something
needs the same origin, and where no credentials are asked a name is refused that somebody else's DNS may point here.
"""

import asyncio
import hashlib
import hmac
import logging
from base64 import b64decode
from binascii import Error as Base64Error
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import IntEnum
from importlib import import_module
from ipaddress import ip_address
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from aiops.kit.clock import Clock
from aiops.kit.http_settings import secret_text
from aiops.kit.retry import Temporary
from aiops.web.settings import TokenSettings, WebSettings, split_address
from aiops.web.source import Refused
from aiops.web.web_config import RateLimit, WebConfig

_AUDIT = logging.getLogger("aiops.audit")
_CACHED = 100
_WAITING = 16
"""Passwords that may wait to be checked; bcrypt costs 0.1 s of CPU each, on purpose."""
# Checked for users that do not exist, so that an answer takes as long. Nobody knows its password.
_NOBODY = b"$2b$10$k1wbIrmNyFAPwPVPSVa/zecw2BCEnBwVS2GbrmgzxFUOqW9dk4TCW"
_SAFE = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})
_LOCAL_NAMES = frozenset({"localhost", "localhost.localdomain"})
METRICS = "/metrics"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
PRINCIPAL: web.RequestKey[str] = web.RequestKey("principal", str)
"""Name of who asks, for the audit log and for records."""


class Role(IntEnum):
    """In order of power."""

    NOBODY = 0
    READ = 1
    FEEDBACK = 2
    ADMIN = 3


class Access:
    """Decides about every request; a middleware.

    Parameters
    ----------
    settings
        Tokens, and what anonymous clients may do.
    config
        Users and rate limit; replaced by :meth:`configure` when its file changes.
    roles
        What each route needs, by method and path; what nobody thought of needs the highest, except to look.
    """

    def __init__(
        self, settings: WebSettings, config: WebConfig, *, clock: Clock, roles: Mapping[tuple[str, str], Role]
    ) -> None:
        self._settings = settings
        self._roles = roles
        self._loopback = is_loopback(split_address(settings.listen_address)[0])
        self._limit = _Bucket(config.rate_limit, clock)
        self._clock = clock
        self._passwords = Passwords({})
        self.configure(config)

    def configure(self, config: WebConfig) -> None:
        """Go on with other users and another rate limit."""
        users = {user: hashed.get_secret_value() for user, hashed in config.basic_auth_users.items()}
        if users != self._passwords.users:
            self._passwords = Passwords(users)
        if config.rate_limit != self._limit.settings:
            self._limit = _Bucket(config.rate_limit, self._clock)
        self._sans = frozenset(config.tls_server_config.client_allowed_sans if config.tls_server_config else ())

    @property
    def asks(self) -> bool:
        """Credentials are asked for."""
        return bool(self._passwords.users or self._settings.tokens)

    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let a request through, or raise the refusal."""
        if not self._limit.take():
            raise web.HTTPTooManyRequests(headers={hdrs.RETRY_AFTER: "1"})
        self._check_certificate(request)
        role = self._needed(request)
        if request.method not in _SAFE:
            self._check_origin(request)
        name, has = await self._who(request)
        if has < role:
            self._refuse(name, has, role)
        request[PRINCIPAL] = name
        if request.method in _SAFE:
            return await handler(request)
        return await _audited(request, handler, name)

    def _needed(self, request: web.Request) -> Role:
        resource = request.match_info.route.resource
        looks = request.method in _SAFE
        method = hdrs.METH_GET if looks else request.method
        place = "" if resource is None else resource.canonical
        return self._roles.get((method, place), Role.READ if looks else Role.ADMIN)

    async def _who(self, request: web.Request) -> tuple[str, Role]:
        kind, _, value = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        if self.asks and kind.lower() == "basic":
            return await self._of_user(*_user_and_password(value))
        if self.asks and kind.lower() == "bearer":
            return _of_token(value.strip(), self._settings.tokens)
        if self.asks:
            return "", Role.NOBODY
        if self._loopback:
            self._check_host(request)
            return "local", Role.ADMIN
        may_read = self._settings.anonymous_read or request.path == METRICS
        return "anonymous", Role.READ if may_read else Role.NOBODY

    async def _of_user(self, user: str, password: bytes) -> tuple[str, Role]:
        """A user of the file, or a token as the password of its name: that is what a browser can send."""
        name, role = _of_token(password.decode(errors="replace"), self._settings.tokens)
        if role is not Role.NOBODY and name == user:
            return name, role
        good = await self._passwords.check(user, password)
        return (user, Role.ADMIN) if good else ("", Role.NOBODY)

    def _refuse(self, name: str, has: Role, role: Role) -> None:
        if self.asks and has is Role.NOBODY:
            asked = {hdrs.WWW_AUTHENTICATE: 'Basic realm="aiops"'}
            raise web.HTTPUnauthorized(headers=asked, reason="Credentials are missing or wrong")
        if self.asks:
            raise web.HTTPForbidden(reason=f"{name} has the role {has.name.lower()}, this needs {role.name.lower()}")
        raise web.HTTPForbidden(reason="Listening beyond loopback without web.tokens or users: only /metrics is open")

    def _check_certificate(self, request: web.Request) -> None:
        if not self._sans or request.transport is None:
            return
        certificate = request.transport.get_extra_info("peercert") or {}
        if self._sans.isdisjoint(value for _, value in certificate.get("subjectAltName", ())):
            raise web.HTTPForbidden(reason="The client certificate carries none of the allowed names")

    def _check_origin(self, request: web.Request) -> None:
        """Refuse what a page of another origin made a browser send; programs send no such header."""
        origin = request.headers.get(hdrs.ORIGIN)
        site = request.headers.get("Sec-Fetch-Site", "same-origin")
        ours = {request.host, urlsplit(self._settings.external_url).netloc} - {""}
        if site not in ("same-origin", "none") or (origin is not None and urlsplit(origin).netloc not in ours):
            raise web.HTTPForbidden(reason="Requests from pages of another origin are refused")

    def _check_host(self, request: web.Request) -> None:
        """Refuse names that are not ours: a page may have pointed its own name at this machine."""
        name = urlsplit(f"//{request.host}").hostname or ""
        if name not in _LOCAL_NAMES and not _is_address(name) and name != self._settings.external_host:
            raise web.HTTPMisdirectedRequest(reason="This name is not web.external_url's; ask for localhost or set it")


class Passwords:
    """Checks passwords against bcrypt hashes without holding up the loop, and remembers the last answers.

    The key of an answer is the whole of what was asked, hashed as one, so that no answer can be had for another
    question; failures are remembered too, since guessing must not buy CPU time.
    """

    def __init__(self, users: Mapping[str, str]) -> None:
        self.users = dict(users)
        self._known: OrderedDict[bytes, bool] = OrderedDict()
        self._turn = asyncio.Semaphore(1)
        self._waiting = 0
        self._check_hash: Callable[[bytes, bytes], bool] | None = _bcrypt() if users else None

    async def check(self, user: str, password: bytes) -> bool:
        """Whether this user has this password; raises 429 when too many wait for an answer."""
        if self._check_hash is None:
            return False
        key = hashlib.blake2b(repr((user, self.users.get(user), password)).encode()).digest()
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        if self._waiting >= _WAITING:
            raise web.HTTPTooManyRequests(headers={hdrs.RETRY_AFTER: "1"})
        self._waiting += 1
        try:
            async with self._turn:
                hashed = self.users.get(user, "").encode() or _NOBODY
                right = await asyncio.to_thread(self._check_hash, password[:72], hashed)
        finally:
            self._waiting -= 1
        self._known[key] = right and user in self.users
        while len(self._known) > _CACHED:
            self._known.popitem(last=False)
        return self._known[key]


class _Bucket:
    """Token bucket of the whole server."""

    def __init__(self, settings: RateLimit, clock: Clock) -> None:
        self.settings = settings
        self._clock = clock
        self._tokens = float(settings.burst)
        self._at = clock.monotonic()

    def take(self) -> bool:
        if not self.settings.interval:
            return True
        now = self._clock.monotonic()
        self._tokens = min(float(self.settings.burst), self._tokens + (now - self._at) / self.settings.interval)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


async def _audited(request: web.Request, handler: Handler, name: str) -> web.StreamResponse:
    status = 500
    try:
        response = await handler(request)
        status = response.status
    except (web.HTTPException, Refused) as error:
        status = error.status
        raise
    finally:
        _AUDIT.info(
            "changed" if status < 400 else "not changed",
            extra={"who": name, "method": request.method, "path": request.path, "status": status},
        )
    return response


def _user_and_password(value: str) -> tuple[str, bytes]:
    try:
        user, _, password = b64decode(value.strip(), validate=True).partition(b":")
        return user.decode(), password
    except (Base64Error, UnicodeDecodeError):
        return "", b""


def _of_token(value: str, tokens: Sequence[TokenSettings]) -> tuple[str, Role]:
    asked = hashlib.sha256(value.encode(errors="surrogateescape")).digest()  # a header may hold any byte
    found = ("", Role.NOBODY)
    for token in tokens:
        try:
            text = secret_text(token.token, token.token_file)
        except Temporary:
            continue  # the file is being replaced; whoever asks will try again
        if hmac.compare_digest(asked, hashlib.sha256(text.encode()).digest()):
            found = (token.name, Role[token.role.name])
    return found


def _bcrypt() -> Callable[[bytes, bytes], bool]:
    try:
        check: Callable[[bytes, bytes], bool] = import_module("bcrypt").checkpw
    except ImportError:
        raise ValueError("basic_auth_users needs the package bcrypt: pip install 'aiops[auth]'") from None
    return check


def is_loopback(host: str) -> bool:
    """Only this machine reaches the address."""
    return host == "localhost" or (_is_address(host) and ip_address(host).is_loopback)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
