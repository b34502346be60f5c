"""The OpenAPI 3.1 document, from the routes and the types of their handlers."""

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core.core_schema import FloatSchema

from aiops import __version__
from aiops.web.access import Role
from aiops.web.api import Route

Schema = Mapping[str, Any]
_SUCCESS: Schema = {"const": "success"}
_ERROR: Schema = {
    "description": "What is answered with every status from 400 on below `/api/`.",
    "type": "object",
    "properties": {
        "status": {"const": "error"},
        "errorType": {
            "enum": [
                "bad_data",
                "not_found",
                "unauthorized",
                "forbidden",
                "too_many_requests",
                "unavailable",
                "internal",
            ]
        },
        "error": {"type": "string", "description": "What was wrong, and what was expected."},
    },
    "required": ["status", "errorType", "error"],
}
_REFUSAL: Schema = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
_ABOUT = (
    "What a daemon knows of a fleet of LLM servers: signals, alerts, incidents with their causes, and replica advice. "
    'Answers are `{"status": "success", "data": …}` or `{"status": "error", …}`. A number that is not known is null, '
    "and so is a time that has not come. Fields may be added; readers should skip those that they do not know."
)
COMMON = {
    400: "a parameter or the body is not what is expected; `error` says what is",
    401: "credentials are missing or wrong",
    403: "the role is too small, or the request comes from a page of another origin",
    413: "the body is longer than 64 KiB",
    421: "the `Host` is none of ours",
    429: "the rate limit is reached",
}
"""What many routes may answer, and when."""


class _Schemas(GenerateJsonSchema):
    """As pydantic writes them; but a number of an answer may be unknown, and unknown is null."""

    def float_schema(self, schema: FloatSchema) -> JsonSchemaValue:
        number = super().float_schema(schema)
        return {**number, "type": ["number", "null"]} if self.mode == "serialization" else number


def document(routes: Sequence[Route]) -> Schema:
    """The document; equal routes give an equal one."""
    schemas, components = _schemas(routes)
    paths: dict[str, dict[str, Schema]] = {}
    for route in routes:
        paths.setdefault(route.place, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "aiops", "version": __version__, "description": _ABOUT, "license": {"name": "Apache-2.0"}},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": {**components, "Error": _ERROR},
            "responses": {str(status): {"description": when, **_REFUSAL} for status, when in COMMON.items()},
            "securitySchemes": {name: {"type": "http", "scheme": name} for name in ("bearer", "basic")},
        },
    }


def refusals(route: Route) -> Mapping[int, str]:
    """Every status from 400 on that a route may answer, and when."""
    common = {429}
    if route.role is not Role.NOBODY:
        common |= {401, 403, 421}
    if route.method != "GET":
        common.add(403)
    if route.asked is not None or route.body is not None:
        common.add(400)
    if route.posts:
        common.add(413)
    return dict(sorted({**{status: COMMON[status] for status in common}, **route.refusals}.items()))


def parameters(route: Route) -> Iterator[Schema]:
    """What a route is asked in its path and its query."""
    if route.asked is None:
        properties: Schema = {name: {"type": "string"} for name in route.names}
        required: Sequence[str] = route.names
    else:
        schema = route.asked.model_json_schema()
        properties, required = schema.get("properties", {}), schema.get("required", ())
    for name, found in properties.items():
        in_path = name in route.names
        if in_path or not route.posts:
            about = {"description": _linkless(found["description"])} if "description" in found else {}
            inner = {key: value for key, value in found.items() if key not in ("title", "description")}
            inner |= {"minLength": 1} if in_path else {}
            packed = inner.get("contentMediaType")
            kind = {"content": {packed: {"schema": inner["contentSchema"]}}} if packed else {"schema": inner}
            yield {"name": name, "in": "path" if in_path else "query", "required": in_path or name in required,
                   **about, **kind}  # fmt: skip


def _schemas(routes: Sequence[Route]) -> tuple[Mapping[tuple[str, JsonSchemaMode], Schema], Schema]:
    inputs: list[tuple[str, JsonSchemaMode, TypeAdapter[Any]]] = []
    for route in routes:
        if (body := route.asked if route.posts else route.body) is not None:
            inputs.append((_identity(route), "validation", TypeAdapter(body)))
        if route.answered is not None:
            inputs.append((_identity(route), "serialization", TypeAdapter(route.answered)))
    found, components = TypeAdapter.json_schemas(
        inputs, ref_template="#/components/schemas/{model}", schema_generator=_Schemas
    )
    return found, _untitled(components.get("$defs", {}))


def _untitled(schema: Any) -> Any:
    """Without the titles that only repeat a name; a field that is called ``title`` stays."""
    if isinstance(schema, Mapping):
        return {key: _untitled(value) for key, value in schema.items() if key != "title" or not isinstance(value, str)}
    return [_untitled(one) for one in schema] if isinstance(schema, list) else schema


def _operation(route: Route, schemas: Mapping[tuple[str, JsonSchemaMode], Schema]) -> Schema:
    name, api = _identity(route), route.place.startswith("/api/")
    operation: dict[str, Any] = {
        "operationId": name,
        "summary": _linkless(route.summary),
        "description": _linkless(inspect.getdoc(route.handler) or ""),
        "tags": [route.place.split("/")[3] if api else "daemon"],
        "security": [],
    }
    if route.role is not Role.NOBODY:
        operation["security"] = [{"bearer": [route.role.name.lower()]}, {"basic": [route.role.name.lower()]}]
    if asked := list(parameters(route)):
        operation["parameters"] = asked
    if (name, "validation") in schemas:
        operation["requestBody"] = {"required": True, **_content(schemas[name, "validation"], route.takes)}
    good: Schema = schemas.get((name, "serialization"), {"type": "string"})
    if route.envelope and route.answered is not None:
        good = {"type": "object", "properties": {"status": _SUCCESS, "data": good}, "required": ["status", "data"]}
    answers = {str(route.status): {"description": "What was asked for.", **_content(good, *route.content)}}
    error = _REFUSAL if api else {"content": {"text/plain": {"schema": {"type": "string"}}}}
    for status, when in refusals(route).items():
        shared = api and COMMON.get(status) == when
        answers[str(status)] = (
            {"$ref": f"#/components/responses/{status}"} if shared else {"description": when, **error}
        )
    return {**operation, "responses": answers}


def _content(schema: Schema, *kinds: str) -> Schema:
    return {"content": {kind: {"schema": schema} for kind in kinds}} if kinds else {}


def _linkless(text: str) -> str:
    """The text without links between our pages: they lead nowhere from here."""
    return re.sub(r"\[([^\]]+)\]\([^)]+\.md\)", r"\1", text)


def _identity(route: Route) -> str:
    return "_".join([route.method.lower(), *re.findall(r"[A-Za-z0-9]+", route.place)])
