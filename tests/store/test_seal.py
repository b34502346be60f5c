"""Sealed records: unreadable without a key, told when one is missing or they were changed, never lost over it."""

import logging
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given

from aiops.incidents.alert import AlertState
from aiops.store.archive import Archive
from aiops.store.batch import Batch, Told
from aiops.store.journal import Journal
from aiops.store.seal import KeyMissing, Keyring, Seal, add_key
from aiops.store.view import ArchiveView
from tests.store.records import alert, incident, mark, text, transition
from tests.store.test_journal import eventually, journal_at

CANARY = "canary-of-somebody-s-words"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    add_key(tmp_path / "keys")
    return tmp_path / "keys"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "archive.sqlite"


def written(path: Path, file: Path | None, number: int, *, close: bool = True) -> Journal:
    """A journal that has written one of everything that carries words."""
    journal = journal_at(path, keys=Keyring(file))
    journal.start()
    journal.save(
        transitions=[transition(str(number))],
        incidents=[incident(f"i{number}")],
        marks=[mark(number)],
        told=[Told(f"i{number}", "llm", float(number), f'["{CANARY} {number}"]')],
    )
    assert journal.flush(10), journal.health()
    if close:
        assert journal.close(10)
    return journal


def words_in(folder: Path) -> set[str]:
    """Files that hold something that was said."""
    said = (CANARY.encode(), b"slow", b"3 of 4", b"number ")
    return {file.name for file in folder.iterdir() if any(word in file.read_bytes() for word in said)}


def read(path: Path, file: Path | None) -> tuple[list[str], str]:
    view = ArchiveView(path, Keyring(file))
    told = [one for number in range(4) for one in view.told_of(f"i{number}")]
    return [one.record for one in told], view.problem


@pytest.fixture(scope="module")
def seal(tmp_path_factory: pytest.TempPathFactory) -> Seal:
    file = tmp_path_factory.mktemp("keys") / "keys"
    add_key(file)
    return Keyring(file).seal()


@given(text)
def test_any_text_comes_back_and_no_two_look_alike(seal: Seal, said: str) -> None:
    shut = seal.shut(said)
    assert shut != seal.shut(said)
    assert seal.opened(shut) == said
    assert len(said) < 4 or said not in shut


def test_nothing_that_was_said_is_in_any_file_also_while_it_is_written(path: Path, file: Path) -> None:
    journal = written(path, file, 1, close=False)
    assert (path.parent / "archive.sqlite-wal").stat().st_size > 0
    assert words_in(path.parent) == set()
    journal.close(10)
    assert words_in(path.parent) == set()
    view = ArchiveView(path, Keyring(file))
    assert (view.recent_transitions(9), view.load_incidents()) == ([transition("1")], [incident("i1")])
    assert (view.recent_marks(9), view.load_alerts(), view.problem) == ([mark(1)], [alert("1")], "")
    assert read(path, file) == ([f'["{CANARY} 1"]'], "")


def test_without_a_key_file_nothing_is_sealed(path: Path) -> None:
    written(path, None, 1)
    assert words_in(path.parent) == {"archive.sqlite"}


def test_what_was_written_before_stays_readable_and_sealing_leaves_nothing_of_it(path: Path, file: Path) -> None:
    written(path, None, 1)
    written(path, file, 2)
    assert read(path, file) == ([f'["{CANARY} 1"]', f'["{CANARY} 2"]'], "")
    assert words_in(path.parent) == {"archive.sqlite"}
    keys = Keyring(file).seal()
    archive, _ = Archive.open(path, 0.0, keys)
    assert archive.reseal(keys) == (10, [])
    archive.close()
    assert words_in(path.parent) == set()
    assert read(path, file) == ([f'["{CANARY} 1"]', f'["{CANARY} 2"]'], "")


def test_the_first_key_seals_and_all_open_until_everything_is_sealed_anew(path: Path, file: Path) -> None:
    written(path, file, 1)
    old = file.read_text()
    add_key(file)
    assert file.read_text().endswith(old)
    written(path, file, 2)
    assert read(path, file) == ([f'["{CANARY} 1"]', f'["{CANARY} 2"]'], "")
    new = file.read_text().removesuffix(old)
    file.write_text(new)
    assert read(path, file)[0] == [f'["{CANARY} 2"]']
    with pytest.raises(KeyMissing, match=r"it is sealed with the key .* expected it there too"):
        Archive.open(path, 0.0, Keyring(file).seal())
    file.write_text(new + old)
    archive, _ = Archive.open(path, 0.0, Keyring(file).seal())
    archive.reseal(Keyring(file).seal())
    archive.close()
    file.write_text(new)
    assert read(path, file) == ([f'["{CANARY} 1"]', f'["{CANARY} 2"]'], "")
    written(path, file, 3)


def test_another_key_reads_nothing_writes_nothing_and_deletes_nothing(
    path: Path, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    written(path, file, 1)
    kept = file.read_bytes()
    file.unlink()
    other = add_key(file)
    journal = journal_at(path, keys=Keyring(file))
    journal.start()
    journal.save(alerts=[alert("2", AlertState.FIRING)])
    eventually(lambda: journal.health().failures_total > 2)
    health = journal.health()
    assert f"which is not in {file} (it holds {other}); expected it there too" in health.problem
    assert (health.pending, health.written_total, health.put_aside) == (1, 0, "")
    assert not journal.close(10)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        view = ArchiveView(path, Keyring(file))
        assert [view.load_alerts() for _ in range(3)] == [[], [], []]
    assert f"which is not in {file}" in view.problem
    assert len(caplog.records) == 1, "told once"
    file.write_bytes(kept)
    assert ArchiveView(path, Keyring(file)).load_alerts() == [alert("1")]
    assert list(path.parent.glob("*.bad-*")) == []


def test_a_key_that_comes_late_is_waited_for(path: Path, file: Path) -> None:
    kept = file.read_bytes()
    file.unlink()
    journal = journal_at(path, keys=Keyring(file))
    journal.start()
    journal.save(marks=[mark(1)])
    assert f"the key file {file} cannot be read: No such file" in journal.health().problem
    file.touch(mode=0o600)
    file.write_bytes(kept)
    assert journal.flush(20)
    eventually(lambda: journal.health().problem == "")
    assert journal.close(10)
    assert ArchiveView(path, Keyring(file)).recent_marks(9) == [mark(1)]
    assert words_in(path.parent) == set()


def test_a_sealed_archive_tells_whom_nobody_gave_a_key(path: Path, file: Path) -> None:
    written(path, file, 1)
    assert read(path, None)[0] == []
    view = ArchiveView(path)
    view.load_alerts()
    assert "and store.encryption_key_file names no file; expected the file with that key" in view.problem
    with pytest.raises(KeyMissing, match="names no file"):
        Archive.open(path, 0.0)


def test_what_was_changed_does_not_open_and_costs_itself(path: Path, file: Path) -> None:
    written(path, file, 1)
    written(path, file, 2)
    with closing(sqlite3.connect(path)) as connection:
        ((record,),) = connection.execute("SELECT record FROM told WHERE incident = 'i1'").fetchall()
        middle = len(record) // 2
        changed = record[:middle] + ("A" if record[middle] != "A" else "B") + record[middle + 1 :]
        connection.execute("UPDATE told SET record = ? WHERE incident = 'i1'", (changed,))
        connection.commit()
    view = ArchiveView(path, Keyring(file))
    assert [one.record for one in view.told_of("i1")] == []
    assert "1 record(s) in the archive" in view.problem
    assert "it was changed after it was sealed with the key" in view.problem
    assert [one.record for one in view.told_of("i2")] == [f'["{CANARY} 2"]']
    keys = Keyring(file).seal()
    archive, _ = Archive.open(path, 0.0, keys)
    assert archive.reseal(keys) == (10, [f"it was changed after it was sealed with the key {keys.shuts}"])
    archive.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT record FROM told WHERE incident = 'i1'").fetchall() == [(changed,)]


@pytest.mark.parametrize(
    ("content", "mode", "expected"),
    [
        (b"", 0o600, "holds no key; 'aiops state key"),
        (b"# only a remark\n", 0o600, "holds no key"),
        (b"hunter2-hunter2\n", 0o600, "keys:1 is no key; expected a line that 'aiops state key' wrote"),
        (None, 0o644, "has mode 0644; expected 0600, or 0640"),
        (None, 0o620, "has mode 0620; expected 0600"),
        (b"x" * 100_000, 0o600, "is larger than"),
    ],
)
def test_a_file_that_is_no_key_file_is_told_without_its_content(
    file: Path, content: bytes | None, mode: int, expected: str
) -> None:
    if content is not None:
        file.write_bytes(content)
    file.chmod(mode)
    with pytest.raises(KeyMissing) as caught:
        Keyring(file).seal()
    assert expected in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_group_may_read_as_kubernetes_mounts_secrets(file: Path) -> None:
    file.chmod(0o640)
    assert Keyring(file).seal().shuts


def test_a_new_key_is_not_put_into_a_file_of_something_else(file: Path) -> None:
    file.write_text("something else\n")
    with pytest.raises(KeyMissing, match="is no key"):
        add_key(file)
    assert file.read_text() == "something else\n"


def test_a_batch_in_plain_text_is_what_it_was() -> None:
    batch = Batch(incidents=(incident(),), marks=(mark(1),))
    assert "slow" in str(batch.statements())
