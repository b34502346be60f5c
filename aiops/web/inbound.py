"""``POST /api/v1/alertmanager``: what an Alertmanager tells its webhook receivers, payload version 4.

202 means that the alerts which the answer counts as ``accepted`` are kept. An Alertmanager repeats after 5xx and never
after 4xx, so 503 is for what may pass and 4xx for what never will. One alert that cannot be understood costs itself
alone. Nothing in a payload is ever fetched.
"""

import asyncio
from datetime import datetime
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from aiops.incidents.external import Told
from aiops.web import api
from aiops.web.source import Refused

LARGEST_BODY_BYTES = 4 * 1024 * 1024
MOST_ALERTS = 1000
"""Of one payload; more is a sender without ``max_alerts`` gone wild."""
_SLOWEST_SECONDS = 10.0
_LONGEST_NAME, _LONGEST_VALUE, _MOST_LABELS = 200, 2000, 100

_Name = Annotated[str, StringConstraints(min_length=1, max_length=_LONGEST_NAME)]
_Value = Annotated[str, StringConstraints(max_length=_LONGEST_VALUE)]


class _Lenient(BaseModel):
    """Unknown keys come with newer versions and are no error."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class _Payload(_Lenient):
    version: Literal["4"]
    groupKey: str  # noqa: N815 - Alertmanager's name
    alerts: list[Any]


class _Alert(_Lenient):
    status: Literal["firing", "resolved"]
    labels: Annotated[dict[_Name, _Value], Field(min_length=1, max_length=_MOST_LABELS)]
    annotations: Annotated[dict[_Name, str], Field(max_length=_MOST_LABELS)] = {}
    startsAt: AwareDatetime  # noqa: N815
    endsAt: AwareDatetime | None = None  # noqa: N815
    generatorURL: _Value = ""  # noqa: N815
    fingerprint: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{1,16}$")]


_PAYLOAD = TypeAdapter(_Payload)
_ALERT = TypeAdapter(_Alert)


def parsed(body: bytes) -> tuple[list[Told], list[str]]:
    """Alerts of a payload, and what was wrong with those that are none.

    Raises
    ------
    Refused
        400 when it is no payload at all or holds no usable alert though it names some, 413 when it holds too many.
    """
    try:
        payload = _PAYLOAD.validate_json(body)
    except ValidationError as error:
        raise Refused(400, f"no webhook payload of version 4: {_first(error)}") from None
    if len(payload.alerts) > MOST_ALERTS:
        raise Refused(413, f"{len(payload.alerts)} alerts; expected at most {MOST_ALERTS}, set max_alerts")
    told, problems = [], []
    for number, raw in enumerate(payload.alerts):
        try:
            alert = _ALERT.validate_python(raw)
        except ValidationError as error:
            problems.append(f"alerts.{number}.{_first(error)}")
            continue
        if not alert.labels.get("alertname"):
            problems.append(f"alerts.{number}.labels: alertname is missing")
            continue
        told.append(_told(alert))
    if problems and not told:
        raise Refused(400, problems[0])
    return told, problems


async def _receive(request: web.Request) -> web.Response:
    told, problems = parsed(await _body(request))
    answer = request.app[api.SOURCE].told(told)
    response = api.success({**answer, "refused": len(problems), "problems": problems[:10]})
    response.set_status(202)
    return response


async def _body(request: web.Request) -> bytes:
    """The unpacked body, with a cap and a deadline."""
    pieces, size = [], 0
    try:
        async with asyncio.timeout(_SLOWEST_SECONDS):
            async for piece in request.content.iter_chunked(64 * 1024):
                size += len(piece)
                if size > LARGEST_BODY_BYTES:
                    raise Refused(413, f"the body exceeds {LARGEST_BODY_BYTES} bytes; set max_alerts")
                pieces.append(piece)
    except TimeoutError:
        raise Refused(408, f"no whole body within {_SLOWEST_SECONDS:g} s") from None
    return b"".join(pieces)


def _told(alert: _Alert) -> Told:
    firing = alert.status == "firing"
    return Told(
        fingerprint=alert.fingerprint.zfill(16),
        labels=tuple(sorted((name, value) for name, value in alert.labels.items() if value)),
        annotations={name: text[:_LONGEST_VALUE] for name, text in alert.annotations.items()},
        firing=firing,
        started_at=_seconds(alert.startsAt),
        ended_at=0.0 if firing else _seconds(alert.endsAt),
        generator_url=alert.generatorURL,
    )


def _seconds(at: datetime | None) -> float:
    """UTC seconds; 0.0 for the year 1 that stands for "not yet"."""
    return 0.0 if at is None else max(at.timestamp(), 0.0)


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}"[:300]


def routes() -> list[web.RouteDef]:
    """Every route of this module."""
    return [web.post("/api/v1/alertmanager", _receive)]
