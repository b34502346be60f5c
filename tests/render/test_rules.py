"""The rule pack as it is shipped: complete, documented, spelt right, and clean under promtool."""

import re
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from aiops.app import rule_pack
from aiops.app.generated import FILES
from aiops.app.presets import anomaly_policy, engine_profiles, rulebook
from aiops.render.rules import RuleFile, operator_text
from aiops.render.rules_pack import AlertFile, Severity, parse_alerts, parse_pack
from aiops.signals.profile import Profile
from tests import early
from tests.render.promtool import verdict

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "alert_rules"
RUNBOOKS = RULES / "runbooks"
TESTS = tuple(sorted((RULES / "tests").glob("*.yaml")))
SECTIONS = ("## What it means", "## Confirm", "## Causes and look-alikes", "## What to do", "## When it is wrong")
ALERTS = [rule for file in rule_pack.files() for rule in file.rules if "alert" in rule]
NAMES = sorted({rule["alert"] for rule in ALERTS})


def begin_with_session() -> None:
    """Half a minute of computing."""
    for path in TESTS:
        early.computing(f"alerts of {path.stem}", partial(verdict, path))


def slug(rule: dict[str, Any]) -> str:
    """Slug of the runbook in an address."""
    start, end = rule_pack.pack().runbook_url.split("{slug}")
    url = str(rule["annotations"]["runbook_url"])
    return url.removeprefix(start).removesuffix(end)


# The files -------------------------------------------------------------------------------------------------------


def test_nothing_stale_lies_beside_the_generated_files() -> None:
    there = {str(path.relative_to(ROOT)) for path in RULES.glob("*.rules.yaml")}
    assert there == {name for name in FILES if name.startswith("alert_rules/")}


def test_every_program_that_serves_or_is_a_gpu_has_a_file() -> None:
    named = {file.name.partition("-")[2] for file in rule_pack.files()}
    assert {p.name for p in engine_profiles() if p.family in ("engine", "gateway", "gpu")} <= named


def test_the_operator_gets_the_same_rules() -> None:
    files = rule_pack.files()
    documents = list(yaml.safe_load_all(operator_text(files)))
    assert [document["spec"]["groups"] for document in documents] == [list(file.groups) for file in files]
    names = [document["metadata"]["name"] for document in documents]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", name) and len(name) <= 63 for name in names)
    assert {document["kind"] for document in documents} == {"PrometheusRule"}


def test_names_of_groups_are_unique() -> None:
    names = [group["name"] for file in rule_pack.files() for group in file.groups]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_keeps_the_conventions(rule: dict[str, Any]) -> None:
    assert re.fullmatch(r"(LLM|GPU|Host|AIOps|Watchdog)([A-Z][A-Za-z]*)?", rule["alert"])
    assert rule["labels"]["severity"] in list(Severity)
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    summary, description = rule["annotations"]["summary"], rule["annotations"]["description"]
    assert "{{" not in summary, "a summary is the same for all instances"
    assert not summary.endswith(".")
    assert len(summary) <= 80
    assert description.endswith(".")


# Runbooks --------------------------------------------------------------------------------------------------------


def detector_runbooks() -> Iterator[tuple[str, str]]:
    """Rule of the daemon → slug."""
    yield from ((rule.name, rule.runbook) for rule in rulebook().rules)
    yield from ((watch.rule, watch.runbook) for watch in anomaly_policy().watch)


def test_every_alert_and_every_rule_of_the_daemon_has_a_runbook() -> None:
    wanted = {(rule["alert"], slug(rule)) for rule in ALERTS} | set(detector_runbooks())
    assert not [(name, page) for name, page in sorted(wanted) if not (RUNBOOKS / f"{page}.md").is_file()]


def test_every_runbook_is_led_to_and_names_who_leads_there() -> None:
    leads: dict[str, set[str]] = {}
    for name, page in [*((rule["alert"], slug(rule)) for rule in ALERTS), *detector_runbooks()]:
        leads.setdefault(page, set()).add(name)
    for path in sorted(RUNBOOKS.glob("*.md")):
        assert path.stem in leads, f"{path.name}: no rule leads to it"
        text = path.read_text()
        assert not [name for name in leads[path.stem] if f"`{name}`" not in text], path.name


@pytest.mark.parametrize("path", sorted(RUNBOOKS.glob("*.md")), ids=lambda path: path.stem)
def test_a_runbook_answers_the_five_questions(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert [line for line in lines if line.startswith("## ")] == list(SECTIONS)
    assert lines[0].startswith("# ")
    text = path.read_text()
    for before, after in zip(SECTIONS, (*SECTIONS[1:], None), strict=True):
        body = text.partition(before)[2].partition(after)[0] if after else text.partition(before)[2]
        assert len(body.split()) >= 8, f"{path.name}: {before} says next to nothing"


def test_runbooks_refer_to_what_exists() -> None:
    pages = {path.stem for path in RUNBOOKS.glob("*.md")}
    first_words = "|".join(sorted({page.partition("-")[0] for page in pages}))
    for path in sorted(RUNBOOKS.glob("*.md")):
        text = path.read_text()
        told = set(re.findall(rf"`((?:{first_words})-[a-z-]+)`", text))
        assert told <= pages, f"{path.name} leads to pages that are not there"
        records = set(re.findall(r"\b(?:replica|model|gpu):\w+:\w+", text))
        assert records <= RECORDED, f"{path.name} asks for records that are not there"
        own = set(re.findall(r"\baiops_[a-z_]+", text)) - {"aiops_signal_probe_up"}
        assert own <= set(re.findall(r"aiops_[a-z_]+", (ROOT / "docs/reference/metrics.md").read_text())), path.name


def test_the_page_on_xid_errors_lists_them_all() -> None:
    rows = yaml.safe_load((ROOT / "models/gpus/nvidia.yaml").read_text())["xids"]
    table = {
        int(number)
        for line in (RUNBOOKS / "gpu-xid.md").read_text().splitlines()
        if line.startswith("|") and line.count("|") == 4
        for number in re.findall(r"\d+", line.split("|")[2])
    }
    assert table == set(rows)


# Metric names ----------------------------------------------------------------------------------------------------

_KEYWORDS = {
    "and", "or", "unless", "by", "without", "on", "ignoring", "group_left", "group_right", "offset", "bool",
    "sum", "min", "max", "avg", "count", "group", "quantile", "count_values",
}  # fmt: skip


def metric_names(expr: str) -> set[str]:
    """Names of the vectors in an expression: what stands where a metric may, and is no function and no label."""
    expr = re.sub(r'"(\\.|[^"\\])*"', '""', expr)
    expr = re.sub(r"\{[^}]*\}", "", expr)
    expr = re.sub(r"\[[^\]]*\]", "", expr)
    expr = re.sub(r"\boffset\s+\w+", "", expr)
    expr = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", "", expr)
    found = re.findall(r"(?<![\w:.])([a-zA-Z_:][\w:]*)(?!\s*\()(?![\w:])", expr)
    return {name for name in found if name not in _KEYWORDS}


def test_the_reader_of_names() -> None:
    expr = (
        'sum by (a) (rate(x:y_total{c="d", e=~"f(g)"}[5m] offset 1h)) > on (h) group_left () (1e+06 * z) and vector(1)'
    )
    assert metric_names(expr) == {"x:y_total", "z"}


def exposed_by(profile: Profile) -> set[str]:
    """Every name that a profile knows, in all forms in which Prometheus may show it."""
    bases = set()
    for sources in profile.roles.values():
        for source in sources:
            terms = [source, *source.plus, *source.over, *source.times, *([source.count] if source.count else [])]
            bases |= {spelling for term in terms for spelling in profile.spellings(term.metric)}
    return {base + suffix for base in bases for suffix in ("", "_total", "_sum", "_count", "_bucket")}


RECORDED = {rule["record"] for file in rule_pack.files() for rule in file.rules if "record" in rule}
KNOWN = {name for profile in engine_profiles() for name in exposed_by(profile)}


@pytest.mark.parametrize("file", rule_pack.files(), ids=lambda file: file.name)
def test_every_name_is_a_record_or_known_to_a_profile_or_declared(file: RuleFile) -> None:
    alerts = rule_pack.alert_files().get(file.name.removeprefix("alerts-"))
    declared = set(alerts.metrics) if alerts else {"DCGM_EXP_XID_ERRORS_COUNT"}
    used = {name for rule in file.rules for name in metric_names(rule["expr"])}
    assert used <= RECORDED | KNOWN | declared | {"up", "process_start_time_seconds"}
    if alerts:
        raw = {name for group in alerts.groups.values() for alert in group for name in metric_names(alert.expr)}
        assert declared - {"DCGM_EXP_XID_ERRORS_COUNT"} <= raw, "declared, but in no expression"


def test_every_record_is_used() -> None:
    used = {name for file in rule_pack.files() for rule in file.rules for name in metric_names(rule["expr"])}
    assert used >= RECORDED


def test_own_metrics_are_those_that_the_daemon_exports() -> None:
    exported = set(re.findall(r"`(aiops_[a-z_]+)`", (ROOT / "docs/reference/metrics.md").read_text()))
    assert set(rule_pack.alert_files()["aiops"].metrics) <= exported


# promtool --------------------------------------------------------------------------------------------------------


def test_every_alert_is_tested_to_fire_and_to_stay_silent() -> None:
    fires: set[str] = set()
    silent: set[str] = set()
    for path in TESTS:
        for test in yaml.safe_load(path.read_text())["tests"]:
            for one in test["promql_expr_test"]:
                name = re.search(r'alertname="(\w+)"', one["expr"])
                if name:
                    (fires if one["exp_samples"] else silent).add(name[1])
    assert set(NAMES) <= fires
    assert set(NAMES) - silent == {"AIOpsHeartbeat", "Watchdog"}, "these two are told by their silence"


@pytest.mark.real
def test_promtool_finds_the_rules_valid(real_program: Callable[[str], str]) -> None:
    files = [str(path) for path in sorted(RULES.glob("*.rules.yaml"))]
    done = subprocess.run(
        [real_program("promtool"), "check", "rules", *files], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("SUCCESS") == len(files)
    assert done.stderr == ""


@pytest.mark.real
@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_promtool_finds_the_alerts_right(path: Path, real_program: Callable[[str], str]) -> None:
    real_program("promtool")
    done = early.outcome(f"alerts of {path.stem}")
    assert done.returncode == 0, done.stdout + done.stderr


# Documents -------------------------------------------------------------------------------------------------------

ALERT = """
about: x
groups:
  g:
  - {alert: Good, expr: up == 0, severity: info, summary: s, description: d., runbook: r}
"""


def test_a_document_of_alerts() -> None:
    assert isinstance(parse_alerts(ALERT, "x.yaml"), AlertFile)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("severity: info", "severity: page", "severity: Input should be 'critical', 'warning' or 'info'"),
        ("Good", "bad_name", "alert: String should match pattern"),
        ("runbook: r", "runbook: R", "runbook: String should match pattern"),
        ("expr:", "expression:", "expression: Extra inputs are not permitted"),
        ("about: x", "about: [", "not valid YAML"),
        (ALERT, "- 1", "expected a mapping; got list"),
    ],
)
def test_a_bad_document_names_file_and_place(old: str, new: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(complaint)) as error:
        parse_alerts(ALERT.replace(old, new), "x.yaml")
    assert str(error.value).startswith("x.yaml: ")


def pack_texts() -> dict[str, str]:
    folder = ROOT / "models" / "rules"
    return {name: (folder / name).read_text() for name in ("records.yaml", "objectives.yaml")}


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("objective: 0.95", "objective: 0.9", "14.4 times a budget of 0.1 is more than everything"),
        ("    signal: ttft\n", "", "ttft: expected either"),
        ("threshold_seconds: 2.5", "threshold_seconds: 0", "'threshold_seconds' belongs to 'signal'"),
        ("signals: [running]", "signals: [runing]", "runing: no signal of the catalogue"),
        ("aiops/{slug}", "aiops", "has no {slug}"),
        ("objectives:", "labels: {}\nobjectives:", "labels stand in another file already"),
    ],
)
def test_a_pack_that_cannot_work_is_refused(old: str, new: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(complaint)):
        parse_pack({name: text.replace(old, new, 1) for name, text in pack_texts().items()})


def test_the_address_of_runbooks_is_configurable() -> None:
    pack = parse_pack({name: text.replace("runbooks.example.com", "wiki.corp") for name, text in pack_texts().items()})
    assert pack.runbook_url == "https://wiki.corp/aiops/{slug}"
