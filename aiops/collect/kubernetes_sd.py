"""Targets from a Kubernetes cluster, as ``kubernetes_sd`` has them: objects are listed once, then followed.

Who watches keeps what it knows: a watch that ends goes on from the last version, one whose version is too old lists
anew, and a refusal or an outage keeps the last list. What the objects mean is said by the roles.
"""

import asyncio
import json
import os
import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from urllib.parse import urlencode

from aiohttp import ClientSession

from aiops.collect import endpoint_slices, pods
from aiops.collect.settings import KubernetesDiscoverySettings, KubernetesRole
from aiops.collect.targets import Group
from aiops.kit.kubernetes import Expired, Json, Kubernetes, in_cluster
from aiops.kit.retry import Failure, Permanent, backoff_seconds
from aiops.kit.text import clipped

PAGE = 500
"""Objects per answer of a list."""
WATCH_SECONDS = 240.0
"""A watch is begun anew after about this long, as the API server asks of its clients."""
FIRST_LIST_SECONDS = 8.0
_JITTER = random.Random()  # noqa: S311 - spreads clients, guards nothing
Read = Callable[[Json], Iterator[Group]]
"""What may be scraped of one object."""


class KubernetesSource:
    """One ``kubernetes_sd`` entry; implements :class:`aiops.collect.discovery.Source`.

    The first :meth:`poll` waits for the first list and starts a task per namespace that follows it; :meth:`close` ends
    them. What goes wrong keeps the objects of before.

    Parameters
    ----------
    taken
        Names of labels that the job sets itself.
    """

    def __init__(
        self,
        settings: KubernetesDiscoverySettings,
        session: ClientSession,
        *,
        taken: Collection[str] = (),
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.refresh_seconds = 1.0
        self.groups: Sequence[Group] = ()
        self.problems: Sequence[str] = ()
        self._settings = settings
        self._taken = frozenset(taken)
        self._session = session
        self._environ = environ
        self._followers: tuple[_Follower, ...] = ()
        self._tasks: list[asyncio.Task[None]] = []

    async def poll(self) -> None:
        """Take over what the followers know by now."""
        try:
            await self._begin()
        except Permanent as error:
            self.problems = (f"kubernetes_sd: {error}",)
            return
        groups = tuple(self._left(group) for one in self._followers for known in one.known.values() for group in known)
        if groups != self.groups:
            self.groups = groups
        self.problems = tuple(f"kubernetes_sd: {one.problem}" for one in self._followers if one.problem)

    def _left(self, group: Group) -> Group:
        """Without the labels that the job gives to all its targets: what the user wrote wins."""
        return replace(group, labels={name: text for name, text in group.labels.items() if name not in self._taken})

    def close(self) -> None:
        """Stop to follow."""
        for task in self._tasks:
            task.cancel()

    async def _begin(self) -> None:
        if self._tasks:
            return
        api = Kubernetes(in_cluster(self._settings.api, self._environ), self._session)
        group, resource, read = _role(self._settings)
        selectors = {"labelSelector": self._settings.label_selector, "fieldSelector": self._settings.field_selector}
        query = {name: text for name, text in selectors.items() if text}
        paths = [f"/namespaces/{name}" if name else "" for name in self._settings.namespaces or ("",)]
        self._followers = tuple(_Follower(api, f"{group}{path}/{resource}", query, read) for path in paths)
        self._tasks = [asyncio.create_task(one.follow()) for one in self._followers]
        first = [asyncio.create_task(one.listed.wait()) for one in self._followers]
        _, late = await asyncio.wait(first, timeout=FIRST_LIST_SECONDS)
        for task in late:
            task.cancel()


def _role(settings: KubernetesDiscoverySettings) -> tuple[str, str, Read]:
    """Group of the API, resource, and what its objects mean."""
    if settings.role is KubernetesRole.ENDPOINTSLICE:
        return "/apis/discovery.k8s.io/v1", "endpointslices", endpoint_slices.groups_of
    return "/api/v1", "pods", partial(pods.groups_of, annotated=settings.annotated)


class _Follower:
    """Objects of one kind, of one namespace or of all.

    Attributes
    ----------
    known
        UID → its groups, one per port that may be scraped.
    listed
        Set once the first list was tried, with whatever outcome.
    """

    def __init__(self, api: Kubernetes, path: str, query: Mapping[str, str], read: Read) -> None:
        self.known: dict[str, tuple[Group, ...]] = {}
        self.problem = ""
        self.listed = asyncio.Event()
        self._api = api
        self._path = path
        self._query = dict(query)
        self._read = read
        self._version = ""
        self._rest = b""

    async def follow(self) -> None:
        """List, then watch, for ever."""
        attempt = 0
        while True:
            try:
                if not self._version:
                    await self._list()
                self.problem = ""
                self.listed.set()
                await self._watch()
                attempt = 0
            except Expired:
                self._version = ""  # too old to go on from; what is known stays until the new list is there
            except Failure as error:
                self.problem = f"{error}; the last list stays"
                self.listed.set()
                wait = backoff_seconds(attempt, base=1.0, cap=30.0, rng=_JITTER)
                await asyncio.sleep(max(wait, getattr(error, "delay_seconds", None) or 0.0))
                attempt += 1

    async def _list(self) -> None:
        found: dict[str, tuple[Group, ...]] = {}
        more = ""
        while True:
            page = {"limit": str(PAGE)} | ({"continue": more} if more else {})
            answer = await self._api.get(f"{self._path}?{urlencode(self._query | page)}")
            for thing in answer.get("items") or ():
                found[_uid(thing)] = tuple(self._read(thing))
            metadata = answer.get("metadata") or {}
            more = metadata.get("continue", "")
            if not more:
                break
        self.known = found
        self._version = str(metadata.get("resourceVersion", ""))

    async def _watch(self) -> None:
        seconds = WATCH_SECONDS * _JITTER.uniform(0.8, 1.2)
        query = {"watch": "1", "allowWatchBookmarks": "true", "resourceVersion": self._version,
                 "timeoutSeconds": str(int(seconds))}  # fmt: skip
        self._rest = b""
        expired: list[Json] = []
        await self._api.watch(
            f"{self._path}?{urlencode(self._query | query)}",
            lambda piece: self._hear(piece, expired),
            seconds=seconds + 10.0,
        )
        if expired:
            error = expired[0]
            text = clipped(str(error.get("message", "the watch ended with an error")), 200)
            raise Expired(text) if error.get("code") == 410 else Permanent(text)

    def _hear(self, piece: bytes, errors: list[Json]) -> bool:
        """Take in whole lines; True ends the watch."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            try:
                event = json.loads(line)
                kind, thing = event["type"], event["object"]
            except (ValueError, KeyError, TypeError):
                errors.append({"message": "the watch sent a line that is no event"})
                return True
            if kind == "ERROR":
                errors.append(thing)
                return True
            self._take(kind, thing)
        return False

    def _take(self, kind: str, thing: Json) -> None:
        self._version = str(thing.get("metadata", {}).get("resourceVersion", self._version))
        if kind == "DELETED":
            self.known.pop(_uid(thing), None)
        elif kind != "BOOKMARK":
            self.known[_uid(thing)] = tuple(self._read(thing))


def _uid(thing: Json) -> str:
    metadata = thing.get("metadata", {})
    return str(metadata.get("uid") or f"{metadata.get('namespace')}/{metadata.get('name')}")
