"""What statistics may call unusual: floors under the noise, which direction hurts, which series raise alerts.

The policy is data (``models/detectors/anomaly.yaml``). Here it is checked and turned into arrays that line up
with the window's columns, once per change of its series. Invariant: every column gets a policy, also a series
that raises no alert: it is still scored, for the ranking of what changed.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, field_validator, model_validator

from aiops.detect.base import Severity, Timing, Window
from aiops.kit.settings import Section
from aiops.signals.catalog import SIGNALS, Bad, Kind, stats_of
from aiops.signals.types import Entity, EntityKind, SeriesKey

_Document = TypeVar("_Document", bound=Section)

OBSERVATIONS = "events/s"
"""Unit of the ``rate`` of a distribution, whatever the unit of the distribution itself."""
LEAST_VARIANCE = np.float32(1e-30)
"""Keeps the band of a constant series from having no width at all."""
RULE_NAME = r"[A-Z][A-Za-z0-9]+"


class Counting(StrEnum):
    """Whether a number counts independent things, and so has noise of its own (variance = expectation)."""

    NONE = "none"
    LEVEL = "level"
    RATE = "rate"


class Floor(Section):
    """What is never an anomaly, in the unit of the signal."""

    noise: float = Field(0.0, ge=0)
    """Least standard deviation that a series is believed to have."""
    relative_noise: float = Field(0.0, ge=0)
    """The same as a share of the expected value."""
    minimum: float = Field(0.0, ge=0)
    """Deviation that must be exceeded to matter to anybody."""
    minimum_relative: float = Field(0.0, ge=0)
    """The same as a share of the expected value."""
    counting: Counting = Counting.NONE
    """Adds the noise that counting has by nature; a ``rate`` is counted over one tick."""


class TimingSpec(Section):
    """K of N points to fire, M of N to resolve; see :class:`aiops.detect.base.Timing`."""

    breach_points: int
    window_points: int
    clear_points: int
    clear_window: int

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.timing()
        return self

    def timing(self) -> Timing:
        """The same as the record that travels between rooms."""
        return Timing(self.breach_points, self.window_points, self.clear_points, self.clear_window)


class Watch(Section):
    """One signal that may raise an alert by statistics."""

    rule: str = Field(pattern=f"^{RULE_NAME}$")
    """Name of the alert."""
    signal: str
    """Name in the catalogue."""
    stats: tuple[str, ...] = ("",)
    """Statistics of a distribution that are judged; each is an alert of its own."""
    kinds: tuple[EntityKind, ...]
    """Entities of which it is judged."""
    severity: Severity = Severity.WARNING
    """``info`` or ``warning``: statistics alone never page."""
    direction: Bad | None = None
    """Overrides the catalogue's direction."""
    noise: float | None = Field(None, ge=0)
    """Overrides the unit's floor, as do the two below."""
    minimum: float | None = Field(None, ge=0)
    minimum_relative: float | None = Field(None, ge=0)
    timing: TimingSpec | None = None
    """Overrides the document's timing."""
    summary: str = Field(min_length=1)
    """One line for a person, without changing numbers."""
    description: str = ""
    """What it means for users and where to look first."""
    runbook: str = ""
    """Slug of the runbook."""

    @field_validator("severity")
    @classmethod
    def _never_pages(cls, severity: Severity) -> Severity:
        return not_critical(severity, "a statistical rule")

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        if self.signal not in SIGNALS:
            raise ValueError(f"{self.signal!r} is no signal of the catalogue")
        possible = stats_of(SIGNALS[self.signal])
        wrong = set(self.stats) - set(possible)
        if wrong or not self.stats:
            raise ValueError(f"{self.signal} has the statistics {possible}, not {self.stats}")
        if self.direction is Bad.NONE or (self.direction is None and SIGNALS[self.signal].bad is Bad.NONE):
            raise ValueError(f"{self.signal} has no bad direction; give one of high, low, both")
        return self


class AnomalyPolicy(Section):
    """The whole document."""

    timing: TimingSpec
    """K of N of every rule that has none of its own."""
    units: dict[str, Floor]
    """Unit → floor; every unit of the catalogue must be there."""
    watch: tuple[Watch, ...]
    """Signals that may raise an alert."""

    @model_validator(mode="after")
    def _check_complete(self) -> Self:
        missing = {signal.unit for signal in SIGNALS.values()} - set(self.units)
        if missing:
            raise ValueError(f"units lacks {', '.join(sorted(missing))}")
        seen: dict[str, str] = {}
        for item in self.watch:
            if seen.setdefault(item.rule, item.signal) != item.signal:
                raise ValueError(f"rule {item.rule} names two signals: {seen[item.rule]} and {item.signal}")
        return self

    @classmethod
    def parse(cls, document: object, where: str) -> Self:
        """Check a loaded YAML document; raises ValueError that names ``where`` and each wrong place."""
        return parse_document(cls, document, where)


@dataclass(frozen=True, slots=True)
class PolicyColumns:
    """The policy lined up with a window.

    Attributes
    ----------
    noise_variance, counting, relative_variance
        float32 [capacity]: the variance of a series with expectation m is at least
        ``noise_variance + counting·|m| + relative_variance·m²``.
    minimum, minimum_relative
        float32 [capacity]: the band is at least ``max(minimum, minimum_relative·|m|)`` wide on either side.
    high, low
        float32 [capacity]: weight of a residual that is too high (1 or 0) and too low (−1 or 0). Where neither
        hurts both are set, so that the score of a signal without a bad direction still tells how unusual it is.
    open_above, open_below
        float32 [capacity]: +∞ and −∞ on a side that does not hurt, else 0.
    watch
        intp [capacity]: index of the policy's watch, −1 where no alert is raised.
    of_series, of_entity
        Column of a series, and intp columns of an entity.
    """

    noise_variance: NDArray[np.float32]
    counting: NDArray[np.float32]
    relative_variance: NDArray[np.float32]
    minimum: NDArray[np.float32]
    minimum_relative: NDArray[np.float32]
    high: NDArray[np.float32]
    low: NDArray[np.float32]
    open_above: NDArray[np.float32]
    open_below: NDArray[np.float32]
    watch: NDArray[np.intp]
    of_series: dict[SeriesKey, int]
    of_entity: dict[Entity, NDArray[np.intp]]


class Compiler:
    """Lines the policy up with windows; remembers the last one, because series rarely change.

    Parameters
    ----------
    disabled
        Rules that raise no alert; their series are scored all the same.
    """

    def __init__(self, policy: AnomalyPolicy, disabled: frozenset[str] = frozenset()) -> None:
        self._policy = policy
        self._watch: dict[tuple[EntityKind, str, str], int] = {}
        for index, item in enumerate(policy.watch):
            if item.rule not in disabled:
                for kind in item.kinds:
                    self._watch.update({(kind, item.signal, stat): index for stat in item.stats})
        self._rows: dict[tuple[EntityKind, str, str, float], tuple[float, ...]] = {}
        self._keys: tuple[SeriesKey | None, ...] | None = None
        self._step_seconds = math.nan
        self._columns: PolicyColumns | None = None

    def columns(self, window: Window) -> PolicyColumns:
        """The policy of the window's columns; the same object while the tuple of keys is the same object."""
        # The tuple is held, so its identity cannot be given to another one.
        if self._columns is None or window.keys is not self._keys or window.step_seconds != self._step_seconds:
            self._columns = self._compile(window)
            self._keys, self._step_seconds = window.keys, window.step_seconds
        return self._columns

    def _compile(self, window: Window) -> PolicyColumns:
        table = np.zeros((len(window.keys), 8), np.float64)
        table[:, 7] = -1
        of_series: dict[SeriesKey, int] = {}
        members: dict[Entity, list[int]] = {}
        for column, key in enumerate(window.keys):
            if key is not None:
                table[column] = self._row(key, window.step_seconds)
                of_series[key] = column
                members.setdefault(key.entity, []).append(column)
        numbers = np.ascontiguousarray(table[:, :5].T, np.float32)
        high, low = table[:, 5] > 0, table[:, 6] > 0
        return PolicyColumns(
            noise_variance=np.maximum(numbers[0], LEAST_VARIANCE),
            counting=numbers[1],
            relative_variance=numbers[2],
            minimum=numbers[3],
            minimum_relative=numbers[4],
            high=high.astype(np.float32),
            low=-low.astype(np.float32),
            open_above=np.where(high, 0, np.inf).astype(np.float32),
            open_below=np.where(low, 0, -np.inf).astype(np.float32),
            watch=table[:, 7].astype(np.intp),
            of_series=of_series,
            of_entity={entity: np.array(columns, np.intp) for entity, columns in members.items()},
        )

    def _row(self, key: SeriesKey, step_seconds: float) -> tuple[float, ...]:
        identity = (key.entity.kind, key.signal, key.stat, step_seconds)
        row = self._rows.get(identity)
        if row is None:
            row = self._rows[identity] = self._policy_of(key, step_seconds)
        return row

    def _policy_of(self, key: SeriesKey, step_seconds: float) -> tuple[float, ...]:
        index = self._watch.get((key.entity.kind, key.signal, key.stat), -1)
        item = self._policy.watch[index] if index >= 0 else None
        signal = SIGNALS.get(key.signal)
        rate = signal is not None and signal.kind is Kind.DISTRIBUTION and key.stat == "rate"
        unit = OBSERVATIONS if rate else "" if signal is None else signal.unit
        floor = self._policy.units.get(unit, Floor())
        bad = Bad.NONE if rate or signal is None else signal.bad
        noise, minimum, minimum_relative = floor.noise, floor.minimum, floor.minimum_relative
        if item is not None:
            noise = noise if item.noise is None else item.noise
            minimum = minimum if item.minimum is None else item.minimum
            minimum_relative = minimum_relative if item.minimum_relative is None else item.minimum_relative
            bad = item.direction or bad
        counting = {Counting.NONE: 0.0, Counting.LEVEL: 1.0, Counting.RATE: 1.0 / step_seconds}[floor.counting]
        numbers = (noise**2, counting, floor.relative_noise**2, minimum, minimum_relative)
        return (*numbers, float(bad is not Bad.LOW), float(bad is not Bad.HIGH), float(index))


def not_critical(severity: Severity, what: str) -> Severity:
    """Give the severity back, or refuse: a statistical anomaly is evidence, never a page."""
    if severity is Severity.CRITICAL:
        raise ValueError(f"{what} cannot be critical; expected info or warning")
    return severity


def parse_document(cls: type[_Document], document: object, where: str) -> _Document:
    """Check a loaded document against its class; the error names the file and each wrong place."""
    try:
        return cls.model_validate(document)
    except ValidationError as error:
        places = (f"{where}: {'.'.join(map(str, one['loc'])) or 'document'}: {one['msg']}" for one in error.errors())
        raise ValueError("\n".join(places)) from None
