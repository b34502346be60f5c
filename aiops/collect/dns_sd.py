"""Targets from names of DNS, as ``dns_sd`` of Prometheus has them: SRV records, or addresses and a port.

The home of ``dnspython``, which is imported when somebody has ``dns_sd``. A name that does not exist, or has no such
record, has no targets; a look-up that gave no answer keeps the last targets of its name and is counted.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from aiops.collect.settings import DnsDiscoverySettings, DnsRecord
from aiops.collect.targets import Group
from aiops.kit.reach import Reach
from aiops.kit.retry import Failure, Permanent, Temporary

if TYPE_CHECKING:
    from dns.asyncresolver import Resolver

LONGEST_SECONDS = 8.0
"""For all that one look-up tries: every server, every search domain, TCP after a truncated answer."""
_META = "__meta_dns_"


class DnsSource:
    """One ``dns_sd`` entry; implements :class:`aiops.collect.discovery.Source`.

    Parameters
    ----------
    resolver
        Makes the resolver of one look; by default what ``/etc/resolv.conf`` says by then.

    Attributes
    ----------
    lookups, failures
        Look-ups since the start, and those of them without an answer.
    """

    def __init__(self, settings: DnsDiscoverySettings, resolver: "Callable[[], Resolver] | None" = None) -> None:
        self.refresh_seconds = settings.refresh_interval
        self.groups: Sequence[Group] = ()
        self.problems: Sequence[str] = ()
        self.lookups = self.failures = 0
        self._settings = settings
        self._resolver = resolver or _system_resolver
        self._known: dict[str, tuple[Group, ...]] = {}

    def close(self) -> None:
        """Nothing goes on."""

    async def poll(self) -> None:
        """Look all names up, at once."""
        names = self._settings.names
        outcomes = await asyncio.gather(*(self._look_up(name) for name in names))
        problems = []
        for name, outcome in zip(names, outcomes, strict=True):
            self.lookups += 1
            if isinstance(outcome, Failure):
                self.failures += 1
                problems.append(f"dns_sd: {outcome}; the last list stays")
            else:
                self._known[name] = outcome
        self.groups = tuple(group for groups in self._known.values() for group in groups)
        self.problems = tuple(problems)

    async def _look_up(self, name: str) -> tuple[Group, ...] | Failure:
        try:
            from dns.exception import DNSException  # noqa: PLC0415 - 0.2 s and 18 MiB, for whom has dns_sd
            from dns.resolver import NXDOMAIN, LifetimeTimeout, NoAnswer  # noqa: PLC0415
        except ImportError as error:
            return Permanent(f"needs the package dnspython (aiops[dns]): {error}")
        kind = self._settings.type
        seconds = min(LONGEST_SECONDS, self.refresh_seconds)
        try:
            resolver = self._resolver()
            resolver.lifetime = seconds
            answer = await resolver.resolve(name, kind, search=True)
        except (NXDOMAIN, NoAnswer):
            return ()
        except LifetimeTimeout:  # its text has the time it took, which is another every time
            return Temporary(f"{name} {kind} was not answered within {seconds:g} s")
        except (DNSException, OSError) as error:
            return Temporary(f"{name} {kind} was not answered: {' '.join(str(error).split())[:300]}")
        common = {f"{_META}name": name}
        if kind is DnsRecord.SRV:
            return tuple(
                _group(name, record.target.to_text(omit_final_dot=True), record.port, {
                    **common,
                    f"{_META}srv_record_target": record.target.to_text(),
                    f"{_META}srv_record_port": str(record.port),
                })
                for record in sorted(answer, key=lambda record: (record.target.to_text(), record.port))
            )  # fmt: skip
        return tuple(_group(name, host, self._settings.port, common) for host in sorted(one.address for one in answer))


def _group(name: str, host: str, port: int, labels: dict[str, str]) -> Group:
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return Group((address,), labels, f"DNS {name}", Reach.NO_METADATA)


def _system_resolver() -> "Resolver":
    from dns.asyncresolver import Resolver  # noqa: PLC0415

    return Resolver()
