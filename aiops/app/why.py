"""Asks why, for every incident: in the tick in which it opens, when it grows, and again when more is seen.

At most one diagnosis is made in a tick, of bounded size, so a tick stays short however much breaks at once; the others
follow in the next ones. A diagnosis that was made is never changed, nor are the numbers behind it: a later one stands
beside it.
"""

import logging
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from aiops.app import presets
from aiops.app.pipeline import Outcome, Pipeline
from aiops.diagnose.diagnosis import Question, diagnose
from aiops.diagnose.record import Diagnosis
from aiops.diagnose.recording import Recording, record
from aiops.incidents.alert import Incident
from aiops.signals.types import Mark
from aiops.store.batch import Told
from aiops.store.codec import Codec
from aiops.store.view import ArchiveView

_LOG = logging.getLogger("aiops.app.why")
DIAGNOSES, RECORDINGS = Codec(Diagnosis), Codec(Recording)
MOST_PER_INCIDENT = 6
"""Diagnoses of one incident; the last place is for when all is seen."""
_LEAST_SECONDS, _AGAIN_SECONDS = 30.0, (60.0, 300.0)
"""Time between two diagnoses of one incident; ages at which one is asked for although nothing changed."""
_MARK_SECONDS, _MOST_MARKS = 3600.0, 4096


class Why:
    """Diagnoses of the incidents of one pipeline.

    Attributes
    ----------
    made_total
        Diagnoses made.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._book, self._floors = presets.cause_book(), presets.anomaly_policy().units
        self._marks: deque[Mark] = deque(maxlen=_MOST_MARKS)
        self._kept: dict[str, tuple[Diagnosis, ...]] = {}
        self._wanted: dict[str, float] = {}
        self.made_total = 0

    def of(self, incident: str) -> tuple[Diagnosis, ...]:
        """What was found about an incident, oldest first."""
        return self._kept.get(incident, ())

    def cause(self, incident: str) -> str:
        """Id of the cause that is named now; empty without one."""
        made = self.of(incident)
        return made[-1].cause.id if made and made[-1].cause is not None else ""

    def causes(self) -> Mapping[str, str]:
        """Incident → its cause in one line, where one is named."""
        newest = {incident: made[-1] for incident, made in self._kept.items()}
        return {incident: found.reason for incident, found in newest.items() if found.cause is not None}

    def restore(self, view: ArchiveView, now: float) -> list[Diagnosis]:
        """Go on from what was kept; returns the newest diagnosis of each incident. Blocks for the disk."""
        for found in kept_diagnoses(view):
            if found.incident in self._pipeline.grouping.incidents:
                self._kept[found.incident] = (*self.of(found.incident), found)
        self._marks.extend(reversed(view.recent_marks(_MOST_MARKS, since=now - _MARK_SECONDS)))
        return [made[-1] for made in self._kept.values()]

    def note(self, marks: Sequence[Mark]) -> None:
        """Marks that no tick brought, such as a deploy."""
        self._marks.extend(marks)

    def step(self, now: float, outcome: Outcome) -> tuple[list[Diagnosis], list[Told]]:
        """Look at what a tick changed; returns the diagnoses made, and what the archive keeps of them."""
        self._marks.extend(outcome.marks)
        while self._marks and self._marks[0].at < now - _MARK_SECONDS:
            self._marks.popleft()
        incidents = self._pipeline.grouping.incidents
        for incident in outcome.incidents:
            made = self.of(incident.id)
            if incident.open and len(made) < MOST_PER_INCIDENT - 1:
                self._wanted[incident.id] = max(now, made[-1].at + _LEAST_SECONDS) if made else now
        self._wanted = {name: at for name, at in self._wanted.items() if name in incidents and incidents[name].open}
        self._kept = {name: made for name, made in self._kept.items() if name in incidents}
        due = min(((at, name) for name, at in self._wanted.items() if at <= now), default=None)
        if due is None:
            return [], []
        try:
            found, told = self._ask(incidents[due[1]], now)
        except Exception:  # noqa: BLE001 - an answer that fails costs itself; the alerts of this tick must go out
            _LOG.exception("an incident could not be diagnosed", extra={"incident": due[1]})
            del self._wanted[due[1]]
            return [], []
        return [found], told

    def _ask(self, incident: Incident, now: float) -> tuple[Diagnosis, list[Told]]:
        alerts, window = self._pipeline.machine.alerts, self._pipeline.ring.window()
        since = min((alerts[key].started_at for key in incident.members if key in alerts), default=incident.started_at)
        question = Question(incident.id, since, tuple(key.series for key in incident.members))
        priors = self._pipeline.effects.priors
        found = diagnose(
            question,
            window,
            self._book,
            marks=self._marks,
            floors=self._floors,
            priors=priors,
            tenancy=self._pipeline.tenancy,
        )
        number = len(self.of(incident.id))
        self._kept[incident.id] = (*self.of(incident.id), found)
        self.made_total += 1
        again = next((age for age in _AGAIN_SECONDS if now - incident.started_at < age), None)
        if again is None or number + 1 >= MOST_PER_INCIDENT:
            del self._wanted[incident.id]
        else:
            self._wanted[incident.id] = max(incident.started_at + again, now + _LEAST_SECONDS)
        numbers = record(question, window, found, tuple(self._marks), self._pipeline.tenancy)
        return found, [
            Told(incident.id, _author(number), now, DIAGNOSES.dump(found)),
            Told(incident.id, f"recording {number}", now, RECORDINGS.dump(numbers)),
        ]


def kept_diagnoses(view: ArchiveView) -> Iterator[Diagnosis]:
    """Every diagnosis in an archive; those of one incident oldest first. Blocks for the disk."""
    for number in range(MOST_PER_INCIDENT):
        for text in view.load_told(_author(number)):
            with suppress(ValueError):  # written by another version
                yield DIAGNOSES.load(text)


def _author(number: int) -> str:
    return f"diagnosis {number}"
