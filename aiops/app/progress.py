"""A bar on stderr while something long runs: only for people at a terminal, gone when it is done.

Plain ASCII, so that it needs no colours, no Unicode and no library; pipes, logs and dumb terminals see nothing of it.
"""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Self, TextIO, TypeVar

from aiops.kit.text import clipped, printable

Item = TypeVar("Item")
_CELLS = 30
_LEAST_SECONDS = 0.1
_SHOWN_AFTER_SECONDS = 0.5


class Progress:
    """Use with ``with``; shown from the first half second on.

    Parameters
    ----------
    what
        What runs, in a few words.
    stream, clock
        Terminal (default stderr), and monotonic seconds.
    """

    def __init__(self, what: str, *, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._what = printable(clipped(what, 30))
        self._stream = stream if stream is not None else sys.stderr
        self._clock = clock
        self._visible = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._began = clock()
        self._next = self._began + _SHOWN_AFTER_SECONDS
        self._drawn = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.wipe()

    def to(self, done: int, total: int) -> None:
        """So many of all are done."""
        now = self._clock()
        if not self._visible or now < self._next:
            return
        self._next = now + _LEAST_SECONDS
        share = min(max(done / total, 0.0), 1.0) if total else 1.0
        left = (now - self._began) * (1.0 - share) / share if share else float("inf")
        line = f"{self._what} [{'#' * round(_CELLS * share):.<{_CELLS}}] {share:4.0%}{_left(left)}"
        self._stream.write("\r" + line[: self._width() - 1].ljust(self._width() - 1))
        self._stream.flush()
        self._drawn = True

    def over(self, items: Iterable[Item], total: int) -> Iterator[Item]:
        """Pass items on, and count each as done when the next is asked for."""
        for done, item in enumerate(items):
            self.to(done, total)
            yield item

    def wipe(self) -> None:
        """Take the bar away until the next step: before something else is written to the terminal."""
        if self._drawn:
            self._stream.write("\r" + " " * (self._width() - 1) + "\r")
            self._stream.flush()
            self._drawn = False

    def _width(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except (OSError, ValueError):
            return 80


def _left(seconds: float) -> str:
    if seconds > 359_999.0:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    clock = f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
    return f" {clock} left"
