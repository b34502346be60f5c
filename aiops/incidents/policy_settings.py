"""Configuration of maintenance: when what is expected, and what is then left out."""

from datetime import time
from enum import StrEnum
from typing import Annotated, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, model_validator

from aiops.kit.settings import Duration, Section


class Skip(StrEnum):
    """What a window leaves out."""

    ALERT = "alert"
    """Alerts that begin in it are not told before it is over, and only if they still stand then."""
    LEARNING = "learning"
    """Nothing that is seen in it becomes normal."""


class Weekday(StrEnum):
    """Days as people write them."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name!r} is no time zone; expected a name such as UTC or Europe/Berlin") from None
    return name


def _clock(text: str) -> str:
    try:
        time.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no time of day; expected a form such as 22:00") from None
    return text


def _matchers(matches: dict[str, str]) -> dict[str, str]:
    empty = sorted(name for name, value in matches.items() if not value)
    if empty:
        raise ValueError(f"{', '.join(empty)}: expected a value or a pattern such as 10.0.0.*, not nothing")
    return matches


Matchers = Annotated[dict[str, Annotated[str, Field(json_schema_extra={"minLength": 1})]], AfterValidator(_matchers)]
"""Label → value, ``*`` and ``?`` as in file names. All must fit; ``alertname`` and ``pool`` may always be named."""


class WindowSettings(Section):
    """A window that comes again."""

    name: str = Field(min_length=1, max_length=200)
    """What people read beside a muted alert."""
    begins: Annotated[str, AfterValidator(_clock)]
    """Time of day by the clocks of ``timezone``, ``22:00``; where summer time leaves it out, an hour later, and where
    it comes twice, the first time."""
    lasts: Duration = Field(gt=0, le=7 * 86_400.0)
    """How long, in hours that pass: over a change of clocks the window is neither longer nor shorter."""
    days: tuple[Weekday, ...] = Field(tuple(Weekday), min_length=1)
    """Days on which it begins: ``mon`` … ``sun``."""
    timezone: Annotated[str, AfterValidator(_zone)] = "UTC"
    """Name of the IANA data base, ``Europe/Berlin``."""
    matches: Matchers = Field(default_factory=dict)
    """Whom it is about: labels of alerts; empty: everything."""
    skip: tuple[Skip, ...] = Field(tuple(Skip), min_length=1)
    """``alert``, ``learning``, or both."""


class MaintenanceSettings(Section):
    """What is planned. Silences of Alertmanager are shown beside alerts; make them there."""

    windows: tuple[WindowSettings, ...] = ()
    """Windows that come again; those of one time are opened with ``aiops maintenance begin``."""
    deploy_grace: Duration = Field(120.0, ge=0)
    """After a deploy or a new version, alerts below ``critical`` about it are held back for so long, seconds; those
    that still stand are told then. Two minutes: caches fill and queues drain. Statistics learn anew by themselves."""
    deploy_memory: Duration = Field(1800.0, ge=0)
    """Alerts that begin within this time of a deploy, a new version or a restart say so, seconds."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [window.name for window in self.windows]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two windows are called {', '.join(twice)}")
        return self
