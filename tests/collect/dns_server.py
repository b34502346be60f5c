"""A DNS server on a loopback port, over UDP and TCP, that answers as the test says."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import dns.asyncresolver
import dns.flags
import dns.message
import dns.rcode
import dns.rrset


@dataclass
class Zone:
    """What the server says.

    Attributes
    ----------
    records
        (name with its dot, type) → records as text. A name that is nowhere here does not exist.
    rcode
        Says this instead, to everything.
    silent
        Says nothing.
    truncated
        Answers over UDP are cut: the client has to come again over TCP.
    asked
        (name, type, ``udp`` or ``tcp``) of every question.
    """

    records: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    rcode: dns.rcode.Rcode | None = None
    silent: bool = False
    truncated: bool = False
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    port: int = 0

    def resolver(self, *search: str) -> dns.asyncresolver.Resolver:
        """One that asks this server."""
        one = dns.asyncresolver.Resolver(configure=False)
        one.nameservers, one.port = ["127.0.0.1"], self.port
        one.search = [dns.name.from_text(domain) for domain in search]
        return one

    def answer(self, wire: bytes, how: str) -> bytes | None:
        query = dns.message.from_wire(wire)
        (question,) = query.question
        name, kind = question.name.to_text(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind, how))
        if self.silent:
            return None
        response = dns.message.make_response(query)
        if self.rcode is not None:
            response.set_rcode(self.rcode)
        elif how == "udp" and self.truncated:
            response.flags |= dns.flags.TC
        elif name not in {known for known, _ in self.records}:
            response.set_rcode(dns.rcode.NXDOMAIN)
        elif records := self.records.get((name, kind)):
            response.answer.append(dns.rrset.from_text(name, 30, "IN", kind, *records))
        return response.to_wire()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, zone: Zone) -> None:
        self._zone = zone

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if (answer := self._zone.answer(data, "udp")) is not None:
            self._transport.sendto(answer, addr)


@contextlib.asynccontextmanager
async def dns_server() -> AsyncIterator[Zone]:
    """Serve a zone, empty at first."""
    zone = Zone()

    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            answer = zone.answer(await reader.readexactly(length), "tcp")
            if answer is not None:
                writer.write(struct.pack("!H", len(answer)) + answer)
                await writer.drain()
        writer.close()

    loop = asyncio.get_running_loop()
    server = await asyncio.start_server(stream, "127.0.0.1", 0)
    zone.port = server.sockets[0].getsockname()[1]
    transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(zone), ("127.0.0.1", zone.port))
    try:
        yield zone
    finally:
        transport.close()
        server.close()
        await server.wait_closed()
