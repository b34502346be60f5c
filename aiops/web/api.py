"""A route of the API is declared once: how it is reached, who may, what it is asked and what it answers.

A handler is a function of a :class:`Call`, whose type argument says what is asked; its annotation says what it answers,
and its docstring is the text of the reference page. Routing, access, the reference page and the OpenAPI document
follow from that. Answers come in the envelope that Prometheus users know.
"""

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints

from aiohttp import web
from pydantic import ValidationError

from aiops.kit.settings import Section
from aiops.web.access import PRINCIPAL, Role
from aiops.web.asked import Nothing
from aiops.web.source import Refused, Source

SOURCE: web.AppKey[Source] = web.AppKey("source", Source)
_WORTH_PACKING = 8 * 1024
_SHOWN = 200
_PLACE = re.compile(r"\{(\w+)(?::[^{}]*)?\}")
_Asked = TypeVar("_Asked", bound=Section)


@dataclass(frozen=True, slots=True)
class Call(Generic[_Asked]):
    """One request, checked.

    Attributes
    ----------
    who
        Name of who asks, for records.
    """

    source: Source
    asked: _Asked
    who: str


@dataclass(frozen=True)
class Route:
    """One method of one path.

    Attributes
    ----------
    path
        As aiohttp reads it; ``{name:.+}`` may contain slashes.
    handler
        Takes a :class:`Call` and returns a record or raises :class:`Refused`; or takes a request and returns a
        response, and then documents itself with ``content``, ``body`` and ``answer``.
    refusals
        Statuses that it may answer beside those that every route may, and when.
    envelope
        False: a record is answered as it is.
    """

    method: str
    path: str
    handler: Callable[..., Awaitable[Any]]
    summary: str
    role: Role = Role.READ
    refusals: Mapping[int, str] = field(default_factory=dict)
    status: int = 200
    content: tuple[str, ...] = ("application/json",)
    takes: str = "application/json"
    envelope: bool = True
    body: Any = None
    answer: Any = None

    @property
    def place(self) -> str:
        """The path with the names of its parts: ``/api/v1/recommendations/{pool}``."""
        return _PLACE.sub(r"{\1}", self.path)

    @property
    def names(self) -> tuple[str, ...]:
        """Parts of the path that have names."""
        return tuple(_PLACE.findall(self.path))

    @cached_property
    def _hints(self) -> Mapping[str, Any]:
        return get_type_hints(self.handler, include_extras=True)

    @property
    def asked(self) -> type[Section] | None:
        """What a call of the handler holds; None when it takes requests as they come."""
        asked = next(iter(self._hints.values()))
        return get_args(asked)[0] if get_origin(asked) is Call else None

    @property
    def answered(self) -> Any:
        """Type of the record that is answered; None for other content."""
        return self._hints["return"] if self.asked else self.answer

    @property
    def posts(self) -> bool:
        """What is asked comes as a JSON body."""
        return self.method != "GET" and self.asked is not None and bool(set(self.asked.model_fields) - set(self.names))

    def definition(self) -> web.RouteDef:
        """The same for aiohttp."""
        add = web.get if self.method == "GET" else web.post if self.method == "POST" else web.put
        return add(self.path, self._serve if self.asked else self.handler)

    async def _serve(self, request: web.Request) -> web.Response:
        asked = await self._read(request)
        data = await self.handler(Call(request.app[SOURCE], asked, request.get(PRINCIPAL, "")))
        return success(data, self.status) if self.envelope else answer(data, self.status)

    async def _read(self, request: web.Request) -> Section:
        """What is asked, checked; raises :class:`Refused` with what is wrong and what was expected."""
        model = self.asked or Nothing
        given = {**request.query, **request.match_info}
        expected = [about.alias or name for name, about in model.model_fields.items() if name not in self.names]
        for name in request.query:
            if self.posts or name not in expected:
                known = "none" if self.posts else ", ".join(expected) or "none"
                raise Refused(400, f"unknown parameter {name[:_SHOWN]!r}; expected {known}")
            if len(request.query.getall(name)) > 1:
                raise Refused(400, f"the parameter {name} is there more than once")
        try:
            return model.model_validate_json(await request.read()) if self.posts else model.model_validate(given)
        except ValidationError as error:
            raise Refused(400, said(error)) from None


def said(error: ValidationError) -> str:
    """The first thing that is wrong with what was sent: where, what is there, and what was expected."""
    first = error.errors(include_url=False)[0]
    where, message = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing":
        return f"{where} is missing"
    if first["type"] == "extra_forbidden":
        return f"{where[:_SHOWN]!r} is unknown"
    if not where or first["type"] == "json_invalid":
        return message
    shown = repr(first["input"])
    return f"{where[:_SHOWN]} is {shown if len(shown) <= _SHOWN else shown[:_SHOWN] + '…'}: {message}"


def plain(value: object) -> object:
    """Make a value JSON-able: a number that is not finite is unknown, and unknown is null."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def success(data: object, status: int = 200) -> web.Response:
    """Answer with ``{"status": "success", "data": …}``."""
    return answer({"status": "success", "data": data}, status)


def answer(record: object, status: int = 200) -> web.Response:
    """Answer with a record as it is; a long one is packed."""
    body = json.dumps(plain(record), allow_nan=False, ensure_ascii=False)
    response = web.Response(text=body, content_type="application/json", status=status)
    if len(body) > _WORTH_PACKING:
        response.enable_compression()
    return response


def failure(status: int, kind: str, message: str) -> web.Response:
    """Answer with ``{"status": "error", "errorType": …, "error": …}``."""
    body = json.dumps({"status": "error", "errorType": kind, "error": message}, ensure_ascii=False)
    return web.Response(status=status, text=body, content_type="application/json")
