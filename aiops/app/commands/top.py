"""``aiops top``: the fleet on one screen of a terminal, once or again and again."""

import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from importlib.util import find_spec
from urllib.parse import quote, urlencode

from aiops.app.commands.client import Record, answer_of, base_url, records
from aiops.app.output import CommandFailedError, Exit, colours, terminal_width, write
from aiops.render.top import DARK, LIGHT, MOST_INCIDENTS, TREND_OF, Line, Look, Trends, screen, trends

HISTORY_SECONDS = 15.0
_WIDTH = 80
_MOST_TRENDS = 50


@dataclass(frozen=True, slots=True)
class Picture:
    """What the daemon said last."""

    fleet: Record = field(default_factory=dict)
    incidents: Sequence[Record] = ()
    past: Trends = field(default_factory=dict)


class Watch:
    """Asks the daemon for pictures; the past, which is large and moves little, less often than the rest."""

    def __init__(self, args: Namespace) -> None:
        self._args = args
        self._past: Trends = {}
        self._past_until = float("-inf")

    @property
    def url(self) -> str:
        """The daemon that is asked."""
        return base_url(self._args)

    def look(self) -> Picture:
        """The newest picture; raises CommandFailedError when there is none."""
        fleet = answer_of(self._args, "/api/v1/fleet")
        if time.monotonic() >= self._past_until:
            self._past = self._trends()
            self._past_until = time.monotonic() + HISTORY_SECONDS
        return Picture(fleet, self._open_incidents(), self._past)

    def _open_incidents(self) -> list[Record]:
        """Those that are shown in full, which is where the cause stands; the others as listed."""
        found = [one for one in records(self._args, "incidents", "incidents") if one.get("state") == "open"]
        found.sort(key=lambda one: one.get("severity") != "critical")
        for index, incident in enumerate(found[:MOST_INCIDENTS]):
            path = f"/api/v1/incidents/{quote(str(incident.get('id')), safe='')}"
            try:
                full = answer_of(self._args, path).get("incident")
            except CommandFailedError:  # forgotten since it was listed; a daemon that is gone is told of next time
                continue
            if isinstance(full, dict):
                found[index] = full
        return found

    def _trends(self) -> Trends:
        asked = [
            urlencode({"signal": signal, "entity": f"{kind}{{", "limit": _MOST_TRENDS})
            for kind, signal in TREND_OF.items()
        ]
        return trends([answer_of(self._args, f"/api/v1/signals/range?{query}") for query in asked])


def top(args: Namespace) -> int:
    """``aiops top``."""
    watch = Watch(args)
    # A terminal that says that it knows no Unicode gets none, as with the flag.
    encoding = (sys.stdout.encoding or "ascii").lower()
    look = Look(ascii=args.ascii or not encoding.startswith("utf"))
    if args.once:
        picture = watch.look()
        look = replace(look, width=terminal_width() or _WIDTH)
        lines = screen(picture.fleet, picture.incidents, picture.past, look)
        painted = (LIGHT if args.light else DARK) if colours() else {}
        write("".join(f"{_painted(line, painted)}\n" for line in lines))
        return Exit.OK
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise CommandFailedError("this is no terminal; 'aiops top --once' prints one screen")
    if find_spec("textual") is None:
        raise CommandFailedError(
            "the package textual is not installed; pip install 'aiops[tui]', or 'aiops top --once' for one screen"
        )
    base_url(args)
    import_module("aiops.app.top_screen").run(watch, look, light=args.light, interval_seconds=args.interval)
    return Exit.OK


def _painted(line: Line, painted: dict[str, int]) -> str:
    if line.style in painted:
        return f"\x1b[38;5;{painted[line.style]}m{line.text}\x1b[0m"
    return f"\x1b[1m{line.text}\x1b[0m" if painted and line.style == "strong" else line.text
