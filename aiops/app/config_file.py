"""A YAML file as plain data that remembers the line of every key.

Strict where silence hurts: a repeated key, an unknown tag, a second document and an alias bomb are errors. Plain words
follow YAML 1.2 (``no`` is the text "no", ``1:30`` is text, not 90), so a region called ``no`` stays a region.
Built from parser events and not with ``yaml.load``: libyaml's tree builder recurses in C and 100 000 ``[`` crash it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from aiops.kit.text import clipped, printable

Path = tuple[str | int, ...]
"""Keys and list positions from the top of the document."""

LARGEST_FILE_BYTES = 1024 * 1024
DEEPEST_NESTING = 32
MOST_VALUES = 50_000  # after aliases are followed: the number that an alias bomb multiplies

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CORE_TAGS = frozenset(
    {"!", *(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq"))}
)
_WORDS = {"": None, "~": None, "null": None, "Null": None, "NULL": None} | {
    spelling: value
    for word, value in (("true", True), ("false", False))
    for spelling in (word, word.title(), word.upper())
}
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]{1,30}|[0-9]{1,30}(?:\.[0-9]{0,30})?)(?:[eE][-+]?[0-9]{1,3})?")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a configuration: where, which key, what and what was expected."""

    where: str
    key: str
    message: str

    def __str__(self) -> str:
        return printable(": ".join(part for part in (self.where, self.key, self.message) if part))


@dataclass(slots=True)
class Document:
    """Plain data of a file, the line of every key and item (1-based), and what was wrong with it."""

    name: str
    data: dict[str, object] = field(default_factory=dict)
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def problem(self, line: int, message: str, path: Path = ()) -> None:
        """Note something wrong at a line."""
        self.problems.append(Problem(f"{self.name}:{line}", dotted(path), message))


def dotted(path: Path) -> str:
    """``("scrape", "targets", 0, "url")`` as ``scrape.targets[0].url``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


@dataclass(slots=True)
class _Node:
    line: int
    value: object  # scalar, list[_Node] or dict[str, tuple[int, _Node]]
    open: bool = True


class _RefusedError(Exception):
    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


class _Builder:
    def __init__(self, document: Document, text: str) -> None:
        self._document = document
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=_Loader)
        self._anchors: dict[str, _Node] = {}
        self._values = 0

    def build(self) -> None:
        next(self._events)  # start of the stream
        event = next(self._events)
        if isinstance(event, yaml.StreamEndEvent):
            return
        root = self._node(next(self._events), 0)
        next(self._events)  # end of the document
        event = next(self._events)
        if not isinstance(event, yaml.StreamEndEvent):
            raise _RefusedError(_line(event), "a second document begins here; expected one")
        if not isinstance(root.value, dict | None):
            raise _RefusedError(root.line, "expected a mapping of settings (key: value) at the top")
        if root.value is not None:
            data = self._plain(root, (), 0)
            assert isinstance(data, dict)
            self._document.data = data

    def _node(self, event: yaml.Event, depth: int) -> _Node:
        line = _line(event)
        if isinstance(event, yaml.AliasEvent):
            node = self._anchors.get(event.anchor or "")
            if node is None or node.open:
                raise _RefusedError(line, f"alias *{event.anchor} names no finished anchor before it")
            return node
        if depth > DEEPEST_NESTING:
            raise _RefusedError(line, f"nested deeper than {DEEPEST_NESTING} levels")
        assert isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent)
        tag = event.tag
        if tag is not None and tag not in _CORE_TAGS:
            self._document.problem(line, f"tag {clipped(tag, 60)} is not supported; expected plain YAML")
        node = _Node(line, None)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        if isinstance(event, yaml.ScalarEvent):
            node.value = _scalar(event.value) if event.implicit[0] else event.value
        elif isinstance(event, yaml.SequenceStartEvent):
            node.value = [self._node(inner, depth + 1) for inner in self._until(yaml.SequenceEndEvent)]
        else:
            node.value = self._mapping(depth)
        node.open = False
        return node

    def _until(self, end: type[yaml.Event]) -> Iterator[yaml.Event]:
        while not isinstance(event := next(self._events), end):
            yield event

    def _mapping(self, depth: int) -> dict[str, tuple[int, _Node]]:
        entries: dict[str, tuple[int, _Node]] = {}
        merged: list[_Node] = []
        for event in self._until(yaml.MappingEndEvent):
            line = _line(event)
            if not isinstance(event, yaml.ScalarEvent):
                raise _RefusedError(line, "a key must be a word, not a list, a mapping or an alias")
            key, plain = event.value, event.implicit[0]
            value = self._node(next(self._events), depth + 1)
            if key == "<<" and plain:
                merged += value.value if isinstance(value.value, list) else [value]
            elif key in entries:
                first = entries[key][0]
                self._document.problem(line, f"key {clipped(key, 60)!r} is given twice; first on line {first}")
            else:
                entries[key] = (line, value)
        for node in merged:
            if not isinstance(node.value, dict):
                raise _RefusedError(node.line, "'<<' merges mappings; expected an alias of one, or a list of such")
            entries = node.value | entries
        return entries

    def _plain(self, node: _Node, path: Path, line: int) -> object:
        self._values += 1
        if self._values > MOST_VALUES:
            raise _RefusedError(node.line, f"more than {MOST_VALUES} values; is an alias repeated inside aliases?")
        if path:
            self._document.lines[path] = line
        if isinstance(node.value, dict):
            return {key: self._plain(value, (*path, key), at) for key, (at, value) in node.value.items()}
        if isinstance(node.value, list):
            return [self._plain(value, (*path, index), value.line) for index, value in enumerate(node.value)]
        return node.value


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def _scalar(text: str) -> object:
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def parse(content: bytes, name: str) -> Document:
    """Read one YAML document; never raises, what is wrong stands in ``problems``.

    Parameters
    ----------
    content
        UTF-8, at most ``LARGEST_FILE_BYTES`` (the caller's reader caps it).
    name
        How messages call the file.
    """
    document = Document(name)
    text = content.decode("utf-8-sig", errors="replace")
    try:
        content.decode()
        _Builder(document, text).build()
    except UnicodeDecodeError as error:
        document.problem(content[: error.start].count(b"\n") + 1, "is not UTF-8 text")
    except yaml.reader.ReaderError as error:
        code = error.character if isinstance(error.character, int) else ord(error.character)
        document.problem(text[: error.position].count("\n") + 1, f"not YAML: character U+{code:04X} is not allowed")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        document.problem(line, f"not YAML: {error.problem or error.context}{_tab_hint(text, line)}")
    except _RefusedError as error:
        document.problem(error.line, str(error))
    return document


def _tab_hint(text: str, line: int) -> str:
    rows = text.splitlines()[line - 1 : line]
    return "; indent with spaces, not tabs" if rows and re.match(r" *\t", rows[0]) else ""
