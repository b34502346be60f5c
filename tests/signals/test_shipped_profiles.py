"""The shipped profiles on one page per program and era: what is recognised, and the number behind every signal.

The pages in ``data`` are synthetic, written from documentation. The first of the two pages that are read is made from
it: every number is halved but the start times, so each counter gains half of what the file says in 10 seconds. The
table beside each page states what must come out, with the sum that gives it.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from aiops.collect.exposition import PageParser
from aiops.signals.normalise import Normaliser
from aiops.signals.page import Page
from aiops.signals.page_index import PageIndex, acceptor
from aiops.signals.profile import Detect, How, Profile, Source
from aiops.signals.resolve import resolve
from aiops.signals.types import Entity, Labels, Mark, MarkKind, Reading

Value = Callable[..., float]
DATA = Path(__file__).with_name("data")
NAMES = sorted(path.stem for path in DATA.glob("*.prom"))
TARGET: Labels = (("instance", "host-1:8000"), ("job", "llm"))
INTERVAL_SECONDS = 10.0
# Programs whose profiles are tested on recordings of the real thing.
RECORDED = {"vllm", "llamacpp", "triton", "ray-serve", "vllm-router", "sglang-router"}


def table(name: str) -> dict[str, Any]:
    """What the page must give."""
    answer: dict[str, Any] = yaml.safe_load((DATA / f"{name}.yaml").read_text())
    return answer


def programs(name: str) -> list[str]:
    """Names of all profiles that must match the page."""
    expected = table(name)
    return list(expected.get("programs", [expected["engine"]]))


def body(name: str) -> bytes:
    return (DATA / f"{name}.prom").read_bytes()


def earlier(page: Page, share: float = 0.5) -> Page:
    """Make the page as it was before: a share of every number, the same process."""
    kept = ("process_start_time_seconds", "node_boot_time_seconds")
    values = [
        value if sample.name in kept else value * share
        for sample, value in zip(page.layout.samples, page.values.tolist(), strict=True)
    ]
    return Page(page.layout, np.array(values))


def read_twice(profiles: tuple[Profile, ...], name: str) -> tuple[Normaliser, Reading]:
    page = PageParser().parse(body(name))
    assert page.bad_lines == 0, page.first_error
    normaliser = Normaliser(profiles, TARGET, name)
    normaliser.normalise(earlier(page), 100.0)
    return normaliser, normaliser.normalise(page, 100.0 + INTERVAL_SECONDS)


def of_entity(reading: Reading, labels: dict[str, str]) -> dict[str, float]:
    """Values of the only entity with these labels (``""`` = without the label), by ``signal:stat``."""

    def fits(entity: Entity) -> bool:
        return all(entity.label(label) == text for label, text in labels.items())

    found = {key.entity for key in reading.columns.keys if fits(key.entity)}
    assert len(found) == 1, f"{labels} fits {[str(entity) for entity in found]}"
    return {
        f"{key.signal}:{key.stat}" if key.stat else key.signal: value
        for key, value in zip(reading.columns.keys, reading.values.tolist(), strict=True)
        if fits(key.entity)
    }


@pytest.mark.parametrize("name", NAMES)
def test_page_says_that_it_is_synthetic_and_has_a_table(name: str) -> None:
    assert body(name).startswith(b"# Synthetic page")
    assert {"engine", "entities"} <= table(name).keys()


@pytest.mark.parametrize("name", NAMES)
def test_program_and_version_are_recognised(profiles: tuple[Profile, ...], name: str) -> None:
    normaliser, _ = read_twice(profiles, name)
    resolution = normaliser.resolution
    assert resolution is not None
    assert resolution.engine == table(name)["engine"]
    assert resolution.version == table(name).get("version", "")


@pytest.mark.parametrize("name", NAMES)
def test_every_signal_has_the_stated_value(profiles: tuple[Profile, ...], name: str) -> None:
    _, reading = read_twice(profiles, name)
    for expected in table(name)["entities"]:
        values = of_entity(reading, expected["labels"])
        wanted = expected["values"]
        assert {key: values.get(key) for key in wanted} == pytest.approx(wanted), (name, expected["labels"])
        signals = {key.partition(":")[0] for key in values}
        assert not signals & set(expected.get("missing", ())), (name, expected["labels"])


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_ambiguous_and_no_process_restarted(profiles: tuple[Profile, ...], name: str) -> None:
    normaliser, reading = read_twice(profiles, name)
    resolution = normaliser.resolution
    assert resolution is not None
    assert [b.signal for b in resolution.bindings if b.status.value == "ambiguous"] == []
    assert [mark for mark in reading.marks if mark.kind is not MarkKind.XID] == []


@pytest.mark.parametrize("name", NAMES)
def test_no_profile_claims_the_page_of_another_program(profiles: tuple[Profile, ...], name: str) -> None:
    index = PageIndex(PageParser().parse(body(name)).layout)
    assert {profile.name for profile in profiles if index.matches(profile)} == set(programs(name))


RECORDINGS = {
    "vllm/steady": {"vllm"},
    "triton/steady": {"triton"},
    "llamacpp/steady": {"llamacpp"},
    "ray/idle": {"ray-serve"},
    "node_exporter/idle": {"node-exporter"},
    "prometheus/steady": set(),
    "etcd/steady": set(),
    "alertmanager/steady": set(),
    "pushgateway/steady": set(),
    "victoria-metrics/steady": set(),
}


@pytest.mark.parametrize(("recording", "expected"), RECORDINGS.items(), ids=RECORDINGS)
def test_recordings_are_claimed_by_their_own_program_only(
    profiles: tuple[Profile, ...], captures: Path, recording: str, expected: set[str]
) -> None:
    index = PageIndex(PageParser().parse((captures / f"{recording}.prom").read_bytes()).layout)
    assert {profile.name for profile in profiles if index.matches(profile)} == expected


def test_every_profile_has_a_page(profiles: tuple[Profile, ...]) -> None:
    assert {profile.name for profile in profiles} - RECORDED == {p for name in NAMES for p in programs(name)} - RECORDED


def test_every_role_resolves_on_some_page(profiles: tuple[Profile, ...]) -> None:
    """A role that no page shows is a guess that nobody checked."""
    seen = set()
    for name in NAMES:
        normaliser, _ = read_twice(profiles, name)
        assert normaliser.resolution is not None
        seen |= {(binding.profile, binding.signal) for binding in normaliser.resolution.bindings}
    written = {(p.name, signal) for p in profiles if p.name not in RECORDED for signal in p.roles}
    unseen = {(profile, signal) for profile, signal in written - seen if signal != "start_time"}
    assert unseen == {("dcgm-exporter", "gpu_row_remap_pending"), ("nim", "finished_abort"), ("nim", "gpu_mem_total"),
                      ("nim", "gpu_power_limit"), ("sglang", "tpot")}  # fmt: skip


def suited(label: str, rules: tuple[str, ...], pool: list[str]) -> str:
    """Return a value of the label that the rules accept."""
    return f'{label}="{next(text for text in (*rules, *pool) if acceptor(rules)(text))}"'


def lines(source: Source, signal: str, pool: list[str]) -> str:
    """Write the smallest page that has all that the source needs."""
    distribution = source.arithmetic(signal) in (How.HISTOGRAM, How.SUMMARY)
    counts = (source.count,) if source.count else ()
    written: dict[str, None] = {}
    for term in (source, *source.over, *source.minus, *source.times, *counts):
        labels = [suited(label, rules, pool) for label, rules in term.where.items()]
        labels += [f'{label}="16"' for label in source.labels]
        suffixes = ("_sum", "_count") if distribution else ("",)
        written |= dict.fromkeys(f"{term.metric}{suffix}{{{','.join(labels)}}} 1" for suffix in suffixes)
    return "\n".join(written) + "\n"


def test_every_source_is_reached_where_only_it_is_on_the_page(profiles: tuple[Profile, ...]) -> None:
    """No source is shadowed by one before it, or can never match."""
    parser = PageParser()
    labels = (pair for name in NAMES for s in parser.parse(body(name)).layout.samples for pair in s.labels)
    pool = [*dict.fromkeys(text for _, text in labels), "", "x"]
    for profile in profiles:
        everywhere = profile.model_copy(update={"detect": Detect(prefixes=("",))})
        for signal, sources in profile.roles.items():
            for source in sources:
                layout = parser.parse(lines(source, signal, pool).encode()).layout
                reached = [b.source for b in resolve(layout, [everywhere]).bindings if b.signal == signal]
                assert reached == [source], (profile.name, signal, source.metric)


def test_real_node_exporter(profiles: tuple[Profile, ...], captures: Path) -> None:
    """Against the recording: names, units and devices are those of the real program."""
    page = PageParser().parse((captures / "node_exporter" / "idle.prom").read_bytes())
    raw = {(s.name, s.labels): v for s, v in zip(page.layout.samples, page.values.tolist(), strict=True)}
    spent = {labels: v for (name, labels), v in raw.items() if name == "node_cpu_seconds_total"}
    cores = len({dict(labels)["cpu"] for labels in spent})
    gained = INTERVAL_SECONDS * cores / sum(spent.values())  # the share of everything that came in the interval
    normaliser = Normaliser(profiles, TARGET, "node")
    normaliser.normalise(earlier(page, 1.0 - gained), 0.0)
    values = of_entity(normaliser.normalise(page, INTERVAL_SECONDS), {"node": "vm"})
    signals = "cpu_busy cpu_pressure memory_pressure io_pressure memory_available disk_available load1 network_rx"
    assert {*signals.split(), "network_tx", "network_errors", "oom_kills", "start_time"} == set(values)
    assert normaliser.facts()["version"] == "1.5.0"
    idle = sum(v for labels, v in spent.items() if dict(labels)["mode"] in ("idle", "iowait"))
    assert values["cpu_busy"] == pytest.approx(1.0 - idle / sum(spent.values()))
    waited = raw["node_pressure_cpu_waiting_seconds_total", ()]
    assert values["cpu_pressure"] == pytest.approx(waited * gained / INTERVAL_SECONDS)
    received = raw["node_network_receive_bytes_total", (("device", "eth0"),)]
    assert values["network_rx"] == pytest.approx(received * gained / INTERVAL_SECONDS)
    assert values["memory_available"] == raw["node_memory_MemAvailable_bytes", ()]
    disk = (("device", "/dev/vda"), ("fstype", "ext4"), ("mountpoint", "/"))
    assert values["disk_available"] == raw["node_filesystem_avail_bytes", disk]


LITELLM = 'litellm_proxy_total_requests_metric_total{{requested_model="m",status_code="200",user="{0}"}} {1}\n'


def test_a_new_user_of_litellm_does_not_hide_the_others(new_source, value: Value) -> None:
    """With users, keys and addresses as labels new series come all the time."""
    source = new_source()
    source.read(LITELLM.format("a", 10), 0.0)
    reading = source.read(LITELLM.format("a", 14) + LITELLM.format("b", 1), 10.0)
    assert value(reading, "arrivals") == 0.5
    assert {key.entity.label("model_name") for key in reading.columns.keys} == {"m"}


RESTARTS = 'kube_pod_info{pod="x"} 1\nkube_pod_container_status_restarts_total{container="c",namespace="n",pod="a"} 3\n'


def test_a_pod_that_comes_with_old_restarts_is_no_restart(new_source, value: Value) -> None:
    source = new_source()
    source.read(RESTARTS, 0.0)
    reading = source.read(RESTARTS + RESTARTS.splitlines()[1].replace('"a"', '"b"'), 10.0)
    assert math.isnan(value(reading, "restarts"))


def test_xid_marks_name_the_error(profiles: tuple[Profile, ...]) -> None:
    details: dict[str, list[Mark]] = {}
    for name in ("dcgm-exporter-default", "nvidia-gpu-exporter-new"):
        details[name] = list(read_twice(profiles, name)[1].marks)
    assert [[mark.detail for mark in marks] for marks in details.values()] == [["Xid 79"], ["Xid 79"]]


def test_first_xid_of_nvidia_gpu_exporter_is_seen(new_source, value: Value) -> None:
    """Counter and stamp are born with the first error: a rate of the counter would be unknown."""
    source = new_source()
    page = 'nvidia_smi_temperature_gpu{uuid="a"} 60\n'
    source.read(page, 0.0)
    page += 'nvidia_smi_xid_errors_total{uuid="a",xid="48"} 1\n'
    page += 'nvidia_smi_xid_last_timestamp_seconds{uuid="a",xid="48"} 1.7e9\n'
    assert value(source.read(page, 5.0), "gpu_xid") == 1.0
