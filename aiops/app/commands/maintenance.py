"""``aiops maintenance`` and ``aiops mark``: say what is planned, and what was changed."""

import re
from argparse import Namespace
from collections.abc import Sequence
from urllib.parse import quote

from aiops.app.commands.client import Record, ago, entity_text, records
from aiops.app.output import Column, CommandFailedError, Exit, Output, show

_WINDOWS = (
    Column("ID"),
    Column("STATE"),
    Column("BEGINS"),
    Column("ENDS"),
    Column("MATCHES"),
    Column("NAME", wraps=True),
    Column("SKIPS", wide=True),
    Column("BY", wide=True),
)
_MARKS = (Column("KIND"), Column("ENTITY"), Column("SINCE"), Column("TEXT", wraps=True))


def listing(args: Namespace) -> int:
    """``aiops maintenance list``."""
    return _windows(args, records(args, "maintenance", "windows"))


def begin(args: Namespace) -> int:
    """``aiops maintenance begin``."""
    body: dict[str, object] = {"name": args.name, "lasts": args.lasts, "matches": _matches(args.match)}
    if args.at:
        body["begins"] = args.at
    if args.skip:
        body["skip"] = args.skip
    return _windows(args, records(args, "maintenance", "windows", body=body))


def end(args: Namespace) -> int:
    """``aiops maintenance end``."""
    return _windows(args, records(args, f"maintenance/{quote(args.id, safe='')}/end", "windows", body={}))


def mark(args: Namespace) -> int:
    """``aiops mark``."""
    marks = records(args, "marks", "marks", body={"text": args.text, "matches": _matches(args.match)})
    rows = [[str(one.get("kind", "")), entity_text(one.get("entity")), ago(one.get("at")), str(one.get("text", ""))]
            for one in marks]  # fmt: skip
    show(marks, _MARKS, rows, output=args.output, headers=args.headers)
    return Exit.OK


def _windows(args: Namespace, windows: Sequence[Record]) -> int:
    wide = args.output is Output.WIDE
    rows = [
        [
            str(one.get("id") or "(configuration)"),
            str(one.get("state", "")),
            _moment(one.get("begins"), wide=wide),
            _moment(one.get("ends"), wide=wide),
            _pairs(one.get("matches")) or "everything",
            str(one.get("name", "")),
            ", ".join(map(str, skipped)) if isinstance(skipped := one.get("skip"), list) else "",
            str(one.get("by", "")),
        ]
        for one in windows
    ]
    show(list(windows), _WINDOWS, rows, output=args.output, headers=args.headers)
    return Exit.OK


def _moment(value: object, *, wide: bool) -> str:
    """UTC, to the minute where there is little room: ``11-27 17:51Z``."""
    text = str(value or "")
    return text if wide or not re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d", text) else f"{text[5:16]}Z".replace("T", " ")


def _matches(given: Sequence[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    wrong = [text for text, (name, equals, value) in zip(given, pairs, strict=True) if not (name and equals and value)]
    if wrong:
        raise CommandFailedError(f"--match {wrong[0]!r} is no matcher; expected LABEL=VALUE, such as pool=chat")
    return {name: value for name, _, value in pairs}


def _pairs(value: object) -> str:
    pairs = value if isinstance(value, dict) else {}
    return " ".join(f"{name}={_pairs(one) if isinstance(one, dict) else one}" for name, one in pairs.items())
