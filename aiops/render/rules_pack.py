"""What the rule pack for plain Prometheus is made of, as it stands in ``models/rules/*.yaml``.

The pack has two layers. *Records* turn the metrics of one engine or exporter, whatever their names in this or that
version, into series with one name for all; they are written by ``rules_promql`` from the engine profiles. *Alerts*
read only those (and, where there is just one exporter, its own names), so each is written and tested once.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

import yaml
from pydantic import Field, ValidationError, model_validator

from aiops.kit.settings import Section
from aiops.signals.catalog import SIGNALS
from aiops.signals.profile import Family

_WINDOW = r"^[1-9][0-9]*[smhd]$"
_SLUG = r"^[a-z0-9]+(-[a-z0-9]+)*$"
_Model = TypeVar("_Model", bound=Section)


class Severity(StrEnum):
    """critical = page now; warning = office hours; info = context for somebody who already looks."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


class Stat(StrEnum):
    """Which statistic of a distribution a record keeps."""

    VALUE = ""
    MEAN = "mean"


class Record(Section):
    """One series for all engines (or GPUs), and the signal that fills it."""

    record: str = Field(pattern=r"^[a-z]+:[a-z0-9_]+:[a-z0-9_]+$")
    """Name: level, what, operation."""
    signals: tuple[str, ...] = Field(min_length=1)
    """Signals of the catalogue; several are added up, those that a program lacks are left out."""
    window: str = Field("5m", pattern=_WINDOW)
    """Window of counters and histograms; at least twice the scrape interval, or nothing is found in it."""
    as_is: bool = False
    """The counter itself, for alerts that take its increase: where copies of it come and go with pods, an increase
    taken before they are aggregated would miss the event that ends the pod."""
    average: bool = False
    """Average of a gauge over the window, where it stands for a share of time."""
    stat: Stat = Stat.VALUE
    """Statistic of a distribution; by default how often it was observed."""
    best_only: bool = False
    """Only the first source of each signal in the profile will do."""
    profiles: tuple[str, ...] = ()
    """Only for these profiles; by default for all that have the signals."""

    @model_validator(mode="after")
    def _check(self) -> "Record":
        if unknown := [signal for signal in self.signals if signal not in SIGNALS]:
            raise ValueError(f"{', '.join(unknown)}: no signal of the catalogue")
        return self


class RawRecord(Section):
    """A record that no profile can express; its expression is PromQL, ``%by%`` stands for the labels of a GPU."""

    record: str
    """Name, as above."""
    expr: str
    """PromQL."""


class Objective(Section):
    """What users may expect, and how much of it may go wrong."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """Part of the record names."""
    alert: str = Field(pattern=r"^[A-Z][A-Za-z]+$")
    """Name of the alert."""
    signal: str = ""
    """Distribution that must stay below ``threshold_seconds``; empty where failures are counted."""
    threshold_seconds: float = Field(0.0, ge=0)
    """Slower than this is bad. The largest bucket bound that is not above it decides."""
    bad: str = ""
    """Rate of what is bad."""
    total: tuple[str, ...] = ()
    """Rates of everything, added up."""
    objective: float = Field(gt=0, lt=1)
    """Share that must be good."""
    least_events: int = Field(20, ge=0)
    """With fewer events in the long window nobody is paged: one slow request in a quiet night is no outage."""
    summary: str
    """Annotation."""
    description: str
    """Annotation."""
    runbook: str = Field(pattern=_SLUG)
    """Slug of the runbook."""

    @model_validator(mode="after")
    def _check(self) -> "Objective":
        if bool(self.signal) == bool(self.bad) or bool(self.bad) != bool(self.total):
            raise ValueError(f"{self.name}: expected either 'signal' and 'threshold_seconds', or 'bad' and 'total'")
        if bool(self.signal) != (self.threshold_seconds > 0):
            raise ValueError(f"{self.name}: 'threshold_seconds' belongs to 'signal' and is above 0")
        return self


class Burn(Section):
    """One pair of windows: fires when both burn the budget faster than ``factor``."""

    long: str = Field(pattern=_WINDOW)
    """Says that it matters."""
    short: str = Field(pattern=_WINDOW)
    """Says that it is still so; makes the alert end soon."""
    factor: float = Field(gt=0)
    """Budget burnt, in multiples of what would use it up exactly at the end of the period."""
    for_: str = Field(alias="for", pattern=_WINDOW)
    """How long both must hold."""
    severity: Severity
    """Who is told."""


class Alert(Section):
    """One alerting rule."""

    alert: str = Field(pattern=r"^[A-Z][A-Za-z0-9]+$")
    """Name."""
    expr: str
    """PromQL; words between % are replaced."""
    for_: str = Field("", alias="for", pattern=rf"{_WINDOW}|^$")
    """How long it must hold; empty = at once."""
    keep_firing_for: str = Field("", pattern=rf"{_WINDOW}|^$")
    """How long it stays when the expression no longer holds; Prometheus 2.42 and later."""
    severity: Severity
    """Who is told."""
    summary: str
    """One line without values."""
    description: str
    """What it means, with labels and value."""
    runbook: str = Field(pattern=_SLUG)
    """Slug of the runbook."""


class AlertFile(Section):
    """One file of alerts, which becomes one file of the pack."""

    about: str
    """First lines of the generated file: for whom, and what must be scraped."""
    metrics: Mapping[str, str] = Field(default_factory=dict)
    """Raw metrics in the expressions that no profile has → where they come from."""
    groups: Mapping[str, tuple[Alert, ...]]
    """Group name → rules."""


class Labels(Section):
    """Labels that survive in records; everything else (ranks, pods that share a GPU) is aggregated away."""

    replica: tuple[str, ...]
    """Of one target."""
    model: tuple[str, ...]
    """Of a service, for objectives."""
    gpu: tuple[str, ...]
    """Of a GPU."""
    rename: Mapping[str, str] = Field(default_factory=dict)
    """Entity label of a profile → label in the records."""


class Pack(Section):
    """``records.yaml`` and ``objectives.yaml``: everything that is not an alert."""

    runbook_url: str
    """Address of a runbook; ``{slug}`` is replaced. Edit it and run ``aiops render``."""
    labels: Labels
    """What identifies a series."""
    bare_counters: tuple[str, ...] = ()
    """Patterns of counters that are exposed without ``_total``."""
    replica_records: tuple[Record, ...]
    """For engines and gateways."""
    gpu_records: tuple[Record, ...]
    """For GPU exporters."""
    raw_records: Mapping[str, tuple[RawRecord, ...]] = Field(default_factory=dict)
    """Profile → records that its roles cannot express."""
    objectives: tuple[Objective, ...]
    """What is promised."""
    burns: tuple[Burn, ...]
    """Pairs of windows."""
    words: Mapping[str, str] = Field(default_factory=dict)
    """``%word%`` in expressions and annotations → text."""

    @model_validator(mode="after")
    def _check(self) -> "Pack":
        if "{slug}" not in self.runbook_url:
            raise ValueError(f"runbook_url {self.runbook_url!r} has no {{slug}}")
        for objective in self.objectives:
            for burn in self.burns:
                if burn.factor * (1 - objective.objective) >= 1:
                    raise ValueError(
                        f"{objective.name}: {burn.factor:g} times a budget of {1 - objective.objective:g} is more than "
                        "everything, so the alert could never fire; raise the objective"
                    )
        return self

    def records_of(self, family: Family) -> tuple[Record, ...]:
        """Records that a program of this family may fill."""
        if family is Family.GPU:
            return self.gpu_records
        return self.replica_records if family in (Family.ENGINE, Family.GATEWAY) else ()


def parse_pack(texts: Mapping[str, str]) -> Pack:
    """Join the documents of the pack (origin → text).

    Raises
    ------
    ValueError
        Naming the file, the place in it and what was expected.
    """
    joined: dict[str, Any] = {}
    for origin, text in texts.items():
        document = _document(text, origin)
        if both := joined.keys() & document.keys():
            raise ValueError(f"{origin}: {', '.join(sorted(both))} stand in another file already")
        joined |= document
    return _checked(Pack, joined, ", ".join(texts))


def parse_alerts(text: str, origin: str) -> AlertFile:
    """Turn one document of alerts into records.

    Raises
    ------
    ValueError
        As above.
    """
    return _checked(AlertFile, _document(text, origin), origin)


def _document(text: str, origin: str) -> dict[str, Any]:
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{origin}: not valid YAML: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{origin}: expected a mapping; got {type(found).__name__}")  # noqa: TRY004 - one error type for every bad file
    return found


def _checked(model: type[_Model], found: dict[str, Any], origin: str) -> _Model:
    try:
        return model.model_validate(found)
    except ValidationError as error:
        lines = [f"{'.'.join(str(part) for part in item['loc']) or 'file'}: {item['msg']}" for item in error.errors()]
        raise ValueError(f"{origin}: " + "; ".join(lines)) from None
