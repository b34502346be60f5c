"""Asks a served model a small question, as a user would, and measures the answer.

Engines can be up by all their metrics and still answer nobody, or answer nonsense. A probe is the one look from
outside: time to first token, time between tokens, and whether there was a sane answer at all. It costs the fleet a
few tokens a minute. Every request has a connection of its own: servers that close kept-alive ones without a word
(llama.cpp does) would otherwise look broken, and a question may not be sent twice.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Annotated, Any, Self

import numpy as np
from aiohttp import ClientSession
from pydantic import AfterValidator, Field, model_validator
from yarl import URL

from aiops.collect.probe_stream import NAN, Insane, Measured, Transcript, error_text
from aiops.collect.settings import LabelName, LabelValue
from aiops.kit.clock import SYSTEM_CLOCK, Clock
from aiops.kit.http import Answer, HttpClient, HttpClientSettings, open_session
from aiops.kit.regex import bounded
from aiops.kit.retry import Failure
from aiops.kit.settings import Duration, Section
from aiops.signals.catalog import PROBE_SIGNALS
from aiops.signals.topology import pool_of
from aiops.signals.types import Columns, Entity, EntityKind, Reading, SeriesKey, SourceStatus

KIND = "probe"
ANSWER_BYTES = 1024 * 1024
_EVENTS = "text/event-stream"
_NAMES = tuple(name for name in PROBE_SIGNALS if name.startswith("probe_"))


class Api(StrEnum):
    """Which of the two OpenAI endpoints is asked."""

    CHAT = "chat"
    COMPLETIONS = "completions"

    @property
    def path(self) -> str:
        """Path below the base URL."""
        return "chat/completions" if self is Api.CHAT else "completions"


class Watches(StrEnum):
    """Whose health the answer shows."""

    REPLICA = "replica"
    POOL = "pool"


def _checked_url(text: str) -> str:
    url = URL(text)
    if url.scheme not in ("http", "https") or not url.host or url.query_string or url.fragment:
        raise ValueError("expected http(s)://host:port/v1")
    if url.user is not None:
        raise ValueError("credentials do not belong into the URL, which is shown; use client")
    return text.rstrip("/")


def _checked_regex(text: str) -> str:
    bounded(text)
    return text


def _checked_json(fields: dict[str, Any]) -> dict[str, Any]:
    try:
        json.dumps(fields, allow_nan=False)
    except TypeError as error:
        raise ValueError(f"expected values that JSON knows: {error}") from None
    return fields


class EndpointSettings(Section):
    """One model that is asked. It must be the same question every time, or its duration says nothing."""

    url: Annotated[str, AfterValidator(_checked_url)]
    """Base URL of the OpenAI-compatible API, ``http://host:8000/v1``."""
    model: Annotated[str, Field(min_length=1)]
    """Name of the model, as in the requests of users."""
    kind: Api = Api.CHAT
    """``chat`` or ``completions``; base models know only the latter."""
    prompt: Annotated[str, Field(min_length=1)] = "Name three colours."
    """The question. The same text every time is served from the prefix cache, so the time is that of the service."""
    max_tokens: Annotated[int, Field(ge=1, le=4096)] = 16
    """Longest answer. 16 tokens show the time between tokens and cost nearly nothing."""
    interval: Annotated[Duration, Field(ge=1, le=300)] = 60.0
    """Time between questions. An alert needs two bad answers, so a minute means to know within two."""
    timeout: Annotated[Duration, Field(gt=0)] = 30.0
    """Longest wait for the whole answer; at most the interval. A user has left by then."""
    expect: Annotated[str, AfterValidator(_checked_regex)] = ""
    """Regular expression that all of the answer must match, ``(?i).*paris.*`` for example; empty: any sane text."""
    parameters: Annotated[dict[str, Any], AfterValidator(_checked_json)] = Field(
        default_factory=lambda: {"temperature": 0}
    )
    """Further fields of the request. Default: temperature 0, which makes the answers alike."""
    client: HttpClientSettings = HttpClientSettings()
    """Credentials and TLS."""
    watches: Watches = Watches.REPLICA
    """``replica`` when the URL is that of one replica, ``pool`` when a load balancer stands before them."""
    labels: dict[LabelName, LabelValue] = Field(default_factory=dict)
    """Labels that make the answer belong to a scraped replica: the same ``job``, ``instance``, ``pool`` and
    ``model_name``. Default: job ``llm``, host and port of the URL, and the model; an empty value drops a label
    (the pages of llama.cpp name no model)."""

    @property
    def entity(self) -> Entity:
        """Whom the answer is about."""
        instance = URL(self.url).raw_authority
        labels = {"job": "llm", "instance": instance, "model_name": self.model, **self.labels}
        replica = Entity.of(EntityKind.REPLICA, **labels)
        return pool_of(replica) if self.watches is Watches.POOL else replica

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.timeout > self.interval:
            raise ValueError(f"timeout ({self.timeout:g} s) must not exceed interval ({self.interval:g} s)")
        return self


class ProbeSettings(Section):
    """Synthetic requests: the view of a user."""

    endpoints: tuple[EndpointSettings, ...] = ()
    """Models to ask. None by default: a question costs tokens, and only you know the model's name."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        entities = [endpoint.entity for endpoint in self.endpoints]
        double = sorted({str(entity) for entity in entities if entities.count(entity) > 1})
        if double:
            raise ValueError(f"endpoints need different labels; used twice: {', '.join(double)}")
        return self


class ProbeCollector:
    """Collector of one endpoint. A failure is a measurement too: ``probe_up`` is 0, the rest unknown."""

    def __init__(self, settings: EndpointSettings, clock: Clock = SYSTEM_CLOCK) -> None:
        self.interval_seconds = settings.interval
        self._settings = settings
        self._clock = clock
        self._session: ClientSession | None = None
        self._url = f"{settings.url}/{settings.kind.path}"
        self._source = f"probe/{settings.entity}"
        self._columns = Columns(tuple(SeriesKey(settings.entity, name) for name in _NAMES))
        self._status = SourceStatus(self._source, KIND, settings.entity, settings.interval, facts={"url": self._url})
        self._body = json.dumps(_question(settings)).encode()

    async def read(self) -> Sequence[Reading]:
        """Ask once."""
        self._status = replace(self._status, last_attempt=self._clock.now())
        try:
            measured = await self._ask()
        except Failure as error:
            self._status = replace(self._status, failures=self._status.failures + 1, error=str(error))
            return (self._reading(0.0, Measured(NAN, NAN, NAN, NAN)),)
        self._status = replace(self._status, last_success=self._clock.now(), failures=0, error="")
        return (self._reading(1.0, measured),)

    def status(self) -> SourceStatus:
        """How the endpoint is, as of the last :meth:`read`."""
        return self._status

    async def close(self) -> None:
        """Close the session."""
        if self._session is not None:
            await self._session.close()

    async def _ask(self) -> Measured:
        settings, clock = self._settings, self._clock
        if self._session is None:
            self._session = open_session(keep_alive_seconds=0)
        transcript = Transcript(clock.monotonic())
        answer = await HttpClient(settings.client, self._session).ask(
            "POST",
            self._url,
            headers={"Content-Type": "application/json", "Accept": _EVENTS, "Accept-Encoding": "identity"},
            body=self._body,
            timeout_seconds=settings.timeout,
            limit_bytes=ANSWER_BYTES,
            hear=lambda piece: transcript.hear(piece, clock.monotonic()),
        )
        ended = clock.monotonic()
        if not 200 <= answer.status < 300:
            raise Insane(f"{answer.url} answered {answer.status}{_why(answer)}")
        if not transcript.streamed and _EVENTS not in answer.headers.get("Content-Type", ""):
            transcript.read_whole(answer.body, ended)
        measured = transcript.judged(ended, settings.expect)
        self._status = replace(self._status, facts={"url": self._url, "duration_seconds": measured.e2e_seconds})
        return measured

    def _reading(self, up: float, measured: Measured) -> Reading:
        known = {
            "probe_up": up,
            "probe_ttft": measured.ttft_seconds,
            "probe_itl": measured.itl_seconds,
            "probe_e2e": measured.e2e_seconds,
            "probe_tokens": measured.tokens,
        }
        return Reading(
            self._source, self._clock.now(), self._columns, np.array([known[name] for name in _NAMES], np.float64)
        )


def _question(settings: EndpointSettings) -> dict[str, Any]:
    asked: dict[str, Any] = {
        "model": settings.model,
        "max_tokens": settings.max_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if settings.kind is Api.CHAT:
        asked["messages"] = [{"role": "user", "content": settings.prompt}]
    else:
        asked["prompt"] = settings.prompt
    return asked | settings.parameters


def _why(answer: Answer) -> str:
    """What the body of a refusal says, where it says it as JSON."""
    try:
        body = json.loads(answer.body)
    except (ValueError, RecursionError):
        return ""
    said = error_text(body) if isinstance(body, dict) else ""
    return f": {said}" if said else ""
