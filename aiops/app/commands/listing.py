"""Lists of a daemon's things, once or again and again (``--watch``)."""

import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aiops.app.output import Column, CommandFailedError, Exit, Output, say, show, write

_CLEAR = "\x1b[H\x1b[2J"


@dataclass(frozen=True, slots=True)
class Listing:
    """What a list command prints, and how it exits."""

    data: object
    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    code: int = Exit.OK


def listing(args: Namespace, ask: Callable[[Namespace], Listing]) -> int:
    """Print what ``ask`` says. With ``--watch``, again and again, also after a daemon that was gone for a while."""
    while True:
        try:
            found = ask(args)
        except CommandFailedError as error:
            if not args.watch:
                raise
            say(f"aiops: {error}")
        else:
            if args.watch and args.output in (Output.TABLE, Output.WIDE) and sys.stdout.isatty():
                write(_CLEAR)
            show(found.data, found.columns, found.rows, output=args.output, headers=args.headers)
            if not args.watch:
                return found.code
        time.sleep(args.every)
