"""The OpenAPI document says what the daemon answers: its own examples, and everything that schemathesis thinks of."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it ships no types
import pytest
import schemathesis
from aiohttp import ClientSession
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import ignored_auth, negative_data_rejection, positive_data_acceptance

from aiops.app.api_page import heading
from aiops.app.daemon import Daemon
from aiops.web.own import ROUTES, openapi
from aiops.web.settings import Role, TokenSettings, WebSettings
from tests.conftest import FUZZ, effort
from tests.web.api_answers import EXAMPLES, answers
from tests.web.demo_house import config, demo_house, in_thread, running

pytestmark = pytest.mark.timeout(120 * FUZZ)
RECORDED: Mapping[str, Any] = json.loads(EXAMPLES.read_text())
BY_HEADING = {heading(route): route for route in ROUTES}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The demo, some minutes old, on loopback, where nobody is asked for credentials."""

    @asynccontextmanager
    async def demo() -> AsyncIterator[str]:
        async with demo_house(tmp_path_factory.mktemp("demo")) as (_, url):
            yield url

    with in_thread(demo()) as url:
        yield url


@pytest.fixture(scope="module")
def live(house: str) -> Mapping[str, Any]:
    """What the daemon answers to the questions of the examples."""

    async def ask() -> Mapping[str, Any]:
        async with ClientSession(house) as session:
            return await answers(session)

    return asyncio.run(ask())


def closed(schema: Any) -> Any:
    """The same schema, but a field that it does not name is an error."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    found = {key: closed(value) for key, value in schema.items()}
    return {"additionalProperties": False, **found} if "properties" in schema and "type" in schema else found


def wrong(heading: str, data: Any) -> list[str]:
    """What the document says against an answer."""
    document, route = openapi(), BY_HEADING[heading]
    operation = document["paths"][route.place][route.method.lower()]  # type: ignore[index]
    (content,) = operation["responses"][str(route.status)]["content"].values()
    answer = {"status": "success", "data": data} if route.envelope else data
    schema = closed({"components": document["components"], **content["schema"]})
    return [
        f"{error.json_path}: {error.message}" for error in jsonschema.Draft202012Validator(schema).iter_errors(answer)
    ]


def test_the_document_is_an_openapi_document() -> None:
    document = openapi()
    for schema in document["components"]["schemas"].values():  # type: ignore[index]
        jsonschema.Draft202012Validator.check_schema(schema)
    operations = [one for path in document["paths"].values() for one in path.values()]  # type: ignore[attr-defined]
    assert len({one["operationId"] for one in operations}) == len(operations) == len(ROUTES)


def test_every_record_has_an_example() -> None:
    """Of a real run; the two documents are files of their own."""
    told = {name for name, route in BY_HEADING.items() if route.answered is not None}
    assert told - set(RECORDED) == {"GET /api/v1/config", "GET /api/v1/openapi.json"}
    assert set(RECORDED) <= told


@pytest.mark.parametrize("name", RECORDED)
def test_an_example_is_what_the_daemon_answers(live: Mapping[str, Any], name: str) -> None:
    assert wrong(name, live[name]) == []
    assert wrong(name, RECORDED[name]) == []


def test_a_field_that_is_missing_or_unknown_is_noticed(live: Mapping[str, Any]) -> None:
    status = dict(live["GET /api/v1/status"])
    assert wrong("GET /api/v1/status", {**status, "surprise": 1})
    assert wrong("GET /api/v1/status", {**status, "ticks": "7"})
    del status["ticks"]
    assert wrong("GET /api/v1/status", status)


def test_the_daemon_serves_its_document(house: str) -> None:
    async def ask() -> Any:
        async with ClientSession(house) as session, session.get("/api/v1/openapi.json") as answer:
            return await answer.json()

    assert asyncio.run(ask()) == json.loads(json.dumps(openapi()))
    assert json.loads((EXAMPLES.parent / "openapi.json").read_text()) == openapi()


SCHEMA = schemathesis.openapi.from_dict(json.loads(json.dumps(openapi()))).exclude(path="/api/v1/events")  # no end
# A body of megabytes is refused for its length before anybody looks for other faults.
REJECTION = SCHEMA.config.checks.negative_data_rejection
REJECTION.expected_statuses = [*REJECTION.expected_statuses, "413"]
BOUNDED = settings(effort(5), derandomize=FUZZ == 1, suppress_health_check=list(HealthCheck))
MEANT: Mapping[str, list[Any]] = {
    "/api/v1/maintenance": [positive_data_acceptance],  # a window may be over already
    "/api/v1/alertmanager": [negative_data_rejection],  # one bad alert costs itself alone
    "/-/reload": [not_a_server_error],  # 500 for a bad configuration, as in Prometheus
}
"""What an operation does on purpose, against a rule of thumb."""
TOKEN = "admin-token-0123456789"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A daemon without a fleet that asks for credentials."""
    token = TokenSettings(name="ops", role=Role.ADMIN, token=TOKEN)  # type: ignore[arg-type]
    web = WebSettings(listen_address="127.0.0.1:0", tokens=(token,), enable_lifecycle=True)
    with in_thread(
        running(Daemon(config(tmp_path_factory.mktemp("guarded"), {}).model_copy(update={"web": web})))
    ) as url:
        yield url


@SCHEMA.parametrize()
@BOUNDED
def test_whatever_is_asked_is_answered_as_documented(case: schemathesis.Case, house: str) -> None:
    meant = MEANT.get(case.operation.path, [])
    case.call_and_validate(base_url=house, timeout=30, excluded_checks=[ignored_auth, *meant])


@SCHEMA.parametrize()
@BOUNDED
def test_with_credentials_nothing_is_open_that_should_not_be(case: schemathesis.Case, guarded: str) -> None:
    meant, headers = MEANT.get(case.operation.path, []), {"Authorization": f"Bearer {TOKEN}"}
    case.call_and_validate(base_url=guarded, timeout=30, headers=headers, excluded_checks=meant)
