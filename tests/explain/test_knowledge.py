"""Runbooks and past incidents are found by key, by words of both languages, and say where they are from."""

import gc
import os
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.app.presets import Folder, shipped
from aiops.explain.knowledge import LARGEST_PAGE_BYTES, Knowledge, Page

RUNBOOKS = shipped(Folder.ALERT_RULES) / "runbooks"


@pytest.fixture
def books() -> Knowledge:
    knowledge = Knowledge()
    assert knowledge.refresh([("shipped runbook", RUNBOOKS)]) == ()
    return knowledge


def test_every_shipped_runbook_is_found_by_its_name(books: Knowledge) -> None:
    slugs = [path.stem for path in RUNBOOKS.glob("*.md")]
    assert len(slugs) == books.size > 40
    for slug in slugs:
        first = books.search("", [slug])[0]
        assert (Path(first.place).stem, first.kind, first.by) == (slug, "shipped runbook", "key")


def test_a_rule_leads_to_its_runbook(books: Knowledge) -> None:
    assert Path(books.search("", ["GpuThermalThrottle"])[0].place).stem == "gpu-thermal-throttle"


@pytest.mark.parametrize(
    ("question", "slug"),
    [
        ("the GPU is too hot, what about the fans?", "gpu-thermal-throttle"),
        ("preemptions because the KV cache is full", "kv-cache-exhausted"),
        ("NVLink errors", "gpu-nvlink-errors"),
        ("the kernel killed a process, out of memory", "host-out-of-memory-kill"),
    ],
)
def test_words_lead_to_a_runbook(books: Knowledge, question: str, slug: str) -> None:
    assert slug in [Path(found.place).stem for found in books.search(question)]


def test_own_pages_come_first_and_are_looked_at_again(tmp_path: Path) -> None:
    page = tmp_path / "team" / "hot.md"
    page.parent.mkdir()
    page.write_text("# 过热处理\n\nCauses: gpu-thermal-throttle\n\n- 检查风扇，然后通知机房值班。\n")
    (tmp_path / "other.txt").write_text("no page")
    folders = [("shipped runbook", RUNBOOKS), ("runbook", tmp_path)]
    knowledge = Knowledge()
    knowledge.refresh(folders)
    first, second = knowledge.search("", ["gpu-thermal-throttle"])
    assert (first.title, first.kind, first.excerpt) == ("过热处理", "runbook", "检查风扇，然后通知机房值班。")
    assert second.kind == "shipped runbook"
    assert knowledge.search("风扇 通知机房")[0].place == str(page)
    page.write_text("# Hot\n\nCall the data centre about coolant.\n")
    os.utime(page, ns=(1, 1))
    knowledge.refresh(folders)
    assert knowledge.search("coolant")[0].title == "Hot"
    assert [found.kind for found in knowledge.search("", ["gpu-thermal-throttle"])] == ["shipped runbook"]
    assert str(page) not in [found.place for found in knowledge.search("风扇")]
    page.unlink()
    knowledge.refresh(folders)
    assert knowledge.search("coolant") == ()


def test_pages_that_cannot_be_taken_are_named(tmp_path: Path) -> None:
    (tmp_path / "large.md").write_bytes(b"x" * (LARGEST_PAGE_BYTES + 1))
    (tmp_path / "latin.md").write_bytes(b"\xff\xfe")
    (tmp_path / "good.md").write_text("A page without a heading.")
    (tmp_path / "outside.md").symlink_to("/etc/hostname")
    knowledge = Knowledge()
    problems = knowledge.refresh([("runbook", tmp_path), ("runbook", tmp_path / "missing")])
    assert [problem.partition(":")[0].rpartition("/")[2] for problem in problems] == ["large.md", "latin.md", "missing"]
    assert (knowledge.size, knowledge.search("heading")[0].title) == (1, "good")


def test_past_incidents_are_replaced_not_repeated() -> None:
    knowledge = Knowledge()
    for said in ("nobody said anything", "people said: true; the fan was broken"):
        knowledge.put(Page("incident 5aec", "past incident", "A GPU is hot", said, ("gpu-thermal-throttle",)))
    (found,) = knowledge.search("fan", ["gpu-thermal-throttle"])
    assert (found.place, found.excerpt) == ("incident 5aec", "people said: true; the fan was broken")
    assert knowledge.search("nobody") == ()


@given(st.text(max_size=80))
def test_no_question_breaks_the_search(text: str) -> None:
    knowledge = Knowledge()
    knowledge.put(Page("p", "runbook", "Title", "NEAR AND OR NOT * ^ body 风扇"))
    assert isinstance(knowledge.search(text, [text]), tuple)
    knowledge.close()


def test_what_nobody_closed_is_closed_when_it_goes() -> None:
    knowledge = Knowledge()
    connection = knowledge._connection
    del knowledge
    gc.collect()
    with pytest.raises(sqlite3.ProgrammingError):
        connection.execute("SELECT 1")
