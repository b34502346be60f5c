"""The weekly review out of a real archive, and what strangers' words do to it."""

import re
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from aiops.app.cli import main
from aiops.app.commands.report import review_of
from aiops.app.review_state import Kept
from aiops.app.why import DIAGNOSES
from aiops.diagnose.record import Cause, Diagnosis
from aiops.incidents.alert import AlertState
from aiops.incidents.feedback import Judgement, Opinion
from aiops.render.review import Happened, Review, Rule, Told, figures, html, markdown
from aiops.render.review_parts import Advised, Gpu, Span, Spent
from aiops.signals.types import Entity, EntityKind, MarkKind
from aiops.store.batch import Told as ToldRecord
from aiops.store.journal import Journal
from aiops.store.view import ArchiveView
from tests.store.records import incident, mark, transition

DAY = 86_400.0
NASTY = "<img src=x onerror=alert(1)>|[x](javascript:alert(2))\u202e`\n# no"


def nasty() -> Review:
    return Review(
        since=0.0,
        until=7 * DAY,
        incidents=[
            Told("i1", DAY, 2 * DAY, "critical", NASTY, 3, cause=NASTY, judgement="true"),
            Told("i2", 3 * DAY, 0.0, "warning", "Queue grows", 1),
        ],
        rules=[Rule(NASTY, "critical", 2, 90.0, true=1), Rule("Quiet", "info", 1, 5.0)],
        changes=[Happened(DAY, "deploy", NASTY, NASTY)],
        hardware=[Happened(2 * DAY, "xid", "gpu", "Xid 31")],
        false_alerts=2,
        budget_per_week=1.0,
        note=NASTY,
        known_at=7 * DAY,
        budgets=[Spent(NASTY, NASTY, 10.0, 1.0, 0.5, 2.0, (0.1, 3.0))],
        pools=[Advised(NASTY, [(DAY, 2.0), (2 * DAY, 3.0)], [(DAY, 3.0)], NASTY, [(DAY, 2 * DAY, NASTY)], {"kept": 1})],
        gpus=[Gpu(NASTY, NASTY, {"Xid": NASTY}, [Span(DAY, 2 * DAY, NASTY, NASTY)])],
    )


class Elements(HTMLParser):
    """Every tag with its attributes, and whether all are closed."""

    VOID = ("meta", "line", "rect")

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_holds_nothing_but_text_and_shapes() -> None:
    page = html(nasty())
    elements = Elements()
    elements.feed(page)
    assert elements.open == []
    allowed = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "ul", "li", "b", "p", "div",
               "table", "thead", "tbody", "tr", "th", "td", "svg", "line", "text", "rect", "path"}  # fmt: skip
    assert {tag for tag, _ in elements.seen} <= allowed
    assert not any(
        name.startswith("on") or name in ("href", "src") for _, attributes in elements.seen for name in attributes
    )
    assert "\u202e" not in page
    assert "http" not in re.sub(r"http-equiv", "", page)
    assert [attributes["content"] for tag, attributes in elements.seen if "http-equiv" in attributes] == [
        "default-src 'none'; style-src 'unsafe-inline'"
    ]


def test_a_cell_of_markdown_stays_one_cell() -> None:
    text = markdown(nasty())
    for line in text.splitlines():
        if line.startswith("| "):
            assert line.endswith(" |")
            cells = re.split(r"(?<!\\)\|", line)[1:-1]
            assert len(cells) in (2, 4, 5, 7, 8), line
    assert "\n# no" not in text
    assert "\\<img" in text


def test_the_numbers_on_top() -> None:
    assert figures(nasty()) == [
        ("1", "critical incidents"),
        ("1", "other incidents"),
        ("1d", "median time until over"),
        ("2", "alerts called false; the budget allows 1"),
        ("1", "still open"),
    ]


def test_a_quiet_week_says_so() -> None:
    quiet = Review(0.0, DAY, [], [], [], [], 0, 1.0)
    assert markdown(quiet).count("None.") == 7
    assert markdown(quiet).count("Unknown:") == 3
    assert "None." in html(quiet)
    assert ("–", "median time until over") in figures(quiet)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An archive with one incident of an hour ago that somebody called false, one old one, and an Xid."""
    now = time.time()
    entity = Entity.of(EntityKind.REPLICA, instance="a")
    cause = Cause("traffic-surge", "More requests came", entity, 1.0, (), "Scale out")
    found = Diagnosis("quiet", now - 3600.0, "signatures", (), (cause,), (), (), (), abstained=False, reason="it fits")
    journal = Journal(tmp_path / "archive.sqlite", retention_seconds=1e12, max_bytes=2**40)
    journal.start()
    fires = transition("a", AlertState.FIRING, at=now - 3600.0)
    fires = replace(fires, before=AlertState.PENDING)
    ends = transition("a", AlertState.RESOLVED, at=now - 1800.0)
    ends = replace(ends, before=AlertState.FIRING)
    recent = replace(incident("new"), started_at=now - 3600.0, ended_at=now - 1800.0, members=(fires.alert.key,))
    quiet = replace(incident("quiet"), started_at=now - 7200.0, ended_at=now - 7000.0)
    old = replace(incident("old"), started_at=now - 20 * DAY, ended_at=now - 19 * DAY)
    said = Opinion("o1", now - 600.0, Judgement.FALSE, fires.alert.key, "f", now - 3600.0, now - 1800.0, 1.2,
                   statistical=True, detectors=("zscore",), incident="new", cause="traffic-surge")  # fmt: skip
    journal.save(
        transitions=[fires, ends],
        incidents=[recent, old, quiet],
        told=[ToldRecord("quiet", "diagnosis 0", now - 3600.0, DIAGNOSES.dump(found))],
        marks=[replace(mark(now - 100.0), kind=MarkKind.XID), replace(mark(now - 50.0), kind=MarkKind.DEPLOY)],
        opinions=[said],
    )
    journal.flush(10)
    journal.close(10)
    return tmp_path


def test_what_the_archive_holds_is_told(folder: Path) -> None:
    now = time.time()
    review = review_of(ArchiveView(folder / "archive.sqlite"), now - 7 * DAY, now, Kept(), budget_per_week=1.0)
    told, quiet = review.incidents
    assert (quiet.id, quiet.cause) == ("quiet", "More requests came")
    assert (told.id, told.cause, told.judgement, told.alerts) == ("new", "traffic-surge", "false", 1)
    (rule,) = review.rules
    assert (rule.fired, rule.true, rule.false) == (1, 0, 1)
    assert rule.seconds == pytest.approx(1800.0, abs=2.0)
    assert [one.kind for one in review.hardware] == ["xid"]
    assert [one.kind for one in review.changes] == ["deploy"]
    assert review.false_alerts == 1


def test_the_command_writes_a_file_or_prints(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--storage.path", str(folder), "-o", "md"]) == 0
    assert "traffic-surge" in capsys.readouterr().out
    page = tmp_path / "week.html"
    assert main(["report", "--storage.path", str(folder), "--out", str(page)]) == 0
    assert page.read_text().startswith("<!doctype html>")
    assert main(["report", "--storage.path", str(tmp_path / "nothing")]) == 1
    assert "expected the archive of a daemon" in capsys.readouterr().err
