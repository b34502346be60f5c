"""Signals that engines do not export but that follow from those they do.

For every replica, where the parts are there and the signal itself is not:

* ``arrivals`` by conservation: what came in is what went out plus what stayed,
  (Δfinished + Δrunning + Δqueue_len) / Δt. Refused requests (``rejected``) never entered and are no arrivals.
  Counters and gauges of a page are not taken at one instant, so the sum can fall below zero: the deficit is
  carried to the next interval, which keeps the long-run total right. An engine without one of the two gauges is
  off by the change of what it does not show.
* ``itl`` mean = running / tokens_out (Little's law over token slots), running averaged over the interval. It counts
  prefill time too, so it is an upper bound.
* ``max_running``: the largest batch seen while a queue stands. It yields slowly to smaller ones (see
  :class:`aiops.signals.settings.NormaliseSettings`).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aiops.signals.settings import NormaliseSettings
from aiops.signals.types import Entity, EntityKind, SeriesKey

Floats = NDArray[np.float64]

HOW_DERIVED = {
    "arrivals": "finished + change of running and queue_len",
    "itl": "running / tokens_out",
    "max_running": "largest running batch while a queue stands",
}


class Memory(NamedTuple):
    """State of the replicas, float64 [entities] each; NaN = nothing known yet."""

    inflight: Floats
    running: Floats
    queue: Floats
    debt: Floats
    peak: Floats
    standing: Floats

    @classmethod
    def blank(cls, count: int) -> "Memory":
        nan = np.full(count, np.nan)
        return cls(nan, nan.copy(), nan.copy(), np.zeros(count), nan.copy(), np.zeros(count))

    def moved(self, places: Sequence[int | None]) -> "Memory":
        """State for entities that stood at ``places`` before (None = new)."""
        fresh = Memory.blank(len(places))
        for new, old in enumerate(places):
            if old is not None:
                for target, source in zip(fresh, self, strict=True):
                    target[new] = source[old]
        return fresh


class Derivation:
    """The derived columns of one plan, with the state they need.

    Parameters
    ----------
    keys
        Columns that the page gives.
    before
        Derivation of the layout before, whose state is taken over where entities stayed.
    """

    def __init__(
        self, keys: Sequence[SeriesKey], settings: NormaliseSettings, before: "Derivation | None" = None
    ) -> None:
        self._settings = settings
        place = {key: column for column, key in enumerate(keys)}
        replicas = dict.fromkeys(key.entity for key in keys if key.entity.kind is EntityKind.REPLICA)
        self.entities = tuple(entity for entity in replicas if _parts(place, entity))
        # Two cells after the page's columns: NaN for what matters and is not there, 0 for what may be left out.
        self._unknown, self._nothing = len(keys), len(keys) + 1
        self._running = self._gather(place, "running", self._unknown)
        self._queue = self._gather(place, "queue_len", self._unknown)
        self._running_or_0 = self._gather(place, "running", self._nothing)
        self._queue_or_0 = self._gather(place, "queue_len", self._nothing)
        self._finished = self._gather(place, "finished", self._unknown)
        self._tokens = self._gather(place, "tokens_out", self._unknown)
        self.keys, self._pick = self._outputs(place)
        old = {entity: index for index, entity in enumerate(before.entities)} if before else {}
        earlier: Memory = before.memory if before else Memory.blank(0)
        self.memory: Memory = earlier.moved([old.get(entity) for entity in self.entities])

    def _gather(self, place: dict[SeriesKey, int], signal: str, otherwise: int) -> NDArray[np.intp]:
        return np.array([place.get(SeriesKey(entity, signal), otherwise) for entity in self.entities], dtype=np.intp)

    def _outputs(self, place: dict[SeriesKey, int]) -> tuple[tuple[SeriesKey, ...], NDArray[np.intp]]:
        """Columns to give, and where they stand in the stack [arrivals, itl, max_running] of :meth:`step`."""
        keys: list[SeriesKey] = []
        pick: list[int] = []
        for index, entity in enumerate(self.entities):
            for row, (signal, stat) in enumerate((("arrivals", ""), ("itl", "mean"), ("max_running", ""))):
                if signal in _parts(place, entity):
                    keys.append(SeriesKey(entity, signal, stat))
                    pick.append(row * len(self.entities) + index)
        return tuple(keys), np.array(pick, dtype=np.intp)

    def forget(self) -> None:
        """The process restarted: nothing of before holds."""
        self.memory = Memory.blank(len(self.entities))

    def step(self, values: Floats, step_seconds: float) -> Floats:
        """Derive from the page's columns (float64 [n], in order of ``keys``); NaN step = no rate is known."""
        if not self.keys:
            return np.empty(0)
        cells = np.concatenate((values, (np.nan, 0.0)))
        running, queue = cells[self._running], cells[self._queue]
        inflight = cells[self._running_or_0] + cells[self._queue_or_0]
        memory = self.memory
        owed = cells[self._finished] * step_seconds + (inflight - memory.inflight) + memory.debt
        arrivals = np.maximum(owed, 0.0) / step_seconds
        debt = np.where(np.isnan(owed), 0.0, np.minimum(owed, 0.0))
        average = np.where(np.isnan(memory.running), running, 0.5 * (running + memory.running))
        tokens = cells[self._tokens]
        with np.errstate(divide="ignore", invalid="ignore"):
            itl = np.where((tokens > 0.0) & (average > 0.0), average / tokens, np.nan)
        peak, standing = self._plateau(running, queue, tokens)
        self.memory = Memory(inflight, running, queue, debt, peak, standing)
        limit = np.where(standing >= self._settings.plateau_samples, np.rint(peak), np.nan)
        answer: Floats = np.concatenate((arrivals, itl, limit))[self._pick]
        return answer

    def _plateau(self, running: Floats, queue: Floats, tokens: Floats) -> tuple[Floats, Floats]:
        """Learn the largest batch from samples before and at which a queue stood.

        An engine that gives no token is stuck, and its batch is then no sign of what it could hold.
        """
        memory = self.memory
        stands = (queue > 0.0) & (memory.queue > 0.0) & (running > 0.0) & ~(tokens == 0.0)
        faded = memory.peak + self._settings.plateau_forget * (running - memory.peak)
        peak = np.where(stands, np.fmax(faded, running), memory.peak)
        return peak, memory.standing + stands


def _parts(place: dict[SeriesKey, int], entity: Entity) -> tuple[str, ...]:
    """Signals that can and must be derived for an entity."""

    def has(signal: str, stat: str = "") -> bool:
        return SeriesKey(entity, signal, stat) in place

    wanted = []
    if not has("arrivals") and has("finished") and (has("running") or has("queue_len")):
        wanted.append("arrivals")
    if not (has("itl", "mean") or has("itl", "p50")) and has("running") and has("tokens_out"):
        wanted.append("itl")
    if not has("max_running") and has("running") and has("queue_len"):
        wanted.append("max_running")
    return tuple(wanted)
