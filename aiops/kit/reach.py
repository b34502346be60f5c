"""Which addresses may be connected to when somebody else named them.

A discovered target, unlike one that the user wrote down, could be made to point at the cloud's metadata service,
which hands credentials to whoever asks from inside.
"""

import socket
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from aiohttp.abc import AbstractResolver, ResolveResult

_NEVER_DISCOVERED = tuple(
    ip_network(text)
    for text in (
        "169.254.0.0/16",  # link-local, and the metadata service of most clouds
        "fe80::/10",
        "fd00:ec2::/32",  # AWS metadata over IPv6
        "100.100.100.200/32",  # Alibaba metadata
        "168.63.129.16/32",  # Azure wire server
    )
)


class Reach(Enum):
    """Which addresses a session may connect to."""

    ANYWHERE = "anywhere"
    NO_METADATA = "no_metadata"
    """Not link-local and not a cloud's metadata service."""


def is_metadata_address(host: str) -> bool:
    """Whether ``host`` is a literal address that :attr:`Reach.NO_METADATA` refuses; False for any name."""
    try:
        address: IPv4Address | IPv6Address = ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address.sixtofour or address
    return any(address in network for network in _NEVER_DISCOVERED)


class GuardedResolver(AbstractResolver):
    """Judges addresses, not names, at every look-up: a name may point elsewhere tomorrow."""

    def __init__(self, inner: AbstractResolver) -> None:
        self._inner = inner

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Resolve ``host``; OSError when only refused addresses remain."""
        found = await self._inner.resolve(host, port, family)
        allowed = [result for result in found if not is_metadata_address(result["host"])]
        if found and not allowed:
            raise OSError(None, f"{host} is a link-local or metadata address, which discovery may not reach")
        return allowed

    async def close(self) -> None:
        """Close the resolver behind."""
        await self._inner.close()
