"""How commands speak: data on stdout, messages on stderr, and what the exit codes mean."""

import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from aiops.kit.text import printable

PIPE_WIDTH = None  # who pipes a table wants all of it
_RED, _YELLOW, _GREEN = "\x1b[31m", "\x1b[33m", "\x1b[32m"
_COLOURS = {
    **dict.fromkeys(("down", "firing", "critical", "page", "open", "missing"), _RED),
    **dict.fromkeys(("unknown", "pending", "warning", "ticket", "deprecated"), _YELLOW),
    **dict.fromkeys(("up", "ok", "resolved", "closed", "found"), _GREEN),
}


class Exit(IntEnum):
    """Exit codes of every command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    LINT = 3


class Output(StrEnum):
    """Form in which a command prints its data."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"


class CommandFailedError(Exception):
    """The command cannot do what it was asked; the text says what, where and what was expected."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its header, whether only ``-o wide`` shows it, and whether its sentences may take several lines (only
    the last one that is shown can)."""

    header: str
    wide: bool = False
    wraps: bool = False


def say(message: str) -> None:
    """Tell the person at the terminal something that is not data."""
    print("\n".join(map(printable, message.splitlines())), file=sys.stderr)  # noqa: T201 - the command line's voice


def write(text: str) -> None:
    """Print data as it is, at once: whoever reads a pipe waits for it."""
    sys.stdout.write(text)
    sys.stdout.flush()


def document(data: object, output: Output) -> str:
    """Data as JSON or YAML, with nothing in it that a terminal would obey."""
    if output is Output.YAML:
        import yaml  # noqa: PLC0415 - a table needs none

        return str(yaml.safe_dump(data, sort_keys=False, allow_unicode=False))
    import json  # noqa: PLC0415 - a table needs none

    lines = json.dumps(data, indent=2, ensure_ascii=False).split("\n")
    return "".join(f"{printable(line)}\n" for line in lines)


def tell(lines: Iterable[str], *, hang: int = 2) -> None:
    """Print sentences, broken between words where the terminal ends; what goes on is indented ``hang`` further."""
    from aiops.render.tables import broken  # noqa: PLC0415 - documents need none

    width = terminal_width()
    for line in map(printable, lines):
        parts = [line]
        if width is not None:
            indent = " " * (len(line) - len(line.lstrip()) + hang)
            first = broken(line, width)[0]
            rest = line[len(first) :].lstrip()
            parts = [first, *(indent + part for part in broken(rest, max(width - len(indent), 1)) if rest)]
        write("".join(f"{part}\n" for part in parts))


def show(
    data: object, columns: Sequence[Column], rows: Sequence[Sequence[str]], *, output: Output, headers: bool = True
) -> None:
    """Print data in the wanted form: ``rows`` as a table, or ``data`` as a document."""
    if output in (Output.JSON, Output.YAML):
        write(document(data, output))
        return
    from aiops.render.tables import table  # noqa: PLC0415 - documents need none

    wide = output is Output.WIDE
    kept = [index for index, column in enumerate(columns) if wide or not column.wide]
    write(
        table(
            [columns[index].header for index in kept],
            [[row[index] for index in kept] for row in rows],
            width=None if wide else terminal_width(),
            header=headers,
            colours=colours(),
            wraps=bool(kept) and columns[kept[-1]].wraps,
        )
    )


def terminal_width() -> int | None:
    """Cells of a line; None when stdout is no terminal and ``COLUMNS`` does not say otherwise."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH


def colours() -> Mapping[str, str]:
    """Colours of words such as ``down``; none for pipes, dumb terminals and people who set ``NO_COLOR``."""
    plain = not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return {} if plain else _COLOURS
