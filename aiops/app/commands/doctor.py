"""``aiops metrics doctor``: what a metrics page gives, what it lacks, and what that costs."""

import sys
import time
import urllib.error
import urllib.request
from argparse import Namespace
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any

from aiops.app.output import Column, CommandFailedError, Exit, Output, say, show, write
from aiops.app.presets import dependents, engine_profiles
from aiops.collect.exposition import parse
from aiops.signals.doctor import examine, to_dict
from aiops.signals.page import Page

_SIGNALS = [Column("ROLE"), Column("STATUS"), Column("VALUE"), Column("UNIT"), Column("METRIC")]
_GAPS = [Column("ROLE"), Column("STATUS"), Column("DISABLES"), Column("WHY")]
_NOTES = [Column("ROLE"), Column("REMARK"), Column("TEXT")]
LARGEST_PAGE_BYTES = 64 * 1024 * 1024
ACCEPT = "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=1.0,*/*;q=0.1"


def doctor(args: Namespace) -> int:
    """``aiops metrics doctor``."""
    if args.again and not args.interval:
        say("aiops: --again needs --interval SECONDS, the time between the two pages")
        return Exit.USAGE
    page = read_page(args.page, args.timeout)
    again = _second_page(args)
    found = examine(engine_profiles(), page, again, args.interval or 1.0, dependents=dependents())
    data = to_dict(found)
    signals, gaps, notes = rows(data)
    if args.output in (Output.JSON, Output.YAML) or signals:
        show(data, _SIGNALS, signals, output=args.output, headers=args.headers)
    if args.output in (Output.TABLE, Output.WIDE):
        for columns, extra in ((_GAPS, gaps), (_NOTES, notes)):
            if extra:
                write("\n")
                show(data, columns, extra, output=args.output, headers=args.headers)
    say(found.message)
    if found.bad_lines:
        say(f"{found.bad_lines} line(s) could not be read; the first: {found.first_error}")
    return Exit.OK if found.engine else Exit.FAILED


def _second_page(args: Namespace) -> Page | None:
    if args.again:
        return read_page(args.again, args.timeout)
    if not args.interval or not _is_url(args.page):
        return None
    say(f"aiops: reading the page again in {args.interval:g} s")
    time.sleep(args.interval)
    return read_page(args.page, args.timeout)


def rows(data: Mapping[str, Any]) -> tuple[list[list[str]], list[list[str]], list[list[str]]]:
    """Rows of three tables: signals that are there, signals that are not and what that disables, remarks."""
    signals, gaps, notes = [], [], []
    for name, role in data["roles"].items():
        shown = f"{name}:{role['stat']}" if role.get("stat") else name
        if role["status"] == "missing":
            gaps.append([name, role["status"], ", ".join(role.get("disables", ())), role.get("note", "")])
            continue
        signals.append([shown, role["status"], _number(role["value"]), role["unit"], role["metric"] or ""])
        others = ", ".join(role.get("candidates", ()))
        for word, text in (
            ("deprecated", role.get("deprecated")),
            ("could also be", others),
            ("note", role.get("note")),
        ):
            if text:
                notes.append([shown, word, str(text)])
    return signals, gaps, notes


def read_page(place: str, timeout_seconds: float) -> Page:
    """Read and parse a metrics page from a URL, a file or (``-``) stdin.

    Raises
    ------
    CommandFailedError
        It cannot be read, is too large, or is no metrics page.
    """
    content_type = ""
    try:
        if _is_url(place):
            request = urllib.request.Request(place, headers={"Accept": ACCEPT})  # noqa: S310 - http and https only
            with urllib.request.urlopen(request, timeout=timeout_seconds) as answer:  # noqa: S310 - as above
                content_type = answer.headers.get("Content-Type", "")
                body = answer.read(LARGEST_PAGE_BYTES + 1)
        elif place == "-":
            body = sys.stdin.buffer.read(LARGEST_PAGE_BYTES + 1)
        else:
            with Path(place).open("rb") as file:
                body = file.read(LARGEST_PAGE_BYTES + 1)
    except (OSError, HTTPException, ValueError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise CommandFailedError(f"cannot read {place}: {getattr(error, 'reason', None) or error}") from None
    if len(body) > LARGEST_PAGE_BYTES:
        raise CommandFailedError(f"{place} is larger than {LARGEST_PAGE_BYTES} bytes")
    page = parse(body, content_type)
    if not page.layout.samples:
        raise CommandFailedError(f"{place} is no metrics page: {page.first_error or 'it has no samples'}")
    return page


def _is_url(place: str) -> bool:
    return place.startswith(("http://", "https://"))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
