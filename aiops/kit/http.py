"""Asking other programs over HTTP: credentials, TLS, caps and deadlines in one place.

Whatever the peer does, a call ends within its timeout, costs memory in proportion to its cap, and either returns
an :class:`Answer` or raises :class:`~aiops.kit.retry.Temporary` or :class:`~aiops.kit.retry.Permanent` with a
message that names the URL without its credentials. Credentials never leave for another origin.
"""

import asyncio
import base64
import re
import ssl
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aiohttp import (
    ClientError,
    ClientPayloadError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    TCPConnector,
    ThreadedResolver,
)
from aiohttp.abc import AbstractResolver
from yarl import URL

from aiops import __version__
from aiops.kit.files import stamp
from aiops.kit.gzip_stream import Inflater
from aiops.kit.http_settings import HttpClientSettings, secret_text
from aiops.kit.reach import GuardedResolver, Reach
from aiops.kit.retry import Failure, Permanent, Temporary, retry_after_seconds

__all__ = ["Answer", "BodyTooLarge", "HttpClient", "HttpClientSettings", "Reach"]
__all__ += ["open_session", "public_url", "read_capped"]

CHUNK_BYTES = 64 * 1024
ERROR_BODY_BYTES = 4096
MOST_REDIRECTS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_WORTH_ANOTHER_TRY = frozenset({408, 425, 429})
_PLAIN_ENCODINGS = frozenset({"", "identity", "gzip", "x-gzip"})
Hear = Callable[[bytes], bool]
"""Gets each decoded piece of a 2xx body the moment it arrives; True = enough was heard, stop reading."""


class BodyTooLarge(Permanent):
    """The body exceeds the cap; nothing of it was kept."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer, any status.

    Attributes
    ----------
    url
        Where it came from, without credentials.
    body
        Decoded; of an answer that is not 2xx only the first 4 KiB.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    def require_ok(self) -> "Answer":
        """Return itself when 2xx; else raise Temporary (5xx, 408, 425, 429) or Permanent. The body is not quoted."""
        if 200 <= self.status < 300:
            return self
        message = f"{self.url} answered {self.status}, expected 2xx"
        if self.status in _REDIRECTS:
            raise Permanent(f"{message}; redirects are not followed")
        if self.status >= 500 or self.status in _WORTH_ANOTHER_TRY:
            raise Temporary(message, retry_after_seconds(self.headers))
        raise Permanent(message)


def public_url(url: str) -> str:
    """The URL without user name, password and fragment, for logs and messages; also when it is malformed."""
    try:
        return str(URL(url).with_user(None).with_fragment(None))
    except ValueError:
        return re.sub(r"^([^/]*//)?.*@", r"\1", url, flags=re.DOTALL)


def open_session(
    *, reach: Reach = Reach.ANYWHERE, connections_per_host: int = 4, keep_alive_seconds: float = 75.0
) -> ClientSession:
    """Open a session to share between clients; call inside a running loop, and close it.

    There is no limit over all hosts: with one, a hundred dead peers would keep the hundred-and-first waiting.
    Cookies are ignored and the proxy variables of the environment are not read. With ``keep_alive_seconds`` of 0
    every request has a connection of its own.
    """
    resolver: AbstractResolver = ThreadedResolver()
    if reach is Reach.NO_METADATA:
        resolver = GuardedResolver(resolver)
    connector = TCPConnector(
        limit=0,
        limit_per_host=connections_per_host,
        resolver=resolver,
        keepalive_timeout=keep_alive_seconds or None,
        force_close=not keep_alive_seconds,
    )
    return ClientSession(
        connector=connector,
        cookie_jar=DummyCookieJar(),
        headers={"User-Agent": f"aiops/{__version__}", "Accept-Encoding": "gzip"},
        timeout=ClientTimeout(total=None, sock_connect=None),  # HttpClient.ask keeps the deadline
        auto_decompress=False,  # read_capped does it: aiohttp takes a gzip stream that breaks off for a whole one
    )


async def read_capped(
    response: ClientResponse, limit_bytes: int, *, shown: str = "", hear: Hear | None = None
) -> bytes:
    """Read the decoded body of a response of :func:`open_session` piece by piece.

    Raises
    ------
    BodyTooLarge
        As soon as more than ``limit_bytes`` have arrived: 600 MiB of zeros fit into 0.6 MB of gzip.
    Permanent
        When the body is encoded in another way than gzip.
    Temporary
        When the gzip stream is damaged or breaks off.
    """
    shown = shown or public_url(str(response.url))
    pieces, whole = await _read_prefix(response, limit_bytes, shown, hear)
    if not whole:
        response.close()  # reading on to reuse the connection would be what the peer hopes for
        raise BodyTooLarge(f"{shown} sent more than {limit_bytes} bytes (decoded)")
    return b"".join(pieces)


async def _read_prefix(
    response: ClientResponse, limit_bytes: int, shown: str, hear: Hear | None = None
) -> tuple[list[bytes], bool]:
    """First ``limit_bytes`` of the decoded body in pieces, and whether that is all of it.

    Not joined here: a body that is too large would take its memory twice, only to be thrown away.
    """
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in _PLAIN_ENCODINGS:
        raise Permanent(f"{shown} sent encoding {encoding[:40]!r}, expected gzip or none")
    inflater = Inflater() if encoding.endswith("gzip") else None
    pieces: list[bytes] = []
    size = wire_bytes = 0
    try:
        async for packed in response.content.iter_chunked(CHUNK_BYTES):
            wire_bytes += len(packed)
            if wire_bytes > limit_bytes + CHUNK_BYTES:  # endless gzip that unpacks to nothing
                return pieces, False
            for piece in inflater.unpack(packed) if inflater else (packed,):
                pieces.append(piece[: limit_bytes - size])
                size += len(piece)
                if size > limit_bytes:
                    return pieces, False
                if hear is not None and hear(piece):
                    response.close()  # the peer may go on for as long as it likes
                    return pieces, True
        if inflater:
            inflater.finish()
    except zlib.error as error:
        raise Temporary(f"{shown} sent a damaged gzip body: {error}") from error
    return pieces, True


class HttpClient:
    """Asks with one set of credentials and one TLS policy, over a session that is shared with others.

    Secret, key and certificate files are looked at on every call, so that they may be rotated under us.

    Parameters
    ----------
    settings
        Credentials and TLS.
    session
        See :func:`open_session`; the owner closes it.
    """

    def __init__(self, settings: HttpClientSettings, session: ClientSession) -> None:
        self._settings = settings
        self._session = session
        self._context: ssl.SSLContext | None = None
        self._context_stamps: tuple[object, ...] = ()

    async def ask(
        self,
        method: str,
        url: str,
        *,
        timeout_seconds: float,
        limit_bytes: int,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        shown: str = "",
        hear: Hear | None = None,
    ) -> Answer:
        """Ask once and read the whole answer.

        An idempotent request whose kept-alive connection turns out to be closed is sent a second time (aiohttp
        does that): some servers close idle connections without a word.

        Parameters
        ----------
        timeout_seconds
            For everything: look-up, connect, headers, body, redirects.
        limit_bytes
            Cap of the decoded body.
        shown
            What messages call the URL, for URLs that are secrets themselves. Default: the URL without credentials.
        hear
            Listens to a body that arrives bit by bit; what it heard is the body of the answer.

        Raises
        ------
        Temporary, Permanent
            See the module. Any status is an answer, not an error: :meth:`Answer.require_ok` judges it.
        """
        shown = shown or public_url(url)
        try:
            async with asyncio.timeout(timeout_seconds):
                parsed = _parsed(url, shown)
                sent = {**(headers or {}), **self._authorization(parsed)}
                return await self._follow(
                    method, parsed, headers=sent, body=body, limit=limit_bytes, shown=shown, hear=hear
                )
        except TimeoutError as error:
            raise Temporary(f"{shown} gave no whole answer within {timeout_seconds:g} s") from error
        except ClientPayloadError as error:
            raise Temporary(f"{shown} broke off its body: {_reason(error)}") from error
        except (ClientError, OSError) as error:
            raise Temporary(f"{shown} cannot be asked: {_reason(error)}") from error
        except ValueError as error:  # a header or URL that HTTP cannot carry
            raise Permanent(f"{shown} cannot be asked: {_reason(error)}") from error

    async def _follow(
        self,
        method: str,
        url: URL,
        *,
        headers: Mapping[str, str],
        body: bytes | None,
        limit: int,
        shown: str,
        hear: Hear | None,
    ) -> Answer:
        url = url.with_user(None)
        origin = url.origin()
        for _ in range(MOST_REDIRECTS + 1):
            async with self._session.request(
                method,
                url,
                headers=headers,
                data=body,
                allow_redirects=False,
                ssl=self._ssl_context() if url.scheme == "https" else True,
                server_hostname=self._settings.tls.server_name or None if url.scheme == "https" else None,
            ) as response:
                if response.status not in _REDIRECTS or not self._settings.follow_redirects:
                    return await _answer(response, limit, shown, hear)
                url = _next_hop(url, response, shown)
            if url.origin() != origin or method not in ("GET", "HEAD"):
                raise Permanent(f"{shown} redirects to {url.origin()}; only GET on the same origin is followed")
        raise Permanent(f"{shown} redirects more than {MOST_REDIRECTS} times")

    def _authorization(self, url: URL) -> dict[str, str]:
        """Header of this call. Credentials in the settings win over those in the URL."""
        basic, scheme = self._settings.basic_auth, self._settings.authorization
        if scheme is not None:
            return {"Authorization": f"{scheme.type} {secret_text(scheme.credentials, scheme.credentials_file)}"}
        if basic is not None:
            password = secret_text(basic.password, basic.password_file)
            return {"Authorization": _basic(basic.username, password)}
        if url.user is not None:
            return {"Authorization": _basic(url.user, url.password or "")}
        return {}

    def _ssl_context(self) -> ssl.SSLContext:
        """Build the TLS context, again whenever one of its files changed."""
        tls = self._settings.tls
        stamps = tuple(path and stamp(path) for path in (tls.ca_file, tls.cert_file, tls.key_file))
        if self._context is None or stamps != self._context_stamps:
            context = ssl.create_default_context(cafile=tls.ca_file)
            if tls.insecure_skip_verify:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            if tls.cert_file is not None:
                context.load_cert_chain(tls.cert_file, tls.key_file)
            self._context, self._context_stamps = context, stamps
        return self._context


def _basic(username: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def _parsed(url: str, shown: str) -> URL:
    try:
        parsed = URL(url)
    except ValueError:  # its text may quote the URL with the password
        raise Permanent(f"{shown!r} is not a URL; expected http://host:port/path") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise Permanent(f"{shown!r} is not an HTTP URL; expected http://host:port/path")
    return parsed


async def _answer(response: ClientResponse, limit_bytes: int, shown: str, hear: Hear | None) -> Answer:
    if 200 <= response.status < 300:
        body = await read_capped(response, limit_bytes, shown=shown, hear=hear)
        return Answer(shown, response.status, response.headers, body)
    try:
        pieces, _ = await _read_prefix(response, min(limit_bytes, ERROR_BODY_BYTES), shown)
        body = b"".join(pieces)
    except (Failure, ClientPayloadError):  # the status says more than a damaged body
        body = b""
    return Answer(shown, response.status, response.headers, body)


def _next_hop(url: URL, response: ClientResponse, shown: str) -> URL:
    try:
        target = url.join(URL(response.headers["Location"]))
        target.origin()
    except (KeyError, ValueError):
        raise Permanent(f"{shown} redirects, but not to a URL") from None
    return target.with_user(None)


def _reason(error: Exception) -> str:
    """One line that says why, without aiohttp's decoration."""
    inner = getattr(error, "os_error", error)
    text = str(getattr(inner, "strerror", None) or inner) or type(inner).__name__
    file = getattr(inner, "filename", None)
    return f"{text}: {file}"[:300] if file else text[:300]
