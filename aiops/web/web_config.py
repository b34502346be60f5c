"""The file of ``web.config_file``: the web configuration that Prometheus, Alertmanager and the exporters share.

Files that people already have are taken as they are. What Python's TLS cannot do is refused with the reason, never
taken in silence: a client certificate that is asked for and not verified.
"""

import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from aiops.kit.settings import Duration, Secret, Section

_BCRYPT = re.compile(r"\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}")


class ClientAuth(StrEnum):
    """What is asked of clients, in Go's words."""

    NONE = "NoClientCert"
    REQUEST = "RequestClientCert"
    REQUIRE_ANY = "RequireAnyClientCert"
    VERIFY_IF_GIVEN = "VerifyClientCertIfGiven"
    REQUIRE = "RequireAndVerifyClientCert"


class TlsVersion(StrEnum):
    """Versions of TLS in Go's words."""

    TLS10 = "TLS10"
    TLS11 = "TLS11"
    TLS12 = "TLS12"
    TLS13 = "TLS13"

    @property
    def openssl(self) -> ssl.TLSVersion:
        """The same for :mod:`ssl`."""
        return ssl.TLSVersion[f"TLSv1_{self.value[-1]}" if self is not TlsVersion.TLS10 else "TLSv1"]


# Suites of TLS 1.3 cannot be chosen, neither in Go nor here.
_SUITES = {
    f"TLS_ECDHE_{kind}_WITH_{go}": f"ECDHE-{kind}-{openssl}"
    for kind in ("ECDSA", "RSA")
    for go, openssl in {
        "AES_128_CBC_SHA": "AES128-SHA",
        "AES_256_CBC_SHA": "AES256-SHA",
        "AES_128_GCM_SHA256": "AES128-GCM-SHA256",
        "AES_256_GCM_SHA384": "AES256-GCM-SHA384",
        "CHACHA20_POLY1305": "CHACHA20-POLY1305",
        "CHACHA20_POLY1305_SHA256": "CHACHA20-POLY1305",
    }.items()
}
_SUITES |= {f"TLS_{name}": "" for name in ("AES_128_GCM_SHA256", "AES_256_GCM_SHA384", "CHACHA20_POLY1305_SHA256")}


class TlsServerConfig(Section):
    """Certificate of the server, and what it asks of clients. Paths are relative to the file they stand in."""

    cert_file: Path | None = None
    """Certificate chain, PEM."""
    key_file: Path | None = None
    """Key of the certificate, PEM."""
    client_ca_file: Path | None = None
    """Authorities that sign client certificates, PEM."""
    cert: str = ""
    """The chain itself, instead of ``cert_file``."""
    key: Secret | None = None
    """The key itself, instead of ``key_file``."""
    client_ca: str = ""
    """The authorities themselves, instead of ``client_ca_file``."""
    client_auth_type: ClientAuth = ClientAuth.NONE
    """Whether clients must show a certificate."""
    client_allowed_sans: tuple[str, ...] = ()
    """Names of which a client's certificate must carry one; empty: any."""
    min_version: TlsVersion = TlsVersion.TLS12
    """Oldest TLS spoken."""
    max_version: TlsVersion = TlsVersion.TLS13
    """Newest TLS spoken."""
    cipher_suites: tuple[str, ...] = ()
    """Suites of TLS 1.2 in Go's names; empty: the platform's choice."""
    curve_preferences: tuple[str, ...] = ()
    """Taken and not used: the platform chooses the curves."""
    prefer_server_cipher_suites: bool = True
    """Taken and not used, as in Go since 1.17."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        _one(self, "cert", "missing cert or cert_file")
        _one(self, "key", "missing key or key_file")
        if self.client_auth_type in (ClientAuth.REQUEST, ClientAuth.REQUIRE_ANY):
            raise ValueError(
                f"client_auth_type {self.client_auth_type} takes certificates that nobody verified, which is not "
                f"offered here; expected {ClientAuth.NONE}, {ClientAuth.VERIFY_IF_GIVEN} or {ClientAuth.REQUIRE}"
            )
        verifies = self.client_auth_type is not ClientAuth.NONE
        if verifies:
            _one(self, "client_ca", f"client_auth_type {self.client_auth_type} needs client_ca or client_ca_file")
        elif self.client_ca or self.client_ca_file or self.client_allowed_sans:
            raise ValueError(f"client CA or SANs are given, but client_auth_type is {ClientAuth.NONE}")
        if unknown := sorted(set(self.cipher_suites) - set(_SUITES)):
            raise ValueError(f"unknown cipher suite {unknown[0]}; expected one of {', '.join(sorted(_SUITES))}")
        return self

    def files(self, folder: Path) -> list[Path]:
        """Files that are read when the context is made."""
        return [folder / file for file in (self.cert_file, self.key_file, self.client_ca_file) if file is not None]

    def context(self, folder: Path) -> ssl.SSLContext:
        """TLS context of the server.

        Raises
        ------
        ValueError
            A file cannot be read, or certificate, key and authorities do not fit.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version, context.maximum_version = self.min_version.openssl, self.max_version.openssl
        if suites := [name for suite in self.cipher_suites if (name := _SUITES[suite])]:
            context.set_ciphers(":".join(suites))
        try:
            for file in self.files(folder):
                file.open("rb").close()  # the ssl module does not say which file it could not read
            self._load(context, folder)
        except ssl.SSLError as error:
            raise ValueError(f"tls_server_config: certificate, key or CA cannot be used: {error.reason}") from None
        except OSError as error:
            raise ValueError(f"tls_server_config: {error.filename}: {error.strerror}") from None
        return context

    def _load(self, context: ssl.SSLContext, folder: Path) -> None:
        key = self.key.get_secret_value() if self.key is not None else ""
        # The ssl module loads a chain from files only; this one is in memory-backed /tmp for a moment, mode 0600.
        with NamedTemporaryFile("w", suffix=".pem") as cert, NamedTemporaryFile("w", suffix=".pem") as private:
            for file, text in ((cert, self.cert), (private, key)):
                file.write(text)
                file.flush()
            context.load_cert_chain(
                cert.name if self.cert_file is None else folder / self.cert_file,
                private.name if self.key_file is None else folder / self.key_file,
                password=lambda: b"",  # a key with a pass phrase is an error, not a question on the terminal
            )
        if self.client_auth_type is not ClientAuth.NONE:
            context.load_verify_locations(
                cafile=None if self.client_ca_file is None else folder / self.client_ca_file,
                cadata=self.client_ca or None,
            )
            required = self.client_auth_type is ClientAuth.REQUIRE
            context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL


class HttpHeaders(Section):
    """Headers that replace those sent by default; empty: the default stays."""

    content_security_policy: Annotated[str, Field(alias="Content-Security-Policy")] = ""
    x_frame_options: Annotated[str, Field(alias="X-Frame-Options")] = ""
    x_content_type_options: Annotated[str, Field(alias="X-Content-Type-Options")] = ""
    x_xss_protection: Annotated[str, Field(alias="X-XSS-Protection")] = ""
    strict_transport_security: Annotated[str, Field(alias="Strict-Transport-Security")] = ""

    def given(self) -> dict[str, str]:
        """Header → value, of those that are set."""
        return {name: value for name, value in self.model_dump(by_alias=True).items() if value}


class HttpServerConfig(Section):
    """How answers are sent."""

    http2: bool = True
    """Taken and not used: answers are HTTP/1.1."""
    headers: HttpHeaders = HttpHeaders()
    """Headers of every answer."""


class RateLimit(Section):
    """At most ``burst`` requests at once, and one more every ``interval``; 0: no limit."""

    interval: Duration = 0.0
    """Time after which one more request is allowed."""
    burst: Annotated[int, Field(ge=0)] = 0
    """Requests that may come at once."""


class WebConfig(Section):
    """The whole file."""

    tls_server_config: TlsServerConfig | None = None
    """Speak TLS."""
    http_server_config: HttpServerConfig = HttpServerConfig()
    """How answers are sent."""
    basic_auth_users: dict[str, Annotated[Secret, Field(min_length=1)]] = Field(default_factory=dict)
    """User → bcrypt hash of the password. Users may do everything."""
    rate_limit: RateLimit = RateLimit()
    """Of all clients together."""

    @field_validator("basic_auth_users")
    @classmethod
    def _check_users(cls, users: dict[str, Secret]) -> dict[str, Secret]:
        for user, hashed in users.items():
            if not user or ":" in user:
                raise ValueError(f"{user!r} is no user name; expected one without ':'")
            if _BCRYPT.fullmatch(hashed.get_secret_value()) is None:
                raise ValueError(f"the value of {user} is no bcrypt hash ($2a$, $2b$ or $2y$)")
        return users

    def files(self, folder: Path) -> Iterator[Path]:
        """Files beside this one that it names."""
        if self.tls_server_config is not None:
            yield from self.tls_server_config.files(folder)


@dataclass(frozen=True, slots=True)
class WebFile:
    """A web configuration and the folder that its relative paths start from."""

    config: WebConfig
    folder: Path = Path()

    def context(self) -> ssl.SSLContext | None:
        """TLS context of the server, None for plain HTTP; raises ValueError when it cannot be made."""
        tls = self.config.tls_server_config
        return None if tls is None else tls.context(self.folder)


def _one(tls: TlsServerConfig, name: str, missing: str) -> None:
    given = [bool(getattr(tls, name)), getattr(tls, f"{name}_file") is not None]
    if not any(given):
        raise ValueError(missing)
    if all(given):
        raise ValueError(f"expected at most one of {name} and {name}_file")
