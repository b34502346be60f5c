"""Settings of scraping: which targets, how often, with which credentials, and how much they may send.

Other collectors declare their sections beside themselves; only what several modules share stands here.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator
from yarl import URL

from aiops.collect.relabel import RelabelRule
from aiops.kit.http_settings import HttpClientSettings
from aiops.kit.kubernetes import KubernetesSettings
from aiops.kit.settings import Duration, Section, Size

LabelName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$", max_length=128)]
LabelValue = Annotated[str, Field(coerce_numbers_to_str=True, max_length=1024)]
Interval = Annotated[Duration, Field(ge=0.2, le=3600)]
UrlPath = Annotated[str, StringConstraints(pattern=r"^/")]


def _checked_target(text: str) -> str:
    url = URL(text if "://" in text else f"//{text}")
    if not text.isprintable() or " " in text:
        raise ValueError("expected http(s)://host:port/path or host:port, without spaces")
    if url.scheme not in ("", "http", "https") or not url.host or (not url.scheme and url.path.strip("/")):
        raise ValueError("expected http(s)://host:port/path or host:port")
    if url.user is not None:
        raise ValueError("credentials do not belong into a target's URL, which is shown; use client.basic_auth")
    if len(url.query) != len(set(url.query)):
        raise ValueError("a query parameter may appear once")
    return text


class TargetSettings(Section):
    """One metrics page."""

    url: Annotated[str, AfterValidator(_checked_target)]
    """``http://host:8000/metrics``, or ``host:8000`` to use the scheme and path of the job."""
    labels: dict[LabelName, LabelValue] = Field(default_factory=dict)
    """Labels of this target, such as the pool it serves in; they become labels of its alerts."""


def _from_text(value: object) -> object:
    return {"url": value} if isinstance(value, str) else value


StaticTarget = Annotated[TargetSettings, BeforeValidator(_from_text, json_schema_input_type=str | TargetSettings)]


class LimitSettings(Section):
    """Most that one page may hold; beyond that the whole scrape fails, as with Prometheus. Unlike there, on by
    default: a page without bounds is the simplest way to kill a small agent."""

    body: Annotated[Size, Field(ge=1)] = 16 * 1024 * 1024
    """Size of the unpacked page. The largest page seen of a real engine is under 1 MiB."""
    samples: Annotated[int, Field(ge=1)] = 50_000
    """Sample lines. A big engine prints a few thousand."""
    labels: Annotated[int, Field(ge=1)] = 64
    """Labels of one sample, and of a target."""
    name_bytes: Annotated[int, Field(ge=1)] = 256
    """Length of a metric name or label name."""
    value_bytes: Annotated[int, Field(ge=1)] = 1024
    """Length of a label value."""


class FileDiscoverySettings(Section):
    """Targets from files in the ``file_sd`` format of Prometheus (YAML or JSON)."""

    files: Annotated[tuple[Path, ...], Field(min_length=1)]
    """Paths; the last part may hold ``*``. Relative ones start at the folder of the configuration file."""
    refresh_interval: Interval = 30.0
    """How often content is compared. By content and not by time stamp, because a mounted ConfigMap swaps links."""


class HttpDiscoverySettings(Section):
    """Targets from a URL that speaks the ``http_sd`` format of Prometheus."""

    url: str
    """Answers with a JSON list of target groups."""
    refresh_interval: Interval = 60.0
    """How often to ask; 60 s is the default of Prometheus."""
    client: HttpClientSettings = HttpClientSettings()
    """Credentials and TLS towards the URL."""


class DnsRecord(StrEnum):
    """Which records are looked up."""

    SRV = "SRV"
    A = "A"
    AAAA = "AAAA"


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


class DnsDiscoverySettings(Section):
    """Targets from DNS, as ``dns_sd_configs`` of Prometheus. Needs the extra ``dns``. Servers and search domains are
    those of ``/etc/resolv.conf``."""

    names: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=253)], ...], Field(min_length=1)]
    """Names to look up, such as ``_http._tcp.vllm.llm.svc.cluster.local`` of a headless service."""
    type: Annotated[DnsRecord, BeforeValidator(_upper)] = DnsRecord.SRV
    """``SRV`` tells hosts and ports; ``A`` and ``AAAA`` only addresses."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 0
    """Port of the targets; needed with ``A`` and ``AAAA``."""
    refresh_interval: Interval = 30.0
    """How often to look up."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.type is not DnsRecord.SRV and not self.port:
            raise ValueError(f"type {self.type} needs a port: the record has none")
        return self


class KubernetesRole(StrEnum):
    """What of a cluster becomes targets."""

    POD = "pod"
    ENDPOINTSLICE = "endpointslice"


class KubernetesDiscoverySettings(Section):
    """Targets from the objects of a cluster, listed once and then followed."""

    role: KubernetesRole = KubernetesRole.POD
    """``pod``, or ``endpointslice`` for the endpoints of services; each needs the right to list and watch these."""
    namespaces: tuple[str, ...] = ()
    """Where to look. Empty: everywhere, which needs a ClusterRole."""
    label_selector: str = ""
    """Only objects with these labels, such as ``app=vllm``. Endpoint slices have those of their service."""
    field_selector: str = ""
    """Only objects with these fields. An agent per node writes ``spec.nodeName=${NODE_NAME}``."""
    annotated: bool = True
    """Of the role ``pod``: only pods with the annotation ``prometheus.io/scrape: "true"``; ``prometheus.io/port``,
    ``…/path`` and ``…/scheme`` say where. Off: every container port is a target, for relabelling to choose from, as
    every port of an endpoint is."""
    api: KubernetesSettings = KubernetesSettings()
    """The API server. In a pod nothing has to be set."""


class JobSettings(Section):
    """Targets of one sort. Keys are those of a scrape config of Prometheus, shortened."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    """Becomes the label ``job``."""
    targets: tuple[StaticTarget, ...] = ()
    """Targets that are known beforehand."""
    file_sd: tuple[FileDiscoverySettings, ...] = ()
    """Targets from files."""
    http_sd: tuple[HttpDiscoverySettings, ...] = ()
    """Targets from URLs."""
    dns_sd: tuple[DnsDiscoverySettings, ...] = ()
    """Targets from names of DNS."""
    kubernetes_sd: tuple[KubernetesDiscoverySettings, ...] = ()
    """Targets from pods, or from the endpoints of services. They carry ``namespace``, ``pod``, ``node`` and ``pool``
    (namespace and owner, or service)."""
    labels: dict[LabelName, LabelValue] = Field(default_factory=dict)
    """Labels of every target that does not bring its own."""
    scheme: Literal["http", "https"] = "http"
    """Where the target does not say."""
    path: UrlPath = "/metrics"
    """Where the target does not say."""
    params: dict[str, str] = Field(default_factory=dict)
    """Query parameters."""
    interval: Interval = 5.0
    """Time between scrapes. Engines change within seconds; 5 s is also the tick of detection."""
    timeout: Annotated[Duration, Field(gt=0)] | None = None
    """Longest wait for a whole page. Default: four fifths of the interval, at most 10 s, so that a hanging target
    is known as such before its next turn."""
    relabel: tuple[RelabelRule, ...] = ()
    """Rules that rewrite or drop targets, as ``relabel_configs``."""
    client: HttpClientSettings = HttpClientSettings()
    """Credentials and TLS towards the targets."""
    limits: LimitSettings = LimitSettings()
    """How much a target may send."""
    target_limit: Annotated[int, Field(ge=1)] = 1000
    """Most targets of the job; the rest is left out and reported. Memory grows with each."""
    allow_link_local: bool = False
    """Scrape discovered targets at link-local and cloud metadata addresses. Off: whoever can write a discovery
    record could otherwise make us fetch the machine's cloud credentials."""

    @property
    def timeout_seconds(self) -> float:
        """The timeout in effect."""
        return min(10.0, 0.8 * self.interval) if self.timeout is None else self.timeout

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.timeout_seconds > self.interval:
            raise ValueError(f"timeout ({self.timeout_seconds:g} s) must not exceed interval ({self.interval:g} s)")
        return self


def _shard(text: str) -> str:
    parse_shard(text)
    return text


def parse_shard(text: str) -> tuple[int, int]:
    """``i/N`` as (i, N), counted from 0."""
    place, separator, count = text.partition("/")
    if not (separator and place.isdecimal() and count.isdecimal() and int(place) < int(count)):
        raise ValueError(f"{text!r} is no shard; expected i/N with i from 0 to N - 1, for example 0/2")
    return int(place), int(count)


class ScrapeSettings(Section):
    """Metrics pages to read."""

    targets: tuple[StaticTarget, ...] = ()
    """The short way: URLs, scraped with all defaults as one job named ``llm``."""
    jobs: tuple[JobSettings, ...] = ()
    """The long way, with discovery, credentials and relabelling."""
    look_around: bool = True
    """With neither targets nor jobs, try the well-known ports of LLM servers on this machine once at start."""

    shard: Annotated[str, AfterValidator(_shard)] = "0/1"
    """``i/N``: of N daemons with the same jobs, this one reads the i-th part, counted from 0. A pool is never split
    (all targets with the same label ``pool``, else with the same ``job``): replicas are judged against their peers."""

    @property
    def all_jobs(self) -> tuple[JobSettings, ...]:
        """``jobs``, and the one that ``targets`` stand for."""
        return (*self.jobs, JobSettings(name="llm", targets=self.targets)) if self.targets else self.jobs

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [job.name for job in self.all_jobs]
        double = sorted({name for name in names if names.count(name) > 1})
        if double:
            raise ValueError(f"job names must differ; used twice: {', '.join(double)}")
        return self
