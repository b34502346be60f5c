"""Engine profiles: which metric of which serving engine, exporter or gateway carries which canonical signal.

A profile is data (``models/engines/*.yaml``); this module only says what such a file may contain and turns
its text into records. The app reads the files. Invariant: a loaded profile names only signals of the
catalogue, and every source has exactly the fields that its ``as`` needs.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

import yaml
from pydantic import BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from aiops.kit import own_yaml
from aiops.kit.settings import Section
from aiops.signals.catalog import SIGNALS, Kind
from aiops.signals.types import EntityKind


class Family(StrEnum):
    """What sort of program it is; decides which signals the doctor expects of it."""

    ENGINE = "engine"
    GATEWAY = "gateway"
    GPU = "gpu"
    HOST = "host"
    CLUSTER = "cluster"


class How(StrEnum):
    """What arithmetic turns page values into the signal (``as`` in the file)."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"
    SUMMARY = "summary"
    MEAN = "mean"
    RATIO = "ratio"
    QUOTIENT = "quotient"
    PRODUCT = "product"
    DIFFERENCE = "difference"
    INFO = "info"
    COUNT = "count"
    CHANGES = "changes"
    NEWEST = "newest"


class NewSeries(StrEnum):
    """What a counter counted before it was seen first, on a page that was read before."""

    UNKNOWN = "unknown"
    ZERO = "zero"


class Reduce(StrEnum):
    """How several series of one entity (ranks, handles, devices) become one number."""

    SUM = "sum"
    MAX = "max"
    MIN = "min"
    MEAN = "mean"
    FIRST = "first"


_SCALES = {
    "ns": 1e-9, "us": 1e-6, "ms": 1e-3, "percent": 0.01, "kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30,
    "mhz": 1e6, "millijoules": 1e-3, "milliwatts": 1e-3,
}  # fmt: skip

_DEFAULT_HOW = {
    Kind.LEVEL: How.GAUGE, Kind.CAPACITY: How.GAUGE, Kind.STATE: How.GAUGE,
    Kind.RATE: How.COUNTER, Kind.EVENTS: How.COUNTER, Kind.DISTRIBUTION: How.HISTOGRAM,
}  # fmt: skip


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _as_scale(value: object) -> object:
    if isinstance(value, str):
        if value not in _SCALES:
            raise ValueError(f"{value!r} is no scale; expected a number or one of {', '.join(_SCALES)}")
        return _SCALES[value]
    return value


def _as_term(value: object) -> object:
    return {"metric": value} if isinstance(value, str) else value


def _as_terms(value: object) -> object:
    if isinstance(value, (str, Mapping)):
        value = (value,)
    return tuple(_as_term(item) for item in value) if isinstance(value, (list, tuple)) else value


Strings = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
Where = dict[str, Strings]


class Term(Section):
    """A metric and a label selector; in the file a plain name is enough."""

    metric: str = Field(min_length=1)
    """Exposed name without ``_bucket``/``_sum``/``_count``; counters are found with and without ``_total``."""
    where: Where = Field(default_factory=dict)
    """Label → accepted values: exact, ``~regex`` (full match), ``!value`` or ``!~regex``. In a list any
    of the plain ones must fit, and none of the negated ones. A label that a series lacks reads as the empty string."""

    @field_validator("where")
    @classmethod
    def _check_patterns(cls, where: Where) -> Where:
        for values in where.values():
            for value in values:
                pattern = value.removeprefix("!")
                if pattern.startswith("~"):
                    try:
                        re.compile(pattern[1:])
                    except re.error as error:
                        raise ValueError(f"{value!r} is no regular expression: {error}") from None
        return where


Terms = Annotated[tuple[Term, ...], BeforeValidator(_as_terms)]


class Source(Term):
    """One way to get a signal from a page; a role has an ordered list of them, the first present wins."""

    model_config = ConfigDict(populate_by_name=True)

    how: How | None = Field(default=None, alias="as")
    """What arithmetic; by default gauge for levels, states and capacities, counter for rates and events,
    histogram for distributions."""
    plus: Terms = ()
    """More metrics added to ``metric`` before anything else; those absent are left out."""
    count: Annotated[Term | None, BeforeValidator(_as_term)] = None
    """``as: mean``: counter of observations under the sum counter ``metric``."""
    over: Terms = ()
    """``as: ratio`` or ``quotient``: denominators, added up."""
    times: Terms = ()
    """``as: product``: further gauges to multiply with."""
    minus: Terms = ()
    """``as: difference``: further gauges to take away; the rest is not below 0."""
    labels: Strings = ()
    """``as: info``: labels of the metric whose values are multiplied. ``as: newest``: the one label whose number
    is taken from the series with the greatest value."""
    scale: Annotated[float, BeforeValidator(_as_scale)] = 1.0
    """Factor to the base unit: a number, or ns us ms percent kib mib gib mhz millijoules milliwatts."""
    offset: float = 0.0
    """Added after scaling; with ``scale: -1`` it turns a flag around."""
    reduce: Reduce | None = None
    """How several series of one entity become one; by default max for states, mean for ratios, celsius, hertz
    and gauges of distributions, else sum."""
    shared: bool = False
    """The series belongs to the whole process: every entity of the page gets it."""
    appears: str = ""
    """Set where the program shows the metric only after some event, e.g. ``with the first request``."""
    unless: Strings = ()
    """With ``appears``: if one of these metrics is on the page the event has happened, so absent is missing."""
    since: str = ""
    """First version that has it; for people, the presence of the metric decides."""
    deprecated: str = ""
    """When and by what it was replaced; the doctor prints it."""
    note: str = ""
    """Anything a person should know about this source."""

    @model_validator(mode="after")
    def _check_fields(self) -> "Source":
        needs = {
            How.MEAN: "count", How.RATIO: "over", How.QUOTIENT: "over", How.PRODUCT: "times", How.INFO: "labels",
            How.NEWEST: "labels", How.DIFFERENCE: "minus",
        }  # fmt: skip
        for name in ("count", "over", "times", "minus", "labels"):
            wanted = self.how is not None and needs.get(self.how) == name
            given = bool(getattr(self, name))
            if wanted and not given:
                raise ValueError(f"as: {self.how} of {self.metric} needs {name!r}")
            if given and not wanted:
                raise ValueError(f"{name!r} of {self.metric} has no meaning with as: {self.how}")
        if self.how is How.NEWEST and len(self.labels) != 1:
            raise ValueError(f"as: newest of {self.metric} needs exactly one of 'labels'")
        if self.plus and self.how in (How.HISTOGRAM, How.SUMMARY, How.INFO, How.COUNT, How.CHANGES, How.NEWEST):
            raise ValueError(f"'plus' of {self.metric} has no meaning with as: {self.how}")
        return self

    def arithmetic(self, signal: str) -> How:
        """Arithmetic for a signal: as written, or by the signal's kind."""
        return self.how or _DEFAULT_HOW[SIGNALS[signal].kind]

    def reduction(self, signal: str) -> Reduce:
        """Reduction for a signal: as written, or max for states, mean for what must not be added up, else sum."""
        known = SIGNALS[signal]
        if self.reduce is not None:
            return self.reduce
        if known.kind is Kind.STATE:
            return Reduce.MAX
        if self.plus or self.arithmetic(signal) not in (How.GAUGE, How.COUNTER):
            return Reduce.SUM
        averaged = known.kind is Kind.DISTRIBUTION or known.unit in ("ratio", "celsius", "hertz")
        return Reduce.MEAN if averaged else Reduce.SUM


class Detect(Section):
    """How a page of this program is known. Any hit of ``any`` or ``prefixes`` counts; ``all`` must be complete."""

    any: Strings = ()
    """Metric names of which one is enough."""
    all: Strings = ()
    """Metric names that must all be there; for programs whose names have no prefix."""
    prefixes: Strings = ()
    """Beginnings of metric names of which one is enough."""
    none: Strings = ()
    """Metric names (or beginnings, with a trailing ``*``) that rule the program out."""

    @model_validator(mode="after")
    def _check_something(self) -> "Detect":
        if not (self.any or self.all or self.prefixes):
            raise ValueError("'detect' needs at least one of 'any', 'all', 'prefixes'")
        return self


class LabelOf(Section):
    """A label of a metric that appears once on the page."""

    metric: str
    """Name of the metric."""
    label: str
    """Its label."""


class VersionHint(Section):
    """Presence of a metric says at least (or about) which version runs."""

    metric: str
    """Name of the metric."""
    version: str
    """What its presence means, e.g. ``>=0.22``."""


class Version(Section):
    """Where the version is read: a label first, then the first hint whose metric is present."""

    labels: tuple[LabelOf, ...] = ()
    """Labels that state the version."""
    hints: tuple[VersionHint, ...] = ()
    """Newest first."""


class EntityRule(Section):
    """How the page is split into entities, and what their identity is made of."""

    kind: EntityKind = EntityKind.REPLICA
    """gpu, node, replica, pool or target."""
    target: Strings | None = None
    """Target labels that are part of the identity; by default job, instance and pool, and none for gpu and node."""
    labels: dict[str, Strings] = Field(default_factory=dict)
    """Entity label → page labels, the first that the series has. Other labels (ranks) are aggregated away."""
    page: dict[str, LabelOf] = Field(default_factory=dict)
    """Entity label → label of a metric that stands once on the page, for all entities."""

    @property
    def target_labels(self) -> tuple[str, ...]:
        """Target labels that are part of the identity."""
        if self.target is not None:
            return self.target
        return () if self.kind in (EntityKind.GPU, EntityKind.NODE) else ("job", "instance", "pool")


def _as_sources(value: object) -> object:
    if isinstance(value, str):
        return ({"metric": value},)
    if isinstance(value, Mapping):
        return (value,)
    return tuple(_as_term(item) for item in value) if isinstance(value, (list, tuple)) else value


class Profile(Section):
    """One engine, exporter or gateway."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    """Short name; equals the file's name."""
    title: str
    """Name for people."""
    family: Family = Family.ENGINE
    """engine, gateway, gpu, host or cluster."""
    priority: int = 0
    """Among the profiles that match a page the highest names it, and wins where two fill the same signal."""
    docs: str = ""
    """How its metrics are turned on; printed when roles are missing."""
    detect: Detect
    """How a page is known."""
    aliases: dict[str, Strings] = Field(default_factory=dict)
    """Prefix of a metric name → other spellings of it, e.g. ``"vllm:": [ray_vllm_]``."""
    version: Version = Version()
    """Where the version is read."""
    entity: EntityRule = EntityRule()
    """How the page is split."""
    where: Where = Field(default_factory=dict)
    """Selector that holds for all sources, e.g. one tensor-parallel rank."""
    copies: Strings = ()
    """Labels that only tell copies of a number apart (ranks that all count the same requests, pods that share a
    GPU): of series that are equal but for these, the one with the lowest labels counts."""
    new_series: NewSeries = NewSeries.UNKNOWN
    """``zero`` where the program creates label sets (users, status codes) with their first event, so that a counter
    that was not on the page before has gained all it shows; otherwise its first gain is unknown."""
    absent: dict[str, str] = Field(default_factory=dict)
    """Signal → why this program cannot have it, and where else it comes from; the doctor prints it."""
    roles: dict[str, Annotated[tuple[Source, ...], BeforeValidator(_as_sources)]]
    """Signal → sources in order of preference."""

    @model_validator(mode="after")
    def _check_signals(self) -> "Profile":
        for signal in (*self.roles, *self.absent):
            if signal not in SIGNALS:
                raise ValueError(f"{signal!r} is no signal of the catalogue")
        for signal, sources in self.roles.items():
            distribution = SIGNALS[signal].kind is Kind.DISTRIBUTION
            for source in sources:
                how = source.arithmetic(signal)
                if not distribution and how in (How.HISTOGRAM, How.SUMMARY):
                    raise ValueError(f"{signal} is no distribution, so {source.metric} cannot be as: {how}")
                if distribution and how in (How.COUNTER, How.COUNT, How.CHANGES, How.NEWEST):
                    raise ValueError(f"{signal} is a distribution, so {source.metric} cannot be as: {how}")
        return self

    def spellings(self, metric: str) -> tuple[str, ...]:
        """Return the name and its aliases, the name as written first."""
        found = [metric]
        for prefix, others in self.aliases.items():
            if metric.startswith(prefix):
                found += [other + metric[len(prefix) :] for other in others]
        return tuple(found)


def parse_profile(text: str, origin: str) -> Profile:
    """Turn the text of one profile file into a profile.

    Raises
    ------
    ValueError
        Naming ``origin``, the place in the file and what was expected.
    """
    try:
        raw = own_yaml.load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{origin}: not valid YAML: {error}") from None
    if not isinstance(raw, dict):
        raise ValueError(f"{origin}: expected a mapping with name, title, detect, roles; got {type(raw).__name__}")  # noqa: TRY004 - one error type for every bad file
    try:
        return Profile.model_validate(raw)
    except ValidationError as error:
        lines = [f"{'.'.join(str(part) for part in item['loc']) or 'file'}: {item['msg']}" for item in error.errors()]
        raise ValueError(f"{origin}: " + "; ".join(lines)) from None


def parse_profiles(texts: Mapping[str, str]) -> tuple[Profile, ...]:
    """Parse several files (origin → text); highest priority first, then by name.

    Raises
    ------
    ValueError
        When a file is bad or two have the same name.
    """
    profiles: dict[str, Profile] = {}
    for origin, text in sorted(texts.items()):
        profile = parse_profile(text, origin)
        if profile.name in profiles:
            raise ValueError(f"{origin}: a second profile named {profile.name!r}")
        profiles[profile.name] = profile
    return tuple(sorted(profiles.values(), key=lambda profile: (-profile.priority, profile.name)))
