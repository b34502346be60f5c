"""How to reach a peer: credentials, TLS, redirects. Named as in Prometheus where Prometheus has a name.

A secret stands in the file or, better, in a file of its own that is read again at every use.
"""

import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, model_validator

from aiops.kit.files import read_limited
from aiops.kit.retry import Temporary
from aiops.kit.secrets import register
from aiops.kit.settings import Secret, Section

_SECRET_FILE_BYTES = 64 * 1024
_HEADER_NAME = re.compile(r"[A-Za-z0-9-]{1,64}")
_OWN_HEADERS = ("authorization", "cookie", "host", "connection", "content-", "transfer-", "accept")


def secret_text(value: Secret | None, file: Path | None) -> str:
    """The secret, read now.

    Raises
    ------
    Temporary
        When the file cannot be read or holds no usable text: it may be under rotation. A control character is not
        usable, since a line break would end the HTTP header.
    """
    if file is None:
        return value.get_secret_value() if value is not None else ""
    try:
        text = read_limited(file, _SECRET_FILE_BYTES).decode().strip()
    except (OSError, ValueError) as error:
        raise Temporary(f"secret file {file} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not text or not text.isprintable():
        raise Temporary(f"secret file {file} is empty or has control characters")
    register(text)
    return text


def require_one(what: str, value: Secret | None, file: Path | None) -> None:
    """Raise ValueError unless a secret is given in exactly one of its two ways."""
    if (value is None) == (file is None):
        raise ValueError(f"expected exactly one of {what} and {what}_file")
    if value is not None and not value.get_secret_value().isprintable():
        raise ValueError(f"{what} has control characters")


def _plain_headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or name.lower().startswith(_OWN_HEADERS):
            raise ValueError(f"{name[:64]!r} cannot be set here; expected a header such as X-Scope-OrgID")
        if not value.isprintable() or not value.isascii():
            raise ValueError(f"the value of {name} has characters that a header cannot carry")
    return headers


ExtraHeaders = Annotated[dict[str, str], AfterValidator(_plain_headers)]
"""Headers to send along. They are shown, so no secret belongs there."""


class BasicAuthSettings(Section):
    """User name and password."""

    username: str
    """Without a colon: HTTP uses it as the separator."""
    password: Secret | None = None
    """The password itself; prefer the file."""
    password_file: Path | None = None
    """File that holds the password; read at every use, so it can be rotated."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        require_one("password", self.password, self.password_file)
        if ":" in self.username:
            raise ValueError("username must not contain ':'")
        return self


class AuthorizationSettings(Section):
    """Any other ``Authorization`` header, above all a bearer token."""

    type: str = "Bearer"
    """First word of the header."""
    credentials: Secret | None = None
    """The token itself; prefer the file."""
    credentials_file: Path | None = None
    """File that holds the token; read at every use, so that Kubernetes may rotate it."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        require_one("credentials", self.credentials, self.credentials_file)
        if not self.type.isascii() or not self.type.isalnum() or self.type.lower() == "basic":
            raise ValueError("type must be one word other than Basic (use basic_auth)")
        return self


class TlsSettings(Section):
    """How the peer proves who it is, and how we do. TLS 1.2 is the least."""

    ca_file: Path | None = None
    """Certificates to trust instead of the system's."""
    cert_file: Path | None = None
    """Our own certificate, for peers that ask for one."""
    key_file: Path | None = None
    """Key of ``cert_file``."""
    server_name: str = ""
    """Name that the peer's certificate must carry; empty: the host of the URL."""
    insecure_skip_verify: bool = False
    """Accept any certificate. Off: anybody on the way could answer instead, and read our credentials."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("key_file needs cert_file")
        return self


class HttpClientSettings(Section):
    """Credentials, TLS and redirects towards one peer."""

    basic_auth: BasicAuthSettings | None = None
    """User name and password."""
    authorization: AuthorizationSettings | None = None
    """Bearer token or another scheme."""
    tls: TlsSettings = TlsSettings()
    """Used with https only."""
    follow_redirects: bool = False
    """Follow redirects of a GET, on the same origin only. Off: a redirect usually means a wrong URL."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.basic_auth is not None and self.authorization is not None:
            raise ValueError("expected at most one of basic_auth and authorization")
        return self
