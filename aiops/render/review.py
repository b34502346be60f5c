"""The weekly review as one self-contained page: HTML or Markdown, no script, no file beside it.

Everything that comes from outside is escaped; a chart is inline SVG whose words are also in a table beside it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import isnan, nan

from aiops.kit.text import printable
from aiops.render.review_parts import (
    DAY,
    Advised,
    Gpu,
    Plot,
    Span,
    Spent,
    budget_rows,
    capacity_rows,
    lanes,
    lasted,
    replica_plot,
    silence_rows,
    stamp,
)

SEVERITIES = ("critical", "warning", "info")
CHECKS = ("Xid", "ECC", "throttling", "row remap", "other")
"""What is said of the health of a GPU."""
_MOST_PLOTS = 12
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
svg.small { width: auto; vertical-align: middle; }
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
    known_at: float = nan
    """UTC seconds of what is told of budgets and replicas; NaN when nothing is kept of them."""
    budgets: Sequence[Spent] = ()
    pools: Sequence[Advised] = ()
    advice: Sequence[Happened] = ()
    gpus: Sequence[Gpu] = ()

    @property
    def weeks(self) -> float:
        """Length of the period."""
        return (self.until - self.since) / (7 * DAY)


def figures(review: Review) -> list[tuple[str, str]]:
    """The numbers on top: value and what it counts."""
    counts = {name: sum(one.severity == name for one in review.incidents) for name in SEVERITIES}
    lengths = sorted(one.ended_at - one.started_at for one in review.incidents if one.ended_at)
    middle = lasted(lengths[len(lengths) // 2]) if lengths else "–"
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
    for one in _sections(review):
        parts += ["", f"## {one.title}", ""]
        parts += [one.hint, ""] if one.hint else []
        if one.rows:
            parts += [_row(one.head), _row("---" for _ in one.head), *map(_row, one.rows)]
        else:
            parts.append(one.empty)
    return "\n".join(parts) + "\n"


def html(review: Review) -> str:
    """Return the review as one HTML document, good for a browser, for mail and for printing to PDF."""
    numbers = "".join(f"<li><b>{escape(value)}</b>{escape(what)}</li>" for value, what in figures(review))
    body = [
        f"<h1>Review of {escape(_period(review))}</h1>",
        f'<ul class="figures">{numbers}</ul>',
        f'<p class="soft">{escape(printable(review.note))}</p>' if review.note else "",
    ]
    for one in _sections(review):
        body.append(f"<h2>{escape(one.title)}</h2>")
        body.append(f'<p class="soft">{escape(one.hint)}</p>' if one.hint else "")
        body += one.plots
        body.append(_table(one.head, one.rows) if one.rows else f'<p class="soft">{escape(one.empty)}</p>')
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>aiops: review of {escape(_period(review))}</title><style>{_STYLE}</style></head>\n<body>"
        + "\n".join(part for part in body if part)
        + "</body></html>\n"
    )


@dataclass(frozen=True, slots=True)
class _Section:
    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str | Plot]]
    hint: str = ""
    plots: Sequence[str] = ()
    empty: str = "None."


def _sections(review: Review) -> Iterator[_Section]:
    incidents = [
        (stamp(one.started_at), lasted(one.ended_at - one.started_at) if one.ended_at else "open", one.severity,
         one.title, str(one.alerts), one.cause or "–", one.judgement or "–", one.id)
        for one in sorted(review.incidents, key=lambda one: one.started_at)
    ]  # fmt: skip
    head = ("began (UTC)", "lasted", "severity", "what", "alerts", "cause", "people say", "id")
    yield _Section("Incidents", head, incidents, plots=[_timeline(review)] if incidents else ())
    yield from _state(review)
    yield _gpu_health(review)
    rules = [
        (rule.name, rule.severity, str(rule.fired), lasted(rule.seconds), _share(rule))
        for rule in sorted(review.rules, key=lambda rule: (-rule.fired, rule.name))
    ]
    yield _Section("Alerts by rule", ("rule", "severity", "fired", "for altogether", "called true / false"), rules)
    causes = [(name, str(count)) for name, count in _causes(review.incidents)]
    yield _Section("Causes", ("cause", "incidents"), causes)
    yield _happened("Changes", review.changes)
    yield _happened("GPU and file events", review.hardware)


def _state(review: Review) -> Iterator[_Section]:
    """Budgets and replicas, as they stood when they were kept last."""
    known = not isnan(review.known_at)
    empty = "None." if known else "Unknown: no snapshot of a daemon could be read."
    of = f"As it stood at {stamp(review.known_at)} UTC. " if known else ""
    yield _Section(
        "Error budgets",
        ("objective", "pool", "requests", "bad", "budget left", "pace, last day", "pace by six hours"),
        budget_rows(review.budgets),
        of + "At a pace of 1 × a budget lasts exactly as long as it has to; bars above the line are faster.",
        empty=empty,
    )
    plots = [replica_plot(one, _earliest(one, review), review.until) for one in review.pools[:_MOST_PLOTS]]
    yield _Section(
        "Capacity",
        ("pool", "replicas", "advised", "limited by", "what became of advice"),
        capacity_rows(review.pools),
        of + "Line: replicas that were there; dashes: advised; grey: no advice.",
        plots=[plot for plot in plots if plot],
        empty=empty,
    )
    yield _Section("Without advice", ("pool", "from (UTC)", "for", "why"), silence_rows(review.pools), empty=empty)
    yield _happened("What was advised", review.advice)


def _earliest(one: Advised, review: Review) -> float:
    """Only so far back as anything is kept."""
    return max(review.since, min((at for at, _ in (*one.present[:1], *one.advised[:1])), default=review.since))


def _gpu_health(review: Review) -> _Section:
    rows = [
        (one.name, one.node, *(one.checks.get(check, "unknown") for check in CHECKS))
        for one in sorted(review.gpus, key=lambda one: (-len(one.troubles), one.node, one.name))
    ]
    troubled = [one for one in review.gpus if one.troubles][:_MOST_PLOTS]
    plot = lanes(review.since, review.until, [(one.name, one.troubles) for one in troubled], "Trouble of GPUs")
    hint = "Alerts of the period; none where the GPU reports it and all was well, unknown where it does not report it."
    return _Section("GPU health", ("GPU", "node", *CHECKS), rows, hint, plots=[plot] if troubled else ())


def _happened(title: str, happened: Iterable[Happened]) -> _Section:
    rows = [(stamp(one.at), one.kind, one.where, one.detail) for one in happened]
    return _Section(title, ("at (UTC)", "what", "where", "detail"), rows)


def _timeline(review: Review) -> str:
    rows = [
        (severity, [Span(one.started_at, one.ended_at or review.until, severity, one.title)
                    for one in review.incidents if one.severity == severity])
        for severity in SEVERITIES
    ]  # fmt: skip
    return lanes(review.since, review.until, rows, "When incidents were open")


def _causes(incidents: Iterable[Told]) -> list[tuple[str, int]]:
    counts: dict[str, int] = {}
    for one in incidents:
        name = one.cause or "not known"
        counts[name] = counts.get(name, 0) + 1
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _share(rule: Rule) -> str:
    return f"{rule.true} / {rule.false}" if rule.true or rule.false else "–"


def _table(head: Sequence[str], rows: Sequence[Sequence[str | Plot]]) -> str:
    titles = "".join(f'<th scope="col">{escape(title)}</th>' for title in head)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(cell: str | Plot) -> str:
    if isinstance(cell, Plot):
        return f"<td>{cell.svg}</td>"
    return f'<td class="{cell}">{cell}</td>' if cell in SEVERITIES else f"<td>{escape(printable(cell))}</td>"


def _row(cells: Iterable[str | Plot]) -> str:
    words = (cell.words if isinstance(cell, Plot) else cell for cell in cells)
    return "| " + " | ".join(_in_markdown(word) for word in words) + " |"


_MARKDOWN: Mapping[int, str] = {ord(sign): f"\\{sign}" for sign in "\\`*_[]<>|#!"}


def _in_markdown(cell: str) -> str:
    return cell if set(cell) == {"-"} else printable(cell).translate(_MARKDOWN)


def _period(review: Review) -> str:
    return f"{stamp(review.since)} to {stamp(review.until)} UTC"
