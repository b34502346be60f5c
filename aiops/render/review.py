"""The weekly review as one self-contained page: HTML or Markdown, no script, no file beside it.

Everything that comes from outside is escaped; a chart is inline SVG whose words are also in a table beside it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape

from aiops.kit.settings import format_duration
from aiops.kit.text import printable

SEVERITIES = ("critical", "warning", "info")
_COLOURS = {"critical": "#b3261e", "warning": "#b06f00", "info": "#3a6ea5"}
_DAY = 86_400.0
_STYLE = """
:root { color-scheme: light dark; --fg: #1b1b1b; --bg: #fff; --soft: #666; --line: #ddd; }
@media (prefers-color-scheme: dark) { :root { --fg: #e6e6e6; --bg: #161616; --soft: #a0a0a0; --line: #3a3a3a; } }
body { font: 15px/1.45 system-ui, sans-serif; color: var(--fg); background: var(--bg); max-width: 70rem;
       margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
.soft { color: var(--soft); }
.figures { display: flex; flex-wrap: wrap; gap: 1rem 2.5rem; padding: 0; list-style: none; }
.figures b { display: block; font-size: 1.6rem; font-weight: 600; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .3rem .8rem .3rem 0;
       border-bottom: 1px solid var(--line); vertical-align: top; }
svg text { fill: currentColor; font-size: 11px; } svg { width: 100%; height: auto; }
.critical { color: #b3261e; } .warning { color: #8a5700; } .info { color: #2f5d8c; }
@media (prefers-color-scheme: dark) {
  .critical { color: #f2a19b; } .warning { color: #e6b35c; } .info { color: #8fb8e0; }
}
@media print { body { margin: 0; max-width: none; } h2 { break-after: avoid; } tr { break-inside: avoid; } }
"""


@dataclass(frozen=True, slots=True)
class Told:
    """One incident of the period.

    Attributes
    ----------
    started_at, ended_at
        UTC seconds; ``ended_at`` is 0.0 while open.
    cause
        What is held to be the cause; empty when nobody knows.
    judgement
        What people said about it; empty when they said nothing.
    """

    id: str
    started_at: float
    ended_at: float
    severity: str
    title: str
    alerts: int
    cause: str = ""
    judgement: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """How often one rule fired, and what people said about that."""

    name: str
    severity: str
    fired: int
    seconds: float
    true: int = 0
    false: int = 0


@dataclass(frozen=True, slots=True)
class Happened:
    """A deploy, a restart, an Xid: something that is no alert."""

    at: float
    kind: str
    where: str
    detail: str


@dataclass(frozen=True, slots=True)
class Review:
    """What the page says. Times are UTC seconds."""

    since: float
    until: float
    incidents: Sequence[Told]
    rules: Sequence[Rule]
    changes: Sequence[Happened]
    hardware: Sequence[Happened]
    false_alerts: int
    budget_per_week: float
    note: str = ""

    @property
    def weeks(self) -> float:
        """Length of the period."""
        return (self.until - self.since) / (7 * _DAY)


def figures(review: Review) -> list[tuple[str, str]]:
    """The numbers on top: value and what it counts."""
    counts = {name: sum(one.severity == name for one in review.incidents) for name in SEVERITIES}
    lengths = sorted(one.ended_at - one.started_at for one in review.incidents if one.ended_at)
    middle = _lasted(lengths[len(lengths) // 2]) if lengths else "–"
    asked = review.budget_per_week * review.weeks
    return [
        (str(counts["critical"]), "critical incidents"),
        (str(counts["warning"] + counts["info"]), "other incidents"),
        (middle, "median time until over"),
        (str(review.false_alerts), f"alerts called false; the budget allows {asked:.3g}"),
        (str(sum(not one.ended_at for one in review.incidents)), "still open"),
    ]


def markdown(review: Review) -> str:
    """Return the review as Markdown."""
    parts = [f"# Review of {_period(review)}", ""]
    parts += [f"* **{value}** {what}" for value, what in figures(review)]
    if review.note:
        parts += ["", _in_markdown(review.note)]
    for title, head, rows in _tables(review):
        parts += ["", f"## {title}", ""]
        if rows:
            parts += [_row(head), _row("---" for _ in head), *map(_row, rows)]
        else:
            parts.append("None.")
    return "\n".join(parts) + "\n"


def html(review: Review) -> str:
    """Return the review as one HTML document, good for a browser, for mail and for printing to PDF."""
    numbers = "".join(f"<li><b>{escape(value)}</b>{escape(what)}</li>" for value, what in figures(review))
    body = [
        f"<h1>Review of {escape(_period(review))}</h1>",
        f'<ul class="figures">{numbers}</ul>',
        f'<p class="soft">{escape(printable(review.note))}</p>' if review.note else "",
        _timeline(review),
    ]
    for title, head, rows in _tables(review):
        body.append(f"<h2>{escape(title)}</h2>")
        body.append(_table(head, rows) if rows else '<p class="soft">None.</p>')
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>aiops: review of {escape(_period(review))}</title><style>{_STYLE}</style></head>\n<body>"
        + "\n".join(part for part in body if part)
        + "</body></html>\n"
    )


def _tables(review: Review) -> Iterable[tuple[str, Sequence[str], Sequence[Sequence[str]]]]:
    incidents = [
        (_stamp(one.started_at), _lasted(one.ended_at - one.started_at) if one.ended_at else "open", one.severity,
         one.title, str(one.alerts), one.cause or "–", one.judgement or "–", one.id)
        for one in sorted(review.incidents, key=lambda one: one.started_at)
    ]  # fmt: skip
    yield (
        "Incidents",
        ("began (UTC)", "lasted", "severity", "what", "alerts", "cause", "people say", "id"),
        incidents,
    )
    rules = [
        (rule.name, rule.severity, str(rule.fired), _lasted(rule.seconds), _share(rule))
        for rule in sorted(review.rules, key=lambda rule: (-rule.fired, rule.name))
    ]
    yield "Alerts by rule", ("rule", "severity", "fired", "for altogether", "called true / false"), rules
    yield "Causes", ("cause", "incidents"), [(name, str(count)) for name, count in _causes(review.incidents)]
    for title, happened in (("Changes", review.changes), ("GPUs and files", review.hardware)):
        rows = [(_stamp(one.at), one.kind, one.where, one.detail) for one in happened]
        yield title, ("at (UTC)", "what", "where", "detail"), rows


def _causes(incidents: Iterable[Told]) -> list[tuple[str, int]]:
    counts: dict[str, int] = {}
    for one in incidents:
        name = one.cause or "not known"
        counts[name] = counts.get(name, 0) + 1
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _share(rule: Rule) -> str:
    return f"{rule.true} / {rule.false}" if rule.true or rule.false else "–"


def _timeline(review: Review) -> str:
    """Incidents as bars over the days, one lane per severity; where bars meet, they darken."""
    width, lane, left = 1000.0, 22.0, 70.0
    length = max(review.until - review.since, 1.0)

    def x(at: float) -> float:
        return left + (width - left) * min(max((at - review.since) / length, 0.0), 1.0)

    marks = []
    day = review.since - review.since % _DAY + _DAY
    while day < review.until:
        marks.append(f'<line x1="{x(day):.1f}" y1="0" x2="{x(day):.1f}" y2="{3 * lane:.0f}" stroke="#8884"/>')
        marks.append(f'<text x="{x(day) + 3:.1f}" y="{3 * lane + 12:.0f}">{_stamp(day)[5:10]}</text>')
        day += _DAY * max(1, round(length / _DAY / 14))
    for place, severity in enumerate(SEVERITIES):
        top = place * lane
        marks.append(f'<text x="0" y="{top + 14:.0f}">{severity}</text>')
        for one in review.incidents:
            if one.severity == severity:
                begin, end = x(one.started_at), x(one.ended_at or review.until)
                marks.append(
                    f'<rect x="{begin:.1f}" y="{top + 4:.0f}" width="{max(end - begin, 2.0):.1f}" height="14" '
                    f'fill="{_COLOURS[severity]}" fill-opacity="0.7">'
                    f"<title>{escape(printable(one.title))}</title></rect>"
                )
    return (
        f'<svg viewBox="0 0 {width:.0f} {3 * lane + 18:.0f}" role="img" aria-label="When incidents were open">'
        + "".join(marks)
        + "</svg>"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = [
        "".join(
            f'<td class="{cell}">{cell}</td>' if cell in SEVERITIES else f"<td>{escape(printable(cell))}</td>"
            for cell in row
        )
        for row in rows
    ]
    titles = "".join(f'<th scope="col">{escape(title)}</th>' for title in head)
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    return f'<div class="scroll"><table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>'


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(_in_markdown(cell) for cell in cells) + " |"


_MARKDOWN: Mapping[int, str] = {ord(sign): f"\\{sign}" for sign in "\\`*_[]<>|#!"}


def _in_markdown(cell: str) -> str:
    return cell if set(cell) == {"-"} else printable(cell).translate(_MARKDOWN)


def _lasted(seconds: float) -> str:
    unit = 1.0 if seconds < 60 else 60.0
    return format_duration(round(seconds / unit) * unit)


def _stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")


def _period(review: Review) -> str:
    return f"{_stamp(review.since)} to {_stamp(review.until)} UTC"
