"""``aiops metrics doctor``: what a metrics page gives, what it lacks, and what that costs."""

import sys
import time
import urllib.error
import urllib.request
from argparse import Namespace
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from importlib import import_module
from pathlib import Path
from typing import Any

from aiops.app.output import Column, CommandFailedError, Exit, Output, say, show
from aiops.collect.exposition import parse
from aiops.signals.page import Page

LARGEST_PAGE_BYTES = 64 * 1024 * 1024
ACCEPT = "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=1.0,*/*;q=0.1"


def doctor(args: Namespace) -> int:
    """``aiops metrics doctor``."""
    page = read_page(args.page, args.timeout)
    again = None
    if args.again:
        again = read_page(args.again, args.timeout)
    elif args.interval and _is_url(args.page):
        say(f"aiops: reading the page again in {args.interval:g} s")
        time.sleep(args.interval)
        again = read_page(args.page, args.timeout)
    if again is not None and not args.interval:
        say("aiops: rates need --interval SECONDS, the time between the two pages")
    diagnosis = import_module("aiops.signals.doctor").examine(page, again, args.interval).to_dict()
    signals, rest = rows(diagnosis)
    show(diagnosis, [Column(name) for name in ("ROLE", "STATUS", "VALUE", "UNIT", "METRIC")], signals,
         output=args.output, headers=args.headers)  # fmt: skip
    if args.output in (Output.TABLE, Output.WIDE) and rest:
        show(diagnosis, [Column(""), Column("")], rest, output=args.output, headers=False)
    if page.bad_lines:
        say(f"aiops: {page.bad_lines} line(s) could not be read; the first: {page.first_error}")
    return Exit.OK if signals else Exit.FAILED


def rows(diagnosis: Mapping[str, Any]) -> tuple[Sequence[Sequence[str]], Sequence[Sequence[str]]]:
    """Rows of the table of signals, and of the remarks below it."""
    signals = [
        [_cell(entry.get(key)) for key in ("role", "status", "value", "unit", "metric")]
        for entry in diagnosis.get("signals", ())
    ]
    remarks = [
        [word, _cell(entry)] for word in ("missing", "deprecated", "disabled") for entry in diagnosis.get(word, ())
    ]
    return signals, remarks


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


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ": ".join(_cell(inner) for inner in value.values() if inner not in (None, "", []))
    return ", ".join(map(_cell, value)) if isinstance(value, list | tuple) else str(value)
