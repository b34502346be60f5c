"""Logs for people and machines: one line per record, logfmt or JSON, UTC, nothing secret, nothing that moves a cursor.

Components log through ``logging.getLogger(__name__)`` with facts in ``extra=``; this module only formats. A fault that
lasts is told once by :class:`OnChange`, so a dead target does not fill a disk.
"""

import json
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TextIO

from aiops.kit.secrets import redact
from aiops.kit.text import UNSAFE, clipped, printable

# A hostile label or a deep traceback may cost one long line, never a disk.
LONGEST_VALUE = 8_192
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_OURS = frozenset({"ts", "level", "component"})
_LEVELS = {"WARNING": "warn", "CRITICAL": "error"}
_BARE = re.compile(r"[^\s\"=\\]+")
_KEY = re.compile(r"[^A-Za-z0-9_.]")

Value = str | int | float | bool | None


class Level(StrEnum):
    """Least severe records that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"


class Format(StrEnum):
    """How a record is written."""

    LOGFMT = "logfmt"
    JSON = "json"


def timestamp(seconds: float) -> str:
    """UTC seconds as RFC 3339 with milliseconds: ``2026-01-31T23:59:59.999Z``."""
    whole, milliseconds = divmod(int(seconds * 1000), 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{milliseconds:03d}Z"


def _clean(value: object) -> Value:
    if value is None or isinstance(value, bool | int | float):
        return value
    return clipped(redact(str(value)), LONGEST_VALUE)


class _Formatter(logging.Formatter):
    def fields(self, record: logging.LogRecord) -> Iterator[tuple[str, Value]]:
        """Key-value pairs of a record in their fixed order, redacted and clipped but not yet escaped."""
        yield "ts", timestamp(record.created)
        yield "level", _LEVELS.get(record.levelname, record.levelname.lower())
        yield "component", _clean(record.name.removeprefix("aiops."))
        yield "msg", _clean(record.getMessage())
        for key, value in vars(record).items():
            if key not in _STANDARD:
                yield _KEY.sub("_", key if key not in _OURS else f"{key}_"), _clean(value)
        if record.exc_info:
            yield "err", _clean(record.exc_info[1])
            yield "traceback", _clean(self.formatException(record.exc_info))


class LogfmtFormatter(_Formatter):
    """``ts=… level=info component=collect.scrape msg="…" target=…``."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record as one line."""
        return " ".join(f"{key}={self._word(value)}" for key, value in self.fields(record))

    @staticmethod
    def _word(value: Value) -> str:
        if not isinstance(value, str):
            return "null" if value is None else str(value).lower()
        if _BARE.fullmatch(value) and not UNSAFE.search(value):
            return value
        quoted = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{printable(quoted)}"'


class JsonFormatter(_Formatter):
    """One JSON object per line; NaN and infinity become text, because JSON has no word for them."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record as one line."""
        return printable(
            json.dumps({key: self._plain(value) for key, value in self.fields(record)}, ensure_ascii=False)
        )

    @staticmethod
    def _plain(value: Value) -> Value:
        finite = not isinstance(value, float) or value - value == 0.0
        return value if finite else str(value)


def configure(level: Level = Level.INFO, format_: Format = Format.LOGFMT, stream: TextIO | None = None) -> None:
    """Send the process's logs to ``stream`` (default stderr); may be called again to change level or format.

    Libraries speak only from ``warn`` up: their chatter at ``info`` is about themselves.
    """
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(JsonFormatter() if format_ is Format.JSON else LogfmtFormatter())
    number = logging.getLevelNamesMapping()[level.upper()]
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(number, logging.WARNING))
    logging.getLogger("aiops").setLevel(number)
    logging.captureWarnings(capture=True)


_MOST_TEXTS = 8  # of one fault


@dataclass(slots=True)
class _Fault:
    text: str
    since: float
    told: set[str]


class OnChange:
    """Tells of a lasting fault when it starts, when it becomes one not told before, and when it ends.

    A fault that alternates between a few texts (a peer that refuses now and resets then) is one fault: each text is
    told once until it ends.

    Parameters
    ----------
    logger
        Where to tell.
    monotonic
        Clock for how long the fault lasted, in seconds.
    """

    def __init__(self, logger: logging.Logger, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._logger = logger
        self._monotonic = monotonic
        self._faults: dict[str, _Fault] = {}

    def report(self, subject: str, fault: str, **facts: object) -> None:
        """Say how ``subject`` is now.

        Parameters
        ----------
        subject
            What may be at fault, as a person knows it: a target, a receiver.
        fault
            What is wrong, or ``""`` when nothing is. Two different texts are two different faults, so changing
            numbers belong into ``facts``, which are logged and not compared.
        """
        known = self._faults.get(subject)
        extra = {**facts, "subject": subject}
        if not fault:
            if known is not None:
                del self._faults[subject]
                lasted = round(self._monotonic() - known.since, 3)
                self._logger.info("fault ended", extra={**extra, "fault": known.text, "lasted_seconds": lasted})
        elif known is None:
            self._faults[subject] = _Fault(fault, self._monotonic(), {fault})
            self._logger.warning("fault started", extra={**extra, "fault": fault})
        else:
            known.text = fault
            if fault not in known.told and len(known.told) < _MOST_TEXTS:
                known.told.add(fault)
                self._logger.warning("fault changed", extra={**extra, "fault": fault})

    def forget(self, subject: str) -> None:
        """Drop a subject that no longer exists, without a word."""
        self._faults.pop(subject, None)
