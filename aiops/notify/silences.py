"""Silences of the Alertmanagers, read so that people see here why nobody was told. They are made and ended there.

Peers of a cluster agree after a while; a silence that one of them knows counts. One that does not answer keeps what it
said before, and says why.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aiohttp import ClientSession

from aiops.kit.http import HttpClient, public_url
from aiops.kit.regex import ValueTooLong, bounded
from aiops.kit.retry import Permanent, Temporary
from aiops.notify.settings import AlertmanagerSettings
from aiops.signals.types import Labels

_ANSWER_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition of a silence; a label that is missing is an empty one."""

    name: str
    value: str
    regex: bool
    equal: bool

    def fits(self, labels: Mapping[str, str]) -> bool:
        """Whether labels meet it. An expression that cannot be read fits nothing: better told than silent."""
        value = labels.get(self.name, "")
        if not self.regex:
            return (value == self.value) is self.equal
        try:
            return (bounded(self.value).fullmatch(value) is not None) is self.equal
        except (ValueTooLong, ValueError):
            return False


@dataclass(frozen=True, slots=True)
class Silence:
    """An active silence of an Alertmanager. ``ends_at``: UTC seconds."""

    id: str
    comment: str
    created_by: str
    ends_at: float
    matchers: tuple[Matcher, ...]

    def covers(self, labels: Mapping[str, str]) -> bool:
        """Whether it silences an alert with these labels."""
        return bool(self.matchers) and all(matcher.fits(labels) for matcher in self.matchers)


class Silences:
    """What the configured Alertmanagers silence, as of the last :meth:`refresh`.

    Attributes
    ----------
    problems
        Alertmanager → why it did not tell.
    """

    def __init__(self, alertmanagers: Sequence[AlertmanagerSettings], session: ClientSession) -> None:
        self._peers = [(one, HttpClient(one.client, session)) for one in alertmanagers]
        self._known: dict[str, tuple[Silence, ...]] = {}
        self.problems: dict[str, str] = {}

    async def refresh(self) -> None:
        """Ask every peer, one after the other."""
        for settings, client in self._peers:
            name = public_url(settings.url)
            try:
                answer = await client.ask("GET", f"{settings.url}/api/v2/silences", limit_bytes=_ANSWER_BYTES,
                                          timeout_seconds=settings.timeout)  # fmt: skip
                self._known[name] = parsed(answer.require_ok().body)
                self.problems.pop(name, None)
            except (Temporary, Permanent, ValueError) as error:
                self.problems[name] = str(error)

    def of(self, labels: Labels) -> tuple[Silence, ...]:
        """Silences that cover an alert with these labels."""
        pairs = dict(labels)
        known = {one.id: one for silences in self._known.values() for one in silences}
        return tuple(one for one in known.values() if one.covers(pairs))


def parsed(body: bytes) -> tuple[Silence, ...]:
    """Active silences of an answer of ``/api/v2/silences``; raises ValueError when it is none."""
    listed = json.loads(body)
    if not isinstance(listed, list):
        raise ValueError(f"silences are a JSON {type(listed).__name__}; expected a list")  # noqa: TRY004 - as bad JSON
    return tuple(silence for one in listed if isinstance(one, dict) and (silence := _silence(one)) is not None)


def _silence(one: dict[str, Any]) -> Silence | None:
    """One that is active and can be read, else None: a strange one must not hide the others."""
    try:
        if one["status"]["state"] != "active":
            return None
        matchers = tuple(
            Matcher(str(m["name"]), str(m["value"]), bool(m["isRegex"]), bool(m.get("isEqual", True)))
            for m in one["matchers"]
        )
        ends_at = datetime.fromisoformat(str(one["endsAt"])).timestamp()
        return Silence(str(one["id"]), str(one.get("comment", "")), str(one.get("createdBy", "")), ends_at, matchers)
    except (KeyError, TypeError, ValueError):
        return None
