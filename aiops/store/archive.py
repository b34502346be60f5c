"""The SQLite file of what was decided: alerts as they stand, and transitions, incidents, marks and opinions as
they happened.

One writer (the thread of :mod:`aiops.store.journal`), any number of readers (:mod:`aiops.store.view`). Each call of
:meth:`Archive.write` is one transaction, so after a kill the file holds a prefix of what was written.
``synchronous=FULL``: a decision is rare and one fsync is cheap in a thread of its own, so a power cut loses no page.
"""

import sqlite3
from collections.abc import Iterable
from pathlib import Path

from aiops import __version__
from aiops.store.batch import Statement
from aiops.store.quarantine import quarantine
from aiops.store.seal import UNSEALED, KeyMissing, Seal

APPLICATION_ID = 0x61696F70
"""``aiop``: tells our file from any other SQLite file."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
        """CREATE TABLE alerts (
            key TEXT PRIMARY KEY, rule TEXT, signal TEXT, state TEXT, severity TEXT,
            started_at REAL, updated_at REAL, ended_at REAL, incident TEXT, record TEXT NOT NULL)""",
        """CREATE TABLE transitions (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, at REAL, rule TEXT, signal TEXT,
            before TEXT, after TEXT, reason TEXT, incident TEXT, record TEXT NOT NULL)""",
        "CREATE INDEX transitions_at ON transitions (at)",
        """CREATE TABLE incidents (
            id TEXT PRIMARY KEY, title TEXT, severity TEXT,
            started_at REAL, updated_at REAL, ended_at REAL, record TEXT NOT NULL)""",
        "CREATE INDEX incidents_ended_at ON incidents (ended_at)",
        """CREATE TABLE marks (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, at REAL, kind TEXT, entity_kind TEXT,
            detail TEXT, record TEXT NOT NULL)""",
        "CREATE INDEX marks_at ON marks (at)",
    ),
    (
        """CREATE TABLE opinions (
            id TEXT PRIMARY KEY, at REAL, rule TEXT, judgement TEXT, incident TEXT, undone_at REAL,
            record TEXT NOT NULL)""",
        "CREATE INDEX transitions_incident ON transitions (incident)",
    ),
    (
        """CREATE TABLE told (
            incident TEXT, author TEXT, at REAL, record TEXT NOT NULL, PRIMARY KEY (incident, author))""",
    ),
    ("CREATE TABLE windows (id TEXT PRIMARY KEY, begins_at REAL, ends_at REAL, record TEXT NOT NULL)",),
    (
        """CREATE TABLE notified (
            receiver TEXT, incident TEXT, at REAL, record TEXT NOT NULL, PRIMARY KEY (receiver, incident))""",
    ),
)
"""Statements that lead from version n to n + 1; released ones never change. ``record`` is the truth, the other columns
are there to search by."""

_OLDEST_TENTH = (
    """DELETE FROM transitions WHERE seq IN (
        SELECT seq FROM transitions ORDER BY seq LIMIT (SELECT 1 + count(*) / 10 FROM transitions))""",
    """DELETE FROM marks WHERE seq IN (
        SELECT seq FROM marks ORDER BY seq LIMIT (SELECT 1 + count(*) / 10 FROM marks))""",
    """DELETE FROM incidents WHERE id IN (
        SELECT id FROM incidents WHERE ended_at > 0 ORDER BY ended_at
        LIMIT (SELECT 1 + count(*) / 10 FROM incidents))""",
    "DELETE FROM told WHERE incident NOT IN (SELECT id FROM incidents)",
)
_TABLES = ("meta", "alerts", "transitions", "incidents", "marks", "opinions", "told", "windows", "notified")
_SEALED_BY = "sealed_by "
_ANEW = (
    *(f"UPDATE {table} SET record = anew(CAST(record AS BLOB))" for table in _TABLES[1:]),  # noqa: S608 - our own names
    "UPDATE incidents SET title = hidden(title)",
    "UPDATE marks SET detail = hidden(detail)",
)
_COMPANIONS = ("-wal", "-shm")
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_ERROR}
_TROUBLE = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PROTOCOL,
}


class Damaged(Exception):
    """The file is not an archive that this version can use."""


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file itself is broken: it has to be put aside."""
    return _code(error) in _DAMAGE


def is_trouble(error: sqlite3.Error) -> bool:
    """Whether the disk or another process stands in the way: worth another try."""
    return _code(error) in _TROUBLE


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF


class Archive:
    """An open archive. One thread at a time."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    def open(cls, path: Path, now: float, seal: Seal = UNSEALED) -> tuple["Archive", str]:
        """Open or create, check and migrate; a damaged file is put aside and a fresh one begun.

        Parameters
        ----------
        now
            UTC seconds; names the file put aside.
        seal
            With what records are going to be sealed.

        Returns
        -------
        tuple
            The archive, and why an earlier file was put aside (empty when none was).

        Raises
        ------
        KeyMissing
            When it holds records that are sealed with another key; nothing is changed then.
        sqlite3.Error, OSError
            When the disk does not allow it now.
        """
        try:
            return cls(_connect(path, seal)), ""
        except Damaged as error:
            problem = str(error)
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
            problem = str(error)
        place = quarantine(path, now, companions=_COMPANIONS)
        if place is None:
            raise PermissionError(f"the archive {path} is not usable ({problem}), and it cannot be moved away")
        return cls(_connect(path, seal)), f"the archive {path} is not usable ({problem}), moved to {place.name}"

    def write(self, statements: Iterable[Statement]) -> None:
        """Carry out everything or nothing.

        Raises
        ------
        sqlite3.Error
            Nothing was written; see :func:`is_damage` and :func:`is_trouble`.
        """
        _transaction(self._connection, statements)

    def prune(self, before: float, max_bytes: int) -> None:
        """Forget what ended before a time (UTC seconds), then the oldest tenth until the file is small enough.

        Alerts and open incidents are never forgotten.
        """
        self.write(
            (
                ("DELETE FROM transitions WHERE at < ?", (before,)),
                ("DELETE FROM marks WHERE at < ?", (before,)),
                ("DELETE FROM opinions WHERE at < ?", (before,)),
                ("DELETE FROM windows WHERE ends_at < ?", (before,)),
                ("DELETE FROM notified WHERE at < ?", (before,)),
                ("DELETE FROM incidents WHERE ended_at > 0 AND ended_at < ?", (before,)),
                ("DELETE FROM told WHERE incident NOT IN (SELECT id FROM incidents)", ()),
            )
        )
        while self.used_bytes() > max_bytes and self._drop_oldest_tenth():
            pass
        # One step per page; execute() takes only the first, executescript() goes on to the end.
        self._connection.executescript("PRAGMA incremental_vacuum")

    def _drop_oldest_tenth(self) -> bool:
        before = self._connection.total_changes
        self.write((sql, ()) for sql in _OLDEST_TENTH)
        return self._connection.total_changes > before

    def reseal(self, seal: Seal) -> tuple[int, list[str]]:
        """Write every record anew, sealed with the first key (or with none), and leave nothing of before in the file.

        Returns
        -------
        tuple
            How many records there are, and why those that do not open stay as they are.
        """
        problems: list[str] = []
        count = 0

        def anew(raw: bytes) -> str:
            nonlocal count
            count += 1
            text = raw.decode("utf-8", "replace")
            try:
                return seal.shut(seal.opened(text))
            except ValueError as error:
                problems.append(str(error))
                return text

        self._connection.create_function("anew", 1, anew)
        self._connection.create_function("hidden", 1, seal.hidden)
        self.write((sql, ()) for sql in _ANEW)
        if not problems:
            row = (f"{_SEALED_BY}%", _SEALED_BY + seal.shuts)
            self.write([("DELETE FROM meta WHERE key LIKE ? AND key != ?", row)])
        self._connection.execute("VACUUM")
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return count, problems

    def used_bytes(self) -> int:
        """Size of the file without its free pages."""
        pages, free, size = (
            int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size

    def close(self) -> None:
        """Close; the write-ahead log is folded in."""
        self._connection.close()


def _connect(path: Path, seal: Seal) -> sqlite3.Connection:
    if path.exists() and not path.is_file():
        raise Damaged("not a regular file")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # By name: closing a descriptor of the file would drop the locks that SQLite holds in this process.
    path.touch(mode=0o600)
    path.chmod(0o600)
    connection = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
    try:
        _prepare(connection)
        _admit(connection, seal)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection) -> None:
    identity = int(connection.execute("PRAGMA application_id").fetchone()[0])
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    tables = int(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
    if identity != APPLICATION_ID and (identity or version or tables):
        raise Damaged("some other program's database")
    if version > len(MIGRATIONS):
        raise Damaged(f"written by a newer version of aiops: schema {version}, this one knows {len(MIGRATIONS)}")
    for pragma in (
        "auto_vacuum=INCREMENTAL",
        "journal_mode=WAL",
        "synchronous=FULL",
        f"journal_size_limit={16 * 1024 * 1024}",
        "temp_store=MEMORY",
        "trusted_schema=OFF",
        "cell_size_check=ON",
    ):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    if version < len(MIGRATIONS):
        _migrate(connection, version)
    [answer, *_] = connection.execute("PRAGMA quick_check(1)").fetchone()
    if answer != "ok":
        raise Damaged(str(answer))
    for table in _TABLES:
        connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchall()  # noqa: S608 - one of our own names


def _migrate(connection: sqlite3.Connection, version: int) -> None:
    statements: list[Statement] = [(sql, ()) for migration in MIGRATIONS[version:] for sql in migration]
    if version == 0:
        statements.append(("INSERT INTO meta VALUES ('created_by', ?)", (f"aiops {__version__}",)))
    statements.append((f"PRAGMA application_id = {APPLICATION_ID}", ()))
    statements.append((f"PRAGMA user_version = {len(MIGRATIONS)}", ()))
    _transaction(connection, statements)


def _admit(connection: sqlite3.Connection, seal: Seal) -> None:
    """Refuse to add records while older ones cannot be opened: what is written next might replace them."""
    rows = connection.execute("SELECT key FROM meta WHERE key LIKE ?", (f"{_SEALED_BY}%",)).fetchall()
    known = {str(key).removeprefix(_SEALED_BY) for [key] in rows}
    for name in sorted(known - set(seal.keys)):
        raise KeyMissing(f"it is sealed with the key {name}, {seal.absent}")
    if seal.shuts and seal.shuts not in known:
        row = (_SEALED_BY + seal.shuts, f"aiops {__version__}")
        _transaction(connection, [("INSERT INTO meta VALUES (?, ?)", row)])


def _transaction(connection: sqlite3.Connection, statements: Iterable[Statement]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for sql, values in statements:
            connection.execute(sql, values)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk rolls back by itself
            connection.execute("ROLLBACK")
        raise
