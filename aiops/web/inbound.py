"""``POST /api/v1/alertmanager``: what an Alertmanager tells its webhook receivers, payload version 4.

202 means that the alerts which the answer counts as ``accepted`` are kept. An Alertmanager repeats after 5xx and never
after 4xx, so 503 is for what may pass and 4xx for what never will. One alert that cannot be understood costs itself
alone. Nothing in a payload is ever fetched.
"""

import asyncio
from datetime import datetime
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from aiops.incidents.external import Told
from aiops.web.access import Role
from aiops.web.api import SOURCE, Route, success
from aiops.web.records_told import InboundRecord
from aiops.web.source import Refused

LARGEST_BODY_BYTES = 4 * 1024 * 1024
MOST_ALERTS = 1000
"""Of one payload; more is a sender without ``max_alerts`` gone wild."""
_SLOWEST_SECONDS = 10.0
_LONGEST_NAME, _LONGEST_VALUE, _MOST_LABELS = 200, 2000, 100

_Name = Annotated[str, StringConstraints(min_length=1, max_length=_LONGEST_NAME)]
_NAMED: dict[str, Any] = {
    "required": ["alertname"],
    "properties": {"alertname": {"type": "string", "minLength": 1, "maxLength": _LONGEST_VALUE}},
}
_Value = Annotated[str, StringConstraints(max_length=_LONGEST_VALUE)]


class _Lenient(BaseModel):
    """Unknown keys come with newer versions and are no error."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Alert(_Lenient):
    """One alert."""

    status: Literal["firing", "resolved"]
    labels: Annotated[
        dict[_Name, _Value],
        Field(min_length=1, max_length=_MOST_LABELS, json_schema_extra=_NAMED),
    ]
    annotations: Annotated[dict[_Name, str], Field(max_length=_MOST_LABELS)] = {}
    startsAt: AwareDatetime  # noqa: N815
    endsAt: AwareDatetime | None = None  # noqa: N815
    generatorURL: _Value = ""  # noqa: N815
    fingerprint: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{1,16}$")]


class _Documented:
    """In documents the alerts are what they should be; each is checked apart, so that a bad one costs itself alone."""

    def __get_pydantic_json_schema__(self, _: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(TypeAdapter(list[Alert]).core_schema)


class Payload(_Lenient):
    """A webhook payload of version 4."""

    version: Literal["4"]
    groupKey: str  # noqa: N815 - Alertmanager's name
    alerts: Annotated[list[Any], _Documented()]


_PAYLOAD = TypeAdapter(Payload)
_ALERT = TypeAdapter(Alert)


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
    """A payload of version 4, as Alertmanager sends it; keys that are not known are skipped. Each alert is joined to
    what we watch by its labels, opens an incident or enriches the one that is open there, and what is known of the
    cause goes on to the receivers of incidents. It is never sent to an Alertmanager again, and alerts of ours that
    come back are left out.

    ```yaml
    receivers:
    - name: aiops
      webhook_configs:
      - url: http://aiops:9797/api/v1/alertmanager
        max_alerts: 1000
        http_config: {authorization: {credentials_file: /etc/alertmanager/aiops.token}}
    ```

    The answer has `accepted` (kept, also over a kill), `news` (of these, what was not known yet), `own` (ours, left
    out), `refused` and `problems` (alerts that cannot be understood; they cost themselves alone). An Alertmanager
    repeats after 503 and 408, and not after 400 (no such payload) and 413. The same message may come any number of
    times. An alert that is not repeated for `incidents.external_ttl` ends.
    """
    told, problems = parsed(await _body(request))
    taken = await request.app[SOURCE].told(told)
    record: InboundRecord = {**taken, "refused": len(problems), "problems": problems[:10]}
    return success(record, status=202)


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


def _told(alert: Alert) -> Told:
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


ROUTES = (
    Route("POST", "/api/v1/alertmanager", _receive,
          "what an Alertmanager tells its webhook receivers: alerts of others", Role.FEEDBACK,
          status=202, body=Payload, answer=InboundRecord,
          refusals={408: "no whole body came within 10 s", 413: "over 4 MiB or 1000 alerts",
                    503: "5000 alerts of others stand"}),
)  # fmt: skip
