"""Words for incidents, beside the tick."""

from aiops.app import presets
from aiops.app.pipeline import Pipeline
from aiops.explain.narrator import Narrator, Summary
from aiops.explain.settings import ExplainSettings
from aiops.explain.words import Words
from aiops.incidents.alert import Incident


class Explain:
    """Tells incidents of one pipeline."""

    def __init__(self, pipeline: Pipeline, settings: ExplainSettings) -> None:
        self._pipeline = pipeline
        self._words = Words(presets.signal_names())
        self._narrator = Narrator(self._words, settings.language)

    def configure(self, settings: ExplainSettings) -> None:
        """Speak as the new settings say."""
        self._narrator = Narrator(self._words, settings.language)

    def summary(self, incident: Incident) -> Summary:
        """The summary by templates, from what is known now."""
        return self._narrator.tell(incident, self._pipeline.machine.alerts, None)
