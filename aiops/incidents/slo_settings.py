"""Configuration of service level objectives: what users were promised, and over how long."""

from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from aiops.kit.settings import Duration, Section, format_duration


class Indicator(StrEnum):
    """What an objective is about."""

    TTFT = "ttft"
    """Time to first token is at most ``threshold``."""
    ITL = "itl"
    """Time between tokens is at most ``threshold``."""
    E2E = "e2e"
    """The whole request takes at most ``threshold``."""
    ERRORS = "errors"
    """A request does not fail. Refused requests and failed probes count: users see no difference."""
    REJECTIONS = "rejections"
    """A request is not refused at admission."""


LATENCIES = frozenset({Indicator.TTFT, Indicator.ITL, Indicator.E2E})


class Objective(Section):
    """One promise."""

    of: Indicator
    """``ttft``, ``itl``, ``e2e``, ``errors`` or ``rejections``."""
    objective: float = Field(gt=0, lt=1)
    """Share of requests (of tokens, for ``itl``) that must be good: 0.95, 0.99."""
    threshold: Duration | None = Field(None, gt=0)
    """Slower than this is bad; only for latencies, and needed there. The largest bucket bound of the engine that is
    not above it decides."""
    name: str = Field("", pattern=r"^([a-z][a-z0-9_]*)?$")
    """Tells two objectives of one kind apart; empty: the kind."""
    pools: tuple[str, ...] = ()
    """Pools that it holds for, as ``POOL`` or ``POOL/MODEL``; empty: all."""
    least_events: int = Field(20, ge=1)
    """With fewer requests in the long window nothing is judged: one slow request in a quiet night is no outage."""
    pages: bool = True
    """A fast burn is ``critical`` and a slow one ``warning``; without it ``warning`` and ``info``."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.of in LATENCIES) != (self.threshold is not None):
            raise ValueError(f"threshold belongs to latencies (ttft, itl, e2e) and only to them, not to {self.of}")
        return self

    @property
    def title(self) -> str:
        """What it is called in the API, in metrics and in commands."""
        return self.name or str(self.of)

    @property
    def events(self) -> str:
        """Names what is counted: another threshold counts other events, another share does not."""
        return str(self.of) if self.threshold is None else f"{self.of} ≤ {format_duration(self.threshold)}"


_SHIPPED = (
    Objective(of=Indicator.TTFT, objective=0.95, threshold=2.5, pages=False),
    Objective(of=Indicator.ITL, objective=0.95, threshold=0.1, pages=False),
    Objective(of=Indicator.E2E, objective=0.95, threshold=60.0, pages=False),
    Objective(of=Indicator.ERRORS, objective=0.99),
    Objective(of=Indicator.REJECTIONS, objective=0.99),
)


class SloSettings(Section):
    """Error budgets: how much may go wrong, and how fast it goes."""

    objectives: tuple[Objective, ...] = _SHIPPED
    """What is promised. The shipped latencies are those of the rule pack; they page nobody, because nobody promised
    them yet. An empty list turns budgets off."""
    period: Duration = Field(30 * 86_400.0, ge=3 * 86_400.0, le=92 * 86_400.0)
    """Time over which a budget is granted. A month, as most contracts say; at least 3d, the longest window."""
    most_budgets: int = Field(2000, ge=1)
    """Most budgets (objectives × pools) that are kept, 10 KiB each; further pools are left out and counted."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        titles = [one.title for one in self.objectives]
        twice = sorted({title for title in titles if titles.count(title) > 1})
        if twice:
            raise ValueError(f"two objectives are called {', '.join(twice)}; give them a name each")
        return self
