"""``aiops feedback``: say what alerts were, see what followed, take it back."""

import re
from argparse import Namespace
from collections.abc import Sequence
from urllib.parse import quote

from aiops.app.commands.client import Record, ago, records
from aiops.app.output import Column, Exit, Output, show

_COLUMNS = (
    Column("ID"),
    Column("SAID"),
    Column("JUDGEMENT"),
    Column("ALERT"),
    Column("EFFECTS", wraps=True),
    Column("SERIES", wide=True),
    Column("CAUSE", wide=True),
    Column("BY", wide=True),
)


def say(args: Namespace) -> int:
    """``aiops feedback true|false|expected``."""
    kind = "alert" if re.fullmatch("[0-9a-f]{16}", args.about) else "incident"
    body = {kind: args.about, "judgement": args.judgement, "cause": args.cause, "note": args.note}
    return _shown(args, records(args, "feedback", "feedback", body=body))


def listing(args: Namespace) -> int:
    """``aiops feedback list``."""
    return _shown(args, records(args, "feedback", "feedback"))


def undo(args: Namespace) -> int:
    """``aiops feedback undo``."""
    return _shown(args, records(args, f"feedback/{quote(args.id, safe='')}/undo", "feedback", body={}))


def _shown(args: Namespace, said: Sequence[Record]) -> int:
    rows = [
        [
            str(one.get("id", "")),
            ago(one.get("at")),
            "undone" if one.get("undoneAt") else str(one.get("judgement", "")),
            str(one.get("alertname", "")),
            _effects(one, wide=args.output is Output.WIDE),
            str(one.get("series", "")),
            str(one.get("cause", "")),
            str(one.get("by", "")),
        ]
        for one in said
    ]
    show(list(said), _COLUMNS, rows, output=args.output, headers=args.headers)
    return Exit.OK


def _effects(one: Record, *, wide: bool) -> str:
    effects = one.get("effects")
    lines = [str(line) for line in effects] if isinstance(effects, list) else []
    return "; ".join(lines if wide else lines[-1:])
