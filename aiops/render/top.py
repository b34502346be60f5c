"""The screen of ``aiops top``: answers of the API as rows and lines of text, whatever the answers hold.

Every text of the answers passes :func:`aiops.kit.text.printable`, and a line knows only words and one style: there is
no markup that a label could bring along.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from math import isfinite
from typing import Any

from aiops.kit.text import clipped, printable
from aiops.render.tables import broken, cut, display_width, table

Record = Mapping[str, Any]
Trends = Mapping[str, Sequence[float]]
HEALTHS = ("critical", "warning", "silent", "info", "ok")
MOST_INCIDENTS = 5
DARK = {"critical": 203, "warning": 214, "silent": 245, "info": 117, "dim": 245}
LIGHT = {"critical": 160, "warning": 130, "silent": 241, "info": 25, "dim": 241}
"""Style → one of a terminal's 256 colours."""
TREND_OF = {"pool": "tokens_out", "replica": "tokens_out", "gpu": "gpu_util"}
"""What the sparkline of a thing shows."""

_HEADERS = ("WHAT", "IS", "SCORE", "LOAD", "WAIT", "MEM", "TTFT/°C", "TOK/W", "TREND")
_WORDS = {"critical": "crit", "warning": "warn", "silent": "none", "info": "info", "ok": "ok"}
_NARROW, _TREND_CELLS, _WIDE_TREND_CELLS = 100, 8, 24
_LONGEST_NAME = 120
_INDENT = " " * 10
_BLOCKS, _LETTERS = "▁▂▃▄▅▆▇█", "_.-=+*#@"
_PLAIN = str.maketrans({"…": "~", "·": "-", "°": "", "—": "-", "“": '"', "”": '"', "×": "x", "–": "-", "→": ">"})


class Order(StrEnum):
    """What rows are sorted by; siblings only, so that a GPU stays below its replica."""

    HEALTH = "health"
    SCORE = "score"
    WAITING = "waiting"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class Look:
    """How somebody looks at the fleet."""

    width: int = 80
    order: Order = Order.HEALTH
    wanted: str = ""
    ascii: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One pool, replica or GPU; unknown cells are empty.

    Attributes
    ----------
    words
        Name, labels and health, in lower case: what a filter is held against.
    """

    depth: int
    name: str
    health: str
    score: float
    waiting: float
    cells: tuple[str, ...]
    trend: tuple[float, ...]
    words: str
    below: tuple["Row", ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the screen, safe to print. ``style`` is a health, ``dim``, ``strong`` or empty."""

    text: str
    style: str = ""


def rows(fleet: Record, trends: Trends) -> list[Row]:
    """Pools with replicas with GPUs, then GPUs of nodes, then what else has alerts.

    Parameters
    ----------
    fleet
        Answer of ``/api/v1/fleet``.
    trends
        Identity of a thing (:func:`identity`) → its past values, the newest last.
    """
    found = [_row(pool, 0, trends) for pool in _listed(fleet.get("pools"))]
    for node in _listed(fleet.get("nodes")):
        gpus = tuple(_row(gpu, 1, trends) for gpu in _listed(node.get("gpus")))
        name = clipped(printable(f"node {node.get('node', '')}"), _LONGEST_NAME)
        health = _health(node)
        found.append(Row(0, name, health, float("nan"), float("nan"), ("",) * 5, (), f"{name} {health}".lower(), gpus))
    return found + [_row(one, 0, trends) for one in _listed(fleet.get("elsewhere"))]


def identity(record: Record) -> str:
    """Kind and labels of a thing as one key."""
    labels = record.get("labels")
    return f"{record.get('kind')} {sorted(labels.items()) if isinstance(labels, Mapping) else ''}"


def trends(histories: Sequence[Record]) -> dict[str, Sequence[float]]:
    """The past of every thing, from answers of ``/api/v1/signals/range``."""
    return {
        identity(entity): [_number(value) for value in values]
        for history in histories
        for series in _listed(history.get("series"))
        if isinstance(entity := series.get("entity"), Mapping) and isinstance(values := series.get("values"), list)
    }


def screen(fleet: Record, incidents: Sequence[Record], past: Trends, look: Look) -> list[Line]:
    """The whole screen.

    Parameters
    ----------
    incidents
        Open ones, as ``/api/v1/incidents/{id}`` tells them; with fewer details, less is said.
    """
    lines = [_headline(fleet, incidents), *_told(incidents, fleet.get("at"), look.width)]
    shown = list(_flat(_sorted(_filtered(rows(fleet, past), look.wanted.lower()), look.order)))
    if shown:
        cells = [_cells(row, look) for row in shown]
        header, *body = table(_laid_plain(_HEADERS, look), cells, width=look.width).splitlines()
        lines += [Line(""), Line(header, "dim")]
        lines += [Line(text, row.health if row.health != "ok" else "") for text, row in zip(body, shown, strict=True)]
    else:
        empty = "Nothing fits the filter." if look.wanted else "Nothing is watched yet: see 'aiops targets'."
        lines += [Line(""), Line(empty, "dim")]
    return [replace(line, text=_plain(line.text)) for line in lines] if look.ascii else lines


def sparkline(values: Sequence[float], cells: int, *, ascii_only: bool = False) -> str:
    """Means of equal spans between 0 and the largest value; a blank where nothing is known."""
    marks = _LETTERS if ascii_only else _BLOCKS
    if len(values) <= cells:
        means = [_number(value) for value in values]
    else:
        edges = [round(index * len(values) / cells) for index in range(cells + 1)]
        means = [_mean(values[begin:end]) for begin, end in pairwise(edges)]
    top = max((mean for mean in means if isfinite(mean)), default=0.0)
    return "".join(
        " " if not isfinite(mean) else marks[min(int(max(mean, 0.0) / top * len(marks)), len(marks) - 1)]
        if top > 0 else marks[0]
        for mean in means
    ).rjust(cells)  # fmt: skip


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if isfinite(value)]
    return sum(known) / len(known) if known else float("nan")


def _headline(fleet: Record, incidents: Sequence[Record]) -> Line:
    pools = _listed(fleet.get("pools"))
    replicas = [replica for pool in pools for replica in _listed(pool.get("replicas"))]
    groups = [*replicas, *_listed(fleet.get("nodes"))]
    gpus = sum(len(_listed(group.get("gpus"))) for group in groups)
    unwell = sum(_health(replica) in ("critical", "warning") for replica in replicas)
    silent = sum(_health(replica) == "silent" for replica in replicas)
    parts = [
        _count(len(incidents), "open incident") if incidents else "no open incident",
        _count(len(pools), "pool"),
        _count(len(replicas), "replica"),
        _count(gpus, "GPU") if gpus else "",
        f"{unwell} unwell" if unwell else "",
        f"{silent} without data" if silent else "",
    ]
    return Line(" · ".join(filter(None, parts)), "strong")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _told(incidents: Sequence[Record], now: object, width: int) -> Iterator[Line]:
    """Up to three lines for each incident: what, since when, and the cause in one sentence."""
    worst_first = sorted(incidents, key=lambda one: _rank(str(one.get("severity"))))
    for incident in worst_first[:MOST_INCIDENTS]:
        severity = printable(clipped(str(incident.get("severity")), 8))
        about = f"{_lasting(incident.get('startsAt'), now)}{_count(len(_listed(incident.get('alerts'))), 'alert')}"
        title = printable(clipped(str(incident.get("title", "")), width))
        room = max(width - len(_INDENT) - len(about) - 2, 10)
        style = severity if severity in HEALTHS else ""
        yield Line(cut(f"{severity:<{len(_INDENT)}}{cut(title, room)}  {about}", width), style)
        said = printable(clipped(cause(incident), 4 * width))
        for part in broken(said, max(width - len(_INDENT), 1), 2) if said else ():
            yield Line(cut(_INDENT + part, width))
    if len(incidents) > MOST_INCIDENTS:
        yield Line(f"and {len(incidents) - MOST_INCIDENTS} more: see 'aiops incidents'", "dim")


def _lasting(since: object, now: object) -> str:
    try:
        begun, seen = datetime.fromisoformat(str(since)), datetime.fromisoformat(str(now))
        seconds = max((seen - begun).total_seconds(), 0.0)
    except (ValueError, TypeError):  # no time, or one of them without a zone
        return ""
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)}{unit}, "
    return f"{int(seconds)}s, "


def cause(incident: Record) -> str:
    """One sentence: the cause where one is named, else what the first alert says."""
    diagnosis, summary = incident.get("diagnosis"), incident.get("summary")
    if isinstance(diagnosis, Mapping) and not diagnosis.get("abstained") and isinstance(summary, Mapping):
        for sentence in _listed(summary.get("sentences")):
            if sentence.get("part") == "cause":
                return str(sentence.get("text", ""))
    return next((str(alert["reason"]) for alert in _listed(incident.get("alerts")) if alert.get("reason")), "")


def _row(record: Record, depth: int, past: Trends) -> Row:
    labels = record.get("labels")
    texts = {str(key): str(value) for key, value in labels.items()} if isinstance(labels, Mapping) else {}
    kind, health = str(record.get("kind")), _health(record)
    numbers = record.get("numbers")
    known = {str(key): _number(value) for key, value in numbers.items()} if isinstance(numbers, Mapping) else {}
    below = [*_listed(record.get("replicas")), *_listed(record.get("gpus"))]
    name = clipped(printable(_name(kind, str(record.get("name") or kind))), _LONGEST_NAME)
    return Row(
        depth=depth,
        name=name,
        health=health,
        score=_number(record.get("score")),
        waiting=known.get("queue_len", float("nan")),
        cells=_gpu_cells(known) if kind == "gpu" else _engine_cells(known),
        trend=tuple(past.get(identity(record), ())),
        words=" ".join((name, kind, health, *map(printable, texts.values()))).lower(),
        below=tuple(_row(one, depth + 1, past) for one in below),
    )


def _name(kind: str, name: str) -> str:
    if kind in ("pool", "replica"):
        return name
    return f"GPU {name.removeprefix('GPU-')[:13]}" if kind == "gpu" else f"{kind} {name}"


def _engine_cells(known: Mapping[str, float]) -> tuple[str, ...]:
    running, most = _short(known.get("running")), _short(known.get("max_running"))
    first = known.get("ttft:p95", known.get("ttft:mean"))
    return (
        f"{running}/{most}" if running and most else running,
        _short(known.get("queue_len")),
        _share(known.get("kv_use")),
        _seconds(first),
        _short(known.get("tokens_out")),
    )


def _gpu_cells(known: Mapping[str, float]) -> tuple[str, ...]:
    used, total = known.get("gpu_mem_used"), known.get("gpu_mem_total")
    throttled = known.get("gpu_throttle")
    return (
        _share(known.get("gpu_util")),
        "slow" if throttled is not None and throttled > 0 else "",
        _share(used / total) if used is not None and total else "",
        _unit(known.get("gpu_temp"), "°C"),
        _unit(known.get("gpu_power"), "W"),
    )


def _cells(row: Row, look: Look) -> list[str]:
    name = "  " * row.depth + row.name
    score = f"{row.score:.1f}" if isfinite(row.score) and row.score < 1000 else ">999" if isfinite(row.score) else ""
    room = _TREND_CELLS if look.width < _NARROW else _WIDE_TREND_CELLS
    spark = sparkline(row.trend, room, ascii_only=look.ascii) if row.trend else ""
    return _laid_plain((name, _WORDS[row.health], score, *row.cells, spark), look)


def _laid_plain(cells: Sequence[str], look: Look) -> list[str]:
    """Cells whose width is final before they are aligned."""
    return [_plain(cell) for cell in cells] if look.ascii else list(cells)


def _filtered(found: Sequence[Row], wanted: str) -> list[Row]:
    """Rows that hold the text, with all that is below them and the way that leads there."""
    if not wanted:
        return list(found)
    kept = []
    for row in found:
        if wanted in row.words:
            kept.append(row)
        elif below := _filtered(row.below, wanted):
            kept.append(replace(row, below=tuple(below)))
    return kept


def _sorted(found: Sequence[Row], order: Order) -> list[Row]:
    keys = {
        Order.HEALTH: lambda row: (_rank(row.health), -_known(row.score), row.name),
        Order.SCORE: lambda row: (-_known(row.score), row.name),
        Order.WAITING: lambda row: (-_known(row.waiting), row.name),
        Order.NAME: lambda row: (row.name,),
    }
    return [replace(row, below=tuple(_sorted(row.below, order))) for row in sorted(found, key=keys[order])]


def _known(value: float) -> float:
    return value if isfinite(value) else -1.0


def _flat(found: Sequence[Row]) -> Iterator[Row]:
    for row in found:
        yield row
        yield from _flat(row.below)


def _plain(text: str) -> str:
    """What a terminal without Unicode can show; a character that has no likeness takes as many cells as it took."""
    return "".join(char if char.isascii() else "?" * display_width(char) for char in text.translate(_PLAIN))


def _rank(health: str) -> int:
    return HEALTHS.index(health) if health in HEALTHS else len(HEALTHS)


def _health(record: Record) -> str:
    health = record.get("health")
    return health if isinstance(health, str) and health in HEALTHS else "silent"


def _listed(value: object) -> list[Record]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _number(value: object) -> float:
    """NaN for everything that is no number: null in the answer is unknown."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else float("nan")


def _short(value: float | None) -> str:
    if value is None or not isfinite(value):
        return ""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if unit == 'k' else size):.3g}{unit}"
    return f"{value:.0f}"


def _share(value: float | None) -> str:
    return "" if value is None or not isfinite(value) else f"{value:.0%}"


def _unit(value: float | None, unit: str) -> str:
    return "" if value is None or not isfinite(value) else f"{value:.0f}{unit}"


def _seconds(value: float | None) -> str:
    if value is None or not isfinite(value):
        return ""
    return f"{value * 1000:.0f}ms" if value < 1 else f"{value:.1f}s"
