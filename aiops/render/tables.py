"""Tables for a terminal: aligned by display width, cut to fit, safe to print whatever the cells hold."""

from collections.abc import Mapping, Sequence
from unicodedata import combining, east_asian_width

from aiops.kit.text import printable

GAP = "  "
NARROWEST_PROSE = 24  # a column of sentences
MOST_LINES = 4  # of a cell that wraps
NARROWEST = 6  # a cut column still shows this much, even when the table then overflows the terminal


def display_width(text: str) -> int:
    """Terminal cells of a text: wide characters take two, combining ones none."""
    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)


def cut(text: str, width: int) -> str:
    """Shorten to ``width`` cells, ending in ``…`` when something was cut."""
    return text if display_width(text) <= width else _beginning(text, width - 1) + "…"


def _beginning(text: str, width: int) -> str:
    used = 0
    for index, char in enumerate(text):
        used += display_width(char)
        if used > width:
            return text[:index]
    return text


def broken(text: str, width: int, most: int | None = None) -> list[str]:
    """Lines of at most ``width`` cells, broken between words, or within one that is longer; the last of ``most`` is
    cut."""
    lines: list[str] = []
    while display_width(text) > width:
        if len(lines) + 1 == most:
            return [*lines, cut(text, width)]
        whole = _beginning(text, width)
        head = whole if text[len(whole) :].startswith(" ") else whole.rpartition(" ")[0].rstrip() or whole or text[0]
        lines.append(head)
        text = text[len(head) :].lstrip()
    return [*lines, text] if text or not lines else lines


def column_widths(natural: Sequence[int], total: int | None) -> list[int]:
    """Widths that fit ``total`` cells with gaps between, taken from the widest column again and again.

    Parameters
    ----------
    natural
        What each column would take.
    total
        Cells of a line; None = no limit.
    """
    widths = list(natural)
    room = (total if total is not None else sum(widths) + len(GAP) * len(widths)) - len(GAP) * (len(widths) - 1)
    while sum(widths) > room and max(widths) > NARROWEST:
        widest = max(range(len(widths)), key=widths.__getitem__)
        second = max((width for index, width in enumerate(widths) if index != widest), default=NARROWEST)
        # Down to the second widest at once, or one step below it: linear in columns, not in cells.
        target = min(max(second, NARROWEST), widths[widest] - 1)
        widths[widest] = max(widths[widest] - (sum(widths) - room), target, NARROWEST)
    return widths


def table(
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    width: int | None = None,
    header: bool = True,
    colours: Mapping[str, str] | None = None,
    wraps: bool = False,
) -> str:
    """Columns of text, left aligned, one line per row, or more where the last column wraps.

    Parameters
    ----------
    width
        Cells of a line; the widest columns are cut to fit. None = never cut.
    header
        Whether to print the column names.
    colours
        Terminal sequence for cells that are exactly one of these words; None = plain text.
    wraps
        Whether the last column goes on in further lines instead of being cut; it then takes what the others leave, at
        least :data:`NARROWEST_PROSE`.

    Returns
    -------
    Lines that each end in a line break; empty without header and rows.
    """
    lines = [list(headers)] if header else []
    lines += [[printable(cell) for cell in row] for row in rows]
    if not lines:
        return ""
    natural = [max(display_width(line[column]) for line in lines) for column in range(len(headers))]
    if wraps and width is not None:
        left = width - sum(natural[:-1]) - len(GAP) * (len(headers) - 1)
        natural[-1] = min(natural[-1], max(left, NARROWEST_PROSE))
    widths = column_widths(natural, width)
    if wraps:
        lines = [row for line in lines for row in _continued(line, widths[-1])]
    painted = colours or {}

    def laid_out(line: Sequence[str]) -> str:
        cells = [(cell, cut(cell, limit), limit) for cell, limit in zip(line, widths, strict=True)]
        padded = [
            (f"{painted[cell]}{short}\x1b[0m" if cell in painted else short) + " " * (limit - display_width(short))
            for cell, short, limit in cells
        ]
        return GAP.join(padded).rstrip()

    return "".join(f"{laid_out(line)}\n" for line in lines)


def _continued(line: Sequence[str], width: int) -> list[list[str]]:
    """A row, and below it the rest of its last cell, as far as there is room for it."""
    first, *rest = broken(line[-1], width, MOST_LINES)
    return [[*line[:-1], first], *([""] * (len(line) - 1) + [part] for part in rest)]
