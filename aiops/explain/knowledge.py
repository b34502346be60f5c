"""What is written down: runbooks, shipped and your own, and past incidents with what people said of them.

Looked up by key first (a cause, a rule, a runbook's name), by words second: SQLite's FTS5 ranks them with BM25. The
database lives in memory and is filled from files, so there is nothing to migrate and nothing to repair; a refresh reads
only what changed. Every answer says where it comes from.
"""

import re
import sqlite3
import threading
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from aiops.explain.words import plain

SHIPPED = "shipped runbook"
LARGEST_PAGE_BYTES = 256 * 1024
MOST_PAGES = 5000
_EXCERPT = 240
_KEYS = re.compile(r"^(?:Rules|Causes|规则|原因)\s*[:：](.*)$", re.MULTILINE)
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_-]{2,63}")
_HEADING = re.compile(r"^#+\s*(.+?)\s*$", re.MULTILINE)
_TERM = re.compile(r"[a-z0-9_]{2,}|[\u3400-\u9fff]+")
_CHINESE = re.compile(r"([\u3400-\u9fff])")
_COMMON_TEXT = """
    the and for are was were what why how when where who does did should would could can with this that from have has
    had not but all any you our your its about into than then there their them they been being which will do is it to
    of in on at by an as or if we my me so
"""
_COMMON = frozenset(_COMMON_TEXT.split())


@dataclass(frozen=True, slots=True)
class Page:
    """One thing that is known.

    Attributes
    ----------
    place
        Where it is from, also its identity: the path of a file, ``incident ID``.
    kind
        ``shipped runbook``, ``runbook`` or ``past incident``.
    keys
        Causes, rules and slugs that it is about.
    """

    place: str
    kind: str
    title: str
    text: str
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """A page that answers, why it was found (``key`` or ``words``), and the line of it that fits best."""

    place: str
    kind: str
    title: str
    excerpt: str
    by: str


class Knowledge:
    """All pages. Safe to use from several threads; a search waits at most for one page to be written."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stamps: dict[str, tuple[int, int]] = {}
        self._connection = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        # Nobody closes a daemon that never ran, and from Python 3.13 on an open connection complains when it goes.
        weakref.finalize(self, self._connection.close)
        for statement in (
            "CREATE TABLE pages (id INTEGER PRIMARY KEY, place TEXT UNIQUE, kind TEXT, title TEXT, text TEXT)",
            "CREATE TABLE keys (key TEXT, page INTEGER, PRIMARY KEY (key, page)) WITHOUT ROWID",
            "CREATE VIRTUAL TABLE words USING fts5(title, text, content='', tokenize='porter unicode61')",
        ):
            self._connection.execute(statement)

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._connection.close()

    @property
    def size(self) -> int:
        """Pages that are known."""
        with self._lock:
            return int(self._connection.execute("SELECT count(*) FROM pages").fetchone()[0])

    def put(self, page: Page) -> None:
        """Learn a page; one of the same place is replaced."""
        with self._lock:
            self._remove(page.place)
            cursor = self._connection.execute(
                "INSERT INTO pages (place, kind, title, text) VALUES (?, ?, ?, ?)",
                (page.place, page.kind, page.title, page.text),
            )
            row = cursor.lastrowid
            self._connection.execute(
                "INSERT INTO words (rowid, title, text) VALUES (?, ?, ?)",
                (row, _spaced(page.title), _spaced(page.text)),
            )
            for key in {key.lower() for key in page.keys}:
                self._connection.execute("INSERT INTO keys VALUES (?, ?)", (key, row))

    def _remove(self, place: str) -> None:
        for row, title, text in self._connection.execute(
            "SELECT id, title, text FROM pages WHERE place = ?", (place,)
        ).fetchall():
            self._connection.execute(
                "INSERT INTO words (words, rowid, title, text) VALUES ('delete', ?, ?, ?)",
                (row, _spaced(title), _spaced(text)),
            )
            self._connection.execute("DELETE FROM keys WHERE page = ?", (row,))
            self._connection.execute("DELETE FROM pages WHERE id = ?", (row,))

    def refresh(self, folders: Sequence[tuple[str, Path]]) -> tuple[str, ...]:
        """Read what changed below some folders (kind, folder), and forget what is gone. Blocks for the disk.

        Returns
        -------
        tuple[str, ...]
            Why some page could not be taken.
        """
        problems: list[str] = []
        seen: dict[str, tuple[int, int]] = {}
        for kind, folder in folders:
            for path in _pages_below(folder, problems):
                place = str(path)
                try:
                    status = path.stat()
                    seen[place] = (status.st_mtime_ns, status.st_size)
                    if self._stamps.get(place) == seen[place]:
                        continue
                    self.put(_page_in(path, kind, status.st_size))
                except (OSError, ValueError) as error:
                    problems.append(f"{path}: {error}")
        for place in self._stamps.keys() - seen.keys():
            with self._lock:
                self._remove(place)
        self._stamps = seen
        return tuple(problems)

    def search(self, text: str, keys: Iterable[str] = (), limit: int = 3) -> tuple[Found, ...]:
        """Pages about some keys, then pages with the words of a text, best first."""
        found: dict[str, Found] = {}
        terms = [term for term in _TERM.findall(text.lower()) if term not in _COMMON]
        with self._lock:
            for key in keys:
                rows = self._connection.execute(
                    "SELECT place, kind, title, text FROM pages JOIN keys ON page = id WHERE key = ? "
                    "ORDER BY kind = ?, place",
                    (key.lower(), SHIPPED),
                ).fetchall()
                for row in rows:
                    found.setdefault(row[0], _found(row, terms, "key"))
            if terms and len(found) < limit:
                asked = " OR ".join(f'"{_spaced(term)}"' for term in terms)
                rows = self._connection.execute(
                    "SELECT place, kind, title, text FROM pages "
                    "JOIN (SELECT rowid AS hit, bm25(words, 4.0, 1.0) AS score FROM words "
                    "WHERE words MATCH ? ORDER BY score LIMIT ?) ON id = hit ORDER BY score",
                    (asked, limit),
                ).fetchall()
                for row in rows:
                    found.setdefault(row[0], _found(row, terms, "words"))
        return tuple(found.values())[:limit]


def _page_in(path: Path, kind: str, size: int) -> Page:
    if size > LARGEST_PAGE_BYTES:
        raise ValueError(f"it has {size} bytes, expected at most {LARGEST_PAGE_BYTES}")
    return read_page(str(path), kind, path.read_text(encoding="utf-8"))


def read_page(place: str, kind: str, text: str) -> Page:
    """A Markdown page: its first heading is the title; ``Rules:`` and ``Causes:`` lines name what it is about."""
    heading = _HEADING.search(text)
    slug = Path(place).stem
    keys = [key for line in _KEYS.findall(text) for key in _KEY.findall(line)]
    return Page(place, kind, plain(heading[1] if heading else slug, 120), text, (slug, *keys))


def _pages_below(folder: Path, problems: list[str]) -> list[Path]:
    if not folder.is_dir():
        problems.append(f"{folder}: not a folder")
        return []
    inside = folder.resolve()
    found = [path for path in sorted(folder.rglob("*.md")) if path.is_file() and path.resolve().is_relative_to(inside)]
    if len(found) > MOST_PAGES:
        problems.append(f"{folder}: {len(found)} pages, only the first {MOST_PAGES} are read")
    return found[:MOST_PAGES]


def _found(row: tuple[str, str, str, str], terms: Sequence[str], by: str) -> Found:
    place, kind, title, text = row
    lines = [line.strip(" -*>\t") for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    lines = [line for line in lines if not _KEYS.match(line)]
    best = max(lines, key=lambda line: sum(term in line.lower() for term in terms), default="")
    return Found(place, kind, title, plain(best, _EXCERPT), by)


def _spaced(text: str) -> str:
    """Chinese characters as words of their own: a run of them is then searched as a phrase."""
    return _CHINESE.sub(r" \1 ", text)
