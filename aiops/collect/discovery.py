"""Where targets come from: configuration, files (``file_sd``), URLs (``http_sd``), DNS (``dns_sd``), ``kubernetes_sd``.

The rule of all sources: an error keeps the last good list and is reported; only a good answer changes targets.
Lists are written by others, so they are size-capped, strictly typed, and may not use YAML aliases.
"""

import asyncio
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Protocol

import yaml
from aiohttp import ClientSession
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import from_json

from aiops.collect.dns_sd import DnsSource
from aiops.collect.kubernetes_sd import KubernetesSource
from aiops.collect.settings import FileDiscoverySettings, HttpDiscoverySettings, JobSettings
from aiops.collect.targets import Found, Group, build
from aiops.kit.clock import SYSTEM_CLOCK, Clock
from aiops.kit.files import read_limited
from aiops.kit.http import HttpClient
from aiops.kit.reach import Reach
from aiops.kit.retry import Failure

LIST_BYTES = 8 * 1024 * 1024
MOST_FILES = 1000
HTTP_TIMEOUT_SECONDS = 10.0
_DEEPEST_YAML = 8


class _GroupDocument(BaseModel):
    """One group as it is written; other keys belong to somebody else."""

    model_config = ConfigDict(extra="ignore")
    targets: tuple[str, ...] = ()
    labels: dict[str, Annotated[str, Field(coerce_numbers_to_str=True)]] = Field(default_factory=dict)


_DOCUMENT = TypeAdapter(tuple[_GroupDocument, ...])


class Source(Protocol):
    """One list of targets that may change."""

    refresh_seconds: float
    groups: Sequence[Group]
    problems: Sequence[str]

    async def poll(self) -> None:
        """Look once; set ``groups`` and ``problems``, never raise for what is outside."""
        ...

    def close(self) -> None:
        """Let go of whatever goes on between two looks."""
        ...


class FileSource:
    """Files of one ``file_sd`` entry. A file that is gone takes its targets with it, a broken one keeps them."""

    def __init__(self, settings: FileDiscoverySettings, folder: Path) -> None:
        self.refresh_seconds = settings.refresh_interval
        self.groups: Sequence[Group] = ()
        self.problems: Sequence[str] = ()
        self._patterns = tuple(folder / pattern for pattern in settings.files)
        self._known: dict[Path, tuple[bytes, tuple[Group, ...]]] = {}

    def close(self) -> None:
        """Nothing goes on."""

    async def poll(self) -> None:
        """Compare the content of the files with what was read before."""
        # In a thread: the folder may be on a network file system that hangs.
        self._known, self.problems = await asyncio.to_thread(self._read, dict(self._known))
        self.groups = tuple(group for _, groups in self._known.values() for group in groups)

    def _read(
        self, known: Mapping[Path, tuple[bytes, tuple[Group, ...]]]
    ) -> tuple[dict[Path, tuple[bytes, tuple[Group, ...]]], tuple[str, ...]]:
        fresh: dict[Path, tuple[bytes, tuple[Group, ...]]] = {}
        problems = []
        for pattern in self._patterns:
            paths = sorted(pattern.parent.glob(pattern.name))[:MOST_FILES]
            if not paths:
                problems.append(f"file_sd: {pattern} matches no file")
            for path in paths:
                try:
                    fresh[path] = _read_file(path, known.get(path))
                except (OSError, ValueError) as error:
                    problems.append(f"file_sd: {path} cannot be used: {getattr(error, 'strerror', None) or error}")
                    if path in known:
                        fresh[path] = known[path]
        return fresh, tuple(problems)


class HttpSource:
    """One ``http_sd`` URL. Any answer other than 200 with a JSON list keeps the last list."""

    def __init__(self, settings: HttpDiscoverySettings, session: ClientSession) -> None:
        self.refresh_seconds = settings.refresh_interval
        self.groups: Sequence[Group] = ()
        self.problems: Sequence[str] = ()
        self._url = settings.url
        self._client = HttpClient(settings.client, session)

    def close(self) -> None:
        """Nothing goes on."""

    async def poll(self) -> None:
        """Ask once."""
        try:
            self.groups = await self._ask()
            self.problems = ()
        except (Failure, ValueError) as error:
            self.problems = (f"http_sd: {error}; the last list stays",)

    async def _ask(self) -> tuple[Group, ...]:
        headers = {
            "Accept": "application/json",
            "X-Prometheus-Refresh-Interval-Seconds": f"{self.refresh_seconds:g}",
        }
        timeout = min(HTTP_TIMEOUT_SECONDS, self.refresh_seconds)
        answer = await self._client.ask(
            "GET", self._url, headers=headers, timeout_seconds=timeout, limit_bytes=LIST_BYTES
        )
        answer.require_ok()
        kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if answer.status != 200 or kind != "application/json":
            raise ValueError(f"{answer.url} answered {answer.status} {kind[:60]!r}, expected 200 application/json")
        try:
            return _groups(_from_json(answer.body), answer.url, {"__meta_url": answer.url})
        except ValueError as error:
            raise ValueError(f"{answer.url}: {error}") from None


class Discovery:
    """Keeps the list of targets of all jobs.

    Parameters
    ----------
    session
        For ``http_sd``; the URLs are the user's own, so it may reach anywhere.
    folder
        Where relative ``file_sd`` paths start.
    shard
        (i, N): which part of the targets is ours.
    """

    def __init__(
        self,
        jobs: Sequence[JobSettings],
        *,
        session: ClientSession,
        folder: Path = Path(),
        shard: tuple[int, int] = (0, 1),
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._jobs = tuple(jobs)
        self._shard = shard
        self._clock = clock
        self._sources: list[tuple[str, Source]] = [
            (job.name, source) for job in jobs for source in _sources_of(job, session, folder)
        ]
        self._due = [float("-inf")] * len(self._sources)
        self._found: Found | None = None

    async def look(self) -> Found:
        """Ask the sources whose refresh interval has passed, all at once, and build the targets.

        Cheap when nothing changed: then the same object as before comes back. Ends within 10 s.
        """
        now = self._clock.monotonic()
        due = [place for place, at in enumerate(self._due) if at <= now]
        if due or self._found is None:
            before = self._known()
            await asyncio.gather(*(self._sources[place][1].poll() for place in due))
            for place in due:
                self._due[place] = now + self._sources[place][1].refresh_seconds
            if self._found is None or self._known() != before:
                self._found = self._build()
        return self._found

    def close(self) -> None:
        """Let go of the sources."""
        for _, source in self._sources:
            source.close()

    def dns_counts(self) -> tuple[int, int]:
        """Look-ups of DNS, and those of them without an answer."""
        sources = [source for _, source in self._sources if isinstance(source, DnsSource)]
        return sum(source.lookups for source in sources), sum(source.failures for source in sources)

    def _known(self) -> list[tuple[Sequence[Group], Sequence[str]]]:
        return [(source.groups, source.problems) for _, source in self._sources]

    def _build(self) -> Found:
        groups: dict[str, list[Group]] = {}
        for job, source in self._sources:
            groups.setdefault(job, []).extend(source.groups)
        problems = [f"job {job}: {problem}" for job, source in self._sources for problem in source.problems]
        return build(self._jobs, groups, problems, shard=self._shard)


def _sources_of(job: JobSettings, session: ClientSession, folder: Path) -> Iterable[Source]:
    yield from (FileSource(settings, folder) for settings in job.file_sd)
    yield from (HttpSource(settings, session) for settings in job.http_sd)
    yield from (DnsSource(settings) for settings in job.dns_sd)
    yield from (KubernetesSource(settings, session, taken=job.labels) for settings in job.kubernetes_sd)


def _read_file(path: Path, known: tuple[bytes, tuple[Group, ...]] | None) -> tuple[bytes, tuple[Group, ...]]:
    """Digest and groups of a file; parsed only when the digest is new."""
    content = read_limited(path, LIST_BYTES)
    digest = hashlib.sha256(content).digest()
    if known is not None and known[0] == digest:
        return known
    document = _from_json(content) if path.suffix == ".json" else _from_yaml(content)
    return digest, _groups(document, str(path), {"__meta_filepath": str(path)})


def _from_json(content: bytes) -> object:
    """Read JSON without halves of surrogate pairs, which the standard library takes and nobody can write down later."""
    try:
        return from_json(content)
    except ValueError as error:
        raise ValueError("nested too deeply" if "recursion" in str(error) else f"no JSON: {error}") from None


def _from_yaml(content: bytes) -> object:
    """Read YAML without deep nesting, aliases (a small file becomes huge) and tags (`!!bool x` is no YAMLError)."""
    try:
        depth = 0
        for event in yaml.parse(content, Loader=yaml.CSafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            tagged = getattr(event, "tag", None) is not None
            if isinstance(event, yaml.AliasEvent) or depth > _DEEPEST_YAML or tagged:
                raise ValueError(f"YAML aliases, tags and deep nesting are not allowed {event.start_mark}")
        return yaml.load(content, Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split())[:300]) from None


def _groups(document: object, origin: str, meta: Mapping[str, str]) -> tuple[Group, ...]:
    """Check the shape. Nothing at all is an error (a file that is being written?); no targets are written ``[]``."""
    try:
        parsed = _DOCUMENT.validate_python(document)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        what = first["msg"].replace("valid tuple", "list")
        raise ValueError(f"expected a list of {{targets, labels}}; at {where or 'the top'}: {what}") from None
    return tuple(
        Group(group.targets, {**group.labels, **meta}, origin, Reach.NO_METADATA) for group in parsed if group.targets
    )
