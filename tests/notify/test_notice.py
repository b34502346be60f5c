"""Identity stays while numbers change, and what cannot be sent is known before."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.detect.base import AlertKey, Severity, Verdict
from aiops.incidents.alert import Alert, AlertState
from aiops.notify.notice import Letterhead, Notice, fingerprint, notice_of, problem_of, record_of, rfc3339
from aiops.signals.types import Entity, EntityKind, SeriesKey
from tests.notify.alerts import alert_of

HEAD = Letterhead((("cluster", "prod"), ("job", "ours")), "http://aiops:9600/", "http://books/")
ANY_NUMBER = st.floats() | st.just(math.nan)


def test_labels_name_the_alert_and_annotations_carry_the_numbers() -> None:
    notice = notice_of(alert_of(), HEAD)
    assert dict(notice.labels) == {
        "alertname": "QueueGrows",
        "cluster": "prod",
        "instance": "a:8000",
        "job": "vllm",
        "model_name": "tiny",
        "severity": "warning",
        "signal": "queue_len",
    }
    assert dict(notice.annotations) == {
        "summary": "Queue grows",
        "description": "42.0 waiting",
        "value": "42",
        "score": "2.5",
        "incident": "abc",
        "runbook_url": "http://books/queue-grows",
    }
    changed = replace(alert_of(), after="90 s after a deploy: 1.4 became 1.5")
    assert dict(notice_of(changed, HEAD).annotations)["after"] == changed.after
    outlasted = replace(alert_of(), outlasted="fired for a week")
    assert dict(notice_of(outlasted, HEAD).annotations)["ended"] == "fired for a week"
    assert notice_of(changed, HEAD).labels == notice_of(outlasted, HEAD).labels == notice.labels
    assert (notice.status, notice.ends_at) == ("firing", None)
    assert notice.generator_url == "http://aiops:9600/incidents/abc"


@given(ANY_NUMBER, ANY_NUMBER, ANY_NUMBER, st.sampled_from(list(AlertState)))
def test_no_number_and_no_state_changes_the_identity(value: float, score: float, at: float, state: AlertState) -> None:
    key = AlertKey("QueueGrows", SeriesKey(Entity.of(EntityKind.POOL, pool="chat"), "ttft", "p95"))
    calm = Alert(key, AlertState.FIRING, 1.0, 1.0, Verdict("QueueGrows", Severity.INFO, 1.0, 1.0, "s", "r"))
    verdict = replace(calm.verdict, value=value, score=score, expected=at, reason=f"{value}")
    moved = replace(calm, state=state, updated_at=at, ended_at=2.0, verdict=verdict, incident="other")
    assert notice_of(moved, HEAD).labels == notice_of(calm, HEAD).labels


def test_what_the_rule_says_wins_over_labels_of_the_target() -> None:
    entity = Entity.of(EntityKind.TARGET, job="x", severity="critical", alertname="Fake", signal="fake")
    key = AlertKey("Real", SeriesKey(entity, "queue_len"))
    alert = Alert(key, AlertState.FIRING, 1.0, 1.0, Verdict("Real", Severity.INFO, 1.0, 1.0, "s", "r"))
    labels = dict(notice_of(alert, HEAD).labels)
    assert (labels["alertname"], labels["severity"], labels["signal"]) == ("Real", "info", "queue_len")


@pytest.mark.parametrize(
    ("labels", "starts_at", "ends_at", "expected"),
    [
        ((("alertname", "A"),), 1.0, None, ""),
        ((("alertname", "ключ ☃"),), 1.0, 2.0, ""),
        ((), 1.0, None, "no labels"),
        ((("bad-label", "x"),), 1.0, None, "'bad-label' is not a label name"),
        ((("1st", "x"),), 1.0, None, "not a label name"),
        ((("alertname", "a\udcff"),), 1.0, None, "not valid Unicode"),
        ((("alertname", "A"),), math.nan, None, "start nan"),
        ((("alertname", "A"),), 0.0, None, "start 0.0"),
        ((("alertname", "A"),), 1.0, math.inf, "end inf"),
        ((("alertname", "A"),), 1e15, None, "start"),
    ],
)
def test_what_no_alertmanager_would_take(
    labels: tuple[tuple[str, str], ...], starts_at: float, ends_at: float | None, expected: str
) -> None:
    problem = problem_of(Notice(labels, (), starts_at, ends_at))
    assert expected in problem
    assert bool(problem) == bool(expected)


@given(st.floats(), st.none() | st.floats())
def test_what_is_found_fine_can_be_written(starts_at: float, ends_at: float | None) -> None:
    notice = Notice((("alertname", "A"),), (), starts_at, ends_at)
    if not problem_of(notice):
        assert str(record_of(notice)["startsAt"]).endswith("Z")


def test_a_text_from_a_broken_page_does_not_cost_the_alert() -> None:
    alert = alert_of()
    notice = notice_of(replace(alert, verdict=replace(alert.verdict, reason="model \udcff")), HEAD)
    assert problem_of(notice) == ""
    assert dict(notice.annotations)["description"] == "model ?"


def test_times_are_utc_with_milliseconds() -> None:
    assert rfc3339(1_700_000_000.25) == "2023-11-14T22:13:20.250Z"


def test_the_fingerprint_is_that_of_a_recorded_alertmanager() -> None:
    labels = {
        "alertname": "QueueHigh",
        "cluster": "test",
        "gpu": "h100",
        "instance": "127.0.0.1:19100",
        "instance_name": "a",
        "job": "agent",
        "severity": "page",
    }
    assert fingerprint(tuple(sorted(labels.items()))) == "01b6a33fdd0d512f"
