"""What the API is asked: the parameters and bodies of its routes, for those who answer and for the OpenAPI document."""

from typing import Annotated, Any, Self

from pydantic import (
    AwareDatetime,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import from_json

from aiops.incidents.feedback import Judgement
from aiops.incidents.policy_settings import Matchers, Skip
from aiops.kit.settings import Duration, Section

LONGEST_QUESTION = 400
LONGEST_TEXT = 1000
LONGEST_RULES = 10_000
_TEXTS: dict[str, Any] = {
    "type": "string",
    "contentMediaType": "application/json",
    "contentSchema": {"type": "object", "additionalProperties": {"type": "string"}},
}
_Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=LONGEST_TEXT)]


def _from_json(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return from_json(value)  # unlike the standard library's it takes no half of a surrogate pair
    except ValueError:
        raise ValueError('expected a JSON object of texts, such as {"__address__": "10.0.0.7:8000"}') from None


class Nothing(Section):
    """No parameters."""


class ById(Section):
    """One thing by its id."""

    id: str


class SignalsAsked(Section):
    """Which series are asked for."""

    signal: str = ""
    """exact name of a [signal](signals.md); left out: all"""
    entity: str = ""
    """part of the entity as text, such as `pool` or `instance="10.0.0.7:8000"`; left out: all"""


class SeriesFilter(Section):
    """Which series are asked for, and how many."""

    signal: str = Field(min_length=1)
    """exact name of a [signal](signals.md)"""
    stat: str = ""
    """`mean`, `p50`, `p95`, `p99` or `rate` of a distribution; left out: the plain value"""
    entity: str = ""
    """part of the entity as text, as in `/api/v1/signals`"""
    limit: int = Field(12, ge=1, le=50)
    """most series in the answer; `more` says how many were left out"""


class Span(Section):
    """Between which times something changed."""

    model_config = ConfigDict(populate_by_name=True)

    start: float = Field(alias="from", ge=0, allow_inf_nan=False)
    """UTC seconds"""
    end: float = Field(alias="to", ge=0, allow_inf_nan=False)
    """UTC seconds, after `from`"""
    limit: int = Field(50, ge=1, le=500)
    """most changes in the answer"""


class PageAsked(Section):
    """Whose page is asked for."""

    source: str
    """name of a scraped target, as `/api/v1/targets` has it"""


class LabelsTried(Section):
    """A target that relabelling is tried on."""

    job: str = ""
    """name of a job; left out: the jobs"""
    labels: Annotated[dict[str, str], BeforeValidator(_from_json), WithJsonSchema(_TEXTS)] = Field(default_factory=dict)
    """a JSON object of texts, as discovery gives them: `{"__address__": "10.0.0.7:8000"}`"""


class RulesTried(Section):
    """Rules that are tried before a job has them."""

    rules: Annotated[str, StringConstraints(max_length=LONGEST_RULES)]
    """relabelling rules as in a configuration or under `relabel_configs` of Prometheus: a list in YAML or JSON"""
    labels: dict[str, str] = Field(default_factory=dict)
    """the labels of a target, as discovery gives them"""


class AlertAsked(Section):
    """An alert or a rule."""

    name: str
    """fingerprint of an alert (16 hex digits), or name of a rule"""
    entity: str = ""
    """part of the entity as text; left out: all"""


class Question(Section):
    """A question of a person."""

    q: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST_QUESTION)] = Field(
        json_schema_extra={"pattern": r"\S"}
    )
    """the question, such as `why was TTFT high at 14:00?`; times are UTC"""


class PoolAsked(Section):
    """A pool."""

    pool: str
    """`POOL/MODEL` as in the list, or `POOL` where that is one pool only"""


class Opinion(Section):
    """What something was."""

    judgement: Judgement
    """`true`: something was wrong; `false`: a false alarm; `expected`: planned, or known to happen"""
    cause: _Text = ""
    """what the cause was"""
    note: _Text = ""
    """anything else"""


class Judged(Opinion):
    """An opinion on an alert, or on every alert of an incident."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["alert"]}, {"required": ["incident"]}]})

    alert: str = Field("", min_length=1, validate_default=False)
    """fingerprint of an alert"""
    incident: str = Field("", min_length=1, validate_default=False)
    """id of an incident"""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if bool(self.alert) == bool(self.incident):
            raise ValueError("expected exactly one of 'alert' (a fingerprint) and 'incident' (an id)")
        return self


class Plan(Section):
    """A maintenance window of one time."""

    name: str = Field(min_length=1, max_length=200)
    """what people read beside a muted alert"""
    lasts: Duration = Field(gt=0, le=30 * 86_400.0)
    """`2h`, or seconds; at most 30 days"""
    begins: AwareDatetime | None = None
    """ISO 8601 with a zone; left out: now"""
    matches: Matchers = Field(default_factory=dict)
    """label → value, `*` and `?` as in file names; left out: everything"""
    skip: tuple[Skip, ...] = Field(tuple(Skip), min_length=1)
    """what is left out in it; left out: both"""


class Change(Section):
    """A deploy."""

    text: str = Field(min_length=1, max_length=200)
    """what changed, such as `1.4 became 1.5`"""
    matches: Matchers = Field(default_factory=dict)
    """label → value, `*` and `?` as in file names; left out: everything"""
