"""Grafana boards as plain records, and the JSON that Grafana reads.

What stands on which board is said in ``grafana_boards`` and ``grafana_engines``; this module knows the format only.
The classic format, schema version 39, is read by every Grafana since 10.4. Invariant: equal boards give equal text,
``uid`` and panel ids included, so that links live on and a diff shows what changed.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

SCHEMA_VERSION = 39
LARGEST_BYTES = 500_000
"""A ConfigMap holds 1 MiB, base64 and metadata included."""
_UID_LENGTH = 40
_COLUMNS = 24
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}

MATCH = 'job=~"$job", instance=~"$instance"'
"""Every selector of every panel has these matchers."""
RATE = "$__rate_interval"
"""Window of every rate: Grafana makes it hold at least four scrapes."""
FLEET, ENGINES = "aiops", "aiops-engine"
"""Tags: boards that read the daemon, and boards that read an engine or exporter. Variables are kept inside of each."""


class Look(StrEnum):
    """How a panel draws."""

    LINES = "timeseries"
    STACK = "stack"
    NUMBER = "stat"
    TABLE = "table"


@dataclass(frozen=True, slots=True)
class Target:
    """One query. ``line`` marks one that is drawn as a dashed line on top of a stack, such as a limit."""

    expr: str
    legend: str
    line: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture.

    Attributes
    ----------
    unit
        Id of a unit that Grafana knows.
    axis
        Name of the unit, where Grafana has no id for it (tokens/s).
    limits
        Values from which on it is yellow, and red. None = no colours.
    top
        Largest value of the axis; None = by the data.
    """

    title: str
    description: str
    targets: tuple[Target, ...]
    unit: str = "short"
    look: Look = Look.LINES
    width: int = 8
    height: int = 8
    axis: str = ""
    limits: tuple[float, ...] | None = None
    top: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading; folded rows ask nothing until they are opened."""

    title: str
    panels: tuple[Panel, ...]
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice at the top of a board: the values of a label of some series.

    ``all_value`` must not be ``.+`` where series without the label count too.
    """

    name: str
    label: str
    of: str
    selector: str
    all_value: str = ".+"


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard; the variables ``datasource``, ``job`` and ``instance`` are added by :func:`as_json`."""

    uid: str
    title: str
    about: str
    rows: tuple[Row, ...]
    source: str
    """Selector of series that have all jobs and instances of the board."""
    tag: str = FLEET
    variables: tuple[Variable, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict)

    @property
    def targets(self) -> list[Target]:
        """All queries."""
        return [target for row in self.rows for panel in row.panels for target in panel.targets]

    def with_link(self, title: str, url: str) -> "Board":
        """The board with one more link at its top."""
        return replace(self, links={**self.links, title: url})


def as_text(board: Board) -> str:
    """The file.

    Raises
    ------
    ValueError
        The board is too large for a ConfigMap, or its uid is too long.
    """
    text = json.dumps(as_json(board), indent=1, ensure_ascii=False) + "\n"
    if len(text.encode()) >= LARGEST_BYTES or len(board.uid) > _UID_LENGTH:
        raise ValueError(f"board {board.uid}: {len(text)} characters; the limit is {LARGEST_BYTES}, of the uid 40")
    return text


def as_json(board: Board) -> dict[str, Any]:
    """The document, as in Grafana's HTTP API under ``dashboard``."""
    return {
        "id": None,
        "uid": board.uid,
        "title": board.title,
        "description": board.about,
        "tags": [FLEET] if board.tag == FLEET else [FLEET, ENGINES],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "timezone": "browser",
        "time": {"from": "now-1h", "to": "now"},
        "refresh": "30s",
        "fiscalYearStartMonth": 0,
        "liveNow": False,
        "weekStart": "",
        "annotations": {"list": list(_annotations())},
        "links": list(_links(board)),
        "templating": {"list": list(_variables(board))},
        "panels": _panels(board.rows),
    }


def _annotations() -> Iterable[dict[str, Any]]:
    yield {
        "name": "Annotations & Alerts",
        "builtIn": 1,
        "datasource": {"type": "grafana", "uid": "-- Grafana --"},
        "enable": True,
        "hide": True,
        "iconColor": "rgba(0, 211, 255, 1)",
        "type": "dashboard",
    }
    for name, expr, title, text, colour in (
        (
            "Firing alerts",
            'ALERTS{alertstate="firing", alertname=~"(LLM|GPU|Host|AIOps).+", alertname!="AIOpsHeartbeat"}',
            "{{alertname}}",
            "{{job}} {{instance}} {{model_name}}",
            "red",
        ),
        ("Open incidents", "max by (job, instance) (aiops_incidents_open) > 0", "Incident", "{{instance}}", "orange"),
    ):
        yield {
            "name": name,
            "datasource": _SOURCE,
            "enable": True,
            "hide": False,
            "iconColor": colour,
            "expr": expr,
            "step": "60s",
            "titleFormat": title,
            "textFormat": text,
            "tagKeys": "severity",
            "useValueForTime": False,
        }


def _links(board: Board) -> Iterable[dict[str, Any]]:
    plain = {"icon": "external link", "targetBlank": False, "tooltip": "", "keepTime": True, "asDropdown": False}
    for tag, title in ((FLEET, "aiops"), (ENGINES, "Engines")):
        kept = board.tag == tag
        yield {
            **plain, "type": "dashboards", "title": title, "tags": [tag], "url": "",
            "asDropdown": True, "includeVars": kept,
        }  # fmt: skip
    for title, url in board.links.items():
        yield {**plain, "type": "link", "title": title, "tags": [], "url": url, "includeVars": False}


def _variables(board: Board) -> Iterable[dict[str, Any]]:
    yield {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "regex": "",
        "hide": 0,
        "multi": False,
        "includeAll": False,
        "options": [],
        "refresh": 1,
        "skipUrlSync": False,
    }
    inside = f"{board.source[:-1]}, " if board.source.endswith("}") else f"{board.source}{{"
    for variable in (
        Variable("job", "Job", "job", board.source),
        Variable("instance", "Instance", "instance", f'{inside}job=~"$job"}}'),
        *board.variables,
    ):
        query = f"label_values({variable.selector}, {variable.of})"
        yield {
            "name": variable.name,
            "label": variable.label,
            "type": "query",
            "datasource": _SOURCE,
            "query": {"query": query, "refId": f"{variable.name}-values"},
            "regex": "",
            "hide": 0,
            "multi": True,
            "includeAll": True,
            "allValue": variable.all_value,
            "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
            "options": [],
            "refresh": 2,
            "sort": 1,
            "skipUrlSync": False,
        }


def _panels(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Rows from top to bottom, panels from left to right."""
    found: list[dict[str, Any]] = []
    number, y = 0, 0
    for row in rows:
        number += 1
        head: dict[str, Any] = {
            "id": number, "type": "row", "title": row.title, "collapsed": row.folded, "panels": [],
            "gridPos": {"x": 0, "y": y, "w": _COLUMNS, "h": 1},
        }  # fmt: skip
        found.append(head)
        x, y, tallest = 0, y + 1, 0
        for panel in row.panels:
            if x + panel.width > _COLUMNS:
                x, y, tallest = 0, y + tallest, 0
            number += 1
            place = {"x": x, "y": y, "w": panel.width, "h": panel.height}
            (head["panels"] if row.folded else found).append(_panel(panel, number, place))
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest
    return found


def _panel(panel: Panel, number: int, place: Mapping[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": "timeseries" if panel.look is Look.STACK else str(panel.look),
        "title": panel.title,
        "description": panel.description,
        "datasource": _SOURCE,
        "gridPos": dict(place),
        "targets": [_target(target, chr(ord("A") + n), panel.look) for n, target in enumerate(panel.targets)],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": _overrides(panel)},
        "options": _options(panel.look),
        **({"transformations": [_MERGE]} if panel.look is Look.TABLE else {}),
    }


_MERGE = {"id": "merge", "options": {}}


def _target(target: Target, ref: str, look: Look) -> dict[str, Any]:
    now = look in (Look.TABLE, Look.NUMBER)
    return {
        "refId": ref,
        "datasource": _SOURCE,
        "editorMode": "code",
        "expr": target.expr,
        "legendFormat": target.legend,
        "instant": now,
        "range": not now,
        "format": "table" if look is Look.TABLE else "time_series",
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    colours = ("yellow", "red")[-len(panel.limits) :] if panel.limits else ()
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    steps += [{"color": colour, "value": value} for colour, value in zip(colours, panel.limits or (), strict=True)]
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        "min": 0,
        "mappings": [],
        "color": {"mode": "thresholds" if panel.look is Look.NUMBER else "palette-classic"},
        "thresholds": {"mode": "absolute", "steps": steps},
        "custom": {},
    }
    if panel.top is not None:
        defaults["max"] = panel.top
    if panel.look in (Look.LINES, Look.STACK):
        stacked = panel.look is Look.STACK
        defaults["custom"] = {
            "drawStyle": "line",
            "lineInterpolation": "linear",
            "lineWidth": 1,
            "fillOpacity": 40 if stacked else 5,
            "pointSize": 4,
            "showPoints": "auto",
            "spanNulls": False,
            "axisLabel": panel.axis,
            "axisPlacement": "auto",
            "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "dashed" if panel.limits else "off"},
        }
    return defaults


def _overrides(panel: Panel) -> list[dict[str, Any]]:
    """Limits and totals: dashed, without a fill, and not piled on the rest."""
    return [
        {
            "matcher": {"id": "byFrameRefID", "options": chr(ord("A") + n)},
            "properties": [
                {"id": "custom.stacking", "value": {"mode": "none", "group": "A"}},
                {"id": "custom.fillOpacity", "value": 0},
                {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 8]}},
            ],
        }
        for n, target in enumerate(panel.targets)
        if target.line
    ]


def _options(look: Look) -> dict[str, Any]:
    if look is Look.NUMBER:
        return {
            "colorMode": "value",
            "graphMode": "none",
            "justifyMode": "auto",
            "orientation": "auto",
            "textMode": "auto",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        }
    if look is Look.TABLE:
        return {"showHeader": True, "cellHeight": "sm"}
    return {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
