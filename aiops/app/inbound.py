"""Joins alerts that an Alertmanager tells us to what we see ourselves."""

import asyncio
from collections.abc import Callable, Sequence

import numpy as np

from aiops.app.pipeline import Pipeline
from aiops.incidents.external import Fleet, Full, Told
from aiops.kit.clock import Clock
from aiops.signals.types import Entity
from aiops.store.journal import Journal
from aiops.web.records_told import TakenRecord
from aiops.web.source import Refused

_NAMED = 3
_KEEP_SECONDS = 2.0


class Inbound:
    """Takes alerts of others at once, and keeps them before it says so.

    Parameters
    ----------
    base_url
        Where links of our own alerts lead.
    """

    def __init__(self, pipeline: Pipeline, journal: Journal, *, base_url: Callable[[], str], clock: Clock) -> None:
        self._pipeline = pipeline
        self._journal = journal
        self._base_url = base_url
        self._clock = clock
        self._fleet = Fleet(())
        self._fleet_of: object = None
        self.taken_total = 0
        self.own_total = 0
        self.full_total = 0

    async def told(self, told: Sequence[Told]) -> TakenRecord:
        """Take a batch in and keep it; what we sent ourselves comes back to nobody.

        Raises
        ------
        Refused
            503 when as many stand as may, and when the disk does not take it: a kill would lose it then. Sent again, it
            is no news.
        """
        record = self._taken(told)
        if not await asyncio.to_thread(self._journal.flush, _KEEP_SECONDS):
            raise Refused(503, f"not kept within {_KEEP_SECONDS:g} s: the archive cannot be written now; send it again")
        return record

    def _taken(self, told: Sequence[Told]) -> TakenRecord:
        foreign = [one for one in told if not self._ours(one)]
        try:
            moves = self._pipeline.externals.take(self._clock.now(), foreign, self._place().place, self._seen)
        except Full as error:
            self.full_total += 1
            raise Refused(503, str(error)) from None
        self._journal.save(transitions=moves)
        self.taken_total += len(moves)
        self.own_total += len(told) - len(foreign)
        return {"accepted": len(foreign), "news": len(moves), "own": len(told) - len(foreign)}

    def _ours(self, told: Told) -> bool:
        """We, or another daemon with our rules, raised it: only our alerts name one of our rules and its signal."""
        pipeline, base = self._pipeline, self._base_url().rstrip("/")
        if base and told.generator_url.startswith(f"{base}/"):
            return True
        labels = dict(told.labels)
        return "signal" in labels and (told.name in pipeline.bank.rules() or told.name in pipeline.slo.rules)

    def _place(self) -> Fleet:
        keys = self._pipeline.ring.window().keys
        if keys is not self._fleet_of:
            self._fleet = Fleet(key.entity for key in keys if key is not None)
            self._fleet_of = keys
        return self._fleet

    def _seen(self, entity: Entity) -> str:
        """What is out of bounds there now, the most unusual first."""
        scores = self._pipeline.bank.scores()
        if scores is None:
            return ""
        score = scores.ensemble.score
        there = [
            (float(score[column]), key)
            for column in np.flatnonzero(score >= 1.0)
            if (key := scores.keys[column]) is not None and _touches(entity, key.entity)
        ]
        worst = sorted(there, key=lambda pair: (-pair[0], str(pair[1])))[:_NAMED]
        return ", ".join(f"{key} ({value:.1f} times the allowed distance)" for value, key in worst)


def _touches(one: Entity, other: Entity) -> bool:
    """One is the other or a part of it."""
    mine, theirs = set(one.labels), set(other.labels)
    return mine <= theirs or theirs <= mine
