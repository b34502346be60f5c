"""The live screen of ``aiops top``; textual is imported here and nowhere else.

Nothing from the daemon is ever read as markup: lines become :class:`rich.text.Text` with one style each.
"""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.events import Resize
from textual.widgets import Input, Static

from aiops.app.commands.top import Picture, Watch
from aiops.app.output import CommandFailedError
from aiops.kit.text import clipped, printable
from aiops.render.top import DARK, LIGHT, Look, Order, screen

_HELP = """\
Keys
  /        filter: rows whose name, labels or health hold the text; Esc takes it away
  s        sort by health, score, waiting requests, name
  ?        this page
  q        quit
  arrows, Page Up, Page Down, mouse wheel: scroll

Columns
  IS       worst alert that is active: crit, warn, info, ok; none when nothing is heard of it
  SCORE    highest score of the watched series: 1 is the edge of what is expected
  LOAD     requests that run, of the slots; of a GPU its use
  WAIT     requests that queue; of a GPU whether its clock is slowed
  MEM      use of the KV cache, of a GPU its memory
  TTFT/°C  time to the first token (p95, or the mean); of a GPU its temperature
  TOK/W    tokens out per second; of a GPU its power
  TREND    tokens out, or use of the GPU, over the daemon's window: from 0 to its own maximum
"""


class TopScreen(App[None]):
    """Asks, draws, and waits; goes on asking when nobody answers."""

    CSS = "#body { height: 1fr; } #filter { display: none; } #foot { height: 1; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "filter"),
        Binding("s", "sort", "sort"),
        Binding("question_mark", "help", "help"),
        Binding("escape", "clear", "back"),
        Binding("q", "quit", "quit"),
    ]
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, watch: Watch, look: Look, *, light: bool, interval_seconds: float) -> None:
        plain = "NO_COLOR" in os.environ  # before textual takes the variable away
        # Only with a terminal's own colours does textual print none; else it would print shades of grey.
        super().__init__(ansi_color=True if plain else None)
        self._watch = watch
        self._look = look
        self._colours: Mapping[str, int] = LIGHT if light else DARK
        self._interval = interval_seconds
        self._picture: Picture | None = None
        self._trouble = ""
        self._helping = False
        tone = "light" if light else "dark"
        self.theme = f"ansi-{tone}" if plain else f"textual-{tone}"

    def compose(self) -> ComposeResult:
        """A body that scrolls, a field for the filter, and a line about what is shown."""
        with VerticalScroll(id="body"):
            yield Static(id="lines", markup=False)
        yield Input(placeholder="filter", id="filter", compact=True)
        yield Static(id="foot", markup=False)

    def on_mount(self) -> None:
        """Begin to ask."""
        self.query_one("#body").focus()
        self.run_worker(self._ask(), exclusive=True)

    def on_resize(self, event: Resize) -> None:
        """Fit the new width."""
        # One cell for the scroll bar, which would cover the end of a line.
        self._look = replace(self._look, width=max(event.size.width - 2, 20))
        self._draw()

    async def _ask(self) -> None:
        while True:
            try:
                self._picture = await asyncio.to_thread(self._watch.look)
                self._trouble = ""
            except CommandFailedError as error:
                self._trouble = f"{printable(str(error))}; trying again every {self._interval:g} s"
            self._draw()
            await asyncio.sleep(self._interval)

    def _draw(self) -> None:
        self.query_one("#lines", Static).update(Text(_HELP) if self._helping else self._drawn())
        foot = f"/ filter  s sort: {self._look.order}  ? help  q quit"
        if self._look.wanted:
            foot = f"filter: {printable(clipped(self._look.wanted, 40))}  (Esc)  {foot}"
        self.query_one("#foot", Static).update(Text(foot, style="dim"))

    def _drawn(self) -> Text:
        text = Text(no_wrap=True, overflow="crop")
        if self._trouble:
            # Its own line above what was known last; wrapped, because it says what to do.
            text.append(f"{clipped(self._trouble, 2 * self._look.width)}\n", style=self._style("critical"))
        if self._picture is None:
            return text if self._trouble else Text("asking …")
        for line in screen(self._picture.fleet, self._picture.incidents, self._picture.past, self._look):
            text.append(f"{line.text}\n", style=self._style(line.style))
        return text

    def _style(self, style: str) -> str:
        return f"color({self._colours[style]})" if style in self._colours else "bold" if style == "strong" else ""

    def action_filter(self) -> None:
        """Let somebody type a filter; it works while they type."""
        field = self.query_one("#filter", Input)
        field.display = True
        field.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Show what fits so far."""
        self._look = replace(self._look, wanted=event.value.strip())
        self._draw()

    def on_input_submitted(self) -> None:
        """Keep the filter and give the keys back."""
        self._leave_filter()

    def _leave_filter(self) -> None:
        self.query_one("#filter", Input).display = False
        self.query_one("#body").focus()

    def action_clear(self) -> None:
        """Take help or the filter away."""
        if not self._helping:
            self.query_one("#filter", Input).value = ""
            self._leave_filter()
        self._helping = False
        self._draw()

    def action_sort(self) -> None:
        """The next order."""
        orders = tuple(Order)
        self._look = replace(self._look, order=orders[(orders.index(self._look.order) + 1) % len(orders)])
        self._draw()

    def action_help(self) -> None:
        """The keys and columns, or the fleet again."""
        self._helping = not self._helping
        self._draw()


def run(watch: Watch, look: Look, *, light: bool, interval_seconds: float) -> None:
    """Show the screen until somebody quits."""
    TopScreen(watch, look, light=light, interval_seconds=interval_seconds).run()
