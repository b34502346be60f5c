"""One record is one line; nothing secret, nothing that moves a cursor; lasting faults are told once."""

import io
import json
import logging
import warnings
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.kit import log, secrets
from aiops.kit.log import Format, JsonFormatter, Level, LogfmtFormatter, OnChange


def fail(message: str) -> None:
    raise ValueError(message)


def record(message: str, *args: object, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("aiops.collect.scrape", logging.WARNING, __file__, 1, message, args, None)
    made.created = 1_767_225_599.9996
    vars(made).update(extra)
    return made


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root, ours = logging.getLogger(), logging.getLogger("aiops")
    before = root.handlers[:], root.level, ours.level
    captured = io.StringIO()
    yield captured
    root.handlers[:], level, our_level = before
    root.setLevel(level)
    ours.setLevel(our_level)
    logging.captureWarnings(False)


def test_logfmt() -> None:
    line = LogfmtFormatter().format(
        record("got %d samples", 5, target="http://a:1/metrics", took=0.5, ok=True, why=None)
    )
    assert line == (
        'ts=2025-12-31T23:59:59.999Z level=warn component=collect.scrape msg="got 5 samples" '
        "target=http://a:1/metrics took=0.5 ok=true why=null"
    )


def test_json() -> None:
    line = JsonFormatter().format(record("said °C", value=float("nan"), count=3))
    assert json.loads(line) == {
        "ts": "2025-12-31T23:59:59.999Z",
        "level": "warn",
        "component": "collect.scrape",
        "msg": "said °C",
        "value": "nan",
        "count": 3,
    }


@pytest.mark.parametrize("formatter", [LogfmtFormatter(), JsonFormatter()])
@given(st.text(st.characters(codec=None)), st.text(st.characters(codec=None)))
def test_any_text_stays_one_harmless_line(formatter: logging.Formatter, message: str, value: str) -> None:
    line = formatter.format(record("%s", message, label=value))
    assert len(line.splitlines()) == 1
    assert "\x1b" not in line
    line.encode()  # no lone surrogate


def test_a_value_cannot_pose_as_another_key() -> None:
    line = LogfmtFormatter().format(record('x" level=error msg="forged'))
    assert 'msg="x\\" level=error msg=\\"forged"' in line
    assert json.loads(JsonFormatter().format(record("x", level="forged")))["level"] == "warn"


def test_the_traceback_is_part_of_the_line() -> None:
    try:
        fail("two\nlines")
    except ValueError as error:
        made = record("failed")
        made.exc_info = (ValueError, error, error.__traceback__)
    line = LogfmtFormatter().format(made)
    assert 'err="two\\nlines"' in line
    assert "test_log.py" in line
    assert "\n" not in line


def test_a_huge_value_costs_one_long_line() -> None:
    assert len(LogfmtFormatter().format(record("x" * 1_000_000))) < 10_000


def test_secrets_are_masked_everywhere() -> None:
    secrets.register("canary-for-logs")
    try:
        fail("refused canary-for-logs")
    except ValueError as error:
        made = record("sent %s", "canary-for-logs", header=["canary-for-logs"], url="http://u:hidden-pw@h")
        made.exc_info = (ValueError, error, error.__traceback__)
    for formatter in (LogfmtFormatter(), JsonFormatter()):
        line = formatter.format(made)
        assert "canary-for-logs" not in line
        assert "hidden-pw" not in line
        assert line.count("<secret>") >= 4


def test_configure_sets_level_and_form_and_keeps_libraries_quiet(stream: io.StringIO) -> None:
    logging.captureWarnings(capture=False)  # another test may have left it on, and pytest has undone it since
    log.configure(Level.DEBUG, Format.JSON, stream)
    logging.getLogger("aiops.kit").debug("ours")
    logging.getLogger("somebody").info("theirs")
    log.configure(Level.WARN, Format.LOGFMT, stream)
    logging.getLogger("aiops.kit").info("below")
    logging.getLogger("aiops.kit").warning("above")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("watch out", stacklevel=1)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3
    assert json.loads(lines[0])["msg"] == "ours"
    assert "msg=above" in lines[1]
    assert "component=py.warnings" in lines[2]


def test_a_lasting_fault_is_told_when_it_starts_changes_and_ends(caplog: pytest.LogCaptureFixture) -> None:
    now = 100.0
    faults = OnChange(logging.getLogger("aiops.test"), monotonic=lambda: now)
    with caplog.at_level(logging.INFO, "aiops.test"):
        faults.report("t1", "")
        for fault in ("refused", "refused", "timeout", "timeout", "", ""):
            faults.report("t1", fault, attempt=now)
            now += 10
        faults.report("t2", "refused")
    told = [(entry.getMessage(), vars(entry)["subject"], vars(entry)["fault"]) for entry in caplog.records]
    assert told == [
        ("fault started", "t1", "refused"),
        ("fault changed", "t1", "timeout"),
        ("fault ended", "t1", "timeout"),
        ("fault started", "t2", "refused"),
    ]
    assert vars(caplog.records[2])["lasted_seconds"] == 40.0


def test_a_forgotten_subject_starts_anew(caplog: pytest.LogCaptureFixture) -> None:
    faults = OnChange(logging.getLogger("aiops.test"))
    faults.report("t", "refused")
    faults.forget("t")
    faults.forget("t")
    faults.report("t", "")
    faults.report("t", "refused")
    assert [entry.getMessage() for entry in caplog.records] == ["fault started", "fault started"]


def test_a_fault_that_alternates_does_not_fill_a_disk(caplog: pytest.LogCaptureFixture) -> None:
    faults = OnChange(logging.getLogger("aiops.test"))
    for turn in range(100):
        faults.report("t", "reset" if turn % 2 else "refused")
    assert [vars(entry)["fault"] for entry in caplog.records] == ["refused", "reset"]
    for turn in range(100):
        faults.report("t", f"a text that never repeats: {turn}")
    assert len(caplog.records) == 8
    with caplog.at_level(logging.INFO, "aiops.test"):
        faults.report("t", "")
    assert vars(caplog.records[-1])["fault"] == "a text that never repeats: 99"
    faults.report("t", "reset")
    assert caplog.records[-1].getMessage() == "fault started"
