"""Reading the archive, from any thread, while the journal writes it.

Each call opens its own short connection, blocks for the disk (call it in a thread from an event loop) and never
raises for the disk's sake: the answer is what can be read, and :attr:`ArchiveView.problem` says why it is less than
expected. A record that cannot be understood, or opened without its key, costs itself.
"""

import logging
import sqlite3
from collections.abc import Callable
from contextlib import closing
from math import nan
from pathlib import Path
from typing import Any

from aiops.incidents.alert import Alert, Incident, Notified, Transition
from aiops.incidents.feedback import Opinion
from aiops.incidents.policy import Window
from aiops.signals.types import Mark
from aiops.store.batch import ALERTS, INCIDENTS, MARKS, NOTIFIED, OPINIONS, TRANSITIONS, WINDOWS, Told
from aiops.store.codec import Codec, Record
from aiops.store.seal import Keyring

_LOG = logging.getLogger(__name__)


class ArchiveView:
    """What stands in an archive file.

    Attributes
    ----------
    problem
        Why the last call could not read everything; empty when it could.
    """

    def __init__(self, path: Path, keys: Keyring | None = None) -> None:
        self._path = path
        self._keys = keys or Keyring(None)
        self._logged = ""
        self.problem = ""

    def load_alerts(self) -> list[Alert]:
        """Every alert that is not inactive, in order of its start: what the incident machine continues from."""
        return self._records(ALERTS, "SELECT record FROM alerts ORDER BY started_at, key")

    def load_incidents(self, *, since: float | None = None) -> list[Incident]:
        """Open incidents, newest first; with ``since`` (UTC seconds) also those that ended at or after it."""
        return self._records(
            INCIDENTS,
            "SELECT record FROM incidents WHERE ended_at = 0 OR ended_at >= ? ORDER BY started_at DESC, id",
            float("inf") if since is None else since,
        )

    def recent_transitions(self, limit: int) -> list[Transition]:
        """Newest transitions, newest first."""
        return self._records(TRANSITIONS, "SELECT record FROM transitions ORDER BY seq DESC LIMIT ?", limit)

    def fired_since(self, since: float, limit: int) -> list[Transition]:
        """Newest transitions with which an alert began to fire, or was told at last, at or after ``since`` (UTC
        seconds); newest first. Others, of which there may be far more, take no place in the limit."""
        return self._records(
            TRANSITIONS,
            "SELECT record FROM transitions WHERE at >= ? AND after IN ('firing', 'resolving')"
            " AND (before NOT IN ('firing', 'resolving') OR reason = 'told_now') ORDER BY seq DESC LIMIT ?",
            since,
            limit,
        )

    def oldest_transition_at(self) -> float:
        """When the first transition that is kept happened, UTC seconds; NaN when there is none."""
        return next((float(at) for [at] in self._read("SELECT min(at) FROM transitions") if at is not None), nan)

    def transitions_of(self, incident: str) -> list[Transition]:
        """Every transition of the alerts of an incident, oldest first."""
        return self._records(TRANSITIONS, "SELECT record FROM transitions WHERE incident = ? ORDER BY seq", incident)

    def load_notified(self, limit: int) -> list[Notified]:
        """What receivers heard last of each incident, newest first."""
        return self._records(NOTIFIED, "SELECT record FROM notified ORDER BY at DESC LIMIT ?", limit)

    def transitions_like(self, rule: str, limit: int) -> list[Transition]:
        """Newest transitions of the alerts of a rule, newest first."""
        return self._records(TRANSITIONS, "SELECT record FROM transitions WHERE rule = ? ORDER BY seq DESC LIMIT ?",
                             rule, limit)  # fmt: skip

    def load_opinions(self, limit: int) -> list[Opinion]:
        """Newest opinions of people, newest first, undone ones too."""
        return self._records(OPINIONS, "SELECT record FROM opinions ORDER BY at DESC, id LIMIT ?", limit)

    def recent_marks(self, limit: int, since: float = 0.0) -> list[Mark]:
        """Newest marks that are not older than ``since`` (UTC seconds), newest first."""
        return self._records(MARKS, "SELECT record FROM marks WHERE at >= ? ORDER BY seq DESC LIMIT ?", since, limit)

    def load_windows(self, *, since: float) -> list[Window]:
        """Maintenance windows of one time that end after ``since`` (UTC seconds)."""
        return self._records(WINDOWS, "SELECT record FROM windows WHERE ends_at > ? ORDER BY begins_at, id", since)

    def load_told(self, author: str) -> list[str]:
        """Records of one author about incidents, oldest first, as the author wrote them."""
        return self._opened(str, "SELECT record FROM told WHERE author = ? ORDER BY at, incident", author)

    def told_of(self, incident: str) -> list[Told]:
        """Everything that was told of an incident, oldest first."""
        return self._opened(
            lambda record, author, at: Told(incident, author, at, record),
            "SELECT record, author, at FROM told WHERE incident = ? ORDER BY at, author",
            incident,
        )

    def _records(self, codec: Codec[Record], sql: str, *values: float | str) -> list[Record]:
        return self._opened(codec.load, sql, *values)

    def _opened(self, load: Callable[..., Record], sql: str, *values: float | str) -> list[Record]:
        """What ``load`` makes of the first column, opened, and of the others."""
        seal, records, problems = self._keys.opener(), [], []
        for text, *others in self._read(sql, *values):
            try:
                records.append(load(seal.opened(str(text)), *others))
            except ValueError as error:
                problems.append(str(error))
        if problems:
            self._report(f"{len(problems)} record(s) in the archive {self._path} are not readable: {problems[0]}")
        return records

    def _read(self, sql: str, *values: float | str) -> list[tuple[Any, ...]]:
        self.problem = ""
        try:
            return self._rows(sql, values)
        except FileNotFoundError:
            return []
        except (sqlite3.Error, OSError) as error:
            self._report(f"cannot read the archive {self._path}: {error}")
            return []

    def _rows(self, sql: str, values: tuple[float | str, ...]) -> list[tuple[Any, ...]]:
        self._path.stat()
        # Not mode=ro: that cannot recover the log of a killed writer. query_only keeps it honest.
        location = f"{self._path.absolute().as_uri()}?mode=rw"
        with closing(sqlite3.connect(location, uri=True, timeout=1.0)) as connection:
            connection.execute("PRAGMA query_only = ON")
            # A byte that is no UTF-8 would else cost every record of the answer.
            connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
            return connection.execute(sql, values).fetchall()

    def _report(self, problem: str) -> None:
        self.problem = problem
        if problem != self._logged:
            self._logged = problem
            _LOG.warning("%s", problem)
