"""From the stored samples of a Prometheus back to the pages that it scraped, each once.

Pure. Invariants: a sample belongs to the scrape in which it arrived, by its own time, so the value of an old scrape is
never taken for a new one (an instant query repeats it for five minutes); a series that a scrape did not show is not on
its page, whatever it showed before; and a page keeps its layout object while its series stay.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

import numpy as np

from aiops.collect.promapi import Samples
from aiops.signals.page import Layout, MetricType, Page, Sample
from aiops.signals.types import Labels


class Scrape(NamedTuple):
    """One scrape of one target; without a page when it failed. ``at`` is UTC seconds by the clock of the server."""

    target: Labels
    at: float
    page: Page | None


@dataclass(slots=True, eq=False)
class _Target:
    """What is known of one target, by the labels that ``up`` has."""

    labels: Labels
    read_until: float
    spacing_seconds: float = float("nan")
    times: list[float] = field(default_factory=list)
    up: list[bool] = field(default_factory=list)
    rows: list[dict[int, float]] = field(default_factory=list)
    ids: tuple[int, ...] = ()
    layout: Layout = field(default_factory=lambda: Layout(()))


class _Series(NamedTuple):
    target: _Target
    id: int
    sample: Sample


_NONE = Samples({}, (), ())


class Pages:
    """Remembers what was read of every target. A turn is :meth:`begin`, :meth:`add` for every answer, :meth:`end`."""

    def __init__(self) -> None:
        self._targets: dict[Labels, _Target] = {}
        self._places: dict[tuple[str, str], list[_Target]] = {}
        self._known: dict[Labels, _Series] = {}
        self._seen: dict[Labels, _Series] = {}
        self._ids = count()

    @property
    def spacings(self) -> dict[Labels, float]:
        """Target → time between two scrapes, seconds; NaN before there were two."""
        return {labels: target.spacing_seconds for labels, target in self._targets.items()}

    def begin(self, there: Iterable[Samples], past: Iterable[Samples]) -> float | None:
        """Take in which targets there are and when they were scraped.

        Parameters
        ----------
        there
            ``up`` as an instant vector: it leaves out whoever is gone.
        past
            ``up`` as a range of a few scrapes.

        Returns
        -------
        float or None
            When the oldest scrape was that is not read yet; None when there is none.
        """
        scrapes = {target_of(series): series for series in past}
        present = [labels for series in there if (labels := target_of(series)) in scrapes or labels in self._targets]
        if set(present) != self._targets.keys():
            self._targets = {
                labels: self._targets.get(labels) or _Target(labels, _before_the_last(scrapes[labels]))
                for labels in present
            }
            self._places = {}
            for target in self._targets.values():
                self._places.setdefault(_place(dict(target.labels)), []).append(target)
            alive = set(self._targets.values())
            self._known = {key: one for key, one in self._known.items() if one.target in alive}
        for labels, target in self._targets.items():
            series = scrapes.get(labels, _NONE)
            if len(series.times) > 1:
                target.spacing_seconds = float(np.median(np.diff(series.times)))
            fresh = [place for place, at in enumerate(series.times) if at > target.read_until]
            target.times = [series.times[place] for place in fresh]
            target.up = [series.values[place] == 1.0 for place in fresh]
            target.rows = [{} for _ in fresh]
        self._seen = {}
        return min((target.times[0] for target in self._targets.values() if target.times), default=None)

    def add(self, answer: Iterable[Samples]) -> None:
        """Take in series; those of targets that are not there, and samples that were read before, are left out."""
        for series in answer:
            key = tuple(sorted(series.labels.items()))
            one = self._known.get(key) or self._series(series)
            if one is None:
                continue
            self._seen[key] = one
            target = one.target
            for at, value in zip(series.times, series.values, strict=True):
                if at > target.read_until and (place := bisect_left(target.times, at)) < len(target.times):
                    target.rows[place][one.id] = value

    def end(self) -> list[Scrape]:
        """Give the scrapes of this turn, oldest first for each target."""
        self._known = self._seen
        samples = {one.id: one.sample for one in self._known.values()}
        found = []
        for labels, target in self._targets.items():
            for at, up, row in zip(target.times, target.up, target.rows, strict=True):
                found.append(Scrape(labels, at, _page(target, row, samples) if up else None))
                target.read_until = at
        return found

    def _series(self, series: Samples) -> _Series | None:
        """Whose series this is, and how it stood on the page."""
        candidates = self._places.get(_place(series.labels), [])
        pairs = series.labels.items()
        # Alike but for labels of the storage (a pair of servers, a cluster): then all must fit.
        fitting = candidates if len(candidates) == 1 else [one for one in candidates if set(one.labels) <= set(pairs)]
        if not fitting:
            return None
        target = fitting[0]
        of_target = dict(target.labels)
        on_page = tuple(
            sorted(
                # Prometheus renames a label of the page that the target has too.
                (bare if (bare := name.removeprefix("exported_")) in of_target else name, value)
                for name, value in pairs
                if name != "__name__" and name not in of_target
            )
        )
        return _Series(target, next(self._ids), Sample(series.labels.get("__name__", ""), on_page, MetricType.UNKNOWN))


def _page(target: _Target, row: dict[int, float], samples: dict[int, Sample]) -> Page:
    ids = tuple(sorted(row))
    if ids != target.ids:
        target.ids, target.layout = ids, Layout(tuple(samples[one] for one in ids))
    return Page(target.layout, np.array([row[one] for one in ids]))


def target_of(series: Samples) -> Labels:
    """Labels of the target that a series of ``up`` is about."""
    return tuple(sorted((name, value) for name, value in series.labels.items() if name != "__name__"))


def _place(labels: Mapping[str, str]) -> tuple[str, str]:
    return labels.get("job", ""), labels.get("instance", "")


def _before_the_last(series: Samples) -> float:
    """Of a target that is seen first only the newest scrape is read, as if we had begun to scrape it now."""
    return series.times[-2] if len(series.times) > 1 else float("-inf")
