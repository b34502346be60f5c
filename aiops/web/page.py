"""A plain page that says in ten seconds how the fleet is. Rendered here, no script, everything escaped."""

from collections.abc import Mapping, Sequence
from html import escape
from urllib.parse import quote

from aiops.web.source import Record, Source

STYLE = """
:root { color-scheme: light dark; --line: #8884; --bad: #c62828; --warn: #b26a00; --good: #2e7d32; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
.calm { color: var(--good); font-weight: 600; } .critical, .down { color: var(--bad); font-weight: 600; }
.warning, .pending { color: var(--warn); font-weight: 600; } .up { color: var(--good); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
nav a { margin-right: 1rem; } footer { margin-top: 3rem; opacity: .7; }
"""


def _cell(value: object) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    name = text if text in {"critical", "warning", "down", "up", "pending"} else ""
    return f'<td class="{name}">{escape(text)}</td>' if name else f"<td>{escape(text)}</td>"


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]], empty: str) -> str:
    if not rows:
        return f"<p>{escape(empty)}</p>"
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body = "".join(f"<tr>{''.join(_cell(value) for value in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _text(record: Record, *path: str) -> object:
    value: object = record
    for name in path:
        value = value.get(name, "") if isinstance(value, Mapping) else ""
    return "" if value is None else value


def _where(alert: Record) -> str:
    labels = alert.get("labels")
    if not isinstance(labels, Mapping):
        return ""
    hidden = {"alertname", "severity", "signal", "stat"}
    return " ".join(f"{name}={value}" for name, value in labels.items() if name not in hidden)


def _headline(incidents: Sequence[Record]) -> str:
    if not incidents:
        return '<p class="calm">No open incident.</p>'
    items = "".join(
        f'<li><span class="{escape(str(_text(one, "severity")))}">{escape(str(_text(one, "severity")))}</span> '
        f'<a href="incidents/{quote(str(_text(one, "id")))}">{escape(str(_text(one, "title")))}</a> '
        f"since {escape(str(_text(one, 'startsAt')))}, {_count(one.get('alerts'))} alerts</li>"
        for one in incidents
    )
    return f"<ul>{items}</ul>"


def _count(value: object) -> int:
    return len(value) if isinstance(value, Sequence) else 0


def frame(title: str, body: str, *, up: str = "", refresh: bool = False) -> str:
    """Return a whole page; ``up`` leads from here to the root."""
    again = '<meta http-equiv="refresh" content="5">' if refresh else ""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">{again}'
        f'<link rel="stylesheet" href="{up}static/style.css"></head><body>{body}</body></html>'
    )


def _links(links: object) -> str:
    """Where to say what each alert was."""
    items = "".join(
        f'<li><a href="{escape(str(link["url"]))}">{escape(str(link["alert"]))}</a></li>'
        for link in (links if isinstance(links, Sequence) else ())
        if str(link["url"]).startswith(("http://", "https://"))
    )
    return f"<h2>Was it right?</h2><ul>{items}</ul>" if items else ""


def incident_page(incident: Record) -> str:
    """Return the page of one incident as HTML."""
    members = incident.get("alerts")
    rows = [
        (_text(one, "state"), _text(one, "alertname"), _text(one, "series"), _text(one, "reason"))
        for one in (members if isinstance(members, Sequence) else ())
        if isinstance(one, Mapping)
    ]
    severity = escape(str(_text(incident, "severity")))
    ended = _text(incident, "endsAt")
    body = (
        f'<nav><a href="../">all incidents</a></nav><h1>{escape(str(_text(incident, "title")))}</h1>'
        f'<p><span class="{severity}">{severity}</span> incident {escape(str(_text(incident, "id")))}, '
        f"since {escape(str(_text(incident, 'startsAt')))}, "
        f"{f'over at {escape(str(ended))}' if ended else 'open'}</p>"
        f"{_summary(incident)}"
        f"{_table(('state', 'alert', 'series', 'why'), rows, 'Its alerts are forgotten.')}"
        f"{_links(incident.get('feedback'))}"
    )
    return frame("aiops incident", body, up="../")


def _summary(incident: Record) -> str:
    """Sentences of the summary, a paragraph for each part."""
    summary = incident.get("summary")
    sentences = summary.get("sentences", ()) if isinstance(summary, Mapping) else ()
    paragraphs: dict[str, list[str]] = {}
    for sentence in sentences:
        paragraphs.setdefault(str(_text(sentence, "part")), []).append(escape(str(_text(sentence, "text"))))
    told = "".join(f"<p>{' '.join(texts)}</p>" for texts in paragraphs.values())
    model = summary.get("model") if isinstance(summary, Mapping) else None
    return told + (_model(model) if isinstance(model, Mapping) else "")


def _model(model: Record) -> str:
    """What a language model said, named as such."""
    said = model.get("sentences")
    texts = [escape(str(_text(one, "text"))) for one in said] if isinstance(said, Sequence) else []
    dropped, warning = _text(model, "droppedSentences"), escape(str(_text(model, "warning")))
    return (
        f"<h2>Written by the language model {escape(str(_text(model, 'name')))}</h2>"
        f"<p>{' '.join(texts) or 'Nothing of it could be shown to be true.'}</p>"
        f"<p>Checked against the evidence; {escape(str(dropped))} sentences were dropped. {warning}</p>"
    )


def status_page(source: Source) -> str:
    """Return the whole page as HTML."""
    incidents = [record for record in source.incidents() if not record.get("endsAt")]
    every = source.alerts()
    alerts = [
        (
            _text(alert, "labels", "severity"),
            _text(alert, "labels", "alertname"),
            _where(alert),
            _text(alert, "annotations", "summary"),
            _text(alert, "annotations", "description"),
        )
        for alert in every
        if alert.get("state") in ("firing", "resolving")
    ]
    pending = sum(alert.get("state") == "pending" for alert in every)
    targets = [
        (
            _text(target, "health"),
            _text(target, "source"),
            _text(target, "facts", "engine"),
            _text(target, "lastScrapeDuration"),
            _text(target, "lastError"),
        )
        for target in source.targets()
    ]
    links = " ".join(
        f'<a href="{path}">{name}</a>'
        for path, name in (
            ("metrics", "metrics"),
            ("api/v1/targets", "targets"),
            ("api/v1/signals", "signals"),
            ("api/v1/alerts", "alerts"),
            ("api/v1/incidents", "incidents"),
            ("api/v1/status", "status"),
        )
    )
    version = escape(str(_text(source.status(), "version")))
    body = (
        f"<h1>aiops</h1><nav>{links}</nav><h2>Incidents</h2>{_headline(incidents)}"
        f"<h2>Alerts</h2>{_table(('severity', 'alert', 'where', 'what', 'why'), alerts, 'None fires.')}"
        f"<p>{pending} more may fire soon.</p>"
        f"<h2>Targets</h2>{_table(('health', 'source', 'engine', 'seconds', 'last error'), targets, 'No target yet.')}"
        f"<footer>aiops {version}</footer>"
    )
    return frame("aiops", body, refresh=True)
