"""The desk where people's opinions on alerts arrive: finds the alert, keeps the opinion, applies what follows."""

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2s
from pathlib import Path

from aiops.app.pipeline import Pipeline
from aiops.app.view import stamp
from aiops.detect.base import AlertKey
from aiops.incidents.alert import Alert, AlertState
from aiops.incidents.external import EXTERNAL
from aiops.incidents.feedback import Judgement, Opinion, Tally, consequences, effects_of, tallies
from aiops.kit.clock import Clock
from aiops.kit.tokens import key_in, payload_of
from aiops.notify.notice import Letterhead, fingerprint, notice_of
from aiops.store.journal import Journal
from aiops.store.view import ArchiveView
from aiops.web.records_told import AskedRecord, OpinionRecord, OpinionRecords
from aiops.web.source import Refused, Saying

_LOG = logging.getLogger("aiops.app.opinions")
MOST_OPINIONS = 10_000


class Opinions:
    """Keeps every opinion that still counts, and the effects of the pipeline in step with them.

    Parameters
    ----------
    head
        The letterhead of now: fingerprints depend on its labels.
    diagnosed
        Id of the cause that is named for an incident.
    key_path
        File of the key that signs links.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        journal: Journal,
        view: ArchiveView,
        *,
        head: Callable[[], Letterhead],
        diagnosed: Callable[[str], str],
        key_path: Path,
        clock: Clock,
    ) -> None:
        self._pipeline = pipeline
        self._journal = journal
        self._view = view
        self._head = head
        self._diagnosed = diagnosed
        self._key_path = key_path
        self._clock = clock
        self._opinions: dict[str, Opinion] = {}
        self.link_key = b""

    def open(self) -> None:
        """Bring back what was said, and the key. Blocks for the disk."""
        self._opinions = {one.id: one for one in reversed(self._view.load_opinions(MOST_OPINIONS))}
        try:
            self.link_key = key_in(self._key_path)
        except (OSError, ValueError) as error:
            _LOG.warning("alerts carry no links for feedback: %s", error)
        self.refresh()

    def refresh(self) -> None:
        """Apply what still counts; opinions expire."""
        self._pipeline.effects = effects_of(self._opinions.values(), self._clock.now())

    def records(self) -> OpinionRecords:
        """What was said, newest first, with its consequences, and how precise each detector is."""
        newest = sorted(self._opinions.values(), key=lambda one: -one.at)
        return {
            "feedback": [self._record(one) for one in newest],
            "detectors": [
                {"detector": name, "true": tally.true, "false": tally.false, "precision": tally.precision}
                for name, tally in sorted(self.tallies().items())
            ],
        }

    def tallies(self) -> Mapping[str, Tally]:
        """Judged occurrences of every detector."""
        return tallies(self._opinions.values())

    async def say(self, alert: str, incident: str, saying: Saying) -> Sequence[OpinionRecord]:
        """Keep an opinion on one alert, or on every alert of an incident."""
        found = await self._of_incident(incident) if incident else self._standing(alert)
        if not found:
            what = f"incident {incident!r}" if incident else f"alert with the fingerprint {alert!r}"
            raise Refused(404, f"there is no {what}, or it is forgotten by now")
        return self._keep([self._opinion(one, saying, secrets.token_hex(6)) for one in found])

    def undo(self, name: str) -> OpinionRecord:
        """Take one back; again is no error."""
        opinion = self._opinions.get(name)
        if opinion is None:
            raise Refused(404, f"there is no feedback {name!r}")
        if not opinion.undone_at:
            opinion = replace(opinion, undone_at=self._clock.now())
        return self._keep([opinion])[0]

    def asked(self, token: str) -> AskedRecord:
        """What a link asks about."""
        name, incident, started_at = self._unsealed(token)
        found = self._standing(name)
        summary = found[0].verdict.summary if found else f"An alert of incident {incident}"
        rule, series = (found[0].key.rule, str(found[0].key.series)) if found else ("an alert", "a series")
        return {"summary": summary, "alert": rule, "series": series, "startsAt": stamp(started_at)}

    async def say_by_link(self, token: str, saying: Saying) -> OpinionRecord:
        """Use a link up."""
        name, incident, started_at = self._unsealed(token)
        candidates = self._standing(name) or await self._of_incident(incident)
        found = [one for one in candidates if self._named(one) == name and abs(one.started_at - started_at) < 1.0]
        if not found:
            raise Refused(404, "the alert of this link is forgotten by now")
        self._unsealed(token)  # another click may have been faster than the archive
        return self._keep([self._opinion(found[0], saying, _id_of(token))])[0]

    def _unsealed(self, token: str) -> tuple[str, str, float]:
        """Fingerprint, incident and start of the alert of a link that may be used now."""
        payload = payload_of(self.link_key, token) if self.link_key else None
        if payload is None:
            raise Refused(404, "this link was not made here")
        name, incident, started_at, expires_at = payload.split(" ")
        if self._clock.now() > float(expires_at):
            raise Refused(410, "this link is too old")
        if _id_of(token) in self._opinions:
            raise Refused(410, "this link was used before")
        return name, incident, float(started_at)

    def _standing(self, name: str) -> list[Alert]:
        return [one for one in self._pipeline.machine.alerts.values() if _told(one) and self._named(one) == name]

    async def _of_incident(self, incident: str) -> list[Alert]:
        """Alerts of an incident as they stand, and of those that are forgotten how they were last."""
        moves = await asyncio.to_thread(self._view.transitions_of, incident)
        last: dict[AlertKey, Alert] = {move.alert.key: move.alert for move in moves if _told(move.alert)}
        last |= {
            key: alert
            for key, alert in self._pipeline.machine.alerts.items()
            if alert.incident == incident and _told(alert)
        }
        return list(last.values())

    def _named(self, alert: Alert) -> str:
        return fingerprint(notice_of(alert, self._head()).labels)

    def _opinion(self, alert: Alert, saying: Saying, name: str) -> Opinion:
        now, verdict = self._clock.now(), alert.verdict
        statistical = bool(verdict.votes)
        alarmed = tuple(sorted(detector for detector, score in verdict.votes.items() if score >= 1.0))
        return Opinion(
            id=name,
            at=now,
            judgement=Judgement(saying.judgement),
            key=alert.key,
            alert=self._named(alert),
            started_at=alert.started_at,
            ended_at=alert.ended_at or now,
            score=alert.peak_score,
            statistical=statistical,
            detectors=alarmed if statistical else ("rule",),
            incident=alert.incident,
            cause=saying.cause,
            diagnosed=self._diagnosed(alert.incident),
            note=saying.note,
            by=saying.by,
        )

    def _keep(self, opinions: Iterable[Opinion]) -> list[OpinionRecord]:
        kept = list(opinions)
        self._journal.save(opinions=kept)
        self._opinions.update({one.id: one for one in kept})
        while len(self._opinions) > MOST_OPINIONS:
            del self._opinions[next(iter(self._opinions))]
        self.refresh()
        records = [self._record(one) for one in kept]
        for one, record in zip(kept, records, strict=True):
            _LOG.info("feedback", extra={"id": one.id, "judgement": str(one.judgement), "alert": one.key.rule,
                                         "undone": bool(one.undone_at), "effects": record["effects"]})  # fmt: skip
        return records

    def _record(self, opinion: Opinion) -> OpinionRecord:
        return {
            "id": opinion.id,
            "at": stamp(opinion.at),
            "judgement": opinion.judgement,
            "alertname": opinion.key.rule,
            "series": str(opinion.key.series),
            "alert": opinion.alert,
            "incident": opinion.incident,
            "startsAt": stamp(opinion.started_at),
            "score": opinion.score,
            "cause": opinion.cause,
            "note": opinion.note,
            "by": opinion.by,
            "undoneAt": stamp(opinion.undone_at),
            "effects": consequences(opinion, self._pipeline.effects, self._clock.now()),
        }


def _told(alert: Alert) -> bool:
    """One of ours that fired, now or before."""
    return alert.key.series.signal != EXTERNAL and (alert.active or alert.state is AlertState.RESOLVED)


def _id_of(token: str) -> str:
    return "l" + blake2s(token.encode(), digest_size=8).hexdigest()
