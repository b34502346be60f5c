"""Everything that may be said of one incident: names, phrases, times, causes, and the facts by their ids."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import isnan

from aiops.detect.base import AlertKey
from aiops.diagnose.record import Cause, Diagnosis, Evidence
from aiops.explain.lexicon import KNOWN_WORDS
from aiops.explain.narrator import called
from aiops.explain.words import Language, Words, plain
from aiops.incidents.alert import Alert, Incident
from aiops.incidents.places import root_of
from aiops.signals.types import Entity


@dataclass(frozen=True)
class Known:
    """What is known of one incident; every list is made once, when it is first asked for."""

    incident: Incident
    alerts: Mapping[AlertKey, Alert]
    diagnosis: Diagnosis
    words: Words

    @cached_property
    def facts(self) -> Mapping[str, Evidence]:
        """Evidence by id."""
        return {fact.id: fact for fact in self.diagnosis.evidence}

    @cached_property
    def entities(self) -> tuple[Entity, ...]:
        """Every entity that evidence, causes, changes or alerts speak of."""
        found: dict[Entity, None] = {}
        for entity in self._entities():
            found[entity] = None
        return tuple(found)

    def _entities(self) -> Iterable[Entity]:
        yield from (fact.series.entity for fact in self.diagnosis.evidence if fact.series is not None)
        yield from (cause.entity for cause in self.diagnosis.causes)
        yield from (mark.entity for mark in self.diagnosis.changes)
        yield from (key.series.entity for key in self.incident.members)

    @cached_property
    def names(self) -> Mapping[str, frozenset[Entity]]:
        """Names of entities in lower case, whole or the value of one label → the entities that carry it.

        A value with a space is no name but text; a bare number or an ordinary word names nothing by itself.
        """
        found: dict[str, set[Entity]] = {}
        for entity in self.entities:
            values = [value for _, value in entity.labels if _is_name(value)]
            for name in (called(entity), *(plain(value, 120) for value in values)):
                if len(name) > 1:
                    found.setdefault(name.lower(), set()).add(entity)
        return {name: frozenset(entities) for name, entities in found.items()}

    @cached_property
    def phrases(self) -> frozenset[str]:
        """Words of ours in lower case that may stand anywhere: alerts, runbooks, actions, reasons, the ranker."""
        diagnosis, incident = self.diagnosis, self.incident
        books = {cause.runbook for cause in diagnosis.causes} | {
            alert.verdict.runbook for alert in self.alerts.values()
        }
        actions = {name for cause in diagnosis.causes for name in cause.actions}
        said = {self.words.action(action, language) for action in actions for language in Language}
        roots = {plain(root_of(key.series.entity), 120) for key in incident.members}
        rules = {key.rule for key in incident.members}
        reasons = {diagnosis.reason, *(one.reason for one in diagnosis.ruled_out)}
        fixes = {
            self.words.fix(cause.id, language, cause.fix) for cause in diagnosis.causes[:1] for language in Language
        }
        found = rules | books | actions | said | roots | reasons | fixes | {incident.id, diagnosis.ranker}
        return frozenset(plain(text).lower().rstrip(".。") for text in found if len(text) > 1)

    @cached_property
    def quotes(self) -> frozenset[str]:
        """Text of strangers in lower case, which may be repeated within quotation marks only."""
        diagnosis = self.diagnosis
        said = [self.incident.title, *(mark.detail for mark in diagnosis.changes)]
        said += [fact.text for fact in diagnosis.evidence]
        said += [value for entity in self.entities for _, value in entity.labels]
        said += [alert.verdict.summary for alert in self.alerts.values()]
        return frozenset(plain(text).lower().rstrip(".。") for text in said if text.strip())

    @cached_property
    def titles(self) -> Mapping[str, str]:
        """Every name of a cause in lower case, also of causes that are not ranked → its id."""
        found: dict[str, str] = {}
        for cause, texts in self.words.causes.items():
            found |= {text.lower(): cause for text in (*texts.values(), cause, cause.replace("-", " "))}
        for ranked in self.diagnosis.causes:
            found |= {text.lower(): ranked.id for text in (plain(ranked.title), ranked.id) if text}
        return found

    @cached_property
    def ranked(self) -> Mapping[str, Cause]:
        """Causes by id, best first; none when abstained."""
        return {} if self.diagnosis.abstained else {cause.id: cause for cause in self.diagnosis.causes}

    @cached_property
    def excluded(self) -> frozenset[str]:
        """Ids of the causes that were ruled out."""
        return frozenset(one.cause for one in self.diagnosis.ruled_out)

    @cached_property
    def begins(self) -> tuple[float, ...]:
        """UTC seconds at which something of the incident began."""
        onsets = [one.onset for one in self.diagnosis.candidates if not isnan(one.onset)]
        return (self.incident.started_at, *onsets)

    @cached_property
    def changed_at(self) -> tuple[float, ...]:
        """UTC seconds of the changes."""
        return tuple(mark.at for mark in self.diagnosis.changes)

    @cached_property
    def times(self) -> tuple[float, ...]:
        """Every UTC second that may be named."""
        windows = [at for fact in self.diagnosis.evidence for at in (fact.start, fact.end)]
        ends = [] if self.incident.open else [self.incident.ended_at]
        return (*self.begins, *self.changed_at, *windows, *ends)

    @cached_property
    def spans(self) -> tuple[float, ...]:
        """Every length of time in seconds that may be named."""
        incident = self.incident
        until = incident.updated_at if incident.open else incident.ended_at
        gaps = [incident.started_at - at for at in self.changed_at]
        windows = [fact.end - fact.start for fact in self.diagnosis.evidence]
        return tuple(span for span in (until - incident.started_at, *gaps, *windows) if span > 0)


def _is_name(value: str) -> bool:
    return not value.isdigit() and " " not in value and value.lower() not in KNOWN_WORDS
