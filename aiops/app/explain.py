"""Words for incidents, beside the tick: templates at once, a language model's checked text when it comes.

Nothing flows back: what a model says is kept with the incident and shown, and no alert, severity or number depends on
it. Incidents wait in a bounded queue; one is worded at a time.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from aiohttp import ClientSession

from aiops.app import presets
from aiops.app.pipeline import Pipeline
from aiops.diagnose.record import Diagnosis
from aiops.explain.dependence import warning_of
from aiops.explain.known import Known
from aiops.explain.llm import Llm, LlmCounts
from aiops.explain.narrator import Narrator, Summary
from aiops.explain.settings import ExplainSettings
from aiops.explain.wording import Worded, word
from aiops.explain.words import Language
from aiops.incidents.alert import Incident
from aiops.kit.clock import SYSTEM_CLOCK, Clock
from aiops.kit.http import HttpClient
from aiops.kit.log import OnChange
from aiops.kit.retry import Failure
from aiops.signals.types import Entity

_LOG = logging.getLogger("aiops.app.explain")
Story = tuple[object, ...]


@dataclass(slots=True)
class ExplainCounts:
    """What became of incidents and sentences since the start.

    Attributes
    ----------
    worded
        Answers that were checked, also those of which nothing was left.
    dropped, duplicates
        Incidents that left the queue unworded: it was full; the same story was told a short while ago.
    kept_sentences, dropped_sentences
        Sentences found true, and those that could not be shown to be.
    """

    worded: int = 0
    dropped: int = 0
    duplicates: int = 0
    kept_sentences: int = 0
    dropped_sentences: int = 0


class Explain:
    """Tells incidents of one pipeline.

    Parameters
    ----------
    fleet
        Gives every watched target: the language model may be one of them.
    keep
        Gets every text of the model that was checked.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        settings: ExplainSettings,
        clock: Clock = SYSTEM_CLOCK,
        *,
        fleet: Callable[[], Iterable[Entity]] = tuple,
        keep: Callable[[Worded], None] = lambda _: None,
    ) -> None:
        self._pipeline = pipeline
        self._settings = settings
        self._clock = clock
        self._fleet = fleet
        self._keep = keep
        self._words = presets.words()
        self._narrators = {language: Narrator(self._words, language) for language in Language}
        self._diagnoses: dict[str, Diagnosis] = {}
        self._worded: dict[str, Worded] = {}
        self._waiting: dict[str, float] = {}
        self._told: dict[Story, float] = {}
        self._llm: Llm | None = None
        self._faults = OnChange(_LOG, clock.monotonic)
        self.counts = ExplainCounts()

    def summary(self, incident: Incident, language: Language | None = None) -> Summary:
        """The summary by templates, from what is known now, in the language of the settings or another."""
        narrator = self._narrators[language or self._settings.language]
        return narrator.tell(incident, self._pipeline.alerts, self._diagnoses.get(incident.id))

    def causes(self, incident: str) -> tuple[str, ...]:
        """Ids of the causes that the diagnosis of an incident names, best first."""
        diagnosis = self._diagnoses.get(incident)
        return () if diagnosis is None or diagnosis.abstained else tuple(cause.id for cause in diagnosis.causes)

    def worded(self, incident: str) -> Worded | None:
        """What the language model said of an incident; None when it said nothing yet."""
        return self._worded.get(incident)

    @property
    def llm_counts(self) -> LlmCounts:
        """What the language model was asked."""
        return self._llm.counts if self._llm is not None else LlmCounts()

    @property
    def queue_length(self) -> int:
        """Incidents that wait to be worded."""
        return len(self._waiting)

    def restore(self, worded: Iterable[Worded]) -> None:
        """Go on from kept texts."""
        self._worded |= {one.incident: one for one in worded}

    def connect(self, session: ClientSession) -> bool:
        """Get ready to ask; False when no language model is configured."""
        settings = self._settings.llm
        if settings.url:
            self._llm = Llm(settings, HttpClient(settings.client, session), self._clock)
        return self._llm is not None

    def take(self, diagnoses: Sequence[Diagnosis]) -> None:
        """New diagnoses: each replaces the one before, and its incident waits to be worded."""
        now = self._clock.monotonic()
        incidents = self._pipeline.grouping.incidents
        for diagnosis in diagnoses:
            self._diagnoses[diagnosis.incident] = diagnosis
            if self._llm is not None:
                self._waiting.pop(diagnosis.incident, None)
                self._waiting[diagnosis.incident] = now
        for kept in (self._diagnoses, self._worded):
            for gone in kept.keys() - incidents.keys():
                del kept[gone]
        while len(self._waiting) > self._settings.llm.queue_capacity:
            del self._waiting[next(iter(self._waiting))]
            self.counts.dropped += 1

    async def step(self) -> None:
        """Word the incident that has waited longest, if one has waited long enough."""
        now, settings = self._clock.monotonic(), self._settings.llm
        due = next((name for name, since in self._waiting.items() if now - since >= settings.settle), None)
        if due is None or self._llm is None:
            return
        del self._waiting[due]
        incident, diagnosis = self._pipeline.grouping.incidents.get(due), self._diagnoses.get(due)
        if incident is None or diagnosis is None:
            return
        self._told = {story: at for story, at in self._told.items() if now - at < settings.repeat_after}
        story = _story(incident, diagnosis)
        if story in self._told or (due,) in self._told:
            self.counts.duplicates += 1
            return
        if await self._word(Known(incident, dict(self._pipeline.alerts), diagnosis, self._words), self._llm):
            self._told |= {story: now, (due,): now}

    async def _word(self, known: Known, llm: Llm) -> bool:
        """Ask, check and keep; False when there was no usable answer, and the next diagnosis may ask again."""
        settings = self._settings
        warning = warning_of(settings.llm.url, self._fleet(), known.entities)
        self._faults.report("language model's place", warning)
        try:
            worded = await word(
                known,
                llm,
                model=settings.llm.model,
                language=settings.language,
                at=self._clock.now(),
                warning=warning,
            )
        except Failure as error:
            self._faults.report("language model", str(error))
            return False
        self._faults.report("language model", "")
        self.counts.worded += 1
        self.counts.kept_sentences += len(worded.sentences)
        self.counts.dropped_sentences += len(worded.dropped)
        self._worded[worded.incident] = worded
        self._keep(worded)
        return True


def _story(incident: Incident, diagnosis: Diagnosis) -> Story:
    """Equal for incidents of which the same would be told: the same causes behind the same alerts."""
    causes = tuple(cause.id for cause in diagnosis.causes)
    return causes, tuple(sorted({key.rule for key in incident.members}))
