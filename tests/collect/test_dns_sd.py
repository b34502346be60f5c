"""Names of DNS as targets, from a real server on loopback that fails in every way it can."""

from collections.abc import AsyncIterator
from typing import Any

import dns.rcode
import pytest
from pydantic import ValidationError

from aiops.collect.discovery import Discovery
from aiops.collect.dns_sd import DnsSource
from aiops.collect.settings import DnsDiscoverySettings, JobSettings
from aiops.kit.http import open_session
from tests.collect.dns_server import Zone, dns_server

SRV = "_http._tcp.vllm.llm.svc.cluster.local"


@pytest.fixture
async def zone() -> AsyncIterator[Zone]:
    async with dns_server() as one:
        one.records[f"{SRV}.", "SRV"] = ["0 50 8000 a.llm.", "0 50 8001 b.llm."]
        one.records["vllm.llm.", "A"] = ["10.0.0.2", "10.0.0.1"]
        one.records["vllm.llm.", "AAAA"] = ["fd00::1"]
        yield one


def source(zone: Zone, *names: str, search: tuple[str, ...] = (), **settings: Any) -> DnsSource:
    parsed = DnsDiscoverySettings.model_validate({"names": names or (SRV,), **settings})
    return DnsSource(parsed, lambda: zone.resolver(*search))


def addresses(one: DnsSource) -> list[str]:
    return [address for group in one.groups for address in group.addresses]


async def test_srv_records_tell_hosts_and_ports_under_the_names_of_prometheus(zone: Zone) -> None:
    one = source(zone)
    await one.poll()
    assert addresses(one) == ["a.llm:8000", "b.llm:8001"]
    assert one.groups[0].labels == {
        "__meta_dns_name": SRV,
        "__meta_dns_srv_record_target": "a.llm.",
        "__meta_dns_srv_record_port": "8000",
    }
    assert (one.problems, one.lookups, one.failures) == ((), 1, 0)


@pytest.mark.parametrize(
    ("kind", "expected"), [("A", ["10.0.0.1:8000", "10.0.0.2:8000"]), ("aaaa", ["[fd00::1]:8000"])]
)
async def test_addresses_need_a_port(zone: Zone, kind: str, expected: list[str]) -> None:
    one = source(zone, "vllm.llm", type=kind, port=8000)
    await one.poll()
    assert addresses(one) == expected
    assert one.groups[0].labels == {"__meta_dns_name": "vllm.llm"}


async def test_answers_are_followed_and_one_that_stays_changes_nothing(zone: Zone) -> None:
    one = source(zone)
    await one.poll()
    before = one.groups
    zone.records[f"{SRV}.", "SRV"].reverse()
    await one.poll()
    assert one.groups == before, "the order of an answer means nothing"
    zone.records[f"{SRV}.", "SRV"] = ["0 50 8000 c.llm."]
    await one.poll()
    assert addresses(one) == ["c.llm:8000"]


@pytest.mark.parametrize("what", ["no such name", "no such record"])
async def test_a_name_that_has_nothing_has_no_targets(zone: Zone, what: str) -> None:
    one = source(zone)
    await one.poll()
    del zone.records[f"{SRV}.", "SRV"]
    if what == "no such record":
        zone.records[f"{SRV}.", "A"] = ["10.0.0.1"]
    await one.poll()
    assert (addresses(one), one.problems, one.failures) == ([], (), 0)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"rcode": dns.rcode.SERVFAIL}, "SERVFAIL"),
        ({"rcode": dns.rcode.REFUSED}, "REFUSED"),
        ({"silent": True}, "was not answered within 0.3 s"),
    ],
)
async def test_without_an_answer_the_last_targets_stay(zone: Zone, change: dict[str, Any], why: str) -> None:
    one = source(zone)
    await one.poll()
    for name, value in change.items():
        setattr(zone, name, value)
    if zone.silent:
        one.refresh_seconds = 0.3
    await one.poll()
    assert addresses(one) == ["a.llm:8000", "b.llm:8001"]
    (problem,) = one.problems
    assert why in problem
    assert problem.endswith("; the last list stays")
    assert SRV in problem
    await one.poll()
    assert one.problems == (problem,), "a lasting fault is one text, so it is told once"
    assert (one.lookups, one.failures) == (3, 2)
    zone.rcode, zone.silent, one.refresh_seconds = None, False, 30.0
    await one.poll()
    assert one.problems == ()


async def test_one_name_that_fails_costs_the_others_nothing(zone: Zone) -> None:
    one = source(zone, SRV, "bad..name")
    await one.poll()
    assert addresses(one) == ["a.llm:8000", "b.llm:8001"]
    assert "bad..name SRV was not answered" in one.problems[0]
    assert (one.lookups, one.failures) == (2, 1)


async def test_a_long_answer_comes_over_tcp(zone: Zone) -> None:
    zone.truncated = True
    many = [f"10.1.{place // 250}.{place % 250}" for place in range(1000)]
    zone.records["many.llm.", "A"] = many
    one = source(zone, "many.llm", type="A", port=1)
    await one.poll()
    assert len(addresses(one)) == 1000
    assert [how for _, _, how in zone.asked] == ["udp", "tcp"]


async def test_search_domains_are_tried(zone: Zone) -> None:
    one = source(zone, "vllm", type="A", port=1, search=("nowhere.", "llm."))
    await one.poll()
    assert addresses(one) == ["10.0.0.1:1", "10.0.0.2:1"]
    assert [name for name, *_ in zone.asked] == ["vllm.nowhere.", "vllm.llm."]


async def test_names_become_targets_and_metadata_addresses_do_not(zone: Zone, monkeypatch: pytest.MonkeyPatch) -> None:
    zone.records["vllm.llm.", "A"].append("169.254.169.254")
    monkeypatch.setattr("aiops.collect.dns_sd._system_resolver", zone.resolver)
    sd = {"names": ["vllm.llm"], "type": "A", "port": 8000}
    job = JobSettings.model_validate({"name": "llm", "dns_sd": [sd]})
    async with open_session() as session:
        discovery = Discovery([job], session=session)
        found = await discovery.look()
        discovery.close()
    assert [target.url for target in found.targets] == ["http://10.0.0.1:8000/metrics", "http://10.0.0.2:8000/metrics"]
    assert "169.254.169.254" in found.problems[0]
    assert discovery.dns_counts() == (1, 0)


async def test_a_machine_without_resolvers_is_told(zone: Zone, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise dns.resolver.NoResolverConfiguration("cannot open /etc/resolv.conf")

    one = DnsSource(DnsDiscoverySettings(names=(SRV,)), broken)
    await one.poll()
    assert "/etc/resolv.conf" in one.problems[0]
    monkeypatch.setitem(__import__("sys").modules, "dns.resolver", None)
    await one.poll()
    assert "aiops[dns]" in one.problems[0]


def test_settings_that_cannot_work_are_refused() -> None:
    for wrong in ({"names": []}, {"names": ["a"], "type": "A"}, {"names": ["a"], "type": "MX"}, {"names": [""]}):
        with pytest.raises(ValidationError):
            DnsDiscoverySettings.model_validate(wrong)
    assert DnsDiscoverySettings(names=("a",)).type == "SRV"
