"""Targets that a Prometheus scrapes, read from it continuously: for a hub that needs no way to the targets itself.

Every turn asks which targets there are and when they were scraped, and only if there is a scrape that was not read
yet, for the samples since then (:mod:`aiops.collect.hub_pages`). So the pages are those that the server saw, whatever
the two intervals are, and they go the way of scraped pages from there on. A shard asks for the samples of its own
targets only.

A target is ours when its page is of a program that a profile knows, and stays ours while the server scrapes it. One
that is down before we saw a page is ours when all others of its job are. Missing answers say nothing about targets:
while the server cannot be asked, their states are unknown, and only the server is down.
"""

import logging
import random
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, NamedTuple, Self

from pydantic import AfterValidator, Field, model_validator
from yarl import URL

from aiops.collect.hub_pages import Pages, Scrape, target_of
from aiops.collect.hub_questions import Questions, counts, narrowed, questions
from aiops.collect.promapi import History, QueryApiSettings, Samples, checked_selector, checked_url, in_thread
from aiops.collect.relabel import Dropped, RelabelRule, relabel
from aiops.collect.settings import Interval, LabelName, LabelValue
from aiops.collect.targets import shard_of, source_of
from aiops.kit.clock import SYSTEM_CLOCK, Clock
from aiops.kit.log import OnChange
from aiops.kit.retry import Failure, Permanent, Temporary, backoff_seconds
from aiops.kit.settings import Duration, Section
from aiops.kit.text import clipped
from aiops.signals.normalise import Normaliser
from aiops.signals.page import Layout, Page
from aiops.signals.page_index import PageIndex
from aiops.signals.profile import Profile
from aiops.signals.settings import NormaliseSettings
from aiops.signals.types import Entity, EntityKind, Labels, Reading, SourceStatus
from aiops.signals.wanted import exposed_names, wanted

_LOG = logging.getLogger("aiops.collect.hub")
_SHOWN = 1000
KIND = "prometheus"
REACH_SECONDS = 300.0
"""How far back a turn looks for scrapes that were not read: as far as an instant query of Prometheus does."""
LEAST_REACH_SECONDS = 60.0
LONGEST_BACKOFF_SECONDS = 60.0
SILENT_FAILURES = 2
"""Failed turns in a row after which nothing is said about targets."""
_JITTER = random.Random()  # noqa: S311 - spreads clients, guards nothing


class HubServerSettings(QueryApiSettings):
    """One server to read from."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")] = KIND
    """Tells servers apart: sources of this one are called ``NAME/job/instance``."""
    url: Annotated[str, AfterValidator(checked_url), Field(min_length=1)]
    """Prometheus, Thanos Query, Mimir (with its path ``/prometheus``), VictoriaMetrics: ``http://prometheus:9090``."""
    selector: Annotated[str, AfterValidator(checked_selector)] = "{}"
    """Matchers of all that is read, ``{cluster="a"}`` for example."""
    interval: Interval = 15.0
    """Time between two turns. All scrapes since the last turn are read, so it need not be that of the server; turns
    that are further apart than its scrapes are cheaper and later."""
    query_offset: Annotated[Duration, Field(ge=0, le=120)] = 0.0
    """Read this far behind. 0 suits Prometheus, which shows a scrape whole or not at all; what receives remote write
    needs as long as it may be late (30 s to 1 min), else pages come without some of their series."""
    refresh_interval: Annotated[Duration, Field(ge=1)] = 120.0
    """How often to ask which jobs and metrics there are; new targets of a known job are seen at once."""
    timeout: Annotated[Duration, Field(gt=0)] = 10.0
    """Longest wait for the next bytes of an answer, and longest time that the server may spend on one query."""
    deadline: Annotated[Duration, Field(gt=0)] = 30.0
    """Longest time for all questions of a turn. There is never more than one at a time, and after a turn that failed
    the waits grow up to 1 min."""
    max_series: Annotated[int, Field(ge=10)] = 20_000
    """Most series of one query. Metrics are spread over as many queries as that takes; one metric that alone has more
    is left out and reported."""
    target_limit: Annotated[int, Field(ge=1)] = 1000
    """Most targets; the rest is left out and reported."""
    labels: dict[LabelName, LabelValue] = Field(default_factory=dict)
    """Labels of every target that does not bring its own."""
    relabel: tuple[RelabelRule, ...] = ()
    """Rules that rewrite the labels of a target, such as ``pool``, or drop it, as ``relabel_configs``."""


class HubSettings(Section):
    """Read what a Prometheus scrapes, instead of scraping. Needs the package prometheus-api-client (extra
    ``history``), and on the server the series ``up`` of every target. ``prometheus.url`` warms up from the same one."""

    servers: tuple[HubServerSettings, ...] = ()
    """Whom to read from. Shards (``scrape.shard``) split their targets too: each asks for the list of targets, and for
    the samples of its own."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [server.name for server in self.servers]
        if double := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"names of servers must differ; used twice: {', '.join(double)}")
        return self


class ReadTarget(NamedTuple):
    """A target that a server scrapes for us."""

    source: str
    labels: Labels


@dataclass(slots=True)
class HubCounts:
    """What reading from one server took."""

    queries: int = 0
    failures: int = 0
    put_off: int = 0
    series: int = 0
    scrapes: int = 0


@dataclass(slots=True, eq=False)
class _Member:
    """One target as we know it."""

    normaliser: Normaliser
    status: SourceStatus
    page: Page | None = None
    ours: bool = False


class Hub:
    """Collector of all targets of one server; :meth:`statuses` tells how each of them is.

    Parameters
    ----------
    shard
        (i, N): only the targets of the i-th of N parts.
    """

    def __init__(
        self,
        settings: HubServerSettings,
        profiles: Sequence[Profile],
        signals: NormaliseSettings,
        *,
        shard: tuple[int, int] = (0, 1),
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.settings = settings
        self.interval_seconds = settings.interval
        self.counts = HubCounts()
        self._profiles = tuple(profiles)
        self._known_names = frozenset().union(*(exposed_names(profile) for profile in profiles))
        self._signals = signals
        self._shard = shard
        self._clock = clock
        self._pages = Pages()
        self._questions = Questions()
        self._plan_due = float("-inf")
        self._history: History | None = None
        self._members: dict[Labels, _Member] = {}
        self._foreign: dict[Labels, Layout] = {}
        self._left_out: dict[Labels, str] = {}
        self._shares: dict[Labels, bool] = {}
        self._read_at = float("-inf")
        self._not_before = float("-inf")
        self._turning = threading.Lock()
        self._warnings: tuple[str, ...] = ()
        self._faults = OnChange(_LOG, clock.monotonic)
        entity = Entity.of(EntityKind.TARGET, job=settings.name, instance=URL(settings.url).authority)
        self._status = SourceStatus(settings.name, KIND, entity, settings.interval)

    async def read(self) -> Sequence[Reading]:
        """Take one turn, unless the last ones failed and their wait is not over."""
        began = self._clock.monotonic()
        if began < self._not_before:
            self.counts.put_off += 1
            return ()
        now = self._clock.now()
        self._status = replace(self._status, last_attempt=now)
        try:
            scrapes = await in_thread(lambda: self._turn(now - self.settings.query_offset), self.settings)
        except Failure as error:
            self._failed(error)
            return ()
        readings = self._readings(scrapes)
        problems = [*self._questions.left_out, *self._warnings, *self._follow()]
        self._faults.report(self.settings.name, clipped("; ".join(problems), _SHOWN))
        self.counts.scrapes += len(scrapes)
        facts: dict[str, str | float] = {
            "url": self.settings.url,
            "duration_seconds": self._clock.monotonic() - began,
            "samples": float(self.counts.series),
            "targets": float(len(self._ours())),
            "problems": clipped("; ".join(problems), _SHOWN),
        }
        self._status = replace(
            self._status,
            last_success=now,
            last_change=now if scrapes else self._status.last_change,
            failures=0,
            error="",
            facts=facts,
        )
        return readings

    def status(self) -> SourceStatus:
        """How the server is."""
        return self._status

    def statuses(self) -> list[SourceStatus]:
        """How every target is, as far as the server lets us know."""
        if self._status.failures >= SILENT_FAILURES:
            return []
        return [
            replace(member.status, facts={**member.normaliser.facts(), **member.status.facts})
            for member in self._ours()
        ]

    def targets(self) -> list[ReadTarget]:
        """Targets that are ours."""
        return [ReadTarget(member.status.source, member.status.entity.labels) for member in self._ours()]

    async def close(self) -> None:
        """Let go of the connections."""
        self._let_go()

    def _let_go(self) -> None:
        if self._history is not None:
            self._history.close()
            self._history = None

    def _failed(self, error: Failure) -> None:
        failures = self._status.failures + 1
        self._status = replace(self._status, failures=failures, error=str(error))
        self.counts.failures += 1
        wait = backoff_seconds(failures - 1, base=self.interval_seconds, cap=LONGEST_BACKOFF_SECONDS, rng=_JITTER)
        wait = max(wait, getattr(error, "delay_seconds", None) or 0.0)
        self._not_before = self._clock.monotonic() + wait
        if isinstance(error, Permanent):  # maybe there is more than was planned for
            self._plan_due = float("-inf")
        self._let_go()  # the next turn reads secrets and certificates anew

    def _turn(self, at: float) -> list[Scrape]:
        """Take a turn in a thread, never two at a time: one that hung may have been given up and still run."""
        if not self._turning.acquire(blocking=False):
            raise Temporary(f"{self.settings.url}: the turn before has not ended yet")
        try:
            scrapes = self._ask(at)
            self._warnings = tuple(self._history.warnings) if self._history is not None else ()
        finally:
            self._turning.release()
        return scrapes

    def _ask(self, at: float) -> list[Scrape]:
        due = self._clock.monotonic() >= self._plan_due
        if due:
            self._let_go()
        if self._history is None:
            self._history = History(self.settings, self._clock)
        history = self._history
        history.begin()
        if due:
            self._questions = self._plan(history, at)
            wait = self.settings.refresh_interval if self._questions.up else self.interval_seconds
            self._plan_due = self._clock.monotonic() + wait
        if not self._questions.up:
            return []
        there = self._share(self._answer(history, self._questions.up, at))
        reach = f"[{self._reach(at):.0f}s]"
        past = [
            one for part in self._of_share(self._questions.up, there) for one in self._answer(history, part + reach, at)
        ]
        oldest = self._pages.begin(there, past)
        self._read_at = at
        if oldest is None:
            return []
        self.counts.series = 0
        # Some leave out the sample at the very beginning of a range (Prometheus 3, VictoriaMetrics).
        milliseconds = int((at - oldest) * 1000.0) + 10
        for question in self._questions.pages:
            for part in self._of_share(question, there):
                answer = self._answer(history, f"{part}[{milliseconds}ms]", at)
                self.counts.series += len(answer)
                self._pages.add(answer)
        return self._pages.end()

    def _answer(self, history: History, question: str, at: float) -> list[Samples]:
        self.counts.queries += 1
        return history.samples(question, at, most_series=self.settings.max_series)

    def _share(self, there: list[Samples]) -> list[Samples]:
        """Which of the targets that the server has are in our part."""
        if self._shard[1] == 1:
            return there
        shares = {}
        for target in map(target_of, there):
            shares[target] = self._shares[target] if target in self._shares else self._in_share(target)
        self._shares = shares
        return [one for one in there if shares[target_of(one)]]

    def _in_share(self, target: Labels) -> bool:
        mine, shards = self._shard
        try:
            public = self._public(target)
        except ValueError:
            return True  # which is told when it is admitted
        return public is not None and shard_of(public, shards) == mine

    def _of_share(self, question: str, there: Sequence[Samples]) -> Sequence[str]:
        """A question for our part only. Others that have an instance of the same name come along and are left out."""
        if self._shard[1] == 1:
            return (question,)
        return tuple(narrowed(question, sorted({one.labels.get("instance", "") for one in there})))

    def _reach(self, at: float) -> float:
        """How far back a scrape that was not read may lie."""
        slowest = max((spacing for spacing in self._pages.spacings.values() if spacing > 0), default=REACH_SECONDS)
        missed = at - self._read_at + self.interval_seconds
        return min(REACH_SECONDS, max(LEAST_REACH_SECONDS, 2.5 * slowest, missed))

    def _plan(self, history: History, at: float) -> Questions:
        matchers, most = self.settings.selector, self.settings.max_series
        everything = matchers if matchers.strip("{} ") else ""
        self.counts.queries += 1
        known = sorted(self._known_names.intersection(history.names(everything, at - REACH_SECONDS, at)))
        sizes = self._sizes(history, at, known, matchers)
        of_job: dict[str, set[str]] = {}
        for job, name in sizes:
            of_job.setdefault(job, set()).add(name)
        names = wanted(self._profiles, of_job)
        plan = questions(names, sizes, matchers, most)
        if self._shard[1] == 1 or not plan.up:
            return plan
        there = self._share(self._answer(history, plan.up, at))
        share: Counter[tuple[str, str]] = Counter()
        for part in self._of_share(matchers, there):
            share.update(self._sizes(history, at, known, part))
        return questions(names, share, matchers, most)

    def _sizes(self, history: History, at: float, names: Sequence[str], matchers: str) -> dict[tuple[str, str], int]:
        """(job, metric) → series."""
        return {
            (row.labels.get("job", ""), row.labels.get("__name__", "")): int(row.values[0])
            for question in counts(names, matchers)
            for row in self._answer(history, question, at)
        }

    def _follow(self) -> list[str]:
        """Forget targets that the server has no more; return why others are left out."""
        spacings = self._pages.spacings
        self._members = {labels: member for labels, member in self._members.items() if labels in spacings}
        self._foreign = {labels: layout for labels, layout in self._foreign.items() if labels in spacings}
        self._left_out = {labels: why for labels, why in self._left_out.items() if labels in spacings}
        for labels, member in self._members.items():
            # As long as two scrapes and two turns may be apart at most, while all is well.
            spacing = spacings[labels]
            seconds = self.interval_seconds + (spacing if spacing > 0 else self.interval_seconds)
            member.status = replace(member.status, interval_seconds=seconds)
        return [why for why in self._left_out.values() if why]

    def _public(self, target: Labels) -> Labels | None:
        """Labels of a target as we have it; None when a rule drops it, ValueError when one cannot be applied."""
        ours = relabel({**self.settings.labels, **dict(target)}, self.settings.relabel)
        if isinstance(ours, Dropped):
            return None
        return tuple(sorted((name, value) for name, value in ours.items() if not name.startswith("__")))

    def _admit(self, target: Labels) -> _Member | None:
        """Make a member of a target, unless it is not wanted here."""
        if target in self._left_out:
            return None
        try:
            public = self._public(target)
        except ValueError as error:
            self._left_out[target] = f"{source_of(target)}: {error}"
            return None
        if public is None:
            self._left_out[target] = ""
            return None
        source = f"{self.settings.name}/{source_of(public)}"
        if any(member.status.source == source for member in self._members.values()):
            self._left_out[target] = f"{source} left out: another target has the same labels"
            return None
        status = SourceStatus(source, KIND, Entity(EntityKind.TARGET, public), 2 * self.interval_seconds)
        return _Member(Normaliser(self._profiles, public, source, self._signals), status)

    def _member(self, scrape: Scrape) -> _Member | None:
        """Whose scrape this is; None when the page is of no program that we know, or the target is not wanted."""
        target, _, page = scrape
        foreign = self._foreign.get(target)
        if foreign is not None and (page is None or page.layout is foreign):
            return None
        member = self._members.get(target) or self._admit(target)
        if member is None:
            return None
        if page is not None and not member.ours:
            index = PageIndex(page.layout)
            member.ours = any(index.matches(profile) for profile in self._profiles)
            if not member.ours:
                self._foreign[target] = page.layout
            elif sum(one.ours for one in self._members.values()) >= self.settings.target_limit:
                self._left_out[target] = f"{member.status.source} left out: target_limit is reached"
                member.ours = False
            if not member.ours:
                self._members.pop(target, None)
                return None
            self._foreign.pop(target, None)
        self._members[target] = member
        return member

    def _readings(self, scrapes: Sequence[Scrape]) -> list[Reading]:
        readings = []
        for scrape in scrapes:
            member = self._member(scrape)
            if member is None:
                continue
            at, page = scrape.at, scrape.page
            status = replace(member.status, last_attempt=at)
            if page is None:
                member.status = replace(status, failures=status.failures + 1, error=f"{self.settings.name} says: down")
                continue
            changed = member.page is None or not member.page.same_as(page)
            member.page = page
            member.status = replace(
                status, last_success=at, last_change=at if changed else status.last_change, failures=0, error="",
                facts={"samples": float(len(page.layout.samples))},
            )  # fmt: skip
            # Rates follow the clock of the server; how old a reading is, ours.
            readings.append(replace(member.normaliser.normalise(page, at), at=self._clock.now()))
        return readings

    def _ours(self) -> list[_Member]:
        """Targets with a page of a known program, and of their jobs, if these have no other, those without a page."""
        jobs = {_job(labels) for labels, member in self._members.items() if member.ours}
        jobs -= {_job(labels) for labels in self._foreign}
        return [member for labels, member in self._members.items() if member.ours or _job(labels) in jobs]


def _job(target: Labels) -> str:
    return dict(target).get("job", "")
