"""The command line's grammar as records, read from argparse: for the reference page and for completion."""

import argparse
from collections.abc import Iterator

from aiops.render.reference import Command


def leaves(
    parser: argparse.ArgumentParser, words: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    """Every parser of the tree with the words that lead to it, parents before children."""
    yield words, parser
    for action in parser._actions:  # noqa: SLF001 - argparse has no public way to list them
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - as above
            for name, child in action.choices.items():
                yield from leaves(child, (*words, name))


def options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Flags and arguments of one command, without ``--help`` and sub-commands."""
    hidden = (argparse._HelpAction, argparse._VersionAction, argparse._SubParsersAction)  # noqa: SLF001 - as above
    return [action for action in parser._actions if not isinstance(action, hidden)]  # noqa: SLF001 - as above


def commands(parser: argparse.ArgumentParser) -> list[Command]:
    """All commands that do something, for the reference page."""
    return [
        Command(" ".join((parser.prog, *words)), inner.description or "", tuple(map(_row, options(inner))))
        for words, inner in leaves(parser)
        if inner.get_default("does")
    ]


def _row(action: argparse.Action) -> tuple[str, str, str]:
    names = ", ".join(f"`{name}`" for name in action.option_strings)
    placeholder = str(action.metavar or "|".join(map(str, action.choices or ())) or action.dest)
    value = "" if action.nargs == 0 else f"`{placeholder}`"
    shown = f"{names} {value}".strip()
    default = "" if isinstance(action.default, bool | None | list) else f"`{action.default}`"
    return shown, default, action.help or ""
