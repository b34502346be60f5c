"""Settings of the web server."""

from typing import Annotated

from pydantic import AfterValidator

from aiops.kit.settings import Section


def split_address(address: str) -> tuple[str, int]:
    """``host:port``, ``[::1]:port`` or ``:port`` (all interfaces, as Prometheus reads it) as host and port."""
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdigit() or int(port) > 65_535:
        raise ValueError(f"{address!r} is not a listen address; expected host:port, for example 127.0.0.1:9797")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - only when the user wrote ':port'


def _checked_address(address: str) -> str:
    split_address(address)
    return address


class WebSettings(Section):
    """The daemon's own HTTP server: metrics, health, API, page."""

    listen_address: Annotated[str, AfterValidator(_checked_address)] = "127.0.0.1:9797"
    """Address to listen on. Loopback by default, because nothing here asks for a password yet."""
    external_url: str = ""
    """URL under which people reach this server; goes into links of alerts. Empty: built from the listen address."""
    enable_lifecycle: bool = False
    """Allow ``POST /-/reload``. Off by default, as in Prometheus: it changes state without a password."""

    @property
    def base_url(self) -> str:
        """Base of links, without a trailing slash."""
        host, port = split_address(self.listen_address)
        return self.external_url.rstrip("/") or f"http://{f'[{host}]' if ':' in host else host}:{port}"
