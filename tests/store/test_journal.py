"""The journal loses nothing that a disk can keep, and never waits for one."""

import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiops.incidents.alert import Alert, AlertState, Incident, Transition
from aiops.kit.clock import Clock
from aiops.signals.types import Entity, EntityKind, Mark, MarkKind
from aiops.store.archive import MIGRATIONS
from aiops.store.journal import Journal
from aiops.store.seal import Keyring, add_key
from aiops.store.view import ArchiveView
from tests.store import records
from tests.store.records import alert, incident, mark, transition

NOW = 1_790_000_000.0
DAY = 86_400.0


def journal_at(
    path: Path,
    *,
    capacity: int = 10_000,
    max_bytes: int = 2**30,
    retention_seconds: float = 1e12,
    clock: Clock | None = None,
    keys: Keyring | None = None,
) -> Journal:
    return Journal(
        path,
        retention_seconds=retention_seconds,
        max_bytes=max_bytes,
        capacity=capacity,
        retry_seconds=0.01,
        clock=clock or Clock(now=lambda: NOW),
        keys=keys,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "archive.sqlite"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    journal = journal_at(path)
    journal.start()
    yield journal
    journal.close()


def eventually(check: object, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not check():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


class TestWhatComesBack:
    @given(alerts=st.lists(records.alerts, max_size=4, unique_by=lambda alert: alert.key))
    @settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_alerts_whatever_is_in_them(self, journal: Journal, path: Path, alerts: list[Alert]) -> None:
        journal.save(alerts=alerts)
        assert journal.flush(20)
        view = ArchiveView(path)
        assert sorted(map(repr, view.load_alerts())) == sorted(map(repr, alerts))
        assert view.problem == ""

    @given(moved=records.transitions, grouped=records.incidents, event=records.marks)
    @settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_the_rest_too(
        self, journal: Journal, path: Path, moved: Transition, grouped: Incident, event: Mark
    ) -> None:
        journal.save(transitions=[moved], incidents=[grouped], marks=[event])
        assert journal.flush(20)
        view = ArchiveView(path)
        assert repr(view.recent_transitions(1)) == repr([moved])
        assert repr(grouped) in map(repr, view.load_incidents())
        assert repr(view.recent_marks(1)) == repr([event])

    def test_the_alert_of_a_transition_is_the_current_one_until_it_is_inactive(
        self, journal: Journal, path: Path
    ) -> None:
        view = ArchiveView(path)
        for state in (AlertState.PENDING, AlertState.FIRING, AlertState.RESOLVED):
            journal.save(transitions=[transition("a", state), transition("b", state)])
            assert journal.flush(20)
            assert [found.state for found in view.load_alerts()] == [state, state]
        journal.save(transitions=[transition("a", AlertState.INACTIVE)])
        assert journal.flush(20)
        assert view.load_alerts() == [alert("b", AlertState.RESOLVED)]
        assert len(view.recent_transitions(100)) == 7

    def test_a_complete_set_replaces_what_was_there(self, journal: Journal, path: Path) -> None:
        journal.save(transitions=[transition("lost")])
        journal.save(alerts=[alert("b", at=2.0), alert("a", at=1.0), alert("gone", AlertState.INACTIVE)])
        assert journal.flush(20)
        assert ArchiveView(path).load_alerts() == [alert("a", at=1.0), alert("b", at=2.0)]
        journal.save(alerts=[])
        assert journal.flush(20)
        assert ArchiveView(path).load_alerts() == []

    def test_incidents_open_and_lately_ended(self, journal: Journal, path: Path) -> None:
        journal.save(incidents=[incident("open", 1.0), incident("old", 2.0, 5.0), incident("late", 3.0)])
        journal.save(incidents=[incident("late", 3.0, 50.0)])
        assert journal.flush(20)
        view = ArchiveView(path)
        assert [found.id for found in view.load_incidents()] == ["open"]
        assert [found.id for found in view.load_incidents(since=50.0)] == ["late", "open"]

    def test_marks_newest_first(self, journal: Journal, path: Path) -> None:
        journal.save(marks=[mark(number) for number in range(10)])
        assert journal.flush(20)
        view = ArchiveView(path)
        assert [found.at for found in view.recent_marks(3)] == [9, 8, 7]
        assert [found.at for found in view.recent_marks(100, since=8.0)] == [9, 8]

    def test_only_the_owner_may_read_it(self, journal: Journal, path: Path) -> None:
        journal.save(marks=[mark(1)])
        assert journal.flush(20)
        assert {entry.stat().st_mode & 0o777 for entry in path.parent.iterdir()} == {0o600}
        assert path.parent.stat().st_mode & 0o777 == 0o700

    def test_nothing_to_save_is_nothing(self, journal: Journal) -> None:
        journal.save()
        assert journal.health().pending == 0


class TestTrouble:
    def test_a_lock_delays_and_loses_nothing(self, journal: Journal, path: Path) -> None:
        assert journal._archive is not None
        journal._archive._connection.execute("PRAGMA busy_timeout = 10")
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            journal.save(marks=[mark(0)])
            eventually(lambda: journal.health().failures_total > 0)
            assert "locked" in journal.health().problem
            journal.save(marks=[mark(1)])
            assert journal.health().pending == 2
            other.execute("ROLLBACK")
        assert journal.flush(20)
        assert [found.at for found in ArchiveView(path).recent_marks(5)] == [1, 0]
        eventually(lambda: journal.health().problem == "")

    def test_a_place_that_cannot_be_is_reported_and_healed(self, tmp_path: Path) -> None:
        blocker = tmp_path / "state"
        blocker.write_text("a file where the folder should be")
        path = blocker / "archive.sqlite"
        journal = journal_at(path, capacity=5)
        journal.start()
        for number in range(20):
            journal.save(marks=[mark(number)])
        health = journal.health()
        assert "cannot write the archive" in health.problem
        assert (health.pending, health.dropped_total) == (5, 15)
        assert ArchiveView(path).load_alerts() == []
        blocker.unlink()
        assert journal.flush(20)
        assert [found.at for found in ArchiveView(path).recent_marks(100)] == [19, 18, 17, 16, 15]
        assert journal.close()

    def test_close_gives_up_on_a_broken_disk(self, tmp_path: Path) -> None:
        (tmp_path / "state").write_text("")
        journal = journal_at(tmp_path / "state" / "archive.sqlite")
        journal.start()
        journal.save(marks=[mark(0)])
        assert not journal.close(20)
        assert not journal._thread.is_alive()

    def test_close_writes_what_waits(self, path: Path) -> None:
        journal = journal_at(path)
        for number in range(2000):
            journal.save(marks=[mark(number)])
        journal.start()
        assert journal.close(20)
        assert journal.close(20)
        assert len(ArchiveView(path).recent_marks(5000)) == 2000

    def test_a_batch_above_the_capacity_is_still_written(self, path: Path) -> None:
        journal = journal_at(path, capacity=3)
        journal.save(marks=[mark(0)])
        journal.save(marks=[mark(number) for number in range(1, 8)])
        journal.start()
        assert journal.close(20)
        assert len(ArchiveView(path).recent_marks(100)) == 7
        assert journal.health().dropped_total == 1

    def test_a_record_that_is_no_text_costs_itself(
        self, journal: Journal, path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.CRITICAL):
            for number, detail in enumerate(["fine", "lone surrogate \ud800", "fine"]):
                journal.save(marks=[Mark(MarkKind.XID, Entity.of(EntityKind.GPU), number, detail)])
            assert journal.flush(20)
        assert [found.at for found in ArchiveView(path).recent_marks(9)] == [2, 0]
        assert (journal.health().rejected_total, journal.health().written_total) == (1, 2)

    def test_save_does_not_wait_for_the_disk(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        hang = threading.Event()
        monkeypatch.setattr("aiops.store.archive.Archive.write", lambda *_: hang.wait())
        journal = journal_at(path, capacity=10)
        journal.start()
        for number in range(100):
            journal.save(marks=[mark(number)])
        assert not journal.flush(0.01)
        assert journal.health().pending >= 10
        hang.set()
        assert journal.close(20)


def archive_with(path: Path, count: int = 50) -> None:
    journal = journal_at(path)
    journal.start()
    journal.save(marks=[mark(NOW + number) for number in range(count)], alerts=[alert()])
    assert journal.close(20)


def sqlite_with(path: Path, *statements: str) -> None:
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


class TestDamage:
    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("garbage", "not a database"),
            ("torn", ""),
            ("half", ""),
            ("foreign", "some other program's database"),
            ("newer", "newer version of aiops: schema 99"),
            ("no tables", "no such table"),
            ("folder", "not a regular file"),
        ],
    )
    def test_it_is_put_aside_and_a_fresh_one_begun(self, name: str, reason: str, path: Path) -> None:
        archive_with(path)
        content = path.read_bytes()
        if name == "garbage":
            path.write_bytes(b"garbage" * 1000)
        elif name == "torn":
            path.write_bytes(content[:8192] + bytes(len(content) - 8192))
        elif name == "half":
            path.write_bytes(content[: len(content) // 2])
        elif name == "foreign":
            sqlite_with(path, "CREATE TABLE alerts (x)")
        elif name == "newer":
            with closing(sqlite3.connect(path)) as connection:
                connection.execute("PRAGMA user_version = 99")
        elif name == "no tables":
            with closing(sqlite3.connect(path)) as connection:
                connection.execute("DROP TABLE marks")
        elif name == "folder":
            path.unlink()
            path.mkdir()
        journal = journal_at(path)
        journal.start()
        health = journal.health()
        assert reason in health.put_aside
        assert "moved to archive.sqlite.bad-20260921T" in health.put_aside
        assert health.problem == ""
        journal.save(alerts=[alert("new")])
        assert journal.close(20)
        assert ArchiveView(path).load_alerts() == [alert("new")]
        assert sum(".bad-" in entry.name for entry in path.parent.iterdir()) == 1

    def test_empty_and_missing_files_are_a_first_start(self, path: Path) -> None:
        path.parent.mkdir()
        path.touch()
        journal = journal_at(path)
        journal.start()
        journal.save(alerts=[alert()])
        assert journal.close(20)
        assert journal.health().put_aside == ""
        assert ArchiveView(path).load_alerts() == [alert()]

    def test_a_garbage_log_beside_a_sound_file_is_ignored(self, path: Path) -> None:
        archive_with(path)
        for ending in ("-wal", "-shm"):
            path.with_name(path.name + ending).write_bytes(b"\xaa" * 70_000)
        archive_with(path, 0)
        assert ArchiveView(path).load_alerts() == [alert()]
        assert len(ArchiveView(path).recent_marks(100)) == 50

    def test_damage_while_running_is_healed_by_a_fresh_file(self, path: Path) -> None:
        archive_with(path)
        journal = journal_at(path)
        journal.start()
        journal.save(marks=[mark(0)])
        assert journal.flush(20)
        eventually(lambda: journal._next_prune > 0)
        with closing(sqlite3.connect(path)) as other:
            other.execute("DROP TABLE alerts")
            other.commit()
        journal.save(marks=[mark(1)], alerts=[alert("again")])
        assert journal.flush(20)
        assert journal.close(20)
        assert "moved to" in journal.health().put_aside
        assert ArchiveView(path).load_alerts() == [alert("again")]
        assert [found.at for found in ArchiveView(path).recent_marks(5)] == [1]

    def test_a_bad_row_costs_itself_and_garbage_is_no_crash_for_a_reader(self, path: Path) -> None:
        archive_with(path, 3)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("UPDATE marks SET record = '{}' WHERE seq = 2")
            connection.commit()
        view = ArchiveView(path)
        assert [found.at - NOW for found in view.recent_marks(9)] == [2, 0]
        assert "not readable" in view.problem
        path.write_bytes(b"garbage" * 1000)
        assert view.load_alerts() == []
        assert "not a database" in view.problem

    @pytest.mark.parametrize("sealed", [False, True])
    @given(position=st.floats(0, 1, exclude_max=True), damage=st.binary(min_size=1, max_size=600), cut=st.booleans())
    @settings(deadline=None, max_examples=15)
    def test_damage_anywhere_prevents_neither_start_nor_records(
        self,
        tmp_path_factory: pytest.TempPathFactory,
        sealed: bool,
        position: float,
        damage: bytes,
        cut: bool,
    ) -> None:
        folder = tmp_path_factory.mktemp("damage")
        path, keys = folder / "archive.sqlite", None
        if sealed:
            add_key(folder / "keys")
            keys = Keyring(folder / "keys")
        written = [mark(NOW + number) for number in range(50)]
        journal = journal_at(path, keys=keys)
        journal.start()
        journal.save(marks=written, alerts=[alert()])
        assert journal.close(20)
        content = path.read_bytes()
        at = int(position * len(content))
        path.write_bytes(content[:at] + (b"" if cut else damage + content[at + len(damage) :]))
        journal = journal_at(path, keys=keys)
        journal.start()
        found = ArchiveView(path, keys).recent_marks(99)
        journal.save(alerts=[alert("new")], marks=[mark(NOW + 99)])
        assert journal.close(20), journal.health()
        view = ArchiveView(path, keys)
        assert view.load_alerts() == [alert("new")]
        assert mark(NOW + 99) in view.recent_marks(99)
        if sealed:  # without a seal, a text may have become another text
            assert {one.at for one in found} <= {one.at for one in written}

    def test_a_name_with_url_signs(self, tmp_path: Path) -> None:
        path = tmp_path / "a?b#c%20" / "archive.sqlite"
        archive_with(path, 3)
        assert len(ArchiveView(path).recent_marks(9)) == 3


class TestSchema:
    @pytest.mark.parametrize("version", range(len(MIGRATIONS)))
    def test_every_older_version_is_brought_up(self, version: int, path: Path) -> None:
        path.parent.mkdir()
        identity = ["PRAGMA application_id = 0x61696F70"] if version else []
        older = [sql for migration in MIGRATIONS[:version] for sql in migration]
        sqlite_with(path, *older, f"PRAGMA user_version = {version}", *identity)
        archive_with(path)
        assert ArchiveView(path).load_alerts() == [alert()]
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


class TestRetention:
    def test_what_is_old_goes_and_what_is_open_stays(self, path: Path) -> None:
        seconds = [0.0]
        journal = journal_at(
            path, retention_seconds=90 * DAY, clock=Clock(now=lambda: NOW, monotonic=lambda: seconds[0])
        )
        journal.start()
        old, new = NOW - 91 * DAY, NOW - 89 * DAY
        eventually(lambda: journal._next_prune > 0)
        journal.save(
            transitions=[transition("old", at=old), transition("new", at=new)],
            incidents=[incident("closed", old, old), incident("open", old), incident("new", old, new)],
            marks=[mark(old), mark(new)],
        )
        assert journal.flush(20)
        view = ArchiveView(path)
        assert len(view.recent_marks(9)) == 2
        seconds[0] = 3601.0
        journal.save(marks=[mark(NOW)])
        eventually(lambda: [found.at for found in view.recent_marks(9)] == [NOW, new])
        assert [found.at for found in view.recent_transitions(9)] == [new]
        assert {found.id for found in view.load_incidents(since=0.0)} == {"open", "new"}
        assert len(view.load_alerts()) == 2
        assert journal.close(20)

    def test_over_its_size_the_oldest_go_and_the_file_shrinks(self, path: Path) -> None:
        archive_with(path, 20_000)
        before = path.stat().st_size
        limit = before // 2
        journal = journal_at(path, max_bytes=limit)
        journal.start()
        eventually(lambda: journal._next_prune > 0)
        assert journal.close(20)
        marks = ArchiveView(path).recent_marks(50_000)
        assert 1000 < len(marks) < 12_000
        assert [found.at for found in marks] == [NOW + 19_999 - number for number in range(len(marks))]
        assert path.stat().st_size <= limit
        assert ArchiveView(path).load_alerts() == [alert()]
