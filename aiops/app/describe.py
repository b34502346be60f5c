"""Why an alert fired, and why one did not: what its rule saw, how far that is from the edge, and what damps it.

Works for an alert that stands, for one that is forgotten and still in the archive, and for a rule and an entity of
which nothing was ever heard.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import chain
from math import isnan

from aiops.app.pipeline import Pipeline
from aiops.app.view import alert_record, entity_record, stamp
from aiops.detect.base import AlertKey, Look, RuleText
from aiops.incidents.alert import Alert, AlertState, ReasonKind, Transition
from aiops.notify.notice import Letterhead, fingerprint, notice_of
from aiops.notify.silences import Silences
from aiops.store.view import ArchiveView
from aiops.web.records_told import ExplanationRecord, MoveRecord, SeenRecord
from aiops.web.source import Refused

MOST_DESCRIBED = 50
_MOST_TRANSITIONS = 20
_READ = 5000
_ORDER = {True: 0, None: 1, False: 2}


@dataclass(frozen=True, slots=True)
class Describer:
    """Answers from what is known now; built for one question."""

    pipeline: Pipeline
    archive: ArchiveView
    head: Letterhead
    silences: Silences | None = None

    async def of_fingerprint(self, name: str) -> list[ExplanationRecord]:
        """Describe the alert with a fingerprint, also one that is over.

        Raises
        ------
        Refused
            Nobody knows it.
        """
        standing = self.pipeline.machine.alerts.values()
        key = next((alert.key for alert in standing if self._named(alert) == name), None)
        if key is None:
            past = await asyncio.to_thread(self.archive.recent_transitions, _READ)
            key = next((move.alert.key for move in past if self._named(move.alert) == name), None)
        if key is None:
            raise Refused(404, f"no alert with the fingerprint {name!r} stands or is in the archive; "
                               "to ask why one never fired, name its rule and an entity")  # fmt: skip
        return await self._described([key])

    async def of_rule(self, rule: str, entity: str) -> list[ExplanationRecord]:
        """Describe a rule for every entity whose text contains ``entity``, the nearest to an alert first.

        Raises
        ------
        Refused
            There is no such rule, or nothing that it could be about.
        """
        if rule not in self._texts:
            close = get_close_matches(rule, self._texts, n=1)
            hint = f"; did you mean {close[0]}?" if close else "; it may be switched off (detect.disable)"
            raise Refused(404, f"there is no rule {rule!r}{hint}")
        standing = [key for key in self.pipeline.machine.alerts if key.rule == rule]
        keys = dict.fromkeys(chain(standing, (look.key for look in self._looks(rule))))
        found = [key for key in keys if entity in str(key.series.entity)]
        if not found:
            what = f"of {entity!r} " if entity else ""
            raise Refused(404, f"{rule} watches nothing {what}now: what it reads is not there")
        return (await self._described(found))[:MOST_DESCRIBED]

    @property
    def _texts(self) -> Mapping[str, RuleText]:
        return {**self.pipeline.bank.rules(), **self.pipeline.slo.rules}

    def _looks(self, rule: str) -> Iterator[Look]:
        yield from self.pipeline.bank.looks(rule, self.pipeline.ring.window())
        yield from self.pipeline.slo.looks(rule)

    def _named(self, alert: Alert) -> str:
        return fingerprint(notice_of(alert, self.head).labels)

    async def _described(self, keys: Sequence[AlertKey]) -> list[ExplanationRecord]:
        """``keys`` are of one rule."""
        rule = keys[0].rule
        past: dict[AlertKey, list[Transition]] = {}
        for move in await asyncio.to_thread(self.archive.transitions_like, rule, _READ):
            past.setdefault(move.alert.key, []).append(move)
        looks = {look.key: look for look in self._looks(rule)}
        ordered = sorted(keys, key=lambda key: self._rank(key, looks.get(key)))
        return [self._record(key, looks.get(key), past.get(key, [])) for key in ordered]

    def _record(self, key: AlertKey, look: Look | None, moves: Sequence[Transition]) -> ExplanationRecord:
        alert, text = self.pipeline.machine.alerts.get(key), self._texts.get(key.rule)
        return {
            "rule": key.rule,
            "series": str(key.series),
            "entity": entity_record(key.series.entity),
            "state": str(alert.state) if alert is not None else str(AlertState.INACTIVE),
            "why": self._why(key, look, moves),
            "seen": _seen(look),
            "damping": self.pipeline.machine.standing(key),
            "fires": "" if text is None else f"{text.timing.breach_points} of {text.timing.window_points} points",
            "resolves": "" if text is None else f"{text.timing.clear_points} of {text.timing.clear_window} points",
            "condition": "" if text is None else text.condition,
            "lookAlikes": [] if text is None else list(text.look_alikes),
            "runbook": "" if text is None else text.runbook,
            "alert": None if alert is None else alert_record(alert, self.head, self.silences),
            "transitions": [_move(move) for move in moves[:_MOST_TRANSITIONS]],
        }

    def _rank(self, key: AlertKey, look: Look | None) -> tuple[bool, int, float, str]:
        """Alerts first, then what is broken, unknown, fine; the highest score first."""
        broken = None if look is None else look.broken
        score = 0.0 if look is None else look.values.get("score", 0.0)
        return key not in self.pipeline.machine.alerts, _ORDER[broken], -score, str(key.series)

    def _why(self, key: AlertKey, look: Look | None, moves: Iterable[Transition]) -> str:
        """One sentence."""
        alert = self.pipeline.machine.alerts.get(key)
        if alert is not None and alert.active:
            started = (move.reason.text for move in moves if move.reason.kind is ReasonKind.ENOUGH_BREACHES)
            began = next(started, "its start is not in the archive")
            held = f"; nobody is told yet ({alert.muted})" if alert.muted else ""
            reason = alert.verdict.reason.rstrip(".")
            return f"it fires: {reason}; {began}{held}"
        if look is None:
            return f"it does not fire: nothing that {key.rule} reads of {key.series.entity} is there now"
        note = f" ({look.note})" if look.note else ""
        if look.broken:
            if alert is not None and alert.outlasted:
                return f"it does not fire any more: {self.pipeline.machine.standing(key)}{note}"
            return f"it does not fire yet: out of bounds now, but {self.pipeline.machine.standing(key)}{note}"
        if look.broken is None:
            gaps = [part.text for part in look.parts if part.holds is None]
            said = " and ".join(f"“{gap}”" for gap in gaps) or key.rule
            return f"it does not fire: it is unknown whether {said} holds ({_numbers(look.values)}){note}"
        fine = " and ".join(f"“{part.text}”" for part in look.parts if part.holds is False)
        return f"it does not fire: {fine} does not hold ({_numbers(look.values)}){note}"


def _seen(look: Look | None) -> SeenRecord | None:
    if look is None:
        return None
    return {
        "outOfBounds": look.broken,
        "parts": [{"condition": part.text, "holds": part.holds} for part in look.parts],
        "values": dict(look.values),
        "note": look.note,
    }


def _numbers(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} = {'unknown' if isnan(value) else f'{value:.4g}'}" for name, value in values.items())


def _move(move: Transition) -> MoveRecord:
    return {"at": stamp(move.at), "from": str(move.before), "to": str(move.alert.state), "reason": move.reason.text}
