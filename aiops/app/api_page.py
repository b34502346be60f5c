"""``docs/reference/api.md``: every route from the table that the server runs on, with examples of a real run."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from aiops.render.reference import GENERATED, fields_table, markdown_table, short_json
from aiops.web.api import Route
from aiops.web.openapi import COMMON, refusals

_INTRODUCTION = """\
The daemon answers on `listen_address` of the section `web`, by default `127.0.0.1:9797`, where no credentials are
asked. Beyond loopback only `/metrics` and health are open without a user of `config_file` or one of `tokens`:

| role | may |
| --- | --- |
| `read` | GET everything |
| `feedback` | also POST feedback, deploys and alerts of others |
| `admin` | also plan maintenance and reload; users of `config_file` are this |

Credentials come as `Authorization: Bearer …`, or `Basic …` of a user, or of a token with its name as the user: a
browser asks for that. Answers are 401 without usable ones, 403 when the role is too
small or the request comes from a page of another origin, 421 for a `Host` that is not ours, 429 at the rate limit.
[SECURITY.md](../../SECURITY.md) has the reasons. The commands send the token in the file that `AIOPS_TOKEN_FILE` names.
[openapi.json](openapi.json) has the same for programs, with the type of every field; the daemon serves its own under
`/api/v1/openapi.json`.

"""
_ENVELOPE = """
## Envelope

As in Prometheus: `{"status": "success", "data": {…}}`, or, with a status from 400 on,

```text
{"status": "error", "errorType": "bad_data", "error": "unknown parameter 'foo'; expected signal, entity"}
```

`errorType` is `bad_data`, `not_found`, `unauthorized`, `forbidden`, `too_many_requests`, `unavailable` or `internal`.
An unknown parameter is an error. Times are RFC 3339 in UTC, null when the thing has not happened. A number that is not
known is null. Fields may be added; readers should skip those that they do not know ([stability.md](../stability.md)).

The examples below are `data` of one run of a simulated fleet with a replica that hangs, cut to one record each.
"""


def page(routes: Sequence[Route], examples: Mapping[str, object]) -> str:
    """The whole page; ``examples`` by heading, such as ``GET /api/v1/fleet``."""
    rows = []
    for summary, same in groupby(routes, key=lambda route: route.summary):
        members = list(same)
        methods = ", ".join(dict.fromkeys(route.method for route in members))
        rows.append((methods, ", ".join(dict.fromkeys(f"`{route.place}`" for route in members)), summary))
    table = markdown_table(("method", "path", "answer"), rows)
    sections = (_section(route, examples) for route in routes if route.place.startswith("/api/"))
    return f"{GENERATED}# HTTP API\n\n{_INTRODUCTION}{table}{_ENVELOPE}" + "".join(filter(None, sections))


def heading(route: Route) -> str:
    """What a route is called on the page."""
    return f"{route.method} {route.place}"


def _section(route: Route, examples: Mapping[str, object]) -> str:
    parts = list(_parts(route, examples))
    return "\n".join([f"\n## `{heading(route)}`\n", *parts]) if parts else ""


def _parts(route: Route, examples: Mapping[str, object]) -> Iterator[str]:
    if text := inspect.getdoc(route.handler):
        yield f"{text}\n"
    if route.asked is not None and route.asked.model_fields:
        asked: Mapping[str, Any] = route.asked.model_json_schema()
        yield fields_table(asked, "field" if route.posts else "parameter")
    for status, when in refusals(route).items():
        if COMMON.get(status) != when:
            yield f"{status}: {when}.\n"
    if (example := examples.get(heading(route))) is not None:
        yield f"```json\n{short_json(example)}\n```\n"
