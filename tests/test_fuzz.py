"""What strangers and tired people write, at every door that reads it: a named error or all of what was meant.

Each strategy begins with something good and spoils it. ``make fuzz`` looks much longer.
"""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from aiops.app.config import Config
from aiops.app.config_load import ConfigError, Sources, load
from aiops.app.config_print import effective
from aiops.app.web_file import WebFileReader
from aiops.collect.discovery import FileSource
from aiops.collect.settings import FileDiscoverySettings
from aiops.incidents.external import EXTERNAL, Externals, Fleet, Told
from aiops.incidents.settings import IncidentSettings
from aiops.store.batch import TRANSITIONS
from aiops.web.inbound import MOST_ALERTS, parsed
from aiops.web.source import Refused
from tests.conftest import FUZZ, effort

pytestmark = pytest.mark.timeout(60 * FUZZ)

NASTY = st.sampled_from([
    "", " ", "\ud800", "0", "-1",
    "1e999", "nan", "\x00", "\u202e", "😀", "${X}", "$", "a:b", "../../etc/passwd", "http://[", "{{.}}",
    "x" * 5000, "1h" * 50, "9" * 400, "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999+23:59", "::1", "[", "%zz",
])  # fmt: skip
SCALARS = (
    NASTY | st.text(max_size=20) | st.none() | st.booleans() | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
)  # fmt: skip
JUNK = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NASTY, inner, max_size=3), max_leaves=6
)


def outcome(call: Callable[[], Any], named: type[Exception]) -> tuple[Any, Any]:
    """What a door gave, or the error that it may raise; any other is a crash."""
    try:
        return call(), None
    except named as error:
        return None, error


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place of a document."""
    found = [path] if path else []
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in inside:
        found += places(inner, (*path, key))
    return found


@st.composite
def spoilt(draw: Callable[..., Any], good: Any) -> Any:
    """A document with up to three places overwritten, removed, doubled or renamed."""
    document = copy.deepcopy(good)
    for _ in range(draw(st.integers(0, 3))):
        here = places(document)
        if not here:
            break
        *path, key = draw(st.sampled_from(here))
        parent = document
        for step in path:
            parent = parent[step]
        how = draw(st.sampled_from(["junk", "junk", "remove", "again"]))
        if how == "junk":
            parent[key] = draw(JUNK)
        elif how == "remove":
            del parent[key]
        elif isinstance(parent, list):
            parent.append(parent[key])
        else:
            parent[draw(NASTY)] = parent[key]
    return document


# The webhook ---------------------------------------------------------------------------------------------------

ALERTS = st.lists(
    spoilt({
        "status": "firing", "labels": {"alertname": "NodeDown", "instance": "a:9100", "empty": ""},
        "annotations": {"summary": "down"}, "startsAt": "2026-11-22T03:16:47.091Z", "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://p/graph", "fingerprint": "01b6a33fdd0d512f",
    }),
    max_size=4,
)  # fmt: skip


@effort(200)
@given(ALERTS)
def test_an_alert_is_taken_as_it_was_told_or_its_fault_is_named(alerts: list[Any]) -> None:
    body = json.dumps({"version": "4", "groupKey": "{}", "alerts": alerts}).encode()
    taken, refused = outcome(lambda: parsed(body), Refused)
    if taken is None:
        assert (refused.status, len(str(refused)) < 400) == (400, True)
        return
    told, problems = taken
    assert len(told) + len(problems) == len(alerts)
    meant = [{name: value for name, value in one["labels"].items() if value} for one in alerts if _whole(one)]
    assert [dict(one.labels) for one in told] == meant
    kept(told)


def _whole(alert: Any) -> bool:
    """Parsed alone it is taken."""
    body = json.dumps({"version": "4", "groupKey": "", "alerts": [alert]}).encode()
    return outcome(lambda: parsed(body), Refused)[0] is not None


def kept(told: list[Told]) -> None:
    """What was taken is in the archive's form and back again what it was."""
    externals = Externals(IncidentSettings())
    moves = externals.take(1.8e9, told, Fleet(()).place, lambda _: "")
    assert {key.series.signal for key in externals.alerts} <= {EXTERNAL}
    for move in moves:
        text = TRANSITIONS.dump(move)
        assert TRANSITIONS.dump(TRANSITIONS.load(text)) == text


@effort(200)
@given(st.binary(max_size=100) | JUNK.map(lambda junk: json.dumps(junk).encode()) | spoilt({
    "version": "4", "groupKey": "{}", "status": "firing", "receiver": "r", "truncatedAlerts": 0, "alerts": []
}).map(lambda one: json.dumps(one).encode()))  # fmt: skip
def test_any_body_is_a_payload_or_refused(body: bytes) -> None:
    taken, refused = outcome(lambda: parsed(body), Refused)
    if taken is None:
        assert refused.status in (400, 413)
    else:
        assert len(taken[0]) + len(taken[1]) == len(json.loads(body)["alerts"]) <= MOST_ALERTS


# Files ---------------------------------------------------------------------------------------------------------


def written(document: Any, draw: st.DataObject) -> str:
    """As JSON or YAML, perhaps cut or with a piece put in."""
    form = draw.draw(st.sampled_from([json.dumps, lambda one: yaml.safe_dump(one, allow_unicode=True)]))
    text: str = form(document)
    damage = draw.draw(st.sampled_from(["", "", "", "cut", "piece"]))
    at = draw.draw(st.integers(0, len(text))) if damage else 0
    pieces = [
        "!!timestamp x", "!!bool x", "!!python/object:os.system", "*a",
        "&a ", "<<: ", "- ", "\t", "---\n", ": ", "{", "]",
        "\x00", "? ",
    ]  # fmt: skip
    piece = draw.draw(st.sampled_from(pieces)) if damage == "piece" else ""
    return text if not damage else text[:at] + piece + (text[at:] if damage == "piece" else "")


JOB = {"name": "llm", "targets": ["http://a:8000/metrics"], "file_sd": [{"files": ["t.json"]}],
       "relabel": [{"source_labels": ["a"], "target_label": "b", "regex": "(.*)"}]}  # fmt: skip
FULL = {
    **json.loads(json.dumps(effective(load(Config, Sources(None, {}))))),
    "scrape": {"jobs": [JOB]},
    "notify": {"alertmanagers": [{"url": "http://am:9093"}], "external_labels": {"cluster": "x"}},
    "maintenance": {"windows": [{"name": "n", "begins": "22:00", "lasts": "2h", "days": ["mon"]}]},
    "web": {"tokens": [{"name": "a", "role": "read", "token": "0123456789abcdef"}]},
}  # fmt: skip


@effort(100)
@given(spoilt(FULL), st.data())
def test_a_configuration_is_loaded_as_written_or_refused_with_reasons(
    tmp_path_factory: pytest.TempPathFactory, document: Any, data: st.DataObject
) -> None:
    file = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    file.write_text(written(document, data), encoding="utf-8")
    loaded, refused = outcome(lambda: load(Config, Sources(file, {"X": "x"})), ConfigError)
    if loaded is None:
        assert refused.problems
        assert all(problem.message for problem in refused.problems)
        return
    assert load(Config, Sources(file, {"X": "x"})).config == loaded.config
    yaml.safe_dump(effective(loaded))


@effort(200)
@given(st.dictionaries(st.sampled_from(
    ["AIOPS_INTERVAL", "AIOPS_SCRAPE__JOBS", "AIOPS_WEB__TOKENS", "AIOPS_NOTIFY", "AIOPS_LOG__LEVEL", "AIOPS___"]
), NASTY.filter(lambda text: text != "\ud800") | JUNK.map(json.dumps), max_size=3))  # fmt: skip
def test_variables_are_taken_or_refused_with_reasons(environ: dict[str, str]) -> None:
    loaded, refused = outcome(lambda: load(Config, Sources(None, environ)), ConfigError)
    assert loaded is not None or all(problem.where for problem in refused.problems)


WEB = {
    "tls_server_config": {"cert_file": "a.pem", "key_file": "b.pem", "client_auth_type": "RequireAndVerifyClientCert",
                          "client_ca_file": "c.pem", "min_version": "TLS12", "max_version": "TLS13",
                          "cipher_suites": ["TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"], "client_allowed_sans": ["a"]},
    "http_server_config": {"http2": True, "headers": {"X-Frame-Options": "deny"}},
    "basic_auth_users": {"alice": "$2b$10$k1wbIrmNyFAPwPVPSVa/zecw2BCEnBwVS2GbrmgzxFUOqW9dk4TCW"},
    "rate_limit": {"interval": "1s", "burst": 5},
}  # fmt: skip


@effort(200)
@given(spoilt(WEB) | spoilt({**WEB, "tls_server_config": {"cert": "x", "key": "y"}}), st.data())
def test_a_web_configuration_is_taken_or_refused_with_reasons(
    tmp_path_factory: pytest.TempPathFactory, document: Any, data: st.DataObject
) -> None:
    file = tmp_path_factory.getbasetemp() / "fuzz-web.yaml"
    file.write_text(written(document, data), encoding="utf-8")
    reader = WebFileReader(file)
    taken, refused = outcome(reader.read, ConfigError)
    assert taken is not None or refused.problems
    assert reader.changed() in (True, False)


GROUPS = [
    {"targets": ["10.0.0.7:8000", "10.0.0.8:8000"], "labels": {"pool": "chat"}},
    {"targets": ["[::1]:9400"], "labels": {}},
]


@effort(200)
@given(spoilt(GROUPS), st.sampled_from(["json", "yaml"]), st.data())
def test_a_list_of_targets_is_taken_whole_or_the_old_one_stays(
    tmp_path_factory: pytest.TempPathFactory, document: Any, kind: str, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp()
    file = folder / f"fuzz.{kind}"
    source = FileSource(FileDiscoverySettings(files=(file.name,)), folder)
    file.write_text(json.dumps(GROUPS))
    known, _ = source._read({})
    text = written(document, data)
    file.write_text(text, encoding="utf-8")
    fresh, problems = source._read(known)
    ((_, groups),) = fresh.values()
    if problems:
        assert groups == known[file][1]
        assert all(str(file) in problem and len(problem) < 600 for problem in problems)
        return
    meant = yaml.load(text, yaml.CSafeLoader) if kind == "yaml" else json.loads(text)
    meant = [one for one in meant if one.get("targets")]
    assert [list(group.addresses) for group in groups] == [one["targets"] for one in meant]
    for group, one in zip(groups, meant, strict=True):
        assert {"__meta_filepath": str(file), **one.get("labels", {})}.keys() == group.labels.keys()


def test_what_is_good_passes_every_door(tmp_path: Path) -> None:
    """A fuzz of what is refused anyway finds nothing."""
    for name, document in (("config.yaml", FULL), ("web.yaml", {**WEB, "tls_server_config": None})):
        (tmp_path / name).write_text(yaml.safe_dump(document))
    assert load(Config, Sources(tmp_path / "config.yaml", {})).config.scrape.jobs[0].name == "llm"
    assert WebFileReader(tmp_path / "web.yaml").read().config.rate_limit.burst == 5
