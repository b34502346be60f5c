"""From what discovery found to targets to scrape: labels, relabelling, limits, and what changed since before.

Pure. The invariants: no two targets share their labels (they are the identity in alerts); what is left out is
counted and explained; an unchanged configuration gives equal targets, so that their state may stay.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from yarl import URL

from aiops.collect.relabel import Dropped, is_label_name, relabel
from aiops.collect.settings import JobSettings, LimitSettings, TargetSettings
from aiops.kit.http_settings import HttpClientSettings
from aiops.kit.reach import Reach, is_metadata_address
from aiops.kit.settings import parse_duration
from aiops.signals.types import Labels

MOST_MESSAGES = 20
"""Of each sort; one broken list can hold thousands of broken targets."""


@dataclass(frozen=True, slots=True)
class Group:
    """Addresses with common labels, as discovery gives them.

    ``origin`` says where they come from, for messages; ``reach`` whether the user named them himself.
    """

    addresses: tuple[str, ...]
    labels: Mapping[str, str]
    origin: str
    reach: Reach


@dataclass(frozen=True, slots=True)
class Target:
    """One page to scrape and everything that decides how. Two equal targets can share state.

    Attributes
    ----------
    url
        With query, without credentials.
    labels
        Identity: ``job``, ``instance`` and whatever configuration adds. No other target has the same.
    revision
        What is deployed there, as discovery knows it (the label ``__revision__``); ``""`` = not known.
    """

    job: str
    url: str
    labels: Labels
    interval_seconds: float
    timeout_seconds: float
    client: HttpClientSettings
    limits: LimitSettings
    reach: Reach
    revision: str = ""

    @property
    def source(self) -> str:
        """Stable unique name; see :func:`source_of`."""
        return source_of(self.labels)

    @property
    def offset_seconds(self) -> float:
        """Phase of its scrapes within the interval: spreads targets evenly, the same on every start."""
        digest = hashlib.md5(f"{self.source} {self.url}".encode(), usedforsecurity=False).digest()
        return int.from_bytes(digest[:8], "big") / 2**64 * self.interval_seconds


class Known(Protocol):
    """A target by its name and labels, whoever scrapes it."""

    @property
    def source(self) -> str:
        """Stable unique name."""
        ...

    @property
    def labels(self) -> Labels:
        """Identity."""
        ...


def source_of(target: Labels) -> str:
    """Name of the source that reads a target, ``vllm/10.0.0.1:8000`` or ``vllm/10.0.0.1:8000{pool="a"}``."""
    labels = dict(target)
    name = f"{labels.pop('job', '')}/{labels.pop('instance', '')}"
    return name + ("{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + "}" if labels else "")


@dataclass(frozen=True, slots=True)
class Found:
    """Targets of all jobs.

    Attributes
    ----------
    dropped
        How many relabelling dropped on purpose; ``dropped_because`` explains the first of them.
    problems
        What is wrong, one sentence each: unreadable lists, bad addresses, limits passed.
    idle_jobs
        Jobs without any target, which is rarely meant.
    """

    targets: tuple[Target, ...] = ()
    dropped: int = 0
    dropped_because: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    idle_jobs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Changes:
    """What to do so that the running targets become the wanted ones."""

    added: tuple[Target, ...]
    removed: tuple[Target, ...]
    kept: tuple[Target, ...]


def reconcile(running: Iterable[Target], wanted: Sequence[Target]) -> Changes:
    """Compare. A target that differs in anything is removed and added; an equal one is kept, with its state."""
    now, then = set(running), set(wanted)
    return Changes(
        added=tuple(target for target in wanted if target not in now),
        removed=tuple(sorted(now - then, key=lambda target: target.source)),
        kept=tuple(target for target in wanted if target in now),
    )


class Rollouts:
    """Sees from the revisions of a pool's targets when a rollout begins and when it is complete."""

    def __init__(self) -> None:
        self._known: dict[str, frozenset[str]] = {}

    def step(self, targets: Iterable[Target]) -> Iterator[tuple[str, str]]:
        """Pool and what happened there since the last call. What is seen for the first time is no rollout, and a
        pool that is scaled to nothing and back is one only if it comes back with something new."""
        now: dict[str, set[str]] = {}
        for target in targets:
            labels = dict(target.labels)
            pool = labels.get("pool") or labels.get("job")
            if pool and target.revision:
                now.setdefault(pool, set()).add(target.revision)
        for pool, revisions in now.items():
            before = self._known.get(pool, revisions)
            self._known[pool] = frozenset(revisions)
            if new := revisions - before:
                yield pool, f"rollout of {', '.join(sorted(new))}"
            elif len(revisions) == 1 < len(before):
                yield pool, f"rollout of {next(iter(revisions))} is complete"


def static_groups(job: JobSettings) -> tuple[Group, ...]:
    """Groups of the targets that stand in the configuration."""
    return tuple(_static_group(target) for target in job.targets)


def shard_of(target: Labels, count: int) -> int:
    """Which of ``count`` shards reads the target with these labels; all targets of a pool have the same."""
    labels = dict(target)
    group = f"pool={labels['pool']}" if "pool" in labels else f"job={labels.get('job', '')}"
    return int.from_bytes(hashlib.md5(group.encode(), usedforsecurity=False).digest()[8:], "big") % count


def build(
    jobs: Sequence[JobSettings],
    groups: Mapping[str, Sequence[Group]],
    problems: Iterable[str] = (),
    *,
    shard: tuple[int, int] = (0, 1),
) -> Found:
    """Make targets.

    Parameters
    ----------
    groups
        What discovery found, by job name; static targets are added here.
    problems
        What discovery has to say; put first.
    shard
        (i, N): only the targets of the i-th of N parts.
    """
    mine, shards = shard
    targets: dict[Labels, Target] = {}
    complaints, dropped, idle = list(problems), list[str](), list[str]()
    for job in jobs:
        before = len(targets)
        for outcome in _within_limit(job, (*static_groups(job), *groups.get(job.name, ()))):
            if isinstance(outcome, Dropped):
                dropped.append(outcome.reason)
            elif isinstance(outcome, str):
                complaints.append(outcome)
            elif shards > 1 and (other := shard_of(outcome.labels, shards)) != mine:
                dropped.append(f"{outcome.source}: read by shard {other}/{shards}")
            elif targets.setdefault(outcome.labels, outcome).url != outcome.url:
                complaints.append(f"{outcome.source}: {outcome.url} left out, another target has the same labels")
        if len(targets) == before and shards == 1:
            idle.append(job.name)
    return Found(tuple(targets.values()), len(dropped), _clipped(dropped), _clipped(complaints), tuple(idle))


def _clipped(messages: Sequence[str]) -> tuple[str, ...]:
    more = len(messages) - MOST_MESSAGES
    return (*messages[:MOST_MESSAGES], *([f"… and {more} more"] if more > 0 else []))


def _static_group(target: TargetSettings) -> Group:
    if "://" not in target.url:
        return Group((target.url,), target.labels, "configuration", Reach.ANYWHERE)
    url = URL(target.url)
    labels = {"__scheme__": url.scheme, **{f"__param_{name}": value for name, value in url.query.items()}}
    if url.raw_path != "/" or target.url.endswith("/"):
        labels["__metrics_path__"] = url.raw_path
    return Group((url.raw_authority,), {**labels, **target.labels}, "configuration", Reach.ANYWHERE)


def _within_limit(job: JobSettings, groups: Iterable[Group]) -> Iterator[Target | Dropped | str]:
    """Outcome of each address: a target, dropped on purpose, or a problem; cut at the job's target limit."""
    count = 0
    for group in groups:
        for address in group.addresses:
            outcome = _outcome(job, group, address)
            count += isinstance(outcome, Target)
            if count > job.target_limit:
                yield f"job {job.name}: more than {job.target_limit} targets (target_limit); the rest is left out"
                return
            yield outcome


def _outcome(job: JobSettings, group: Group, address: str) -> Target | Dropped | str:
    where = f"job {job.name}, {group.origin}, target {address[:100]!r}"
    try:
        labels = relabel(_labels_before(job, group, address), job.relabel)
        if isinstance(labels, Dropped):
            return Dropped(f"{where}: {labels.reason}")
        return _target(job, group.reach, labels)
    except ValueError as error:
        return f"{where}: {error}"


def _labels_before(job: JobSettings, group: Group, address: str) -> dict[str, str]:
    defaults = {
        "job": job.name,
        "__scheme__": job.scheme,
        "__metrics_path__": job.path,
        "__scrape_interval__": f"{job.interval:g}",
        "__scrape_timeout__": f"{job.timeout_seconds:g}",
        **{f"__param_{name}": value for name, value in job.params.items()},
        **job.labels,
    }
    given = {name: value for name, value in group.labels.items() if value}
    return {**defaults, **given, "__address__": address}


def _target(job: JobSettings, reach: Reach, labels: dict[str, str]) -> Target:
    url = _url(labels)
    if reach is Reach.NO_METADATA and job.allow_link_local:
        reach = Reach.ANYWHERE
    if reach is Reach.NO_METADATA and is_metadata_address(url.host or ""):
        raise ValueError("link-local and metadata addresses may not be discovered (allow_link_local)")
    interval, timeout = (_seconds(labels, name) for name in ("__scrape_interval__", "__scrape_timeout__"))
    if timeout > interval:
        raise ValueError(f"timeout ({timeout:g} s) must not exceed interval ({interval:g} s)")
    public = {"instance": labels["__address__"], **labels}
    kept = tuple(sorted((name, value) for name, value in public.items() if not name.startswith("__")))
    _check_labels(kept, job.limits)
    return Target(job.name, str(url), kept, interval, timeout, job.client, job.limits, reach,
                  labels.get("__revision__", ""))  # fmt: skip


def _url(labels: Mapping[str, str]) -> URL:
    address, scheme, path = (labels.get(name, "") for name in ("__address__", "__scheme__", "__metrics_path__"))
    if scheme not in ("http", "https"):
        raise ValueError(f"scheme {scheme!r}, expected http or https")
    if not address or not address.isprintable() or set(address) & set("/@?# \\"):
        raise ValueError(f"address {address[:100]!r}, expected host:port")
    if not path.startswith("/"):
        raise ValueError(f"path {path[:100]!r} does not start with '/'")
    url = URL(f"{scheme}://{address}")
    if not url.host or url.port == 0:
        raise ValueError(f"address {address[:100]!r}, expected host:port")
    query = {name.removeprefix("__param_"): value for name, value in labels.items() if name.startswith("__param_")}
    return url.with_path(path, encoded="%" in path).with_query(query)


def _seconds(labels: Mapping[str, str], name: str) -> float:
    value = parse_duration(labels.get(name, ""))
    if not isinstance(value, float | int) or not 0.001 <= value <= 86_400:
        raise ValueError(f"{name} is {labels.get(name)!r}, expected a duration from 1ms to 1d")
    return float(value)


def _check_labels(labels: Labels, limits: LimitSettings) -> None:
    if len(labels) > limits.labels:
        raise ValueError(f"{len(labels)} labels, expected at most {limits.labels}")
    for name, value in labels:
        if not is_label_name(name) or len(name.encode()) > limits.name_bytes:
            raise ValueError(f"{name[:100]!r} is not a label name of at most {limits.name_bytes} bytes")
        if len(value.encode()) > limits.value_bytes:
            raise ValueError(f"label {name} has more than {limits.value_bytes} bytes")
