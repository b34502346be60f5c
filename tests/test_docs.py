"""The documents name what exists: functions, settings, commands, metrics, routes, records, links."""

import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin
from urllib.parse import unquote

import pytest
from aiohttp import web
from pydantic import BaseModel

from aiops.app import telemetry
from aiops.app.cli import build_parser
from aiops.app.config import Config
from aiops.app.config_shape import keys_of
from aiops.app.daemon import Daemon
from aiops.app.explain import ExplainCounts
from aiops.app.fits import FitCounts
from aiops.app.grammar import leaves, options
from aiops.app.source import DaemonSource
from aiops.collect.hub import HubCounts
from aiops.detect.base import AlertKey, Severity, Verdict, scope_of
from aiops.explain.llm import LlmCounts
from aiops.incidents.alert import Alert, AlertState, Incident
from aiops.incidents.feedback import Tally
from aiops.incidents.slo import WINDOWS, Budget
from aiops.incidents.slo_settings import SloSettings
from aiops.kit.tasks import Beat
from aiops.notify.base import ReceiverStatus
from aiops.notify.remote_write import WriteCounts
from aiops.signals.telemetry import Family
from aiops.signals.tenancy import Pod, Tenancy, Tenant
from aiops.signals.types import Entity, EntityKind, SeriesKey, SourceStatus
from aiops.web.server import build

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "docs" / "reference"
PAGES = sorted(
    path
    for folder in ("", "docs", "benchmarks", "models", "alert_rules", "dashboards", "deploy")
    for path in ((ROOT / folder).rglob("*.md") if folder else ROOT.glob("*.md"))
)
ROOMS = sorted(path.name for path in (ROOT / "aiops").iterdir() if (path / "__init__.py").is_file())
TOLD = [ROOT / "docs" / "architecture.md", ROOT / "CONTRIBUTING.md"]

_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_DOTTED = re.compile(rf"(?:{'|'.join(ROOMS)})(?:\.\w+)+")
_LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
_FAMILY = re.compile(r'"(aiops_[a-z0-9_]+)"')

SERIES = SeriesKey(Entity.of(EntityKind.REPLICA, instance="a:8000"), "running")
VERDICT = Verdict("EngineStuck", Severity.CRITICAL, 1.0, 7.0, "summary", "reason")
ALERT = Alert(AlertKey("EngineStuck", SERIES), AlertState.FIRING, 1.0, 2.0, VERDICT, incident="5aecb8811292")
INCIDENT = Incident("5aecb8811292", "summary", Severity.CRITICAL, 1.0, 2.0, 0.0, (ALERT.key,))
BUDGET = Budget(
    SloSettings().objectives[0], Entity.of(EntityKind.POOL, pool="chat", model_name="m"), 1.0, 0.0, 1.0,
    dict.fromkeys(WINDOWS, 0.0), (), (), 2.5,
)  # fmt: skip
SOURCE = SourceStatus(
    "llm/a:8000",
    "scrape",
    Entity.of(EntityKind.TARGET, instance="a:8000", job="llm"),
    5.0,
    last_attempt=1.0,
    last_success=1.0,
    facts={"duration_seconds": 0.1, "size_bytes": 9.0, "samples": 9.0, "bad_lines": 0.0},
)


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


# Names ---------------------------------------------------------------------------------------------------------


def found(name: str) -> bool:
    """Whether ``room.module.Class.function`` exists below ``aiops``; dataclass fields count."""
    parts = name.split(".")
    thing: Any = import_module("aiops")
    for index, part in enumerate(parts):
        if isinstance(thing, ModuleType):
            try:
                thing = import_module(f"{thing.__name__}.{part}")
                continue
            except ModuleNotFoundError:
                pass
        if not hasattr(thing, part):
            return index == len(parts) - 1 and part in getattr(thing, "__annotations__", {})
        thing = getattr(thing, part)
    return True


@pytest.mark.parametrize("page", TOLD, ids=shown)
def test_every_name_of_the_code_exists(page: Path) -> None:
    names = {name for name in _CODE.findall(_FENCE.sub("", page.read_text())) if _DOTTED.fullmatch(name)}
    assert len(names) > 5, "the page names no code; is the pattern still right?"
    assert sorted(name for name in names if not found(name)) == []


def test_a_name_that_does_not_exist_is_noticed() -> None:
    assert found("store.ring.Ring.append")
    assert found("notify.base.Notifier.name")
    assert not [name for name in ("store.ring.Ring.appendix", "store.rung", "kit.clock.Clock.now.x") if found(name)]


def test_the_architecture_lists_the_rooms_that_there_are() -> None:
    told = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE)
    assert sorted(told) == ROOMS


def test_every_decision_has_context_choice_and_price() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        headings = _HEADING.findall(page.read_text())
        assert headings[0].startswith(f"{page.name[:4]} "), shown(page)
        assert headings[1:] == ["Context", "Choice", "Price"], shown(page)


# Links ---------------------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """Anchors as GitHub makes them of headings."""
    headings = _HEADING.findall(_FENCE.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in _LINK.findall(_CODE.sub("", _FENCE.sub("", page.read_text()))):
        if re.match(r"[a-z]+:", link):
            continue
        place, _, anchor = unquote(link).partition("#")
        target = (page.parent / place).resolve() if place else page
        inside = target.is_relative_to(ROOT) and target.exists()
        if not inside or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_no_page_names_a_place_of_one_machine(page: Path) -> None:
    assert not re.search(r"/(?:work|home|Users|root)/", page.read_text())


# Settings and commands -----------------------------------------------------------------------------------------


def sections(path: str) -> Mapping[str, str]:
    """Text below each ``## `` heading of a page."""
    parts = re.split(r"^## (.+)$", (REFERENCE / path).read_text(), flags=re.MULTILINE)
    return {heading.strip("`"): text for heading, text in zip(parts[1::2], parts[2::2], strict=True)}


def settings(model: type[BaseModel], told: Mapping[str, str], path: str = "") -> Iterator[tuple[str, str]]:
    """Every (section, key) of the configuration, read from the models and not from the schema.

    A section that the page tells once and then refers to (``As `x`.``) is looked for where it is told.
    """
    same = re.fullmatch(r"\s*As `(.+)`\.\s*", told.get(path, ""))
    path = same[1] if same else path
    for key, field in keys_of(model).items():
        yield path, key
        here = f"{path}.{key}" if path else key
        for inner, suffix in models_in(field.annotation):
            yield from settings(inner, told, here + suffix)


def models_in(annotation: Any, suffix: str = "") -> Iterator[tuple[type[BaseModel], str]]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, suffix
    elif origin is Annotated:
        yield from models_in(arguments[0], suffix)
    elif origin in (Union, UnionType):
        for argument in arguments:
            yield from models_in(argument, suffix)
    elif origin in (tuple, list):
        yield from models_in(arguments[0], f"{suffix}[]")
    elif origin is dict:
        yield from models_in(arguments[1], f"{suffix}.<name>")


def test_every_setting_is_on_the_page() -> None:
    told = sections("configuration.md")
    every = list(settings(Config, told))
    assert len(every) > 100
    assert [f"{path}.{key}" for path, key in every if f"| `{key}` |" not in told.get(path or "Top level", "")] == []


def test_every_command_is_on_the_page() -> None:
    told = sections("cli.md")
    for words, parser in leaves(build_parser()):
        if parser.get_default("does"):
            text = told[" ".join(("aiops", *words))]
            flags = [flag for action in options(parser) for flag in action.option_strings]
            assert [flag for flag in flags if f"`{flag}`" not in text] == []


# Metrics -------------------------------------------------------------------------------------------------------


def metrics_page() -> str:
    return (REFERENCE / "metrics.md").read_text()


def test_every_own_metric_is_on_the_page() -> None:
    names = {
        name
        for module in ("telemetry", "source")
        for name in _FAMILY.findall((ROOT / f"aiops/app/{module}.py").read_text())
    }
    assert len(names) > 20
    told = set(re.findall(r"^\| `(aiops_\w+?)(?:_total)?` \|", metrics_page(), re.MULTILINE))
    assert names - told == set()


EXAMPLES: Mapping[str, tuple[Any, ...]] = {
    "target_families": ([SOURCE],),
    "alert_families": ([ALERT], [INCIDENT]),
    "receiver_families": ([ReceiverStatus("am", "alertmanager", 0, 10, latency_seconds=0.1)],),
    "read_families": ({"llm/a:8000": Beat()},),
    "remote_write_families": ({"store": (WriteCounts(sent_until=1.0), 0)},),
    "dns_families": (2, 1),
    "hub_families": ({"prometheus": HubCounts()},),
    "signal_families": ([(SERIES, 1.0)],),
    "tenancy_families": (Tenancy("n1", {"GPU-1": (Tenant(Pod("llm", "vllm-0"), "vllm"),)}),),
    "fit_families": (FitCounts(),),
    "explain_families": (ExplainCounts(), LlmCounts(), 0),
    "slo_families": ([BUDGET],),
    "inbound_families": (1, 1, 1, 1),
    "feedback_families": ({"zscore": Tally(3, 1)}, {scope_of(ALERT.key): 2.0}),
}
"""Arguments of every ``…_families`` of telemetry, with one example of what each speaks of."""


def families() -> Iterator[Family]:
    assert {name for name in vars(telemetry) if name.endswith("_families")} == set(EXAMPLES)
    yield telemetry.build_info()
    for name, arguments in EXAMPLES.items():
        yield from getattr(telemetry, name)(*arguments)


def test_the_labels_of_own_metrics_are_on_the_page() -> None:
    told = dict(re.findall(r"^\* `(aiops_\w+\*?)`: (.+?)(?=^\*|^$)", metrics_page(), re.MULTILINE | re.DOTALL))
    for family in families():
        labels = {name for sample, _ in family.samples for name in sample}
        texts = [text for name, text in told.items() if re.fullmatch(name.replace("*", ".*"), family.name)]
        assert len(texts) == bool(labels), f"{family.name} has the labels {sorted(labels)}"
        assert [name for name in labels if f"`{name}`" not in texts[0]] == []


# HTTP API ------------------------------------------------------------------------------------------------------


@pytest.fixture
def source() -> DaemonSource:
    return DaemonSource(Daemon(Config()))


def test_every_route_is_on_the_page(source: DaemonSource) -> None:
    app: web.Application = build(source, Config().web)
    routes = {(route.method, route.resource.canonical) for route in app.router.routes() if route.resource is not None}
    told = set()
    for methods, paths in re.findall(r"^\| ([A-Z, ]+) \| (.+?) \|", (REFERENCE / "api.md").read_text(), re.MULTILINE):
        told |= {(method, path) for method in methods.split(", ") for path in _CODE.findall(paths)}
    assert told == {route for route in routes if route[0] != "HEAD"}


def test_every_promise_names_tests_that_exist() -> None:
    text = (ROOT / "docs/reference/promises.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert len(named) > 50
    pages = {file: (ROOT / file).read_text() if (ROOT / file).is_file() else "" for file, _ in named}
    missing = [f"{file}::{test}" for file, test in named if not re.search(rf"def {test}\(", pages[file])]
    assert missing == []
    rows = re.findall(r"^\| ([RFT]\d+) \| .*$", text, re.M)
    assert len(rows) == len(set(rows)) >= 50
    assert all("`tests/" in line for line in text.splitlines() if re.match(r"\| [RFT]\d", line))
