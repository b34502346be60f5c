"""Settings of the web server."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from aiops.kit.http_settings import require_one
from aiops.kit.settings import Secret, Section


def split_address(address: str) -> tuple[str, int]:
    """``host:port``, ``[::1]:port`` or ``:port`` (all interfaces, as Prometheus reads it) as host and port."""
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdigit() or int(port) > 65_535:
        raise ValueError(f"{address!r} is not a listen address; expected host:port, for example 127.0.0.1:9797")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - only when the user wrote ':port'


def _checked_address(address: str) -> str:
    split_address(address)
    return address


class Role(StrEnum):
    """What the bearer of a token may do; each role may also do what those before it may."""

    READ = "read"
    FEEDBACK = "feedback"
    ADMIN = "admin"


class TokenSettings(Section):
    """A bearer token of a person or program."""

    name: Annotated[str, Field(min_length=1)]
    """Who it belongs to; written to the audit log."""
    role: Role = Role.READ
    """``read`` sees everything; ``feedback`` also sends feedback, deploys, maintenance and inbound alerts; ``admin``
    also reloads."""
    token: Annotated[Secret, Field(min_length=16)] | None = None
    """The token itself, 16 characters at least; prefer the file."""
    token_file: Path | None = None
    """File that holds the token; read at every use, so it can be rotated."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        require_one("token", self.token, self.token_file)
        return self


class WebSettings(Section):
    """The daemon's own HTTP server: metrics, health, API, page."""

    listen_address: Annotated[str, AfterValidator(_checked_address)] = "127.0.0.1:9797"
    """Address to listen on. Loopback by default; beyond it only ``/metrics`` and health answer without credentials."""
    config_file: Path | None = None
    """Web configuration as Prometheus, Alertmanager and exporters share it: TLS, client certificates, users, headers,
    rate limit. Read again when it or a file that it names changes, so certificates rotate."""
    tokens: tuple[TokenSettings, ...] = ()
    """Bearer tokens with roles, beside the users of ``config_file``, who may do everything. With either, credentials
    are asked for on every path but health."""
    anonymous_read: bool = False
    """Beyond loopback, without users and tokens: let anybody read the page and the API. Off: they name hosts, models
    and incidents. ``/metrics`` stays open, since scrapers often come without credentials."""
    external_url: str = ""
    """URL under which people reach this server; goes into links of alerts. Empty: built from the listen address."""
    enable_lifecycle: bool = False
    """Allow ``POST /-/reload``. Off by default, as in Prometheus: it changes state without a password."""
    max_listeners: int = Field(default=32, ge=0)
    """Open pages that are told of news at once (``/api/v1/events``); further ones ask every 10 s. Each holds a
    connection and a few kilobytes; 32 is a team with everybody's phone."""

    @property
    def external_host(self) -> str:
        """Host name of ``external_url``, empty without one."""
        return urlsplit(self.external_url).hostname or ""

    @property
    def base_url(self) -> str:
        """Base of links, without a trailing slash."""
        host, port = split_address(self.listen_address)
        return self.external_url.rstrip("/") or f"http://{f'[{host}]' if ':' in host else host}:{port}"
