"""The answer of an OpenAI-compatible server as it arrives: what it said, when, and whether it is sane.

Pure: bytes and the time of their arrival go in, a :class:`Transcript` comes out. Everything that a server may send
inside an HTTP 200 and that is still a failure is told here: an error event, a stream that breaks off, nonsense.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from aiops.kit.regex import bounded
from aiops.kit.retry import Permanent
from aiops.kit.text import clipped, printable

NAN = float("nan")
LONGEST_UNIT = 16
LEAST_REPEATS = 8
MOST_TOKENS = 1_000_000
_SHOWN = 120


class Insane(Permanent):
    """The server answered, but not with what was asked for."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one answer took; seconds from the request on.

    Attributes
    ----------
    ttft_seconds
        To the first piece of text; NaN when the answer came as a whole.
    itl_seconds
        Mean time between tokens; NaN when fewer than two pieces came.
    tokens
        As the server counts them, else the pieces of text.
    """

    ttft_seconds: float
    itl_seconds: float
    e2e_seconds: float
    tokens: float


@dataclass(slots=True)
class Transcript:
    """What was heard of one answer.

    Parameters
    ----------
    began
        Time of the request, on the clock of :meth:`hear`.
    """

    began: float
    pieces: list[str] = field(default_factory=list)
    ended: bool = False
    _first: float = NAN
    _last: float = NAN
    _counted: float = NAN
    _line: bytearray = field(default_factory=bytearray)
    _data: list[bytes] = field(default_factory=list)
    _events: int = 0

    @property
    def streamed(self) -> bool:
        """Whether the body was an event stream at all."""
        return self._events > 0

    @property
    def text(self) -> str:
        """Everything that was said, thoughts included."""
        return "".join(self.pieces)

    def hear(self, piece: bytes, at: float) -> bool:
        """Take in the next bytes of an event stream; True once the stream said that it is done.

        Raises
        ------
        Insane
            When an event is no JSON or reports an error.
        """
        self._line += piece
        if b"\n" not in piece:  # a stranger may send a long line byte by byte: do not split it each time
            return False
        *lines, rest = self._line.split(b"\n")
        self._line = rest
        return any(self._event_line(bytes(line.removesuffix(b"\r")), at) for line in lines)

    def read_whole(self, body: bytes, at: float) -> None:
        """Take in an answer that was not streamed.

        Raises
        ------
        Insane
            When it is not the JSON of an answer.
        """
        self._take(_parsed(body), at)
        self._first = NAN
        self.ended = True

    def judged(self, at: float, expect: str = "") -> Measured:
        """Judge the whole answer, which ended at ``at``; ``expect`` is a regular expression for all of the text.

        Raises
        ------
        Insane
            When the answer broke off, is empty, says one thing over and over, or is not what was expected.
        """
        if not self.ended:
            raise Insane("the stream broke off before it was done")
        text = self.text.strip()
        if not text:
            raise Insane("the answer is empty")
        if unit := repeated_unit(text):
            raise Insane(f"the answer repeats {_shown(unit)} over and over")
        if expect:
            regex = bounded(expect)
            if regex.fullmatch(text[: regex.longest_value]) is None:
                raise Insane(f"the answer {_shown(text)} does not match {expect!r}")
        tokens = self._counted if self._counted > 0 else float(len(self.pieces))
        spread = len(self.pieces) > 1 and tokens > 1
        itl = (self._last - self._first) / (tokens - 1) if spread else NAN
        return Measured(self._first - self.began, itl, at - self.began, tokens)

    def _event_line(self, line: bytes, at: float) -> bool:
        """Read one line of an event stream: a blank one ends the event, fields other than data say nothing to us."""
        if line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))
            return False
        if line or not self._data:
            return False
        data, self._data = b"\n".join(self._data), []
        self._events += 1
        if data.strip() == b"[DONE]":
            self.ended = True
            return True
        self._take(_parsed(data), at)
        return False

    def _take(self, event: dict[str, Any], at: float) -> None:
        if complaint := error_text(event):
            raise Insane(f"the server reports an error inside its answer: {complaint}")
        usage = event.get("usage")
        counted = usage.get("completion_tokens") if isinstance(usage, dict) else None
        if isinstance(counted, int) and 0 < counted <= MOST_TOKENS:
            self._counted = float(counted)
        for choice in _choices(event):
            text = "".join(_texts(choice))
            if text:
                self.pieces.append(text)
                self._first = at if self._first != self._first else self._first
                self._last = at
            # Some servers close the stream after the last choice without a word.
            self.ended = self.ended or choice.get("finish_reason") is not None


def repeated_unit(text: str) -> str:
    """The text that is said again and again and makes up all of ``text``; empty when there is none.

    A unit of at most 16 characters, at least 8 times; the last time may be cut. A model whose numbers broke down
    typically repeats the first token of its vocabulary.
    """
    for length in range(1, min(LONGEST_UNIT, len(text) // LEAST_REPEATS) + 1):
        if text[length:] == text[:-length]:
            return text[:length]
    return ""


def error_text(event: dict[str, Any]) -> str:
    """Return what an error object says, in one safe line; empty when the event is none."""
    error = event.get("error")
    if not error and event.get("object") != "error":
        return ""
    said = error.get("message") if isinstance(error, dict) else error or event.get("message")
    return _shown(str(said or error or "no reason given"))


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        event = json.loads(data)
    except (ValueError, RecursionError):
        raise Insane(f"expected JSON, got {_shown(data.decode(errors='replace'))}") from None
    if not isinstance(event, dict):
        raise Insane(f"expected a JSON object, got {_shown(str(event))}")
    return event


def _choices(event: dict[str, Any]) -> Iterator[dict[str, Any]]:
    choices = event.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict):
            yield choice


def _texts(choice: dict[str, Any]) -> Iterator[str]:
    """Text of a choice: streamed or whole, chat or completion, thought aloud or not."""
    parts = [choice, choice.get("delta"), choice.get("message")]
    for part in parts:
        if isinstance(part, dict):
            for name in ("text", "reasoning_content", "reasoning", "content"):
                if isinstance(part.get(name), str):
                    yield part[name]


def _shown(text: str) -> str:
    return repr(clipped(printable(text), _SHOWN))
