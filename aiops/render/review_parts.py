"""Plots and tables of the weekly review: inline SVG without scripts, every number also in words.

What comes from outside is escaped. Unknown is a gap in a plot and the word in a table, never 0.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape
from math import isfinite

from aiops.kit.settings import format_duration
from aiops.kit.text import printable

COLOURS = {"critical": "#b3261e", "warning": "#b06f00", "info": "#3a6ea5"}
DAY = 86_400.0
UNKNOWN = "unknown"
_GOOD = "#19703f"
_STEPS = (60.0, 300.0, 900.0, 3600.0, 3 * 3600.0, 6 * 3600.0, DAY, 2 * DAY, 7 * DAY, 28 * DAY)
_WIDTH, _LEFT = 1000.0, 130.0


@dataclass(frozen=True, slots=True)
class Plot:
    """A cell that is a picture; ``words`` say the same where there are none."""

    svg: str
    words: str


@dataclass(frozen=True, slots=True)
class Spent:
    """An error budget at the end of the period.

    Attributes
    ----------
    left_ratio
        Share that is left, negative when overspent; NaN without an event.
    burn_day
        How many times as fast as it may it was spent in the last day; NaN = not known.
    course
        The same by six hours, the newest last.
    """

    objective: str
    pool: str
    requests: float
    bad: float
    left_ratio: float
    burn_day: float
    course: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Advised:
    """A pool: what was advised and what was there.

    Attributes
    ----------
    present, advised
        Replicas (UTC seconds, number) in order of time; NaN = not known, or no advice.
    silent
        Times without advice: begun, ended, why.
    outcomes
        What was done with the advice, and how often.
    """

    pool: str
    present: Sequence[tuple[float, float]]
    advised: Sequence[tuple[float, float]]
    constraint: str = ""
    silent: Sequence[tuple[float, float, str]] = ()
    outcomes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Span:
    """Something that lasted; UTC seconds."""

    begun: float
    ended: float
    severity: str
    title: str


@dataclass(frozen=True, slots=True)
class Gpu:
    """Health of one GPU: kind of trouble → what is known of it."""

    name: str
    node: str
    checks: Mapping[str, str]
    troubles: Sequence[Span] = ()


def budget_rows(budgets: Iterable[Spent]) -> list[tuple[str | Plot, ...]]:
    """One row a budget, the worst first."""
    return [
        (one.objective, one.pool, _count(one.requests), _count(one.bad), _left(one.left_ratio), _times(one.burn_day),
         _course(one.course))
        for one in sorted(budgets, key=lambda one: (one.left_ratio if isfinite(one.left_ratio) else 2.0, one.pool))
    ]  # fmt: skip


def capacity_rows(pools: Iterable[Advised]) -> list[tuple[str, ...]]:
    """One row a pool: what is there, what was advised last, what limits it, and what became of the advice."""
    return [
        (one.pool, _newest(one.present), _newest(one.advised, none="none"),
         one.constraint.replace("_", " ") or UNKNOWN, _outcomes(one.outcomes))
        for one in pools
    ]  # fmt: skip


def silence_rows(pools: Iterable[Advised]) -> list[tuple[str, ...]]:
    """One row for each time that a pool was without advice."""
    return [(one.pool, stamp(begun), lasted(ended - begun), why) for one in pools for begun, ended, why in one.silent]


def lanes(since: float, until: float, rows: Sequence[tuple[str, Iterable[Span]]], label: str) -> str:
    """Bars over the days, a lane for each name; where bars meet, they darken."""
    lane = 22.0
    marks = list(_times_of_day(since, until, len(rows) * lane))
    for place, (name, spans) in enumerate(rows):
        top = place * lane
        marks.append(f'<text x="0" y="{top + 14:.0f}">{_text(name[:20])}</text>')
        for one in spans:
            begin, end = _x(one.begun, since, until), _x(one.ended, since, until)
            marks.append(
                f'<rect x="{begin:.1f}" y="{top + 4:.0f}" width="{max(end - begin, 2.0):.1f}" height="14" '
                f'fill="{COLOURS.get(one.severity, COLOURS["info"])}" fill-opacity="0.7">'
                f"<title>{_text(one.title)}</title></rect>"
            )
    return _svg(_WIDTH, len(rows) * lane + 18.0, "".join(marks), label)


def replica_plot(one: Advised, since: float, until: float) -> str:
    """Replicas that were there as a line, those advised as dashes, times without advice as grey."""
    counts = [count for _, count in (*one.present, *one.advised) if isfinite(count)]
    if not counts:
        return ""
    height, most = 80.0, max(counts) + 1.0

    def line(points: Sequence[tuple[float, float]], style: str) -> str:
        path, open_ = [], False
        for at, count in points:
            if not isfinite(count):
                open_ = False
                continue
            x, y = _x(at, since, until), height * (1.0 - count / most)
            path.append(f"H{x:.1f}V{y:.1f}" if open_ else f"M{x:.1f} {y:.1f}")
            open_ = True
        return f'<path d="{"".join(path)}" fill="none" stroke-width="2" {style}/>'

    marks = list(_times_of_day(since, until, height))
    for begun, ended, why in one.silent:
        left, right = _x(begun, since, until), _x(ended, since, until)
        marks.append(f'<rect x="{left:.1f}" y="0" width="{max(right - left, 2.0):.1f}" height="{height:.0f}" '
                     f'fill="#8883"><title>{_text(f"no advice: {why}")}</title></rect>')  # fmt: skip
    marks.append(f'<text x="0" y="14">{_text(one.pool[:20])}</text>')
    marks.append(f'<text x="{_LEFT - 24:.0f}" y="{height:.0f}">0</text>')
    marks.append(f'<text x="{_LEFT - 24:.0f}" y="{height / most + 4:.0f}">{max(counts):g}</text>')
    marks.append(line(one.present, f'stroke="{COLOURS["info"]}"'))
    marks.append(line(one.advised, f'stroke="{COLOURS["warning"]}" stroke-dasharray="5 4"'))
    return _svg(_WIDTH, height + 18.0, "".join(marks), f"Replicas of {one.pool} that were there and that were advised")


def stamp(at: float) -> str:
    """`2026-01-31 12:00`."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M}"


def lasted(seconds: float) -> str:
    """A duration to the second, from a minute on to the minute."""
    unit = 1.0 if seconds < 60 else 60.0
    return format_duration(round(seconds / unit) * unit)


def _course(rates: Sequence[float]) -> Plot | str:
    known = [rate for rate in rates if isfinite(rate)]
    if not known:
        return UNKNOWN
    width, height, top = 6.0, 24.0, max(2.0, *known)
    bars = []
    for place, rate in enumerate(rates):
        if isfinite(rate):
            high = max(height * rate / top, 1.0)
            bars.append(f'<rect x="{place * width:.0f}" y="{height - high:.1f}" width="{width - 1:.0f}" '
                        f'height="{high:.1f}" fill="{COLOURS["critical"] if rate > 1.0 else _GOOD}"/>')  # fmt: skip
    limit = height * (1.0 - 1.0 / top)
    bars.append(f'<line x1="0" x2="{len(rates) * width:.0f}" y1="{limit:.1f}" y2="{limit:.1f}" stroke="#8888"/>')
    words = f"at most {_times(max(known))}"
    return Plot(_svg(len(rates) * width, height, "".join(bars), f"Pace by six hours, {words}", small=True), words)


def _times_of_day(since: float, until: float, height: float) -> Iterable[str]:
    """A line for every round time, at most fourteen of them."""
    step = next((step for step in _STEPS if (until - since) / step <= 14), _STEPS[-1])
    at = since - since % step + step
    while at < until:
        x = _x(at, since, until)
        yield f'<line x1="{x:.1f}" y1="0" x2="{x:.1f}" y2="{height:.0f}" stroke="#8884"/>'
        label = stamp(at)[5:10] if step >= DAY else stamp(at)[11:]
        label = label if x < _WIDTH - 35.0 else ""
        yield f'<text x="{x + 3:.1f}" y="{height + 12:.0f}">{label}</text>'
        at += step


def _x(at: float, since: float, until: float) -> float:
    return _LEFT + (_WIDTH - _LEFT) * min(max((at - since) / max(until - since, 1.0), 0.0), 1.0)


def _svg(width: float, height: float, inside: str, label: str, *, small: bool = False) -> str:
    size = f' width="{width:.0f}" height="{height:.0f}" class="small"' if small else ""
    return f'<svg viewBox="0 0 {width:.0f} {height:.0f}"{size} role="img" aria-label="{_text(label)}">{inside}</svg>'


def _text(text: str) -> str:
    return escape(printable(text))


def _newest(points: Sequence[tuple[float, float]], none: str = UNKNOWN) -> str:
    return f"{points[-1][1]:g}" if points and isfinite(points[-1][1]) else none


def _outcomes(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if count) or "–"


def _count(value: float) -> str:
    return f"{value:,.0f}" if isfinite(value) else UNKNOWN


def _left(ratio: float) -> str:
    if not isfinite(ratio):
        return UNKNOWN
    return f"{ratio:.1%}" if ratio >= 0.0 else f"used up {1.0 - ratio:.3g} ×"


def _times(rate: float) -> str:
    return f"{rate:.3g} ×" if isfinite(rate) else UNKNOWN
