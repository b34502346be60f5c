"""What changed between two times, ranked over all series of the window, as a plain record.

First a coarse look at every series in one call (means and spreads), then the robust distance of the diagnosis for those
that stand out; so the work is bounded whatever the fleet.
"""

import asyncio
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aiops.app.view import entity_record, stamp
from aiops.diagnose.deviation import MOVED, Panel, deviation, onset
from aiops.diagnose.traits import trait_of
from aiops.explain.answers import Moved
from aiops.signals.normalise import unit_of
from aiops.signals.types import SeriesKey
from aiops.store.ring import Ring
from aiops.web.asked import Span
from aiops.web.records_fleet import ChangeRecord, ChangeRecords
from aiops.web.source import Refused

_MOST_ROWS = 120
_MOST_SERIES = 400
_TRAFFIC = ("arrivals", "finished")


@dataclass(frozen=True, slots=True)
class _Rows:
    """Copies of some rows of the window; [rows, series]."""

    keys: tuple[SeriesKey, ...]
    reference: NDArray[np.float32]
    window: NDArray[np.float32]
    times: NDArray[np.float64]


async def changes(ring: Ring, span: Span) -> list[Moved]:
    """Series that were elsewhere between ``start`` and ``end`` than before, the farthest first.

    Raises
    ------
    Refused
        When the window does not reach back far enough for a comparison.
    """
    rows = _rows(ring, span)
    return await asyncio.to_thread(_ranked, rows, span.limit)


async def changes_record(ring: Ring, span: Span) -> ChangeRecords:
    """The same as a record."""
    listed: list[ChangeRecord] = [
        {
            "signal": one.key.signal,
            "stat": one.key.stat,
            "unit": one.unit,
            "entity": entity_record(one.key.entity),
            "distance": one.distance,
            "harm": one.harm,
            "before": one.before,
            "then": one.then,
            "onset": stamp(one.onset),
        }
        for one in await changes(ring, span)
    ]
    return {"changes": listed, "series": sum(key is not None for key in ring.window().keys)}


def _rows(ring: Ring, span: Span) -> _Rows:
    window = ring.window()
    at = window.now - window.step_seconds * np.arange(len(window.values) - 1, -1, -1, dtype=np.float64)
    first, last = np.searchsorted(at, (span.start, span.end + 1e-3))
    owned = np.array([column for column, key in enumerate(window.keys) if key is not None], np.intp)
    seen = np.isfinite(window.values[:, owned]).any(axis=1) if len(owned) else np.zeros(len(at), np.bool_)
    oldest = int(np.argmax(seen)) if seen.any() else len(at)
    if last <= first or first - oldest < 3:
        raise Refused(404, f"there is nothing to compare: the window has {max(0, int(first) - oldest)} rows before "
                           f"'from' and {max(0, int(last - first))} until 'to'; expected 3 and 1")  # fmt: skip
    before, then = _spread(oldest, int(first)), _spread(int(first), int(last))
    keys = tuple(key for key in window.keys if key is not None)
    return _Rows(keys, window.values[np.ix_(before, owned)], window.values[np.ix_(then, owned)], at[then])


def _spread(first: int, last: int) -> NDArray[np.intp]:
    """At most ``_MOST_ROWS`` rows, evenly over the span."""
    return np.unique(np.linspace(first, last - 1, min(last - first, _MOST_ROWS)).round().astype(np.intp))


def _ranked(rows: _Rows, limit: int) -> list[Moved]:
    chosen = _standing_out(rows)
    reference, window = (part[:, chosen].astype(np.float64) for part in (rows.reference, rows.window))
    keys = [rows.keys[column] for column in chosen.tolist()]
    metrics = tuple(f"{key.signal}:{key.stat}" if key.stat else key.signal for key in keys)
    traits = tuple(trait_of(metric) for metric in metrics)
    entities = tuple(str(key.entity) for key in keys)
    found = deviation(Panel(entities, metrics, traits, reference, window, rows.times))
    distance = np.maximum(found.up, found.down)
    order = [place for place in np.argsort(-distance, kind="stable").tolist() if distance[place] >= MOVED]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a series without one known row: NaN
        then = np.nanmedian(window, axis=0)
    return [
        Moved(
            keys[place],
            unit_of(keys[place]),
            before=float(found.level[place]),
            then=float(then[place]),
            onset=onset(found.rows[:, place], rows.times),
            distance=float(distance[place]),
            harm=float(found.harm[place]),
        )
        for place in order[:limit]
    ]


def _standing_out(rows: _Rows) -> NDArray[np.intp]:
    """Columns worth a closer look, and those that count the requests of the same entities."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # a series without one known row: NaN
        level, then = np.nanmean(rows.reference, axis=0), np.nanmean(rows.window, axis=0)
        spread = np.nanstd(rows.reference, axis=0) + 0.01 * np.abs(level)
        coarse = np.abs(then - level) / spread
    coarse = np.where(np.isnan(coarse), -1.0, coarse)
    top = np.argsort(-coarse, kind="stable")[:_MOST_SERIES]
    top = top[coarse[top] > 0]
    wanted = {rows.keys[column].entity for column in top.tolist()}
    traffic = [c for c, key in enumerate(rows.keys) if key.signal in _TRAFFIC and not key.stat and key.entity in wanted]
    return np.unique(np.concatenate([top, np.array(traffic, np.intp)])).astype(np.intp)
